"""Long work in a thread beside an event loop, done in small pieces with rests between them.

Python runs one thread at a time. A thread that computes for 10 ms keeps the loop waiting each time that it wakes up,
and every call on it with it; one that computes for a fraction of a millisecond and then sleeps is hardly noticed, at
the price of taking a few times as long. Reloads have the time; calls have not.
"""

from __future__ import annotations

import time
from collections.abc import Callable

Pause = Callable[[], None]
"""Called by long work now and then, wherever it may rest."""

WORK_S = 0.000_2
"""Longest piece of work between two rests, as far as whoever calls `Rests` calls it often enough."""

REST_S = 0.000_8
"""How long each rest lasts at least."""


def no_pause() -> None:
    """Go on at once: there is nobody beside it."""


class Rests:
    """Sleeps for a while whenever the thread that calls it has worked for long enough. For one thread."""

    __slots__ = ("_since_s",)

    def __init__(self) -> None:
        self._since_s = time.perf_counter()

    def __call__(self) -> None:
        """Rest, if it is time to."""
        if time.perf_counter() - self._since_s >= WORK_S:
            time.sleep(REST_S)
            self._since_s = time.perf_counter()
