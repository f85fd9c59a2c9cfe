"""Pictures and documents as content blocks."""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Iterable
from typing import Any, Final

from trunkline_server.chat.message import MediaPart, Message, Part, TextPart, ToolResultPart

FILES_BETA: Final = "files-api-2025-04-14"
"""What a call that names uploaded files says in `anthropic-beta`."""

_IMAGES: Final = {
    "image/png": "image/png",
    "image/jpeg": "image/jpeg",
    "image/jpg": "image/jpeg",
    "image/gif": "image/gif",
    "image/webp": "image/webp",
}
_PDF: Final = "application/pdf"
_FETCHED: Final = ("http://", "https://")
"""What the vendor fetches itself."""
_DATA_URI: Final = re.compile(r"data:([\w.+\-]+/[\w.+\-]+)(?:;[^,;]*)*;base64,", re.ASCII | re.IGNORECASE)


def media_block(part: MediaPart) -> dict[str, Any] | None:
    """Return the content block for `part`; None if the Messages API has none for it."""
    mime_type = part.mime_type.partition(";")[0].strip().lower()
    if part.file_id is not None:
        kind = "image" if mime_type.startswith("image/") else "document"
        return {"type": kind, "source": {"type": "file", "file_id": part.file_id}}
    if part.data is not None:
        return _by_data(mime_type, part.data)
    return None if part.uri is None else _by_uri(mime_type, part.uri)


def _by_data(mime_type: str, data: bytes | str) -> dict[str, Any] | None:
    """Return the block of bytes, which the JSON encoder writes as base64, or of a text that is base64 already."""
    image = _IMAGES.get(mime_type)
    if image is not None or mime_type == _PDF:
        source = {"type": "base64", "media_type": image or _PDF, "data": data}
        return {"type": "document" if image is None else "image", "source": source}
    if isinstance(data, bytes) and mime_type.startswith("text/"):
        try:
            text = data.decode()
        except UnicodeDecodeError:
            return None
        return {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": text}}
    return None


def _by_uri(mime_type: str, uri: str) -> dict[str, Any] | None:
    inline = _DATA_URI.match(uri)
    if inline is not None:
        return _inline(inline[1].lower(), uri[inline.end() :])
    kind = mime_type.partition("/")[0]
    if kind in {"audio", "video"} or not uri.lower().startswith(_FETCHED):
        return None
    # The vendor says what of documents it fetches: today PDF.
    return {"type": "image" if kind == "image" else "document", "source": {"type": "url", "url": uri}}


def _inline(mime_type: str, data: str) -> dict[str, Any] | None:
    if not mime_type.startswith("text/"):
        return _by_data(mime_type, data)
    try:
        return _by_data(mime_type, b64decode(data, validate=True))
    except ValueError:
        return None


def names_files(messages: Iterable[Message]) -> bool:
    """Return whether a message names a file that was uploaded to the provider."""
    return any(_names_file(part) for message in messages for part in message.parts if type(part) is not TextPart)


def _names_file(part: Part) -> bool:
    if isinstance(part, ToolResultPart):
        return any(map(_names_file, part.parts))
    return isinstance(part, MediaPart) and part.file_id is not None
