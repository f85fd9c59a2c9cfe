"""A limit in flight that finds its place by itself: additive increase, multiplicative decrease.

Only overload moves it down: latency gradients would follow the traffic of others who use the same provider.
"""

from __future__ import annotations

import math

from trunkline_server.routing.gate_limits import AdaptiveLimits

SHRINK_FACTOR = 0.9
SHRINK_EVERY_S = 1.0
"""It shrinks at most so often."""


class AdaptiveLimit:
    """The present limit of one gate. Times are the clock's seconds."""

    __slots__ = ("_bounds", "_exact", "_shrunk_at", "value")

    def __init__(self, bounds: AdaptiveLimits, start: int) -> None:
        self._exact = float(start)
        self._shrunk_at = -math.inf
        self.rebound(bounds)

    def rebound(self, bounds: AdaptiveLimits) -> None:
        """Take over new bounds; the present value stays where they allow it."""
        self._bounds = bounds
        self._move(self._exact)

    def succeeded(self, in_use: int) -> bool:
        """Grow by 1 / limit if at least half of the limit is in use: what is not used proves nothing.

        Return whether one more call may be in flight now.
        """
        before = self.value
        if 2 * in_use >= before:
            self._move(self._exact + 1.0 / self._exact)
        return self.value > before

    def overloaded(self, dispatched_at: float, now: float) -> None:
        """Shrink, unless the call was dispatched before the last time or that is less than a second ago."""
        if dispatched_at > self._shrunk_at and now - self._shrunk_at >= SHRINK_EVERY_S:
            self._shrunk_at = now
            self._move(self._exact * SHRINK_FACTOR)

    def _move(self, exact: float) -> None:
        self._exact = min(max(exact, self._bounds.min), self._bounds.max)
        self.value = int(self._exact)
        """Calls in flight at most, now."""

    def __repr__(self) -> str:
        return f"<AdaptiveLimit {self._exact:.2f} of {self._bounds.min} to {self._bounds.max}>"
