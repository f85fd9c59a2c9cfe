"""Frames of answers that break: what a reset keeps, where a continuation joins, and what stands."""

from __future__ import annotations

import pytest
from google_crc32c import value as crc32c
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.engine.broken_answers import (
    Model,
    attempt_failed,
    attempt_started,
    end,
    started,
    take_all,
    take_now,
)
from tests.engine.on_the_wire import on_the_wire

from trunkline.assembly import Assembly
from trunkline_server.chat.answer import (
    Delta,
    RefusalDelta,
    TextDelta,
    ThinkingDelta,
    ThinkingSignatureDelta,
    ToolCallDelta,
)
from trunkline_server.engine.frames import (
    AttemptStartedFrame,
    ContentFrame,
    EndFrame,
    Frame,
    NextStep,
    ResetFrame,
)
from trunkline_server.engine.outbox import Outbox
from trunkline_server.engine.standing import Standing


def contents(frames: list[Frame]) -> list[tuple[int, int, int, str]]:
    """Return number, part, offset and text of the content among frames."""
    return [(frame.seq, frame.part, frame.offset, frame.text) for frame in frames if isinstance(frame, ContentFrame)]


def begun(*, keep_text: bool = False) -> Outbox:
    """Return an outbox whose first two frames, `started` and `attempt_started`, wait."""
    outbox = Outbox()
    outbox.keep_text = keep_text
    outbox.put_frame(started())
    outbox.put_frame(attempt_started(1))
    outbox.begin_attempt(1)
    return outbox


# By example.


def test_a_restart_counts_from_the_beginning() -> None:
    """After a reset of everything offsets, length and checksum are those of the new attempt alone."""
    outbox = begun()
    outbox.put(1, TextDelta(0, "gone"))
    outbox.reset(None)
    assert outbox.content_bytes == 0
    outbox.put_frame(attempt_started(2))
    outbox.begin_attempt(2)
    outbox.put(2, TextDelta(0, "né"))
    assert (outbox.content_bytes, outbox.attempt_bytes) == (3, 3)
    outbox.put_frame(end())
    frames = take_all(outbox)
    assert contents(frames) == [(3, 0, 0, "gone"), (6, 0, 0, "né")]
    assert [frame.keep_through_seq for frame in frames if isinstance(frame, ResetFrame)] == [0]
    last = frames[-1]
    assert isinstance(last, EndFrame)
    assert (last.content_bytes, last.content_crc32c) == (3, crc32c("né".encode()))


@pytest.mark.parametrize("taken_before", [0, 3, 5])
def test_a_reset_keeps_what_came_before_a_part(taken_before: int) -> None:
    """It names the frame right before the part's first one, however much of it had been taken when it was put."""
    outbox = begun(keep_text=True)
    outbox.put(1, TextDelta(0, "text "))
    outbox.put(1, ToolCallDelta(1, "c1", "f", "{"))
    outbox.put(1, TextDelta(0, "late"))
    frames = [take_now(outbox) for _ in range(taken_before)]
    outbox.reset(1)
    assert outbox.content_bytes == 5
    assert outbox.standing().text == "text "
    outbox.put_frame(attempt_started(2, seam=True))
    outbox.begin_attempt(2, continues=True)
    outbox.put(2, TextDelta(0, "more"))
    outbox.put_frame(end())
    frames += take_all(outbox)
    assert contents(frames) == [(3, 0, 0, "text "), (4, 1, 0, "{"), (5, 0, 5, "late"), (8, 0, 5, "more")]
    assert [frame.keep_through_seq for frame in frames if isinstance(frame, ResetFrame)] == [3]
    assert [frame.seam and frame.seam.after_seq for frame in frames if isinstance(frame, AttemptStartedFrame)] == [
        None,
        3,
    ]
    last = frames[-1]
    assert isinstance(last, EndFrame)
    assert (last.content_bytes, last.content_crc32c) == (9, crc32c(b"text more"))


def test_a_continuation_goes_on_in_the_last_text_and_numbers_the_rest_afresh() -> None:
    """Its first text joins the text part with the highest number; its other parts come behind all that stand."""
    outbox = begun()
    for delta in (TextDelta(0, "one"), TextDelta(1, "two"), ThinkingDelta(2, "hm")):
        outbox.put(1, delta)
    outbox.put_frame(attempt_started(2, seam=True))
    outbox.begin_attempt(2, continues=True)
    for delta in (ThinkingDelta(0, "so"), TextDelta(1, "+"), TextDelta(2, "new"), ThinkingDelta(0, "!")):
        outbox.put(2, delta)
    assert contents(take_all(outbox))[3:] == [(7, 3, 0, "so"), (8, 1, 3, "+"), (9, 4, 0, "new"), (10, 3, 2, "!")]


