"""The rules of a stream, each by example."""

from __future__ import annotations

from collections.abc import Callable

import grpc
import pytest
from tests.client.frames import ABORTED, Writer, short

from trunkline import (
    Answer,
    Assembly,
    AttemptBegan,
    AttemptBroke,
    CallFailedError,
    CallFailure,
    RefusalPiece,
    Retracted,
    StreamBrokenError,
    StreamCorruptError,
    StreamError,
    StreamEvent,
    StreamLostError,
    TextPiece,
    ThinkingPiece,
    ToolCallDone,
    ToolCallPiece,
)
from trunkline.v1 import (
    FINISH_REASON_LENGTH,
    FINISH_REASON_TOOL_CALLS,
    ROLE_ASSISTANT,
    AttemptFailed,
    Continuation,
    Deltas,
    End,
    Message,
    Part,
    Started,
    StreamFrame,
    ThinkingPart,
    TokenLogprob,
    ToolCallPart,
)

BROKEN = CallFailure(grpc.StatusCode.ABORTED, "broke", "STREAM_BROKEN")
LOST = CallFailure(grpc.StatusCode.UNAVAILABLE, "connection lost")
TOKENS = [TokenLogprob(token=text) for text in ("Hel", "lo", "x")]
RESTARTING = AttemptFailed.NEXT_RESTARTING
CONTINUING = AttemptFailed.NEXT_CONTINUING


def read(writer: Writer, failure: CallFailure | None = None) -> Answer:
    """Return the answer of a stream."""
    return follow(writer, failure)[1]


def follow(writer: Writer, failure: CallFailure | None = None) -> tuple[list[StreamEvent], Answer]:
    """Return the events and the answer of a stream."""
    assembly = Assembly()
    events = [event for frame in writer.frames for event in assembly.feed(frame)]
    return events, assembly.finish(failure)


def refused(writer: Writer, match: str, failure: CallFailure | None = None) -> StreamCorruptError:
    """Assert that a stream is taken for corrupt; return the error."""
    with pytest.raises(StreamCorruptError, match=match) as caught:
        read(writer, failure)
    assert not caught.value.partial.complete
    return caught.value


def test_a_whole_answer() -> None:
    """Text adds up over frames and items, and the end's figures come with it."""
    answer = read(short().text(", ", "wörld 🌍").end())
    assert answer.text == "Hello, wörld 🌍"
    assert answer.message == Message(role=ROLE_ASSISTANT, parts=[Part(text="Hello, wörld 🌍")])
    assert answer.complete
    assert (answer.outcome, answer.native_finish_reason) == (End.OUTCOME_COMPLETE, "stop")
    assert (answer.request_id, answer.stream_id, answer.last_seq) == ("r-1", "s-1", 5)
    assert answer.usage is not None
    assert answer.usage.output_tokens == 5
    assert answer.route.served_by.provider == "one"
    assert [attempt.attempt for attempt in answer.attempts] == [1]
    assert [warning.code for warning in answer.warnings] == ["W"]
    assert (answer.tool_calls, answer.open_tool_calls, answer.seams, answer.breaks) == ((), (), (), ())


def test_the_checksum_is_castagnolis() -> None:
    """The checksum is CRC-32C: of `123456789` it is 0xE3069283."""
    writer = Writer().started().attempt_started().text("123456789").end()
    assert writer.frames[-1].end.content_crc32c == 0xE3069283
    assert read(writer).text == "123456789"


def test_every_kind_of_content() -> None:
    """Reasoning with its seal, text, refusal and tool calls become the parts of one message, in the parts' order."""
    writer = Writer().started().attempt_started(provider="acme").thinking("hm").signature("seal").text("so", part=1)
    writer.refusal("no", part=2).tool(3, '{"a"', call=("c1", "f")).tool(4, "{}", call=("c2", "g"), done=True)
    writer.tool(3, ": 1}").tool(3, "", done=True).end(finish_reason=FINISH_REASON_TOOL_CALLS)
    events, answer = follow(writer)
    first = ToolCallPart(id="c1", name="f", arguments_json='{"a": 1}')
    second = ToolCallPart(id="c2", name="g", arguments_json="{}")
    assert list(answer.message.parts) == [
        Part(thinking=ThinkingPart(text="hm", signature="seal", provider="acme")),
        Part(text="so"),
        Part(refusal="no"),
        Part(tool_call=first),
        Part(tool_call=second),
    ]
    assert (answer.thinking, answer.text, answer.refusal) == ("hm", "so", "no")
    assert answer.tool_calls == (first, second)
    assert events[2:] == [
        ThinkingPiece(0, "hm"),
        TextPiece(1, "so"),
        RefusalPiece(2, "no"),
        ToolCallPiece(3, "c1", "f", '{"a"'),
        ToolCallPiece(4, "c2", "g", "{}"),
        ToolCallDone(4, second),
        ToolCallPiece(3, "c1", "f", ": 1}"),
        ToolCallPiece(3, "c1", "f", ""),
        ToolCallDone(3, first),
    ]


