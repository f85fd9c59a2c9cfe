"""A key as it is configured, and what may be told of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

from trunkline_server.routing.failures import FailureClass
from trunkline_server.routing.key_limits import KeyLimits
from trunkline_server.routing.rate import Rate


class KeyStatus(Enum):
    """What a key is doing, in one word."""

    ACTIVE = "ACTIVE"
    COOLING = "COOLING"
    RAMPING = "RAMPING"
    QUARANTINED = "QUARANTINED"
    DRAINING = "DRAINING"
    """An operator's word: it takes no new call, those in flight end. Likewise DISABLED, which is meant to last."""
    DISABLED = "DISABLED"
    REMOVED = "REMOVED"


@dataclass(frozen=True, slots=True)
class KeySpec:
    """A key as it is configured. The secret is not here: `fingerprint` tells whether it is still the same one."""

    id: str
    weight: float
    models: tuple[str, ...] = ("*",)
    """Upstream models it may serve: exact names or shell-style patterns."""
    block_models: tuple[str, ...] = ()
    """Models it may not serve, whatever `models` says."""
    fingerprint: str = ""
    requests_per_minute: float | None = None
    """None: no limit. Likewise the next two."""
    tokens_per_minute: float | None = None
    max_in_flight: int | None = None
    quota_group: str | None = None
    """Keys of one account: what cools one cools all of them."""
    burst_s: float = 1.0
    """How much of its limits a key may use at once after a pause, in seconds' worth."""
    adaptive: bool = False
    """Whether its cap moves by AIMD, from 1 to `max_in_flight`: being limited in rate shrinks it."""

    def __post_init__(self) -> None:
        """Refuse a weight that no share can be computed from."""
        if not (math.isfinite(self.weight) and self.weight >= 0):
            raise ValueError(f"the weight of key {self.id} is {self.weight}: a finite number from 0 is needed")
        if self.max_in_flight is not None and self.max_in_flight < 1:
            raise ValueError(f"key {self.id} may have {self.max_in_flight} calls in flight: at least 1 is needed")
        try:
            self.limits()
        except ValueError as error:
            raise ValueError(f"key {self.id}: {error}") from error

    def limits(self) -> KeyLimits | None:
        """Return its limits a minute, with nothing used; None if it has none."""
        requests, tokens = (
            None if limit is None else Rate(limit, self.burst_s)
            for limit in (self.requests_per_minute, self.tokens_per_minute)
        )
        return None if requests is None and tokens is None else KeyLimits(requests, tokens)

    @property
    def limited(self) -> bool:
        """Whether it has any limit of its own."""
        return not self.requests_per_minute is self.tokens_per_minute is self.max_in_flight is None


@dataclass(frozen=True, slots=True)
class KeyView:
    """What may be told of a key at one moment."""

    id: str
    status: KeyStatus
    until: float | None
    """Clock time of the next change: the first cool-down's end, the probe, the end of the last ramp."""
    in_flight: int
    reason: FailureClass | None = None
    """Of a quarantine."""
    cooling: tuple[tuple[str, float], ...] = ()
    """Models that it may not serve now, each with the clock time at which it may again."""
    max_in_flight: int | None = None
    """Its present cap of calls in flight; None: it has none."""
    room_requests: float | None = None
    """Requests that the model which has least left could take at once now; None: no limit. Likewise the next one."""
    room_tokens: float | None = None
    quota_group: str | None = None
    weight: float = 1.0
