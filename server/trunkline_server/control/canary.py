"""A canary: routes on trial for a share of the calls, and whether to keep them.

Pure: it is fed with the outcomes of calls and asked for its verdict; who owns the timer and the routes acts on it.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from dataclasses import dataclass
from enum import Enum

from trunkline_server.control.types import CanaryState, Guard
from trunkline_server.engine.outcome import CallOutcome

MIN_CALLS = 20
"""How many calls, and streams of either side, it takes to judge by them."""

_SAMPLES = 512


class Action(Enum):
    """What is to be done with a canary."""

    ROLL_BACK = "ROLL_BACK"
    PROMOTE = "PROMOTE"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is to be done, and why, in words."""

    action: Action
    why: str


class Canary:
    """The books of one trial.

    The error ratio is looked at from 20 calls on. What the running version fails of its own is allowed in any case; one
    with fewer than 20 calls counts as if the missing ones had succeeded, so that a single failure of an idle version
    does not excuse everything. The medians of the first token are compared from 20 streams of either version on, over
    the latest 512 of each.

    At the end of its window a canary that was not taken back is published for all traffic, also if too few calls came
    to judge it: nothing speaks against it, and a trial without an end would keep all other changes out. The verdict
    says so.
    """

    def __init__(self, version: int, base_version: int, fraction: float, guard: Guard, *, ends_at: float) -> None:
        """`ends_at` in Unix seconds: only told, never looked at."""
        self.version = version
        self.guard = guard
        self._base_version = base_version
        self._fraction = fraction
        self._ends_at = ends_at
        self._own = _Side()
        self._base = _Side()

    def feed(self, outcome: CallOutcome) -> Verdict | None:
        """Take the outcome of a call of any version; return ROLL_BACK as soon as the guard breaks."""
        if outcome.version == self.version:
            self._own.add(outcome)
            return self._broken()
        if outcome.version == self._base_version:
            self._base.add(outcome)
        return None

    def at_end(self) -> Verdict:
        """Return what is to be done now that the window is over."""
        broken = self._broken()
        if broken is not None:
            return broken
        calls = self._own.calls
        if calls < MIN_CALLS:
            return Verdict(Action.PROMOTE, f"its window is over, with too few calls to judge: {calls} of {MIN_CALLS}")
        return Verdict(Action.PROMOTE, f"its window is over and its guard held over {calls} calls")

    def state(self) -> CanaryState:
        """Return how it stands."""
        own, base = self._own, self._base
        return CanaryState(
            self.version, self._fraction, self.guard, self._ends_at, own.calls, own.failed, base.calls, base.failed
        )

    def _broken(self) -> Verdict | None:
        own, base = self._own, self._base
        if own.calls >= MIN_CALLS:
            allowed = max(self.guard.error_ratio, base.failed / max(base.calls, MIN_CALLS))
            ratio = own.failed / own.calls
            if ratio > allowed:
                return Verdict(
                    Action.ROLL_BACK,
                    f"{own.failed} of {own.calls} calls failed ({ratio:.1%}), {allowed:.1%} are allowed",
                )
        if len(own.first_tokens) >= MIN_CALLS and len(base.first_tokens) >= MIN_CALLS:
            median_s, base_median_s = own.first_tokens.median_s, base.first_tokens.median_s
            if median_s > self.guard.first_token_ratio * base_median_s:
                return Verdict(
                    Action.ROLL_BACK,
                    f"its median time to the first token is {median_s:.3f} s, the running version's "
                    f"{base_median_s:.3f} s; at most {self.guard.first_token_ratio:g} times that is allowed",
                )
        return None


class _Side:
    """What is known of the calls of one version."""

    __slots__ = ("calls", "failed", "first_tokens")

    def __init__(self) -> None:
        self.calls = 0
        self.failed = 0
        self.first_tokens = _LatestTimes()

    def add(self, outcome: CallOutcome) -> None:
        self.calls += 1
        self.failed += outcome.failed
        if outcome.streams and outcome.first_content_s is not None:
            self.first_tokens.add(outcome.first_content_s)


class _LatestTimes:
    """The latest times, and their median at any moment."""

    __slots__ = ("_in_order", "_sorted")

    def __init__(self) -> None:
        self._in_order: deque[float] = deque()
        self._sorted: list[float] = []

    def __len__(self) -> int:
        return len(self._sorted)

    def add(self, time_s: float) -> None:
        self._in_order.append(time_s)
        insort(self._sorted, time_s)
        if len(self._sorted) > _SAMPLES:
            del self._sorted[bisect_left(self._sorted, self._in_order.popleft())]

    @property
    def median_s(self) -> float:
        """The lower of the two in the middle, if there are two."""
        return self._sorted[(len(self._sorted) - 1) // 2]
