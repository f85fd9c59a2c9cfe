"""Detachable streams without a network: a scripted source, and clients that read, lose their line and come back."""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import AsyncGenerator, Callable

import pytest

from trunkline_server.chat.answer import FinishReason
from trunkline_server.engine.api import CallScope
from trunkline_server.engine.detached import DetachableStream
from trunkline_server.engine.frames import (
    CallFailedError,
    CallFailure,
    ContentFrame,
    DeltaKind,
    EndFrame,
    Frame,
    RouteInfo,
    StreamOutcome,
)
from trunkline_server.engine.stream_registry import DetachLimits, StreamRegistry
from trunkline_server.routing.types import Caller, Reason

ROUTE = RouteInfo("default", "default", 1, "", None, ())
DETACH_S = 1000.0
"""Longer than any test."""
WAIT_S = 5.0
"""How long a test waits for what should come at once."""


async def settle(turns: int = 12) -> None:
    """Let everything run that can run now."""
    for _ in range(turns):
        await asyncio.sleep(0)


def scope_of(caller_id: str = "ann") -> CallScope:
    return CallScope(Caller(caller_id), None)


class Source:
    """A StreamSource whose frames are put by the test; what waits is merged if `merges`."""

    def __init__(self, *, pile: int = 1, merges: bool = False) -> None:
        self.pile = pile
        self.merges = merges
        self.failure: CallFailure | None = None
        self.begun = 0
        self.ended = 0
        self.closed = asyncio.Event()
        self.cancelled = False
        self.aborts: list[Reason] = []
        self.drains: list[float] = []
        self.takes = 0
        self.put_text = ""
        self.stubborn = False
        self._takers = 0
        self._seq = 0
        self._waiting: deque[str | EndFrame] = deque()
        self._listener: Callable[[], None] | None = None
        self._finish: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._taker: asyncio.Future[None] | None = None

    # The test's side.

    def put(self, text: str) -> None:
        """Let content come."""
        self.put_text += text
        if self.merges and self._waiting and isinstance(self._waiting[-1], str):
            self._waiting[-1] += text
        else:
            self._waiting.append(text)
        self._wake()
        if self.piled_up and self._listener is not None:
            self._listener()

    def end(self, failure: CallFailure | None = None) -> None:
        """Let the call end, as a failure if one is given; only the first time counts."""
        if not self.going_on:
            return
        self.failure = failure
        if self._seq or self._waiting:
            outcome = StreamOutcome.COMPLETE if failure is None else StreamOutcome.FAILED
            reason = FinishReason.STOP if failure is None else FinishReason.BROKEN
            self._waiting.append(EndFrame(outcome, reason, "", failure, None, (), ROUTE, 0, 0))
        self._finish.set_result(None)

    def breaks(self, defect: Exception) -> None:
        """Let the call end by a defect."""
        self._finish.set_exception(defect)

    @property
    def going_on(self) -> bool:
        """Whether content may still come."""
        return not self._finish.done()

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    # StreamSource.

    @property
    def piled_up(self) -> bool:
        return len(self._waiting) >= self.pile

    def on_piled_up(self, listener: Callable[[], None] | None) -> None:
        self._listener = listener

    def tell_outcome(self) -> None:
        """Nobody asks."""

    async def produce(self) -> None:
        self.begun += 1
        try:
            await self._finish
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        finally:
            self.ended += 1
            self.closed.set()
            self._wake()

    async def take(self) -> Frame | None:
        self.takes += 1
        self._takers += 1
        assert self._takers == 1, "two take at once"
        try:
            while not self._waiting:
                if self.closed.is_set():
                    return None
                self._taker = asyncio.get_running_loop().create_future()
                try:
                    await self._taker
                finally:
                    self._taker = None
        finally:
            self._takers -= 1
        self._seq += 1
        item = self._waiting.popleft()
        if isinstance(item, str):
            return ContentFrame(1, DeltaKind.TEXT, 0, 0, item, seq=self._seq)
        item.seq = self._seq
        return item

    def abort(self, reason: Reason) -> None:
        self.aborts.append(reason)
        if not self.stubborn:
            self.end(CallFailure(reason, "aborted"))

    def tell_draining(self, ends_at: float) -> None:
        self.drains.append(ends_at)

    def _wake(self) -> None:
        if self._taker is not None and not self._taker.done():
            self._taker.set_result(None)


