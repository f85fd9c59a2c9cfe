"""Draining with many live streams: those that can end do, the others are told, and the process ends with 0."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf.duration_pb2 import Duration
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tests.e2e.conftest import ENVIRONMENT, ROUTES, ask
from tests.e2e.serving import rest_of, serve

from trunkline import failure_of
from trunkline.v1 import AdminServiceStub, DrainRequest

if TYPE_CHECKING:
    from trunkline.v1 import AdminServiceAsyncStub

Sized = Callable[..., int]

SCENARIO: dict[str, Any] = {
    "default": {"chunks": 20, "chunk_text": "tok ", "chunk_gap_s": 0.1},
    "models": {"fallback": {"chunks": 20, "chunk_text": "tok ", "stall_after_chunks": 3}},
}


@pytest.mark.parametrize("how", ["signal", "rpc"])
async def test_a_drain_with_live_streams(tmp_path: Path, sized: Sized, how: str) -> None:
    """Of 200 streams none is cut that ends within the grace; the rest end with SERVER_DRAINING and a time to return."""
    count = sized(full=200, gate=60)
    flags = ("--drain-grace-s", "6", "--data-dir", str(tmp_path / "data"))
    async with serve(tmp_path, ROUTES, *flags, scenario=SCENARIO, environ=ENVIRONMENT) as running:
        # Every other stream never ends by itself.
        calls = [
            running.stub.StreamComplete(ask(model="one/primary" if number % 2 else "two/fallback"), timeout=60)
            for number in range(count)
        ]
        firsts = await asyncio.gather(*(anext(aiter(call)) for call in calls))
        assert all(frame.HasField("started") for frame in firsts)
        channel: Any = running.channel  # its types know no async channel
        stub: Any = health_pb2_grpc.HealthStub(channel)
        health = stub.Watch(health_pb2.HealthCheckRequest(), timeout=60)
        states = aiter(health)
        assert (await anext(states)).status == health_pb2.HealthCheckResponse.SERVING
        if how == "signal":
            running.signal()
        else:
            admin: AdminServiceAsyncStub = AdminServiceStub(running.admin_channel)
            drained = await admin.Drain(DrainRequest(grace=Duration(seconds=6), reason="a drill"), timeout=10)
            assert drained.in_flight == count
        assert (await anext(states)).status == health_pb2.HealthCheckResponse.NOT_SERVING
        endings = await asyncio.gather(*(rest_of(call) for call in calls))
        assert await running.ended() == 0
    for number, (frames, error) in enumerate(endings):
        assert any(frame.HasField("draining") for frame in frames)
        if number % 2:
            assert error is None, failure_of(error)
            text = "".join(item.text for frame in [firsts[number], *frames] for item in frame.deltas.items)
            assert text == "tok " * 20
        else:
            assert error is not None
            failure = failure_of(error)
            assert failure.reason == "SERVER_DRAINING"
            assert failure.retry_after_s is not None
            assert frames[-1].HasField("end")


async def test_peers_that_say_nothing_do_not_spoil_the_end(tmp_path: Path, sized: Sized) -> None:
    """Open connections without a word, such as a balancer's probes, leave the exit code at 0, time after time."""
    for _ in range(sized(full=25, gate=4)):
        async with serve(tmp_path, ROUTES, environ=ENVIRONMENT) as running:
            host, _, port = running.listen.rpartition(":")
            peers = [await asyncio.open_connection(host, int(port)) for _ in range(3)]
            running.signal()
            assert await running.ended() == 0
            for _, writer in peers:
                writer.close()
