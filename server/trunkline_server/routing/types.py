"""The words of the core: targets, callers, reasons and refusals."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from trunkline_server.routing.caller_limits import CallerLimits
from trunkline_server.routing.failures import FailureClass
from trunkline_server.routing.record import Word, record


class Reason(Word):
    """Why a call ended as an error, in the contract's words; `rpc` knows each one's status."""

    BAD_REQUEST = "BAD_REQUEST"
    CONTEXT_LENGTH = "CONTEXT_LENGTH"
    UNAUTHENTICATED = "UNAUTHENTICATED"
    PERMISSION_DENIED = "PERMISSION_DENIED"
    UNKNOWN_MODEL = "UNKNOWN_MODEL"
    NO_ELIGIBLE_TARGET = "NO_ELIGIBLE_TARGET"
    CONTENT_FILTERED = "CONTENT_FILTERED"
    MODEL_UNAVAILABLE = "MODEL_UNAVAILABLE"
    QUEUE_FULL = "QUEUE_FULL"
    QUEUE_TIMEOUT = "QUEUE_TIMEOUT"
    DEADLINE_IN_QUEUE = "DEADLINE_IN_QUEUE"
    """Refused at the queue's door: the wait cannot fit the deadline. One that ends in the queue is DEADLINE."""
    SHED = "SHED"
    """Pushed out of a full queue, or not let in, for the sake of more important calls."""
    CALLER_QUOTA = "CALLER_QUOTA"
    """The caller's own limit of requests, tokens or calls in flight."""
    CALLER_BUDGET = "CALLER_BUDGET"
    """What the caller may spend in a day is spent."""
    RATE_LIMITED = "RATE_LIMITED"
    UPSTREAM_QUOTA = "UPSTREAM_QUOTA"
    UPSTREAM_CREDENTIALS = "UPSTREAM_CREDENTIALS"
    UPSTREAM_EXHAUSTED = "UPSTREAM_EXHAUSTED"
    SERVER_DRAINING = "SERVER_DRAINING"
    DEADLINE = "DEADLINE"
    CANCELLED = "CANCELLED"
    STREAM_BROKEN = "STREAM_BROKEN"
    SLOW_READER = "SLOW_READER"
    STREAM_NOT_FOUND = "STREAM_NOT_FOUND"
    STREAM_NOT_DETACHABLE = "STREAM_NOT_DETACHABLE"
    STREAM_TOO_OLD = "STREAM_TOO_OLD"
    STREAM_TAKEN_OVER = "STREAM_TAKEN_OVER"
    """Another reader went on with the stream; this one ends, the stream does not."""
    STALE_ETAG = "STALE_ETAG"
    """Another version of the routes runs than the one that an order is based on."""
    CANARY_RUNNING = "CANARY_RUNNING"
    """The order would change routes while a canary is on trial."""
    VERSION_NOT_FOUND = "VERSION_NOT_FOUND"
    TARGET_NOT_FOUND = "TARGET_NOT_FOUND"
    KEY_NOT_FOUND = "KEY_NOT_FOUND"
    NOT_BUILT = "NOT_BUILT"
    INTERNAL = "INTERNAL"


REASON_OF_CLASS: dict[FailureClass, Reason] = {
    FailureClass.CALLER_INVALID: Reason.BAD_REQUEST,
    FailureClass.CONTEXT_LENGTH: Reason.CONTEXT_LENGTH,
    FailureClass.CONTENT_FILTERED: Reason.CONTENT_FILTERED,
    FailureClass.MODEL_UNAVAILABLE: Reason.MODEL_UNAVAILABLE,
    FailureClass.KEY_REJECTED: Reason.UPSTREAM_CREDENTIALS,
    FailureClass.KEY_EXHAUSTED: Reason.UPSTREAM_QUOTA,
    FailureClass.RATE_LIMITED: Reason.RATE_LIMITED,
    FailureClass.SATURATED: Reason.QUEUE_FULL,
    FailureClass.DEADLINE: Reason.DEADLINE,
    FailureClass.CANCELLED: Reason.CANCELLED,
}
"""What a failure that ends a call before the commit point is called; all others are UPSTREAM_EXHAUSTED."""


def reason_of(failure_class: FailureClass) -> Reason:
    """Return the reason that a call ends with when this failure ends it before the commit point."""
    return REASON_OF_CLASS.get(failure_class, Reason.UPSTREAM_EXHAUSTED)


class Criticality(Enum):
    """How important a call is; the value is its rank, the most important first."""

    CRITICAL_PLUS = 0
    CRITICAL = 1
    SHEDDABLE_PLUS = 2
    SHEDDABLE = 3


class OnBreak(Word):
    """What follows when an attempt breaks after content was shown."""

    FAIL = "FAIL"
    RESTART = "RESTART"
    CONTINUE = "CONTINUE"


@dataclass(frozen=True, slots=True)
class TargetId:
    """A provider and one of its models."""

    provider: str
    model: str

    def __str__(self) -> str:
        """Return `provider/model`."""
        return f"{self.provider}/{self.model}"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls, and what they may use. None for `aliases` and `models`: everything (no callers are configured)."""

    id: str
    aliases: frozenset[str] | None = None
    models: frozenset[str] | None = None
    """Direct `provider/model` names."""
    provider_options: frozenset[str] = frozenset()
    """Option keys that this caller may pass although they are refused to others."""
    criticality: Criticality = Criticality.CRITICAL
    """The highest that it may ask for, and what its calls have that do not say."""
    limits: CallerLimits | None = None
    """Of its calls, tokens and money; None: it has none, and no account."""


@record
class Refusal:
    """A candidate did not take the call, before anything was dispatched."""

    failure_class: FailureClass
    """SATURATED, RATE_LIMITED (keys cool), KEY_REJECTED or KEY_EXHAUSTED (keys in quarantine)."""
    reason: Reason
    message: str
    retry_after_s: float | None = None
    """How long to stay away."""
    never: bool = False
    """Waiting alone would not help: the queue would refuse it at its door."""
    by_operator: bool = False
    """An operator holds the target: no matter of keys."""
