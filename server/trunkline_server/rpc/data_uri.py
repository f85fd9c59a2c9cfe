"""Contents that stand in a URI themselves (RFC 2397): read once here, so that every protocol carries them as bytes."""

from __future__ import annotations

from base64 import b64decode
from urllib.parse import unquote_to_bytes

_SCHEME = "data:"
_BASE64 = ";base64"
_USUAL_TYPE = "text/plain"
_MAX_HEAD_CHARS = 512
"""Type and parameters; what stands in front of the comma is no longer in earnest."""

_MAX_QUOTED_CHARS = 65_536


def is_data_uri(uri: str) -> bool:
    """Return whether a URI holds the content itself."""
    return uri[: len(_SCHEME)].lower() == _SCHEME


def read_data_uri(uri: str) -> tuple[str, bytes]:
    """Return the media type, without its parameters, and the content; raise ValueError if `uri` holds none."""
    end = uri.find(",", 0, _MAX_HEAD_CHARS)
    if end < 0:
        raise ValueError("a data URI without a comma")
    head, written = uri[len(_SCHEME) : end], uri[end + 1 :]
    mime_type = head.partition(";")[0].strip() or _USUAL_TYPE
    if head.lower().rstrip().endswith(_BASE64):
        if "%" in written:
            written = _unquoted(written).decode("ascii")
        missing = -len(written) % 4  # many writers leave the signs at its end away
        return mime_type, b64decode(written + "=" * missing if missing else written, validate=True)
    return mime_type, _unquoted(written)


def _unquoted(written: str) -> bytes:
    """Return what is percent-encoded; that is slow to read, and nobody writes much so."""
    if "%" not in written:
        return written.encode("ascii")
    if len(written) > _MAX_QUOTED_CHARS:
        raise ValueError("more is percent-encoded than can be read in a moment")
    return unquote_to_bytes(written)
