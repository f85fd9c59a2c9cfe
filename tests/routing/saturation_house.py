"""A gate, its keys and a provider that limits them, in virtual time: who is served, and who is to come back when."""

from __future__ import annotations

import heapq
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from random import Random

from trunkline_server.routing.clock import ManualClock
from trunkline_server.routing.failures import Failure, FailureClass
from trunkline_server.routing.gate import Gate, GateLimits, Lease
from trunkline_server.routing.key_pool import KeyPool, KeySpec
from trunkline_server.routing.types import Refusal

MODEL = "m"
ROUNDING_S = 1e-9


class Limiter(ABC):
    """What a provider lets one key do."""

    @abstractmethod
    def lets_through(self, now: float) -> bool:
        """Count a call, or refuse it."""


class SlidingWindow(Limiter):
    """So many calls in any 60 s."""

    def __init__(self, per_minute: int) -> None:
        self._per_minute = per_minute
        self._calls: deque[float] = deque()

    def lets_through(self, now: float) -> bool:
        """Count a call, or refuse it."""
        while self._calls and self._calls[0] <= now - 60.0:
            self._calls.popleft()
        if len(self._calls) >= self._per_minute:
            return False
        self._calls.append(now)
        return True


class OneSecondBucket(Limiter):
    """A bucket that holds what one second brings."""

    def __init__(self, per_minute: int) -> None:
        self._per_s = per_minute / 60.0
        self._left = self._per_s
        self._at = 0.0

    def lets_through(self, now: float) -> bool:
        """Count a call, or refuse it."""
        self._left = min(self._per_s, self._left + (now - self._at) * self._per_s)
        self._at = now
        if self._left < 1.0 - ROUNDING_S:
            return False
        self._left -= 1.0
        return True


@dataclass(slots=True)
class StayAway:
    """A caller that was refused: when, how many waited before it, and when it may come back."""

    at: float
    waiting: int
    last_calls: dict[str, float]
    """When each key had its last call before that."""
    back_at: float


@dataclass
class House:
    """Calls at a pace against keys of which each has a limit at its provider."""

    keys: list[KeySpec]
    limiter: Callable[[int], Limiter]
    rng: Random
    gate_limits: GateLimits = field(default_factory=lambda: GateLimits(max_in_flight=200, queue=24, max_wait_s=4.0))
    answer_s: float = 2.0
    served: Counter[str] = field(default_factory=Counter)
    """Calls that the provider took, by key."""
    upstream_refusals: int = 0
    dispatches: list[tuple[float, str]] = field(default_factory=list)
    stays: list[StayAway] = field(default_factory=list)
    returns: list[StayAway] = field(default_factory=list)
    come_back: bool = False
    """Whether callers that are refused come back when they were told."""
    ends: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        """Open the house."""
        self.clock = ManualClock(1000.0)
        self.pool = KeyPool("p", self.keys, clock=self.clock, rng=self.rng)
        self.gate = Gate("p", self.gate_limits, self.pool, clock=self.clock)
        self._limiters = {key.id: self.limiter(int(key.requests_per_minute or 60)) for key in self.keys}
        self._agenda: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = count()

    def later(self, at: float, act: Callable[[], None]) -> None:
        """Do something at a time of the clock."""
        heapq.heappush(self._agenda, (at, next(self._numbers), act))

    def offer(self, per_s: float, until: float) -> None:
        """Let calls arrive at random, so many a second on average."""
        at = self.clock() + self.rng.expovariate(per_s)
        while at < until:
            self.later(at, self.call)
            at += self.rng.expovariate(per_s)

    def run(self, until: float) -> None:
        """Let time pass: arrivals, answers, and the gate's own events."""
        while True:
            gate_at = self.gate.next_event_at()
            at = min(self._agenda[0][0] if self._agenda else until, until if gate_at is None else gate_at)
            if at >= until:
                break
            self.clock.advance(max(0.0, at - self.clock()) + ROUNDING_S)
            if self._agenda and self._agenda[0][0] <= self.clock():
                heapq.heappop(self._agenda)[2]()
            else:
                self.gate.poll()
        self.clock.advance(max(0.0, until - self.clock()))

    def call(self, again: StayAway | None = None) -> None:
        """Have one caller ask, for the first time or at the time that it was told."""
        if again is not None:
            self.returns.append(again)
        lease = self.gate.try_take(MODEL)
        if lease is not None:
            self._dispatch(lease)
            return
        answer = self.gate.join(
            MODEL,
            frozenset(),
            deadline_at=self.clock() + 60.0,
            on_grant=self._dispatch,
            on_refused=self._refused,
        )
        if isinstance(answer, Refusal):
            self._refused(answer)

    def _dispatch(self, lease: Lease) -> None:
        now = self.clock()
        self.dispatches.append((now, lease.key_id))
        if self._limiters[lease.key_id].lets_through(now):
            self.served[lease.key_id] += 1
            self.ends["served"] += 1
            self.later(now + self.rng.expovariate(1.0 / self.answer_s), lambda: self._answered(lease))
        else:
            self.upstream_refusals += 1
            self.ends["refused upstream"] += 1
            self.pool.failed(lease.key_id, MODEL, Failure(FailureClass.RATE_LIMITED, "429"))
            # Not within a callback of the gate: the engine releases in a task of its own.
            self.later(now, lease.release)

    def _answered(self, lease: Lease) -> None:
        self.pool.succeeded(lease.key_id, MODEL, fingerprint=lease.fingerprint)
        lease.settle(None)
        lease.release()

    def _refused(self, refusal: Refusal) -> None:
        now, waiting = self.clock(), self.gate.waiting
        self.ends[refusal.reason.value] += 1
        assert refusal.retry_after_s is not None
        last = {key: at for at, key in self.dispatches[-100 * len(self.keys) :]}
        stay = StayAway(now, waiting, last, now + refusal.retry_after_s)
        self.stays.append(stay)
        if self.come_back:
            self.come_back_at(stay)

    def come_back_at(self, stay: StayAway) -> None:
        """Have a caller come back when it was told."""
        self.later(stay.back_at, partial(self.call, stay))
