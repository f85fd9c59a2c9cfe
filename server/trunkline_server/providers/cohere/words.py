"""How this protocol says what it could not carry over, or not as it was asked for."""

from __future__ import annotations

from typing import Final

from trunkline_server.chat.answer import Warning_
from trunkline_server.providers.unsupported import unsupported

API: Final = "Cohere's chat API"


def left_out(field: str, what: str = "this field") -> Warning_:
    """Return the warning for something of the request that was left out; `field` is its path."""
    return unsupported(field, API, what)


def moved(field: str) -> Warning_:
    """Return the warning for a message that stands elsewhere than it did."""
    return Warning_("MOVED_MESSAGE", field, f"moved to the front: {API} takes what the system says there only")
