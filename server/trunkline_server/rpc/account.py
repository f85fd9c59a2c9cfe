"""Fills the canonical record of a call from what the engine handed over."""

from __future__ import annotations

from collections.abc import Iterable

from trunkline_server.chat.answer import FinishReason
from trunkline_server.engine.frames import AttemptSummary, CallFailure, CompletedCall, RouteInfo, StreamOutcome
from trunkline_server.rpc.writer import StreamWriter
from trunkline_server.telemetry.canonical import RpcRecord

_REFUSED = "REFUSED"
_WHOLE = frozenset({FinishReason.STOP, FinishReason.TOOL_CALLS})


def note_completed(record: RpcRecord, done: CompletedCall) -> None:
    """Take in a whole answer."""
    _note_route(record, done.route)
    _note_attempts(record, done.attempts)
    if done.attempts:
        record.queued_s = sum(attempt.queued_s for attempt in done.attempts)
    whole = done.answer.finished.reason in _WHOLE
    record.outcome = (StreamOutcome.COMPLETE if whole else StreamOutcome.INCOMPLETE).value


def note_stream(record: RpcRecord, writer: StreamWriter, began_at: float) -> None:
    """Take in what a stream wrote, whether or not it came to its end; `began_at` in event-loop time."""
    delivered = writer.delivered
    record.frames = writer.seq
    record.bytes_out = writer.bytes_out
    if writer.first_frame_at is not None:
        record.first_frame_s = round(writer.first_frame_at - began_at, 6)
    if delivered.started is not None:
        record.queued_s = delivered.started.queued_s
        _note_route(record, delivered.started.route)
    if delivered.attempt is not None:
        record.attempts = delivered.attempt.attempt
        record.served_by = str(delivered.attempt.served_by.target)
        record.key_id = delivered.attempt.served_by.key_id
    if delivered.end is not None:
        if delivered.end.attempts:
            _note_attempts(record, delivered.end.attempts)
        record.outcome = delivered.end.outcome.value
    elif delivered.started is not None and record.outcome == _REFUSED:
        # A reader that stalled did not get its end, but something was asked upstream for it.
        record.outcome = StreamOutcome.FAILED.value


def note_failure(record: RpcRecord, failure: CallFailure) -> None:
    """Take in how a call failed; its code is noted by whoever sends it."""
    record.reason = failure.reason.value
    if failure.attempts:
        _note_attempts(record, failure.attempts)
    record.outcome = StreamOutcome.FAILED.value if record.attempts else _REFUSED


def _note_route(record: RpcRecord, route: RouteInfo) -> None:
    record.alias = route.alias
    record.route_version = route.route_version
    if route.served_by is not None:
        record.served_by = str(route.served_by.target)
        record.key_id = route.served_by.key_id


def _note_attempts(record: RpcRecord, attempts: Iterable[AttemptSummary]) -> None:
    told = tuple(attempts)
    record.attempts = len(told)
    record.failed_attempts = [attempt.failure.failure_class.value for attempt in told if attempt.failure is not None]
