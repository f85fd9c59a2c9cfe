from __future__ import annotations

from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from trunkline import v1 as pb
from trunkline_server.engine.frames import AttemptSummary, CallFailure, FieldViolation, ServedBy
from trunkline_server.routing.events import Why
from trunkline_server.routing.failures import Failure, FailureClass
from trunkline_server.routing.types import Reason, TargetId, reason_of
from trunkline_server.rpc.codes import STATUS_OF_REASON
from trunkline_server.rpc.status import RpcStatus, status_of

TARGET = ServedBy(TargetId("openai", "gpt-4o-mini"), "key-1")


def attempt(number: int, failure: Failure | None) -> AttemptSummary:
    return AttemptSummary(number, TARGET, Why.FIRST, 0.0, None, 1.5, failure, None, 0, discarded=False)


def details(status: RpcStatus) -> dict[str, Any]:
    """Return the details by the short names of their types; each stands once."""
    parsed = status_pb2.Status.FromString(status.details)
    assert parsed.code == status.code.value[0]
    assert parsed.message == status.message
    kinds = {
        "ErrorInfo": error_details_pb2.ErrorInfo,
        "RetryInfo": error_details_pb2.RetryInfo,
        "QuotaFailure": error_details_pb2.QuotaFailure,
        "BadRequest": error_details_pb2.BadRequest,
        "RouteFailure": pb.RouteFailure,
    }
    found = {}
    for each in parsed.details:
        name = each.type_url.rsplit(".", 1)[1]
        assert name not in found
        found[name] = kinds[name].FromString(each.value)
    return found


def told(failure: CallFailure) -> dict[str, Any]:
    return details(status_of(failure))


def test_every_reason_has_its_status() -> None:
    """The table of the contract's section Errors, row by row."""
    code = grpc.StatusCode
    assert {
        Reason.BAD_REQUEST: code.INVALID_ARGUMENT,
        Reason.CONTEXT_LENGTH: code.INVALID_ARGUMENT,
        Reason.UNAUTHENTICATED: code.UNAUTHENTICATED,
        Reason.PERMISSION_DENIED: code.PERMISSION_DENIED,
        Reason.UNKNOWN_MODEL: code.NOT_FOUND,
        Reason.NO_ELIGIBLE_TARGET: code.FAILED_PRECONDITION,
        Reason.CONTENT_FILTERED: code.FAILED_PRECONDITION,
        Reason.MODEL_UNAVAILABLE: code.FAILED_PRECONDITION,
        Reason.QUEUE_FULL: code.RESOURCE_EXHAUSTED,
        Reason.QUEUE_TIMEOUT: code.RESOURCE_EXHAUSTED,
        Reason.DEADLINE_IN_QUEUE: code.RESOURCE_EXHAUSTED,
        Reason.SHED: code.RESOURCE_EXHAUSTED,
        Reason.RATE_LIMITED: code.RESOURCE_EXHAUSTED,
        Reason.UPSTREAM_QUOTA: code.RESOURCE_EXHAUSTED,
        Reason.UPSTREAM_CREDENTIALS: code.UNAVAILABLE,
        Reason.UPSTREAM_EXHAUSTED: code.UNAVAILABLE,
        Reason.SERVER_DRAINING: code.UNAVAILABLE,
        Reason.DEADLINE: code.DEADLINE_EXCEEDED,
        Reason.CANCELLED: code.CANCELLED,
        Reason.STREAM_BROKEN: code.ABORTED,
        Reason.SLOW_READER: code.ABORTED,
        Reason.STREAM_NOT_FOUND: code.NOT_FOUND,
        Reason.STREAM_NOT_DETACHABLE: code.FAILED_PRECONDITION,
        Reason.STREAM_TOO_OLD: code.OUT_OF_RANGE,
        Reason.STREAM_TAKEN_OVER: code.ABORTED,
        Reason.CALLER_QUOTA: code.RESOURCE_EXHAUSTED,
        Reason.CALLER_BUDGET: code.RESOURCE_EXHAUSTED,
        Reason.STALE_ETAG: code.ABORTED,
        Reason.CANARY_RUNNING: code.FAILED_PRECONDITION,
        Reason.VERSION_NOT_FOUND: code.NOT_FOUND,
        Reason.TARGET_NOT_FOUND: code.NOT_FOUND,
        Reason.KEY_NOT_FOUND: code.NOT_FOUND,
        Reason.NOT_BUILT: code.UNIMPLEMENTED,
        Reason.INTERNAL: code.INTERNAL,
    } == STATUS_OF_REASON
    assert set(STATUS_OF_REASON) == set(Reason)


