"""Frames in, the answer out: the rules of a stream, without any I/O.

A stream is believed only as far as it proves itself: its frames are numbered without a gap, each piece of content
begins at the byte where the one before ended, and the `end` frame's length and checksum cover all that still counts.
What does not fit ends the assembly with an error that carries what had come; nothing is guessed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trunkline.answer import Answer, Seam
from trunkline.content import Content, ContradictionError
from trunkline.events import AttemptBegan, AttemptBroke, Retracted
from trunkline.stream_errors import StreamCorruptError, broken, corrupt, failed_call, lost
from trunkline.v1 import (
    FINISH_REASON_BROKEN,
    FINISH_REASON_UNSPECIFIED,
    ROLE_ASSISTANT,
    AttemptFailed,
    End,
    Message,
    Started,
)

if TYPE_CHECKING:
    from trunkline.errors import CallFailure
    from trunkline.events import StreamEvent
    from trunkline.v1 import AttemptStarted, StreamFrame

_OF_ONE_READER = frozenset({"STREAM_NOT_FOUND", "STREAM_NOT_DETACHABLE", "STREAM_TOO_OLD", "STREAM_TAKEN_OVER"})
"""Reasons that speak of reading the stream, and not of how the stream itself ended."""
_KNOWN_OUTCOMES = frozenset({End.OUTCOME_COMPLETE, End.OUTCOME_INCOMPLETE, End.OUTCOME_FAILED})


class Assembly:
    """Puts one stream together: `feed` it every frame, then tell it the status with `finish`.

    A stream that was lost and is resumed after `last_seq` goes on in the same assembly.
    """

    def __init__(self) -> None:
        self._content = Content()
        self._started: Started | None = None
        self._end: End | None = None
        self._seq = 0
        self._attempt = 0
        self._attempt_began_seq = 0
        self._provider = ""
        self._broken: AttemptFailed | None = None
        self._reset_due = False
        self._breaks: list[AttemptBroke] = []
        self._seams: list[tuple[int, Seam]] = []
        self._corrupt: StreamCorruptError | None = None

    @property
    def last_seq(self) -> int:
        """The number of the last frame; 0: none came."""
        return self._seq

    @property
    def ended(self) -> bool:
        """Whether the `end` frame came and proved right."""
        return self._end is not None

    def feed(self, frame: StreamFrame) -> list[StreamEvent]:
        """Take the next frame and return what it tells.

        Raises StreamCorruptError, now and on every later call, once a frame does not fit. Kinds of frames that came
        after this client are skipped.
        """
        self._raise_if_corrupt()
        try:
            self._check_place(frame)
            events = self._take(frame)
        except ContradictionError as error:
            raise self._corrupted(f"{error} (frame {frame.seq})", None) from None
        self._seq = frame.seq
        return events

    def finish(self, failure: CallFailure | None) -> Answer:
        """Return the whole answer, now that the call has ended with a failure, or with OK (None).

        Raises CallFailedError, StreamBrokenError, StreamLostError or StreamCorruptError if it is not whole.
        """
        self._raise_if_corrupt()
        if failure is not None and self._seq == 0:
            raise failed_call(self.partial(), failure)
        end = self._end
        if failure is None:
            if end is None:
                raise self._corrupted("it ended as OK without its `end` frame", None)
            if end.outcome == End.OUTCOME_FAILED:
                raise self._corrupted("it says that it failed, and its status is OK", None)
            return self._answer(end)
        if end is not None and end.outcome == End.OUTCOME_FAILED and end.error.code == _number(failure):
            raise broken(self._answer(end), failure)
        if end is not None and failure.reason and failure.reason not in _OF_ONE_READER:
            raise self._corrupted(f"its `end` frame and its status {failure.code.name} disagree", failure)
        # A status that is not Trunkline's own says only that the call was cut off: its true status did not come.
        raise lost(self.partial(), failure)

    def partial(self) -> Answer:
        """Return what came so far. Nothing vouches for it."""
        return self._answer(None)

    # What comes when.

    def _check_place(self, frame: StreamFrame) -> None:
        if self._end is not None:
            raise ContradictionError("a frame follows `end`")
        if frame.seq != self._seq + 1:
            raise ContradictionError(f"frame {self._seq + 1} is missing")
        if (self._started is None) != frame.HasField("started"):
            raise ContradictionError("`started` comes once, as the first frame")

    def _take(self, frame: StreamFrame) -> list[StreamEvent]:
        events: list[StreamEvent] = []
        match frame.WhichOneof("frame"):
            case "deltas":
                if frame.attempt != self._attempt or self._attempt == 0 or self._broken is not None:
                    raise ContradictionError(f"content of attempt {frame.attempt}, which is not going on")
                events = self._content.add(frame.seq, self._provider, list(frame.deltas.items))
            case "started":
                self._started = frame.started
                events = [frame.started]
            case "attempt_started":
                events = self._attempt_started(frame.seq, frame.attempt, frame.attempt_started)
            case "attempt_failed":
                events = self._attempt_failed(frame.attempt, frame.attempt_failed)
            case "reset":
                events = self._reset(frame.seq, frame.reset.keep_through_seq)
            case "end":
                self._check_end(frame.end)
                self._end = frame.end
            case _:
                events = _notices(frame)
        return events

    def _attempt_started(self, seq: int, attempt: int, started: AttemptStarted) -> list[StreamEvent]:
        if attempt <= self._attempt:
            raise ContradictionError(f"attempt {attempt} begins after attempt {self._attempt}")
        if self._broken is None and self._content.last_seq > self._attempt_began_seq:
            raise ContradictionError(f"attempt {attempt} begins while attempt {self._attempt} goes on")
        if self._broken is not None and self._broken.next == AttemptFailed.NEXT_GIVING_UP:
            raise ContradictionError(f"attempt {attempt} begins after the stream gave up")
        if self._reset_due:
            raise ContradictionError(f"attempt {attempt} starts from the beginning without a `reset`")
        if started.HasField("continuation"):
            if self._broken is None or not self._content.last_seq <= started.continuation.after_seq < seq:
                raise ContradictionError(f"attempt {attempt} goes on from where nothing ended")
            self._seams.append((seq, Seam(attempt, len(self._content.text), started.continuation)))
        elif self._content.size_bytes:
            raise ContradictionError(f"attempt {attempt} adds to another one's content without a seam")
        self._attempt, self._attempt_began_seq, self._broken = attempt, seq, None
        self._provider = started.target.provider
        return [AttemptBegan(attempt, started)]

    def _attempt_failed(self, attempt: int, failed: AttemptFailed) -> list[StreamEvent]:
        if attempt != self._attempt or attempt == 0 or self._broken is not None:
            raise ContradictionError(f"attempt {attempt} fails, which is not going on")
        self._broken = failed
        self._reset_due = failed.next == AttemptFailed.NEXT_RESTARTING
        broke = AttemptBroke(attempt, failed)
        self._breaks.append(broke)
        return [broke]

    def _reset(self, seq: int, keep_through_seq: int) -> list[StreamEvent]:
        if keep_through_seq >= seq:
            raise ContradictionError(f"a `reset` keeps what has not come: {keep_through_seq}")
        if self._broken is None:
            raise ContradictionError("a `reset` while an attempt goes on")
        self._reset_due = False
        self._content.keep_through(keep_through_seq)
        self._seams = [(at, seam) for at, seam in self._seams if at <= keep_through_seq]
        return [Retracted(keep_through_seq, self._content.text)]

    def _check_end(self, end: End) -> None:
        content = self._content
        if end.content_bytes != content.size_bytes:
            raise ContradictionError(f"{content.size_bytes} bytes of content came, and {end.content_bytes} were sent")
        if end.content_crc32c != content.crc32c:
            raise ContradictionError("the content's checksum is wrong")
        failed = end.outcome == End.OUTCOME_FAILED
        if end.outcome not in _KNOWN_OUTCOMES:
            raise ContradictionError(f"outcome {end.outcome} is not known")
        if end.HasField("error") is not failed or (end.finish_reason == FINISH_REASON_BROKEN) is not failed:
            raise ContradictionError("the outcome, the finish reason and the error disagree")
        if end.outcome == End.OUTCOME_COMPLETE and self._broken is not None:
            raise ContradictionError(f"attempt {self._attempt} broke, and the answer is called complete")

    # What it adds up to.

    def _answer(self, end: End | None) -> Answer:
        started = self._started or Started()
        content = self._content
        return Answer(
            request_id=started.request_id,
            stream_id=started.stream_id,
            message=Message(role=ROLE_ASSISTANT, parts=content.message_parts()),
            tool_calls=content.tool_calls(done=True),
            open_tool_calls=content.tool_calls(done=False),
            outcome=End.OUTCOME_UNSPECIFIED if end is None else end.outcome,
            finish_reason=FINISH_REASON_UNSPECIFIED if end is None else end.finish_reason,
            native_finish_reason="" if end is None else end.native_finish_reason,
            usage=end.usage if end is not None and end.HasField("usage") else None,
            route=end.route if end is not None and end.HasField("route") else started.route,
            attempts=() if end is None else tuple(end.attempts),
            breaks=tuple(self._breaks),
            seams=tuple(seam for _, seam in self._seams),
            warnings=(*started.warnings, *(() if end is None else end.warnings)),
            logprobs=tuple(content.logprobs),
            last_seq=self._seq,
        )

    def _corrupted(self, what: str, failure: CallFailure | None) -> StreamCorruptError:
        self._corrupt = corrupt(what, self.partial(), failure)
        return self._corrupt

    def _raise_if_corrupt(self) -> None:
        if self._corrupt is not None:
            raise self._corrupt


def _notices(frame: StreamFrame) -> list[StreamEvent]:
    """Return what a frame tells that changes nothing; nothing for a kind that came after this client."""
    match frame.WhichOneof("frame"):
        case "usage":
            return [frame.usage]
        case "heartbeat":
            return [frame.heartbeat]
        case "draining":
            return [frame.draining]
        case _:
            return []


def _number(failure: CallFailure) -> int:
    """Return a status code as the contract's number."""
    value: tuple[int, str] = failure.code.value
    return value[0]
