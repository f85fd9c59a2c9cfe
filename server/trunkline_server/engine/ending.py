"""How a call ended, as those see it who watch the traffic: whether it failed, and what each attempt says."""

from __future__ import annotations

from collections.abc import Sequence

from trunkline_server.engine.frames import CallFailure
from trunkline_server.engine.outcome import AttemptOutcome
from trunkline_server.engine.record import AttemptRecord
from trunkline_server.routing.failures import FailureClass
from trunkline_server.routing.types import Reason

SAYS_NOTHING = frozenset({FailureClass.CANCELLED, FailureClass.DEADLINE})
"""Ends of an attempt that speak of its call, not of key or target."""

BY_CALLER = frozenset(
    {
        Reason.BAD_REQUEST,
        Reason.CONTEXT_LENGTH,
        Reason.UNAUTHENTICATED,
        Reason.PERMISSION_DENIED,
        Reason.UNKNOWN_MODEL,
        Reason.CONTENT_FILTERED,
        Reason.CALLER_QUOTA,
        Reason.CALLER_BUDGET,
        Reason.CANCELLED,
        Reason.SLOW_READER,
        Reason.SERVER_DRAINING,
    }
)
"""Ends that say nothing against the routes: the caller's own doing, and the server's going down.

DEADLINE is not one of them: routes that let calls hang until their callers give up have failed them.
"""


def is_failed(failure: CallFailure) -> bool:
    """Return whether a call that ended so failed for no fault of its caller."""
    if failure.failure is not None and failure.failure.caused_by_caller:
        return False
    return failure.reason not in BY_CALLER


def attempt_outcomes(records: Sequence[AttemptRecord]) -> tuple[AttemptOutcome, ...]:
    """Return what each attempt of a call that is over came to. One that never ended was stopped by a defect."""
    return tuple(map(_outcome, records))


def first_content_s(records: Sequence[AttemptRecord], began_at: float) -> float | None:
    """Return how long after `began_at`, in seconds, the first content came that was shown; None if none was."""
    times = [record.first_content_at for record in records if record.visible and record.first_content_at is not None]
    return min(times) - began_at if times else None


def _outcome(record: AttemptRecord) -> AttemptOutcome:
    if record.ended_at is None:
        return AttemptOutcome(record.served_by.target, FailureClass.CANCELLED, says_nothing=True)
    failure = record.failure
    if failure is None:
        return AttemptOutcome(record.served_by.target, None)
    says_nothing = failure.caused_by_caller or failure.failure_class in SAYS_NOTHING
    return AttemptOutcome(record.served_by.target, failure.failure_class, says_nothing)
