"""The warnings for what of an answer this gateway has no place for: whatever a decoder leaves out is told."""

from __future__ import annotations

from trunkline_server.chat.answer import Warning_


class Dropped:
    """What a streamed answer lost, each thing told once however often it came."""

    __slots__ = ("_found",)

    def __init__(self) -> None:
        self._found: dict[str, Warning_] = {}

    def note(self, field: str, what: str = "content") -> None:
        """Note that what stands at `field` of the answer was left out; `what` says in words what it is."""
        if field not in self._found and len(self._found) < MAX_NOTED:
            self._found[field] = dropped(field, what)

    @property
    def warnings(self) -> tuple[Warning_, ...]:
        """What was noted so far, in its order."""
        return tuple(self._found.values())


MAX_NOTED = 32
"""More of an answer's losses say nothing new."""


def dropped(field: str, what: str = "content") -> Warning_:
    """Return the warning for something of the answer that was left out."""
    return Warning_("DROPPED_CONTENT", field, f"the provider sent {what} that this gateway cannot carry")
