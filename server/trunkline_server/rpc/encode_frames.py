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
from trunkline_server.rpc.encode_message import FINISH_REASON_PB, logprob_pb
from trunkline_server.rpc.encode_route import (
    WHY_PB,
    attempt_pb,
    call_error_pb,
    duration_pb,
    error_pb,
    route_pb,
    served_by_pb,
    timestamp_pb,
    usage_pb,
    warning_pb,
)

_TEXT = DeltaKind.TEXT
_TOOL_CALL = DeltaKind.TOOL_CALL
_THINKING = DeltaKind.THINKING
_SIGNATURE = DeltaKind.THINKING_SIGNATURE

_NEXT_PB = {each: pb.AttemptFailed.Next.Value(f"NEXT_{each.value}") for each in NextStep}
_OUTCOME_PB = {each: pb.End.Outcome.Value(f"OUTCOME_{each.value}") for each in StreamOutcome}
_ON_BREAK_PB = {
    each: pb.OnBreak.Value(f"ON_BREAK_{each or 'UNSPECIFIED'}") for each in ("", "FAIL", "RESTART", "CONTINUE")
}


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
        return pb.StreamFrame(seq=seq, started=_started(frame))
    if isinstance(frame, AttemptStartedFrame):
        started = pb.AttemptStarted(
            target=served_by_pb(frame.served_by), why=WHY_PB[frame.why], queued=duration_pb(frame.queued_s)
        )
        return pb.StreamFrame(seq=seq, attempt=frame.attempt, attempt_started=started)
    if isinstance(frame, AttemptFailedFrame):
        return pb.StreamFrame(seq=seq, attempt=frame.attempt, attempt_failed=_attempt_failed(frame))
    if isinstance(frame, DrainingFrame):
        return pb.StreamFrame(seq=seq, draining=pb.Draining(time_left=duration_pb(frame.time_left_s)))
    return pb.StreamFrame(seq=seq, end=_end(frame))


def _started(frame: StartedFrame) -> pb.Started:
    """Return what a stream begins with."""
    return pb.Started(
        request_id=frame.request_id,
        stream_id=frame.stream_id,
        route=route_pb(frame.route),
        created=timestamp_pb(frame.created_unix_s),
        queued=duration_pb(frame.queued_s),
        warnings=map(warning_pb, frame.warnings),
    )


def _attempt_failed(frame: AttemptFailedFrame) -> pb.AttemptFailed:
    """Return the partial-stream error."""
    return pb.AttemptFailed(
        error=error_pb(frame.failure, frame.reason),
        target=served_by_pb(frame.served_by),
        bytes_emitted=frame.bytes_emitted,
        tool_calls_done=frame.tool_calls_done,
        tool_calls_open=frame.tool_calls_open,
        usage=None if frame.usage is None else usage_pb(frame.usage),
        next=_NEXT_PB[frame.next_step],
        on_break_asked=_ON_BREAK_PB[frame.on_break_asked],
        on_break_applied=_ON_BREAK_PB[frame.on_break_applied],
    )


def _end(frame: EndFrame) -> pb.End:
    """Return how a stream ended."""
    return pb.End(
        outcome=_OUTCOME_PB[frame.outcome],
        finish_reason=FINISH_REASON_PB[frame.finish_reason],
        native_finish_reason=frame.native_finish_reason,
        error=None if frame.error is None else call_error_pb(frame.error, committed=True),
        usage=None if frame.usage is None else usage_pb(frame.usage),
        attempts=map(attempt_pb, frame.attempts),
        route=route_pb(frame.route),
        content_bytes=frame.content_bytes,
        content_crc32c=frame.content_crc32c,
    )
