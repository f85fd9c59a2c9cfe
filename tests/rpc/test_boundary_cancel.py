from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import grpc
import pytest
from grpc import aio
from tests.rpc.conftest import (
    FakeEngine,
    chat,
    completed,
    failure_of,
    kinds,
    opening,
    read_all,
    read_until_failure,
    serving,
    text,
    told,
    until,
    whole_stream,
)

from trunkline import v1 as pb
from trunkline_server.chat.request import ChatRequest
from trunkline_server.engine.api import CallScope
from trunkline_server.engine.frames import CompletedCall, Frame


async def hangs(_request: ChatRequest, _scope: CallScope) -> CompletedCall:
    await asyncio.Event().wait()
    raise AssertionError("nobody sets that event")


async def hangs_after_content(_request: ChatRequest, _scope: CallScope) -> AsyncGenerator[Frame, None]:
    for frame in (*opening(), text("hi")):
        yield frame
    await asyncio.Event().wait()


async def never_stops(_request: ChatRequest, _scope: CallScope) -> AsyncGenerator[Frame, None]:
    for frame in opening():
        yield frame
    while True:
        yield text("x" * 32_768)


async def test_a_caller_that_leaves_stops_a_unary_call() -> None:
    """Cancelling Complete cancels the engine's work, and the line says who did it."""
    async with serving(FakeEngine(on_complete=hangs)) as served:
        call = served.stub.Complete(chat())
        await served.engine.began.wait()
        call.cancel()
        async with asyncio.timeout(5):
            await served.engine.closed.wait()
        (line,) = await served.log.next_of("rpc")
    assert (line["cancelled_by"], line["code"], line["outcome"]) == ("caller", "CANCELLED", "CANCELLED")
    assert not served.log.of("exception")


async def test_a_caller_that_leaves_closes_the_stream_in_its_own_task() -> None:
    """Cancelling a stream closes the engine's generator at once, in the task that pulled from it."""
    async with serving(FakeEngine(on_stream=hangs_after_content)) as served:
        call = served.stub.StreamComplete(chat())
        for _ in range(3):
            await call.read()
        call.cancel()
        async with asyncio.timeout(5):
            await served.engine.closed.wait()
        (line,) = await served.log.next_of("rpc")
    assert served.engine.closed_in_own_task
    assert line["cancelled_by"] == "caller"
    assert line["frames"] == 3
    assert not served.log.of("exception")


async def test_a_caller_that_leaves_during_a_write_is_no_fault_of_the_engine() -> None:
    """Cancelling while a frame waits for its reader closes the generator in its own task; nothing is reported."""
    async with serving(FakeEngine(on_stream=never_stops)) as served:
        call = served.stub.StreamComplete(chat())
        await call.read()
        call.cancel()
        async with asyncio.timeout(5):
            await served.engine.closed.wait()
        (line,) = await served.log.next_of("rpc")
    assert served.engine.closed_in_own_task
    assert line["cancelled_by"] == "caller"
    assert not served.log.of("exception")


@pytest.mark.parametrize("streams", [False, True])
async def test_the_deadline_is_told_apart_from_a_caller_that_leaves(*, streams: bool) -> None:
    """A call that grpc ended at its deadline is logged as that."""
    async with serving(FakeEngine(on_complete=hangs, on_stream=hangs_after_content)) as served:
        if streams:
            _, error = await read_all(served.stub.StreamComplete(chat(), timeout=0.2))
            assert error is not None
        else:
            with pytest.raises(aio.AioRpcError) as caught:
                await served.stub.Complete(chat(), timeout=0.2)
            error = caught.value
        (line,) = await served.log.next_of("rpc")
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert (line["cancelled_by"], line["code"], line["reason"]) == ("deadline", "DEADLINE_EXCEEDED", "DEADLINE")


async def test_a_cancelled_task_of_ours_becomes_a_status() -> None:
    """CancelledError out of the engine, without anybody having cancelled the call, is INTERNAL at once."""

    async def awaits_a_cancelled_task(_request: ChatRequest, _scope: CallScope) -> CompletedCall:
        inner = asyncio.create_task(asyncio.Event().wait())
        inner.cancel()
        await inner
        raise AssertionError("the task was cancelled")

    async with serving(FakeEngine(on_complete=awaits_a_cancelled_task)) as served:
        failure = await failure_of(served.stub.Complete(chat(), timeout=20))
        (line,) = await served.log.next_of("rpc")
    assert (failure.code, failure.reason) == (grpc.StatusCode.INTERNAL, "INTERNAL")
    assert line["cancelled_by"] == "own_task"


async def test_a_slow_reader_is_cut_off() -> None:
    """A reader that takes no frame for write_timeout_s ends as SLOW_READER, its upstream closed long before."""
    async with serving(FakeEngine(on_stream=never_stops), write_timeout_s=0.3) as served:
        call = served.stub.StreamComplete(chat())
        await call.read()
        async with asyncio.timeout(10):
            await served.engine.closed.wait()
        (line,) = await served.log.next_of("rpc")
        frames: list[pb.StreamFrame] = []
        failure = told(await read_until_failure(call, frames))
    assert (failure.code, failure.reason) == (grpc.StatusCode.ABORTED, "SLOW_READER")
    assert (line["cancelled_by"], line["reason"], line["code"]) == ("slow_reader", "SLOW_READER", "ABORTED")
    assert len(frames) + 1 >= line["frames"]


async def test_a_steady_reader_is_never_cut_off() -> None:
    """Only the time of one write counts: silence of the engine beyond write_timeout_s does not."""
    silent = asyncio.Event()

    async def slow_engine(request: ChatRequest, _scope: CallScope) -> AsyncGenerator[Frame, None]:
        del request
        async for frame in whole_stream():
            yield frame
            if frame.__class__.__name__ == "ContentFrame":
                await silent.wait()

    async with serving(FakeEngine(on_stream=slow_engine), write_timeout_s=0.05) as served:
        asyncio.get_running_loop().call_later(0.3, silent.set)
        frames, error = await read_all(served.stub.StreamComplete(chat()))
    assert error is None
    assert kinds(frames)[-1] == "end"


async def test_many_cancels_leave_nothing_behind() -> None:
    """After 200 cancelled calls no call is counted in, no task is left over, and the server serves."""
    engine = FakeEngine(on_complete=hangs, on_stream=hangs_after_content)
    async with serving(engine) as served:
        before = len(asyncio.all_tasks())
        for batch in range(10):
            calls = [served.stub.Complete(chat()) for _ in range(10)]
            streams = [served.stub.StreamComplete(chat()) for _ in range(10)]
            for stream in streams:
                await stream.read()
            for call in (*calls, *streams):
                call.cancel()
            await served.log.next_of("rpc", count=20 * batch + 10)
        await until(lambda: not served.server.in_flight and len(asyncio.all_tasks()) <= before)
        engine.on_complete = None
        assert (await served.stub.Complete(chat())).request_id == "r-1"
    assert not served.log.of("exception")


async def test_an_answer_that_comes_after_all_is_given() -> None:
    """A call that waits in the engine for a while is answered as any other."""
    go_on = asyncio.Event()

    async def waits(request: ChatRequest, _scope: CallScope) -> CompletedCall:
        await go_on.wait()
        return completed(request)

    async with serving(FakeEngine(on_complete=waits)) as served:
        call = served.stub.Complete(chat())
        await served.engine.began.wait()
        go_on.set()
        response: pb.CompleteResponse = await call
    assert response.request_id == "r-1"