def test_a_continuation_without_text_to_go_on_in_starts_a_part() -> None:
    """If no text part stands, the text gets a number of its own."""
    outbox = begun()
    outbox.put(1, ThinkingDelta(0, "hm"))
    outbox.put_frame(attempt_started(2, seam=True))
    outbox.begin_attempt(2, continues=True)
    outbox.put(2, TextDelta(0, "a"))
    assert contents(take_all(outbox))[1:] == [(5, 1, 0, "a")]


def test_a_seam_after_nothing_that_stands_says_so() -> None:
    """A seam names frame 0 only if all content was taken back."""
    outbox = begun()
    outbox.put(1, TextDelta(0, "a"))
    outbox.reset(0)
    outbox.put_frame(attempt_started(2, seam=True))
    frame = take_all(outbox)[-1]
    assert isinstance(frame, AttemptStartedFrame)
    assert frame.seam is not None
    assert frame.seam.after_seq == 0


def test_a_part_that_was_taken_back_may_begin_again() -> None:
    """Its number is free again, it begins at 0, and a later reset before it means the new one."""
    outbox = begun()
    outbox.put(1, TextDelta(0, "a"))
    for attempt in (2, 3):
        outbox.put(attempt - 1, ToolCallDelta(1, f"c{attempt}", "f", "{"))
        outbox.reset(1)
        outbox.put_frame(attempt_started(attempt, seam=True))
        outbox.begin_attempt(attempt, continues=True)
    frames = take_all(outbox)
    assert contents(frames) == [(3, 0, 0, "a"), (4, 1, 0, "{"), (7, 1, 0, "{")]
    assert [frame.keep_through_seq for frame in frames if isinstance(frame, ResetFrame)] == [3, 6]


def test_a_call_that_was_whole_is_open_again_if_its_end_is_taken_back() -> None:
    """A reset before a later part takes the earlier call's last piece with it."""
    outbox = begun()
    outbox.put(1, ToolCallDelta(0, "c1", "f", "{"))
    outbox.put(1, ToolCallDelta(1, "c2", "f", "{"))
    outbox.put(1, ToolCallDelta(0, arguments_json_delta="}", done=True))
    assert outbox.standing() == Standing(
        "", ("c1",), ("c2",), has_refusal=False, first_open_part=1, text_before_open=""
    )
    outbox.reset(1)
    assert outbox.standing() == Standing("", (), ("c1",), has_refusal=False, first_open_part=0, text_before_open="")
    assert outbox.tool_calls(done=False) == ("c1",)


def test_an_attempt_that_begins_anew_beside_what_stands_is_a_defect() -> None:
    """Without a reset its offsets would contradict what the caller has."""
    outbox = begun()
    outbox.put(1, TextDelta(0, "a"))
    with pytest.raises(RuntimeError, match="nothing took back"):
        outbox.begin_attempt(2)


def test_a_reset_before_a_part_that_does_not_stand_is_a_defect() -> None:
    """Nothing is guessed."""
    with pytest.raises(KeyError):
        begun().reset(3)


def test_text_is_told_in_the_order_of_its_parts() -> None:
    """Text of interleaved parts is joined part by part, and cut where the first open call began."""
    outbox = begun(keep_text=True)
    for delta in (
        TextDelta(0, "a"),
        TextDelta(2, "y"),
        ToolCallDelta(3, "c1", "f", "[]", done=True),
        TextDelta(0, "b"),
        ToolCallDelta(4, "c2", "f", "["),
        TextDelta(2, "z"),
        ToolCallDelta(5, "c3", "f", "["),
        RefusalDelta(6, "no"),
    ):
        outbox.put(1, delta)
    expected = Standing("abyz", ("c1",), ("c2", "c3"), has_refusal=True, first_open_part=4, text_before_open="aby")
    assert outbox.standing() == expected


def test_a_refusal_is_seen_whatever_part_it_comes_in() -> None:
    """Its words are no text to go on from, even if a provider puts both into one part."""
    outbox = begun(keep_text=True)
    for delta in (TextDelta(0, "a"), RefusalDelta(0, "no"), TextDelta(0, "b")):
        outbox.put(1, delta)
    assert outbox.standing() == Standing("ab", (), (), has_refusal=True, first_open_part=None, text_before_open="ab")


# By property.

