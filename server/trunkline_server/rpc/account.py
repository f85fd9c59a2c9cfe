"""Fills the canonical record of a call from what the engine handed over."""

from __future__ import annotations

from collections.abc import Iterable

from trunkline_server.chat.answer import FinishReason
from trunkline_server.engine.frames import (
    AttemptSummary,
    CallFailure,
    CompletedCall,
    EmbeddedCall,
    EndFrame,
    RouteInfo,
    StartedFrame,
    StreamOutcome,
)
from trunkline_server.rpc.cancellation import Cause
from trunkline_server.rpc.delivered import Delivered
from trunkline_server.rpc.writer import MessageWriter, StreamWriter
from trunkline_server.telemetry.canonical import DETACHED, RpcRecord, bounded

_COMPLETE = StreamOutcome.COMPLETE.value
_INCOMPLETE = StreamOutcome.INCOMPLETE.value
_REFUSED = "REFUSED"
_WHOLE = frozenset({FinishReason.STOP, FinishReason.TOOL_CALLS})
_READER_LOST = frozenset({Cause.CALLER.value, Cause.SLOW_READER.value})
_DETACHABLE = "routing.detachable"
"""The field that a warning names with which the engine declines to keep a stream."""


def note_completed(record: RpcRecord, done: CompletedCall) -> None:
    """Take in a whole answer."""
    _note_answered(record, done.route, done.attempts)
    record.outcome = _COMPLETE if done.answer.finished.reason in _WHOLE else _INCOMPLETE


def note_embedded(record: RpcRecord, done: EmbeddedCall) -> None:
    """Take in the vectors of a call."""
    _note_answered(record, done.route, done.attempts)
    record.outcome = _COMPLETE


def note_stream(record: RpcRecord, writer: StreamWriter, began_at: float, *, detachable: bool) -> None:
    """Take in what a stream wrote, whether or not it came to its end; `began_at` in event-loop time.

    `detachable`: whether the stream was to go on without its reader.
    """
    delivered = writer.delivered
    note_written(record, writer, began_at)
    if delivered.started is not None:
        record.queued_s = delivered.started.queued_s
        _note_route(record, delivered.started.route)
    if delivered.attempt is not None:
        _note_visible(record, delivered)
    if delivered.last_break is not None:
        record.breaks = delivered.breaks
        record.on_break = delivered.last_break.on_break_applied.value
    if delivered.end is not None:
        _note_end(record, delivered.end)
        return
    if detachable and writer.frames and record.cancelled_by in _READER_LOST and not _declined(delivered.started):
        record.outcome = DETACHED
    if record.outcome == DETACHED and delivered.started is not None:
        record.stream_id = delivered.started.stream_id
    if record.outcome == _REFUSED and record.served_by:
        # A reader that stalled did not get its end, but something was asked upstream for it.
        record.outcome = StreamOutcome.FAILED.value


def note_written(record: RpcRecord, writer: MessageWriter, began_at: float) -> None:
    """Take in how much a stream wrote, and when it began to; `began_at` in event-loop time."""
    record.frames = writer.frames
    record.bytes_out = writer.bytes_out
    if writer.first_frame_at is not None:
        record.first_frame_s = round(writer.first_frame_at - began_at, 6)


def note_failure(record: RpcRecord, failure: CallFailure) -> None:
    """Take in how a call failed; its code is noted by whoever sends it."""
    record.reason = failure.reason.value
    if failure.attempts:
        _note_attempts(record, failure.attempts)
    if failure.not_made:
        record.not_made = bounded(failure.not_made)
    if failure.stream_goes_on:
        record.outcome = DETACHED
    else:
        record.outcome = StreamOutcome.FAILED.value if record.attempts else _REFUSED


def _note_visible(record: RpcRecord, delivered: Delivered) -> None:
    """Take in the latest attempt that a stream showed."""
    attempt = delivered.attempt
    if attempt is None:
        return
    record.attempts = max(record.attempts, attempt.attempt)
    record.served_by = str(attempt.served_by.target)
    record.key_id = attempt.served_by.key_id
    if record.queued_s is None:
        record.queued_s = attempt.queued_s


def _note_end(record: RpcRecord, end: EndFrame) -> None:
    """Take in how a stream ended."""
    _note_route(record, end.route)
    if end.attempts:
        _note_attempts(record, end.attempts)
    refused = end.outcome is StreamOutcome.FAILED and not record.attempts
    record.outcome = _REFUSED if refused else end.outcome.value


def _declined(started: StartedFrame | None) -> bool:
    """Return whether a stream that was to be kept was not."""
    return started is not None and any(warning.field == _DETACHABLE for warning in started.warnings)


def _note_answered(record: RpcRecord, route: RouteInfo, attempts: tuple[AttemptSummary, ...]) -> None:
    _note_route(record, route)
    _note_attempts(record, attempts)
    if attempts:
        record.queued_s = sum([attempt.queued_s for attempt in attempts])


def _note_route(record: RpcRecord, route: RouteInfo) -> None:
    record.alias = route.alias
    record.route_version = route.route_version
    if route.served_by is not None:
        record.served_by = str(route.served_by.target)
        record.key_id = route.served_by.key_id
    if route.not_made:
        record.not_made = bounded(route.not_made)


def _note_attempts(record: RpcRecord, attempts: Iterable[AttemptSummary]) -> None:
    told = tuple(attempts)
    record.attempts = len(told)
    record.failed_attempts = [attempt.failure.failure_class.value for attempt in told if attempt.failure is not None]
    record.whys = [attempt.why.value for attempt in told] if len(told) > 1 else []
