"""One RPC while it is served: what it works with, how it fails, and how it is cut short."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TypeAlias

from grpc import StatusCode, aio

from trunkline_server.engine.api import CallScope
from trunkline_server.engine.frames import CallFailure
from trunkline_server.routing.types import Reason
from trunkline_server.rpc import account
from trunkline_server.rpc.cancellation import Cancellation, Cause, time_left_s
from trunkline_server.rpc.status import status_of
from trunkline_server.rpc.writer import CallerGoneError, MessageWriter, StreamWriter
from trunkline_server.telemetry.canonical import CANCELLED, RpcRecord

Context: TypeAlias = "aio.ServicerContext[bytes, bytes]"

STATUS_LINGER_S = 1.0
"""How long a call waits until its error status has left: a stalled reader gets it when it reads again."""


@dataclass(slots=True)
class Work:
    """What a method gets to work with, and writes down of it."""

    scope: CallScope
    record: RpcRecord
    began_at: float
    """Event-loop time at which the call came."""
    detachable: bool = False
    """Whether the stream goes on without its reader, if the engine can keep it."""


class Call:
    """One RPC while it is served."""

    def __init__(self, context: Context, cancellation: Cancellation, work: Work, writer: MessageWriter | None) -> None:
        self.context = context
        self.cancellation = cancellation
        self.work = work
        self.record = work.record
        self.writer = writer
        self._ending = False

    @property
    def frames(self) -> StreamWriter | None:
        """The writer of a stream of frames; None for every other call."""
        return self.writer if isinstance(self.writer, StreamWriter) else None

    def tell_draining(self, ends_at: float) -> None:
        """Let the engine know that the server is going down: it puts the frame for that where it fits."""
        if not self._ending:
            self.work.scope.tell_draining(ends_at)

    def cut(self, *, at_once: bool) -> None:
        """End the call for the drain: by the engine, which still tells all, or `at_once` without it.

        A call that is ending anyway goes on with that. A watch has no engine and no end of its own: it is cut at once.
        """
        if self._ending:
            return
        if self.writer is not None and (at_once or self.frames is None):
            self.writer.cut(Cause.DRAIN)
        elif at_once:
            self.cancellation.cancel(Cause.DRAIN)
        else:
            self.work.scope.abort(Reason.SERVER_DRAINING)

    async def fail(self, failure: CallFailure) -> None:
        """End the call with a status, after the frames that belong to it. Raises what grpc is to see."""
        self._ending = True
        account.note_failure(self.record, failure)
        if self.frames is not None:
            await self._close_stream(self.frames, failure)
        status = status_of(failure)
        self.record.code = status.code.name
        try:
            async with asyncio.timeout(STATUS_LINGER_S):
                await self.context.abort(status.code, status.message, status.trailing_metadata())
        except TimeoutError:
            return  # the status stands behind unread frames; grpc sends it when there is room
        except aio.AbortError:
            raise  # what grpc wants to see after an abort
        except (aio.InternalError, aio.UsageError):
            raise self.gone() from None

    def gone(self) -> asyncio.CancelledError:
        """Note that nobody is there any more; returns what is to be raised then."""
        self.note_cause(Cause.DEADLINE if time_left_s(self.context) == 0 else Cause.CALLER)
        return asyncio.CancelledError()

    def note_cause(self, cause: Cause) -> None:
        """Write down who ended the call."""
        self.record.cancelled_by = self.record.cancelled_by or cause.value
        if cause is Cause.DEADLINE:
            self.record.code, self.record.reason = StatusCode.DEADLINE_EXCEEDED.name, Reason.DEADLINE.value
        elif cause is Cause.CALLER:
            self.record.code, self.record.reason = StatusCode.CANCELLED.name, ""
        else:
            return
        self.record.outcome = CANCELLED

    async def _close_stream(self, writer: StreamWriter, failure: CallFailure) -> None:
        """Write the frames that the engine did not write any more."""
        if writer.stuck:
            return
        try:
            await writer.write_last(writer.delivered.closing_frames(failure))
        except CallerGoneError:
            raise self.gone() from None
        except asyncio.CancelledError:
            cause = self.cancellation.judge(time_left_s(self.context))
            self.note_cause(cause)
            if cause in {Cause.DEADLINE, Cause.CALLER}:
                raise