@pytest.mark.parametrize("redacted", [False, True])
def test_reasoning_without_words_is_kept_as_its_provider_takes_it_back(*, redacted: bool) -> None:
    """A seal alone is a part of its own, withheld or just not shown, as the delta says."""
    answer = read(Writer().started().attempt_started().signature("sealed", redacted=redacted).end())
    assert answer.message.parts[0].thinking == ThinkingPart(signature="sealed", redacted=redacted, provider="one")


def test_frames_that_change_nothing() -> None:
    """Heartbeats, usage and draining are told; frames of unknown kinds are skipped, and all of them are counted."""
    writer = Writer().started().notice(0).attempt_started().notice(3).text("a").notice(1).notice(2).end()
    events, answer = follow(writer)
    assert [type(event).__name__ for event in events] == [
        "Started", "Heartbeat", "AttemptBegan", "TextPiece", "UsageProgress", "Draining",
    ]  # fmt: skip
    assert isinstance(events[0], Started)
    assert answer.last_seq == 8


def test_log_probabilities_are_kept_and_taken_back() -> None:
    """Log-probabilities come with their piece, also without text, and go with it."""
    writer = short()
    writer.frames[-1].deltas.items[0].logprobs.append(TOKENS[0])
    writer.add(StreamFrame(deltas=Deltas()), 1)
    writer.frames[-1].deltas.items.add(offset=5).logprobs.append(TOKENS[1])
    writer.failed(CONTINUING).attempt_started(continuation=Continuation(after_seq=4)).text("x").end()
    writer.frames[-2].deltas.items[0].logprobs.append(TOKENS[2])
    events, answer = follow(writer)
    assert list(answer.logprobs) == TOKENS
    assert events[2] == TextPiece(0, "Hello", (TOKENS[0],))
    taken_back = short().text("x").failed(CONTINUING).reset(3).goes_on().text("y").end()
    taken_back.frames[3].deltas.items[0].logprobs.append(TOKENS[2])
    assert read(taken_back).logprobs == ()


def test_an_incomplete_answer_is_an_answer() -> None:
    """A limit, a filter or a refusal ends an answer without an error; its broken-off call is not presented as whole."""
    writer = short().tool(1, '{"half": ', call=("c1", "f")).end(End.OUTCOME_INCOMPLETE, FINISH_REASON_LENGTH)
    answer = read(writer)
    assert not answer.complete
    assert answer.finish_reason == FINISH_REASON_LENGTH
    assert answer.tool_calls == ()
    assert answer.open_tool_calls == (ToolCallPart(id="c1", name="f", arguments_json='{"half": '),)
    assert list(answer.message.parts) == [Part(text="Hello")]


def test_a_broken_stream() -> None:
    """A stream that says that it failed raises with what was delivered, how it failed, and its status."""
    writer = short().tool(1, "{}", call=("c1", "f"), done=True).tool(2, "{", call=("c2", "g")).failed()
    writer.end(End.OUTCOME_FAILED)
    with pytest.raises(StreamBrokenError, match="ABORTED STREAM_BROKEN: broke") as caught:
        read(writer, BROKEN)
    partial = caught.value.partial
    assert caught.value.failure is BROKEN
    assert partial.text == "Hello"
    assert partial.outcome == End.OUTCOME_FAILED
    assert [call.id for call in partial.tool_calls] == ["c1"]
    assert [call.id for call in partial.open_tool_calls] == ["c2"]
    assert [(broke.attempt, broke.failed.error.reason) for broke in partial.breaks] == [(1, "STREAM_BROKEN")]


def test_a_failure_before_the_content_is_a_broken_stream_too() -> None:
    """A stream that was announced early and then failed has its end, and nothing in it."""
    with pytest.raises(StreamBrokenError) as caught:
        read(Writer().started().end(End.OUTCOME_FAILED), BROKEN)
    assert list(caught.value.partial.message.parts) == []


def test_a_call_that_failed_before_any_frame() -> None:
    """Without a frame it is the call that failed; the partial answer is there, and empty."""
    with pytest.raises(CallFailedError, match="UNAVAILABLE: connection lost") as caught:
        read(Writer(), LOST)
    assert caught.value.failure is LOST
    assert (caught.value.partial.text, caught.value.partial.last_seq) == ("", 0)


