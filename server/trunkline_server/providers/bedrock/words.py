"""The warnings of this protocol: what was left out of a request, and what was sent otherwise than asked."""

from __future__ import annotations

from typing import Final

from trunkline_server.chat.answer import Warning_
from trunkline_server.providers import unsupported as shared

PROTOCOL: Final = "the Converse API"


def unsupported(field: str, what: str = "this field") -> Warning_:
    """Return the warning for a part of the request that has no place here; `field` is its path."""
    return shared.unsupported(field, PROTOCOL, what)
