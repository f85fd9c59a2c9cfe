"""Telling a caller how its call failed: from the core's end to the words, details and times of an error."""

from __future__ import annotations

from collections.abc import Sequence

from trunkline_server.engine.frames import AttemptSummary, CallFailure, FieldViolation
from trunkline_server.routing.aliases import UnknownModelError
from trunkline_server.routing.events import Fail
from trunkline_server.routing.failures import Failure, FailureClass
from trunkline_server.routing.selection import NoEligibleTargetError
from trunkline_server.routing.types import Reason, Refusal

_FALLBACK_RETRY_AFTER_S = 1.0
_FIRST_ERROR_STATUS = 300

_ALWAYS_RETRY_INFO = frozenset(
    {
        Reason.QUEUE_FULL,
        Reason.QUEUE_TIMEOUT,
        Reason.DEADLINE_IN_QUEUE,
        Reason.SHED,
        Reason.RATE_LIMITED,
        Reason.UPSTREAM_QUOTA,
        Reason.SERVER_DRAINING,
    }
)

WORDS: dict[FailureClass, str] = {
    FailureClass.CALLER_INVALID: "the provider refused the request as invalid",
    FailureClass.CONTEXT_LENGTH: "the conversation is longer than the model can read",
    FailureClass.CONTENT_FILTERED: "the provider's filter blocked the request",
    FailureClass.MODEL_UNAVAILABLE: "the provider does not offer this model to the key that was used",
    FailureClass.KEY_REJECTED: "the provider rejected the gateway's credentials",
    FailureClass.KEY_EXHAUSTED: "the quota or credit of the gateway's keys is used up",
    FailureClass.RATE_LIMITED: "the provider limits the rate of the gateway's keys",
    FailureClass.OVERLOADED: "the provider is overloaded",
    FailureClass.SERVER_ERROR: "the provider failed",
    FailureClass.CONNECT: "the provider could not be reached",
    FailureClass.FIRST_TOKEN_TIMEOUT: "the provider did not answer in time",
    FailureClass.STALLED: "the provider went silent in the middle of its answer",
    FailureClass.TRUNCATED: "the answer ended before it was whole",
    FailureClass.PROTOCOL: "the provider answered with something that is no answer",
    FailureClass.SATURATED: "the gateway is full",
    FailureClass.DEADLINE: "the deadline passed",
    FailureClass.CANCELLED: "the call was cancelled",
}
"""A failure in our own words: the provider's go into the details only."""

_STOPPED = {
    Reason.DEADLINE: "the deadline passed before there was a whole answer",
    Reason.CANCELLED: "the caller left",
    Reason.PERMISSION_DENIED: "the caller was removed from the routes while its call was under way",
    Reason.SERVER_DRAINING: "the server is going down; send the call again, another instance will take it",
}


def describe(failure: Failure) -> str:
    """Return a failure in our words, with the status and code that the provider gave."""
    facts = [failure.failure_class.value]
    if failure.http_status is not None and failure.http_status >= _FIRST_ERROR_STATUS:
        facts.append(f"HTTP {failure.http_status}")
    if failure.upstream_code and failure.rule.blame.value != "key":
        facts.append(failure.upstream_code[:64])
    return f"{WORDS[failure.failure_class]} ({', '.join(facts)})"


def call_failure(
    fail: Fail,
    attempts: Sequence[AttemptSummary],
    retry_after_s: float | None,
    *,
    told: AttemptSummary | None,
    not_made: Sequence[str] = (),
) -> CallFailure:
    """Return what the caller of a routed call is told.

    `told`: the attempt whose failure that is; `retry_after_s`: when the keys that refused will be usable; `not_made`:
    the attempts that were not made, each with its reason.
    """
    failure, refusal = fail.failure, fail.refusal
    statuses = [attempt.failure.http_status for attempt in attempts if attempt.failure is not None]
    last_status = next((status for status in reversed(statuses) if status is not None), None)
    if failure is not None:
        message = f"{told.served_by.target}: {describe(failure)}" if told is not None else describe(failure)
        if fail.reason is Reason.STREAM_BROKEN:
            message = f"the stream broke after part of the answer was delivered: {message}"
        elif len(attempts) > 1:
            message += f"; {len(attempts)} attempts were made"
        failure_class: FailureClass | None = failure.failure_class
    elif refusal is not None:
        message, failure_class = refusal.message, refusal.failure_class
    else:
        message = _STOPPED[fail.reason]
        failure_class = FailureClass.DEADLINE if fail.reason is Reason.DEADLINE else FailureClass.CANCELLED
    violations: tuple[FieldViolation, ...] = ()
    if fail.reason is Reason.BAD_REQUEST and failure is not None and failure.upstream_param:
        violations = (FieldViolation(failure.upstream_param, "refused by the provider under its own name"),)
    return CallFailure(
        fail.reason,
        message,
        failure_class,
        _stay_away_s(fail, retry_after_s),
        violations,
        attempts=tuple(attempts),
        failure=failure,
        last_http_status=last_status,
        not_made=tuple(not_made),
    )


def _stay_away_s(fail: Fail, known_s: float | None) -> float | None:
    """Return how long to stay away: always given where the contract promises it.

    What the key pool knows goes before what single keys were told: another key may serve earlier.
    """
    if known_s is not None:
        return known_s
    asked = [
        seconds
        for seconds in (
            fail.refusal.retry_after_s if fail.refusal is not None else None,
            fail.failure.retry_after_s if fail.failure is not None else None,
        )
        if seconds is not None
    ]
    if asked:
        return max(asked)
    return _FALLBACK_RETRY_AFTER_S if fail.reason in _ALWAYS_RETRY_INFO else None


def unknown_model(error: UnknownModelError) -> CallFailure:
    """Return NOT_FOUND with names that are near and may be used."""
    near = f"; did you mean {' or '.join(error.near)}?" if error.near else "; ListModels tells what there is"
    metadata = {"model": error.model[:256]}
    if error.near:
        metadata["near"] = ", ".join(error.near)
    if error.field != "model":
        metadata["field"] = error.field
        near = f" ({error.field}){near}"
    told = f"no alias or model {error.model[:80]!r} for this caller{near}"
    return CallFailure(Reason.UNKNOWN_MODEL, told, metadata=metadata)


def no_eligible_target(error: NoEligibleTargetError) -> CallFailure:
    """Return why nobody can serve: what each constraint removed, or the keys' own refusal if they alone do.

    The metadata names all targets; the message says in words what was wrong with the first of each constraint.
    """
    refusal: Refusal | None = error.key_refusal
    if refusal is not None:
        stay_away_s = _stay_away_s(Fail(refusal.reason, refusal=refusal), None)
        return CallFailure(refusal.reason, refusal.message, refusal.failure_class, stay_away_s)
    by_constraint: dict[str, list[str]] = {}
    because: dict[str, str] = {}
    for removed in error.removed:
        by_constraint.setdefault(removed.constraint, []).append(str(removed.target))
        because.setdefault(removed.constraint, removed.detail)
    metadata = {constraint: ", ".join(targets) for constraint, targets in by_constraint.items()}
    details = "; ".join(f"{word} removed {targets} ({because[word]})" for word, targets in metadata.items())
    return CallFailure(Reason.NO_ELIGIBLE_TARGET, f"no target fits the request: {details}", metadata=metadata)
