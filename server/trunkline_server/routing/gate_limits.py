"""The bounds of a gate, as they are configured."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class AdaptiveLimits:
    """Between what bounds the limit in flight moves by itself (AIMD); it starts at `max_in_flight`."""

    min: int = 10
    max: int = 400

    def __post_init__(self) -> None:
        """Refuse bounds that let nothing through or stand the wrong way round."""
        if not 1 <= self.min <= self.max:
            raise ValueError(f"these are no bounds of an adaptive limit: {self}")


@dataclass(frozen=True, slots=True)
class GateLimits:
    """The bounds of a gate."""

    max_in_flight: int = 200
    queue: int = 500
    """Waiters at most; 0: nobody waits."""
    max_wait_s: float = 5.0
    adaptive: AdaptiveLimits | None = None
    """None: `max_in_flight` stands."""
    dispatches_per_s: float | None = None
    """Dispatches are paced to this rate; None: not paced."""
    burst: int = 2
    """Dispatches that may go at once after a pause."""

    def __post_init__(self) -> None:
        """Refuse bounds that let nothing through or mean nothing."""
        if self.max_in_flight < 1 or self.queue < 0 or not self.max_wait_s >= 0 or self.burst < 1:
            raise ValueError(f"these are no bounds of a gate: {self}")
        if self.dispatches_per_s is not None and not 0 < self.dispatches_per_s < float("inf"):
            raise ValueError(f"these are no bounds of a gate: {self}")
