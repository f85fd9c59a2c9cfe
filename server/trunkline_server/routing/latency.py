"""How long a target took lately: quantiles of the last minute, in bounded memory.

Times are counted in classes of a fixed ratio, so a quantile is off by at most 5 % however long or short they are.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate

from trunkline_server.routing.clock import Clock

SAMPLES_MIN = 5
"""Fewer say nothing."""
MIN_S = 1e-4
"""Shorter times count as this one."""
MAX_S = 86_400.0
"""Longer times count as this one."""
_RATIO = 1.1
"""From one class to the next; the value that stands for a class is off by at most (ratio - 1) / (ratio + 1)."""
_LOG_RATIO = math.log(_RATIO)
_PARTS = 12
"""Of the window: what is older than it is never counted, and at least eleven twelfths of it are."""
_WHOLE = 100.0
_ROUNDING = 1e-9
"""99.9 % of 1000 is not exactly 999 in floats."""


def _classes() -> Iterator[float]:
    """Yield the value that stands for each class: as far, in proportion, from its lower end as from its upper one."""
    low = MIN_S
    while low <= MAX_S:
        yield 2 * low * _RATIO / (1 + _RATIO)
        low *= _RATIO


_STANDS_FOR = tuple(_classes())
_LAST = len(_STANDS_FOR) - 1


class LatencyWindow:
    """Times of the last `window_s`. It belongs to one event loop; nothing here is thread-safe."""

    __slots__ = ("_clock", "_counts", "_known", "_parts", "_samples", "_width_s")

    def __init__(self, *, clock: Clock, window_s: float = 60.0) -> None:
        if not (math.isfinite(window_s) and window_s > 0):
            raise ValueError(f"this is no window of time: {window_s} s")
        self._clock = clock
        self._width_s = window_s / _PARTS
        self._counts = [0] * len(_STANDS_FOR)
        self._samples = 0
        self._known: dict[float, float] = {}
        """Quantiles that were asked for since the samples changed: a plan asks each of its targets anew."""
        self._parts: deque[tuple[int, dict[int, int]]] = deque()
        """Number of each part of time in which anything came, and its samples by class; oldest first."""

    def book(self, seconds: float) -> None:
        """Count one time; raise ValueError if it is below 0 or not a number."""
        if not seconds >= 0:
            raise ValueError(f"nothing takes {seconds} s")
        kind = _class_of(seconds)
        part = self._forget()
        parts = self._parts
        if not parts or parts[-1][0] != part:
            parts.append((part, {}))
        counts = parts[-1][1]
        counts[kind] = counts.get(kind, 0) + 1
        self._counts[kind] += 1
        self._samples += 1
        self._known.clear()

    def quantile(self, percent: float, *, at_least: int = SAMPLES_MIN) -> float | None:
        """Return the time, in seconds, that `percent` of the samples kept, to within 5 %.

        None with fewer than `at_least` samples. Raise ValueError unless `percent` is above 0 and at most 100.
        """
        if not 0 < percent <= _WHOLE:
            raise ValueError(f"there is no quantile of {percent} %")
        self._forget()
        if self._samples < max(at_least, 1):
            return None
        known = self._known.get(percent)
        if known is None:
            rank = math.ceil(self._samples * percent / _WHOLE - _ROUNDING)
            known = self._known[percent] = _STANDS_FOR[bisect_left(list(accumulate(self._counts)), rank)]
        return known

    def _forget(self) -> int:
        """Drop what left the window, and return the number of the present part of time."""
        present = math.floor(self._clock() / self._width_s)
        parts = self._parts
        while parts and parts[0][0] <= present - _PARTS:
            self._known.clear()
            for kind, count in parts.popleft()[1].items():
                self._counts[kind] -= count
                self._samples -= count
        return present

    def __repr__(self) -> str:
        """Show how much is known."""
        return f"<LatencyWindow: {self._samples} samples>"


def _class_of(seconds: float) -> int:
    if seconds <= MIN_S:
        return 0
    if seconds >= MAX_S:
        return _LAST
    return min(int(math.log(seconds / MIN_S) / _LOG_RATIO), _LAST)


@dataclass(frozen=True, slots=True)
class Latency:
    """How long one target takes."""

    first_content: LatencyWindow
    """Streams: from dispatch to the first content."""
    response: LatencyWindow
    """Calls without a stream: from dispatch to the whole answer."""

    @classmethod
    def unknown(cls, *, clock: Clock) -> Latency:
        """Return the record of a target that has not been called yet."""
        return cls(LatencyWindow(clock=clock), LatencyWindow(clock=clock))
