"""A real server on loopback over an engine that does what a test tells it."""

from __future__ import annotations

import asyncio
import json
from array import array
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from grpc import aio

from trunkline import v1 as pb
from trunkline_server.chat.answer import Answer, Finished, FinishReason, Usage, UsageSource
from trunkline_server.chat.embedding import EmbedAnswer, EmbedRequest
from trunkline_server.chat.message import Message, Role, TextPart
from trunkline_server.chat.request import ChatRequest
from trunkline_server.engine.api import CallScope
from trunkline_server.engine.frames import (
    AttemptStartedFrame,
    AttemptSummary,
    CallFailedError,
    CallFailure,
    CompletedCall,
    ContentFrame,
    DeltaKind,
    EmbeddedCall,
    EndFrame,
    Explanation,
    FieldViolation,
    Frame,
    ModelInfo,
    ModelList,
    RouteInfo,
    ServedBy,
    StartedFrame,
    StreamOutcome,
)
from trunkline_server.routing.events import Why
from trunkline_server.routing.types import Caller, Reason, TargetId
from trunkline_server.rpc.auth import OPEN_TABLE, CallerTable
from trunkline_server.rpc.server import GrpcServer, ServerOptions, public_server

SERVED_BY = ServedBy(TargetId("openai", "gpt"), "team-a")
ROUTE = RouteInfo("default", "default", 7, "", SERVED_BY, ())
ATTEMPT = AttemptSummary(1, SERVED_BY, Why.FIRST, 0.25, 0.1, 0.5, None, None, 2, discarded=False)


@dataclass
class FakeEngine:
    """An engine whose methods are what the test put there. It remembers what it was asked, and what was closed."""

    on_complete: Callable[[ChatRequest, CallScope], Awaitable[CompletedCall]] | None = None
    on_stream: Callable[[ChatRequest, CallScope], AsyncGenerator[Frame, None]] | None = None
    on_resume: Callable[[str, int, CallScope], AsyncGenerator[Frame, None]] | None = None
    on_cancel: Callable[[str, CallScope], Awaitable[None]] | None = None
    on_explain: Callable[[ChatRequest, CallScope], Explanation] | None = None
    violations: list[FieldViolation] = field(default_factory=list)
    scopes: list[CallScope] = field(default_factory=list)
    began: asyncio.Event = field(default_factory=asyncio.Event)
    closed: asyncio.Event = field(default_factory=asyncio.Event)
    closed_in_own_task: bool | None = None

    async def complete(self, request: ChatRequest, scope: CallScope) -> CompletedCall:
        self.scopes.append(scope)
        self.began.set()
        try:
            if self.on_complete is not None:
                return await self.on_complete(request, scope)
            return completed(request)
        finally:
            self.closed.set()

    async def embed(self, request: EmbedRequest, scope: CallScope) -> EmbeddedCall:
        self.scopes.append(scope)
        return embedded(request)

    async def stream(self, request: ChatRequest, scope: CallScope) -> AsyncGenerator[Frame, None]:
        self.scopes.append(scope)
        self.began.set()
        task = asyncio.current_task()
        source = whole_stream() if self.on_stream is None else self.on_stream(request, scope)
        seq = 0
        try:
            async for frame in source:
                seq += 1
                frame.seq = seq
                yield frame
        finally:
            self.closed_in_own_task = asyncio.current_task() is task
            self.closed.set()

    def resume(self, stream_id: str, after_seq: int, scope: CallScope) -> AsyncGenerator[Frame, None]:
        self.scopes.append(scope)
        if self.on_resume is None:
            raise CallFailedError(CallFailure(Reason.STREAM_NOT_FOUND, "no such stream"))
        return self._resumed(self.on_resume(stream_id, after_seq, scope), after_seq)

    async def _resumed(self, source: AsyncGenerator[Frame, None], seq: int) -> AsyncGenerator[Frame, None]:
        self.began.set()
        try:
            async for frame in source:
                seq += 1
                frame.seq = seq
                yield frame
        finally:
            self.closed.set()

    async def cancel_stream(self, stream_id: str, scope: CallScope) -> None:
        self.scopes.append(scope)
        if self.on_cancel is None:
            raise CallFailedError(CallFailure(Reason.STREAM_NOT_FOUND, "no such stream"))
        await self.on_cancel(stream_id, scope)

    def explain(self, request: ChatRequest, scope: CallScope) -> Explanation:
        self.scopes.append(scope)
        return Explanation(ROUTE, ()) if self.on_explain is None else self.on_explain(request, scope)

    def list_models(self, scope: CallScope) -> ModelList:
        self.scopes.append(scope)
        model = ModelInfo("default", True, (SERVED_BY.target,), ("tools",), 128_000, None, None, None)  # noqa: FBT003  the record's own order
        return ModelList((model,), 7)

    def check_options(self, _request: ChatRequest | EmbedRequest, _caller: Caller) -> list[FieldViolation]:
        return self.violations


