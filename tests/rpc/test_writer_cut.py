"""A stream that is cut while its first frame is on its way."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from tests.rpc.conftest import text

from trunkline_server.engine.frames import Frame
from trunkline_server.rpc.cancellation import Cancellation, Cause
from trunkline_server.rpc.writer import StreamWriter


class SlowContext:
    """Stands in for grpc's: a write ends when the test says so."""

    def __init__(self) -> None:
        self.written = asyncio.Event()

    async def write(self, _payload: bytes) -> None:
        """Take as long as the test wants."""
        await self.written.wait()


async def begin(frame: Frame) -> tuple[SlowContext, StreamWriter, asyncio.Task[None]]:
    """Return a writer in the middle of writing `frame`, and the task that writes and then works on."""
    context = SlowContext()
    ready: asyncio.Future[StreamWriter] = asyncio.get_running_loop().create_future()

    async def work() -> None:
        task = cast("asyncio.Task[object]", asyncio.current_task())
        writer = StreamWriter(cast("Any", context), Cancellation(task), 30.0)
        ready.set_result(writer)
        try:
            await writer.write(frame)
            await asyncio.Event().wait()
        finally:
            writer.close()

    task = asyncio.create_task(work())
    return context, await ready, task


def frame_of(number: int) -> Frame:
    """Return a numbered frame."""
    frame = text("hi")
    frame.seq = number
    return frame


async def test_the_first_write_is_not_cancelled_but_what_follows_it() -> None:
    """Headers that are half sent would be sent twice, and the status be lost."""
    context, writer, task = await begin(frame_of(1))
    await asyncio.sleep(0)
    writer.cut(Cause.DRAIN)
    await asyncio.sleep(0)
    assert not task.cancelling()
    context.written.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert writer.frames == 1
    assert not writer.stuck