class Client:
    """One RPC that reads: its task pulls a frame whenever it may. A new one goes on where another has got to."""

    def __init__(self, frames: AsyncGenerator[Frame, None], *, reads: bool = True) -> None:
        self.seen: list[Frame] = []
        self.error: CallFailedError | None = None
        self.ended = False
        self._came = asyncio.Event()
        self._may_read = asyncio.Event()
        if reads:
            self._may_read.set()
        self._frames = frames
        self.task = asyncio.create_task(self._read())

    @property
    def text(self) -> str:
        return "".join(frame.text for frame in self.seen if isinstance(frame, ContentFrame))

    @property
    def seqs(self) -> list[int]:
        return [frame.seq for frame in self.seen]

    @property
    def reason(self) -> Reason | None:
        return None if self.error is None else self.error.failure.reason

    def stall(self) -> None:
        """Be a reader whose line is full: the frame that comes next is the last one until `go_on`."""
        self._may_read.clear()

    def go_on(self) -> None:
        self._may_read.set()

    async def lose(self) -> None:
        """Lose the line: the RPC's task is cancelled, and its generator closed."""
        self.task.cancel()
        await asyncio.wait([self.task])

    async def has(self, text: str) -> None:
        """Wait until so much of the answer has come."""
        async with asyncio.timeout(WAIT_S):
            while self.text != text:
                self._came.clear()
                await self._came.wait()

    async def done(self) -> Client:
        """Wait for the end of the RPC."""
        async with asyncio.timeout(WAIT_S):
            await asyncio.wait([self.task])
        self.task.result()
        return self

    async def _read(self) -> None:
        try:
            async for frame in self._frames:
                self.seen.append(frame)
                self._came.set()
                await self._may_read.wait()
            self.ended = True
        except CallFailedError as error:
            self.error = error
        finally:
            await self._frames.aclose()


class Registry(StreamRegistry):
    """One that tells of what it forgot."""

    def __init__(self, limits: DetachLimits | None) -> None:
        super().__init__(limits)
        self.forgotten: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)

    def forget(self, stream: DetachableStream) -> None:
        super().forget(stream)
        self.forgotten[stream.stream_id].set()


class House:
    """A registry with its streams."""

    def __init__(self, limits: DetachLimits | None = None) -> None:
        self.registry = Registry(limits)

    def open(
        self, source: Source, caller: str = "ann", *, detach_s: float = DETACH_S, scope: CallScope | None = None
    ) -> tuple[str, Client]:
        """Begin a stream; return its id and its first reader."""
        stream_id = self.registry.new_id()
        frames = self.registry.open(stream_id, source, caller, detach_s, scope or scope_of(caller))
        return stream_id, Client(frames)

    def resume(self, stream_id: str, after_seq: int, caller: str = "ann", *, scope: CallScope | None = None) -> Client:
        """Come back to a stream. Raises CallFailedError if it is refused at once."""
        return Client(self.registry.resume(stream_id, after_seq, scope or scope_of(caller)))

    async def refused(self, stream_id: str, after_seq: int, caller: str = "ann") -> CallFailure:
        """Return why a stream cannot be resumed."""
        with pytest.raises(CallFailedError) as caught:
            await anext(self.registry.resume(stream_id, after_seq, scope_of(caller)))
        return caught.value.failure

    async def forgotten(self, stream_id: str) -> None:
        """Wait until a stream was forgotten."""
        await asyncio.wait_for(self.registry.forgotten[stream_id].wait(), WAIT_S)

    async def lost(self, source: Source, *texts: str, detach_s: float = DETACH_S) -> tuple[str, Client]:
        """Return a stream whose reader got `texts` and then lost its line."""
        stream_id, client = self.open(source, detach_s=detach_s)
        for text in texts:
            await settle()
            source.put(text)
        await settle()
        await client.lose()
        return stream_id, client


def only_this_task() -> bool:
    """Say whether no task is left but the test's own."""
    return asyncio.all_tasks() == {asyncio.current_task()}
