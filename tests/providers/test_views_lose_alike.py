"""What of an answer has no place here is told in both views, once for each place, and nothing else is."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.providers.anthropic import messages_events as messages
from tests.providers.bedrock import frames as converse
from tests.providers.test_views_agree import adapter_of

from trunkline_server.chat.request import ChatRequest

CITATION = {"type": "web_search_result_location", "url": "u", "title": "t", "encrypted_index": "e", "cited_text": "c"}
SOURCES = [{"type": "url_citation", "url_citation": {"url": "u"}}]
PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
SEARCH = {"type": "web_search_call", "id": "w", "status": "completed"}
TEXT = {"type": "output_text", "text": "hi", "annotations": SOURCES}
SAID = {"type": "message", "id": "m", "role": "assistant", "status": "completed", "content": [TEXT]}
RESPONSE = {"id": "x", "status": "completed", "output": [SEARCH, SAID]}
PARTS = [{"text": "hi"}, {"executableCode": {"code": "1"}}, {"inlineData": {"data": "x"}}, {"new": {}}]
CANDIDATE = {"content": {"parts": PARTS}, "finishReason": "STOP", "groundingMetadata": {"webSearchQueries": ["q"]}}
USED = {"server_tool_use": {}, "web_search_tool_result": {"tool_use_id": "s", "content": []}}


def sse(*events: dict[str, Any]) -> list[bytes]:
    """Return events that have data alone."""
    return [b"data: " + json.dumps(event).encode() + b"\n\n" for event in events]


def piece_of(index: int, **delta: Any) -> bytes:
    """Return a piece of any block of a Converse stream."""
    return converse.event("contentBlockDelta", contentBlockIndex=index, delta=delta)


def start_of(index: int, **start: Any) -> bytes:
    """Return the start of any block of a Converse stream."""
    return converse.event("contentBlockStart", contentBlockIndex=index, start=start)


CASES: dict[str, tuple[tuple[str, str], dict[str, Any], list[bytes], list[str]]] = {
    "sources and pictures of chat completions": (
        ("openai", ""),
        {
            "choices": [
                {
                    "index": 0,
                    "message": {"content": "hi", "annotations": SOURCES, "images": [PICTURE], "audio": {"id": "a"}},
                    "finish_reason": "stop",
                }
            ]
        },
        sse(
            {"choices": [{"index": 0, "delta": {"content": "hi", "annotations": SOURCES}}]},
            {"choices": [{"index": 0, "delta": {"images": [PICTURE], "annotations": SOURCES}}]},
            {"choices": [{"index": 0, "delta": {"audio": {"id": "a"}}, "finish_reason": "stop"}]},
        ),
        ["message.annotations", "message.audio", "message.images"],
    ),
    "searches of responses": (
        ("openai", "responses"),
        RESPONSE,
        sse(
            {"type": "response.created", "response": {"id": "x"}},
            {"type": "response.output_item.done", "output_index": 0, "item": SEARCH},
            {"type": "response.output_text.delta", "output_index": 1, "content_index": 0, "delta": "hi"},
            {"type": "response.output_item.done", "output_index": 1, "item": SAID},
            {"type": "response.completed", "response": RESPONSE},
        ),
        ["message.annotations", "output"],
    ),
    "searches of messages": (
        ("anthropic", ""),
        {
            "type": "message",
            "content": [
                *({"type": kind, **fields} for kind, fields in USED.items()),
                {"type": "text", "text": "hi", "citations": [CITATION]},
            ],
            "stop_reason": "end_turn",
        },
        [
            messages.opening(),
            *(messages.begin(index, kind, **fields) for index, (kind, fields) in enumerate(USED.items())),
            messages.begin(2, "text"),
            messages.piece(2, "citations_delta", citation=CITATION),
            messages.words(2, "hi"),
            messages.end(2),
            messages.stop(),
            messages.LAST,
        ],
        ["message.content[0]", "message.content[1]", "message.content[2].citations"],
    ),
    "tools that the service runs": (
        ("bedrock", ""),
        {
            "output": {
                "message": {
                    "content": [
                        {"citationsContent": {"content": [{"text": "x"}], "citations": [{}]}},
                        {"toolUse": {"toolUseId": "s", "name": "w", "input": {}, "type": "server_tool_use"}},
                        {"toolResult": {"toolUseId": "s"}},
                        {"image": {"format": "png"}},
                    ]
                }
            },
            "stopReason": "end_turn",
        },
        [
            converse.START,
            converse.text("x"),
            piece_of(0, citation={"title": "t"}),
            start_of(1, toolUse={"toolUseId": "s", "name": "w", "type": "server_tool_use"}),
            converse.arguments(1, "{}"),
            start_of(2, toolResult={"toolUseId": "s"}),
            piece_of(2, toolResult=[{"text": "r"}]),
            start_of(3, image={"format": "png"}),
            piece_of(3, image={"source": {}}),
            converse.end(),
        ],
        ["message.content[0].citations", "message.content[1]", "message.content[2]", "message.content[3]"],
    ),
    "code that the model ran": (
        ("gemini", ""),
        {"candidates": [CANDIDATE]},
        sse({"candidates": [CANDIDATE]}),
        [
            "candidates[0].content.parts",
            "candidates[0].content.parts.executableCode",
            "candidates[0].content.parts.inlineData",
            "candidates[0].groundingMetadata",
        ],
    ),
    "sources of Cohere's": (
        ("cohere", ""),
        {
            "message": {"content": [{"type": "text", "text": "hi"}, {"type": "document"}], "citations": [{"start": 0}]},
            "finish_reason": "COMPLETE",
        },
        sse(
            {"type": "content-start", "index": 0, "delta": {"message": {"content": {"type": "text", "text": "hi"}}}},
            {"type": "citation-start", "index": 0, "delta": {"message": {"citations": {"start": 0}}}},
            {"type": "content-start", "index": 1, "delta": {"message": {"content": {"type": "document"}}}},
            {"type": "message-end", "delta": {"finish_reason": "COMPLETE"}},
        ),
        ["message.citations", "message.content[1]"],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_both_views_tell_what_was_lost(case: str) -> None:
    """Sources, pictures, and what a provider's own tools did: a warning for each, the same whole and streamed."""
    (protocol, wire), body, chunks, lost = CASES[case]
    adapter = adapter_of(protocol, wire)
    whole = adapter.decode_answer(200, {}, json.dumps(body).encode()).warnings
    decoder = adapter.stream_decoder(ChatRequest("m", (), "r"))
    for chunk in chunks:
        decoder.feed(chunk)
    decoder.close()
    assert {warning.code for warning in (*whole, *decoder.warnings)} == {"DROPPED_CONTENT"}
    assert sorted(warning.field for warning in whole) == lost
    assert sorted(warning.field for warning in decoder.warnings) == lost
