"""What a failed call says."""

from __future__ import annotations

import grpc
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from trunkline import CallFailure, FieldViolation, failure_of
from trunkline.v1 import FAILURE_CLASS_RATE_LIMITED, AttemptSummary, RouteFailure, Target


def failed(code: grpc.StatusCode, message: str, *details: Message, raw: bytes | None = None) -> grpc.aio.AioRpcError:
    """Return what an asynchronous call raises for a status with these details, or with `raw` in their place."""
    status = status_pb2.Status(code=code.value[0], message=message)
    for detail in details:
        packed = AnyMessage()
        packed.Pack(detail)
        status.details.append(packed)
    value = status.SerializeToString() if raw is None else raw
    trailers = grpc.aio.Metadata(("grpc-status-details-bin", value), ("grpc-retry-pushback-ms", "-1"))
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), trailers, details=message)


INFO = error_details_pb2.ErrorInfo(reason="RATE_LIMITED", domain="trunkline", metadata={"omitted": "2"})


def test_every_detail_is_read() -> None:
    """Reason, metadata, time to stay away, the route's failure and the pushback come out typed."""
    route = RouteFailure(
        failure_class=FAILURE_CLASS_RATE_LIMITED,
        attempts=[AttemptSummary(attempt=1, target=Target(provider="openai", model="gpt-4o-mini"))],
        last_upstream_http_status=429,
    )
    retry = error_details_pb2.RetryInfo(retry_delay=Duration(seconds=2, nanos=250_000_000))
    failure = failure_of(failed(grpc.StatusCode.RESOURCE_EXHAUSTED, "slow down", INFO, retry, route))
    assert failure == CallFailure(
        code=grpc.StatusCode.RESOURCE_EXHAUSTED,
        message="slow down",
        reason="RATE_LIMITED",
        metadata={"omitted": "2"},
        retry_after_s=2.25,
        route_failure=route,
        pushback_ms=-1,
    )


def test_field_violations_are_read_in_order() -> None:
    """Everything that is wrong with a request comes out with its path, in the order in which it was said."""
    bad = error_details_pb2.BadRequest()
    bad.field_violations.add(field="messages[0].role", description="is required")
    bad.field_violations.add(field="", description="is too large")
    failure = failure_of(failed(grpc.StatusCode.INVALID_ARGUMENT, "bad request", INFO, bad))
    assert failure.field_violations == (
        FieldViolation("messages[0].role", "is required"),
        FieldViolation("", "is too large"),
    )


def test_status_of_the_library_has_no_reason() -> None:
    """A status without details, as grpc itself makes one, has an empty reason and nothing else."""
    error = grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, grpc.aio.Metadata(), grpc.aio.Metadata())
    assert failure_of(error) == CallFailure(code=grpc.StatusCode.UNAVAILABLE, message="")


def test_reason_of_somebody_else_is_not_ours() -> None:
    """An ErrorInfo of another domain, such as a proxy's, is not taken for Trunkline's."""
    other = error_details_pb2.ErrorInfo(reason="QUEUE_FULL", domain="proxy.example", metadata={"a": "b"})
    failure = failure_of(failed(grpc.StatusCode.RESOURCE_EXHAUSTED, "no", other))
    assert (failure.reason, failure.metadata) == ("", {})


def test_our_reason_is_found_behind_somebody_elses() -> None:
    """A proxy that puts its own ErrorInfo before ours does not hide ours."""
    other = error_details_pb2.ErrorInfo(reason="QUEUE_FULL", domain="proxy.example")
    failure = failure_of(failed(grpc.StatusCode.RESOURCE_EXHAUSTED, "no", other, INFO))
    assert failure.reason == "RATE_LIMITED"


def test_damaged_details_leave_the_status() -> None:
    """Details that cannot be decoded do not hide the code and the message."""
    failure = failure_of(failed(grpc.StatusCode.ABORTED, "broken", raw=b"\xff\xff\xff"))
    assert failure == CallFailure(code=grpc.StatusCode.ABORTED, message="broken", pushback_ms=-1)


def test_one_damaged_detail_leaves_the_others() -> None:
    """A detail that cannot be decoded is left out, and the others are read."""
    status = status_pb2.Status(code=10, message="broken")
    status.details.add(type_url="type.googleapis.com/trunkline.v1.RouteFailure", value=b"\xff\xff\xff")
    packed = AnyMessage()
    packed.Pack(INFO)
    status.details.append(packed)
    failure = failure_of(failed(grpc.StatusCode.ABORTED, "broken", raw=status.SerializeToString()))
    assert (failure.reason, failure.route_failure) == ("RATE_LIMITED", None)


def test_error_without_a_status_is_a_mistake_of_the_program() -> None:
    """An RpcError that no call raised is refused instead of being read as something."""
    with pytest.raises(TypeError, match="RpcError carries no status"):
        failure_of(grpc.RpcError())


def test_details_of_another_status_are_left_out() -> None:
    """At a local deadline grpc keeps its own code beside trailers that came: those speak of something else."""
    status = status_pb2.Status(code=grpc.StatusCode.ABORTED.value[0], message="broken")
    packed = AnyMessage()
    packed.Pack(INFO)
    status.details.append(packed)
    failure = failure_of(failed(grpc.StatusCode.DEADLINE_EXCEEDED, "too late", raw=status.SerializeToString()))
    assert (failure.code, failure.reason) == (grpc.StatusCode.DEADLINE_EXCEEDED, "")
