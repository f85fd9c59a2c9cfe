"""Pictures by their dimensions, recordings and documents by their size, everything else by a fixed figure."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline_server.chat.media_tokens import (
    DOCUMENT_MAX,
    DOCUMENT_MIN,
    DOCUMENT_UNKNOWN,
    IMAGE_MIN,
    IMAGE_UNKNOWN,
    RECORDING_UNKNOWN,
    image_dimensions,
    media_tokens,
)
from trunkline_server.chat.message import MediaPart


def png(width: int, height: int) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", width, height) + bytes(40)


def jpeg(width: int, height: int, *, before: bytes = b"", kind: int = 0xC0) -> bytes:
    frame = struct.pack(">BBHBHHB", 0xFF, kind, 17, 8, height, width, 3)
    return b"\xff\xd8" + struct.pack(">BBH", 0xFF, 0xE0, 16) + bytes(14) + before + frame + bytes(40)


def test_dimensions_are_read_from_the_header() -> None:
    """PNG at its fixed place, JPEG behind whatever segments come first, progressive ones too."""
    exif = struct.pack(">BBH", 0xFF, 0xE1, 5002) + bytes(5000)
    assert image_dimensions(png(640, 480)) == (640, 480)
    assert image_dimensions(jpeg(640, 480)) == (640, 480)
    assert image_dimensions(jpeg(3, 4, before=exif, kind=0xC2)) == (3, 4)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"GIF89a" + bytes(20),
        png(640, 480)[:20],
        png(0, 480),
        jpeg(1, 1)[:22],
        b"\xff\xd8" + bytes(100),
        b"\xff\xd8" + struct.pack(">BBH", 0xFF, 0xE0, 2) * 100 + jpeg(3, 4)[2:],
    ],
)
def test_what_has_no_readable_header_has_no_dimensions(data: bytes) -> None:
    """Cut off, of no size, another format, or dimensions beyond the first segments: the fixed figure is taken."""
    assert image_dimensions(data) is None
    assert media_tokens(MediaPart("image/png", data=data)) == IMAGE_UNKNOWN


@given(st.binary(max_size=200))
def test_no_data_is_an_error(data: bytes) -> None:
    """Damaged headers end in some estimate."""
    for start in (b"", b"\xff\xd8", b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n"):
        assert media_tokens(MediaPart("image/jpeg", data=start + data)) >= IMAGE_MIN


@pytest.mark.parametrize(
    ("width", "height", "tokens"),
    [(1000, 750, 1000), (200, 200, 85), (1092, 1092, 1590), (8000, 6000, 1600), (20_000, 100, 85), (1568, 600, 1255)],
)
def test_a_picture_counts_by_its_area(width: int, height: int, tokens: int) -> None:
    """A token for each 750 pixels, its long side brought to 1,568 first, between 85 and 1,600."""
    assert media_tokens(MediaPart("image/png", data=png(width, height))) == tokens


def test_media_without_their_data_count_a_fixed_figure() -> None:
    """Behind a URL or a file id nothing is known of them."""
    assert media_tokens(MediaPart("image/png", uri="https://x/y.png")) == IMAGE_UNKNOWN
    assert media_tokens(MediaPart("audio/wav", file_id="f", provider="p")) == RECORDING_UNKNOWN
    assert media_tokens(MediaPart("application/pdf", uri="https://x/y.pdf")) == DOCUMENT_UNKNOWN


def test_recordings_and_documents_count_by_their_bytes() -> None:
    """Sound as it is compressed, PDFs between one page and a hundred, texts as texts."""
    assert media_tokens(MediaPart("audio/wav", data=bytes(320_000))) == 320
    assert media_tokens(MediaPart("audio/mpeg", data=bytes(160_000))) == 320
    assert media_tokens(MediaPart("application/pdf", data=bytes(1000))) == DOCUMENT_MIN
    assert media_tokens(MediaPart("application/pdf", data=bytes(330_000))) == 10_000
    assert media_tokens(MediaPart("application/pdf", data=bytes(20_000_000))) == DOCUMENT_MAX
    assert media_tokens(MediaPart("text/csv", data=b"a,b,c\n" * 100)) > 100