@pytest.mark.parametrize("writer", [short(), short().end()], ids=["before the end", "after the end"])
def test_a_lost_stream(writer: Writer) -> None:
    """A cut connection, a deadline or a cancel leave the end untold, also between the `end` frame and the status."""
    with pytest.raises(StreamLostError, match="lost after frame") as caught:
        read(writer, LOST)
    partial = caught.value.partial
    assert (partial.text, partial.last_seq) == ("Hello", len(writer.frames))
    assert partial.outcome == End.OUTCOME_UNSPECIFIED


def test_a_lost_stream_goes_on_in_the_same_assembly() -> None:
    """Frames of a resumed stream follow on those that came."""
    writer = short().text(" again").end()
    assembly = Assembly()
    for frame in writer.frames[:3]:
        assembly.feed(frame)
    with pytest.raises(StreamLostError):
        assembly.finish(LOST)
    assert (assembly.last_seq, assembly.ended) == (3, False)
    for frame in writer.frames[3:]:
        assembly.feed(frame)
    assert assembly.ended
    assert assembly.finish(None).text == "Hello again"


def test_a_restart() -> None:
    """A reset takes everything back; parts and offsets begin again, and what was taken back does not count."""
    writer = short().tool(1, "{", call=("c1", "f")).failed(RESTARTING).reset().attempt_started(provider="two")
    events, answer = follow(writer.thinking("Anew").end())
    assert answer.thinking == "Anew"
    assert answer.text == ""
    assert answer.open_tool_calls == ()
    assert answer.seams == ()
    assert [broke.attempt for broke in answer.breaks] == [1]
    assert answer.message.parts[0].thinking.provider == "two"
    kinds = [type(event) for event in events]
    assert kinds[-4:] == [AttemptBroke, Retracted, AttemptBegan, ThinkingPiece]
    assert events[-3] == Retracted(0, "")


def test_a_continuation_shows_its_seam() -> None:
    """An attempt that goes on says where in the text it begins and how it was brought to."""
    writer = (
        short()
        .failed(CONTINUING)
        .attempt_started(continuation=Continuation(method=Continuation.METHOD_PROMPTED, after_seq=3, overlap_bytes=17))
    )
    answer = read(writer.text(" again").end())
    assert answer.text == "Hello again"
    (seam,) = answer.seams
    assert (seam.attempt, seam.text_at, seam.continuation.overlap_bytes) == (2, 5, 17)


def test_an_open_call_is_taken_back_before_going_on() -> None:
    """A reset in the middle keeps what came before, and a later restart takes its seam along."""
    writer = short().tool(1, '{"half', call=("c1", "f")).failed(CONTINUING).reset(3).goes_on().text("!")
    answer = read(writer.end())
    assert answer.text == "Hello!"
    assert answer.open_tool_calls == ()
    assert [seam.text_at for seam in answer.seams] == [5]
    again = short().failed(CONTINUING).goes_on().text("!").failed(RESTARTING).reset().attempt_started().text("B").end()
    assert read(again).seams == ()


def test_an_answer_may_end_at_a_break() -> None:
    """With no output left to go on with, a broken attempt's text ends as INCOMPLETE."""
    assert read(short().failed(CONTINUING).end(End.OUTCOME_INCOMPLETE, FINISH_REASON_LENGTH)).text == "Hello"


def test_a_large_number_in_arguments_is_json() -> None:
    """Arguments are checked, not converted: Python's limit on digits is none of JSON."""
    assert read(short().tool(1, "9" * 5000, call=("c", "f"), done=True).end()).tool_calls


Spoil = Callable[[Writer], object]


def changed(at: int, **fields: int) -> Spoil:
    """Return what changes fields of a frame."""

    def change(writer: Writer) -> None:
        for name, value in fields.items():
            setattr(writer.frames[at], name, value)

    return change


