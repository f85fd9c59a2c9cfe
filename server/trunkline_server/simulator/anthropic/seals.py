"""Signatures over thinking: what the service made it knows again, and nothing else.

A caller has to send thinking back as it came. The real service checks that by a signature; here it is a digest, which
is enough to notice thinking that was changed, or that came from somebody else.
"""

from __future__ import annotations

import hashlib
from base64 import b64encode

_SECRET = b"simulated"


def signature_of(thinking: str) -> str:
    """Return the signature of some thinking, as the whole of its text."""
    return b64encode(hashlib.sha256(_SECRET + thinking.encode()).digest()).decode()


def sealed_thinking(number: int) -> str:
    """Return thinking whose words are withheld, for answer `number`."""
    text = f"withheld {number}"
    return f"{text.replace(' ', '-')}.{signature_of(text)}"


def is_signed(thinking: str, signature: str, *, shown: bool) -> bool:
    """Return whether the signature is that of these words; words that were not shown are known by it alone."""
    if not shown:
        return len(signature) == len(signature_of(""))
    return signature == signature_of(thinking)


def is_sealed(data: str) -> bool:
    """Return whether this is thinking that was withheld here."""
    text, _, seal = data.partition(".")
    return seal == signature_of(text.replace("-", " "))
