"""Who sent an RPC, and what its metadata says about it: known before a byte of the message is read."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from trunkline_server.routing.types import Caller

MAX_PREVIOUS_ATTEMPTS = 1000
"""More than this nobody has made."""
_PREVIOUS_ATTEMPTS = "grpc-previous-rpc-attempts"
_MAX_DIGITS = 9


@dataclass(slots=True)
class Sender:
    """The sending side of one RPC."""

    caller: Caller
    previous_attempts: int
    """How often its library says that it has sent this RPC before."""


def previous_attempts_of(metadata: Iterable[tuple[str, str | bytes]]) -> int:
    """Return how often the caller's library says that it has sent this RPC before; what is no number counts as 0."""
    for key, value in metadata:
        if key == _PREVIOUS_ATTEMPTS:
            if not (isinstance(value, str) and value.isascii() and value.isdecimal()):
                return 0
            return MAX_PREVIOUS_ATTEMPTS if len(value) > _MAX_DIGITS else min(int(value), MAX_PREVIOUS_ATTEMPTS)
    return 0
