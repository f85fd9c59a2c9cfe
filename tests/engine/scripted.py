"""The engine on a scripted upstream: what comes, when, and how it breaks is up to the test; nothing is sent."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from trunkline_server.chat.message import Message, Role, TextPart
from trunkline_server.chat.request import ChatRequest
from trunkline_server.engine.admission import Desk
from trunkline_server.engine.api import CallScope
from trunkline_server.engine.endpoint import Endpoint, Timeouts
from trunkline_server.engine.frames import CallFailedError, Frame
from trunkline_server.engine.outcome import CallOutcome
from trunkline_server.engine.provider import LiveProvider
from trunkline_server.engine.router import RoutingEngine
from trunkline_server.engine.snapshot import ServerLimits, Snapshot, Snapshots
from trunkline_server.providers.openai import OpenAIAdapter
from trunkline_server.providers.transport.base import UpstreamRequest, UpstreamResponse
from trunkline_server.routing.aliases import Alias, AliasPolicy, AliasTable, AliasTarget, ModelFacts, Tier
from trunkline_server.routing.gate import Gate, GateLimits
from trunkline_server.routing.key_pool import KeyPool, KeySpec
from trunkline_server.routing.types import Caller, TargetId

Step = bytes | BaseException | Callable[[], Awaitable[None]]
"""Bytes that come, an error that breaks the body, or something to wait for."""


async def forever() -> None:
    """Wait for longer than any test."""
    await asyncio.sleep(60)


async def until(holds: Callable[[], bool], timeout_s: float = 5.0) -> None:
    """Wait, turn by turn of the loop, until something holds."""
    end = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < end, "it never came to hold"
        await asyncio.sleep(0)


def pause(seconds: float) -> Callable[[], Awaitable[None]]:
    """Return a step that waits."""
    return lambda: asyncio.sleep(seconds)


class Response:
    """A scripted response. `closed` tells that it was let go."""

    def __init__(self, status: int, steps: tuple[Step, ...], headers: Mapping[str, str]) -> None:
        self.status = status
        self.headers = headers
        self.closed = False
        self._steps = steps

    async def read(self, max_bytes: int) -> bytes:
        body = b"".join([piece async for piece in self.chunks()])
        assert len(body) <= max_bytes
        return body

    def chunks(self) -> AsyncIterator[bytes]:
        return self._play()

    async def _play(self) -> AsyncIterator[bytes]:
        for step in self._steps:
            if isinstance(step, bytes):
                yield step
            elif isinstance(step, BaseException):
                raise step
            else:
                await step()

    def close(self) -> None:
        self.closed = True


class Upstream:
    """A transport that plays one script after the other, and the last one again and again."""

    def __init__(self) -> None:
        self.scripts: list[Response | BaseException | Callable[[], Awaitable[None]]] = []
        self.sent: list[UpstreamRequest] = []

    def answers(self, *steps: Step, status: int = 200, **headers: str) -> Response:
        """Add a response to the script."""
        response = Response(status, steps, headers)
        self.scripts.append(response)
        return response

    async def send(self, request: UpstreamRequest, *, connect_timeout_s: float) -> UpstreamResponse:
        assert connect_timeout_s > 0
        self.sent.append(request)
        script = self.scripts.pop(0) if len(self.scripts) > 1 else self.scripts[0]
        if isinstance(script, Response):
            return script
        if isinstance(script, BaseException):
            raise script
        await script()
        raise AssertionError("nothing ever came")

    async def aclose(self) -> None:
        return None


async def read(frames: AsyncIterator[Frame]) -> tuple[list[Frame], CallFailedError | None]:
    """Return the frames that are left, and the failure that they ended with."""
    seen: list[Frame] = []
    try:
        async for frame in frames:
            seen.append(frame)  # noqa: PERF401  what came before a failure counts
    except CallFailedError as error:
        return seen, error
    return seen, None


@dataclass
class World:
    """An engine over one provider `one` with keys `a` and `b`, and an alias `default` of its model `m`."""

    upstream: Upstream = field(default_factory=Upstream)
    timeouts: Timeouts = field(default_factory=Timeouts)
    gate: GateLimits = field(default_factory=GateLimits)
    limits: ServerLimits = field(default_factory=ServerLimits)
    policy: AliasPolicy = field(default_factory=AliasPolicy)
    adapter: OpenAIAdapter = field(default_factory=OpenAIAdapter)
    models: tuple[tuple[str, ...], ...] = (("m",),)
    """The alias's tiers."""
    facts: ModelFacts = field(default_factory=ModelFacts)

    ended: list[CallOutcome] = field(default_factory=list)
    """What was told of the calls that ended."""

    def __post_init__(self) -> None:
        clock = time.monotonic
        pool = KeyPool("one", [KeySpec("a", 1.0), KeySpec("b", 1.0)], clock=clock, rng=random.Random(1))
        self.pool = pool
        self.desk = Desk(Gate("one", self.gate, pool, clock=clock), clock)
        auth: dict[str, Mapping[str, str]] = {"a": {}, "b": {}}
        endpoint = Endpoint("http://up", self.adapter, self.upstream, auth, self.timeouts)
        provider = LiveProvider("one", endpoint, pool, self.desk)
        tiers = tuple(
            Tier(tuple(AliasTarget(TargetId("one", model), facts=self.facts) for model in tier)) for tier in self.models
        )
        table = AliasTable({"default": Alias("default", tiers, self.policy)}, frozenset({"one"}), {})
        self.engine = RoutingEngine(
            Snapshots(Snapshot(1, table, {"one": provider}, self.limits)),
            rng=random.Random(1),
            clock=clock,
            ended=self.ended.append,
        )

    def request(self, text: str = "hi", **fields: Any) -> ChatRequest:
        return ChatRequest("default", (Message(Role.USER, (TextPart(text),)),), "r1", **fields)

    def scope(self, deadline_s: float | None = None) -> CallScope:
        return CallScope(Caller("anonymous"), None if deadline_s is None else time.monotonic() + deadline_s)

    async def frames(self, scope: CallScope | None = None) -> tuple[list[Frame], CallFailedError | None]:
        """Return all frames of a stream, and the failure that it ended with."""
        try:
            frames = self.engine.stream(self.request(), scope or self.scope())
        except CallFailedError as error:
            return [], error
        return await read(frames)

    @property
    def held(self) -> int:
        """Slots, waiters and keys that are held."""
        return self.desk.gate.in_flight + self.desk.gate.waiting + self.pool.in_flight


def event(**body: Any) -> bytes:
    """Return one event of a streamed chat completion."""
    return b"data: " + json.dumps({"id": "c1", "object": "chat.completion.chunk", **body}).encode() + b"\n\n"


class Said:
    """The bytes of a provider."""

    ROLE = event(choices=[{"index": 0, "delta": {"role": "assistant", "content": ""}}])
    STOP = event(choices=[{"index": 0, "delta": {}, "finish_reason": "stop"}])
    USAGE = event(choices=[], usage={"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5})
    DONE = b"data: [DONE]\n\n"
    COMMENT = b": still here\n\n"
    WHOLE = json.dumps(
        {
            "id": "c1",
            "object": "chat.completion",
            "choices": [{"index": 0, "message": {"role": "assistant", "content": "hello"}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
        }
    ).encode()

    @staticmethod
    def text(text: str) -> bytes:
        return event(choices=[{"index": 0, "delta": {"content": text}}])
