"""A stream that outlives its reader: it goes on for a while without one, and another may take it up where it was.

Two tasks belong to a stream: one produces (the call itself), one pulls what was produced into a ring of the latest
frames. A reader takes from the ring only, and the puller pulls for it, one frame whenever it asks for one that is not
there yet. So there is exactly one puller whoever comes and goes, nothing is handed over and nothing can be lost in a
handing over; a slow reader stalls the read from upstream as it always does, and what waits for it is merged.
Without a reader the puller pulls only when much has piled up: what waits is merged until then, so that the ring holds
minutes of an answer instead of seconds.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Protocol

from trunkline_server.engine.api import CallScope
from trunkline_server.engine.frames import CallFailedError, CallFailure, FieldViolation, Frame
from trunkline_server.engine.ring import Ring
from trunkline_server.routing.types import Reason

CLOSE_WAIT_S = 5.0
"""How long a stream that was told to end may take to do so before its tasks are cancelled."""


class StreamSource(Protocol):
    """One streamed call, as its stream sees it."""

    @property
    def failure(self) -> CallFailure | None:
        """How the call failed, once `produce` has ended."""
        ...

    @property
    def piled_up(self) -> bool:
        """Whether so much waits to be taken that it should not be left there without a reader.

        It has to be true as long as the call itself is held up by what waits: without a reader nothing else is taken.
        """
        ...

    async def produce(self) -> None:
        """Run the call to its end, in one task. Cancelling that closes it upstream as CANCELLED."""
        ...

    async def take(self) -> Frame | None:
        """Return the next frame, numbered; None when `produce` has ended and everything was taken."""
        ...

    def on_piled_up(self, listener: Callable[[], None] | None) -> None:
        """Call `listener` whenever `piled_up` has become true."""
        ...

    def tell_outcome(self) -> None:
        """Hear that `produce` is over, also if it was cancelled before its first step."""
        ...

    def abort(self, reason: Reason) -> None:
        """End the call as it ends for any failure: its last frames still come. May precede `produce`."""
        ...

    def tell_draining(self, ends_at: float) -> None:
        """Let a DrainingFrame come; `ends_at` is an event-loop time. Only the first time counts."""
        ...


class StreamKeeper(Protocol):
    """Who keeps the streams and hears of what changes in them."""

    def begun(self, stream: DetachableStream) -> None:
        """Take in a stream whose first reader has come."""
        ...

    def changed(self, stream: DetachableStream) -> None:
        """Hear that it ended, or that a reader came or left."""
        ...

    def forget(self, stream: DetachableStream) -> None:
        """End a stream that nobody can or may come back to."""
        ...


class _Reader:
    """One reader's place in the stream."""

    __slots__ = ("_news", "scope", "seq", "taken_over")

    def __init__(self, seq: int, scope: CallScope) -> None:
        self.seq = seq
        """Number of the last frame that it was given."""
        self.scope = scope
        self.taken_over = False
        self._news: asyncio.Future[None] | None = None

    @property
    def waits(self) -> bool:
        """Whether it has asked for a frame that is not there yet."""
        return self._news is not None and not self._news.done()

    def wake(self) -> None:
        """Let it look again."""
        if self._news is not None and not self._news.done():
            self._news.set_result(None)

    async def news(self, asked: Callable[[], None]) -> None:
        """Wait until it is to look again; `asked` is called once it waits."""
        self._news = asyncio.get_running_loop().create_future()
        try:
            asked()
            await self._news
        finally:
            self._news = None


