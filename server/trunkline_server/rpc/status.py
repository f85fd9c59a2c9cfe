"""The status that ends a failed RPC, with its details, in less than 4 KB of trailers."""

from __future__ import annotations

import math
from dataclasses import dataclass

import grpc

from trunkline_server.engine.frames import CallFailure
from trunkline_server.routing.types import Reason
from trunkline_server.rpc.bounded_text import cut_grpc_message
from trunkline_server.rpc.codes import STATUS_OF_REASON
from trunkline_server.rpc.status_details import NEVER, details_of

MAX_MESSAGE_BYTES = 256
DEFAULT_RETRY_AFTER_S = 1.0
"""What is told where RetryInfo is due and nobody knows how long."""
_MAX_RETRY_AFTER_S = 86_400.0
_NEVER_AGAIN = "-1"

_OURS = frozenset({Reason.QUEUE_FULL, Reason.QUEUE_TIMEOUT, Reason.DEADLINE_IN_QUEUE, Reason.SHED, Reason.CALLER_QUOTA})
"""Refusals of ours before anything was dispatched: the caller's library may come again, later."""


@dataclass(frozen=True, slots=True)
class RpcStatus:
    """How an RPC ends as an error. `message` is at most 256 bytes as grpc encodes it."""

    code: grpc.StatusCode
    message: str
    details: bytes
    """A serialized google.rpc.Status: the value of `grpc-status-details-bin`."""
    pushback_ms: str | None
    """The value of `grpc-retry-pushback-ms`; None leaves the caller's library to its own policy."""

    def trailing_metadata(self) -> tuple[tuple[str, str | bytes], ...]:
        """Return the trailers that belong to it, for `context.abort`."""
        details: tuple[str, str | bytes] = ("grpc-status-details-bin", self.details)
        if self.pushback_ms is None:
            return (details,)
        return (details, ("grpc-retry-pushback-ms", self.pushback_ms))


def status_of(failure: CallFailure) -> RpcStatus:
    """Return the status of a failed call. What its reason is was decided by whoever made the failure."""
    reason = failure.reason
    code = STATUS_OF_REASON[reason]
    message = cut_grpc_message(failure.message or reason.value, MAX_MESSAGE_BYTES)
    retry_after_s = _retry_after_s(failure, reason, code)
    return RpcStatus(
        code=code,
        message=message,
        details=details_of(failure, message=message, retry_after_s=retry_after_s),
        pushback_ms=_NEVER_AGAIN if NEVER in failure.metadata else _pushback_ms(reason, retry_after_s),
    )


def _retry_after_s(failure: CallFailure, reason: Reason, code: grpc.StatusCode) -> float | None:
    """Return what RetryInfo tells: always something where there was no room, and while the server goes down."""
    told = failure.retry_after_s
    if told is not None and told >= 0:
        return min(told, _MAX_RETRY_AFTER_S)
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED or reason is Reason.SERVER_DRAINING:
        return DEFAULT_RETRY_AFTER_S
    return None


def _pushback_ms(reason: Reason, retry_after_s: float | None) -> str | None:
    """Return what the caller's own library is told about trying again.

    Only our own refusals ask it to; for all else the attempts are used up here, and its retries would multiply ours.
    A server that goes down says nothing: another one may serve at once.
    """
    if reason is Reason.SERVER_DRAINING:
        return None
    if reason in _OURS and retry_after_s is not None:
        return str(max(1, math.ceil(retry_after_s * 1000)))
    return _NEVER_AGAIN
