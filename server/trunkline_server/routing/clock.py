"""Time as the core sees it: monotonic seconds from something that is handed in."""

from __future__ import annotations

from typing import Protocol


class Clock(Protocol):
    """A source of monotonic time."""

    def __call__(self) -> float:
        """Return monotonic seconds; only differences mean anything."""
        ...


class ManualClock:
    """A clock that moves only when it is told to: for tests and for rehearsals in virtual time."""

    def __init__(self, now_s: float = 0.0) -> None:
        self._now_s = now_s

    def __call__(self) -> float:
        """Return the present virtual time in seconds."""
        return self._now_s

    def advance(self, seconds: float) -> float:
        """Move forward by `seconds` and return the new time; time never runs backwards."""
        if seconds < 0:
            raise ValueError(f"a clock cannot go back: {seconds} s")
        self._now_s += seconds
        return self._now_s
