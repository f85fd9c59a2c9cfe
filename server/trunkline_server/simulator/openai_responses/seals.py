"""Sealed reasoning: what the service made it knows again, by its item's id, and nothing else."""

from __future__ import annotations

import hashlib
from base64 import urlsafe_b64encode

_START = "gAAAAAB"
_SECRET = b"simulated"


def seal_of(item_id: str) -> str:
    """Return the encrypted content of a reasoning item."""
    return _START + urlsafe_b64encode(hashlib.sha256(_SECRET + item_id.encode()).digest()).decode()


def is_sealed(item_id: str | None, encrypted_content: str) -> bool:
    """Return whether this was sealed here, for this item if it has an id."""
    if item_id is None:
        return encrypted_content.startswith(_START) and len(encrypted_content) == len(seal_of(""))
    return encrypted_content == seal_of(item_id)
