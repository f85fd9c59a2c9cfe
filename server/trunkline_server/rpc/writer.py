"""Writes the frames of one stream: numbers them, and cuts off a reader that takes too long.

Only one write may be under way in a call, and grpc's own flow control is what a write waits for. The one timer of a
stream is armed with its first frame and set anew only when it fires, so a frame costs two reads of the clock.
"""

from __future__ import annotations

import asyncio

from grpc import aio

from trunkline_server.engine.frames import DrainingFrame, Frame
from trunkline_server.rpc.cancellation import Cancellation, Cause
from trunkline_server.rpc.delivered import Delivered
from trunkline_server.rpc.drain import Drain
from trunkline_server.rpc.encode import encode_frame


class CallerGoneError(Exception):
    """A write failed: the caller is no longer there. Never a failure of a provider."""


class StreamWriter:
    """The writing side of one streaming RPC.

    `write` is for the RPC's own task. The drain may put one `draining` frame in between while that task waits for the
    engine; the next write waits for it.
    """

    def __init__(
        self,
        context: aio.ServicerContext[bytes, bytes],
        cancellation: Cancellation,
        drain: Drain,
        write_timeout_s: float,
    ) -> None:
        self._context = context
        self._cancellation = cancellation
        self._drain = drain
        self._write_timeout_s = write_timeout_s
        self._loop = asyncio.get_running_loop()
        self._watchdog: asyncio.TimerHandle | None = None
        self._write_began_at: float | None = None
        self._announcement: asyncio.Task[None] | None = None
        self._announced = False
        self.delivered = Delivered()
        self.seq = 0
        """Number of the last frame."""
        self.bytes_out = 0
        self.first_frame_at: float | None = None
        """Event-loop time at which the first frame was written."""

    @property
    def stuck(self) -> bool:
        """Whether a write was given up on: nothing but a status can follow."""
        return self._write_began_at is not None

    async def write(self, frame: Frame) -> None:
        """Write one frame. Raises CallerGoneError."""
        if self._announcement is not None:
            await self._announcement
            self._announcement = None
        await self._write(frame)
        if self._drain.draining and not self._announced and self.delivered.end is None:
            self._announced = True
            await self._write(DrainingFrame(self._drain.time_left_s))

    async def write_last(self, failure_frames: tuple[Frame, ...]) -> None:
        """Write the frames that end a stream which the engine did not end. Raises CallerGoneError."""
        self._announced = True
        if self._announcement is not None:
            await self._announcement
            self._announcement = None
        for frame in failure_frames:
            await self._write(frame)

    def tell_draining(self) -> None:
        """Write a `draining` frame while the engine is silent; a stream that is writing does it by itself."""
        if self.seq == 0 or self._announced or self.stuck or self.delivered.end is not None:
            return
        self._announced = True
        self._announcement = self._loop.create_task(self._announce(), name="announce-draining")

    async def close(self) -> None:
        """Stop the timer and the drain's own write. To be called once, whatever happened."""
        if self._watchdog is not None:
            self._watchdog.cancel()
        if self._announcement is not None:
            self._announcement.cancel()
            await asyncio.gather(self._announcement, return_exceptions=True)

    async def _announce(self) -> None:
        try:
            await self._write(DrainingFrame(self._drain.time_left_s))
        except CallerGoneError:
            return  # the RPC's own task learns it from grpc

    async def _write(self, frame: Frame) -> None:
        payload = encode_frame(frame, self.seq + 1)
        now = self._loop.time()
        if self._watchdog is None:
            self._watchdog = self._loop.call_at(now + self._write_timeout_s, self._watch)
        self._write_began_at = now
        try:
            await self._context.write(payload)
        except aio.UsageError:
            raise  # ours: two writes at once, or one after the end
        except Exception as error:
            raise CallerGoneError from error
        self._write_began_at = None
        self.seq += 1
        self.bytes_out += len(payload)
        if self.first_frame_at is None:
            self.first_frame_at = self._loop.time()
        self.delivered.note(frame)

    def _watch(self) -> None:
        """See whether the write under way has lasted too long; else look again when it might have."""
        now = self._loop.time()
        began_at = now if self._write_began_at is None else self._write_began_at
        due_at = began_at + self._write_timeout_s
        if due_at > now:
            self._watchdog = self._loop.call_at(due_at, self._watch)
        else:
            self._cancellation.cancel(Cause.SLOW_READER)
