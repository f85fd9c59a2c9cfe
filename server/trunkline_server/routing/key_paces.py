"""When a queue has gone: how fast keys with limits can serve calls of one size, all of them together."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable


class Paces:
    """What so many keys can do from one moment on, each at an even pace from the time at which it has room.

    A key that has room at `at` and again every `interval_s` has served more than (t - at) / interval_s calls by t: so
    the times told are never too early, and too late by less than one call of each key.
    """

    __slots__ = ("_ats", "_done", "_rates", "made_at", "taken")

    def __init__(self, starts: Iterable[tuple[float, float]], made_at: float, taken: int) -> None:
        """Take of each key when it has room, and after how many seconds again; 0: any number at once.

        `taken`: how many calls of the lane were taken until then, ever.
        """
        self.made_at = made_at
        self.taken = taken
        self._ats: list[float] = []
        self._done: list[float] = []
        self._rates: list[float] = []
        done = rate = 0.0
        for at, interval_s in sorted(starts):
            if self._ats:
                done += rate * (at - self._ats[-1])
            rate += 1.0 / interval_s if interval_s else float("inf")
            self._ats.append(at)
            self._done.append(done)
            self._rates.append(rate)
            if not interval_s:
                break

    def room_at(self, calls: int) -> float | None:
        """Return a clock time by which so many calls may have gone; None if there is no key."""
        if not self._ats:
            return None
        to_go = float(max(0, calls - 1))
        place = max(0, bisect_right(self._done, to_go) - 1)
        if not to_go:
            # Keys that have room from the same or an earlier moment on: the first of them is enough.
            place = 0
        return self._ats[place] + (to_go - self._done[place]) / self._rates[place]
