from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import grpc
import pytest
from grpc import aio
from grpc_health.v1 import health_pb2
from tests.rpc.conftest import (
    FakeEngine,
    chat,
    completed,
    failure_of,
    kinds,
    opening,
    read_until_failure,
    serving,
    text,
    told,
    until,
    whole_end,
)

from trunkline import v1 as pb
from trunkline_server.chat.request import ChatRequest
from trunkline_server.engine.api import CallScope
from trunkline_server.engine.frames import CompletedCall, DrainingFrame, Frame
from trunkline_server.rpc.drain import Drain


class Gate:
    """An engine's calls that end when the test says so."""

    def __init__(self) -> None:
        self.open = asyncio.Event()

    async def complete(self, request: ChatRequest, _scope: CallScope) -> CompletedCall:
        await self.open.wait()
        return completed(request)

    async def stream(self, _request: ChatRequest, scope: CallScope) -> AsyncGenerator[Frame, None]:
        """Tell that the server goes down, and then be as slow as the test wants."""
        told = asyncio.Event()
        scope.on_draining(told.set)
        for frame in (*opening(), text("hi")):
            yield frame
        await told.wait()
        if scope.drain_ends_at is not None:
            yield DrainingFrame(scope.drain_ends_at - asyncio.get_running_loop().time())
        await self.open.wait()
        yield whole_end()

    def engine(self) -> FakeEngine:
        return FakeEngine(on_complete=self.complete, on_stream=self.stream)


async def test_calls_that_run_are_finished_and_streams_are_told() -> None:
    """During the grace a stream gets one draining frame while the engine is silent, and then its proper end."""
    gate = Gate()
    async with serving(gate.engine()) as served:
        unary = asyncio.ensure_future(served.stub.Complete(chat()))
        stream = served.stub.StreamComplete(chat())
        frames = [await stream.read() for _ in range(3)]
        await served.engine.began.wait()
        drain = asyncio.create_task(served.server.drain(20))
        frames.append(await stream.read())
        gate.open.set()
        while (frame := await stream.read()) is not aio.EOF:
            frames.append(frame)
        assert (await unary).request_id == "r-1"
        async with asyncio.timeout(5):
            await drain
        assert await stream.code() is grpc.StatusCode.OK
    assert kinds(frames) == ["started", "attempt_started", "deltas", "draining", "end"]
    assert 0 < frames[3].draining.time_left.ToTimedelta().total_seconds() <= 20
    assert frames[3].attempt == 0


async def test_new_calls_are_refused_while_draining() -> None:
    """A call that comes during the drain is UNAVAILABLE, SERVER_DRAINING with RetryInfo and without pushback."""
    gate = Gate()
    async with serving(gate.engine()) as served:
        stream = served.stub.StreamComplete(chat())
        for _ in range(3):
            await stream.read()
        drain = asyncio.create_task(served.server.drain(20))
        await stream.read()
        failure = await failure_of(served.stub.Complete(chat()))
        gate.open.set()
        await drain
    assert (failure.code, failure.reason) == (grpc.StatusCode.UNAVAILABLE, "SERVER_DRAINING")
    assert failure.retry_delay_s == 1
    assert failure.pushback is None


async def test_what_is_left_after_the_grace_is_ended_with_a_reason() -> None:
    """After the grace a unary call gets SERVER_DRAINING, and a stream is told what it has got before it gets that."""
    gate = Gate()
    async with serving(gate.engine()) as served:
        unary = asyncio.ensure_future(failure_of(served.stub.Complete(chat())))
        stream = served.stub.StreamComplete(chat())
        first = await stream.read()
        await served.engine.began.wait()
        drain = asyncio.create_task(served.server.drain(0.2))
        frames: list[pb.StreamFrame] = [first]
        error = await read_until_failure(stream, frames)
        failure = await unary
        async with asyncio.timeout(5):
            await drain
        lines = await served.log.next_of("rpc", 2)
    assert told(error) == failure
    assert kinds(frames) == ["started", "attempt_started", "deltas", "draining", "attempt_failed", "end"]
    assert frames[-1].end.outcome == pb.End.OUTCOME_FAILED
    assert frames[-1].end.error.reason == "SERVER_DRAINING"
    assert frames[-2].attempt_failed.bytes_emitted == 2
    assert (failure.code, failure.reason, failure.retry_delay_s) == (grpc.StatusCode.UNAVAILABLE, "SERVER_DRAINING", 1)
    assert {line["cancelled_by"] for line in lines} == {"drain"}
    assert served.engine.closed.is_set()


