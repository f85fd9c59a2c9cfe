"""The engine's frames as their reader gets them, as far as a reader checks them."""

from __future__ import annotations

from trunkline.v1 import (
    FINISH_REASON_STOP,
    AttemptFailed,
    AttemptStarted,
    Continuation,
    Deltas,
    End,
    Reset,
    Started,
    StreamFrame,
)
from trunkline.v1 import Delta as WireDelta
from trunkline.v1 import ToolCallDelta as WireToolCallDelta
from trunkline_server.engine.frames import (
    AttemptFailedFrame,
    AttemptStartedFrame,
    ContentFrame,
    DeltaKind,
    EndFrame,
    Frame,
    ResetFrame,
    StartedFrame,
)


def on_the_wire(frame: Frame) -> StreamFrame:
    """Return a frame as its reader gets it, as far as a reader checks it."""
    match frame:
        case StartedFrame():
            return StreamFrame(seq=frame.seq, started=Started(request_id="r"))
        case AttemptStartedFrame():
            seam = None if frame.seam is None else Continuation(after_seq=frame.seam.after_seq)
            return StreamFrame(seq=frame.seq, attempt=frame.attempt, attempt_started=AttemptStarted(continuation=seam))
        case ContentFrame():
            return StreamFrame(seq=frame.seq, attempt=frame.attempt, deltas=Deltas(items=[wire_delta(frame)]))
        case AttemptFailedFrame():
            following = AttemptFailed.Next.Value(f"NEXT_{frame.next_step.value}")
            return StreamFrame(seq=frame.seq, attempt=frame.attempt, attempt_failed=AttemptFailed(next=following))
        case ResetFrame():
            return StreamFrame(seq=frame.seq, reset=Reset(keep_through_seq=frame.keep_through_seq))
        case EndFrame():
            closing = End(
                outcome=End.OUTCOME_COMPLETE,
                finish_reason=FINISH_REASON_STOP,
                content_bytes=frame.content_bytes,
                content_crc32c=frame.content_crc32c,
            )
            return StreamFrame(seq=frame.seq, end=closing)
        case _:
            raise AssertionError(f"no such frame was put: {frame}")


def wire_delta(frame: ContentFrame) -> WireDelta:
    """Return content as its reader gets it."""
    part, offset = frame.part, frame.offset
    match frame.kind:
        case DeltaKind.TEXT:
            return WireDelta(part=part, offset=offset, text=frame.text)
        case DeltaKind.THINKING:
            return WireDelta(part=part, offset=offset, thinking=frame.text)
        case DeltaKind.THINKING_SIGNATURE:
            return WireDelta(part=part, offset=offset, thinking_signature=frame.text)
        case DeltaKind.REFUSAL:
            return WireDelta(part=part, offset=offset, refusal=frame.text)
        case DeltaKind.TOOL_CALL:
            call = WireToolCallDelta(
                id=frame.tool_id, name=frame.tool_name, arguments_json_delta=frame.text, done=frame.tool_done
            )
            return WireDelta(part=part, offset=offset, tool_call=call)
