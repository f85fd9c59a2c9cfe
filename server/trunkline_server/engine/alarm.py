"""One timer for a whole call: its budget, and within that the phase it is in.

Phases change with every piece of content, so nothing is scheduled again while the timer that is set fires early
enough: it then looks at the time that counts and sets itself once more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from trunkline_server.routing.failures import FailureClass
from trunkline_server.routing.types import Reason

Cause = FailureClass | Reason
"""Why an alarm went off: a phase's class, or the reason that ends the whole call."""


class Alarm:
    """Cancels `task` when the time that was set last has passed, and remembers why.

    Whoever catches the CancelledError asks `caught()`: a cause means that it was this alarm, and the cancellation is
    taken back; None means that somebody else cancelled, and the error has to be raised again.
    Invariant: at most one timer handle is scheduled; `close` leaves none.
    """

    __slots__ = ("_at", "_budget_at", "_cause", "_clock", "_fired", "_handle", "_handle_at", "_loop", "_task")

    def __init__(self, task: asyncio.Task[object], budget_at: float, clock: Callable[[], float]) -> None:
        self._task = task
        self._loop = task.get_loop()
        self._clock = clock
        self._budget_at = budget_at
        self._at = budget_at
        self._cause: Cause = Reason.DEADLINE
        self._fired: Cause | None = None
        self._handle: asyncio.TimerHandle | None = None
        self._handle_at = 0.0
        self._schedule()

    def set(self, at: float, cause: FailureClass) -> None:
        """Let the present phase end at `at`; the call's budget stays an upper bound."""
        if at < self._budget_at:
            self._at, self._cause = at, cause
        else:
            self._at, self._cause = self._budget_at, Reason.DEADLINE
        if self._handle is None or self._at < self._handle_at:
            self._schedule()

    def clear(self) -> None:
        """End the phase: only the budget counts until the next one."""
        self._at, self._cause = self._budget_at, Reason.DEADLINE
        if self._handle is None:
            # It rang for the phase; somebody has to ring for the budget.
            self._schedule()

    def fire(self, cause: Cause) -> None:
        """Go off now, for a reason from outside; the first cause stands."""
        if self._fired is None and not self._task.done():
            self._fired = cause
            self._task.cancel()

    @property
    def fired(self) -> Cause | None:
        """The cause for which it went off, until that was caught."""
        return self._fired

    def caught(self) -> Cause | None:
        """Say why the task was cancelled: this alarm's cause, or None if somebody else wants it gone."""
        cause = self._fired
        if cause is None:
            return None
        self._fired = None
        if self._task.uncancel() > 0:
            return None
        return cause

    def close(self) -> None:
        """Release the timer."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _schedule(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
        self._handle_at = self._at
        self._handle = self._loop.call_later(max(0.0, self._at - self._clock()), self._ring)

    def _ring(self) -> None:
        self._handle = None
        if self._clock() < self._at:
            self._schedule()
        else:
            self.fire(self._cause)
