"""Frames of a stream as the bytes of their messages. Content is the hot path: one call a frame."""

from __future__ import annotations

from trunkline import v1 as pb
from trunkline_server.engine.frames import (
    AttemptFailedFrame,
    AttemptStartedFrame,
    ContentFrame,
    DeltaKind,
    DrainingFrame,
    EndFrame,
    Frame,
    NextStep,
    StartedFrame,
    StreamOutcome,
)
from trunkline_server.routing.types import OnBreak
from trunkline_server.rpc.bounded_text import MAX_NATIVE_REASON_BYTES, cut_utf8
from trunkline_server.rpc.encode_message import FINISH_REASON_PB, logprob_pb
from trunkline_server.rpc.encode_route import (
    WHY_PB,
    call_error_pb,
    duration_pb,
    error_pb,
    fill_attempt,
    fill_duration,
    fill_route,
    fill_served_by,
    fill_timestamp,
    fill_usage,
    usage_pb,
    warning_pb,
)

_TEXT = DeltaKind.TEXT
_TOOL_CALL = DeltaKind.TOOL_CALL
_THINKING = DeltaKind.THINKING
_SIGNATURE = DeltaKind.THINKING_SIGNATURE

_NEXT_PB = {each: pb.AttemptFailed.Next.Value(f"NEXT_{each.value}") for each in NextStep}
_OUTCOME_PB = {each: pb.End.Outcome.Value(f"OUTCOME_{each.value}") for each in StreamOutcome}
_ON_BREAK_PB = {each: pb.OnBreak.Value(f"ON_BREAK_{each.value}") for each in OnBreak}


def encode_frame(frame: Frame, seq: int) -> bytes:
    """Return the serialized StreamFrame with number `seq`.

    An end frame's error agrees with `status_of(..., committed=True)`: a stream's first frame comes with its first
    content here, so whatever fails after a frame fails after the commit point.
    """
    if isinstance(frame, ContentFrame):
        return _content(frame, seq)
    return _other(frame, seq).SerializeToString()


def _content(frame: ContentFrame, seq: int) -> bytes:
    """Return a frame with one delta."""
    message = pb.StreamFrame(seq=seq, attempt=frame.attempt)
    delta = message.deltas.items.add()
    delta.part = frame.part
    delta.offset = frame.offset
    kind = frame.kind
    if kind is _TOOL_CALL:
        delta.tool_call.id = frame.tool_id
        delta.tool_call.name = frame.tool_name
        delta.tool_call.arguments_json_delta = frame.text
        delta.tool_call.done = frame.tool_done
    elif not frame.text:
        pass
    elif kind is _TEXT:
        delta.text = frame.text
    elif kind is _THINKING:
        delta.thinking = frame.text
    elif kind is _SIGNATURE:
        delta.thinking_signature = frame.text
    else:
        delta.refusal = frame.text
    if frame.logprobs:
        delta.logprobs.extend(map(logprob_pb, frame.logprobs))
    return message.SerializeToString()


def _other(
    frame: StartedFrame | AttemptStartedFrame | AttemptFailedFrame | DrainingFrame | EndFrame, seq: int
) -> pb.StreamFrame:
    """Return a frame that is no content."""
    if isinstance(frame, StartedFrame):
        message = pb.StreamFrame(seq=seq)
        _fill_started(message.started, frame)
        return message
    if isinstance(frame, AttemptStartedFrame):
        message = pb.StreamFrame(seq=seq, attempt=frame.attempt)
        fill_served_by(message.attempt_started.target, frame.served_by)
        message.attempt_started.why = WHY_PB[frame.why]
        fill_duration(message.attempt_started.queued, frame.queued_s)
        return message
    if isinstance(frame, AttemptFailedFrame):
        return pb.StreamFrame(seq=seq, attempt=frame.attempt, attempt_failed=_attempt_failed(frame))
    if isinstance(frame, DrainingFrame):
        return pb.StreamFrame(seq=seq, draining=pb.Draining(time_left=duration_pb(frame.time_left_s)))
    message = pb.StreamFrame(seq=seq)
    _fill_end(message.end, frame)
    return message


def _fill_started(message: pb.Started, frame: StartedFrame) -> None:
    """Set what a stream begins with."""
    message.request_id = frame.request_id
    message.stream_id = frame.stream_id
    fill_route(message.route, frame.route)
    fill_timestamp(message.created, frame.created_unix_s)
    fill_duration(message.queued, frame.queued_s)
    message.warnings.extend(map(warning_pb, frame.warnings))


def _attempt_failed(frame: AttemptFailedFrame) -> pb.AttemptFailed:
    """Return the partial-stream error."""
    message = pb.AttemptFailed(
        error=error_pb(frame.failure, frame.reason),
        bytes_emitted=frame.bytes_emitted,
        tool_calls_done=frame.tool_calls_done,
        tool_calls_open=frame.tool_calls_open,
        usage=None if frame.usage is None else usage_pb(frame.usage),
        next=_NEXT_PB[frame.next_step],
        on_break_asked=_ON_BREAK_PB[frame.on_break_asked],
        on_break_applied=_ON_BREAK_PB[frame.on_break_applied],
    )
    fill_served_by(message.target, frame.served_by)
    return message


def _fill_end(message: pb.End, frame: EndFrame) -> None:
    """Set how a stream ended."""
    message.outcome = _OUTCOME_PB[frame.outcome]
    message.finish_reason = FINISH_REASON_PB[frame.finish_reason]
    message.native_finish_reason = cut_utf8(frame.native_finish_reason, MAX_NATIVE_REASON_BYTES)
    if frame.error is not None:
        message.error.CopyFrom(call_error_pb(frame.error, committed=True))
    if frame.usage is not None:
        fill_usage(message.usage, frame.usage)
    for attempt in frame.attempts:
        fill_attempt(message.attempts.add(), attempt)
    fill_route(message.route, frame.route)
    message.content_bytes = frame.content_bytes
    message.content_crc32c = frame.content_crc32c
