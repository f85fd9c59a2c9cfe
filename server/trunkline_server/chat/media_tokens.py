"""How many tokens a picture, a recording or a document will be: from its dimensions or its size, with fixed figures.

Providers count media each in its own way. These figures lie between theirs: a picture at Anthropic is width x height /
750 tokens with its long side scaled to 1,568, at OpenAI 765 for 1,024 x 1,024, at Google 258 for each 768 x 768; sound
is 32 tokens a second at Google and 10 at OpenAI; a page of a PDF is 1,500 to 3,000 at Anthropic.
"""

from __future__ import annotations

import struct

from trunkline_server.chat.message import MediaPart
from trunkline_server.chat.text_tokens import text_tokens

IMAGE_UNKNOWN = 1_000
"""A picture whose dimensions are not at hand: behind a URL, a file id, or in another format than PNG and JPEG."""
IMAGE_MIN = 85
RECORDING_UNKNOWN = 2_000
"""About a minute."""
DOCUMENT_UNKNOWN = 10_000
"""About five pages."""
DOCUMENT_MIN = 1_500
DOCUMENT_MAX = 300_000
"""A hundred pages with pictures: providers take no more."""
_LONG_SIDE_MAX = 1_568
_PIXELS_A_TOKEN = 750
_PIXELS_MAX = 1_200_000
_BYTES_A_TOKEN_COMPRESSED = 500
_BYTES_A_TOKEN_WAVE = 1_000
_BYTES_A_TOKEN_DOCUMENT = 33
_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8"
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""Segments that begin with the picture's dimensions."""
_JPEG_SEGMENTS_MAX = 64


def media_tokens(part: MediaPart) -> int:
    """Estimate the tokens of a part with media. Looks at the first bytes and at the size, never at the whole."""
    kind, _, form = part.mime_type.lower().partition("/")
    data = part.data
    if kind == "image":
        dimensions = None if data is None else image_dimensions(data)
        return IMAGE_UNKNOWN if dimensions is None else _image_tokens(*dimensions)
    if kind in {"audio", "video"}:
        each = _BYTES_A_TOKEN_WAVE if "wav" in form or "pcm" in form else _BYTES_A_TOKEN_COMPRESSED
        return RECORDING_UNKNOWN if data is None else -(-len(data) // each)
    if data is None:
        return DOCUMENT_UNKNOWN
    if kind == "text":
        return text_tokens(data.decode(errors="replace"))
    return min(max(DOCUMENT_MIN, len(data) // _BYTES_A_TOKEN_DOCUMENT), DOCUMENT_MAX)


def image_dimensions(data: bytes) -> tuple[int, int] | None:
    """Return width and height in pixels of a PNG or JPEG, from its header; None if they are not to be found."""
    try:
        if data.startswith(_PNG):
            width, height = struct.unpack_from(">II", data, 16)
        elif data.startswith(_JPEG):
            height, width = struct.unpack_from(">HH", data, _jpeg_frame(data) + 5)
        else:
            return None
    except struct.error:
        return None
    return (width, height) if width and height else None


def _jpeg_frame(data: bytes) -> int:
    """Return where the segment with the dimensions begins; the end of the data if it is not among the first ones."""
    at = len(_JPEG)
    for _ in range(_JPEG_SEGMENTS_MAX):
        marker, kind, length = struct.unpack_from(">BBH", data, at)
        if marker != 0xFF:  # noqa: PLR2004 - what each segment begins with
            break
        if kind in _JPEG_FRAMES:
            return at
        at += 2 + length
    return len(data)


def _image_tokens(width: int, height: int) -> int:
    shrink = min(1.0, _LONG_SIDE_MAX / max(width, height))
    pixels = min(width * shrink * height * shrink, _PIXELS_MAX)
    return max(IMAGE_MIN, -int(-pixels // _PIXELS_A_TOKEN))
