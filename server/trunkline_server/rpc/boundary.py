"""The one way of every RPC of ours: bytes in, a call of the engine, bytes or frames out, and a status.

Nothing gets past it unhandled: whatever is raised below becomes a status with details, or is the cancellation that
grpc itself began, which is the only thing that it gets back.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import unquote
from uuid import uuid4

from grpc import StatusCode, aio

from trunkline_server.control.types import Role
from trunkline_server.engine.api import CallScope
from trunkline_server.engine.frames import CallFailedError, CallFailure, Frame
from trunkline_server.routing.types import Caller, Reason
from trunkline_server.rpc import account
from trunkline_server.rpc.call import Call, Context, Work
from trunkline_server.rpc.cancellation import Cancellation, Cause, time_left_s
from trunkline_server.rpc.drain import Drain, draining_failure
from trunkline_server.rpc.sender import Sender
from trunkline_server.rpc.violations import (
    InvalidRequestError,
    failure_of_invalid,
)
from trunkline_server.rpc.writer import CallerGoneError, MessageWriter, StreamWriter
from trunkline_server.telemetry.canonical import RpcRecord, emit
from trunkline_server.telemetry.logs import Log
from trunkline_server.telemetry.stack import stack_of

_OK = StatusCode.OK.name


@dataclass(frozen=True, slots=True)
class UnaryMethod:
    """An RPC with one answer; `answer` takes the request's bytes and returns the response's."""

    path: str
    answer: Callable[[bytes, Work], Awaitable[bytes]]
    role: Role = Role.OPERATOR
    """The least that an admin must be; says nothing to callers. Likewise below."""


@dataclass(frozen=True, slots=True)
class StreamMethod:
    """An RPC with a stream of frames; `open` takes the request's bytes and returns the engine's generator."""

    path: str
    open: Callable[[bytes, Work], AsyncGenerator[Frame, None]]
    may_be_empty: bool = False
    """Whether it may end well without any frame; one that has frames always ends with an `end`."""
    role: Role = Role.OPERATOR


@dataclass(frozen=True, slots=True)
class WatchMethod:
    """An RPC with a stream of messages that stand each for itself; `open` returns the generator of their bytes."""

    path: str
    open: Callable[[bytes, Work], AsyncGenerator[bytes, None]]
    role: Role = Role.OPERATOR


Method = UnaryMethod | StreamMethod | WatchMethod


class EndMissingError(Exception):
    """The engine's generator finished without its last frame."""


