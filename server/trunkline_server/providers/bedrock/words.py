"""How warnings name this protocol."""

from __future__ import annotations

from trunkline_server.chat.answer import Warning_
from trunkline_server.providers import unsupported as shared


def unsupported(field: str, what: str = "this field") -> Warning_:
    """Return the warning for something that was left out because Converse has no place for it."""
    return shared.unsupported(field, "the Converse API", what)
