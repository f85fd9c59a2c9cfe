"""Pictures, recordings, films and documents as parts of a content."""

from __future__ import annotations

from typing import Any, Final

from trunkline_server.chat.message import MediaPart

_FILES: Final = "files/"


def media_part(part: MediaPart, root: str) -> dict[str, Any]:
    """Return the part for `part`. What the types are that a model takes is the provider's to judge.

    A file that was uploaded to the Gemini API is named `files/…`, and asked for by its full address below `root`.
    """
    if part.data is not None:
        return {"inlineData": {"mimeType": part.mime_type, "data": part.data}}  # msgspec writes bytes as base64
    uri = part.uri if part.uri is not None else part.file_id or ""
    if part.file_id is not None and uri.startswith(_FILES):
        uri = f"{root}/{uri}"
    file = {"mimeType": part.mime_type, "fileUri": uri} if part.mime_type else {"fileUri": uri}
    return {"fileData": file}
