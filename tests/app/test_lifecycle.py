"""The life of the process: when it is ready, how it drains, and what cuts that short."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from trunkline_server.lifecycle import Lifecycle, Phase


class Drained:
    """A drain that lasts until it is told to end, and what became of it."""

    def __init__(self) -> None:
        self.began = asyncio.Event()
        self.end = asyncio.Event()
        self.cancelled = False
        self.stopped = 0

    async def drain(self) -> None:
        self.began.set()
        try:
            await self.end.wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise

    async def stop_now(self) -> None:
        self.stopped += 1


async def test_the_first_signal_drains_and_a_drain_that_ends_is_whole() -> None:
    """Ready until the signal, not ready from then on; nothing is stopped by force."""
    drained = Drained()
    with Lifecycle() as life:
        seen = [life.ready]
        running = asyncio.ensure_future(life.run(drained.drain, drained.stop_now))
        await asyncio.sleep(0)
        seen.append(life.ready)
        os.kill(os.getpid(), signal.SIGTERM)
        await drained.began.wait()
        seen.append(life.ready)
        assert seen == [False, True, False]
        assert life.phase.value == "draining"
        drained.end.set()
        assert await running
    assert (drained.cancelled, drained.stopped) == (False, 0)
    assert life.phase is Phase.STOPPED


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
async def test_a_second_signal_stops_at_once(second: signal.Signals) -> None:
    """Either signal, a second time: the drain is cancelled and what is left is stopped, exactly once."""
    drained = Drained()
    with Lifecycle() as life:
        running = asyncio.ensure_future(life.run(drained.drain, drained.stop_now))
        await asyncio.sleep(0)
        os.kill(os.getpid(), signal.SIGINT)
        await drained.began.wait()
        os.kill(os.getpid(), second)
        assert not await running
    assert (drained.cancelled, drained.stopped) == (True, 1)


async def test_a_signal_before_it_is_ready_is_not_lost() -> None:
    """Asked to stop while it starts, it drains as soon as it has started."""
    drained = Drained()
    drained.end.set()
    with Lifecycle() as life:
        life.stop()
        assert await life.run(drained.drain, drained.stop_now)
    assert drained.began.is_set()


async def test_a_drain_that_fails_is_not_taken_for_a_whole_one() -> None:
    """What goes wrong while draining comes out."""

    async def fails() -> None:
        raise OSError("the socket is gone")

    drained = Drained()
    with Lifecycle() as life:
        life.stop()
        with pytest.raises(OSError, match="gone"):
            await life.run(fails, drained.stop_now)


async def test_a_cancelled_drain_leaves_nothing_running() -> None:
    """Whoever cancels the run gets everything stopped before it ends."""
    drained = Drained()
    before = asyncio.all_tasks()
    with Lifecycle() as life:
        running = asyncio.ensure_future(life.run(drained.drain, drained.stop_now))
        await asyncio.sleep(0)
        life.stop()
        await drained.began.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        # The wait for the second signal, cancelled too, ends with the next turn of the loop.
        await asyncio.sleep(0)
    assert (drained.cancelled, drained.stopped) == (True, 1)
    assert asyncio.all_tasks() == before


async def test_a_hang_up_is_passed_on_and_stops_nothing() -> None:
    """SIGHUP calls what reads the routes again, each time, and the process stays ready."""
    heard = asyncio.Queue[int]()
    drained = Drained()
    with Lifecycle(lambda: heard.put_nowait(1)) as life:
        running = asyncio.ensure_future(life.run(drained.drain, drained.stop_now))
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGHUP)
            async with asyncio.timeout(5):
                await heard.get()
        assert life.ready
        life.drain(1.5)
        life.drain(99.0)
        drained.end.set()
        assert await running
        assert life.grace_s == 1.5
