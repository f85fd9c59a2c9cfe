"""Messages of an AWS event stream, as bytes: the framing with its two checksums."""

from __future__ import annotations

import struct
import zlib
from typing import Any

import msgspec

STREAM_TYPE = "application/vnd.amazon.eventstream"
_TEXT = 7
_PADDING = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"


def message(headers: dict[str, str], payload: bytes) -> bytes:
    """Return one message; all headers are texts."""
    block = b"".join(
        struct.pack(">B", len(name.encode()))
        + name.encode()
        + struct.pack(">BH", _TEXT, len(value.encode()))
        + value.encode()
        for name, value in headers.items()
    )
    prelude = struct.pack(">II", 16 + len(block) + len(payload), len(block))
    start = prelude + struct.pack(">I", zlib.crc32(prelude)) + block + payload
    return start + struct.pack(">I", zlib.crc32(start))


def event(kind: str, **fields: Any) -> bytes:
    """Return an event: padded, as the service does so that sizes tell nothing of what is said."""
    return raw_event(kind, msgspec.json.encode({**fields, "p": _PADDING[: 4 + len(fields) * 7]}))


def raw_event(kind: str, payload: bytes) -> bytes:
    """Return an event with this payload."""
    headers = {":event-type": kind, ":content-type": "application/json", ":message-type": "event"}
    return message(headers, payload)


def exception(kind: str, payload: bytes) -> bytes:
    """Return an exception; its name begins with a small letter here."""
    headers = {
        ":exception-type": kind[:1].lower() + kind[1:],
        ":content-type": "application/json",
        ":message-type": "exception",
    }
    return message(headers, payload)
