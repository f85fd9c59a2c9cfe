from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
from grpc import aio
from grpc_health.v1 import health_pb2
from tests.rpc.conftest import Served, serving, until

from trunkline_server.rpc.health import Health, Status

SERVICE = "trunkline.v1.CompletionService"


def _watch(served: Served, service: str = "") -> Any:
    method = served.channel.unary_stream(
        "/grpc.health.v1.Health/Watch",
        health_pb2.HealthCheckRequest.SerializeToString,
        health_pb2.HealthCheckResponse.FromString,
    )
    return method(health_pb2.HealthCheckRequest(service=service))


async def _check(served: Served, raw: bytes) -> int:
    method = served.channel.unary_unary(
        "/grpc.health.v1.Health/Check", response_deserializer=health_pb2.HealthCheckResponse.FromString
    )
    answer: health_pb2.HealthCheckResponse = await method(raw)
    return answer.status


@pytest.mark.parametrize("service", ["", SERVICE])
async def test_a_server_that_runs_is_serving(service: str) -> None:
    """The whole server and the service answer SERVING."""
    async with serving() as served:
        raw = health_pb2.HealthCheckRequest(service=service).SerializeToString()
        assert await _check(served, raw) == health_pb2.HealthCheckResponse.SERVING


@pytest.mark.parametrize(
    ("raw", "code"), [(b"\n\x03abc", grpc.StatusCode.NOT_FOUND), (b"\xff", grpc.StatusCode.INVALID_ARGUMENT)]
)
async def test_a_check_of_something_else_is_refused(raw: bytes, code: grpc.StatusCode) -> None:
    """An unknown service is NOT_FOUND, and bytes that are no request are INVALID_ARGUMENT."""
    async with serving() as served:
        with pytest.raises(aio.AioRpcError) as caught:
            await _check(served, raw)
    assert caught.value.code() is code


async def test_a_watcher_is_told_each_change_it_is_ready_for() -> None:
    """A watch begins with the present state, and goes on with the changes; unknown services are SERVICE_UNKNOWN."""
    async with serving() as served:
        watch, unknown = _watch(served, SERVICE), _watch(served, "nobody")
        assert (await watch.read()).status == Status.SERVING
        assert (await unknown.read()).status == Status.SERVICE_UNKNOWN
        served.server.health.set_all(Status.NOT_SERVING)
        assert (await watch.read()).status == Status.NOT_SERVING
        served.server.health.set_all(Status.SERVING)
        assert (await watch.read()).status == Status.SERVING


async def test_a_watcher_that_left_is_forgotten() -> None:
    """Cancelled watches leave nothing behind."""
    async with serving() as served:
        watches = [_watch(served) for _ in range(20)]
        for watch in watches:
            await watch.read()
        assert served.server.health.watchers == 20
        for watch in watches:
            watch.cancel()
        await until(lambda: not served.server.health.watchers)


async def test_stalled_watchers_block_nobody() -> None:
    """50 watchers that never read cost neither a change of state, nor a check, nor the drain its grace."""
    async with serving() as served:
        stalled = [_watch(served) for _ in range(50)]
        await until(lambda: served.server.health.watchers == 50)
        for _ in range(500):
            served.server.health.set_all(Status.NOT_SERVING)
            served.server.health.set_all(Status.SERVING)
        assert await _check(served, b"") == Status.SERVING
        async with asyncio.timeout(5):
            await served.server.drain(600)
        assert served.server.health.watchers == 0
        assert len(stalled) == 50


class _StuckContext:
    """The server's side of a watch whose writes never finish."""

    def __init__(self) -> None:
        self.writing = asyncio.Event()

    async def write(self, _message: bytes) -> None:
        self.writing.set()
        await asyncio.Event().wait()


async def test_a_watcher_in_the_middle_of_a_write_is_ended_too() -> None:
    """A write that never finishes keeps neither other watchers from their news nor the end of all watches."""
    health = Health(())
    context = _StuckContext()
    stuck = asyncio.create_task(health._watch(b"", context))  # type: ignore[arg-type]  # only write is needed
    await context.writing.wait()
    health.set_all(Status.SERVING)
    async with asyncio.timeout(5):
        await health.end_watches(0.05)
        with pytest.raises(asyncio.CancelledError):
            await stuck
    assert health.watchers == 0


async def test_health_says_that_the_server_drains() -> None:
    """The last word of a watch is NOT_SERVING, and then the watch ends by itself."""
    async with serving() as served:
        watch = _watch(served)
        assert (await watch.read()).status == Status.SERVING
        async with asyncio.timeout(5):
            await served.server.drain(600)
        assert (await watch.read()).status == Status.NOT_SERVING
        assert await watch.read() is aio.EOF
