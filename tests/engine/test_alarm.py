"""The one timer of a call."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from typing import Any

import pytest

from trunkline_server.engine.alarm import Alarm
from trunkline_server.routing.failures import FailureClass
from trunkline_server.routing.types import Reason


def own_task() -> asyncio.Task[Any]:
    task = asyncio.current_task()
    assert task is not None
    return task


def in_s(seconds: float) -> float:
    return time.monotonic() + seconds


async def caught(alarm: Alarm, wait: Coroutine[Any, Any, Any]) -> object:
    """Wait; return what the alarm says when it went off."""
    with pytest.raises(asyncio.CancelledError):
        await wait
    return alarm.caught()


async def test_a_phase_ends_with_its_class() -> None:
    """When the phase's time is over the wait is cancelled, and the cancellation is taken back."""
    alarm = Alarm(own_task(), in_s(5), time.monotonic)
    alarm.set(in_s(0.01), FailureClass.STALLED)
    assert await caught(alarm, asyncio.sleep(5)) is FailureClass.STALLED
    assert own_task().cancelling() == 0
    alarm.close()


async def test_the_budget_bounds_every_phase() -> None:
    """A phase longer than what is left of the deadline ends as DEADLINE."""
    alarm = Alarm(own_task(), in_s(0.01), time.monotonic)
    alarm.set(in_s(60), FailureClass.STALLED)
    assert await caught(alarm, asyncio.sleep(5)) is Reason.DEADLINE
    alarm.close()


async def test_a_phase_that_was_cleared_or_moved_does_not_ring() -> None:
    """Progress moves the time on, and an ended phase leaves only the budget."""
    alarm = Alarm(own_task(), in_s(5), time.monotonic)
    alarm.set(in_s(0.005), FailureClass.FIRST_TOKEN_TIMEOUT)
    alarm.set(in_s(1), FailureClass.STALLED)
    await asyncio.sleep(0.02)
    alarm.set(in_s(0.005), FailureClass.STALLED)
    alarm.clear()
    await asyncio.sleep(0.02)
    assert alarm.caught() is None
    alarm.close()


async def test_somebody_elses_cancellation_is_not_the_alarms() -> None:
    """A cancel from outside is raised on, also when the alarm went off in the same turn."""

    async def body(started: asyncio.Event, heard: list[object]) -> None:
        alarm = Alarm(own_task(), in_s(5), time.monotonic)
        try:
            started.set()
            await asyncio.sleep(5)
        except asyncio.CancelledError:
            heard.append(alarm.caught())
            raise
        finally:
            alarm.close()

    started, heard = asyncio.Event(), list[object]()
    task = asyncio.ensure_future(body(started, heard))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert heard == [None]


async def test_both_at_once_means_the_caller_left() -> None:
    """Alarm and outside cancel in one turn: the outside one wins."""
    started = asyncio.Event()
    alarms: list[Alarm] = []

    async def body() -> object:
        alarms.append(Alarm(own_task(), in_s(5), time.monotonic))
        try:
            started.set()
            await asyncio.sleep(5)
        except asyncio.CancelledError:
            cause = alarms[0].caught()
            alarms[0].close()
            if cause is None:
                raise
            return cause
        return "nothing"

    task = asyncio.ensure_future(body())
    await started.wait()
    alarms[0].fire(Reason.SERVER_DRAINING)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_the_first_cause_stands() -> None:
    """A second cause does not replace the one that already rang."""
    alarm = Alarm(own_task(), in_s(5), time.monotonic)
    asyncio.get_running_loop().call_soon(alarm.fire, Reason.SERVER_DRAINING)
    asyncio.get_running_loop().call_soon(alarm.fire, FailureClass.STALLED)
    assert await caught(alarm, asyncio.sleep(5)) is Reason.SERVER_DRAINING
    alarm.close()


async def test_the_budget_still_counts_after_a_phase_has_rung() -> None:
    """A phase that went off and was caught leaves the call's budget on guard, whatever is done next."""
    alarm = Alarm(own_task(), in_s(0.05), time.monotonic)
    alarm.set(in_s(0.01), FailureClass.FIRST_TOKEN_TIMEOUT)
    assert await caught(alarm, asyncio.sleep(5)) is FailureClass.FIRST_TOKEN_TIMEOUT
    alarm.clear()
    assert await caught(alarm, asyncio.sleep(5)) is Reason.DEADLINE
    alarm.close()