def embedded(request: EmbedRequest) -> EmbeddedCall:
    """Return vectors of two dimensions for a request: the place of the input, and its length."""
    vectors = tuple(array("f", (index, len(text))) for index, text in enumerate(request.inputs))
    answer = EmbedAnswer(vectors, Usage(input_tokens=5, output_tokens=0, source=UsageSource.PROVIDER))
    return EmbeddedCall(request.request_id, answer, ROUTE, (ATTEMPT,), 1.0, ())


def completed(request: ChatRequest) -> CompletedCall:
    """Return a whole answer to a request."""
    answer = Answer(Message(Role.ASSISTANT, (TextPart("hi"),)), Finished(FinishReason.STOP, "stop"))
    return CompletedCall(request.request_id, answer, ROUTE, (ATTEMPT,), 1.0, ())


def opening() -> tuple[Frame, ...]:
    """Return the frames before the first content."""
    return (
        StartedFrame("r-1", "0-f00d", ROUTE, 1.0, 0.25, ()),
        AttemptStartedFrame(1, SERVED_BY, Why.FIRST, 0.25),
    )


def text(value: str, offset: int = 0) -> ContentFrame:
    """Return some content."""
    return ContentFrame(1, DeltaKind.TEXT, 0, offset, value)


def whole_end() -> EndFrame:
    """Return the end of a stream that is whole."""
    return EndFrame(StreamOutcome.COMPLETE, FinishReason.STOP, "stop", None, None, (ATTEMPT,), ROUTE, 2, 0)


async def whole_stream() -> AsyncGenerator[Frame, None]:
    """Yield a short stream that is whole."""
    for frame in (*opening(), text("hi"), whole_end()):
        yield frame


