"""JSON as bytes, both ways: written once for each call, and read from whoever sends what."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

DECODING_ERRORS: Final = (ValueError, RecursionError)
"""What decoding foreign bytes may raise: bad JSON or another shape, bad UTF-8, and nesting without end."""

decode_any: Final = msgspec.json.Decoder().decode
"""Decodes any JSON into plain objects; raises one of DECODING_ERRORS."""


def _plain(value: object) -> object:
    """Let mappings that are no dict pass, such as read-only views."""
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"a {type(value).__name__} has no JSON form")


encode_json: Final = msgspec.json.Encoder(enc_hook=_plain).encode
"""Writes plain objects, msgspec structs and read-only mappings as JSON; bytes become base64."""


def is_json(text: str) -> bool:
    """Return whether `text` is one whole JSON value."""
    try:
        decode_any(text)
    except DECODING_ERRORS:
        return False
    return True
