"""Frames of a stream as the bytes of their messages. Content is the hot path: one call a frame."""

from __future__ import annotations

from trunkline import v1 as pb
from trunkline_server.engine.frames import (
    AttemptFailedFrame,
    AttemptStartedFrame,
    ContentFrame,
    ContinuationMethod,
    DeltaKind,
    DrainingFrame,
    EndFrame,
    Frame,
    HeartbeatFrame,
    NextStep,
    ResetFrame,
    Seam,
    StartedFrame,
    StreamOutcome,
    UsageFrame,
)
from trunkline_server.routing.types import OnBreak
from trunkline_server.rpc.bounded_text import MAX_NATIVE_REASON_BYTES, cut_utf8
from trunkline_server.rpc.encode_message import FINISH_REASON_PB, logprob_pb
from trunkline_server.rpc.encode_route import (
    WHY_PB,
    call_error_pb,
    error_pb,
    fill_attempt,
    fill_duration,
    fill_route,
    fill_served_by,
    fill_timestamp,
    fill_usage,
    warning_pb,
)

_TEXT = DeltaKind.TEXT
_TOOL_CALL = DeltaKind.TOOL_CALL
_THINKING = DeltaKind.THINKING
_SIGNATURE = DeltaKind.THINKING_SIGNATURE

_NEXT_PB = {each: pb.AttemptFailed.Next.Value(f"NEXT_{each.value}") for each in NextStep}
_OUTCOME_PB = {each: pb.End.Outcome.Value(f"OUTCOME_{each.value}") for each in StreamOutcome}
_ON_BREAK_PB = {each: pb.OnBreak.Value(f"ON_BREAK_{each.value}") for each in OnBreak}
_METHOD_PB = {each: pb.Continuation.Method.Value(f"METHOD_{each.value}") for each in ContinuationMethod}

MAX_WHY_BYTES = 256
"""For the words that say why less was done than was asked for."""


def encode_frame(frame: Frame) -> bytes:
    """Return the serialized StreamFrame, with the number that the frame has.

    An end frame's error agrees with `status_of` of the same failure.
    """
    if isinstance(frame, ContentFrame):
        return _content(frame)
    return _other(frame).SerializeToString()


def _content(frame: ContentFrame) -> bytes:
    """Return a frame with one delta."""
    message = pb.StreamFrame(seq=frame.seq, attempt=frame.attempt)
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
        delta.thinking_redacted = frame.redacted
    else:
        delta.refusal = frame.text
    if frame.logprobs:
        delta.logprobs.extend(map(logprob_pb, frame.logprobs))
    return message.SerializeToString()


_Other = (
    StartedFrame
    | AttemptStartedFrame
    | AttemptFailedFrame
    | ResetFrame
    | UsageFrame
    | HeartbeatFrame
    | DrainingFrame
    | EndFrame
)


def _other(frame: _Other) -> pb.StreamFrame:
    """Return a frame that is no content."""
    message = pb.StreamFrame(seq=frame.seq)
    match frame:
        case StartedFrame():
            _fill_started(message.started, frame)
        case AttemptStartedFrame():
            message.attempt = frame.attempt
            _fill_attempt_started(message.attempt_started, frame)
        case AttemptFailedFrame():
            message.attempt = frame.attempt
            _fill_attempt_failed(message.attempt_failed, frame)
        case ResetFrame():
            message.reset.SetInParent()
            message.reset.keep_through_seq = frame.keep_through_seq
        case UsageFrame():
            message.attempt = frame.attempt
            fill_usage(message.usage.attempt, frame.usage)
            fill_usage(message.usage.total, frame.total)
        case HeartbeatFrame():
            if frame.queue_position is not None:
                message.heartbeat.queue_position = frame.queue_position
            fill_duration(message.heartbeat.waited, frame.waited_s)
        case DrainingFrame():
            fill_duration(message.draining.time_left, frame.time_left_s)
        case EndFrame():
            _fill_end(message.end, frame)
    return message


def _fill_attempt_started(message: pb.AttemptStarted, frame: AttemptStartedFrame) -> None:
    """Set which attempt became visible, and where it joins on if it goes on from a broken one."""
    fill_served_by(message.target, frame.served_by)
    message.why = WHY_PB[frame.why]
    fill_duration(message.queued, frame.queued_s)
    if frame.seam is not None:
        _fill_seam(message.continuation, frame.seam)


def _fill_seam(message: pb.Continuation, seam: Seam) -> None:
    """Set where a continuation joins on."""
    message.method = _METHOD_PB[seam.method]
    message.after_seq = seam.after_seq
    message.overlap_bytes = seam.overlap_bytes


def _fill_started(message: pb.Started, frame: StartedFrame) -> None:
    """Set what a stream begins with."""
    message.request_id = frame.request_id
    message.stream_id = frame.stream_id
    fill_route(message.route, frame.route)
    fill_timestamp(message.created, frame.created_unix_s)
    if frame.queued_s is not None:
        fill_duration(message.queued, frame.queued_s)
    message.warnings.extend(map(warning_pb, frame.warnings))


def _fill_attempt_failed(message: pb.AttemptFailed, frame: AttemptFailedFrame) -> None:
    """Set the partial-stream error."""
    message.error.CopyFrom(error_pb(frame.failure, frame.reason))
    fill_served_by(message.target, frame.served_by)
    message.bytes_emitted = frame.bytes_emitted
    message.tool_calls_done.extend(frame.tool_calls_done)
    message.tool_calls_open.extend(frame.tool_calls_open)
    if frame.usage is not None:
        fill_usage(message.usage, frame.usage)
    message.next = _NEXT_PB[frame.next_step]
    message.on_break_asked = _ON_BREAK_PB[frame.on_break_asked]
    message.on_break_applied = _ON_BREAK_PB[frame.on_break_applied]
    message.degraded_because = cut_utf8(frame.degraded_because, MAX_WHY_BYTES)


def _fill_end(message: pb.End, frame: EndFrame) -> None:
    """Set how a stream ended."""
    message.outcome = _OUTCOME_PB[frame.outcome]
    message.finish_reason = FINISH_REASON_PB[frame.finish_reason]
    message.native_finish_reason = cut_utf8(frame.native_finish_reason, MAX_NATIVE_REASON_BYTES)
    if frame.error is not None:
        message.error.CopyFrom(call_error_pb(frame.error))
    if frame.usage is not None:
        fill_usage(message.usage, frame.usage)
    for attempt in frame.attempts:
        fill_attempt(message.attempts.add(), attempt)
    fill_route(message.route, frame.route)
    message.warnings.extend(map(warning_pb, frame.warnings))
    message.content_bytes = frame.content_bytes
    message.content_crc32c = frame.content_crc32c