async def test_a_stalled_reader_does_not_hold_up_the_drain() -> None:
    """A stream in the middle of a write that nobody reads is ended too, within about two seconds of the grace."""

    async def never_stops(_request: ChatRequest, _scope: CallScope) -> AsyncGenerator[Frame, None]:
        for frame in opening():
            yield frame
        while True:
            yield text("x" * 32_768)

    async with serving(FakeEngine(on_stream=never_stops)) as served:
        stream = served.stub.StreamComplete(chat())
        await stream.read()
        async with asyncio.timeout(8):
            await served.server.drain(0.1)
        (line,) = await served.log.next_of("rpc")
    assert line["cancelled_by"] == "drain"
    assert served.engine.closed.is_set()


async def test_calls_are_served_while_balancers_look_away() -> None:
    """Between NOT_SERVING and the end of lb_wait_s new calls are still served."""
    async with serving(lb_wait_s=0.5) as served:
        check = served.channel.unary_stream(
            "/grpc.health.v1.Health/Watch", None, health_pb2.HealthCheckResponse.FromString
        )
        watch = check(b"")
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
        drain = asyncio.create_task(served.server.drain(5))
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
        assert (await served.stub.Complete(chat())).request_id == "r-1"
        async with asyncio.timeout(5):
            await drain


async def test_stopping_at_once_ends_a_drain_that_was_cancelled() -> None:
    """The second signal: a cancelled drain and stop_now leave nothing running, whatever the grace was."""
    gate = Gate()
    async with serving(gate.engine()) as served:
        stream = served.stub.StreamComplete(chat())
        await stream.read()
        drain = asyncio.create_task(served.server.drain(600))
        for _ in range(3):
            await stream.read()
        drain.cancel()
        async with asyncio.timeout(5):
            await served.server.stop_now()
            await served.engine.closed.wait()
            (line,) = await served.log.next_of("rpc")
        with pytest.raises(asyncio.CancelledError):
            await drain
    assert line["cancelled_by"] == "drain"


async def test_the_engine_is_told_when_the_drain_cuts() -> None:
    """Every call that runs learns the end of the grace in event-loop time, whether it has frames or not."""
    gate = Gate()
    async with serving(gate.engine()) as served:
        unary = asyncio.ensure_future(served.stub.Complete(chat()))
        stream = served.stub.StreamComplete(chat())
        await stream.read()
        await until(lambda: served.server.in_flight == 2)
        now = asyncio.get_running_loop().time()
        drain = asyncio.create_task(served.server.drain(20))
        await until(lambda: all(scope.drain_ends_at is not None for scope in served.engine.scopes))
        gate.open.set()
        await unary
        while await stream.read() is not aio.EOF:
            pass
        await drain
    assert len(served.engine.scopes) == 2
    for scope in served.engine.scopes:
        assert scope.drain_ends_at is not None
        assert now + 20 <= scope.drain_ends_at <= now + 25


async def test_a_call_that_was_let_in_just_before_the_drain_is_told_too() -> None:
    """Between the check at the door and the message a drain may begin; the call that slips through knows of it."""

    class Slipped:
        told: float | None = None

        def tell_draining(self, ends_at: float) -> None:
            self.told = ends_at

        def cut(self, *, at_once: bool) -> None:
            raise AssertionError(at_once)

    drain, call = Drain(), Slipped()
    drain.begin(20)
    drain.enter(call)
    assert call.told is not None
    assert call.told > asyncio.get_running_loop().time() + 10
