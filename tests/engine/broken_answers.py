"""An answer that breaks, restarts and goes on, twice: in an outbox, and as the list of pieces that ought to stand."""

from __future__ import annotations

from dataclasses import dataclass, field

from trunkline_server.chat.answer import (
    Delta,
    FinishReason,
    RefusalDelta,
    TextDelta,
    ThinkingDelta,
    ThinkingSignatureDelta,
    ToolCallDelta,
)
from trunkline_server.engine.frames import (
    AttemptFailedFrame,
    AttemptStartedFrame,
    ContinuationMethod,
    EndFrame,
    Frame,
    NextStep,
    RouteInfo,
    Seam,
    ServedBy,
    StartedFrame,
    StreamOutcome,
)
from trunkline_server.engine.outbox import Outbox
from trunkline_server.engine.standing import Standing
from trunkline_server.routing.events import Why
from trunkline_server.routing.failures import Failure, FailureClass
from trunkline_server.routing.types import OnBreak, Reason, TargetId

SERVED = ServedBy(TargetId("p", "m"), "k")
ROUTE = RouteInfo("default", "default", 1, "", SERVED, ())


def take_now(outbox: Outbox) -> Frame:
    """Take a frame that waits."""
    assert outbox.behind
    try:
        outbox.take().send(None)
    except StopIteration as stop:
        frame: Frame = stop.value
        return frame
    raise AssertionError("a frame waits, and take() waits too")


def take_all(outbox: Outbox) -> list[Frame]:
    """Take every frame that waits."""
    frames = []
    while outbox.behind:
        frames.append(take_now(outbox))
    return frames


def started() -> StartedFrame:
    """Return the frame that begins a stream."""
    return StartedFrame("r", "s", ROUTE, 0.0, 0.0, ())


def attempt_started(attempt: int, *, seam: bool = False) -> AttemptStartedFrame:
    """Return the frame that shows an attempt."""
    joint = Seam(ContinuationMethod.PREFILL, 0) if seam else None
    return AttemptStartedFrame(attempt, SERVED, Why.FIRST if attempt == 1 else Why.RETRY, 0.0, joint)


def attempt_failed(attempt: int, step: NextStep) -> AttemptFailedFrame:
    """Return the frame that tells of a break."""
    failure = Failure(FailureClass.TRUNCATED, "cut")
    on_break = {NextStep.RESTARTING: OnBreak.RESTART, NextStep.CONTINUING: OnBreak.CONTINUE}.get(step, OnBreak.FAIL)
    reason = Reason.UPSTREAM_EXHAUSTED
    return AttemptFailedFrame(attempt, failure, reason, SERVED, 0, (), (), None, step, on_break, on_break)


def end() -> EndFrame:
    """Return the frame that ends a stream well."""
    return EndFrame(StreamOutcome.COMPLETE, FinishReason.STOP, "stop", None, None, (), ROUTE, 0, 0)


@dataclass
class Piece:
    """One piece of content that ought to stand."""

    part: int
    kind: str
    text: str
    call_id: str = ""
    done: bool = False


@dataclass
class Model:
    """What stands, worked out from the list of pieces each time that somebody asks."""

    pieces: list[Piece] = field(default_factory=list)
    numbers: dict[int, int] = field(default_factory=dict)
    """The attempt's parts, by their numbers for the caller."""
    continues: bool = False
    goes_on: int | None = None
    fresh: int = 0

    def begin(self, *, continues: bool) -> None:
        """Let an attempt begin."""
        texts = [piece.part for piece in self.pieces if piece.kind == "text"]
        self.numbers, self.continues = {}, continues
        self.goes_on = max(texts) if continues and texts else None
        self.fresh = 1 + max((piece.part for piece in self.pieces), default=-1)

    def put(self, delta: Delta) -> None:
        """Add a piece under its number."""
        piece = _piece(delta)
        if delta.part not in self.numbers:
            self.numbers[delta.part] = self._number(delta.part, piece.kind)
        piece.part = self.numbers[delta.part]
        self.pieces.append(piece)

    def _number(self, part: int, kind: str) -> int:
        if not self.continues:
            return part
        if kind == "text" and self.goes_on is not None:
            number, self.goes_on = self.goes_on, None
            return number
        self.fresh += 1
        return self.fresh - 1

    def reset(self, before_part: int | None) -> None:
        """Take back from a part's first piece on."""
        self.pieces = self.before(before_part)

    def before(self, part: int | None) -> list[Piece]:
        """Return the pieces in front of a part's first one; of None: none."""
        if part is None:
            return []
        return self.pieces[: next(at for at, piece in enumerate(self.pieces) if piece.part == part)]

    def parts(self) -> list[int]:
        """Return the numbers of the parts, in the order in which they began."""
        return list(dict.fromkeys(piece.part for piece in self.pieces))

    def raw(self) -> bytes:
        """Return the content as it is counted."""
        return "".join(piece.text for piece in self.pieces if piece.kind != "signature").encode()

    def standing(self, *, keep_text: bool) -> Standing:
        """Return what the outbox ought to say."""
        calls = {part: self._done(part) for part in self.parts() if self._call_id(part)}
        opened = [part for part, done in calls.items() if not done]
        before = self.pieces if not opened else self.before(opened[0])
        return Standing(
            _text(self.pieces) if keep_text else "",
            tuple(self._call_id(part) for part, done in calls.items() if done),
            tuple(self._call_id(part) for part in opened),
            any(piece.kind == "refusal" for piece in self.pieces),
            opened[0] if opened else None,
            _text(before) if keep_text else "",
        )

    def _call_id(self, part: int) -> str:
        return "".join(piece.call_id for piece in self.pieces if piece.part == part)

    def _done(self, part: int) -> bool:
        return any(piece.done for piece in self.pieces if piece.part == part)


def _text(pieces: list[Piece]) -> str:
    numbers = sorted({piece.part for piece in pieces})
    return "".join(piece.text for part in numbers for piece in pieces if piece.part == part and piece.kind == "text")


def _piece(delta: Delta) -> Piece:
    match delta:
        case ToolCallDelta():
            return Piece(delta.part, "call", delta.arguments_json_delta, delta.id, delta.done)
        case ThinkingSignatureDelta():
            return Piece(delta.part, "signature", delta.signature)
        case TextDelta():
            return Piece(delta.part, "text", delta.text)
        case ThinkingDelta():
            return Piece(delta.part, "thinking", delta.text)
        case RefusalDelta():
            return Piece(delta.part, "refusal", delta.text)
