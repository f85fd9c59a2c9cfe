"""What a server may do between a break and what follows it, and around a stream that is read on."""

from __future__ import annotations

import grpc
import pytest
from tests.client.frames import Writer, short

from trunkline import Answer, Assembly, CallFailure, Retracted, StreamBrokenError, StreamEvent, StreamLostError
from trunkline.v1 import FINISH_REASON_LENGTH, AttemptFailed, End, StreamFrame

BROKEN = CallFailure(grpc.StatusCode.ABORTED, "broke", "STREAM_BROKEN")
LOST = CallFailure(grpc.StatusCode.UNAVAILABLE, "connection lost")
RESTARTING = AttemptFailed.NEXT_RESTARTING
CONTINUING = AttemptFailed.NEXT_CONTINUING
HEARTBEAT, USAGE, DRAINING = range(3)


def follow(writer: Writer) -> tuple[list[StreamEvent], Answer]:
    """Return the events and the answer of a stream that ends as OK."""
    assembly = Assembly()
    events = [event for frame in writer.frames for event in assembly.feed(frame)]
    return events, assembly.finish(None)


def after(frames: list[StreamFrame]) -> Assembly:
    assembly = Assembly()
    for frame in frames:
        assembly.feed(frame)
    return assembly


def test_what_was_delivered_stands_until_the_reset_right_before_the_new_attempt() -> None:
    """A restart takes back only when it has something better; until then everything counts."""
    writer = short().failed(RESTARTING).notice(HEARTBEAT).notice(USAGE)
    assert after(writer.frames).partial().text == "Hello"
    events, answer = follow(writer.reset().attempt_started().text("Again").end())
    assert answer.text == "Again"
    assert [event.text for event in events if isinstance(event, Retracted)] == [""]


def test_a_restart_that_came_to_nothing_leaves_what_was_delivered() -> None:
    """The end says FAILED over all that was delivered, since nothing was taken back."""
    assembly = after(short().failed(RESTARTING).notice(HEARTBEAT).end(End.OUTCOME_FAILED).frames)
    with pytest.raises(StreamBrokenError) as caught:
        assembly.finish(BROKEN)
    assert caught.value.partial.text == "Hello"


def test_heartbeats_may_come_before_any_attempt() -> None:
    """A stream that was announced at admission is alive long before a target has it."""
    writer = Writer().started().notice(HEARTBEAT).notice(DRAINING).notice(HEARTBEAT).attempt_started().text("a").end()
    assert follow(writer)[1].text == "a"


def test_an_announced_stream_may_fail_before_any_attempt() -> None:
    """It has its first frame, and its end."""
    assembly = after(Writer().started().notice(HEARTBEAT).end(End.OUTCOME_FAILED).frames)
    with pytest.raises(StreamBrokenError) as caught:
        assembly.finish(BROKEN)
    assert caught.value.partial.text == ""


def test_an_output_limit_that_is_used_up_ends_a_broken_attempt_as_incomplete() -> None:
    """Nothing is left to go on with: CONTINUING is followed by the end, and the answer is cut short but verified."""
    _, answer = follow(short().failed(CONTINUING).end(End.OUTCOME_INCOMPLETE, FINISH_REASON_LENGTH))
    assert (answer.text, answer.complete, len(answer.breaks)) == ("Hello", False, 1)


def test_an_open_call_may_be_taken_back_alone() -> None:
    """The text before it stands, and the next attempt goes on from there."""
    writer = short().tool(1, '{"x', call=("c", "f"))
    writer.failed(CONTINUING).reset(writer.sent[0].seq).goes_on().text(" you").end()
    _, answer = follow(writer)
    assert (answer.text, answer.tool_calls, answer.open_tool_calls) == ("Hello you", (), ())
    assert len(answer.seams) == 1


def test_an_answer_that_was_nothing_but_an_open_call_begins_afresh() -> None:
    """Nothing stands to go on from, so that there is no seam."""
    writer = Writer().started().attempt_started().tool(0, '{"x', call=("c", "f"))
    _, answer = follow(writer.failed(CONTINUING).reset().attempt_started().text("a").end())
    assert (answer.text, answer.open_tool_calls, answer.seams) == ("a", (), ())


def test_a_stream_whose_status_was_lost_is_whole_when_reading_on_gives_nothing_but_ok() -> None:
    """Its end had come and proved right: only the status was missing."""
    assembly = after(short().end().frames)
    with pytest.raises(StreamLostError):
        assembly.finish(LOST)
    assert assembly.finish(None).complete


@pytest.mark.parametrize("reason", ["STREAM_NOT_FOUND", "STREAM_NOT_DETACHABLE", "STREAM_TOO_OLD", "STREAM_TAKEN_OVER"])
@pytest.mark.parametrize("ended", [False, True])
def test_a_refusal_to_read_on_says_nothing_against_what_came(reason: str, *, ended: bool) -> None:
    """Whether or not the end had come: the stream is lost, not corrupt."""
    writer = short().end() if ended else short()
    with pytest.raises(StreamLostError) as caught:
        after(writer.frames).finish(CallFailure(grpc.StatusCode.NOT_FOUND, "m", reason))
    assert caught.value.failure.reason == reason
    assert caught.value.partial.text == "Hello"
