"""Signatures of what the model said: what the service made it knows again, and nothing else.

A caller has to send a signature back on the part that it was found on. The real service checks that by encryption; here
it is a digest of that part, which is enough to notice one that was moved, or that came from somebody else.
"""

from __future__ import annotations

import hashlib
from base64 import b64encode
from typing import Any

import msgspec

SKIPPED = frozenset({"skip_thought_signature_validator", "context_engineering_is_the_way_to_go"})
"""What stands for the signature of a call that the service did not make."""

_SECRET = b"simulated"


def signature_of_text(text: str) -> str:
    """Return the signature of a text part."""
    return _digest(b"text " + text.encode())


def signature_of_call(name: str, args: dict[str, Any]) -> str:
    """Return the signature of a call: of its name and arguments, however they are written."""
    return _digest(b"call " + name.encode() + msgspec.json.encode(args, order="deterministic"))


def is_known(signature: str, own: str) -> bool:
    """Return whether `signature`, in either alphabet of base64, is the service's own or stands for none."""
    return signature in SKIPPED or signature.replace("-", "+").replace("_", "/") == own


def _digest(content: bytes) -> str:
    return b64encode(hashlib.sha256(_SECRET + content).digest()).decode()
