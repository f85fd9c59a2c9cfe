"""What a stream has delivered, so that it can be ended properly when the engine cannot do it any more.

The engine ends its own streams. Three ends are not its own: the drain's grace is over, one of our tasks was cancelled
under it, or it has a defect. Even then the caller is told what it has got and that it is not whole.

Nearly every stream ends without needing any of this, so a frame of content only leaves its text behind. Length and
checksum are made from many of them at once, and where a reset may go back to: between two kinds, parts or attempts.
"""

from __future__ import annotations

from dataclasses import dataclass

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
    ResetFrame,
    StartedFrame,
    StreamOutcome,
)
from trunkline_server.routing.failures import Failure, FailureClass
from trunkline_server.routing.types import OnBreak

_ON_BREAK = OnBreak.FAIL
_TOOL_CALL = DeltaKind.TOOL_CALL
_SIGNATURE = DeltaKind.THINKING_SIGNATURE
_MAX_PENDING = 64
"""Frames whose text is kept until their checksum is made."""
_LONG_CHARS = 4096
"""Text that is not kept."""
_MAX_MARKS = 1024
"""Places that a reset may go back to; beyond that the older half is forgotten, save the beginning."""


@dataclass(frozen=True, slots=True)
class _Mark:
    """Where content of another kind, part or attempt began, and what stood before it."""

    first_seq: int
    seq_before: int
    size_bytes: int
    crc32c: int


class Delivered:
    """Follows the frames of one stream as they are written."""

    __slots__ = (
        "_attempt_before_bytes",
        "_attempt_failed",
        "_content_seq",
        "_crc",
        "_kind",
        "_lost_count",
        "_marks",
        "_part",
        "_pending",
        "_size_bytes",
        "_tools",
        "attempt",
        "breaks",
        "committed",
        "end",
        "last_break",
        "started",
    )

    def __init__(self) -> None:
        self.started: StartedFrame | None = None
        """The stream's first frame, once it was written. None for good where an older stream is read on."""
        self.attempt: AttemptStartedFrame | None = None
        """The latest attempt that became visible."""
        self.last_break: AttemptFailedFrame | None = None
        """The latest attempt that was told as broken."""
        self.breaks = 0
        """How many were."""
        self.committed = False
        """Whether content was delivered, taken back since or not."""
        self.end: EndFrame | None = None
        """The stream's last frame, once it was written."""
        self._attempt_before_bytes = 0
        self._attempt_failed = False
        self._tools: dict[int, tuple[str, bool]] = {}
        self._marks: list[_Mark] = []
        self._kind: DeltaKind | None = None
        self._part = 0
        self._content_seq = 0
        self._pending: list[str] = []
        self._size_bytes = 0
        self._crc = 0
        self._lost_count = False

    def note(self, frame: Frame) -> None:
        """Take in a frame that was written."""
        if isinstance(frame, ContentFrame):
            if frame.kind is not self._kind or frame.part != self._part:
                self._begin_run(frame)
            self._content_seq = frame.seq
            if frame.kind is not _SIGNATURE:
                self._pending.append(frame.text)
                if len(self._pending) >= _MAX_PENDING or len(frame.text) > _LONG_CHARS:
                    self._count()
            if frame.tool_done:
                self._tools[frame.part] = (self._tools[frame.part][0], True)
        else:
            self._note_other(frame)

    def _note_other(self, frame: Frame) -> None:
        match frame:
            case StartedFrame():
                self.started = frame
            case AttemptStartedFrame():
                self._count()
                self.attempt, self._attempt_failed = frame, False
                self._attempt_before_bytes = self._size_bytes
                self._tools = {}
                self._kind = None
            case AttemptFailedFrame():
                self._attempt_failed = True
                self.last_break = frame
                self.breaks += 1
            case ResetFrame():
                self._keep_through(frame.keep_through_seq)
            case EndFrame():
                self.end = frame

    def closing_frames(self, failure: CallFailure) -> tuple[Frame, ...]:
        """Return the frames that end the stream with `failure`, not numbered yet.

        None if it has not begun, has its end, or goes on without this reader; nor if what was delivered is not known:
        where the reader had come with a part of it, or a reset went back to where we cannot follow.
        """
        if self.started is None or self.end is not None or self._lost_count or failure.stream_goes_on:
            return ()
        self._count()
        end = EndFrame(
            outcome=StreamOutcome.FAILED,
            finish_reason=FinishReason.BROKEN,
            native_finish_reason="",
            error=failure,
            usage=None,
            attempts=(),
            route=self.started.route,
            content_bytes=self._size_bytes,
            content_crc32c=self._crc,
        )
        if self.attempt is None or self._attempt_failed or not self.committed:
            return (end,)
        return (self._broken_attempt(self.attempt, failure), end)

    def _begin_run(self, frame: ContentFrame) -> None:
        """Note where content of another kind, part or attempt begins."""
        self._count()
        if len(self._marks) >= _MAX_MARKS:
            del self._marks[1 : _MAX_MARKS // 2]
        self._marks.append(_Mark(frame.seq, self._content_seq, self._size_bytes, self._crc))
        self._kind, self._part = frame.kind, frame.part
        self.committed = True
        if frame.kind is _TOOL_CALL and frame.part not in self._tools:
            self._tools[frame.part] = (frame.tool_id, False)

    def _count(self) -> None:
        """Add the text that was kept to length and checksum."""
        if self._pending:
            content = "".join(self._pending).encode()
            self._pending = []
            self._size_bytes += len(content)
            self._crc = google_crc32c.extend(self._crc, content)

    def _keep_through(self, seq: int) -> None:
        """Take back the content after frame `seq`."""
        self._count()
        if seq >= self._content_seq:
            return
        first = next((index for index, mark in enumerate(self._marks) if mark.first_seq > seq), None)
        if first is None or self._marks[first].seq_before > seq:
            self._lost_count = True
            return
        mark = self._marks[first]
        del self._marks[first:]
        self._content_seq, self._size_bytes, self._crc = mark.seq_before, mark.size_bytes, mark.crc32c

    def _broken_attempt(self, attempt: AttemptStartedFrame, failure: CallFailure) -> AttemptFailedFrame:
        return AttemptFailedFrame(
            attempt=attempt.attempt,
            failure=failure.failure or Failure(FailureClass.CANCELLED, failure.message),
            reason=failure.reason,
            served_by=attempt.served_by,
            bytes_emitted=max(0, self._size_bytes - self._attempt_before_bytes),
            tool_calls_done=tuple(tool_id for tool_id, done in self._tools.values() if done),
            tool_calls_open=tuple(tool_id for tool_id, done in self._tools.values() if not done),
            usage=None,
            next_step=NextStep.GIVING_UP,
            on_break_asked=_ON_BREAK,
            on_break_applied=_ON_BREAK,
        )
