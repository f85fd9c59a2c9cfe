"""The two faces of the reader, over real connections to a server that sends what it is told."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, assert_type

import grpc
import pytest
from tests.client.conftest import PATIENCE_S, Wire
from tests.client.frames import Writer, short

from trunkline import (
    AioAnswerStream,
    Answer,
    AnswerStream,
    CallFailedError,
    CallFailure,
    StreamBrokenError,
    StreamCorruptError,
    StreamError,
    StreamEvent,
    StreamLostError,
    TextPiece,
    connect,
    connect_aio,
    read_stream,
    read_stream_aio,
)
from trunkline.v1 import CompleteRequest, CompletionServiceStub, End, Started

if TYPE_CHECKING:
    from trunkline.v1 import CompletionServiceAsyncStub

TOKEN = "caller-token-1"  # noqa: S105 - an example
ASK = CompleteRequest(model="default")


def typed_sync(stub: CompletionServiceStub) -> None:
    """Type-checked only: what a user of the synchronous face gets."""
    with read_stream(stub.StreamComplete(ASK)) as stream:
        assert_type(stream, AnswerStream)
        for event in stream:
            assert_type(event, StreamEvent)
            if isinstance(event, TextPiece):
                assert_type(event.text, str)
        assert_type(stream.answer(), Answer)
        assert_type(stream.partial, Answer)


async def typed_aio(channel: grpc.aio.Channel) -> None:
    """Type-checked only: what a user of the asynchronous face gets."""
    stub: CompletionServiceAsyncStub = CompletionServiceStub(channel)
    async with read_stream_aio(stub.StreamComplete(ASK)) as stream:
        assert_type(stream, AioAnswerStream)
        async for event in stream:
            assert_type(event, StreamEvent)
        assert_type(await stream.answer(), Answer)
    try:
        await read_stream_aio(stub.StreamComplete(ASK)).answer()
    except StreamError as error:
        assert_type(error.partial, Answer)
        assert_type(error.failure, CallFailure)


def read(wire: Wire) -> tuple[list[StreamEvent], Answer]:
    """Return the events and the answer, read on a synchronous channel."""
    events: list[StreamEvent] = []
    with connect(wire.target) as channel:
        stream = read_stream(CompletionServiceStub(channel).StreamComplete(ASK, timeout=PATIENCE_S))
        events.extend(stream)
        return events, stream.answer()


async def read_aio(wire: Wire, token: str | None = None) -> tuple[list[StreamEvent], Answer]:
    """Return the events and the answer, read on an asynchronous channel."""
    async with connect_aio(wire.target, token=token) as channel:
        stub: CompletionServiceAsyncStub = CompletionServiceStub(channel)
        stream = read_stream_aio(stub.StreamComplete(ASK, timeout=PATIENCE_S))
        events = [event async for event in stream]
        return events, await stream.answer()


def test_events_then_the_answer(wire: Wire) -> None:
    """Iterating gives what comes, ends once the answer proved whole, and the answer is there."""
    wire.frames = short().text(" again").end().frames
    events, answer = read(wire)
    assert isinstance(events[0], Started)
    assert [event.text for event in events if isinstance(event, TextPiece)] == ["Hello", " again"]
    assert answer.text == "Hello again"


@pytest.mark.parametrize("token", [None, TOKEN])
async def test_events_then_the_answer_aio(wire: Wire, token: str | None) -> None:
    """On an event loop it is the same, with a token on its way or without."""
    wire.frames = short().text(" again").end().frames
    events, answer = await read_aio(wire, token)
    assert [event.text for event in events if isinstance(event, TextPiece)] == ["Hello", " again"]
    assert answer.text == "Hello again"


def test_the_answer_alone(wire: Wire) -> None:
    """The answer can be had without iterating, and again; iterating then gives nothing more."""
    wire.frames = short().end().frames
    with connect(wire.target) as channel:
        stream = read_stream(CompletionServiceStub(channel).StreamComplete(ASK, timeout=PATIENCE_S))
        assert stream.answer() is stream.answer()
        assert list(stream) == []
        assert stream.partial is stream.answer()
        stream.close()
        assert stream.answer().text == "Hello"


FAILED = short().failed().end(End.OUTCOME_FAILED)
ABORTED, OK = grpc.StatusCode.ABORTED, grpc.StatusCode.OK
ENDINGS = [
    (Writer(), ABORTED, CallFailedError, ABORTED, ""),
    (FAILED, ABORTED, StreamBrokenError, ABORTED, "Hello"),
    (FAILED, OK, StreamCorruptError, grpc.StatusCode.DATA_LOSS, "Hello"),
    (short().end(), ABORTED, StreamCorruptError, ABORTED, "Hello"),
    (short(), OK, StreamCorruptError, grpc.StatusCode.DATA_LOSS, "Hello"),
    (short(), ABORTED, StreamLostError, ABORTED, "Hello"),
    (Writer(), OK, StreamCorruptError, grpc.StatusCode.DATA_LOSS, ""),
]


@pytest.mark.parametrize(("writer", "code", "kind", "told", "text"), ENDINGS)
async def test_every_ending(
    wire: Wire, writer: Writer, code: grpc.StatusCode, kind: type[StreamError], told: grpc.StatusCode, text: str
) -> None:
    """Each way not to be whole has its own error, with the text so far and the status, on both faces."""
    wire.frames, wire.code = writer.frames, code
    for reading in (asyncio.to_thread(read, wire), read_aio(wire), read_aio(wire, TOKEN)):
        with pytest.raises(kind) as caught:
            await reading
        assert type(caught.value) is kind
        assert caught.value.partial.text == text
        assert caught.value.failure.code is told
        assert caught.value.failure.reason == ("" if told is grpc.StatusCode.DATA_LOSS else "STREAM_BROKEN")
        assert not caught.value.partial.complete


def test_the_error_stays(wire: Wire) -> None:
    """Whoever asks again after an error gets it again, and never an answer."""
    wire.frames, wire.code = FAILED.frames, ABORTED
    with connect(wire.target) as channel:
        stream = read_stream(CompletionServiceStub(channel).StreamComplete(ASK, timeout=PATIENCE_S))
        with pytest.raises(StreamBrokenError) as first:
            list(stream)
        with pytest.raises(StreamBrokenError) as second:
            stream.answer()
    assert first.value is second.value
    assert isinstance(first.value.__context__, grpc.RpcError)


def test_leaving_early_ends_the_call(wire: Wire) -> None:
    """A `with` that is left in the middle leaves the server too; what is asked of the stream then says so."""
    wire.frames, wire.hold_after = short().text(" again").end().frames, 3
    with connect(wire.target) as channel:
        with read_stream(CompletionServiceStub(channel).StreamComplete(ASK, timeout=2 * PATIENCE_S)) as stream:
            for event in stream:
                if isinstance(event, TextPiece):
                    break
        assert wire.left.wait(PATIENCE_S)
        with pytest.raises(StreamLostError, match="its reader was closed") as caught:
            stream.answer()
    assert caught.value.partial.text == stream.partial.text == "Hello"
    assert caught.value.failure.code is grpc.StatusCode.CANCELLED


@pytest.mark.parametrize("token", [None, TOKEN])
async def test_leaving_early_ends_the_call_aio(wire: Wire, token: str | None) -> None:
    """An `async with` that is left in the middle leaves the server too."""
    wire.frames, wire.hold_after = short().text(" again").end().frames, 3
    async with connect_aio(wire.target, token=token) as channel:
        stub: CompletionServiceAsyncStub = CompletionServiceStub(channel)
        async with read_stream_aio(stub.StreamComplete(ASK, timeout=2 * PATIENCE_S)) as stream:
            async for event in stream:
                if isinstance(event, TextPiece):
                    break
        assert await asyncio.to_thread(wire.left.wait, PATIENCE_S)
        with pytest.raises(StreamLostError, match="its reader was closed"):
            await stream.answer()


async def test_a_corrupt_stream_ends_its_call(wire: Wire) -> None:
    """Nothing more is read of a stream that contradicts itself: its server hears of it at once."""
    wire.frames, wire.hold_after = Writer().attempt_started().text("a").end().frames, 1
    async with connect_aio(wire.target) as channel:
        stub: CompletionServiceAsyncStub = CompletionServiceStub(channel)
        with pytest.raises(StreamCorruptError):
            await read_stream_aio(stub.StreamComplete(ASK, timeout=2 * PATIENCE_S)).answer()
        assert await asyncio.to_thread(wire.left.wait, PATIENCE_S)


async def test_a_cancelled_task_ends_its_call(wire: Wire) -> None:
    """Cancelling the task that reads is a cancel, and no error of the stream; the server hears of it."""
    wire.frames, wire.hold_after = short().end().frames, 3
    async with connect_aio(wire.target) as channel:
        stub: CompletionServiceAsyncStub = CompletionServiceStub(channel)
        stream = read_stream_aio(stub.StreamComplete(ASK, timeout=2 * PATIENCE_S))
        while not isinstance(await anext(stream), TextPiece):
            pass
        reading = asyncio.create_task(stream.answer())
        await asyncio.sleep(0)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        assert await asyncio.to_thread(wire.left.wait, PATIENCE_S)
        assert stream.partial.text == "Hello"


async def test_closing_from_another_task_is_no_cancel(wire: Wire) -> None:
    """The task that reads hears that its stream was closed, and is not cancelled itself."""
    wire.frames, wire.hold_after = short().end().frames, 3
    async with connect_aio(wire.target) as channel:
        stub: CompletionServiceAsyncStub = CompletionServiceStub(channel)
        stream = read_stream_aio(stub.StreamComplete(ASK, timeout=2 * PATIENCE_S))
        while not isinstance(await anext(stream), TextPiece):
            pass
        reading = asyncio.create_task(stream.answer())
        await asyncio.sleep(0)
        stream.close()
        with pytest.raises(StreamLostError, match="its reader was closed"):
            await reading


def test_closing_from_another_thread(wire: Wire) -> None:
    """The thread that reads hears that its stream was closed."""
    wire.frames, wire.hold_after = short().end().frames, 3
    with connect(wire.target) as channel, ThreadPoolExecutor(1) as threads:
        stream = read_stream(CompletionServiceStub(channel).StreamComplete(ASK, timeout=2 * PATIENCE_S))
        while not isinstance(next(stream), TextPiece):
            pass
        reading = threads.submit(stream.answer)
        stream.close()
        with pytest.raises(StreamLostError, match="its reader was closed"):
            reading.result(PATIENCE_S)


@pytest.mark.parametrize("token", [None, TOKEN])
async def test_closing_before_anything_was_read(wire: Wire, token: str | None) -> None:
    """A stream may be left before its first frame, on both faces."""
    wire.frames, wire.hold_after = short().end().frames, 0
    async with connect_aio(wire.target, token=token) as channel:
        stub: CompletionServiceAsyncStub = CompletionServiceStub(channel)
        async with read_stream_aio(stub.StreamComplete(ASK, timeout=2 * PATIENCE_S)) as stream:
            assert stream.partial.last_seq == 0
        with pytest.raises(StreamLostError, match="its reader was closed"):
            await anext(stream)
    with connect(wire.target, token=token) as blocking:
        with read_stream(CompletionServiceStub(blocking).StreamComplete(ASK, timeout=PATIENCE_S)) as reading:
            assert reading.partial.last_seq == 0
        with pytest.raises(StreamLostError, match="its reader was closed"):
            next(reading)


async def test_a_deadline_is_a_lost_stream(wire: Wire) -> None:
    """At the caller's own deadline what came is there, and it is not whole."""
    wire.frames, wire.hold_after = short().end().frames, 3
    async with connect_aio(wire.target) as channel:
        stub: CompletionServiceAsyncStub = CompletionServiceStub(channel)
        with pytest.raises(StreamLostError) as caught:
            await read_stream_aio(stub.StreamComplete(ASK, timeout=1.5)).answer()
    assert caught.value.failure.code is grpc.StatusCode.DEADLINE_EXCEEDED
    assert caught.value.partial.text == "Hello"


def test_a_lost_stream_is_resumed(wire: Wire) -> None:
    """A second call goes on in the first one's assembly, and the answer is whole."""
    writer = short().text(" again").end()
    wire.frames, wire.code = writer.frames[:3], ABORTED
    with connect(wire.target) as channel:
        stub = CompletionServiceStub(channel)
        first = read_stream(stub.StreamComplete(ASK, timeout=PATIENCE_S))
        with pytest.raises(StreamLostError) as caught:
            first.answer()
        wire.frames, wire.code = writer.frames[caught.value.partial.last_seq :], OK
        again = read_stream(stub.StreamComplete(ASK, timeout=PATIENCE_S), assembly=first.assembly)
        assert again.answer().text == "Hello again"
