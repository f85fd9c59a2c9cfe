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
    StreamOutcome,
)
from trunkline_server.routing.events import Why
from trunkline_server.routing.failures import FailureClass
from trunkline_server.routing.types import Reason
from trunkline_server.rpc.delivered import Delivered

GOING_DOWN = CallFailure(Reason.SERVER_DRAINING, "the server is going down")


def _tool(part: int, arguments: str, *, tool_id: str = "", done: bool = False) -> ContentFrame:
    return ContentFrame(1, DeltaKind.TOOL_CALL, part, 0, arguments, tool_id=tool_id, tool_done=done)


def _after(*frames: Frame) -> tuple[Frame, ...]:
    delivered = Delivered()
    for frame in frames:
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
