from __future__ import annotations

import google_crc32c
import pytest
from tests.rpc.conftest import SERVED_BY, opening, text, whole_end

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
    StreamOutcome,
)
from trunkline_server.routing.events import Why
from trunkline_server.routing.failures import Failure, FailureClass
from trunkline_server.routing.types import OnBreak, Reason
from trunkline_server.rpc.delivered import Delivered

GOING_DOWN = CallFailure(Reason.SERVER_DRAINING, "the server is going down")


def _tool(part: int, arguments: str, *, tool_id: str = "", done: bool = False) -> ContentFrame:
    return ContentFrame(1, DeltaKind.TOOL_CALL, part, 0, arguments, tool_id=tool_id, tool_done=done)


def _after(*frames: Frame) -> tuple[Frame, ...]:
    delivered = Delivered()
    for number, frame in enumerate(frames, 1):
        frame.seq = number
        delivered.note(frame)
    return delivered.closing_frames(GOING_DOWN)


def test_a_stream_that_has_not_begun_is_closed_by_its_status_alone() -> None:
    """Without frames there is nothing to end."""
    assert _after() == ()


def test_a_stream_that_has_its_end_gets_no_second_one() -> None:
    """Exactly one end, whatever happens after it."""
    assert _after(*opening(), text("hi"), whole_end()) == ()


def test_before_content_no_attempt_is_told_as_broken() -> None:
    """A stream that fails between its first frame and the commit point gets its end only."""
    (end,) = _after(*opening())
    assert isinstance(end, EndFrame)
    assert (end.outcome, end.error, end.content_bytes) == (StreamOutcome.FAILED, GOING_DOWN, 0)


def test_after_content_the_attempt_is_told_with_what_it_gave() -> None:
    """Bytes and checksum cover text, reasoning, refusals and tool arguments, and leave signatures out."""
    signature = ContentFrame(1, DeltaKind.THINKING_SIGNATURE, 0, 0, "sealed")
    thinking = ContentFrame(1, DeltaKind.THINKING, 0, 0, "hm")
    broken, end = _after(*opening(), thinking, signature, text("né"), _tool(2, "{}", tool_id="a", done=True))
    assert isinstance(broken, AttemptFailedFrame)
    assert isinstance(end, EndFrame)
    content = "hmné{}".encode()
    assert (end.content_bytes, end.content_crc32c) == (len(content), google_crc32c.value(content))
    assert broken.bytes_emitted == len(content)
    assert (broken.reason, broken.served_by) == (Reason.SERVER_DRAINING, SERVED_BY)
    assert broken.failure.failure_class is FailureClass.CANCELLED


@pytest.mark.parametrize("closing_piece", [True, False])
def test_tool_calls_are_told_as_done_or_open(*, closing_piece: bool) -> None:
    """A call is done with the piece that says so; one without it stays open."""
    frames: list[Frame] = [*opening(), _tool(0, "{}", tool_id="a", done=True), _tool(1, '{"x', tool_id="b")]
    if closing_piece:
        frames.append(_tool(1, '":1}', done=True))
    broken, _ = _after(*frames)
    assert isinstance(broken, AttemptFailedFrame)
    assert broken.tool_calls_done == (("a", "b") if closing_piece else ("a",))
    assert broken.tool_calls_open == (() if closing_piece else ("b",))


def test_a_new_attempt_counts_from_nothing_and_the_whole_goes_on() -> None:
    """What an attempt gave is counted for it alone; the end counts everything."""
    again = AttemptStartedFrame(2, SERVED_BY, Why.RETRY, 0.0)
    broken, end = _after(*opening(), text("abc"), again, text("de", 3))
    assert isinstance(broken, AttemptFailedFrame)
    assert isinstance(end, EndFrame)
    assert (broken.attempt, broken.bytes_emitted, end.content_bytes) == (2, 2, 5)


def test_an_attempt_is_told_as_broken_once() -> None:
    """When the engine has told that an attempt broke, only the end is missing."""
    broken, _ = _after(*opening(), text("hi"))
    (end,) = _after(*opening(), text("hi"), broken)
    assert isinstance(end, EndFrame)


def _failed(attempt: int, next_step: NextStep) -> AttemptFailedFrame:
    failure = Failure(FailureClass.TRUNCATED, "it ended in silence")
    on_break = OnBreak.CONTINUE
    return AttemptFailedFrame(
        attempt, failure, Reason.STREAM_BROKEN, SERVED_BY, 0, (), (), None, next_step, on_break, on_break
    )


def _sum(end: Frame) -> tuple[int, int]:
    assert isinstance(end, EndFrame)
    return end.content_bytes, end.content_crc32c


def _expected(content: bytes) -> tuple[int, int]:
    return len(content), google_crc32c.value(content)


