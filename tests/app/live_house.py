"""Live routes on an upstream that answers when the test says so; nothing is sent."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.engine.scripted import Response, Said, read, until

from trunkline_server.chat.message import Message, Role, TextPart
from trunkline_server.chat.request import ChatRequest
from trunkline_server.compile import Blueprint, prepare
from trunkline_server.config.routes import parse_routes
from trunkline_server.config.secrets import SecretResolver
from trunkline_server.engine.api import CallScope
from trunkline_server.engine.frames import CallFailedError, CompletedCall, Frame
from trunkline_server.engine.outcome import CallOutcome
from trunkline_server.engine.provider import LiveProvider
from trunkline_server.engine.router import RoutingEngine
from trunkline_server.live import LiveRoutes
from trunkline_server.providers.transport.base import UpstreamRequest
from trunkline_server.routing.types import Caller

Document = dict[str, Any]
SECRETS = {f"{name}_API_KEY": f"sk-{name.lower() * 8}" for name in "ABCD"}


def key(name: str, **fields: Any) -> Document:
    """Return a key `name` whose secret is in the environment: `A_API_KEY` for `a`."""
    return {"id": name, "secret": f"env:{name.upper()}_API_KEY", **fields}


def provider(*keys: Document, host: str = "one", **fields: Any) -> Document:
    """Return a provider at `https://<host>`."""
    return {"protocol": "openai", "base_url": f"https://{host}/v1", "keys": list(keys or (key("a"),)), **fields}


def document(
    providers: Mapping[str, Document] | None = None, aliases: Mapping[str, list[Any]] | None = None
) -> Document:
    """Return a document; by default one provider `one`, and an alias `default` of its model `m`."""
    tiers = {"default": [["one/m"]]} if aliases is None else aliases
    return {
        "version": 1,
        "providers": dict(providers or {"one": provider()}),
        "aliases": {name: {"tiers": value} for name, value in tiers.items()},
    }


def target(name: str, weight: float = 1.0) -> Document:
    """Return a target with a weight."""
    return {"target": name, "weight": weight}


class Upstream:
    """A transport whose answers wait until `open` is set. Streams begin at once, with one word."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.sent: list[UpstreamRequest] = []
        self.closed = 0

    async def send(self, request: UpstreamRequest, *, connect_timeout_s: float) -> Response:
        assert connect_timeout_s > 0
        self.sent.append(request)
        if json.loads(request.body).get("stream"):
            steps = (Said.ROLE, Said.text("hello"), self._wait, Said.STOP, Said.USAGE, Said.DONE)
            return Response(200, steps, {})
        return Response(200, (self._wait, Said.WHOLE), {})

    async def _wait(self) -> None:
        await self.open.wait()

    async def aclose(self) -> None:
        self.closed += 1


class House:
    """Live routes, an engine on them, and what was told of the calls that ended."""

    def __init__(self, first: Document | None = None) -> None:
        self.secrets = dict(SECRETS)
        self.upstream = Upstream()
        self.ended: list[CallOutcome] = []
        self.version = 1
        self.live = LiveRoutes(
            self.blueprint(first or document()),
            1,
            clock=time.monotonic,
            rng=random.Random(1),
            transport=lambda _: self.upstream,
        )
        self.engine = RoutingEngine(self.live.snapshots, rng=random.Random(1), ended=self.ended.append)

    def blueprint(self, made: Document) -> Blueprint:
        resolver = SecretResolver(Path("/nowhere"), frozenset(), self.secrets)
        return prepare(parse_routes(json.dumps(made), resolver, name="test"))

    def publish(self, made: Document) -> None:
        self.version += 1
        self.live.publish(self.blueprint(made), self.version)

    def begin_trial(self, made: Document, fraction: float = 0.5) -> Blueprint:
        self.version += 1
        blueprint = self.blueprint(made)
        self.live.begin_trial(blueprint, self.version, fraction)
        return blueprint

    def provider(self, name: str = "one") -> LiveProvider:
        return self.live.snapshots.current.providers[name]

    def scope(self) -> CallScope:
        return CallScope(Caller("anonymous"), time.monotonic() + 30.0)

    async def complete(self, model: str = "default") -> CompletedCall:
        return await self.engine.complete(_request(model), self.scope())

    def call(self, model: str = "default") -> asyncio.Task[CompletedCall]:
        return asyncio.create_task(self.complete(model))

    def stream(self, model: str = "default") -> asyncio.Task[tuple[list[Frame], CallFailedError | None]]:
        return asyncio.create_task(read(self.engine.stream(_request(model), self.scope())))

    async def sent(self, count: int) -> None:
        """Wait until so many requests were sent in all."""
        await until(lambda: len(self.upstream.sent) >= count)

    @property
    def hosts(self) -> list[str]:
        """Where each request was sent."""
        return [request.url.split("/")[2] for request in self.upstream.sent]

    @property
    def used(self) -> list[str]:
        """Which secret each request was sent with."""
        return [request.headers.get("authorization", "").removeprefix("Bearer ") for request in self.upstream.sent]


def held(live: LiveProvider) -> int:
    """Return the slots, waiters and keys that are held."""
    return live.desk.gate.in_flight + live.desk.gate.waiting + live.pool.in_flight


def _request(model: str) -> ChatRequest:
    return ChatRequest(model, (Message(Role.USER, (TextPart("hi"),)),), "r1")
