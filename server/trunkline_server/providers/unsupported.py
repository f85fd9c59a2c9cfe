"""The warnings for what a protocol has no place for: whatever an encoder leaves out or changes is told."""

from __future__ import annotations

from trunkline_server.chat.answer import Warning_


def unsupported(field: str, protocol: str, what: str = "this field") -> Warning_:
    """Return the warning for something of the request that was left out.

    `field` is its path in the request; `protocol` names the vendor's API in words, `what` what cannot be sent by it.
    """
    return Warning_("UNSUPPORTED_FIELD", field, f"left out: {what} cannot be sent by {protocol}")


def adjusted(field: str, what: str) -> Warning_:
    """Return the warning for a part of the request that was sent otherwise than it was asked; `what` says how."""
    return Warning_("ADJUSTED_FIELD", field, what)
