"""All streams of this worker that somebody might come back to: whose they are, how many, and how much they hold."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator
from dataclasses import dataclass

from trunkline_server.engine.api import CallScope
from trunkline_server.engine.defects import report_defect
from trunkline_server.engine.detached import CLOSE_WAIT_S, DetachableStream, StreamSource, stream_not_found
from trunkline_server.engine.frames import CallFailedError, CallFailure, Frame
from trunkline_server.engine.ring import RING_BYTES, Ring
from trunkline_server.routing.types import Reason

_ID_BYTES = 16


@dataclass(frozen=True, slots=True)
class DetachLimits:
    """How much may be kept for readers that come back."""

    ring_bytes: int = RING_BYTES
    """Of one stream."""
    streams_per_caller: int = 16
    total_bytes: int = 64 * 1024 * 1024


class StreamRegistry:
    """Keeps detachable streams, and knows the ids of the others while they live.

    A stream that goes on counts with the whole ring that it may fill, one that has ended with what it holds: so what
    was promised to one never has to be taken back for another. Streams that have ended and were read to their end
    count only while there is room: the oldest of them are forgotten before anybody is declined.
    """

    def __init__(self, limits: DetachLimits | None = None, *, worker: int = 0) -> None:
        self._limits = limits or DetachLimits()
        self._worker = worker
        self._streams: dict[str, DetachableStream] = {}
        self._of_caller: dict[str, dict[str, DetachableStream]] = {}
        self._read_whole: dict[str, DetachableStream] = {}
        """Those that may be forgotten for others, the oldest first."""
        self._spare_bytes = 0
        """What they count for."""
        self._counted_bytes: dict[str, int] = {}
        self._reserved_bytes = 0
        self._undetachable: dict[str, str] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    def __len__(self) -> int:
        return len(self._streams)

    @property
    def detached(self) -> int:
        """How many streams go on without a reader."""
        return sum(not stream.attached and not stream.over for stream in self._streams.values())

    @property
    def bytes(self) -> int:
        """What all rings hold, about."""
        return sum(stream.bytes for stream in self._streams.values())

    @property
    def reserved_bytes(self) -> int:
        """What counts against the limit."""
        return self._reserved_bytes

    @property
    def tracked(self) -> int:
        """How many streams live that are not detachable."""
        return len(self._undetachable)

    # Ids.

    def new_id(self) -> str:
        """Return an id that cannot be guessed, with the worker's number in front."""
        return f"{self._worker}-{secrets.token_hex(_ID_BYTES)}"

    def track(self, stream_id: str, caller_id: str) -> None:
        """Know a stream that is not detachable, while it lives."""
        self._undetachable[stream_id] = caller_id

    def untrack(self, stream_id: str) -> None:
        """Know it no longer."""
        self._undetachable.pop(stream_id, None)

    # What the engine asks for.

    def may_detach(self, caller_id: str) -> str | None:
        """Return why a new stream of this caller's cannot be detachable; None if it can."""
        if self._closed:
            return "the server is going down"
        own = self._of_caller.get(caller_id, {})
        kept = sum(stream_id not in self._read_whole for stream_id in own)
        if kept >= self._limits.streams_per_caller:
            return f"{kept} detachable streams of this caller's are open already"
        if self._reserved_bytes - self._spare_bytes + self._limits.ring_bytes > self._limits.total_bytes:
            return "no memory is left for another detachable stream"
        return None

    def open(
        self, stream_id: str, source: StreamSource, caller_id: str, detach_s: float, scope: CallScope
    ) -> AsyncGenerator[Frame, None]:
        """Return the frames of a new stream for its first reader; it begins when the first frame is asked for.

        Ask `may_detach` first, in the same turn of the loop. `detach_s`: how long the stream goes on without a reader,
        and how long it is kept once it has ended. Raises CallFailedError when the registry was closed.
        """
        if self._closed:
            raise CallFailedError(CallFailure(Reason.SERVER_DRAINING, "the server is going down"))
        ring = Ring(self._limits.ring_bytes)
        stream = DetachableStream(stream_id, source, caller_id, detach_s=detach_s, ring=ring, keeper=self)
        return stream.read(0, scope)

    def resume(self, stream_id: str, after_seq: int, scope: CallScope) -> AsyncGenerator[Frame, None]:
        """Return what `engine.api.Engine.resume` says. Raises CallFailedError, here or with the first frame."""
        return self._find(stream_id, scope.caller.id).read(after_seq, scope)

    async def cancel(self, stream_id: str, caller_id: str) -> None:
        """Do what `engine.api.Engine.cancel_stream` says. Raises CallFailedError."""
        await self._find(stream_id, caller_id).cancel()

    async def aclose(self) -> None:
        """End all streams as SERVER_DRAINING, and leave no task behind. Raises RuntimeError if one does not end."""
        self._closed = True
        streams = tuple(self._streams.values())
        for stream in streams:
            stream.abort(Reason.SERVER_DRAINING)
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=CLOSE_WAIT_S)
        for stream in streams:
            stream.cut(Reason.SERVER_DRAINING)
            self.forget(stream)
        if self._tasks:
            _, left = await asyncio.wait(self._tasks, timeout=CLOSE_WAIT_S)
            if left:
                raise RuntimeError(f"{len(left)} tasks of streams did not end when they were cancelled")

    def _find(self, stream_id: str, caller_id: str) -> DetachableStream:
        stream = self._streams.get(stream_id)
        if stream is not None and stream.caller_id == caller_id:
            return stream
        if self._undetachable.get(stream_id) == caller_id:
            raise CallFailedError(
                CallFailure(Reason.STREAM_NOT_DETACHABLE, "this stream is not detachable: it ends with its reader")
            )
        raise CallFailedError(stream_not_found())

    # What the streams tell: engine.detached.StreamKeeper.

    def begun(self, stream: DetachableStream) -> None:
        """Keep a stream from now on, and make room for it."""
        self._make_room(stream.caller_id)
        self._streams[stream.stream_id] = stream
        self._of_caller.setdefault(stream.caller_id, {})[stream.stream_id] = stream
        self._count(stream)
        for task in stream.tasks:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def changed(self, stream: DetachableStream) -> None:
        """Count a stream anew."""
        if stream.stream_id in self._streams:
            self._count(stream)

    def forget(self, stream: DetachableStream) -> None:
        """Let go of a stream, and end it if it still goes on."""
        if self._streams.pop(stream.stream_id, None) is None:
            return
        own = self._of_caller[stream.caller_id]
        del own[stream.stream_id]
        if not own:
            del self._of_caller[stream.caller_id]
        self._claim(stream)
        self._reserved_bytes -= self._counted_bytes.pop(stream.stream_id)
        defect = stream.close()
        if defect is not None:
            report_defect("a stream that nobody read ended by a defect", defect)

    def _count(self, stream: DetachableStream) -> None:
        counted_bytes = stream.bytes if stream.over else self._limits.ring_bytes
        self._claim(stream)
        self._reserved_bytes += counted_bytes - self._counted_bytes.get(stream.stream_id, 0)
        self._counted_bytes[stream.stream_id] = counted_bytes
        if stream.read_whole and not stream.attached:
            self._read_whole[stream.stream_id] = stream
            self._spare_bytes += counted_bytes

    def _claim(self, stream: DetachableStream) -> None:
        """Take a stream off those that may be forgotten, if it is one."""
        if self._read_whole.pop(stream.stream_id, None) is not None:
            self._spare_bytes -= self._counted_bytes[stream.stream_id]

    def _make_room(self, caller_id: str) -> None:
        """Forget streams that were read to their end, as far as a new one of this caller's needs their place."""
        own = self._of_caller.get(caller_id, {})
        if len(own) >= self._limits.streams_per_caller:
            first = next((stream for stream in own.values() if stream.stream_id in self._read_whole), None)
            if first is not None:
                self.forget(first)
        while self._read_whole and self._reserved_bytes + self._limits.ring_bytes > self._limits.total_bytes:
            self.forget(next(iter(self._read_whole.values())))
