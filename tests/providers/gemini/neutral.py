"""Requests in neutral words, and what the adapter makes of them."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from trunkline_server.chat.message import MediaPart, Message, Role, TextPart, ThinkingPart
from trunkline_server.chat.request import ChatRequest
from trunkline_server.providers.base import AdapterTerms
from trunkline_server.providers.gemini import GeminiAdapter

BASE = "https://generativelanguage.googleapis.com/v1beta"
ADAPTER = GeminiAdapter(AdapterTerms("google", BASE))
HI = Message(Role.USER, (TextPart("hi"),))
SHORTEST = ChatRequest(model="default", messages=(HI,), request_id="r-1")
PNG = MediaPart("image/png", data=b"\x89PNG")
MODEL = "gemini-3-flash"


def encoded(request: ChatRequest, model: str = MODEL) -> dict[str, Any]:
    body = json.loads(ADAPTER.encode(request, "google", model, stream=False).body)
    assert isinstance(body, dict)
    return body


def warned(request: ChatRequest, model: str = MODEL) -> list[tuple[str, str]]:
    call = ADAPTER.encode(request, "google", model, stream=False)
    return [(warning.code, warning.field) for warning in call.warnings]


def said(*messages: Message) -> ChatRequest:
    return replace(SHORTEST, messages=messages)


def user(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"role": "user", "parts": list(parts)}


def model(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"role": "model", "parts": list(parts)}


def called(call_id: str, args: Any, name: str = "look", **more: Any) -> dict[str, Any]:
    return {"functionCall": {"id": call_id, "name": name, "args": args}, **more}


def answered(call_id: str, response: dict[str, Any], name: str = "look", **more: Any) -> dict[str, Any]:
    return {"functionResponse": {"id": call_id, "name": name, "response": response, **more}}


def own(text: str, signature: str | None = None) -> ThinkingPart:
    return ThinkingPart(text, signature, provider="google")
