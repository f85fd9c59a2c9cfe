"""A caller's own books of a stream, kept from the contract alone, beside what the client's reader makes of it."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import google_crc32c
import grpc
from tests.e2e.fault_seen import Recorded

from trunkline import Answer, Assembly, StreamError, read_stream_aio
from trunkline.v1 import AttemptSummary, CompletionServiceStub, End, FailureClass

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from tests.e2e.conftest import Gateway

    from trunkline.v1 import CompletionServiceAsyncStub, Delta, StreamFrame

_TURNS = 400
_TURN_S = 0.005


@dataclass(slots=True)
class Reading:
    """What one caller has of a stream, whole or not."""

    answer: Answer
    error: StreamError | None = None
    frames: list[StreamFrame] = field(default_factory=list)

    def kinds(self) -> list[str]:
        """Return the kind of every frame, in order."""
        return [frame.WhichOneof("frame") or "" for frame in self.frames]

    def all_of(self, kind: str) -> list[Any]:
        """Return the frames of one kind, without their envelope."""
        return [getattr(frame, kind) for frame in self.frames if frame.WhichOneof("frame") == kind]

    @property
    def status(self) -> tuple[str, str]:
        """The status code and the reason; OK has none."""
        return ("OK", "") if self.error is None else (self.error.failure.code.name, self.error.failure.reason)

    def attempts(self) -> list[tuple[str, str]]:
        """Return why each attempt was made, and the class in which it failed, if it did."""
        summaries: Sequence[AttemptSummary] = self.answer.attempts
        failure = None if self.error is None else self.error.failure.route_failure
        if not summaries and failure is not None:
            summaries = failure.attempts
        return [
            (
                AttemptSummary.Why.Name(each.why).removeprefix("WHY_"),
                FailureClass.Name(each.error.failure_class).removeprefix("FAILURE_CLASS_")
                if each.HasField("error")
                else "",
            )
            for each in summaries
        ]


@asynccontextmanager
async def narrow_channel(address: str) -> AsyncIterator[CompletionServiceAsyncStub]:
    """Give a stub whose caller takes in little that it has not asked for, so that a reader's pause is felt at once."""
    options = [("grpc.enable_retries", 0), ("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 65_536)]
    async with grpc.aio.insecure_channel(address, options=options) as channel:
        stub: CompletionServiceAsyncStub = CompletionServiceStub(channel)
        yield stub


class Tap:
    """A call that is read a frame at a time, and then from its first frame on by a reader."""

    def __init__(self, call: Any) -> None:
        self._call = call
        self._source: AsyncIterator[StreamFrame] | None = None
        self._taken: list[StreamFrame] = []

    async def next(self) -> StreamFrame:
        """Return the next frame; raise what the call ended with."""
        if self._source is None:
            self._source = aiter(self._call)
        frame = await anext(self._source)
        self._taken.append(frame)
        return frame

    async def first(self, kind: str) -> StreamFrame:
        """Return the next frame of this kind; those before it are read too."""
        frame = await self.next()
        while not frame.HasField(kind):  # type: ignore[arg-type]  # the name of one of its fields
            frame = await self.next()
        return frame

    async def __aiter__(self) -> AsyncIterator[StreamFrame]:
        for frame in self._taken:
            yield frame
        async for frame in self._source or self._call:
            yield frame

    def cancel(self) -> bool:
        """End the call."""
        return bool(self._call.cancel())


class Listening:
    """One reader of a stream, which may leave it early. `assembly`: it goes on from a stream that was lost."""

    def __init__(self, call: Any, assembly: Assembly | None = None) -> None:
        self._recorded = Recorded(call)
        self._stream = read_stream_aio(self._recorded, assembly=assembly)
        self.leave = self._stream.close

    async def end(self, *, leave_after: int | None = None) -> Reading:
        """Read to the end, or until it told so many things; return what the caller has."""
        error: StreamError | None = None
        told = 0
        try:
            if leave_after is not None:
                async for _ in self._stream:
                    told += 1
                    if told == leave_after:
                        self.leave()
            answer = await self._stream.answer()
        except StreamError as raised:
            answer, error = raised.partial, raised
        return Reading(answer, error, self._recorded.frames)


async def read(call: Any, assembly: Assembly | None = None) -> Reading:
    """Read a stream to its end by the client's reader, and keep its frames."""
    return await Listening(call, assembly).end()


def standing(frames: Sequence[StreamFrame]) -> bytes:
    """Return the content that counts after all resets, in the order in which it came."""
    kept: list[tuple[int, bytes]] = []
    for frame in frames:
        if frame.HasField("reset"):
            kept = [(seq, content) for seq, content in kept if seq <= frame.reset.keep_through_seq]
        kept += [(frame.seq, _content(item)) for item in frame.deltas.items]
    return b"".join(content for _, content in kept)


def _content(item: Delta) -> bytes:
    return (item.text + item.thinking + item.refusal + item.tool_call.arguments_json_delta).encode()


def check_books(frames: Sequence[StreamFrame], status: int) -> None:
    """Assert what holds of every stream whose frames came to their end: numbers, one last end, length and checksum."""
    assert [frame.seq for frame in frames] == list(range(1, len(frames) + 1)), "a gap in seq"
    if not frames:
        assert status, "OK without a frame"
        return
    assert frames[0].HasField("started"), "`started` is not the first"
    assert sum(frame.HasField("started") for frame in frames) == 1, "two `started`"
    assert sum(frame.HasField("end") for frame in frames) == 1, "not exactly one `end`"
    end = frames[-1].end
    assert frames[-1].HasField("end"), "`end` is not the last"
    assert end.error.code == status, "end and status disagree"
    assert (end.outcome == End.OUTCOME_FAILED) is (status != 0), "outcome and status disagree"
    content = standing(frames)
    assert end.content_bytes == len(content), "the length that is told is another one"
    assert end.content_crc32c == google_crc32c.value(content), "the checksum that is told is another one"


async def settled(running: Gateway, *, streams_kept: int = 0) -> None:
    """Wait until nothing is in flight; assert that no slot, key or stream is held but those that may be read again."""
    await running.quiet()
    streams = running.engine.streams
    for _ in range(_TURNS):
        if streams.tracked == 0 and streams.detached == 0 and len(streams) <= streams_kept:
            break
        await asyncio.sleep(_TURN_S)
    assert (streams.tracked, streams.detached) == (0, 0)
    assert len(streams) <= streams_kept
    assert streams_kept or (streams.bytes, streams.reserved_bytes) == (0, 0)


async def tasks_gone(before: int) -> None:
    """Assert that no more tasks are left than there were before, the simulator's own apart."""
    for _ in range(_TURNS):
        if len(tasks()) <= before:
            return
        await asyncio.sleep(_TURN_S)
    raise AssertionError(tasks())


def tasks() -> list[str]:
    """Return all tasks but the simulator's own, of which it has one for each connection that is kept alive."""
    names = [str(task.get_coro()) for task in asyncio.all_tasks()]
    return [name for name in names if "RequestHandler.start" not in name]