def test_what_was_taken_back_does_not_count() -> None:
    """After a reset only what it keeps is in length and checksum, and the new attempt counts from there."""
    call = [_tool(1, '{"x', tool_id="a"), _tool(1, '": 1')]
    again = AttemptStartedFrame(2, SERVED_BY, Why.CONTINUATION, 0.0)
    broken, end = _after(
        *opening(), text("a"), text("b", 1), *call, _failed(1, NextStep.CONTINUING), ResetFrame(4), again, text("c", 2)
    )
    assert isinstance(broken, AttemptFailedFrame)
    assert (broken.attempt, broken.bytes_emitted, broken.tool_calls_open) == (2, 1, ())
    assert _sum(end) == _expected(b"abc")


def test_a_reset_may_take_everything_back_or_nothing() -> None:
    """0 keeps nothing; the number of the last frame, or a later one, keeps it all."""
    frames = [*opening(), text("a"), _failed(1, NextStep.RESTARTING)]
    (end,) = _after(*frames, ResetFrame(0))
    assert _sum(end) == (0, 0)
    for keep in (3, 4):
        (end,) = _after(*frames, ResetFrame(keep))
        assert _sum(end) == _expected(b"a")


def test_a_reset_may_go_back_to_where_an_attempt_ended() -> None:
    """Also where the next one went on with the same part."""
    again = AttemptStartedFrame(2, SERVED_BY, Why.CONTINUATION, 0.0)
    (end,) = _after(
        *opening(),
        text("a"),
        _failed(1, NextStep.CONTINUING),
        again,
        text("b", 1),
        _failed(2, NextStep.CONTINUING),
        ResetFrame(3),
    )
    assert _sum(end) == _expected(b"a")


def test_two_resets_may_go_back_to_the_same_place() -> None:
    """The second one counts what stood before the first."""
    frames: list[Frame] = [*opening(), text("a")]
    for attempt in (1, 2):
        call = ContentFrame(attempt, DeltaKind.TOOL_CALL, 1, 0, "{", tool_id="a")
        again = AttemptStartedFrame(attempt + 1, SERVED_BY, Why.CONTINUATION, 0.0)
        frames += [call, _failed(attempt, NextStep.CONTINUING), ResetFrame(3), again]
    _, end = _after(*frames)
    assert _sum(end) == _expected(b"a")


def test_a_broken_attempt_that_is_to_be_followed_is_not_told_twice() -> None:
    """Cut between the break and what follows, the stream gets its end alone, and what was delivered stands."""
    for next_step in NextStep:
        (end,) = _after(*opening(), text("hi"), _failed(1, next_step))
        assert _sum(end) == _expected(b"hi")


def test_an_attempt_that_became_visible_after_content_is_told_though_it_gave_nothing() -> None:
    """What was delivered was another one's, and is taken back."""
    again = AttemptStartedFrame(2, SERVED_BY, Why.RESTART, 0.0)
    broken, end = _after(*opening(), text("hi"), _failed(1, NextStep.RESTARTING), ResetFrame(0), again)
    assert isinstance(broken, AttemptFailedFrame)
    assert (broken.attempt, broken.bytes_emitted) == (2, 0)
    assert _sum(end) == (0, 0)


def test_where_a_reset_cannot_be_followed_nothing_is_made_up() -> None:
    """Into the middle of some text: no closing frames, since their sums could not be known."""
    assert _after(*opening(), text("a"), text("b", 1), _failed(1, NextStep.CONTINUING), ResetFrame(3)) == ()


def test_thousands_of_places_to_go_back_to_are_not_all_kept() -> None:
    """Memory is bounded: back to the beginning and to late places works, to forgotten ones nothing is made up."""
    pieces = [ContentFrame(1, DeltaKind.TEXT, number, 0, "x") for number in range(3000)]
    frames = [*opening(), *pieces, _failed(1, NextStep.RESTARTING)]
    (end,) = _after(*frames, ResetFrame(0))
    assert _sum(end) == (0, 0)
    (end,) = _after(*frames, ResetFrame(3000))
    assert _sum(end) == _expected(b"x" * 2998)
    assert _after(*frames, ResetFrame(1000)) == ()


def test_a_stream_that_is_read_on_is_closed_by_its_status_alone() -> None:
    """What its first frames were is not known here."""
    assert _after(text("on"), text("ward", 2)) == ()


def test_a_stream_that_goes_on_without_this_reader_is_not_closed() -> None:
    """The end of one reader's call is not the stream's."""
    delivered = Delivered()
    for frame in (*opening(), text("hi")):
        delivered.note(frame)
    assert delivered.closing_frames(CallFailure(Reason.STREAM_TAKEN_OVER, "m", stream_goes_on=True)) == ()


def test_breaks_are_counted_for_the_log() -> None:
    """The last one says what was done."""
    delivered = Delivered()
    for frame in (*opening(), text("hi"), _failed(1, NextStep.RESTARTING)):
        delivered.note(frame)
    assert delivered.breaks == 1
    assert delivered.last_break is not None
    assert delivered.last_break.on_break_applied is OnBreak.CONTINUE
