"""Why a call was cancelled: four causes that look alike, told apart.

grpc cancels the task of an RPC at its deadline, when its caller leaves, and when the server stops; we cancel it
ourselves when its reader is too slow or the drain's grace is over; and a task of our own that was cancelled raises
the same CancelledError through an await. Only what grpc cancelled may be left to grpc: anything else must become a
status, or the caller hears nothing until its deadline.
"""

from __future__ import annotations

import asyncio
from enum import Enum

from grpc import aio


class Cause(Enum):
    """Who ended a call before its end."""

    DEADLINE = "deadline"
    CALLER = "caller"
    DRAIN = "drain"
    SLOW_READER = "slow_reader"
    OWN_TASK = "own_task"


class Cancellation:
    """The cancellations that one RPC's task got from us."""

    __slots__ = ("_ours", "_why", "task")

    def __init__(self, task: asyncio.Task[object]) -> None:
        self.task = task
        self._ours = 0
        self._why: Cause | None = None

    def cancel(self, why: Cause) -> None:
        """Cancel the call's task; its boundary then ends it with the status that `why` asks for."""
        self._why = self._why or why
        self._ours += 1
        self.task.cancel()

    def judge(self, remaining_s: float | None) -> Cause:
        """Say why CancelledError came out of the call's work, and take back our own cancellations.

        `remaining_s`: what was left of the caller's deadline, None without one.
        """
        for _ in range(self._ours):
            self.task.uncancel()
        self._ours = 0
        if self.task.cancelling():
            # grpc's own is among them: whatever we wanted to say, nobody is there to hear it.
            return Cause.DEADLINE if remaining_s == 0 else Cause.CALLER
        return self._why or Cause.OWN_TASK


def time_left_s(context: aio.ServicerContext[bytes, bytes]) -> float | None:
    """Return what is left of the caller's deadline in seconds, at least 0; None without one."""
    left_s: float | None = context.time_remaining()
    return left_s
