"""The warning for what a protocol has no place for: whatever an encoder leaves out is told, never lost in silence."""

from __future__ import annotations

from trunkline_server.chat.answer import Warning_


def unsupported(field: str, protocol: str, what: str = "this field") -> Warning_:
    """Return the warning for something of the request that was left out.

    `field` is its path in the request; `protocol` names the vendor's API in words, `what` what cannot be sent by it.
    """
    return Warning_("UNSUPPORTED_FIELD", field, f"left out: {what} cannot be sent by {protocol}")
