"""A whole gateway on loopback, in front of the provider simulator."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from trunkline.v1 import ROLE_USER, CompleteRequest, CompletionServiceStub, Message, Part, StreamFrame
from trunkline_server.compile import prepare
from trunkline_server.config.routes import parse_routes
from trunkline_server.config.secrets import SecretResolver
from trunkline_server.engine.router import RoutingEngine
from trunkline_server.live import LiveRoutes
from trunkline_server.people import caller_table
from trunkline_server.rpc.server import GrpcServer, ServerOptions, public_server
from trunkline_server.simulator.server import Simulator
from trunkline_server.telemetry.logs import make_log
from trunkline_server.telemetry.sink import LineSink

if TYPE_CHECKING:
    from trunkline.v1 import CompletionServiceAsyncStub

RETRIES_OFF = [("grpc.enable_retries", 0)]

ROUTES = """
version: 1
providers:
  one:
    protocol: openai
    base_url: {base}
    keys: [{{id: a, secret: env:ONE_A_API_KEY}}, {{id: b, secret: env:ONE_B_API_KEY}}]
  two:
    protocol: openai
    base_url: {base}
    keys: [{{id: c, secret: env:TWO_C_API_KEY}}]
aliases:
  default:
    tiers: [[{{target: one/primary}}], [{{target: two/fallback}}]]
"""
"""Two providers with three keys on one simulator: keys are told apart by token, targets by model."""

ENVIRONMENT = {"ONE_A_API_KEY": "sk-a", "ONE_B_API_KEY": "sk-b", "TWO_C_API_KEY": "sk-c"}


def ask(text: str = "hi", model: str = "default", **fields: Any) -> CompleteRequest:
    """Return a request with one user message."""
    return CompleteRequest(model=model, messages=[Message(role=ROLE_USER, parts=[Part(text=text)])], **fields)


@dataclass(slots=True)
class Gateway:
    """A running gateway, its upstream, and what its inside looks like."""

    simulator: Simulator
    server: GrpcServer
    live: LiveRoutes
    address: str
    channel: grpc.aio.Channel
    stub: CompletionServiceAsyncStub
    engine: RoutingEngine

    async def frames(
        self, request: CompleteRequest, **call: Any
    ) -> tuple[list[StreamFrame], grpc.aio.AioRpcError | None]:
        """Return all frames of a stream, and the error that it ended with."""
        frames: list[StreamFrame] = []
        try:
            async for frame in self.stub.StreamComplete(request, **call):
                frames.append(frame)  # noqa: PERF401  what came before an error counts
        except grpc.aio.AioRpcError as error:
            return frames, error
        return frames, None

    def leaks(self) -> dict[str, int]:
        """Return what is still held: slots, waiters and keys of every provider. All zero when nothing runs."""
        held = {}
        for name, provider in self.live.snapshots.current.providers.items():
            held[f"{name} slots"] = provider.desk.gate.in_flight
            held[f"{name} waiters"] = provider.desk.gate.waiting
            held[f"{name} keys"] = sum(view.in_flight for view in provider.pool.states())
        return held

    async def quiet(self, timeout_s: float = 10.0) -> None:
        """Wait until nothing is in flight any more, and assert that nothing is held."""
        await self.simulator.until(lambda stats: stats.in_flight == 0, timeout_s)
        # The gateway hears of an upstream's end a few turns of the loop after the upstream.
        for _ in range(200):
            if not any(self.leaks().values()):
                break
            await asyncio.sleep(0.005)
        assert not any(self.leaks().values()), self.leaks()
        assert self.simulator.stats.in_flight == 0


Gateways = Callable[..., AbstractAsyncContextManager[Gateway]]


@pytest.fixture
def gateway(tmp_path: Path) -> Gateways:
    """Return what starts a gateway for an `async with`.

    `{base}` in its routes is where the simulator speaks OpenAI's protocol, `{root}` its address alone.
    """

    @asynccontextmanager
    async def start(
        scenario: dict[str, Any] | None = None,
        *,
        routes: str = ROUTES,
        environ: dict[str, str] | None = None,
        seed: int = 1,
    ) -> AsyncIterator[Gateway]:
        async with Simulator(scenario or {}) as simulator:
            resolver = SecretResolver(tmp_path, frozenset(), environ or ENVIRONMENT)
            text = routes.format(base=simulator.base_url, root=simulator.root_url)
            loaded = parse_routes(text, resolver, name="test")
            live = LiveRoutes(prepare(loaded), 7, clock=time.monotonic, rng=random.Random(seed))
            snapshots = live.snapshots
            engine = RoutingEngine(snapshots, rng=random.Random(seed))
            callers = caller_table(loaded.document)
            with (tmp_path / "log").open("wb") as file:
                sink = LineSink(file.fileno())
                options = ServerOptions(write_timeout_s=lambda: snapshots.current.limits.write_timeout_s)
                server = public_server(engine, lambda: callers, make_log(sink, "info"), options)
                address = await server.start("127.0.0.1:0")
                try:
                    async with grpc.aio.insecure_channel(address, options=RETRIES_OFF) as channel:
                        stub: CompletionServiceAsyncStub = CompletionServiceStub(channel)
                        yield Gateway(simulator, server, live, address, channel, stub, engine)
                finally:
                    await server.stop_now()
                    await engine.aclose()
                    await live.aclose()
                    sink.close()

    return start
