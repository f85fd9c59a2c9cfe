"""Pictures, documents, videos and recordings as content blocks."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from trunkline_server.chat.message import MediaPart

S3: Final = "s3://"
"""The only addresses that Converse takes."""

_IMAGES: Final = {name: name for name in ("png", "jpeg", "gif", "webp")} | {"jpg": "jpeg"}
_VIDEOS: Final = {name: name for name in ("mp4", "webm", "mpeg")} | {
    "x-matroska": "mkv",
    "matroska": "mkv",
    "quicktime": "mov",
    "x-flv": "flv",
    "x-ms-wmv": "wmv",
    "3gpp": "three_gp",
}
_SOUNDS: Final = {name: name for name in ("mp3", "opus", "wav", "aac", "flac", "mp4", "ogg", "m4a", "pcm", "webm")} | {
    "mpeg": "mp3",
    "wave": "wav",
    "x-wav": "wav",
    "vnd.wave": "wav",
    "x-aac": "aac",
    "x-flac": "flac",
    "x-m4a": "m4a",
    "l16": "pcm",
    "x-matroska": "mka",
}
_DOCUMENTS: Final = {
    "application/pdf": "pdf",
    "application/msword": "doc",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
    "application/vnd.ms-excel": "xls",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
    "application/json": "txt",
    "text/csv": "csv",
    "text/html": "html",
    "text/markdown": "md",
    "text/x-markdown": "md",
}
_BY_KIND: Final[Mapping[str, Mapping[str, str]]] = MappingProxyType(
    {"image": _IMAGES, "video": _VIDEOS, "audio": _SOUNDS}
)


class MediaBlocks:
    """Makes the blocks of one conversation, in which each document has a number."""

    __slots__ = ("_documents",)

    def __init__(self) -> None:
        self._documents = 0

    def __call__(self, part: MediaPart) -> dict[str, Any] | None:
        """Return the block of a picture, document, video or recording; None if Converse has none for it."""
        block = media_block(part, f"document-{self._documents + 1}")
        if block is not None and "document" in block:
            self._documents += 1
        return block


def media_block(part: MediaPart, document_name: str) -> dict[str, Any] | None:
    """Return the content block for `part`, or None if Converse has none for it.

    A document is sent with `document_name`: letters, digits and hyphens, and no other document's in the request. A
    name of the caller's would be read by the model as if it were said.
    """
    mime_type = part.mime_type.partition(";")[0].strip().lower()
    kind, _, form = mime_type.partition("/")
    source = _source(part)
    if source is None:
        return None
    if kind in _BY_KIND:
        known = _BY_KIND[kind].get(form)
        return None if known is None else {kind: {"format": known, "source": source}}
    known = _DOCUMENTS.get(mime_type) or ("txt" if kind == "text" else None)
    return None if known is None else {"document": {"format": known, "name": document_name, "source": source}}


def _source(part: MediaPart) -> dict[str, Any] | None:
    if part.data:
        return {"bytes": part.data}  # written as base64
    if part.uri is not None and part.uri.startswith(S3):
        return {"s3Location": {"uri": part.uri}}
    return None