@pytest.mark.parametrize(
    ("writer", "match"),
    [
        (Writer().attempt_started().text("a").end(), "`started` comes once"),
        (Writer().notice(0).started().end(), "`started` comes once"),
        (short().started().end(), "`started` comes once"),
        (short().end().notice(0), "follows `end`"),
        (short().end().end(), "follows `end`"),
        (short(), "without its `end`"),
        (Writer(), "without its `end`"),
        (Writer().started().text("a").end(), "attempt 0, which is not going on"),
        (short().failed(CONTINUING).text("a").end(), "attempt 1, which is not going on"),
        (short().attempt_started().end(), "while attempt 1 goes on"),
        (short().failed(RESTARTING).attempt_started().text("a").end(), "without a `reset`"),
        (short().failed().attempt_started().text("a").end(), "after the stream gave up"),
        (short().failed(CONTINUING).attempt_started().text("a").end(), "without a seam"),
        (Writer().started().attempt_started(continuation=Continuation()).end(), "from where nothing ended"),
        (
            short().text("b").failed(CONTINUING).attempt_started(continuation=Continuation(after_seq=3)).end(),
            "from where nothing ended",
        ),
        (short().failed().failed().end(End.OUTCOME_FAILED), "fails, which is not going on"),
        (short().reset().end(), "while an attempt goes on"),
        (short().failed(RESTARTING).reset(9).attempt_started().end(), "keeps what has not come"),
        (short().thinking("a").end(), "part 0 is text and goes on as thinking"),
        (Writer().started().attempt_started().thinking("a").signature("s").signature("s").end(), "signed twice"),
        (short().tool(1, "{}").end(), "without an id and a name"),
        (short().tool(1, "{}", call=("c", "")).end(), "without an id and a name"),
        (short().tool(1, "{", call=("c", "f")).tool(1, "}", call=("d", "")).end(), "goes on as another one"),
        (short().tool(1, "{}", call=("c", "f"), done=True).tool(1, " ").end(), "after it was whole"),
        (short().tool(1, "{", call=("c", "f"), done=True).end(), "is no JSON"),
        (short().failed().end(), "broke, and the answer is called complete"),
        (short().end(End.OUTCOME_UNSPECIFIED), "outcome 0 is not known"),
        (short().end(End.OUTCOME_FAILED), "its status is OK"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be(writer: Writer, match: str) -> None:
    """A stream that contradicts itself is corrupt, whatever its status says."""
    error = refused(writer, match)
    assert error.failure.code is grpc.StatusCode.DATA_LOSS


def test_a_frame_holds_one_kind() -> None:
    """Content of two kinds, or of two tool calls, in one frame is corrupt: a reset could not part them."""
    writer = short()
    writer.frames[-1].deltas.items.add(part=1, refusal="b")
    refused(writer, "two kinds")
    writer = short().tool(1, "{", call=("c", "f"))
    writer.frames[-1].deltas.items.add(part=2).tool_call.id = "d"
    refused(writer, "two tool calls")


@pytest.mark.parametrize(
    ("spoil", "match"),
    [
        (lambda writer: writer.frames.pop(2), "frame 3 is missing"),
        (lambda writer: writer.frames.insert(2, writer.frames[2]), "frame 4 is missing"),
        (lambda writer: writer.frames.reverse(), "frame 1 is missing"),
        (changed(3, seq=0), "frame 4 is missing"),
        (changed(3, attempt=2), "attempt 2, which is not going on"),
        (lambda writer: setattr(writer.frames[3].deltas.items[0], "offset", 4), "goes on at byte 4, but byte 5"),
        (lambda writer: setattr(writer.frames[3].deltas.items[0], "text", " agaim"), "checksum is wrong"),
        (lambda writer: setattr(writer.frames[3].deltas.items[0], "text", " agai"), "10 bytes of content came, and 11"),
        (lambda writer: setattr(writer.frames[4].end, "content_crc32c", 0), "checksum is wrong"),
        (lambda writer: setattr(writer.frames[4].end, "finish_reason", 7), "disagree"),
        (lambda writer: setattr(writer.frames[4].end.error, "code", ABORTED), "disagree"),
    ],
)
def test_what_was_damaged(spoil: Spoil, match: str) -> None:
    """A frame that is missing, doubled, displaced or changed is noticed at the latest at the end."""
    writer = short().text(" again").end()
    spoil(writer)
    refused(writer, match)


@pytest.mark.parametrize(
    ("writer", "failure"),
    [
        (short().end(), BROKEN),
        (short().failed().end(End.OUTCOME_FAILED), CallFailure(grpc.StatusCode.INTERNAL, "", "INTERNAL")),
    ],
)
def test_end_and_status_disagree(writer: Writer, failure: CallFailure) -> None:
    """A status of the server's own that is not that of the `end` frame makes the stream corrupt."""
    error = refused(writer, "disagree", failure)
    assert error.failure is failure


def test_a_corrupt_stream_stays_corrupt() -> None:
    """After a contradiction nothing is taken any more, and the error is the same."""
    writer = short().text("b").end()
    assembly = Assembly()
    with pytest.raises(StreamCorruptError) as first:
        assembly.feed(writer.frames[1])
    for call in (lambda: assembly.feed(writer.frames[0]), lambda: assembly.finish(None), lambda: assembly.finish(LOST)):
        with pytest.raises(StreamCorruptError) as later:
            call()
        assert later.value is first.value


def test_every_error_is_a_stream_error() -> None:
    """One `except` catches all of them."""
    kinds: list[type[StreamError]] = [CallFailedError, StreamBrokenError, StreamLostError, StreamCorruptError]
    assert all(issubclass(kind, StreamError) for kind in kinds)
