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

CallError = grpc.RpcError
"""What a failed call raises, synchronous or asynchronous; `failure_of` reads it."""

_DETAILS_KEY = "grpc-status-details-bin"
_PUSHBACK_KEY = "grpc-retry-pushback-ms"


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

    pushback_ms: int | None = None
    """When a library may repeat the call by itself, in milliseconds; below 0: not at all. None: not said."""


def failure_of(error: grpc.RpcError) -> CallFailure:
    """Return what a failed call says, whether it was made on a synchronous or an asynchronous channel.

    `error` is the exception that the call raised. Details that cannot be read, or speak of another code (grpc keeps its
    own at a local deadline, beside the trailers that came), are left out: code and message stand without them. Raises
    TypeError for an RpcError that carries no status.
    """
    if not isinstance(error, grpc.Call | grpc.aio.AioRpcError):
        raise TypeError(f"{type(error).__name__} carries no status")
    details = _details(error.trailing_metadata(), error.code())
    infos = _all(details, error_details_pb2.ErrorInfo)
    info = next((info for info in infos if info.domain == DOMAIN), error_details_pb2.ErrorInfo())
    retry = next(iter(_all(details, error_details_pb2.RetryInfo)), None)
    bad_requests = _all(details, error_details_pb2.BadRequest)
    return CallFailure(
        code=error.code(),
        message=error.details() or "",
        reason=info.reason,
        metadata=dict(info.metadata),
        retry_after_s=retry.retry_delay.ToTimedelta().total_seconds() if retry is not None else None,
        field_violations=tuple(
            FieldViolation(violation.field, violation.description)
            for bad_request in bad_requests
            for violation in bad_request.field_violations
        ),
        route_failure=next(iter(_all(details, RouteFailure)), None),
        pushback_ms=_pushback_ms(error.trailing_metadata()),
    )


def _pushback_ms(trailers: Iterable[tuple[str, str | bytes]] | None) -> int | None:
    """Return what the server says about repeating the call; None if it says nothing that is a number."""
    said = next((value for key, value in trailers or () if key == _PUSHBACK_KEY), None)
    try:
        return int(said) if isinstance(said, str) else None
    except ValueError:
        return None


def _details(trailers: Iterable[tuple[str, str | bytes]] | None, code: grpc.StatusCode) -> list[AnyMessage]:
    """Return the status details in the trailers; none if there are none, or they are damaged or another status's."""
    number: int = code.value[0]
    for key, value in trailers or ():
        if key == _DETAILS_KEY and isinstance(value, bytes):
            try:
                status = status_pb2.Status.FromString(value)
            except DecodeError:
                return []
            return list(status.details) if status.code == number else []
    return []


def _all(details: list[AnyMessage], kind: type[M]) -> list[M]:
    """Return those of the details that are of this kind; damaged ones are left out."""
    found: list[M] = []
    for packed in details:
        message = kind()
        try:
            if packed.Unpack(message):
                found.append(message)
        except DecodeError:
            continue
    return found
