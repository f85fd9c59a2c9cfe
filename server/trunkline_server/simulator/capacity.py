"""What one key may do: requests in flight, requests and tokens a minute, and how a refusal says when to come back."""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING, Protocol

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable

    from trunkline_server.simulator.scenario import Capacity

MINUTE_S = 60.0


class Meter(Protocol):
    """Counts one thing against a limit a minute."""

    limit: int

    def wait_s(self, amount: int, now_s: float) -> float:
        """Return 0 if `amount` may be taken now, else the seconds until it may."""

    def take(self, amount: int, now_s: float) -> None:
        """Book `amount`."""

    def remaining(self, now_s: float) -> int:
        """Return how much is left now."""

    def reset_s(self, now_s: float) -> float:
        """Return the seconds until nothing is booked any more."""


class SlidingMeter:
    """At most `limit` in any 60 s. A single amount above the limit never passes."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._taken: deque[tuple[float, int]] = deque()
        self._sum = 0

    def _forget(self, now_s: float) -> None:
        taken = self._taken
        while taken and taken[0][0] <= now_s - MINUTE_S:
            self._sum -= taken.popleft()[1]

    def wait_s(self, amount: int, now_s: float) -> float:
        """See Meter."""
        self._forget(now_s)
        over = self._sum + amount - self.limit
        if over <= 0:
            return 0.0
        for at_s, taken in self._taken:
            over -= taken
            if over <= 0:
                return at_s + MINUTE_S - now_s
        return MINUTE_S

    def take(self, amount: int, now_s: float) -> None:
        """See Meter."""
        self._taken.append((now_s, amount))
        self._sum += amount

    def remaining(self, now_s: float) -> int:
        """See Meter."""
        self._forget(now_s)
        return max(0, self.limit - self._sum)

    def reset_s(self, now_s: float) -> float:
        """See Meter."""
        self._forget(now_s)
        return self._taken[-1][0] + MINUTE_S - now_s if self._taken else 0.0


class BucketMeter:
    """A bucket refilled evenly, holding one second's worth and at least 1.

    An amount larger than the bucket passes when it is full and leaves a debt: else it would never pass.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._per_s = limit / MINUTE_S
        self._size = max(1.0, self._per_s)
        self._level = self._size
        self._at_s: float | None = None

    def _refill(self, now_s: float) -> None:
        if self._at_s is not None:
            self._level = min(self._size, self._level + (now_s - self._at_s) * self._per_s)
        self._at_s = now_s

    def wait_s(self, amount: int, now_s: float) -> float:
        """See Meter."""
        self._refill(now_s)
        missing = min(float(amount), self._size) - self._level
        # Refilling for exactly this long may leave a level short by rounding: that is not a refusal.
        return missing / self._per_s if missing > 1e-9 else 0.0  # noqa: PLR2004 - explained above

    def take(self, amount: int, now_s: float) -> None:
        """See Meter."""
        self._refill(now_s)
        self._level -= amount

    def remaining(self, now_s: float) -> int:
        """See Meter."""
        self._refill(now_s)
        return max(0, math.floor(self._level))

    def reset_s(self, now_s: float) -> float:
        """See Meter."""
        self._refill(now_s)
        return (self._size - self._level) / self._per_s


class OverCapacity(msgspec.Struct, frozen=True):
    """A refusal: which limit, its figures, and the seconds until a request like this one passes."""

    kind: str
    """`requests`, `tokens` or `concurrency`; `context` where it is a model's window and no key's limit."""
    limit: int
    used: int
    requested: int
    wait_s: float


class Reading(msgspec.Struct, frozen=True):
    """What one meter of a key shows, for the headers that tell it."""

    kind: str
    """`requests` or `tokens`, a minute each."""
    limit: int
    remaining: int
    reset_s: float
    """Until nothing is booked any more."""


_METERS: dict[str, Callable[[int], Meter]] = {"sliding": SlidingMeter, "bucket": BucketMeter}


class KeyLimits:
    """The limits of one key. `admit` before, `leave` after each request that was admitted."""

    def __init__(self, capacity: Capacity) -> None:
        meter = _METERS[capacity.limiter]
        self._max_in_flight = capacity.max_in_flight
        self._in_flight = 0
        self._requests: Meter | None = meter(capacity.requests_per_minute) if capacity.requests_per_minute else None
        self._tokens: Meter | None = meter(capacity.tokens_per_minute) if capacity.tokens_per_minute else None

    def admit(self, tokens: int, now_s: float) -> OverCapacity | None:
        """Take one request of `tokens`, or say which limit refuses it; a refusal uses nothing up."""
        if self._max_in_flight is not None and self._in_flight >= self._max_in_flight:
            return OverCapacity("concurrency", self._max_in_flight, self._in_flight, 1, 1.0)
        for kind, meter, amount in (("requests", self._requests, 1), ("tokens", self._tokens, tokens)):
            if meter is not None and (wait_s := meter.wait_s(amount, now_s)) > 0:
                return OverCapacity(kind, meter.limit, meter.limit - meter.remaining(now_s), amount, wait_s)
        if self._requests is not None:
            self._requests.take(1, now_s)
        if self._tokens is not None:
            self._tokens.take(tokens, now_s)
        self._in_flight += 1
        return None

    def leave(self) -> None:
        """Give the slot of one admitted request back."""
        self._in_flight -= 1

    def readings(self, now_s: float) -> list[Reading]:
        """Return what every meter shows at this moment."""
        return [
            Reading(kind, meter.limit, meter.remaining(now_s), meter.reset_s(now_s))
            for kind, meter in (("requests", self._requests), ("tokens", self._tokens))
            if meter is not None
        ]


def duration(seconds: float) -> str:
    """Return `seconds` as OpenAI writes them: `12ms`, `8.64s`, `6m0s`, `1h2m3s`."""
    if seconds < 1:
        return f"{math.ceil(seconds * 1000)}ms"
    if seconds < MINUTE_S:
        return f"{seconds:.3f}".rstrip("0").rstrip(".") + "s"
    whole = math.ceil(seconds)
    hours, minutes = whole // 3600, whole % 3600 // 60
    return (f"{hours}h" if hours else "") + f"{minutes}m{whole % 60}s"
