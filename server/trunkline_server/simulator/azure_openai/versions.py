"""Dated versions of the API: which there are, and which fields of a chat completion an old one does not know."""

from __future__ import annotations

import re
from typing import Any

_VERSION = re.compile(r"20(?:2[2-9])-\d{2}-\d{2}(?:-preview)?", re.ASCII)

FIRST = "2022-12-01"
RESPONSES_SINCE = "2025-03-01"
FIELDS_SINCE = {
    "parallel_tool_calls": "2024-09-01",
    "max_completion_tokens": "2024-09-01",
    "stream_options": "2024-09-01",
    "reasoning_effort": "2024-12-01",
    "store": "2024-12-01",
    "metadata": "2024-12-01",
    "prediction": "2025-01-01",
    "audio": "2025-01-01",
    "modalities": "2025-01-01",
}
PARTS_SINCE = {"input_audio": "2025-01-01", "file": "2025-01-01"}
"""Types of parts of messages."""


def is_known(version: str) -> bool:
    """Return whether there is such a version."""
    return _VERSION.fullmatch(version) is not None and version >= FIRST


def unknown_field(version: str, body: dict[str, Any]) -> str | None:
    """Return a field of a chat completion that `version` does not know; None if it knows all of them."""
    for name, since in FIELDS_SINCE.items():
        if name in body and version < since:
            return name
    messages = body.get("messages")
    for message in messages if isinstance(messages, list) else ():
        content = message.get("content") if isinstance(message, dict) else None
        for part in content if isinstance(content, list) else ():
            kind = part.get("type") if isinstance(part, dict) else None
            if isinstance(kind, str) and version < PARTS_SINCE.get(kind, FIRST):
                return kind
    return None