class DetachableStream:
    """One stream, its frames, and at most one reader.

    Invariants: every frame that was taken from the source is in the ring, or was dropped as the oldest while no reader
    needed it. A timer runs exactly while nobody reads and the stream is kept.
    """

    def __init__(
        self, stream_id: str, source: StreamSource, caller_id: str, *, detach_s: float, ring: Ring, keeper: StreamKeeper
    ) -> None:
        self.stream_id = stream_id
        self.caller_id = caller_id
        self.over = False
        """Whether the call has ended and nothing more will come into the ring."""
        self.read_whole = False
        """Whether a reader has come to the end of it."""
        self._source: StreamSource | None = source
        """None once it is over: a call holds its whole request, pictures and all."""
        self._failure: CallFailure | None = None
        self._detach_s = detach_s
        self._ring = ring
        self._keeper = keeper
        self._reader: _Reader | None = None
        self._shown_seq = 0
        self._producer: asyncio.Task[None] | None = None
        self._puller: asyncio.Task[None] | None = None
        self._demanded: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._aborted = False
        self._drain_told = False
        self._forgotten = False
        self._defect: BaseException | None = None
        self._cut: CallFailure | None = None

    @property
    def attached(self) -> bool:
        """Whether somebody reads it."""
        return self._reader is not None

    @property
    def bytes(self) -> int:
        """What the frames kept take, about."""
        return self._ring.bytes

    @property
    def tasks(self) -> tuple[asyncio.Task[None], ...]:
        """The tasks that belong to it."""
        return tuple(task for task in (self._producer, self._puller) if task is not None)

    # The reader's side.

    async def read(self, after_seq: int, scope: CallScope) -> AsyncGenerator[Frame, None]:
        """Yield the frames behind number `after_seq`, in order and without gaps; begin the call, if it has not begun.

        Raises CallFailedError: what the stream failed with, at its end; STREAM_TAKEN_OVER as soon as another reader
        comes; BAD_REQUEST, STREAM_TOO_OLD, STREAM_NOT_FOUND at once. Closing it leaves the stream without a reader.
        """
        self._check(after_seq)
        reader = self._attach(after_seq, scope)
        try:
            while not reader.taken_over:
                frame = self._ring.after(reader.seq)
                if frame is not None:
                    reader.seq = frame.seq
                    self._shown_seq = max(self._shown_seq, frame.seq)
                    yield frame
                elif self.over:
                    self.read_whole = True
                    self._raise_end()
                    return
                else:
                    await reader.news(self._look)
            raise CallFailedError(_TAKEN_OVER)
        finally:
            self._leave(reader)
            if self._forgotten:
                # It was cancelled, and is closed upstream when this returns.
                await asyncio.wait(self.tasks, timeout=CLOSE_WAIT_S)

    def _check(self, after_seq: int) -> None:
        if self._forgotten:
            raise CallFailedError(stream_not_found())
        oldest_seq = self._ring.oldest_seq
        if after_seq + 1 < oldest_seq:
            raise CallFailedError(_too_old(oldest_seq))
        # Who was told that frames are gone which nobody ever got may still have those behind them.
        if after_seq > max(self._shown_seq, oldest_seq - 1):
            raise CallFailedError(_not_sent_yet(after_seq, self._shown_seq))

    def _attach(self, after_seq: int, scope: CallScope) -> _Reader:
        """Make a reader the one that reads; whoever did so before it hears of it."""
        if self._source is not None and self._producer is None:
            self._begin(self._source)
        reader, before = _Reader(after_seq, scope), self._reader
        if before is not None:
            _let_go(before.scope)
            before.taken_over = True
            before.wake()
        self._reader = reader
        self._stop_timer()
        scope.on_abort(self.abort)
        scope.on_draining(self._told_draining)
        if scope.aborted is not None:
            self.abort(scope.aborted)
        if scope.drain_ends_at is not None:
            self._told_draining()
        self._keeper.changed(self)
        return reader

    def _leave(self, reader: _Reader) -> None:
        """Let go of a reader, if it is still the one that reads."""
        if self._reader is not reader:
            return
        self._reader = None
        _let_go(reader.scope)
        if self._shown_seq == 0:
            self._keeper.forget(self)  # nobody knows its id
            return
        self._ring.trim(read_through=None)
        self._start_timer()
        self._look()
        self._keeper.changed(self)

    def _raise_end(self) -> None:
        if self._defect is not None:
            defect, self._defect = self._defect, None
            self._failure = CallFailure(Reason.INTERNAL, "internal error, which an earlier reader was told of")
            raise defect
        if self._failure is not None:
            raise CallFailedError(self._failure)

    def _told_draining(self) -> None:
        """Pass on what the reader's scope was told."""
        ends_at = None if self._reader is None else self._reader.scope.drain_ends_at
        if ends_at is not None and self._source is not None and not self._drain_told:
            self._drain_told = True
            self._source.tell_draining(ends_at)

    # The call's side.

    def _begin(self, source: StreamSource) -> None:
        source.on_piled_up(self._look)
        self._producer = asyncio.create_task(source.produce(), name="produce-stream")
        self._producer.add_done_callback(lambda _: source.tell_outcome())
        self._producer.add_done_callback(self._produced)
        self._puller = asyncio.create_task(self._pull(source, self._producer), name="pull-stream")
        self._puller.add_done_callback(self._pulled)
        self._keeper.begun(self)

    async def _pull(self, source: StreamSource, producer: asyncio.Task[None]) -> None:
        """Move every frame into the ring. The only place that takes from the source."""
        loop = asyncio.get_running_loop()
        while True:
            while not self._wanted(source, producer):
                self._demanded = loop.create_future()
                try:
                    await self._demanded
                finally:
                    self._demanded = None
            frame = await source.take()
            if frame is None:
                break
            reader = self._reader
            self._ring.append(frame, read_through=None if reader is None else reader.seq)
            if reader is not None:
                reader.wake()
        await asyncio.wait([producer])

    def _wanted(self, source: StreamSource, producer: asyncio.Task[None]) -> bool:
        """Say whether to take the next frame: for the reader, or because it should not lie where it is."""
        if self._aborted:
            return True
        if self._reader is not None:
            return self._reader.waits
        return source.piled_up or producer.done()

    def _look(self) -> None:
        """Let the puller see whether it is to pull."""
        if self._demanded is not None and not self._demanded.done():
            self._demanded.set_result(None)

    def _produced(self, _producer: asyncio.Task[None]) -> None:
        self._look()

    def _pulled(self, _puller: asyncio.Task[None]) -> None:
        """Take down how it ended. Runs exactly once, whatever became of the puller."""
        source, self._source = self._source, None
        self.over = True
        if source is not None:
            source.on_piled_up(None)
            self._failure = source.failure
        for task in self.tasks:
            if not task.done():
                self.cut(Reason.INTERNAL)  # the puller ended before its time, if not because both were cut
            elif task.cancelled():
                self._failure = self._cut or _cut_off(Reason.SERVER_DRAINING)
            elif (error := task.exception()) is not None:
                self._defect = self._defect or error
        if self._reader is not None:
            self._reader.wake()
        else:
            self._start_timer()
        self._keeper.changed(self)

    # The ends that come from outside.

    def abort(self, reason: Reason) -> None:
        """End the call; its last frames come into the ring, reader or not. Only the first time counts."""
        if self._aborted or self._source is None:
            return
        self._aborted = True
        if self._producer is None or not self._producer.done():
            self._source.abort(reason)
        self._look()

    async def cancel(self) -> None:
        """End the call as CANCELLED, and wait until it is closed upstream, at most twice CLOSE_WAIT_S."""
        self.abort(Reason.CANCELLED)
        await asyncio.wait(self.tasks, timeout=CLOSE_WAIT_S)
        if not self.over:
            self.cut(Reason.CANCELLED)
            await asyncio.wait(self.tasks, timeout=CLOSE_WAIT_S)

    def cut(self, reason: Reason) -> None:
        """Cancel what still runs; a reader that is there ends with `reason`, without the last frames."""
        if self._cut is not None:
            return  # a second cancellation would break into the closing that the first one began
        self._cut = _cut_off(reason)
        for task in self.tasks:
            task.cancel()

    def close(self) -> BaseException | None:
        """Let nobody read it any more and end what still runs, as CANCELLED. Returns a defect that nobody was told."""
        self._forgotten = True
        self._stop_timer()
        self.cut(Reason.CANCELLED)
        defect, self._defect = self._defect, None
        return defect

    def _start_timer(self) -> None:
        self._stop_timer()
        if self._forgotten:
            return
        self._timer = asyncio.get_running_loop().call_later(self._detach_s, self._keeper.forget, self)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def stream_not_found() -> CallFailure:
    """Return what is told of a stream that is not there, and of somebody else's."""
    return CallFailure(Reason.STREAM_NOT_FOUND, "there is no such stream, or no longer")


_TAKEN_OVER = CallFailure(Reason.STREAM_TAKEN_OVER, "another reader went on with this stream", stream_goes_on=True)


def _not_sent_yet(after_seq: int, shown_seq: int) -> CallFailure:
    message = f"no frame {after_seq} was sent yet: the last one was {shown_seq}"
    return CallFailure(Reason.BAD_REQUEST, message, violations=(FieldViolation("after_seq", message),))


def _too_old(oldest_seq: int) -> CallFailure:
    message = f"frames before {oldest_seq} are not kept any more: the smallest after_seq is {oldest_seq - 1}"
    return CallFailure(Reason.STREAM_TOO_OLD, message, metadata={"oldest_seq": str(oldest_seq)})


def _cut_off(reason: Reason) -> CallFailure:
    return CallFailure(reason, "the stream was cut off")


def _let_go(scope: CallScope) -> None:
    scope.on_abort(None)
    scope.on_draining(None)
