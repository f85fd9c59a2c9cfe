"""What became of the attempts at each target in the last minute, and the last failovers: fed by each call's outcome."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable

from trunkline_server.control.types import Failover
from trunkline_server.engine.outcome import AttemptOutcome, CallOutcome
from trunkline_server.routing.clock import Clock
from trunkline_server.routing.failures import FailureClass
from trunkline_server.routing.types import TargetId

FAILOVERS = 20
MAX_TARGETS = 1_000
"""Targets that are counted. Callers may name any model: beyond this, those are dropped that had nothing for longest."""
_WINDOW_S = 60.0
_PARTS = 12
_WIDTH_S = _WINDOW_S / _PARTS


class _Minute:
    """One target's attempts of the last minute, counted in parts of it."""

    __slots__ = ("_parts", "attempts", "spoke", "succeeded")

    def __init__(self) -> None:
        self._parts: deque[list[int]] = deque()
        """The number of each part of time that had any; its attempts, those that say something, and the successes."""
        self.attempts = 0
        self.spoke = 0
        self.succeeded = 0

    def book(self, part: int, *, spoke: bool, succeeded: bool) -> None:
        self.forget(part)
        if not self._parts or self._parts[-1][0] != part:
            self._parts.append([part, 0, 0, 0])
        counts = self._parts[-1]
        counts[1] += 1
        counts[2] += spoke
        counts[3] += succeeded
        self.attempts += 1
        self.spoke += spoke
        self.succeeded += succeeded

    def forget(self, part: int) -> None:
        while self._parts and self._parts[0][0] <= part - _PARTS:
            _, attempts, spoke, succeeded = self._parts.popleft()
            self.attempts -= attempts
            self.spoke -= spoke
            self.succeeded -= succeeded


class StatusBooks:
    """The counters. `book` is an `OutcomeListener`: O(1) for each attempt, and bounded in memory."""

    def __init__(self, *, clock: Clock = time.monotonic, unix_clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._unix_clock = unix_clock
        self._targets: dict[TargetId, _Minute] = {}
        """In the order of their latest attempts."""
        self._failovers: deque[Failover] = deque(maxlen=FAILOVERS)

    def book(self, outcome: CallOutcome) -> None:
        """Count the attempts of a call that is over."""
        part = self._part()
        for attempt in outcome.attempts:
            minute = self._targets.pop(attempt.target, None) or _Minute()
            self._targets[attempt.target] = minute
            spoke = not attempt.says_nothing
            minute.book(part, spoke=spoke, succeeded=spoke and attempt.failure_class is None)
        while len(self._targets) > MAX_TARGETS:
            del self._targets[next(iter(self._targets))]
        for number, attempt in enumerate(outcome.attempts):
            if attempt.failure_class is not None:
                self._book_failover(outcome.model, attempt, outcome.attempts[number + 1 :])

    def _book_failover(self, model: str, failed: AttemptOutcome, later: tuple[AttemptOutcome, ...]) -> None:
        """Note where a failed attempt's call went, if it left the target, or that nobody took over."""
        if failed.says_nothing or failed.failure_class is None or failed.failure_class is FailureClass.CALLER_INVALID:
            return
        to = later[0].target if later else None
        if to == failed.target:
            return  # another key or another try: the call did not have to go elsewhere yet
        taken_by = "" if to is None else str(to)
        self._failovers.append(
            Failover(self._unix_clock(), model, str(failed.target), taken_by, failed.failure_class.value)
        )

    def failovers(self) -> tuple[Failover, ...]:
        """Return the last failovers, the newest first."""
        return tuple(reversed(self._failovers))

    def seen(self) -> tuple[TargetId, ...]:
        """Return the targets that had attempts in the last minute."""
        part = self._part()
        return tuple(target for target, minute in self._targets.items() if self._attempts(minute, part))

    def of(self, target: TargetId) -> tuple[int, float | None]:
        """Return a target's attempts in the last minute, and the share of them that succeeded.

        None: not one of them says anything. A minute is counted to within 5 s.
        """
        minute = self._targets.get(target)
        if minute is None or not self._attempts(minute, self._part()):
            return 0, None
        return minute.attempts, minute.succeeded / minute.spoke if minute.spoke else None

    @staticmethod
    def _attempts(minute: _Minute, part: int) -> int:
        minute.forget(part)
        return minute.attempts

    def _part(self) -> int:
        return math.floor(self._clock() / _WIDTH_S)
