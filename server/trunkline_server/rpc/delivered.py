"""What a stream has delivered, so that it can be ended properly when the engine cannot do it any more.

The engine ends its own streams. Three ends are not its own: the drain's grace is over, one of our tasks was cancelled
under it, or it has a defect. Even then the caller is told what it has got and that it is not whole.
"""

from __future__ import annotations

import google_crc32c

from trunkline_server.chat.answer import FinishReason
from trunkline_server.engine.frames import (
    AttemptFailedFrame,
    AttemptStartedFrame,
    CallFailure,
    ContentFrame,
    DeltaKind,
    EndFrame,
    Frame,
    NextStep,
    StartedFrame,
    StreamOutcome,
)
from trunkline_server.routing.failures import Failure, FailureClass
from trunkline_server.routing.types import OnBreak

_ON_BREAK = OnBreak.FAIL


class Delivered:
    """Follows the frames of one stream as they are written."""

    __slots__ = ("_attempt_bytes", "_attempt_failed", "_bytes", "_crc", "_tools", "attempt", "end", "started")

    def __init__(self) -> None:
        self.started: StartedFrame | None = None
        """The stream's first frame, once it was written."""
        self.attempt: AttemptStartedFrame | None = None
        """The latest attempt that became visible."""
        self._attempt_bytes = 0
        self._attempt_failed = False
        self._tools: dict[int, tuple[str, bool]] = {}
        self._bytes = 0
        self._crc = 0
        self.end: EndFrame | None = None
        """The stream's last frame, once it was written."""

    @property
    def committed(self) -> bool:
        """Whether content was delivered."""
        return self._bytes > 0 or bool(self._tools)

    def note(self, frame: Frame) -> None:
        """Take in a frame that was written."""
        if isinstance(frame, ContentFrame):
            self._note_content(frame)
        elif isinstance(frame, StartedFrame):
            self.started = frame
        elif isinstance(frame, AttemptStartedFrame):
            self.attempt, self._attempt_bytes, self._attempt_failed = frame, 0, False
            self._tools = {}
        elif isinstance(frame, AttemptFailedFrame):
            self._attempt_failed = True
        elif isinstance(frame, EndFrame):
            self.end = frame

    def closing_frames(self, failure: CallFailure) -> tuple[Frame, ...]:
        """Return the frames that end the stream with `failure`: none if it has not begun or has its end."""
        if self.started is None or self.end is not None:
            return ()
        end = EndFrame(
            outcome=StreamOutcome.FAILED,
            finish_reason=FinishReason.BROKEN,
            native_finish_reason="",
            error=failure,
            usage=None,
            attempts=(),
            route=self.started.route,
            content_bytes=self._bytes,
            content_crc32c=self._crc,
        )
        if self.attempt is None or self._attempt_failed or not self.committed:
            return (end,)
        return (self._broken_attempt(self.attempt, failure), end)

    def _note_content(self, frame: ContentFrame) -> None:
        if frame.kind is DeltaKind.TOOL_CALL:
            tool_id = frame.tool_id or self._tools.get(frame.part, ("", False))[0]
            self._tools[frame.part] = (tool_id, frame.tool_done)
        elif frame.kind is DeltaKind.THINKING_SIGNATURE:
            return
        content = frame.text.encode()
        self._attempt_bytes += len(content)
        self._bytes += len(content)
        self._crc = google_crc32c.extend(self._crc, content)

    def _broken_attempt(self, attempt: AttemptStartedFrame, failure: CallFailure) -> AttemptFailedFrame:
        return AttemptFailedFrame(
            attempt=attempt.attempt,
            failure=failure.failure or Failure(FailureClass.CANCELLED, failure.message),
            reason=failure.reason,
            served_by=attempt.served_by,
            bytes_emitted=self._attempt_bytes,
            tool_calls_done=tuple(tool_id for tool_id, done in self._tools.values() if done),
            tool_calls_open=tuple(tool_id for tool_id, done in self._tools.values() if not done),
            usage=None,
            next_step=NextStep.GIVING_UP,
            on_break_asked=_ON_BREAK,
            on_break_applied=_ON_BREAK,
        )
