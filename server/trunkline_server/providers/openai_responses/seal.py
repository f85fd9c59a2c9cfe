"""A reasoning item's id and its sealed content as one signature, which callers keep and send back as it is."""

from __future__ import annotations

from typing import Final

_BORDER: Final = ":"
"""In neither: ids are words, and sealed content is base64."""


def sealed(item_id: str, encrypted_content: str) -> str:
    """Return the signature of a reasoning item."""
    return f"{item_id}{_BORDER}{encrypted_content}"


def unsealed(signature: str) -> tuple[str, str]:
    """Return id and sealed content; the id is empty for a signature that has none."""
    item_id, border, encrypted_content = signature.partition(_BORDER)
    return (item_id, encrypted_content) if border else ("", signature)
