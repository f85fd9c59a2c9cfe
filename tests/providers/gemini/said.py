"""What the provider says, written as it writes it."""

from __future__ import annotations

import json
from typing import Any

RESPONSE_ID = "q7sBaYyFLdWIvdIPvKKDoAs"


def chunk(*parts: dict[str, Any], finish: str | None = None, **more: Any) -> dict[str, Any]:
    """Return the JSON of a chunk, or of a whole answer: they are of one form."""
    candidate: dict[str, Any] = {"content": {"role": "model", "parts": list(parts)}, "index": 0}
    if not parts:
        candidate["content"] = {"role": "model"}
    if finish is not None:
        candidate["finishReason"] = finish
    candidate.update(more.pop("candidate", {}))
    return {"candidates": [candidate], "modelVersion": "gemini-3-flash", "responseId": RESPONSE_ID, **more}


def text(words: str, **more: Any) -> dict[str, Any]:
    return {"text": words, **more}


def thought(words: str, **more: Any) -> dict[str, Any]:
    return {"text": words, "thought": True, **more}


def call(name: str, args: object = None, call_id: str | None = None, **more: Any) -> dict[str, Any]:
    function: dict[str, Any] = {"name": name}
    if args is not None:
        function["args"] = args
    if call_id is not None:
        function["id"] = call_id
    return {"functionCall": function, **more}


def event(body: object) -> bytes:
    """Return an event with the line ends that the provider sends."""
    written = body if isinstance(body, bytes) else json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()
    return b"data: " + written + b"\r\n\r\n"


def usage(**counts: int) -> dict[str, Any]:
    return {"usageMetadata": counts}
