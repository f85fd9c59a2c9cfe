"""Short ways to make requests for the tests of the Messages API, and to look at what is written for them."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from trunkline_server.chat.message import Message, Part, Role, TextPart
from trunkline_server.chat.request import ChatRequest
from trunkline_server.providers.anthropic import AnthropicAdapter
from trunkline_server.providers.base import AdapterTerms, ModelTerms

CLASSIC = "claude-sonnet-4-5"
"""Of the generation that takes budgets, sampling parameters and prefills."""
LATEST = "claude-opus-5-5"
"""Of the one that takes none of them."""

HI = Message(Role.USER, (TextPart("hi"),))
SHORTEST = ChatRequest(model="default", messages=(HI,), request_id="r-1")
TERMS = AdapterTerms(
    "anthropic",
    "https://api.anthropic.com",
    {CLASSIC: ModelTerms(max_output_tokens=64_000), LATEST: ModelTerms(max_output_tokens=128_000)},
)


def conversation(*messages: Message, **more: Any) -> ChatRequest:
    """Return a request with these messages."""
    return replace(SHORTEST, messages=messages, **more)


def turn(role: Role, *parts: Part, **more: Any) -> Message:
    """Return one message."""
    return Message(role, parts, **more)


def body_of(request: ChatRequest, model: str = CLASSIC, *, stream: bool = False) -> dict[str, Any]:
    """Return the body that is written for a request."""
    body = json.loads(AnthropicAdapter(TERMS).encode(request, "anthropic", model, stream=stream).body)
    assert isinstance(body, dict)
    return body


def warned(request: ChatRequest, model: str = CLASSIC) -> list[tuple[str, str]]:
    """Return code and field of each warning."""
    call = AnthropicAdapter(TERMS).encode(request, "anthropic", model, stream=False)
    return [(warning.code, warning.field) for warning in call.warnings]
