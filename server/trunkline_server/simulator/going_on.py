"""An answer that goes on from what a request already holds of it.

The model would say the same to the conversation without that text; what is said already is left off its front.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from trunkline_server.simulator.ask import Turn

if TYPE_CHECKING:
    from trunkline_server.simulator.ask import Ask
    from trunkline_server.simulator.scenario import Fault


class Beginning(msgspec.Struct, frozen=True):
    """What a request holds of its own answer."""

    conversation: Sequence[Turn]
    """The turns before it."""
    said: str
    repeat_bytes: int
    """So much of the end of it is said again."""
    prefilled: bool
    """Given as the beginning of the model's own turn, so that nothing that comes before the text comes again."""


def beginning_of(ask: Ask, fault: Fault, *, prefill: bool) -> Beginning | None:
    """Return what a request holds of its answer, if its model takes it so; `prefill`: whether the model has that."""
    turns = ask.turns
    if turns and turns[-1].role == "assistant":
        return _beginning(turns, 1, 0) if prefill else None
    if turns and turns[-1].role == "user" and fault.goes_on is not None:
        return _beginning(turns, 2, fault.goes_on.repeat_bytes)
    return None


def _beginning(turns: Sequence[Turn], back: int, repeat_bytes: int) -> Beginning | None:
    """Take the turn that is `back` from the end for the beginning, if it is an assistant's with text."""
    if len(turns) < back or turns[-back].role != "assistant":
        return None
    said = turns[-back].text
    return Beginning(turns[:-back], said, repeat_bytes, prefilled=back == 1) if said else None


def characters_said(whole: str, beginning: Beginning) -> int | None:
    """Return how many characters of `whole` are said already, or None if it does not begin so.

    White space at the end of what was said need not be that of `whole`: it then goes on before it.
    """
    for said in (beginning.said, beginning.said.rstrip()):
        if said and whole.startswith(said):
            return len(said)
    return None


def repeated_characters(said: str, repeat_bytes: int) -> int:
    """Return how many whole characters at the end of `said` fit into `repeat_bytes`."""
    tail = said.encode()[-repeat_bytes:] if repeat_bytes else b""
    # What is left of a character that the cut went through is no character.
    return len(tail.decode(errors="ignore"))


def without_front(pieces: list[str], characters: int) -> list[str]:
    """Return `pieces` without the first `characters` of their text; a piece that is cut through keeps its rest."""
    kept: list[str] = []
    for piece in pieces:
        if characters < len(piece):
            kept.append(piece[max(0, characters) :])
        characters -= len(piece)
    return kept
