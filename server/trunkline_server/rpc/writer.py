"""Writes the messages of one stream, and cuts off a reader that takes too long.

Only one write may be under way in a call, and grpc's own flow control is what a write waits for. The one timer of a
stream is armed with its first frame and set anew only when it fires, so a frame costs two reads of the clock.
"""

from __future__ import annotations

import asyncio

from grpc import aio

from trunkline_server.engine.frames import Frame
from trunkline_server.rpc.cancellation import Cancellation, Cause
from trunkline_server.rpc.delivered import Delivered
from trunkline_server.rpc.encode import encode_frame


class CallerGoneError(Exception):
    """A write failed: the caller is no longer there. Never a failure of a provider."""


class MessageWriter:
    """The writing side of one streaming RPC whose messages say nothing to us, for the RPC's own task alone."""

    def __init__(
        self,
        context: aio.ServicerContext[bytes, bytes],
        cancellation: Cancellation,
        write_timeout_s: float,
    ) -> None:
        self._context = context
        self._cancellation = cancellation
        self._write_timeout_s = write_timeout_s
        self._loop = asyncio.get_running_loop()
        self._watchdog: asyncio.TimerHandle | None = None
        self._write_began_at: float | None = None
        self._cut_for: Cause | None = None
        self.frames = 0
        """How many frames were written."""
        self.bytes_out = 0
        self.first_frame_at: float | None = None
        """Event-loop time at which the first frame was written."""

    @property
    def stuck(self) -> bool:
        """Whether a write was given up on: nothing but a status can follow."""
        return self._write_began_at is not None

    def cut(self, why: Cause) -> None:
        """Cancel the call, once its first write is done if that is under way.

        A cancelled first write leaves grpc thinking that no headers were sent: it would send them again with the
        status, and fail.
        """
        if self.stuck and self.frames == 0:
            self._cut_for = why
        else:
            self._cancellation.cancel(why)

    async def write_bytes(self, payload: bytes) -> None:
        """Write one message. Raises CallerGoneError."""
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
        self.frames += 1
        self.bytes_out += len(payload)
        if self.first_frame_at is None:
            self.first_frame_at = self._loop.time()
            if self._cut_for is not None:
                self._cancellation.cancel(self._cut_for)

    def close(self) -> None:
        """Stop the timer. To be called once, whatever happened."""
        if self._watchdog is not None:
            self._watchdog.cancel()

    def _watch(self) -> None:
        """See whether the write under way has lasted too long; else look again when it might have."""
        now = self._loop.time()
        began_at = now if self._write_began_at is None else self._write_began_at
        due_at = began_at + self._write_timeout_s
        if due_at > now:
            self._watchdog = self._loop.call_at(due_at, self._watch)
        else:
            self._cancellation.cancel(Cause.SLOW_READER)


class StreamWriter(MessageWriter):
    """The same for a stream of the engine's frames, which are followed as they go out."""

    def __init__(
        self,
        context: aio.ServicerContext[bytes, bytes],
        cancellation: Cancellation,
        write_timeout_s: float,
    ) -> None:
        super().__init__(context, cancellation, write_timeout_s)
        self.delivered = Delivered()
        self.seq = 0
        """Number of the last frame that was written. A stream that is read on begins with a later one than 1."""

    async def write(self, frame: Frame) -> None:
        """Write one frame under the number that it has. Raises CallerGoneError."""
        await self.write_bytes(encode_frame(frame))
        self.seq = frame.seq
        self.delivered.note(frame)

    async def write_last(self, closing_frames: tuple[Frame, ...]) -> None:
        """Write the frames that end a stream which the engine did not end. Raises CallerGoneError."""
        for frame in closing_frames:
            frame.seq = self.seq + 1
            await self.write(frame)
