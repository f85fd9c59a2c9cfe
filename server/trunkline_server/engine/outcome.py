"""What is told of a call that has ended, to whoever watches the traffic: canary guards, budgets, status."""

from __future__ import annotations

from collections.abc import Callable

from trunkline_server.routing.failures import FailureClass
from trunkline_server.routing.record import record
from trunkline_server.routing.types import TargetId


@record
class AttemptOutcome:
    """One upstream call of it."""

    target: TargetId
    failure_class: FailureClass | None
    """None: it succeeded."""
    says_nothing: bool = False
    """It neither speaks for nor against its target: stopped by its caller, or the loser of a race."""


@record
class CallOutcome:
    """One call, once it is over."""

    version: int
    """Of the routes that it ran on."""
    alias: str
    """Empty: a target was named directly."""
    model: str
    """What was asked for."""
    caller: str
    streams: bool
    failed: bool
    """For no fault of its caller: what a caller sent wrong, cancelled, or had no quota for does not count."""
    first_content_s: float | None
    """Streams: from the call's start to its first content. None: it had none."""
    attempts: tuple[AttemptOutcome, ...]


OutcomeListener = Callable[[CallOutcome], None]


def nobody_listens(_: CallOutcome) -> None:
    """Let it pass."""
