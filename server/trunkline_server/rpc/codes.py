"""Which status each reason is: the table of the contract's section Errors."""

from __future__ import annotations

import grpc

from trunkline_server.routing.types import Reason

STATUS_OF_REASON: dict[Reason, grpc.StatusCode] = {
    Reason.BAD_REQUEST: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.CONTEXT_LENGTH: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.UNAUTHENTICATED: grpc.StatusCode.UNAUTHENTICATED,
    Reason.PERMISSION_DENIED: grpc.StatusCode.PERMISSION_DENIED,
    Reason.UNKNOWN_MODEL: grpc.StatusCode.NOT_FOUND,
    Reason.NO_ELIGIBLE_TARGET: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.CONTENT_FILTERED: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.MODEL_UNAVAILABLE: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.QUEUE_FULL: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Reason.DEADLINE_IN_QUEUE: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Reason.SHED: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Reason.QUEUE_TIMEOUT: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Reason.RATE_LIMITED: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Reason.UPSTREAM_QUOTA: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Reason.UPSTREAM_CREDENTIALS: grpc.StatusCode.UNAVAILABLE,
    Reason.UPSTREAM_EXHAUSTED: grpc.StatusCode.UNAVAILABLE,
    Reason.SERVER_DRAINING: grpc.StatusCode.UNAVAILABLE,
    Reason.DEADLINE: grpc.StatusCode.DEADLINE_EXCEEDED,
    Reason.CANCELLED: grpc.StatusCode.CANCELLED,
    Reason.STREAM_BROKEN: grpc.StatusCode.ABORTED,
    Reason.SLOW_READER: grpc.StatusCode.ABORTED,
    Reason.STREAM_NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    Reason.STREAM_NOT_DETACHABLE: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.STREAM_TOO_OLD: grpc.StatusCode.OUT_OF_RANGE,
    Reason.STREAM_TAKEN_OVER: grpc.StatusCode.ABORTED,
    Reason.CALLER_QUOTA: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Reason.CALLER_BUDGET: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Reason.STALE_ETAG: grpc.StatusCode.ABORTED,
    Reason.CANARY_RUNNING: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.VERSION_NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    Reason.TARGET_NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    Reason.KEY_NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    Reason.NOT_BUILT: grpc.StatusCode.UNIMPLEMENTED,
    Reason.INTERNAL: grpc.StatusCode.INTERNAL,
}
"""One row a reason."""

_MAY_SUCCEED_LATER = frozenset(
    {
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
    }
)


def code_number(reason: Reason) -> int:
    """Return the gRPC code of a reason as the number that messages carry."""
    number: int = STATUS_OF_REASON[reason].value[0]
    return number


def is_retryable(reason: Reason) -> bool:
    """Return whether the same request may succeed later without being changed."""
    return STATUS_OF_REASON[reason] in _MAY_SUCCEED_LATER
