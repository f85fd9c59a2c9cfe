"""What a failed call says: the status of an RPC and its details, read into one typed record."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from trunkline.v1.route_pb2 import RouteFailure

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from google.protobuf.any_pb2 import Any as AnyMessage
    from google.protobuf.message import Message

    M = TypeVar("M", bound=Message)

DOMAIN = "trunkline"
"""The domain of every `google.rpc.ErrorInfo` that Trunkline sends."""

_DETAILS_KEY = "grpc-status-details-bin"


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One thing that is wrong with a request."""

    field: str
    """The path of the field, such as `messages[0].parts[2].media.uri`. Empty: the request as a whole."""

    description: str
    """What is wrong with it, for people."""


@dataclass(frozen=True, slots=True)
class CallFailure:
    """The status of a failed call with its details."""

    code: grpc.StatusCode
    """The status code."""

    message: str
    """What happened, for people."""

    reason: str = ""
    """The stable name of the cause, such as `QUEUE_FULL`. Empty: the status is not Trunkline's own but that of the
    library or of something in between."""

    metadata: Mapping[str, str] = field(default_factory=dict)
    """What else Trunkline says about the cause, such as `omitted`: how many violations did not fit."""

    retry_after_s: float | None = None
    """How many seconds to stay away before another try. None: the server does not say."""

    field_violations: tuple[FieldViolation, ...] = ()
    """What is wrong with the request, where that is the cause."""

    route_failure: RouteFailure | None = None
    """What failed upstream, where that is the cause."""


def failure_of(error: grpc.RpcError) -> CallFailure:
    """Return what a failed call says, whether it was made on a synchronous or an asynchronous channel.

    `error` is the exception that the call raised. Details that cannot be read are left out: the code and the message
    stand without them. Raises TypeError for an RpcError that carries no status.
    """
    if not isinstance(error, grpc.Call | grpc.aio.AioRpcError):
        raise TypeError(f"{type(error).__name__} carries no status")
    details = _details(error.trailing_metadata())
    info = _first(details, error_details_pb2.ErrorInfo)
    if info is not None and info.domain != DOMAIN:
        info = None
    retry = _first(details, error_details_pb2.RetryInfo)
    bad_request = _first(details, error_details_pb2.BadRequest)
    violations = bad_request.field_violations if bad_request is not None else ()
    return CallFailure(
        code=error.code(),
        message=error.details() or "",
        reason=info.reason if info is not None else "",
        metadata=dict(info.metadata) if info is not None else {},
        retry_after_s=retry.retry_delay.ToTimedelta().total_seconds() if retry is not None else None,
        field_violations=tuple(FieldViolation(v.field, v.description) for v in violations),
        route_failure=_first(details, RouteFailure),
    )


def _details(trailers: Iterable[tuple[str, str | bytes]] | None) -> list[AnyMessage]:
    """Return the status details in the trailers; none if there are none or they are damaged."""
    for key, value in trailers or ():
        if key == _DETAILS_KEY and isinstance(value, bytes):
            try:
                return list(status_pb2.Status.FromString(value).details)
            except DecodeError:
                return []
    return []


def _first(details: list[AnyMessage], kind: type[M]) -> M | None:
    """Return the first of the details that is of this kind; None if there is none or it is damaged."""
    message = kind()
    try:
        found = any(packed.Unpack(message) for packed in details)
    except DecodeError:
        return None
    return message if found else None
