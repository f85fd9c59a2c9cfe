"""Event-stream messages written by hand, for tests of whoever reads them."""

from __future__ import annotations

import json
import struct
from typing import Any
from uuid import UUID
from zlib import crc32

Value = bool | int | bytes | str | UUID | tuple[int, int]
"""A pair is an integer of that many bytes (1, 2, 4, 8), or a timestamp: (0, milliseconds)."""

_FORMS = {1: (2, ">b"), 2: (3, ">h"), 4: (4, ">i"), 8: (5, ">q"), 0: (8, ">q")}


def header(name: str, value: Value) -> bytes:
    """Return one header."""
    encoded = name.encode()
    start = bytes([len(encoded)]) + encoded
    if isinstance(value, bool):
        return start + (b"\x00" if value else b"\x01")
    if isinstance(value, int):
        value = (4, value)
    if isinstance(value, tuple):
        kind, form = _FORMS[value[0]]
        return start + bytes([kind]) + struct.pack(form, value[1])
    if isinstance(value, UUID):
        return start + b"\x09" + value.bytes
    kind, raw = (7, value.encode()) if isinstance(value, str) else (6, value)
    return start + bytes([kind]) + struct.pack(">H", len(raw)) + raw


def frame(headers: dict[str, Value] | bytes, payload: bytes) -> bytes:
    """Return one message; headers that are bytes already stand in it as they are."""
    block = headers if isinstance(headers, bytes) else b"".join(header(*entry) for entry in headers.items())
    prelude = struct.pack(">II", 16 + len(block) + len(payload), len(block))
    head = prelude + struct.pack(">I", crc32(prelude)) + block + payload
    return head + struct.pack(">I", crc32(head))


def event(kind: str, **fields: Any) -> bytes:
    """Return an event of a Converse stream, as the service frames it."""
    headers: dict[str, Value] = {
        ":event-type": kind,
        ":content-type": "application/json",
        ":message-type": "event",
    }
    return frame(headers, json.dumps({**fields, "p": "abcdefghij"}, ensure_ascii=False).encode())


def text(words: str, index: int = 0) -> bytes:
    """Return a piece of a text block."""
    return event("contentBlockDelta", contentBlockIndex=index, delta={"text": words})


def reasoning(index: int = 0, **piece: str) -> bytes:
    """Return a piece of a reasoning block."""
    return event("contentBlockDelta", contentBlockIndex=index, delta={"reasoningContent": piece})


def call(index: int, call_id: str, name: str) -> bytes:
    """Return the start of a tool call."""
    tool = {"toolUseId": call_id, "name": name}
    return event("contentBlockStart", contentBlockIndex=index, start={"toolUse": tool})


def arguments(index: int, piece: str) -> bytes:
    """Return a piece of a tool call's arguments."""
    return event("contentBlockDelta", contentBlockIndex=index, delta={"toolUse": {"input": piece}})


def block_end(index: int) -> bytes:
    """Return the end of a block."""
    return event("contentBlockStop", contentBlockIndex=index)


def end(reason: str = "end_turn") -> bytes:
    """Return the end of the answer."""
    return event("messageStop", stopReason=reason)


def metadata(**usage: int) -> bytes:
    """Return the usage, which comes last."""
    return event("metadata", usage=usage, metrics={"latencyMs": 5})


def failure(name: str, message: str) -> bytes:
    """Return an exception inside the stream."""
    headers: dict[str, Value] = {
        ":exception-type": name,
        ":content-type": "application/json",
        ":message-type": "exception",
    }
    return frame(headers, json.dumps({"message": message}).encode())


START = event("messageStart", role="assistant")
