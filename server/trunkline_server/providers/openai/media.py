"""Pictures, recordings and documents as content items of a user's message."""

from __future__ import annotations

from base64 import b64encode
from typing import Any, Final

import msgspec

from trunkline_server.chat.message import MediaPart

_AUDIO_FORMATS: Final = {
    "audio/wav": "wav",
    "audio/wave": "wav",
    "audio/x-wav": "wav",
    "audio/vnd.wave": "wav",
    "audio/mpeg": "mp3",
    "audio/mp3": "mp3",
}
_FILE_NAMES: Final = {"application/pdf": "document.pdf", "text/plain": "document.txt", "text/csv": "document.csv"}
"""The provider wants a name beside the bytes of a file; ours carries no more than the type does."""


def media_item(part: MediaPart) -> dict[str, Any] | None:
    """Return the content item for `part`; None if chat completions has none for it."""
    if part.file_id is not None:
        return {"type": "file", "file": {"file_id": part.file_id}}
    mime_type = part.mime_type.partition(";")[0].strip().lower()
    kind = mime_type.partition("/")[0]
    if kind == "image":
        return _image(part)
    if kind == "audio":
        return _audio(part, _AUDIO_FORMATS.get(mime_type))
    if kind == "video":
        return None
    return _file(part, mime_type)


def _image(part: MediaPart) -> dict[str, Any] | None:
    url = part.uri if part.data is None else data_url(part.mime_type, part.data)
    return None if url is None else {"type": "image_url", "image_url": {"url": url}}


def _audio(part: MediaPart, audio_format: str | None) -> dict[str, Any] | None:
    if part.data is None or audio_format is None:
        return None
    # msgspec writes bytes as base64.
    return {"type": "input_audio", "input_audio": {"data": part.data, "format": audio_format}}


def _file(part: MediaPart, mime_type: str) -> dict[str, Any] | None:
    if part.data is None:
        return None
    file = {"filename": file_name(mime_type), "file_data": data_url(part.mime_type, part.data)}
    return {"type": "file", "file": file}


def file_name(mime_type: str) -> str:
    """Return a name for a document of this type, in lower case and without parameters."""
    return _FILE_NAMES.get(mime_type, "document")


def data_url(mime_type: str, data: bytes) -> msgspec.Raw:
    """Return a data: URL as finished JSON: base64 needs no escaping, and a picture is large enough to save a copy."""
    head = msgspec.json.encode(f"data:{mime_type};base64,")
    return msgspec.Raw(b"".join((head[:-1], b64encode(data), b'"')))
