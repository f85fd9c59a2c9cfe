"""Routes, attempts, usage and errors as protobuf: what answers, frames and status details share.

What every answer carries is filled in where it stands: a message that is given to another one is encoded, decoded and
thrown away, which takes three times as long.
"""

from __future__ import annotations

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from trunkline import v1 as pb
from trunkline_server.chat.answer import Usage, UsageSource, Warning_
from trunkline_server.engine.frames import AttemptSummary, CallFailure, RouteInfo, ServedBy
from trunkline_server.routing.events import Why
from trunkline_server.routing.failures import Failure, FailureClass
from trunkline_server.routing.types import Reason, TargetId, reason_of
from trunkline_server.rpc.bounded_text import cut_utf8
from trunkline_server.rpc.codes import code_number, is_retryable

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
    duration = Duration()
    fill_duration(duration, seconds)
    return duration


def fill_duration(duration: Duration, seconds: float) -> None:
    """Set a Duration: see `duration_pb`."""
    if not 0 < seconds < MAX_DURATION_S:
        duration.seconds = MAX_DURATION_S if seconds > 0 else 0
        return
    whole = int(seconds)
    duration.seconds = whole
    duration.nanos = min(_NANOS - 1, int((seconds - whole) * _NANOS))


def fill_timestamp(timestamp: Timestamp, unix_s: float) -> None:
    """Set a Timestamp to seconds since 1970, in whole microseconds: a float holds no more."""
    micros = int(unix_s * 1_000_000)
    timestamp.seconds = micros // 1_000_000
    timestamp.nanos = micros % 1_000_000 * 1_000


def target_pb(target: TargetId, *, region: str = "") -> pb.Target:
    """Return a target that no key was chosen for."""
    return pb.Target(provider=target.provider, model=target.model, region=region)


def fill_served_by(target: pb.Target, served_by: ServedBy) -> None:
    """Set a target and the id of the key that was used there, never its secret."""
    target.provider = served_by.target.provider
    target.model = served_by.target.model
    target.key_id = served_by.key_id


def usage_pb(usage: Usage) -> pb.Usage:
    """Return what was used; a figure that is not known, or that cannot be true, stays unset."""
    message = pb.Usage()
    fill_usage(message, usage)
    return message


def fill_usage(message: pb.Usage, usage: Usage) -> None:
    """Set what was used: see `usage_pb`."""
    message.SetInParent()
    # A count that cannot be a number of tokens is left out: what a provider says must not break our answer.
    if (count := usage.input_tokens) is not None and 0 <= count <= MAX_TOKENS:
        message.input_tokens = count
    if (count := usage.output_tokens) is not None and 0 <= count <= MAX_TOKENS:
        message.output_tokens = count
    if (count := usage.cached_input_tokens) is not None and 0 <= count <= MAX_TOKENS:
        message.cached_input_tokens = count
    if (count := usage.cache_write_tokens) is not None and 0 <= count <= MAX_TOKENS:
        message.cache_write_tokens = count
    if (count := usage.reasoning_tokens) is not None and 0 <= count <= MAX_TOKENS:
        message.reasoning_tokens = count
    if usage.source is not None:
        message.source = SOURCE_PB[usage.source]
    if usage.cost_nanousd is not None:
        message.cost_nanousd = usage.cost_nanousd


def warning_pb(warning: Warning_) -> pb.Warning:
    """Return a warning."""
    return pb.Warning(code=warning.code, field=warning.field, message=cut_utf8(warning.message, MAX_MESSAGE_BYTES))


def fill_route(message: pb.RouteInfo, route: RouteInfo) -> None:
    """Set how a request was routed."""
    message.requested = route.requested
    message.alias = route.alias
    message.route_version = route.route_version
    message.variant = route.variant
    if route.served_by is not None:
        fill_served_by(message.served_by, route.served_by)
    for each in route.skipped:
        message.skipped.add(target=target_pb(each.target), reason=each.reason)


def attempt_pb(attempt: AttemptSummary, *, upstream_text: bool = False) -> pb.AttemptSummary:
    """Return one upstream call in numbers. `upstream_text`: with the provider's words, as only RouteFailure may."""
    message = pb.AttemptSummary()
    fill_attempt(message, attempt, upstream_text=upstream_text)
    return message


def fill_attempt(message: pb.AttemptSummary, attempt: AttemptSummary, *, upstream_text: bool = False) -> None:
    """Set one upstream call in numbers: see `attempt_pb`."""
    message.attempt = attempt.attempt
    fill_served_by(message.target, attempt.served_by)
    message.why = WHY_PB[attempt.why]
    fill_duration(message.queued, attempt.queued_s)
    if attempt.first_token_s is not None:
        fill_duration(message.first_token, attempt.first_token_s)
    fill_duration(message.total, attempt.total_s)
    if attempt.failure is not None:
        reason = reason_of(attempt.failure.failure_class)
        message.error.CopyFrom(error_pb(attempt.failure, reason, upstream_text=upstream_text))
    if attempt.usage is not None:
        fill_usage(message.usage, attempt.usage)
    message.bytes_emitted = attempt.bytes_emitted
    message.discarded = attempt.discarded


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


def call_error_pb(call_failure: CallFailure) -> pb.Error:
    """Return how a call failed as an Error that agrees with its status."""
    reason = call_failure.reason
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
