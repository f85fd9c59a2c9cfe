"""The server as a process: what it says when it is ready, how it drains, and what it leaves behind."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_channelz.v1 import channelz_pb2, channelz_pb2_grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tests.conftest import Sized
from tests.e2e.conftest import ENVIRONMENT, ROUTES, ask
from tests.e2e.serving import Served, rest_of, serve

from trunkline import failure_of
from trunkline.v1 import FINISH_REASON_BROKEN, FINISH_REASON_STOP, CompletionServiceStub, End, StreamFrame

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
SERVICE = "trunkline.v1.CompletionService"

Serve = Callable[..., AbstractAsyncContextManager[Served]]

SLOW = {"default": {"chunks": 35, "chunk_text": "tok ", "chunk_gap_s": 0.1}}
"""A stream of three and a half seconds: long enough to look around while it runs, on a busy machine too."""
ENDLESS = {"default": {"chunks": 20, "chunk_text": "tok ", "stall_after_chunks": 3}}
"""A stream that never ends by itself (in the time that a test has)."""


@pytest.fixture
def served(tmp_path: Path) -> Serve:
    """Return what runs the server on the routes of two providers; takes flags and a scenario."""
    return partial(serve, tmp_path, ROUTES, environ=ENVIRONMENT)


def health_of(channel: grpc.aio.Channel) -> Any:
    return health_pb2_grpc.HealthStub(channel)


async def health(channel: grpc.aio.Channel, service: str = "") -> int:
    response = await health_of(channel).Check(health_pb2.HealthCheckRequest(service=service), timeout=5)
    return int(response.status)


async def watch(channel: grpc.aio.Channel, service: str = "") -> AsyncGenerator[int, None]:
    """Yield each state that the server tells."""
    async for response in health_of(channel).Watch(health_pb2.HealthCheckRequest(service=service), timeout=60):
        yield int(response.status)


async def begin(running: Served) -> tuple[AsyncIterator[StreamFrame], list[StreamFrame]]:
    """Start a stream and read it up to its first content; return what is to come and what came."""
    coming = aiter(running.stub.StreamComplete(ask(), timeout=60))
    frames = []
    async for frame in coming:
        frames.append(frame)
        if frame.HasField("deltas"):
            break
    return coming, frames


def kinds(frames: list[StreamFrame]) -> list[str]:
    return [str(frame.WhichOneof("frame")) for frame in frames]


def pushback(error: grpc.aio.AioRpcError) -> str | None:
    return next((str(value) for key, value in error.trailing_metadata() if key == "grpc-retry-pushback-ms"), None)


async def test_a_ready_server(served: Serve) -> None:
    """Its one line names three ports that serve: calls, health on both, channelz for operators, and two pages."""
    async with served() as running:
        assert (await running.stub.Complete(ask())).finish_reason == FINISH_REASON_STOP
        assert await running.get("/healthz") == (200, "ok\n")
        assert (await running.get("/readyz"))[0] == 200
        assert (await running.get("/"))[0] == 404
        assert await health(running.channel) == await health(running.channel, SERVICE) == SERVING
        assert await health(running.admin_channel) == SERVING
        admin_channel: Any = running.admin_channel  # its types know no async channel
        channelz: Any = channelz_pb2_grpc.ChannelzStub(admin_channel)
        servers = (await channelz.GetServers(channelz_pb2.GetServersRequest())).server
        assert sum(server.data.calls_started for server in servers) >= 4
        with pytest.raises(grpc.aio.AioRpcError) as unknown:
            await channelz.GetSocket(channelz_pb2.GetSocketRequest(socket_id=10**12))
        assert unknown.value.code() is grpc.StatusCode.NOT_FOUND
        assert "Error" not in (unknown.value.details() or "")
        running.signal()
        assert await running.ended() == 0
    assert running.out == []


async def test_a_drain_lets_streams_finish(served: Serve) -> None:
    """Health and readiness turn at once, the stream is told and ends whole, late calls are sent elsewhere; exit 0."""
    async with served("--drain-grace-s", "20", scenario=SLOW) as running:
        watching = watch(running.channel, SERVICE)
        assert await anext(watching) == SERVING
        admin_watching = watch(running.admin_channel)
        assert await anext(admin_watching) == SERVING
        coming, frames = await begin(running)
        waiting = asyncio.ensure_future(running.stub.Complete(ask(), timeout=30))
        await running.simulator.until(lambda stats: stats.requests == 2)
        running.signal()
        assert await asyncio.wait_for(anext(watching), 5) == NOT_SERVING
        assert await asyncio.wait_for(anext(admin_watching), 5) == NOT_SERVING
        assert await health(running.channel) == NOT_SERVING
        assert (await running.get("/readyz"))[0] == 503
        assert (await running.get("/healthz"))[0] == 200
        for late in (running.stub.Complete(ask()), rest_of(running.stub.StreamComplete(ask()))):
            error = await refusal(late)
            failure = failure_of(error)
            assert (error.code(), failure.reason) == (grpc.StatusCode.UNAVAILABLE, "SERVER_DRAINING")
            assert failure.retry_after_s is not None
            assert pushback(error) is None
        rest, broken = await rest_of(coming)
        frames += rest
        assert broken is None
        assert kinds(frames).count("draining") == 1
        told = next(frame for frame in frames if frame.HasField("draining"))
        assert told.attempt == 0
        assert 15 < told.draining.time_left.ToTimedelta().total_seconds() <= 20
        assert frames[-1].end.outcome == End.OUTCOME_COMPLETE
        assert frames[-1].end.content_bytes == 140
        assert [frame.seq for frame in frames] == list(range(1, len(frames) + 1))
        assert (await waiting).finish_reason == FINISH_REASON_STOP
        assert await running.ended() == 0
        await running.simulator.until(lambda stats: stats.connections == 0)
    assert_no_defects(running)


async def refusal(call: Any) -> grpc.aio.AioRpcError:
    """Return the error of a call that must fail before it says anything."""
    try:
        result = await call
    except grpc.aio.AioRpcError as raised:
        return raised
    frames, error = result
    assert frames == []
    assert isinstance(error, grpc.aio.AioRpcError)
    return error


async def test_what_outlives_the_grace_is_ended_with_a_reason(served: Serve) -> None:
    """Past the grace a stream gets its partial-stream error frame and end, a unary call its status; exit 0."""
    async with served("--drain-grace-s", "0.5", scenario=ENDLESS) as running:
        coming, frames = await begin(running)
        unary = asyncio.ensure_future(running.stub.Complete(ask(), timeout=30))
        await running.simulator.until(lambda stats: stats.requests == 2)
        began_at = time.monotonic()
        running.signal()
        rest, error = await rest_of(coming)
        frames += rest
        assert error is not None
        failure = failure_of(error)
        assert (error.code(), failure.reason) == (grpc.StatusCode.UNAVAILABLE, "SERVER_DRAINING")
        assert failure.retry_after_s is not None
        assert kinds(frames)[-3:] == ["draining", "attempt_failed", "end"]
        broken, end = frames[-2].attempt_failed, frames[-1].end
        assert (end.outcome, end.finish_reason) == (End.OUTCOME_FAILED, FINISH_REASON_BROKEN)
        assert [attempt.attempt for attempt in end.attempts] == [1]
        assert end.error.code == grpc.StatusCode.UNAVAILABLE.value[0]
        assert (
            broken.bytes_emitted
            == end.content_bytes
            == sum(len(item.text) for frame in frames for item in frame.deltas.items)
        )
        unary_error = await refusal(unary)
        assert failure_of(unary_error).reason == "SERVER_DRAINING"
        assert failure_of(unary_error).retry_after_s is not None
        assert await running.ended() == 0
        assert time.monotonic() - began_at < 0.5 + 3 + 5
        await running.simulator.until(lambda stats: stats.cancelled == 2 and stats.connections == 0)
    assert_no_defects(running)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_second_signal_stops_at_once(served: Serve, number: int) -> None:
    """Whoever asks twice does not wait for the grace: exit 1, and the upstream connection is closed."""
    async with served("--drain-grace-s", "60", scenario=ENDLESS) as running:
        coming, _ = await begin(running)
        running.signal(number)
        async for frame in coming:
            if frame.HasField("draining"):
                break
        asked_at = time.monotonic()
        running.signal(number)
        assert await running.ended(10) == 1
        assert time.monotonic() - asked_at < 5
        _, error = await rest_of(coming)
        assert error is not None
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        await running.simulator.until(lambda stats: stats.connections == 0)
    assert_no_defects(running)


async def standstill(running: Served) -> int:
    """Return how many chunks the simulator had sent when it could send no more."""
    before, sent = -1, 0
    while sent == 0 or sent != before:
        await asyncio.sleep(0.3)  # long against the time between two chunks that can be sent
        before, sent = sent, running.simulator.stats.last_requests[-1].chunks_sent
    return sent


async def test_a_reader_that_stalls_holds_nothing_up(served: Serve) -> None:
    """A stream that nobody reads is held in bounded memory, and the drain ends it all the same; the log says FAILED."""
    endless = {"default": {"chunks": 200_000, "chunk_text": "x" * 1000}}
    async with served("--drain-grace-s", "0.2", scenario=endless) as running:
        before_kib = resident_kib(running.process.pid)
        options = [("grpc.http2.lookahead_bytes", 1), ("grpc.http2.bdp_probe", 0)]
        async with grpc.aio.insecure_channel(running.listen, options=options) as channel:
            stub: Any = CompletionServiceStub(channel)
            call = stub.StreamComplete(ask(), timeout=60)
            assert (await call.read()).HasField("started")
            sent = await standstill(running)
            assert sent < 20_000
            assert resident_kib(running.process.pid) - before_kib < 32 * 1024
            running.signal()
            assert await running.ended(15) == 0
    (line,) = (json.loads(line) for line in running.log if '"event":"rpc"' in line)
    assert (line["outcome"], line["reason"], line["cancelled_by"]) == ("FAILED", "SERVER_DRAINING", "drain")
    assert_no_defects(running)


async def test_an_idle_server_drains_at_once(served: Serve) -> None:
    """Open connections and health watches hold nothing up: without calls the end takes no grace."""
    async with served("--drain-grace-s", "60") as running:
        watching = watch(running.channel)
        assert await anext(watching) == SERVING
        await running.stub.Complete(ask())
        asked_at = time.monotonic()
        running.signal(signal.SIGINT)
        assert await running.ended(10) == 0
        assert time.monotonic() - asked_at < 5
    assert_no_defects(running)


async def test_balancers_get_time_to_look_away(served: Serve) -> None:
    """For --lb-wait-s the health says NOT_SERVING while calls are still served; then the drain begins."""
    async with served("--lb-wait-s", "2.5", "--drain-grace-s", "5") as running:
        watching = watch(running.channel)
        assert await anext(watching) == SERVING
        running.signal()
        assert await asyncio.wait_for(anext(watching), 5) == NOT_SERVING
        assert (await running.get("/readyz"))[0] == 503
        assert (await running.stub.Complete(ask())).finish_reason == FINISH_REASON_STOP
        assert await running.ended() == 0
    assert_no_defects(running)


async def test_without_routes_the_embedded_default_is_served(tmp_path: Path) -> None:
    """No routes file: the alias `default` answers, and standard error says that the provider is simulated."""
    async with serve(tmp_path, None) as running:
        assert (await running.stub.Complete(ask("hello"))).message.parts[0].text == "You said: hello"
        frames, error = await running.frames(ask("hello"))
        assert error is None
        assert frames[-1].end.outcome == End.OUTCOME_COMPLETE
        running.signal()
        assert await running.ended() == 0
    assert "simulated" in "".join(running.log)


def resident_kib(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1])


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
async def test_calls_leave_no_memory_behind(served: Serve, sized: Sized) -> None:
    """After a warm-up, thousands of calls of every ending leave the server's memory where it was."""
    scenario = {
        "default": {"chunks": 20, "chunk_text": "some text "},
        "rules": [
            {"every": 10, "fault": {"cut_after_chunks": 3}},
            {"every": 7, "fault": {"status": 500}},
        ],
    }
    async with served("--log-level", "error", scenario=scenario) as running:

        async def calls(count: int) -> None:
            for number in range(count):
                try:
                    if number % 2:
                        await running.stub.Complete(ask(f"{number} " + "x" * 2000), timeout=30)
                    else:
                        await running.frames(ask(f"{number} " + "x" * 2000))
                except grpc.aio.AioRpcError as error:
                    assert failure_of(error).reason == "UPSTREAM_EXHAUSTED"  # noqa: PT017  most calls do not fail

        count = sized(full=2000, gate=400)
        await calls(count // 2)
        before_kib = resident_kib(running.process.pid)
        await calls(count)
        grown_kib = resident_kib(running.process.pid) - before_kib
        print(f"{count} calls: resident memory {before_kib} KiB, grown by {grown_kib} KiB")
        assert grown_kib < 8 * 1024
        running.signal()
        assert await running.ended() == 0


def assert_no_defects(running: Served) -> None:
    """Assert that the log has no exception, nothing that a library had to say, and no traceback."""
    for line in running.log:
        assert "Traceback" not in line
        if line.startswith("{"):
            assert json.loads(line)["event"] not in {"exception", "library"}, line
        else:
            assert ": warning: " in line, line
