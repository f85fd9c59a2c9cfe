"""Two attempts at once, before the first content: the one that is first goes on alone, the other is closed at once.

Each racer runs in a task of its own. Invariant: both tasks have ended when `run` returns or raises.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from trunkline_server.engine.record import AttemptRecord
from trunkline_server.routing.events import AttemptFailed, Event

_Result = TypeVar("_Result")

Outcome = tuple[_Result | None, Event]
"""What an attempt gave, and what is to be told of it."""


class Race(Generic[_Result]):
    """One attempt, and maybe a second one beside it.

    `make` makes an attempt in the task that it is called in. `second` asks for another one, at a time when nothing is
    known of the first: it returns a record, or None if there may be none. `racing` tells whether both still count.
    `told` is handed the failure of one while the other goes on. `gone` is handed the record of each that has ended: one
    that was cancelled before its first step never ran, and gave nothing back.
    """

    def __init__(
        self,
        make: Callable[[AttemptRecord], Awaitable[Outcome[_Result]]],
        second: Callable[[], AttemptRecord | None],
        racing: Callable[[], bool],
        told: Callable[[AttemptFailed], object],
        gone: Callable[[AttemptRecord], None],
    ) -> None:
        self._make = make
        self._second = second
        self._racing = racing
        self._told = told
        self._gone = gone
        self._tasks: dict[asyncio.Task[Outcome[_Result]], AttemptRecord] = {}
        self._winner: AttemptRecord | None = None

    async def run(self, first: AttemptRecord, wait_s: float) -> Outcome[_Result]:
        """Return the outcome of the attempt that counts; the second one starts after `wait_s` without content."""
        try:
            self._start(first)
            await asyncio.wait(self._tasks, timeout=wait_s)
            if self._winner is None and not any(task.done() for task in self._tasks):
                record = self._second()
                if record is not None:
                    self._start(record)
            while True:
                done, _ = await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
                for task in sorted(done, key=lambda task: self._tasks[task].attempt):
                    outcome = self._ended(task)
                    if outcome is not None:
                        return outcome
        finally:
            await self._all_gone()

    def win(self, record: AttemptRecord) -> None:
        """Say that this attempt is the one that counts: the other one is cancelled."""
        self._winner = record
        for task, other in self._tasks.items():
            if other is not record:
                other.discarded = True
                task.cancel()

    def _start(self, record: AttemptRecord) -> None:
        async def racer() -> Outcome[_Result]:
            return await self._make(record)

        self._tasks[asyncio.create_task(racer())] = record

    def _ended(self, task: asyncio.Task[Outcome[_Result]]) -> Outcome[_Result] | None:
        """Return what the end of one racer means for the call; None if it means nothing, since the other counts."""
        record = self._tasks.pop(task)
        self._gone(record)
        if self._winner is not None and record is not self._winner:
            if not task.cancelled():
                task.result()  # a defect is raised; whatever else it was came too late
            return None
        result, event = task.result()
        if isinstance(event, AttemptFailed) and self._racing():
            self._told(event)
            return None
        return result, event

    async def _all_gone(self) -> None:
        """Cancel what still runs, and wait for its end, whatever happens meanwhile."""
        interrupted = False
        for task in self._tasks:
            task.cancel()
        while pending := [task for task in self._tasks if not task.done()]:
            try:
                await asyncio.wait(pending)
            except asyncio.CancelledError:
                interrupted = True
        for record in self._tasks.values():
            self._gone(record)
        self._tasks.clear()
        if interrupted:
            raise asyncio.CancelledError
