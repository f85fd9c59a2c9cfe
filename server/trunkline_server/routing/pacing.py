"""The pace of dispatches to one provider: bursts from many callers do not become one spike."""

from __future__ import annotations

import math


class Pacer:
    """GCRA: on average one dispatch an interval, `burst` of them at once after a pause. Times are the clock's."""

    __slots__ = ("_due", "_interval_s", "_tolerance_s")

    def __init__(self, per_s: float, burst: int) -> None:
        self._due = -math.inf
        """When the next dispatch would come if all were evenly spaced."""
        self.retune(per_s, burst)

    def retune(self, per_s: float, burst: int) -> None:
        """Go on at another pace; what was dispatched already keeps counting."""
        self._interval_s = 1.0 / per_s
        self._tolerance_s = (burst - 1) * self._interval_s

    def free_at(self) -> float:
        """Return the time from which the next dispatch may go; it may lie in the past."""
        return self._due - self._tolerance_s

    def dispatched(self, now: float) -> None:
        """Book one dispatch."""
        self._due = max(self._due, now) + self._interval_s

    def turn_at(self, place: int, now: float) -> float:
        """Return when the dispatch at this place may go, from 1, if all before it go as early as they may."""
        return max(now, max(self._due, now) + (place - 1) * self._interval_s - self._tolerance_s)

    def __repr__(self) -> str:
        return f"<Pacer {1.0 / self._interval_s:g} a second, next from {self.free_at():.3f}>"
