"""Pictures and documents as content of a message or of a tool's result."""

from __future__ import annotations

from typing import Any

from trunkline_server.chat.features import media_kind
from trunkline_server.chat.message import MediaPart
from trunkline_server.providers.openai.media import data_url, file_name


def media_item(part: MediaPart) -> dict[str, Any] | None:
    """Return the content item for `part`; None if the Responses API has none for it."""
    mime_type, kind = media_kind(part)
    if kind == "image":
        return _image(part)
    if kind == "document":
        return _file(part, mime_type)
    if part.file_id is not None:
        return {"type": "input_file", "file_id": part.file_id}
    return None


def _image(part: MediaPart) -> dict[str, Any]:
    item: dict[str, Any] = {"type": "input_image", "detail": "auto"}
    if part.file_id is not None:
        item["file_id"] = part.file_id
    else:
        item["image_url"] = part.uri if part.data is None else data_url(part.mime_type, part.data)
    return item


def _file(part: MediaPart, mime_type: str) -> dict[str, Any]:
    if part.file_id is not None:
        return {"type": "input_file", "file_id": part.file_id}
    if part.data is None:
        return {"type": "input_file", "file_url": part.uri}
    return {"type": "input_file", "filename": file_name(mime_type), "file_data": data_url(part.mime_type, part.data)}
