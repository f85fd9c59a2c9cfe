"""ResumeStream over a real connection: reading on, ending, and every way in which that is refused."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Any

import grpc
import pytest
from grpc import aio
from tests.rpc.conftest import (
    ATTEMPT,
    ROUTE,
    FakeEngine,
    Served,
    Told,
    opening,
    read_all,
    serving,
    text,
    told,
    until,
    whole_end,
)

from trunkline import v1 as pb
from trunkline_server.chat.answer import FinishReason
from trunkline_server.engine.api import CallScope
from trunkline_server.engine.frames import CallFailedError, CallFailure, EndFrame, Frame, StreamOutcome
from trunkline_server.routing.types import Reason
from trunkline_server.rpc.codes import STATUS_OF_REASON

STREAM_ID = "0-00112233445566778899aabbccddeeff"
REFUSALS = [
    Reason.STREAM_NOT_FOUND,
    Reason.STREAM_NOT_DETACHABLE,
    Reason.STREAM_TOO_OLD,
    Reason.BAD_REQUEST,
    Reason.SERVER_DRAINING,
]
Resume = Callable[[str, int, CallScope], AsyncGenerator[Frame, None]]


def resume(served: Served, after_seq: int = 0, *, cancel: bool = False, stream_id: str = STREAM_ID) -> Any:
    request = pb.ResumeStreamRequest(stream_id=stream_id, after_seq=after_seq, cancel=cancel)
    return served.stub.ResumeStream(request)


def yields(*frames: Frame, then: CallFailure | None = None) -> Resume:
    async def go_on(_stream_id: str, _after_seq: int, _scope: CallScope) -> AsyncGenerator[Frame, None]:
        for frame in frames:
            yield frame
        if then is not None:
            raise CallFailedError(then)

    return go_on


async def refused(served: Served, **request: Any) -> Told:
    frames, error = await read_all(resume(served, **request))
    assert not frames
    assert error is not None
    return told(error)


async def test_a_stream_is_read_on_under_its_own_numbers() -> None:
    """The engine is asked for what comes after `after_seq`, and its frames keep their numbers."""
    asked: list[tuple[str, int]] = []

    async def go_on(stream_id: str, after_seq: int, _scope: CallScope) -> AsyncGenerator[Frame, None]:
        asked.append((stream_id, after_seq))
        for frame in (text("hi"), whole_end()):
            yield frame

    async with serving(FakeEngine(on_resume=go_on)) as served:
        frames, error = await read_all(resume(served, 40))
        (line,) = await served.log.next_of("rpc")
    assert error is None
    assert asked == [(STREAM_ID, 40)]
    assert [frame.seq for frame in frames] == [41, 42]
    assert (line["resumed"], line["stream_id"], line["frames"]) == (True, STREAM_ID, 2)
    assert (line["outcome"], line["served_by"], line["attempts"]) == ("COMPLETE", "openai/gpt", 1)


async def test_a_stream_that_is_read_from_its_beginning_has_its_first_frame_again() -> None:
    """After 0 everything comes."""
    async with serving(FakeEngine(on_resume=yields(*opening(), text("hi"), whole_end()))) as served:
        frames, error = await read_all(resume(served))
    assert error is None
    assert [frame.seq for frame in frames] == [1, 2, 3, 4]
    assert frames[0].HasField("started")


async def test_a_stream_that_was_read_to_its_end_gives_its_status_alone() -> None:
    """Who has every frame gets none, and OK: that is no defect."""
    async with serving(FakeEngine(on_resume=yields())) as served:
        frames, error = await read_all(resume(served, 42))
    assert (frames, error) == ([], None)
    assert not served.log.of("exception")


async def test_frames_without_an_end_are_a_defect_when_reading_on_too() -> None:
    """A generator that just stops does not become an OK; there is nothing to close the frames with."""
    async with serving(FakeEngine(on_resume=yields(text("hi")))) as served:
        frames, error = await read_all(resume(served, 3))
    assert error is not None
    assert [frame.WhichOneof("frame") for frame in frames] == ["deltas"]
    assert told(error).reason == "INTERNAL"


async def test_a_failure_of_the_stream_ends_its_new_reader_alike() -> None:
    """The end frame and the status agree, whoever reads them."""
    failure = CallFailure(Reason.STREAM_BROKEN, "it broke", attempts=(ATTEMPT,))
    end = EndFrame(StreamOutcome.FAILED, FinishReason.BROKEN, "", failure, None, (ATTEMPT,), ROUTE, 2, 0)
    async with serving(FakeEngine(on_resume=yields(end, then=failure))) as served:
        frames, error = await read_all(resume(served, 3))
    assert error is not None
    assert told(error).code is grpc.StatusCode.ABORTED
    assert frames[-1].end.error.code == grpc.StatusCode.ABORTED.value[0]


@pytest.mark.parametrize("reason", REFUSALS, ids=lambda reason: reason.value)
@pytest.mark.parametrize("when", ["when called", "when pulled"])
async def test_every_refusal_is_told_apart(reason: Reason, when: str) -> None:
    """Whether the engine refuses at once or when the first frame is asked for: its status, and no frame."""
    failure = CallFailure(reason, "refused")

    def refuse(stream_id: str, after_seq: int, scope: CallScope) -> AsyncGenerator[Frame, None]:
        if when == "when called":
            raise CallFailedError(failure)
        return yields(then=failure)(stream_id, after_seq, scope)

    async with serving(FakeEngine(on_resume=refuse)) as served:
        result = await refused(served)
        (line,) = await served.log.next_of("rpc")
    assert (result.code, result.reason) == (STATUS_OF_REASON[reason], reason.value)
    assert (line["outcome"], line["reason"], line["stream_id"]) == ("REFUSED", reason.value, STREAM_ID)


@pytest.mark.parametrize("stream_id", ["", "x" * 65])
async def test_an_id_that_can_be_none_is_a_violation(stream_id: str) -> None:
    """With its path, for reading on and for ending alike; the engine is not asked."""
    async with serving() as served:
        for cancel in (False, True):
            result = await refused(served, stream_id=stream_id, cancel=cancel)
            assert (result.reason, result.violations) == ("BAD_REQUEST", ["stream_id"])
        assert not served.engine.scopes
        assert all(len(line.get("stream_id", "")) <= 64 for line in await served.log.next_of("rpc", 2))


async def test_a_reader_that_is_replaced_gets_no_end() -> None:
    """Its RPC ends with its status: the stream goes on, so that no end frame would be true."""
    failure = CallFailure(Reason.STREAM_TAKEN_OVER, "another reader goes on", stream_goes_on=True)

    async with serving(FakeEngine(on_resume=yields(*opening(), text("hi"), then=failure))) as served:
        frames, error = await read_all(resume(served))
        (line,) = await served.log.next_of("rpc")
    assert error is not None
    assert told(error).reason == "STREAM_TAKEN_OVER"
    assert [frame.WhichOneof("frame") for frame in frames] == ["started", "attempt_started", "deltas"]
    assert (line["outcome"], line["code"]) == ("DETACHED", "ABORTED")
    assert not served.log.of("exception")


async def test_a_stream_is_ended_without_frames() -> None:
    """`cancel` waits until the engine has closed it, and the RPC ends OK."""
    closed: list[str] = []

    async def close(stream_id: str, _scope: CallScope) -> None:
        await asyncio.sleep(0)
        closed.append(stream_id)

    async with serving(FakeEngine(on_cancel=close)) as served:
        call = resume(served, 7, cancel=True)
        frames, error = await read_all(call)
        assert await call.code() is grpc.StatusCode.OK
        (line,) = await served.log.next_of("rpc")
    assert (frames, error, closed) == ([], None, [STREAM_ID])
    assert (line["outcome"], line["code"], line["resumed"]) == ("CANCELLED", "OK", True)


async def test_a_stream_that_is_not_there_cannot_be_ended() -> None:
    """The refusals of reading on are those of ending."""
    async with serving() as served:
        result = await refused(served, cancel=True)
    assert (result.code, result.reason) == (grpc.StatusCode.NOT_FOUND, "STREAM_NOT_FOUND")


async def test_a_new_reader_that_leaves_leaves_the_stream() -> None:
    """The engine's generator is closed in the RPC's own task; the line says that the stream goes on."""

    async def hangs(_stream_id: str, _after_seq: int, _scope: CallScope) -> AsyncGenerator[Frame, None]:
        yield text("hi")
        await asyncio.Event().wait()

    async with serving(FakeEngine(on_resume=hangs)) as served:
        call = resume(served, 3)
        assert await call.read() is not aio.EOF
        call.cancel()
        async with asyncio.timeout(5):
            await served.engine.closed.wait()
        (line,) = await served.log.next_of("rpc")
        await until(lambda: not served.server.in_flight)
    assert (line["cancelled_by"], line["outcome"], line["stream_id"]) == ("caller", "DETACHED", STREAM_ID)


async def test_a_new_reader_is_cut_by_the_drain_without_made_up_frames() -> None:
    """What came before is not known here, so that its call gets the status alone."""

    async def hangs(_stream_id: str, _after_seq: int, _scope: CallScope) -> AsyncGenerator[Frame, None]:
        yield text("hi")
        await asyncio.Event().wait()

    async with serving(FakeEngine(on_resume=hangs)) as served:
        call = resume(served, 3)
        first = await call.read()
        await served.server.stop_now()
        with pytest.raises(aio.AioRpcError) as caught:
            await call.read()
    assert first.seq == 4
    assert told(caught.value).reason == "SERVER_DRAINING", caught.value
