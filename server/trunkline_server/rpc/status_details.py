"""The details of a status: google.rpc messages and one RouteFailure, as many of their entries as there is room for.

grpc drops trailers above 8 KB at random, so all of them together stay below 4 KB as sent. The details are sent as
base64, which makes 2.5 KiB of them 3.4 KB; the rest is grpc-message and the small trailers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from trunkline import v1 as pb
from trunkline_server.engine.frames import CallFailure
from trunkline_server.routing.types import Reason
from trunkline_server.rpc.bounded_text import cut_utf8
from trunkline_server.rpc.codes import code_number
from trunkline_server.rpc.encode_route import FAILURE_CLASS_PB, attempt_pb, duration_pb

DOMAIN = "trunkline"
MAX_DETAILS_BYTES = 2560
"""For the whole serialized google.rpc.Status."""
OMITTED = "omitted"
"""The metadata entry that counts what there was no room for."""
NOT_MADE = "not_made"
"""The metadata entry that says which attempts might have been made and were not, and why."""
NEVER = "never"
"""The metadata entry that says that the request would be refused at any time: it is larger than the limit."""
_OURS = frozenset({OMITTED, NOT_MADE})
_MAX_NOT_MADE_BYTES = 300
_MAX_METADATA_BYTES = 1024
_MAX_KEY_BYTES = 64
_MAX_TEXT_BYTES = 256
_ENTRY_BYTES = 4
"""Tag and length of one entry of a repeated field, with room to spare."""
_DETAIL_BYTES = 64
"""Type URL, tags and lengths around one detail."""

_OF_PROVIDERS = {
    Reason.RATE_LIMITED: "the provider's rate limit is reached",
    Reason.UPSTREAM_QUOTA: "the provider's quota or credit is used up",
}
_OF_CALLERS = frozenset({Reason.CALLER_QUOTA, Reason.CALLER_BUDGET})


_Entry = TypeVar("_Entry", bound=Message)


class _Room:
    """Hands out the bytes that are left, until one entry does not fit; from then on it only counts."""

    def __init__(self, free_bytes: int) -> None:
        self._free_bytes = free_bytes
        self.omitted = 0

    def take(self, size_bytes: int) -> bool:
        """Return whether there is room for one more entry, and take it."""
        if self.omitted or size_bytes + _ENTRY_BYTES > self._free_bytes:
            self.omitted += 1
            return False
        self._free_bytes -= size_bytes + _ENTRY_BYTES
        return True


def details_of(failure: CallFailure, *, message: str, retry_after_s: float | None) -> bytes:
    """Return the serialized google.rpc.Status; `message` is already cut, and is what grpc-message says."""
    reason = failure.reason
    status = status_pb2.Status(code=code_number(reason), message=message)
    info, omitted = _error_info(failure)
    fixed: list[Message] = []
    if retry_after_s is not None:
        fixed.append(error_details_pb2.RetryInfo(retry_delay=duration_pb(retry_after_s)))
    if reason in _OF_PROVIDERS:
        fixed.append(_providers_quota(failure))
    elif reason in _OF_CALLERS:
        fixed.append(_callers_quota(failure, message))
    taken = status.ByteSize() + sum(each.ByteSize() + _DETAIL_BYTES for each in (info, *fixed))
    room = _Room(MAX_DETAILS_BYTES - taken - 3 * _DETAIL_BYTES)
    bad_request = error_details_pb2.BadRequest(field_violations=_fitting(_violations(failure), room))
    route_failure = _route_failure(failure, room)
    if omitted + room.omitted:
        info.metadata[OMITTED] = str(omitted + room.omitted)
    variable: list[Message] = [bad_request] if bad_request.field_violations else []
    for detail in (info, *fixed, *variable, *route_failure):
        status.details.add().Pack(detail)
    details: bytes = status.SerializeToString()
    return details


def _error_info(failure: CallFailure) -> tuple[error_details_pb2.ErrorInfo, int]:
    """Return the ErrorInfo with the first metadata that fits, and how much was left out before and here."""
    room = _Room(_MAX_METADATA_BYTES)
    metadata = {
        key: value
        for key, value in _metadata(failure)
        if room.take(len(key.encode()) + len(value.encode()) + _ENTRY_BYTES)
    }
    info = error_details_pb2.ErrorInfo(reason=failure.reason.value, domain=DOMAIN, metadata=metadata)
    return info, failure.violations_omitted + room.omitted


def _metadata(failure: CallFailure) -> Iterator[tuple[str, str]]:
    """Yield the entries of ErrorInfo, each bounded: first why no further attempt was made, then the engine's own."""
    if failure.not_made:
        yield NOT_MADE, cut_utf8("; ".join(failure.not_made), _MAX_NOT_MADE_BYTES)
    for key, value in failure.metadata.items():
        if key not in _OURS:
            yield cut_utf8(key, _MAX_KEY_BYTES), cut_utf8(value, _MAX_TEXT_BYTES)


def _callers_quota(failure: CallFailure, message: str) -> error_details_pb2.QuotaFailure:
    """Return which limit of the caller's own it is."""
    subject = cut_utf8(f"caller:{failure.metadata.get('caller', '')}", _MAX_KEY_BYTES * 2)
    return error_details_pb2.QuotaFailure(
        violations=[error_details_pb2.QuotaFailure.Violation(subject=subject, description=message)]
    )


def _providers_quota(failure: CallFailure) -> error_details_pb2.QuotaFailure:
    """Return whose quota it is: the target's whose failure is told. Accounts and keys are not named."""
    subject = "provider"
    for attempt in failure.attempts:
        if attempt.failure is not None and attempt.failure.failure_class is failure.failure_class:
            subject = cut_utf8(str(attempt.served_by.target), _MAX_KEY_BYTES * 2)
            break
    violation = error_details_pb2.QuotaFailure.Violation(subject=subject, description=_OF_PROVIDERS[failure.reason])
    return error_details_pb2.QuotaFailure(violations=[violation])


def _violations(failure: CallFailure) -> Iterator[error_details_pb2.BadRequest.FieldViolation]:
    """Yield what is wrong with the request, each bounded."""
    for each in failure.violations:
        yield error_details_pb2.BadRequest.FieldViolation(
            field=cut_utf8(each.path, _MAX_TEXT_BYTES), description=cut_utf8(each.message, _MAX_TEXT_BYTES)
        )


def _route_failure(failure: CallFailure, room: _Room) -> list[pb.RouteFailure]:
    """Return the RouteFailure, if a provider or a gate had to do with it. Only here stand a provider's own words."""
    failure_class = failure.failure_class
    if failure_class is None and failure.failure is not None:
        failure_class = failure.failure.failure_class
    if failure_class is None and not failure.attempts:
        return []
    return [
        pb.RouteFailure(
            failure_class=FAILURE_CLASS_PB[failure_class],
            attempts=_fitting((attempt_pb(each, upstream_text=True) for each in failure.attempts), room),
            last_upstream_http_status=failure.last_http_status or 0,
        )
    ]


def _fitting(entries: Iterable[_Entry], room: _Room) -> list[_Entry]:
    """Return the first entries that there is room for."""
    return [each for each in entries if room.take(each.ByteSize())]
