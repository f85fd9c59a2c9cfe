"""What may follow when an attempt breaks after content was shown: semantics section 7, as one decision.

A request asks for CONTINUE, RESTART or FAIL; what is not allowed degrades in this order, and the reason is told. A
tool call that was delivered whole bars both: the caller may be running it, and another attempt might ask for it again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from trunkline_server.routing.aliases import AliasTarget
from trunkline_server.routing.failures import Failure, FailureClass
from trunkline_server.routing.types import OnBreak, Reason

PREFILL = "prefill"
"""The capability of a model that goes on from the beginning of an answer when it is given one."""

_LADDER = (OnBreak.CONTINUE, OnBreak.RESTART)


@dataclass(frozen=True, slots=True)
class Shown:
    """What the caller has of an answer that broke, as far as it decides what may follow."""

    tool_call_done: bool = False
    cannot_continue: str = ""
    """Why nobody could go on from it, by what was asked for and what was shown; empty if somebody might."""
    nothing_left: bool = False
    """The request's output limit is used up: there is nothing to go on for."""


NOTHING_BARS = Shown()


def steps(asked: OnBreak) -> Iterator[OnBreak]:
    """Yield what may be tried for a request that asks for `asked`, the best first; FAIL is what is left after them."""
    yield from _LADDER[_LADDER.index(asked) :] if asked in _LADDER else ()


def barred(step: OnBreak, shown: Shown) -> str:
    """Return why what was shown bars this step; empty if it does not."""
    if shown.tool_call_done:
        return "a tool call was delivered whole, and may be running"
    return shown.cannot_continue if step is OnBreak.CONTINUE else ""


def is_prefilled(member: AliasTarget) -> bool:
    """Return whether this target is given the text so far as the start of its answer; others are asked in words."""
    return member.facts.capabilities is not None and PREFILL in member.facts.capabilities


def can_go_on(member: AliasTarget, *, prompted: bool) -> bool:
    """Return whether this target can take over from a text. `prompted`: the alias lets it be asked in words."""
    return prompted or is_prefilled(member)


_STOPPED = {
    Reason.DEADLINE: Failure(FailureClass.DEADLINE, "the deadline ended the attempt"),
    Reason.CANCELLED: Failure(FailureClass.CANCELLED, "the caller left"),
    Reason.SERVER_DRAINING: Failure(FailureClass.CANCELLED, "the server is going down"),
    Reason.PERMISSION_DENIED: Failure(FailureClass.CANCELLED, "the caller was removed from the routes"),
}


def stopped_failure(reason: Reason) -> Failure:
    """Return what the attempt in flight failed as when its call was stopped from outside; it speaks of nobody."""
    return _STOPPED[reason]
