"""Routes, attempts, usage and errors as protobuf: what answers, frames and status details share."""

from __future__ import annotations

import math

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from trunkline import v1 as pb
from trunkline_server.chat.answer import Usage, UsageSource, Warning_
from trunkline_server.engine.frames import AttemptSummary, CallFailure, RouteInfo, ServedBy
from trunkline_server.routing.events import Why
from trunkline_server.routing.failures import Failure, FailureClass
from trunkline_server.routing.types import Reason, TargetId, reason_of
from trunkline_server.rpc.bounded_text import cut_utf8
from trunkline_server.rpc.codes import code_number, is_retryable, told_reason

MAX_UPSTREAM_TEXT_BYTES = 500
MAX_MESSAGE_BYTES = 500
MAX_UPSTREAM_NAME_BYTES = 128
"""For a provider's error code and its id of a call."""
MAX_DURATION_S = 315_576_000_000
"""The longest time that google.protobuf.Duration knows: 10,000 years."""
MAX_TOKENS = 2**63 - 1
_NANOS = 1_000_000_000

FAILURE_CLASS_PB: dict[FailureClass | None, pb.FailureClass.ValueType] = {
    None: pb.FAILURE_CLASS_UNSPECIFIED,
    **{each: pb.FailureClass.Value(f"FAILURE_CLASS_{each.value}") for each in FailureClass},
}
WHY_PB = {each: pb.AttemptSummary.Why.Value(f"WHY_{each.value}") for each in Why}
SOURCE_PB = {each: pb.Usage.Source.Value(f"SOURCE_{each.value}") for each in UsageSource}

NAMES_ACCOUNTS = frozenset({FailureClass.KEY_REJECTED, FailureClass.KEY_EXHAUSTED, FailureClass.RATE_LIMITED})
"""Classes in which providers name organisations and accounts: their words are never passed on."""


def duration_pb(seconds: float) -> Duration:
    """Return a time in seconds as a Duration; what no clock can have measured becomes the nearest that is possible."""
    if not 0 < seconds < MAX_DURATION_S:
        return Duration(seconds=MAX_DURATION_S if seconds > 0 else 0)
    whole = math.floor(seconds)
    return Duration(seconds=whole, nanos=min(_NANOS - 1, int((seconds - whole) * _NANOS)))


def timestamp_pb(unix_s: float) -> Timestamp:
    """Return seconds since 1970 as a Timestamp, in whole microseconds: a float holds no more."""
    micros = int(unix_s * 1_000_000)
    return Timestamp(seconds=micros // 1_000_000, nanos=micros % 1_000_000 * 1_000)


def target_pb(target: TargetId, *, key_id: str = "", region: str = "") -> pb.Target:
    """Return a target; `key_id` names the key that was used, never its secret."""
    return pb.Target(provider=target.provider, model=target.model, key_id=key_id, region=region)


def served_by_pb(served_by: ServedBy) -> pb.Target:
    """Return a target with the key that was used there."""
    return target_pb(served_by.target, key_id=served_by.key_id)


def usage_pb(usage: Usage) -> pb.Usage:
    """Return what was used; a figure that is not known, or that cannot be true, stays unset."""
    return pb.Usage(
        input_tokens=_tokens(usage.input_tokens),
        output_tokens=_tokens(usage.output_tokens),
        cached_input_tokens=_tokens(usage.cached_input_tokens),
        cache_write_tokens=_tokens(usage.cache_write_tokens),
        reasoning_tokens=_tokens(usage.reasoning_tokens),
        source=None if usage.source is None else SOURCE_PB[usage.source],
        cost_nanousd=usage.cost_nanousd,
    )


def _tokens(count: int | None) -> int | None:
    """Return what a provider counted, if it can be a number of tokens: what it says must not break our answer."""
    return count if count is not None and 0 <= count <= MAX_TOKENS else None


def warning_pb(warning: Warning_) -> pb.Warning:
    """Return a warning."""
    return pb.Warning(code=warning.code, field=warning.field, message=cut_utf8(warning.message, MAX_MESSAGE_BYTES))


def route_pb(route: RouteInfo) -> pb.RouteInfo:
    """Return how a request was routed."""
    return pb.RouteInfo(
        requested=route.requested,
        alias=route.alias,
        route_version=route.route_version,
        variant=route.variant,
        served_by=None if route.served_by is None else served_by_pb(route.served_by),
        skipped=[pb.RouteInfo.Skipped(target=target_pb(each.target), reason=each.reason) for each in route.skipped],
    )


def attempt_pb(attempt: AttemptSummary, *, upstream_text: bool = False) -> pb.AttemptSummary:
    """Return one upstream call in numbers. `upstream_text`: with the provider's words, as only RouteFailure may."""
    error = None
    if attempt.failure is not None:
        error = error_pb(attempt.failure, reason_of(attempt.failure.failure_class), upstream_text=upstream_text)
    return pb.AttemptSummary(
        attempt=attempt.attempt,
        target=served_by_pb(attempt.served_by),
        why=WHY_PB[attempt.why],
        queued=duration_pb(attempt.queued_s),
        first_token=None if attempt.first_token_s is None else duration_pb(attempt.first_token_s),
        total=duration_pb(attempt.total_s),
        error=error,
        usage=None if attempt.usage is None else usage_pb(attempt.usage),
        bytes_emitted=attempt.bytes_emitted,
        discarded=attempt.discarded,
    )


def error_pb(failure: Failure, reason: Reason, *, upstream_text: bool = False) -> pb.Error:
    """Return a failed attempt as an Error whose code and reason are those of `reason`."""
    message = cut_utf8(failure.message, MAX_MESSAGE_BYTES)
    if upstream_text and failure.upstream_text and failure.failure_class not in NAMES_ACCOUNTS:
        message = f"{message}: {cut_utf8(failure.upstream_text, MAX_UPSTREAM_TEXT_BYTES)}"
    error = pb.Error(
        code=code_number(reason),
        failure_class=FAILURE_CLASS_PB[failure.failure_class],
        reason=reason.value,
        message=message,
        retryable=is_retryable(reason),
        retry_after=None if failure.retry_after_s is None else duration_pb(failure.retry_after_s),
    )
    _set_upstream(error, failure)
    return error


def call_error_pb(call_failure: CallFailure, *, committed: bool) -> pb.Error:
    """Return how a call failed as an Error that agrees with its status. `committed`: as for `status_of`."""
    reason = told_reason(call_failure.reason, committed=committed)
    retry_after_s = call_failure.retry_after_s
    error = pb.Error(
        code=code_number(reason),
        failure_class=FAILURE_CLASS_PB[call_failure.failure_class],
        reason=reason.value,
        message=cut_utf8(call_failure.message, MAX_MESSAGE_BYTES),
        retryable=is_retryable(reason),
        retry_after=None if retry_after_s is None else duration_pb(retry_after_s),
    )
    if call_failure.failure is not None:
        _set_upstream(error, call_failure.failure)
    return error


def _set_upstream(error: pb.Error, failure: Failure) -> None:
    """Add what the provider called the failure."""
    if failure.http_status is not None:
        error.upstream_http_status = failure.http_status
    if failure.upstream_code:
        error.upstream_code = cut_utf8(failure.upstream_code, MAX_UPSTREAM_NAME_BYTES)
    if failure.upstream_request_id:
        error.upstream_request_id = cut_utf8(failure.upstream_request_id, MAX_UPSTREAM_NAME_BYTES)
