"""Streams of the Messages API, event by event, and what becomes of them."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest

from trunkline_server.chat.answer import Delta
from trunkline_server.chat.request import ChatRequest
from trunkline_server.providers.anthropic import AnthropicAdapter, AnthropicStreamDecoder
from trunkline_server.providers.base import AttemptError
from trunkline_server.routing.failures import FailureClass

REQUEST = ChatRequest(model="m", messages=(), request_id="r")
PING = b'event: ping\ndata: {"type": "ping"}\n\n'


def decoder() -> AnthropicStreamDecoder:
    return AnthropicAdapter().stream_decoder(REQUEST)


def event(kind: str, **fields: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()


def opening(**usage: Any) -> bytes:
    message: dict[str, Any] = {
        "id": "msg_1nZdL29xx5MUA1yADyHTEsnR8uuvGzszyY",
        "type": "message",
        "role": "assistant",
        "content": [],
        "model": "claude-opus-5-5",
        "stop_reason": None,
        "stop_sequence": None,
        "usage": usage or {"input_tokens": 25, "output_tokens": 1},
    }
    return event("message_start", message=message)


def begin(index: int, kind: str, **block: Any) -> bytes:
    empty: dict[str, dict[str, Any]] = {
        "text": {"text": ""},
        "thinking": {"thinking": "", "signature": ""},
        "tool_use": {"id": f"toolu_{index}", "name": "look", "input": {}},
    }
    return event("content_block_start", index=index, content_block={"type": kind, **empty.get(kind, {}), **block})


def piece(index: int, kind: str, **delta: Any) -> bytes:
    return event("content_block_delta", index=index, delta={"type": kind, **delta})


def words(index: int, text: str) -> bytes:
    return piece(index, "text_delta", text=text)


def arguments(index: int, text: str) -> bytes:
    return piece(index, "input_json_delta", partial_json=text)


def end(index: int) -> bytes:
    return event("content_block_stop", index=index)


def stop(reason: str | None = "end_turn", details: Any = None, **usage: Any) -> bytes:
    delta = {"stop_reason": reason, "stop_sequence": None, "stop_details": details}
    return event("message_delta", delta=delta, usage=usage or {"output_tokens": 15})


LAST: Final = event("message_stop")
TEXT: Final = begin(0, "text") + words(0, "a") + end(0)


def whole(*chunks: bytes, stream: AnthropicStreamDecoder | None = None) -> tuple[list[Delta], AnthropicStreamDecoder]:
    """Decode a stream that ends in order and whole."""
    stream = stream or decoder()
    deltas = [delta for chunk in chunks for delta in stream.feed(chunk)]
    assert stream.close() == []
    return deltas, stream


def failure_class(*chunks: bytes) -> FailureClass:
    """Return the class of the failure that a stream ends with."""
    stream = decoder()
    with pytest.raises(AttemptError) as caught:
        whole(*chunks, stream=stream)
    assert stream.failure == caught.value.failure
    return caught.value.failure.failure_class