@pytest.mark.parametrize("reason", Reason, ids=lambda reason: reason.value)
def test_every_error_names_its_reason_and_the_domain(reason: Reason) -> None:
    """ErrorInfo stands on every error; RetryInfo wherever there was no room."""
    status = status_of(CallFailure(reason, "what happened"))
    found = details(status)
    assert found["ErrorInfo"].domain == "trunkline"
    assert found["ErrorInfo"].reason == reason.value
    assert status.code is STATUS_OF_REASON[reason]
    assert ("RetryInfo" in found) == (
        status.code is grpc.StatusCode.RESOURCE_EXHAUSTED or reason is Reason.SERVER_DRAINING
    )


@pytest.mark.parametrize("failure_class", FailureClass, ids=lambda each: each.value)
@pytest.mark.parametrize("reason", [None, Reason.STREAM_BROKEN], ids=["before content", "after content"])
def test_the_reason_is_the_engines_and_the_class_stands_beside_it(
    failure_class: FailureClass, reason: Reason | None
) -> None:
    """Nothing is translated: whether content was sent is what the engine's reason says already."""
    failure = CallFailure(reason or reason_of(failure_class), "m", failure_class)
    found = told(failure)
    assert found["ErrorInfo"].reason == failure.reason.value
    assert pb.FailureClass.Name(found["RouteFailure"].failure_class) == f"FAILURE_CLASS_{failure_class.value}"


@pytest.mark.parametrize(
    ("failure", "pushback"),
    [
        (CallFailure(Reason.QUEUE_FULL, "m", retry_after_s=0.2501), "251"),
        (CallFailure(Reason.QUEUE_TIMEOUT, "m", retry_after_s=0.0), "1"),
        (CallFailure(Reason.QUEUE_FULL, "m"), "1000"),
        (CallFailure(Reason.SERVER_DRAINING, "m", retry_after_s=2), None),
        (CallFailure(Reason.RATE_LIMITED, "m", retry_after_s=7), "-1"),
        (CallFailure(Reason.UPSTREAM_QUOTA, "m"), "-1"),
        (CallFailure(Reason.UPSTREAM_EXHAUSTED, "m"), "-1"),
        (CallFailure(Reason.BAD_REQUEST, "m"), "-1"),
        (CallFailure(Reason.UNAUTHENTICATED, "m"), "-1"),
        (CallFailure(Reason.INTERNAL, "m"), "-1"),
        (CallFailure(Reason.DEADLINE, "m"), "-1"),
    ],
    ids=lambda value: value.reason.value if isinstance(value, CallFailure) else str(value),
)
def test_the_callers_library_is_told_whether_it_may_retry(failure: CallFailure, pushback: str | None) -> None:
    """The time to stay away for refusals of ours, nothing while draining, never again for all else."""
    status = status_of(failure)
    assert status.pushback_ms == pushback
    names = [name for name, _ in status.trailing_metadata()]
    assert names == ["grpc-status-details-bin"] + ["grpc-retry-pushback-ms"] * (pushback is not None)


def test_a_rate_limit_is_told_with_its_time_and_its_target() -> None:
    """RetryInfo and QuotaFailure stand beside the RouteFailure with the attempts."""
    limited = Failure(FailureClass.RATE_LIMITED, "rate limited", retry_after_s=7.5, http_status=429)
    found = told(
        CallFailure(
            Reason.RATE_LIMITED,
            "all keys cool",
            FailureClass.RATE_LIMITED,
            7.5,
            attempts=(attempt(1, limited),),
            failure=limited,
            last_http_status=429,
        )
    )
    assert found["RetryInfo"].retry_delay.ToTimedelta().total_seconds() == 7.5
    assert [each.subject for each in found["QuotaFailure"].violations] == ["openai/gpt-4o-mini"]
    route = found["RouteFailure"]
    assert route.last_upstream_http_status == 429
    assert route.attempts[0].error.code == grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]
    assert route.attempts[0].error.retry_after.ToTimedelta().total_seconds() == 7.5