class MemoryLog:
    """Keeps the lines that were logged."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []
        self.told = asyncio.Event()

    def _add(self, event: str, **fields: Any) -> None:
        self.lines.append({"event": event, **fields})
        self.told.set()

    debug = info = warning = error = _add

    def write_line(self, line: bytes) -> None:
        self._add(**json.loads(line))

    def is_enabled_for(self, _level: int) -> bool:
        return True

    def of(self, event: str) -> list[dict[str, Any]]:
        """Return the lines of one event."""
        return [line for line in self.lines if line["event"] == event]

    async def next_of(self, event: str, count: int = 1) -> list[dict[str, Any]]:
        """Return the lines of one event, once there are `count`."""
        async with asyncio.timeout(10):
            while len(self.of(event)) < count:
                self.told.clear()
                await self.told.wait()
        return self.of(event)

    def everything(self) -> str:
        """Return all lines as one text, to look for what must not be there."""
        return json.dumps(self.lines, default=str)


@dataclass
class Served:
    """A server that runs, and a channel to it."""

    server: GrpcServer
    address: str
    channel: Any
    stub: Any
    engine: FakeEngine
    log: MemoryLog


class Serve(Protocol):
    """Starts a server for the length of a block."""

    def __call__(
        self,
        engine: FakeEngine | None = None,
        *,
        callers: CallerTable = OPEN_TABLE,
        write_timeout_s: float = 30.0,
        lb_wait_s: float = 0.0,
    ) -> Any: ...


@asynccontextmanager
async def serving(
    engine: FakeEngine | None = None,
    *,
    callers: CallerTable = OPEN_TABLE,
    write_timeout_s: float = 30.0,
    lb_wait_s: float = 0.0,
) -> AsyncIterator[Served]:
    """Serve a fake engine on a free port of loopback."""
    engine = engine or FakeEngine()
    log = MemoryLog()
    options = ServerOptions(write_timeout_s=lambda: write_timeout_s, lb_wait_s=lb_wait_s)
    server = public_server(engine, lambda: callers, log, options)
    address = await server.start("127.0.0.1:0")
    settings = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0)]
    try:
        async with aio.insecure_channel(address, options=settings) as channel:
            untyped: Any = channel
            yield Served(server, address, untyped, pb.CompletionServiceStub(channel), engine, log)
    finally:
        await server.stop_now()


def chat(**more: Any) -> pb.CompleteRequest:
    """Return the shortest request."""
    message = pb.Message(role=pb.ROLE_USER, parts=[pb.Part(text="a secret prompt")])
    return pb.CompleteRequest(model="default", messages=[message], request_id="r-1", **more)


@dataclass
class Told:
    """What a failed call tells, taken apart."""

    code: grpc.StatusCode
    message: str
    reason: str
    violations: list[str]
    retry_delay_s: float | None
    pushback: str | None
    size: int
    metadata: dict[str, str]


def told(error: aio.AioRpcError) -> Told:
    """Take a failure apart."""
    trailers = error.trailing_metadata()
    raw = trailers["grpc-status-details-bin"]
    assert isinstance(raw, bytes)
    status = status_pb2.Status.FromString(raw)
    code = error.code()
    assert status.code == code.value[0]
    info = error_details_pb2.ErrorInfo()
    bad = error_details_pb2.BadRequest()
    retry = error_details_pb2.RetryInfo()
    retry_delay_s = None
    for detail in status.details:
        detail.Unpack(info)
        detail.Unpack(bad)
        if detail.Unpack(retry):
            retry_delay_s = retry.retry_delay.ToTimedelta().total_seconds()
    assert info.domain == "trunkline"
    pushback = trailers.get("grpc-retry-pushback-ms")
    return Told(
        code=code,
        message=error.details() or "",
        reason=info.reason,
        violations=[violation.field for violation in bad.field_violations],
        retry_delay_s=retry_delay_s,
        pushback=None if pushback is None else str(pushback),
        metadata=dict(info.metadata),
        size=sum(len(key) + len(value) for key, value in trailers),
    )


async def failure_of(call: Any) -> Told:
    """Return what a call with one answer fails with."""
    with pytest.raises(aio.AioRpcError) as caught:
        await call
    return told(caught.value)


async def read_all(call: Any) -> tuple[list[pb.StreamFrame], aio.AioRpcError | None]:
    """Return all frames of a stream, and how it failed."""
    frames: list[pb.StreamFrame] = []
    try:
        async for frame in call:
            frames.append(frame)  # noqa: PERF401  what came before a failure counts
    except aio.AioRpcError as error:
        return frames, error
    return frames, None


def kinds(frames: list[pb.StreamFrame]) -> list[str]:
    """Return the kinds of frames, whose numbers must count from 1 without gaps."""
    assert [frame.seq for frame in frames] == list(range(1, len(frames) + 1))
    return [str(frame.WhichOneof("frame")) for frame in frames]


async def read_until_failure(call: Any, frames: list[pb.StreamFrame]) -> aio.AioRpcError:
    """Add a stream's further frames, read one by one, and return how it failed."""
    try:
        while (frame := await call.read()) is not aio.EOF:
            frames.append(frame)
    except aio.AioRpcError as error:
        return error
    raise AssertionError("the stream did not fail")


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop run until something holds that announces itself to nobody, at most 10 s."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110  what is waited for is state inside the server, which has no event
            await asyncio.sleep(0.001)