class Boundary:
    """Serves the RPCs of a service by an engine, and writes one line in the log for each."""

    def __init__(self, drain: Drain, log: Log, write_timeout_s: Callable[[], float]) -> None:
        """Take the drain to count calls in, and the longest time in seconds that a reader may take for a frame."""
        self._drain = drain
        self._log = log
        self._write_timeout_s = write_timeout_s
        self._loop = asyncio.get_running_loop()

    async def serve(self, method: Method, sender: Sender, raw: bytes, context: Context) -> bytes:
        """Serve one RPC. Returns the response of a unary one; raises only what grpc is to see."""
        call = self._begin(method, sender, raw, context)
        self._drain.enter(call)
        try:
            return await self._serve(method, raw, call)
        except asyncio.CancelledError:
            if not call.record.code:
                call.note_cause(call.cancellation.judge(time_left_s(context)))
            raise
        except aio.AbortError as error:
            # grpc keeps it with the call, and frames in its traceback would keep the call: a circle that holds one of
            # the connection's streams open until the collector finds it.
            raise error.with_traceback(None) from None
        finally:
            if call.writer is not None:
                call.writer.close()
            self._drain.leave(call)
            self._tell(call)
            del call, context

    async def refuse(self, path: str, caller_id: str, failure: CallFailure, _unread: object, context: Context) -> None:
        """End an RPC whose message is not to be read."""
        record = RpcRecord(path, caller=caller_id, peer=peer_of(context))
        task = _current_task()
        scope = CallScope(Caller(caller_id), None)
        call = Call(context, Cancellation(task), Work(scope, record, self._loop.time()), None)
        try:
            await self._fail(call, failure)
        except aio.AbortError as error:
            raise error.with_traceback(None) from None  # see `serve`
        finally:
            self._tell(call)
            del call, context

    def report(self, error: BaseException, path: str, request_id: str) -> CallFailure:
        """Log a defect, and return what is told of it: that it is ours, and the id to find it by."""
        shown = request_id or uuid4().hex
        self._log.error("exception", method=path, request_id=shown, error=stack_of(error))
        return CallFailure(Reason.INTERNAL, f"internal error; request {shown}")

    def _begin(self, method: Method, sender: Sender, raw: bytes, context: Context) -> Call:
        now = self._loop.time()
        left_s = time_left_s(context)
        work = Work(
            scope=CallScope(sender.caller, None if left_s is None else now + left_s, sender.previous_attempts),
            record=RpcRecord(method.path, caller=sender.caller.id, peer=peer_of(context), bytes_in=len(raw)),
            began_at=now,
        )
        cancellation = Cancellation(_current_task())
        writer: MessageWriter | None = None
        if isinstance(method, StreamMethod):
            writer = StreamWriter(context, cancellation, self._write_timeout_s())
        elif isinstance(method, WatchMethod):
            writer = MessageWriter(context, cancellation, self._write_timeout_s())
        return Call(context, cancellation, work, writer)

    async def _serve(self, method: Method, raw: bytes, call: Call) -> bytes:
        failure: CallFailure | None = None
        response = b""
        try:
            response = await self._work(method, raw, call)
        except asyncio.CancelledError as error:
            failure = self._failure_of_cancelled(error, call)
            if failure is None:
                raise
        except CallerGoneError:
            raise call.gone() from None
        except Exception as error:  # noqa: BLE001  whatever it is, grpc would send its text to the caller
            failure = self._failure_of(error, call)
        end = None if call.frames is None else call.frames.delivered.end
        if end is not None:
            failure = end.error  # the frame was sent, and the status never disagrees with it
        if failure is not None:
            await self._fail(call, failure)
            return b""  # grpc sends no message after a status
        call.record.code = _OK
        return response

    async def _fail(self, call: Call, failure: CallFailure) -> None:
        """End a call with a status; should that itself fail, with one that holds nothing which could fail."""
        try:
            await call.fail(failure)
        except aio.AbortError:
            raise  # what grpc wants to see after a status
        except Exception as error:  # noqa: BLE001  grpc would send its text to the caller
            await call.fail(self.report(error, call.record.method, call.record.request_id))

    async def _work(self, method: Method, raw: bytes, call: Call) -> bytes:
        if isinstance(method, UnaryMethod):
            response = await method.answer(raw, call.work)
            call.record.bytes_out = len(response)
            return response
        # Frames and messages are written in this very task, and their generator is closed in it too.
        if isinstance(method, WatchMethod):
            messages_out = _of(call.writer)
            async with aclosing(method.open(raw, call.work)) as messages:
                async for message in messages:
                    await messages_out.write_bytes(message)
            return b""
        writer = _of(call.frames)
        async with aclosing(method.open(raw, call.work)) as frames:
            async for frame in frames:
                await writer.write(frame)
        if writer.delivered.end is None and not (method.may_be_empty and writer.frames == 0):
            raise EndMissingError
        return b""

    def _failure_of_cancelled(self, error: asyncio.CancelledError, call: Call) -> CallFailure | None:
        """Return what to tell the caller of a cancelled call; None if grpc cancelled it, and nobody listens."""
        cause = call.cancellation.judge(time_left_s(call.context))
        call.note_cause(cause)
        return self._failure_of_cause(cause, error, call)

    def _failure_of_cause(self, cause: Cause, error: BaseException, call: Call) -> CallFailure | None:
        match cause:
            case Cause.DRAIN:
                return draining_failure()
            case Cause.SLOW_READER:
                return CallFailure(Reason.SLOW_READER, "the stream was not read for too long")
            case Cause.OWN_TASK:
                return self.report(error, call.record.method, call.record.request_id)
            case Cause.DEADLINE | Cause.CALLER:
                return None

    def _failure_of(self, error: Exception, call: Call) -> CallFailure:
        """Return what to tell the caller of an exception; the log has its place, nobody its text."""
        match error:
            case CallFailedError():
                return self._failure_told(error, call)
            case InvalidRequestError():
                return failure_of_invalid(error)
            case _:
                return self.report(error, call.record.method, call.record.request_id)

    def _failure_told(self, error: CallFailedError, call: Call) -> CallFailure:
        """Return the engine's failure; where it speaks of a cancellation that was ours, what we cancelled for."""
        if error.failure.reason is not Reason.CANCELLED:
            return error.failure
        cause = call.cancellation.judge(time_left_s(call.context))
        if cause is Cause.OWN_TASK:
            return error.failure
        call.note_cause(cause)
        return self._failure_of_cause(cause, error, call) or error.failure

    def _tell(self, call: Call) -> None:
        """Write the line of a call that has ended."""
        if call.frames is not None:
            account.note_stream(call.record, call.frames, call.work.began_at, detachable=call.work.detachable)
        elif call.writer is not None:
            account.note_written(call.record, call.writer, call.work.began_at)
        emit(self._log, call.record, self._loop.time() - call.work.began_at)


def peer_of(context: Context) -> str:
    """Return the address and port of the other end."""
    kind, _, address = context.peer().partition(":")
    return unquote(address) if kind == "ipv6" else address


_Writer = TypeVar("_Writer", bound=MessageWriter)


def _of(writer: _Writer | None) -> _Writer:
    """Return the writer that `_begin` has given a stream."""
    if writer is None:
        raise RuntimeError("a call with one answer has no stream")
    return writer


def _current_task() -> asyncio.Task[object]:
    task = asyncio.current_task()
    if task is None:
        raise RuntimeError("an RPC is served in a task")
    return task
