"""Streams as an engine may yield them, drawn at random: attempts that break, restarts, seams, calls, notices."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn

from trunkline_server.chat.answer import FinishReason, Usage
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
    RouteInfo,
    Seam,
    ServedBy,
    StartedFrame,
    StreamOutcome,
    UsageFrame,
)
from trunkline_server.routing.events import Why
from trunkline_server.routing.failures import Failure, FailureClass
from trunkline_server.routing.types import OnBreak, Reason, TargetId

SERVED_BY = ServedBy(TargetId("one", "m"), "k")
ROUTE = RouteInfo("default", "default", 1, "", SERVED_BY, ())
TRUNCATED = Failure(FailureClass.TRUNCATED, "it ended in silence")
TEXT = st.text(alphabet=st.sampled_from("ab \n\u00e9\u6f22\U0001f30d"), min_size=1, max_size=6)
"""One to four bytes a character."""


@dataclass
class Script:
    """Frames as they are yielded, numbered, and the content among them that counts."""

    frames: list[Frame] = field(default_factory=list)
    counts: list[ContentFrame] = field(default_factory=list)
    attempt: int = 0
    whole: bool = False
    """Whether the stream is to end well."""

    def add(self, frame: Frame) -> None:
        """Number a frame and add it."""
        frame.seq = len(self.frames) + 1
        self.frames.append(frame)

    def content(self, kind: DeltaKind, part: int, text: str, *, call: str = "", done: bool = False) -> None:
        """Add content at the end of its part."""
        before = [each for each in self.counts if each.part == part and each.kind is not DeltaKind.THINKING_SIGNATURE]
        offset = sum(len(each.text.encode()) for each in before)
        frame = ContentFrame(self.attempt, kind, part, offset, text, call, "f" if call else "", tool_done=done)
        self.add(frame)
        self.counts.append(frame)

    def reset(self, keep_through_seq: int) -> None:
        """Take content back."""
        self.counts = [each for each in self.counts if each.seq <= keep_through_seq]
        self.add(ResetFrame(keep_through_seq))

    def begin(self, why: Why = Why.FIRST, seam: Seam | None = None) -> None:
        """Show the next attempt."""
        self.attempt += 1
        self.add(AttemptStartedFrame(self.attempt, SERVED_BY, why, 0.0, seam))

    def broken(self, next_step: NextStep, applied: OnBreak) -> None:
        """Tell that the attempt broke."""
        frame = AttemptFailedFrame(
            attempt=self.attempt,
            failure=TRUNCATED,
            reason=Reason.STREAM_BROKEN,
            served_by=SERVED_BY,
            bytes_emitted=0,
            tool_calls_done=(),
            tool_calls_open=(),
            usage=None,
            next_step=next_step,
            on_break_asked=OnBreak.CONTINUE,
            on_break_applied=applied,
        )
        self.add(frame)

    def calls(self, *, done: bool) -> list[ContentFrame]:
        """Return the first pieces of the attempt's tool calls that are whole, or of those that are not."""
        mine = [each for each in self.counts if each.kind is DeltaKind.TOOL_CALL and each.attempt == self.attempt]
        whole = {each.part for each in mine if each.tool_done}
        return [each for each in mine if each.tool_id and (each.part in whole) is done]


@st.composite
def engine_streams(draw: DrawFn) -> Script:
    """Draw all but the end of a stream."""
    script = Script()
    script.add(StartedFrame("r-1", "0-f00d", ROUTE, 1.0, None, ()))
    _notices(draw, script)
    script.begin()
    for _ in range(draw(st.integers(0, 3))):
        _content(draw, script)
        stops: bool = draw(st.booleans())
        if stops or script.calls(done=True):
            break
        _break(draw, script)
    script.whole = draw(st.booleans())
    if not script.whole and script.counts:
        script.broken(NextStep.GIVING_UP, OnBreak.FAIL)
    return script


def well_ended(script: Script, content_bytes: int, content_crc32c: int) -> None:
    """Add the end of a stream that is to end well."""
    outcome, reason = StreamOutcome.INCOMPLETE, FinishReason.LENGTH
    script.add(EndFrame(outcome, reason, "length", None, None, (), ROUTE, content_bytes, content_crc32c))


def _notices(draw: DrawFn, script: Script) -> None:
    usage = Usage(output_tokens=1)
    for which in draw(st.lists(st.integers(0, 2), max_size=2)):
        script.add((HeartbeatFrame(None, 1.0), UsageFrame(script.attempt, usage, usage), DrainingFrame(1.0))[which])


def _content(draw: DrawFn, script: Script) -> None:
    for _ in range(draw(st.integers(1, 5))):
        part = draw(st.integers(0, 2))
        _piece(draw, script, part + script.attempt * 10 * draw(st.integers(0, 1)))
        _notices(draw, script)


def _piece(draw: DrawFn, script: Script, part: int) -> None:
    """Add to a part that is there what it is made of, or begin one."""
    there = [each for each in script.counts if each.part == part]
    kinds = st.sampled_from([DeltaKind.TEXT, DeltaKind.THINKING, DeltaKind.REFUSAL, DeltaKind.TOOL_CALL])
    kind = there[0].kind if there else draw(kinds)
    if kind is DeltaKind.THINKING_SIGNATURE:
        kind = DeltaKind.THINKING
    signed = any(each.kind is DeltaKind.THINKING_SIGNATURE for each in there)
    if kind is DeltaKind.TOOL_CALL:
        if not there:
            _call(draw, script, part)
    elif kind is DeltaKind.THINKING and not signed and draw(st.booleans()):
        script.content(DeltaKind.THINKING_SIGNATURE, part, draw(TEXT))
    else:
        script.content(kind, part, draw(TEXT))


def _call(draw: DrawFn, script: Script, part: int) -> None:
    """Add a call in pieces; perhaps without its last one, which leaves it open."""
    arguments = json.dumps({"x": draw(TEXT)}, ensure_ascii=False)
    at = draw(st.integers(0, len(arguments)))
    script.content(DeltaKind.TOOL_CALL, part, arguments[:at], call=f"c{len(script.frames)}")
    if draw(st.integers(0, 3)) == 0:
        script.content(DeltaKind.TOOL_CALL, part, arguments[at:], done=True)


def _break(draw: DrawFn, script: Script) -> None:
    """Break the attempt, and go on with another: from the beginning, or where the text ended."""
    restarts = draw(st.booleans())
    if restarts:
        script.broken(NextStep.RESTARTING, OnBreak.RESTART)
        _notices(draw, script)
        script.reset(0)
        script.begin(Why.RESTART)
        return
    script.broken(NextStep.CONTINUING, OnBreak.CONTINUE)
    opened = script.calls(done=False)
    if opened:
        before = [each.seq for each in script.counts if each.seq < opened[0].seq]
        script.reset(draw(st.sampled_from([before[-1] if before else 0, opened[0].seq - 1])))
    _notices(draw, script)
    if script.counts:
        script.begin(Why.CONTINUATION, Seam(ContinuationMethod.PROMPTED, 0, script.counts[-1].seq))
    else:
        script.begin(Why.RESTART)
