"""What the tests of requests have in common: a request to begin with, and what the adapter makes of one."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from tests.providers.bedrock.official import problems

from trunkline_server.chat.message import MediaPart, Message, Part, Role, TextPart
from trunkline_server.chat.request import ChatRequest, FunctionTool
from trunkline_server.providers.bedrock import BedrockAdapter

CLAUDE = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
NOVA = "amazon.nova-pro-v1:0"
LLAMA = "meta.llama3-3-70b-instruct-v1:0"

HI = Message(Role.USER, (TextPart("hi"),))
SHORTEST = ChatRequest(model="default", messages=(HI,), request_id="r-1")
PNG = MediaPart("image/png", data=b"\x89PNG")
PDF = MediaPart("application/pdf", data=b"%PDF")
LOOK = FunctionTool("look", "Looks.", {"type": "object", "properties": {"q": {"type": "string"}}})
LOOK_SPEC = {"toolSpec": {"name": "look", "description": "Looks.", "inputSchema": {"json": LOOK.parameters}}}
CACHE_POINT = {"cachePoint": {"type": "default"}}
PNG_BLOCK = {"image": {"format": "png", "source": {"bytes": "iVBORw=="}}}


def encoded(request: ChatRequest, model: str = CLAUDE, *, stream: bool = False) -> dict[str, Any]:
    """Return the body of a call, which the service's own model finds nothing wrong in."""
    body = json.loads(BedrockAdapter().encode(request, "bedrock", model, stream=stream).body)
    assert problems("ConverseStream" if stream else "Converse", body) == ""
    return dict(body)


def warned(request: ChatRequest, model: str = CLAUDE) -> list[tuple[str, str]]:
    call = BedrockAdapter().encode(request, "bedrock", model, stream=False)
    return [(warning.code, warning.field) for warning in call.warnings]


def talk(*messages: Message) -> ChatRequest:
    return replace(SHORTEST, messages=messages, tools=(LOOK,))


def turn(role: Role, *parts: Part, name: str | None = None) -> ChatRequest:
    return talk(Message(role, parts, name))
