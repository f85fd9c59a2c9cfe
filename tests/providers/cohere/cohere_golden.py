"""What Cohere really sends: events, answers and error texts, with where each was read."""

from __future__ import annotations

import json
from typing import Any

from trunkline_server.providers.base import AdapterTerms
from trunkline_server.providers.cohere import CohereAdapter

SPEC = "https://github.com/cohere-ai/cohere-developer-experience/blob/main/cohere-openapi.yaml, read 2026-11-23"
"""The vendor's OpenAPI description of `/v2/chat` and `/v2/embed`: examples and types."""
TOOL_STREAM = "https://docs.cohere.com/v2/docs/tool-use-streaming, read 2026-11-23"
ERRORS = "https://docs.cohere.com/reference/errors, read 2026-11-23"
REASONING = "https://docs.cohere.com/docs/reasoning, read 2026-11-23"
REPORTED = "bodies that users of the API quote in public issues and code, read 2026-11-23"

PROVIDER = "cohere"


def adapter() -> CohereAdapter:
    return CohereAdapter(AdapterTerms(PROVIDER, "https://api.cohere.com"))


def event(kind: str, **fields: Any) -> dict[str, Any]:
    return {"type": kind, **fields}


def told(kind: str, index: int | None = None, **message: Any) -> dict[str, Any]:
    """Return an event with a piece of the message."""
    place = {} if index is None else {"index": index}
    return event(kind, **place, delta={"message": message})


def text(piece: str, index: int = 0, **more: Any) -> dict[str, Any]:
    return told("content-delta", index, content={"text": piece}) | more


def thought(piece: str, index: int = 0) -> dict[str, Any]:
    return told("content-delta", index, content={"thinking": piece})


def plan(piece: str) -> dict[str, Any]:
    return told("tool-plan-delta", tool_plan=piece)


def call(index: int, call_id: str, name: str, arguments: str = "") -> dict[str, Any]:
    made = {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}
    return told("tool-call-start", index, tool_calls=made)


def arguments(index: int, piece: str) -> dict[str, Any]:
    return told("tool-call-delta", index, tool_calls={"function": {"arguments": piece}})


def end(reason: str | None = "COMPLETE", **more: Any) -> dict[str, Any]:
    delta = {} if reason is None else {"finish_reason": reason}
    return event("message-end", delta={**delta, **more})


START = event(
    "message-start",
    id="29f14a5a-11de-4cae-9800-25e4747408ea",
    delta={"message": {"role": "assistant", "content": [], "tool_plan": "", "tool_calls": [], "citations": []}},
)
CONTENT_START = told("content-start", 0, content={"type": "text", "text": ""})
CONTENT_END = event("content-end", index=0)
USAGE = {
    "billed_units": {"input_tokens": 37.0, "output_tokens": 28.0},
    "tokens": {"input_tokens": 913.0, "output_tokens": 83.0},
    "cached_tokens": 176,
}

TEXT_STREAM = [START, CONTENT_START, text("LL"), text("Ms"), CONTENT_END, end(usage=USAGE)]
"""SPEC, the example "Streaming", shortened."""

TOOL_CALL_STREAM = [
    START,
    plan("I"),
    plan(" will"),
    call(0, "get_weather_p1t92w7gfgq7", "get_weather"),
    arguments(0, '{\n    "'),
    arguments(0, "location"),
    arguments(0, '": "Madrid"\n}'),
    event("tool-call-end", index=0),
    call(1, "get_weather_ay6nmvjgp9vn", "get_weather"),
    arguments(1, '{\n    "location": "Bras'),
    arguments(1, 'ilia"\n}'),
    event("tool-call-end", index=1),
    end("TOOL_CALL", usage=USAGE),
]
"""TOOL_STREAM, the step of tool calls, shortened."""

CITATION = told(
    "citation-start",
    0,
    citations={
        "start": 16,
        "end": 20,
        "text": "24°C",
        "sources": [{"type": "tool", "id": "get_weather_m3kdvxncg1p8:0", "tool_output": {"temperature": "24°C"}}],
        "type": "TEXT_CONTENT",
    },
)
CITED_STREAM = [
    START, CONTENT_START, text("It is 24°C"), text("."), CITATION, event("citation-end", index=0), CONTENT_END,
    end(usage=USAGE),
]  # fmt: skip
"""TOOL_STREAM, the step of the answer, shortened."""

THINKING_STREAM = [
    START,
    told("content-start", 0, content={"type": "thinking", "thinking": ""}),
    thought("The user"),
    thought(" asks."),
    event("content-end", index=0),
    told("content-start", 1, content={"type": "text", "text": ""}),
    text("Two.", 1),
    event("content-end", index=1),
    end(usage=USAGE),
]
"""REASONING: thinking comes in a block of its own before the text; the events' form is SPEC's."""


def sse(*events: dict[str, Any], done: bool = False, line_end: str = "\n", ascii_only: bool = True) -> bytes:
    """Return events as the service frames them: a name and a line of data each."""
    framed = [
        f"event: {each['type']}{line_end}data: {json.dumps(each, ensure_ascii=ascii_only)}{line_end}{line_end}"
        for each in events
    ]
    return ("".join(framed) + (f"data: [DONE]{line_end}{line_end}" if done else "")).encode()