def test_upstream_words_stand_in_the_route_failure_only() -> None:
    """Neither the message nor any other detail repeats what the provider wrote."""
    broken = Failure(
        FailureClass.SERVER_ERROR, "the provider failed", http_status=500, upstream_text="kaboom in cell 7"
    )
    failure = CallFailure(
        Reason.UPSTREAM_EXHAUSTED, "gave up", FailureClass.SERVER_ERROR, attempts=(attempt(1, broken),), failure=broken
    )
    found = told(failure)
    assert found["RouteFailure"].attempts[0].error.message == "the provider failed: kaboom in cell 7"
    assert "kaboom" not in status_of(failure).message
    assert not any("kaboom" in str(detail) for name, detail in found.items() if name != "RouteFailure")


@pytest.mark.parametrize(
    "failure_class", [FailureClass.KEY_REJECTED, FailureClass.KEY_EXHAUSTED, FailureClass.RATE_LIMITED]
)
def test_words_that_may_name_accounts_are_never_passed_on(failure_class: FailureClass) -> None:
    """Not even when an adapter kept them."""
    named = Failure(failure_class, "refused", upstream_text="organisation org-secret")
    status = status_of(CallFailure(reason_of(failure_class), "m", failure_class, attempts=(attempt(1, named),)))
    assert b"org-secret" not in status.details


def test_violations_are_told_as_bad_request() -> None:
    """Each with its path and what it must be."""
    found = told(CallFailure(Reason.BAD_REQUEST, "m", violations=(FieldViolation("model", "must be set"),)))
    assert [(each.field, each.description) for each in found["BadRequest"].field_violations] == [
        ("model", "must be set")
    ]
    assert "omitted" not in found["ErrorInfo"].metadata
    assert "RouteFailure" not in found


def test_what_there_is_no_room_for_is_counted() -> None:
    """The first violations are told, `omitted` says how many more there are, those left out earlier included."""
    violations = tuple(FieldViolation(f"messages[{index}].role", "must be set " * 10) for index in range(100))
    found = told(CallFailure(Reason.BAD_REQUEST, "m", violations=violations, violations_omitted=23))
    fields = [each.field for each in found["BadRequest"].field_violations]
    assert fields == [each.path for each in violations[: len(fields)]]
    assert len(fields) > 8
    assert int(found["ErrorInfo"].metadata["omitted"]) == 123 - len(fields)


def test_metadata_is_carried() -> None:
    """Such as what each constraint removed."""
    removed = {"capability": "openai/a, openai/b", "exclude_targets": "openai/c"}
    assert told(CallFailure(Reason.NO_ELIGIBLE_TARGET, "m", metadata=removed))["ErrorInfo"].metadata == removed


def test_an_error_without_a_message_says_its_reason() -> None:
    """Nobody gets an empty status."""
    assert status_of(CallFailure(Reason.INTERNAL, "")).message == "INTERNAL"


def test_attempts_that_were_not_made_are_told_with_their_reasons() -> None:
    """In one entry of ErrorInfo, before the engine's own, cut between characters; none, no entry."""
    not_made = ("retry of openai/gpt: the budget is used up", "one/b: its circuit is open")
    found = told(CallFailure(Reason.UPSTREAM_EXHAUSTED, "m", not_made=not_made, metadata={"a": "b"}))
    assert found["ErrorInfo"].metadata == {"not_made": "; ".join(not_made), "a": "b"}
    assert "not_made" not in told(CallFailure(Reason.UPSTREAM_EXHAUSTED, "m"))["ErrorInfo"].metadata
    crowd = {f"key{index}": "x" * 250 for index in range(9)} | {"not_made": "not ours"}
    metadata = told(CallFailure(Reason.UPSTREAM_EXHAUSTED, "m", not_made=("ä漢" * 100,), metadata=crowd))[
        "ErrorInfo"
    ].metadata
    assert metadata["not_made"] == "ä漢" * 59 + "ä..."
    assert int(metadata["omitted"]) == 11 - len(metadata)
