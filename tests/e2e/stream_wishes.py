"""Streams with wishes: the routes that they are made on, what they ask for, and the checks that each has to pass."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from google.protobuf.duration_pb2 import Duration
from tests.e2e.conftest import ask
from tests.e2e.stream_books import check_books, read, settled

from trunkline.v1 import CompleteRequest, FunctionTool, RoutingOptions, Tool

if TYPE_CHECKING:
    from tests.e2e.conftest import Gateway
    from tests.e2e.stream_books import Reading

ROUTES = """
version: 1
providers:
  one:
    protocol: openai
    base_url: {base}
    keys: [{{id: a, secret: env:ONE_A_API_KEY}}]
    gate: {{max_in_flight: 1, queue: 8, max_wait_s: 30}}
    timeouts: {{first_token_s: 20, stall_s: 0.4}}
  two:
    protocol: openai
    base_url: {base}
    keys: [{{id: c, secret: env:TWO_C_API_KEY}}]
models:
  two/fallback: {{capabilities: [tools, prefill]}}
aliases:
  default: {{tiers: [[one/primary], [two/fallback]]}}
  alone: {{tiers: [[one/primary]], max_attempts: 1}}
"""
"""One slot at the primary, so that a second call waits; a short silence is a stall."""


def duration(seconds: float) -> Duration:
    """Return a protobuf duration."""
    message = Duration()
    message.FromTimedelta(timedelta(seconds=seconds))
    return message


def request(model: str = "default", *, tools: bool = False, **routing: Any) -> CompleteRequest:
    """Return a request with these routing options; times are in seconds."""
    timed = {"heartbeat", "usage_every", "max_first_token", "max_token_gap"}
    options: dict[str, Any] = {name: duration(value) if name in timed else value for name, value in routing.items()}
    functions = [Tool(function=FunctionTool(name=name)) for name in ("weather", "clock")] if tools else []
    return ask("How is the weather?", model, routing=RoutingOptions(**options), tools=functions)


async def stream(running: Gateway, asked: CompleteRequest) -> Reading:
    """Read one stream to its end, check its books, and see that it left nothing behind."""
    reading = await read(running.stub.StreamComplete(asked, timeout=30))
    check_books(reading.frames, 0 if reading.error is None else reading.error.failure.code.value[0])
    await settled(running)
    return reading