KINDS = ("text", "thinking", "refusal", "call")
PLAN = st.lists(st.sampled_from(KINDS), min_size=1, max_size=5)
"""The kinds of an attempt's parts."""
STEPS = st.lists(st.tuples(st.integers(0, 4), st.text(max_size=4), st.booleans(), st.integers(0, 2)), max_size=14)
"""Part, text, whether this is its last piece, and how many frames are taken after it."""
BREAK = st.tuples(st.sampled_from(["restart", "continue", "take back, continue"]), st.integers(0, 9), st.integers(0, 4))
ATTEMPTS = st.lists(st.tuples(PLAN, STEPS, BREAK), min_size=1, max_size=4)
Step = tuple[int, str, bool, int]
Break = tuple[str, int, int]


class Walk:
    """One answer, in an outbox, in the model and at the client's reader at the same time."""

    def __init__(self, *, keep_text: bool) -> None:
        self.outbox = begun(keep_text=keep_text)
        self.model = Model()
        self.assembly = Assembly()
        self.attempt = 1

    def take(self, count: int) -> None:
        """Let the reader take so many frames, as far as they wait; it raises if one does not fit."""
        for _ in range(count):
            if self.outbox.behind:
                self.assembly.feed(on_the_wire(take_now(self.outbox)))

    def speak(self, plan: list[str], steps: list[Step]) -> None:
        """Put an attempt's pieces."""
        over: set[int] = set()
        begun_calls: set[int] = set()
        size_before = self.outbox.attempt_bytes
        assert size_before == 0
        said = 0
        for number, text, last, taken in steps:
            part = number % len(plan)
            if part in over:
                continue
            delta = piece(plan[part], part, text, first=part not in begun_calls, last=last)
            begun_calls.add(part)
            if last and plan[part] in {"call", "thinking"}:
                over.add(part)
            self.outbox.put(self.attempt, delta)
            self.model.put(delta)
            said += 0 if isinstance(delta, ThinkingSignatureDelta) else len(text_of(delta).encode())
            self.check()
            self.take(taken)
        assert self.outbox.attempt_bytes == said

    def break_off(self, how: str, part: int, taken: int) -> None:
        """Break the attempt and begin the next."""
        step = NextStep.RESTARTING if how == "restart" else NextStep.CONTINUING
        self.outbox.put_frame(attempt_failed(self.attempt, step))
        parts = self.model.parts()
        if how == "restart":
            self.reset(None)
        elif how == "take back, continue" and parts:
            self.reset(parts[part % len(parts)])
        self.take(taken)
        self.attempt += 1
        continues = step is NextStep.CONTINUING
        self.outbox.put_frame(attempt_started(self.attempt, seam=continues))
        self.outbox.begin_attempt(self.attempt, continues=continues)
        self.model.begin(continues=continues)

    def reset(self, before_part: int | None) -> None:
        """Take content back."""
        self.outbox.reset(before_part)
        self.model.reset(before_part)
        self.check()

    def check(self) -> None:
        """Compare what the producer can know."""
        assert self.outbox.content_bytes == len(self.model.raw())
        assert self.outbox.standing() == self.model.standing(keep_text=self.outbox.keep_text)


def piece(kind: str, part: int, text: str, *, first: bool, last: bool) -> Delta:
    """Return a part's next piece; pieces of a tool call's arguments add up to JSON."""
    match kind:
        case "text":
            return TextDelta(part, text)
        case "refusal":
            return RefusalDelta(part, text)
        case "thinking":
            return ThinkingSignatureDelta(part, text or "sig") if last else ThinkingDelta(part, text)
    arguments = ("[" if first else "") + ("1]" if last else '"ü",' * len(text))
    return ToolCallDelta(part, f"call {part}" if first else "", "f" if first else "", arguments, last)


def text_of(delta: Delta) -> str:
    """Return what a piece says."""
    match delta:
        case ToolCallDelta():
            return delta.arguments_json_delta
        case ThinkingSignatureDelta():
            return delta.signature
        case _:
            return delta.text


@settings(max_examples=300, deadline=None)
@given(ATTEMPTS, st.booleans())
def test_whatever_breaks_the_reader_and_the_producer_agree(
    attempts: list[tuple[list[str], list[Step], Break]],
    keep_text: bool,  # noqa: FBT001  drawn
) -> None:
    """Whatever breaks, at any pace: numbers, offsets, length and checksum prove right; the answer is the model's."""
    walk = Walk(keep_text=keep_text)
    for at, (plan, steps, (how, part, taken)) in enumerate(attempts):
        if at:
            walk.break_off(how, part, taken)
        walk.speak(plan, steps)
    walk.outbox.put_frame(end())
    walk.take(1000)
    answer = walk.assembly.finish(None)
    standing = walk.model.standing(keep_text=True)
    assert answer.text == standing.text
    assert {call.id for call in answer.tool_calls} == set(standing.tool_calls_done)
    assert {call.id for call in answer.open_tool_calls} == set(standing.tool_calls_open)
    assert len(answer.seams) <= len(attempts) - 1
