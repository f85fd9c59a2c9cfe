"""The numbers of an answer's parts, in the order in which the parts appear."""

from __future__ import annotations

from typing import Final

from trunkline_server.providers.failures import protocol_error

MAX_PARTS: Final = 4_096
"""Parts of one answer; more is no answer of a model."""


class PartNumbers:
    """Gives out 0, 1, 2, … by being called. Whoever shares it with a decoder need not know the decoder.

    A decoder that handed out a method of its own would be tied to itself in a circle, and would lie around after each
    stream until the garbage collector stops everybody for it.
    """

    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 0
        """How many were given out."""

    def __call__(self) -> int:
        """Return the next one; raise AttemptError (PROTOCOL) after more of them than any answer has."""
        number = self.count
        if number >= MAX_PARTS:
            raise protocol_error("its parts are without bounds")
        self.count = number + 1
        return number

    def __repr__(self) -> str:
        """Show how many parts there are."""
        return f"<{self.count} parts>"
