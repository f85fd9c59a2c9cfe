"""How much may go at once, and how fast: a gate's limit in flight, its pace, and what they say of a wait."""

from __future__ import annotations

from collections import deque

from trunkline_server.routing.adaptive import AdaptiveLimit
from trunkline_server.routing.gate_limits import GateLimits
from trunkline_server.routing.pacing import Pacer

SLOT_SAMPLES = 100
"""Calls over which the time that a slot is held is averaged."""
SLOT_SAMPLES_MIN = 5
"""Before so many were seen nothing is known of it."""


class Throttle:
    """The present limit and pace of one gate. Times are the clock's seconds."""

    __slots__ = ("_adaptive", "_slot_times_s", "limit", "limits", "pacer")

    def __init__(self, limits: GateLimits) -> None:
        self._adaptive: AdaptiveLimit | None = None
        self._slot_times_s: deque[float] = deque(maxlen=SLOT_SAMPLES)
        self.pacer: Pacer | None = None
        self.tune(limits)

    def tune(self, limits: GateLimits) -> None:
        """Take over new bounds; an adaptive limit keeps its value within them, what was dispatched keeps counting."""
        self.limits = limits
        if limits.adaptive is None:
            self._adaptive = None
        elif self._adaptive is None:
            self._adaptive = AdaptiveLimit(limits.adaptive, limits.max_in_flight)
        else:
            self._adaptive.rebound(limits.adaptive)
        self.limit = limits.max_in_flight if self._adaptive is None else self._adaptive.value
        """Calls in flight at most, now."""
        if limits.dispatches_per_s is None:
            self.pacer = None
        elif self.pacer is None:
            self.pacer = Pacer(limits.dispatches_per_s, limits.burst)
        else:
            self.pacer.retune(limits.dispatches_per_s, limits.burst)

    def succeeded(self, in_use: int) -> None:
        """Book a success while so many slots were in use."""
        if self._adaptive is not None:
            self._adaptive.succeeded(in_use)
            self.limit = self._adaptive.value

    def overloaded(self, dispatched_at: float, now: float) -> None:
        """Book that a call failed because the provider has too much to do."""
        if self._adaptive is not None:
            self._adaptive.overloaded(dispatched_at, now)
            self.limit = self._adaptive.value

    def held(self, seconds: float) -> None:
        """Book the time that one call held its slot."""
        self._slot_times_s.append(seconds)

    def slot_s(self) -> float | None:
        """Return the moving average of the time that a slot is held; None while too few calls were seen."""
        seen = len(self._slot_times_s)
        return sum(self._slot_times_s) / seen if seen >= SLOT_SAMPLES_MIN else None

    def expected_wait_s(self, place: int, now: float) -> float:
        """Return how long the one at this place of the queue, from 1, will wait; 0 where nothing is known.

        The pace is known to the dispatch, so its part is exact where nobody overtakes; the slots' part is a guess.
        """
        slot_s = self.slot_s()
        by_slots_s = 0.0 if slot_s is None else place / self.limit * slot_s
        return by_slots_s if self.pacer is None else max(by_slots_s, self.pacer.turn_at(place, now) - now)
