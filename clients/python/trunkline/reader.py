"""Reading a stream, synchronous or asynchronous: what it tells as it comes, and the answer at its end."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Protocol

import grpc

from trunkline.assembly import Assembly
from trunkline.errors import CallFailure, failure_of
from trunkline.stream_errors import StreamError, lost

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from types import TracebackType
    from typing import Self

    from trunkline.answer import Answer
    from trunkline.events import StreamEvent
    from trunkline.v1 import StreamFrame


class FrameCall(Protocol):
    """A call that gives frames, as a stub on a synchronous channel returns it."""

    def __iter__(self) -> Iterator[StreamFrame]:
        """Give the frames."""

    def cancel(self) -> bool:
        """End the call."""


class AioFrameCall(Protocol):
    """A call that gives frames, as a stub on an asynchronous channel returns it."""

    def __aiter__(self) -> AsyncIterator[StreamFrame]:
        """Give the frames."""

    def cancel(self) -> bool:
        """End the call."""


def read_stream(call: FrameCall, *, assembly: Assembly | None = None) -> AnswerStream:
    """Read the frames of `call`, which `StreamComplete` or `ResumeStream` returned on a synchronous channel.

    assembly: goes on from a stream that was lost: `AnswerStream.assembly` of its reader, with the call resumed after
    its `last_seq`.
    """
    return AnswerStream(call, assembly or Assembly())


def read_stream_aio(call: AioFrameCall, *, assembly: Assembly | None = None) -> AioAnswerStream:
    """Read the frames of `call`, which `StreamComplete` or `ResumeStream` returned on an asynchronous channel.

    assembly: as for `read_stream`.
    """
    return AioAnswerStream(call, assembly or Assembly())


class _Reading:
    """What both readers share: which events wait to be given, and how the stream ended."""

    def __init__(self, call: FrameCall | AioFrameCall, assembly: Assembly) -> None:
        self._call = call
        self._assembly = assembly
        self._events: deque[StreamEvent] = deque()
        self._answer: Answer | None = None
        self._error: StreamError | None = None

    @property
    def assembly(self) -> Assembly:
        """What the frames were put together in: for resuming a stream that was lost."""
        return self._assembly

    @property
    def partial(self) -> Answer:
        """What came so far. Nothing vouches for it until the whole answer is there."""
        return self._assembly.partial() if self._answer is None else self._answer

    def close(self) -> None:
        """End the call if it still goes on: the server then ends its upstream call. May be called again."""
        if self._answer is None and self._error is None:
            failure = CallFailure(grpc.StatusCode.CANCELLED, "its reader was closed")
            self._error = lost(self._assembly.partial(), failure)
        self._call.cancel()

    def _raise_if_over(self) -> None:
        """Raise the error that the stream ended with; also if it was closed elsewhere during a read."""
        if self._error is not None:
            raise self._error

    def _take(self, frame: StreamFrame) -> None:
        try:
            self._events.extend(self._assembly.feed(frame))
        except StreamError as error:
            self._error = error
            raise

    def _conclude(self, failure: CallFailure | None) -> None:
        try:
            self._answer = self._assembly.finish(failure)
        except StreamError as error:
            self._error = error
            raise


class AnswerStream(_Reading):
    """One stream as it comes. Iterate over its events, or call `answer`, or both.

    Iterating ends only after the answer proved whole, and raises a StreamError otherwise. Use it in a `with` statement,
    or call `close`, if it may be left before its end. For one thread at a time.
    """

    def __init__(self, call: FrameCall, assembly: Assembly) -> None:
        super().__init__(call, assembly)
        self._frames = iter(call)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> StreamEvent:
        while not self._events:
            if self._answer is not None:
                raise StopIteration
            self._pull()
        return self._events.popleft()

    def answer(self) -> Answer:
        """Read what is left and return the whole answer; events that were not iterated over are dropped.

        Raises CallFailedError, StreamBrokenError, StreamLostError or StreamCorruptError, each with `partial` and
        `failure`. An INCOMPLETE outcome is an answer.
        """
        while self._answer is None:
            self._pull()
            self._events.clear()
        return self._answer

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _pull(self) -> None:
        """Take the next frame or the status."""
        self._raise_if_over()
        try:
            frame = next(self._frames, None)
            if frame is None:
                self._conclude(None)
            else:
                self._take(frame)
        except grpc.RpcError as error:
            self._raise_if_over()
            self._conclude(failure_of(error))
        except BaseException:
            self.close()
            raise


class AioAnswerStream(_Reading):
    """One stream as it comes. Iterate over its events, or await `answer`, or both.

    Iterating ends only after the answer proved whole, and raises a StreamError otherwise. Use it in an `async with`
    statement, or call `close`, if it may be left before its end. For one task at a time; cancelling that task ends the
    call.
    """

    def __init__(self, call: AioFrameCall, assembly: Assembly) -> None:
        super().__init__(call, assembly)
        self._frames = aiter(call)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> StreamEvent:
        while not self._events:
            if self._answer is not None:
                raise StopAsyncIteration
            await self._pull()
        return self._events.popleft()

    async def answer(self) -> Answer:
        """Read what is left and return the whole answer; events that were not iterated over are dropped.

        Raises CallFailedError, StreamBrokenError, StreamLostError or StreamCorruptError, each with `partial` and
        `failure`. An INCOMPLETE outcome is an answer.
        """
        while self._answer is None:
            await self._pull()
            self._events.clear()
        return self._answer

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def _pull(self) -> None:
        """Take the next frame or the status."""
        self._raise_if_over()
        try:
            frame = await anext(self._frames, None)
            if frame is None:
                self._conclude(None)
            else:
                self._take(frame)
        except grpc.RpcError as error:
            self._raise_if_over()
            self._conclude(failure_of(error))
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if self._error is not None and (task is None or not task.cancelling()):
                # Not this task was cancelled but its call, by `close` in another one.
                raise self._error from None
            self.close()
            raise
        except BaseException:
            self.close()
            raise
