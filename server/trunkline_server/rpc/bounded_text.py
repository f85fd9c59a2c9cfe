"""Texts cut to a number of bytes, always between two characters."""

from __future__ import annotations

ELLIPSIS = "..."

MAX_NATIVE_REASON_BYTES = 64
"""A provider's own word for why a model stopped is told up to here."""

_PERCENT_ENCODED_BYTES = 3


def cut_utf8(text: str, max_bytes: int) -> str:
    """Return `text`, or as much of it as fits `max_bytes` of UTF-8 with "..." at its end.

    Lone surrogates, which UTF-8 and protobuf do not know, become question marks.
    """
    if len(text) <= max_bytes and text.isascii():
        return text
    raw = text.encode("utf-8", "replace")
    if len(raw) > max_bytes:
        raw = raw[: max_bytes - len(ELLIPSIS)]
        return raw.decode("utf-8", "ignore") + ELLIPSIS
    return raw.decode("utf-8")


def cut_grpc_message(text: str, max_bytes: int) -> str:
    """Return as much of `text` as fits `max_bytes` of grpc-message, where all but plain ASCII takes three a byte."""
    text = cut_utf8(text, max_bytes)
    if _encoded_bytes(text) <= max_bytes:
        return text
    room = max_bytes - len(ELLIPSIS)
    for index, character in enumerate(text):
        room -= _encoded_bytes(character)
        if room < 0:
            return text[:index] + ELLIPSIS
    return text


def _encoded_bytes(text: str) -> int:
    """Return how many bytes grpc's percent-encoding of `text` takes."""
    raw = text.encode("utf-8")
    plain = sum(1 for byte in raw if 0x20 <= byte <= 0x7E and byte != 0x25)  # noqa: PLR2004  space, tilde, percent sign
    return plain + _PERCENT_ENCODED_BYTES * (len(raw) - plain)
