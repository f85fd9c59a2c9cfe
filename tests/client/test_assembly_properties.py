"""Any stream that keeps the rules adds up to what was sent, and no damage to one goes unnoticed."""

from __future__ import annotations

import json
from collections import Counter

import grpc
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.strategies import DataObject, DrawFn
from tests.client.frames import Writer

from trunkline import Answer, Assembly, CallFailure, Retracted, StreamBrokenError, StreamError, TextPiece
from trunkline.v1 import FINISH_REASON_LENGTH, AttemptFailed, Delta, End, StreamFrame

BROKEN = CallFailure(grpc.StatusCode.ABORTED, "broke", "STREAM_BROKEN")
LOST = CallFailure(grpc.StatusCode.UNAVAILABLE, "connection lost")
CHARACTERS = "ab \n\u00e9\u0301\u6f22\U0001f30d"
"""One to four bytes each, a combining one among them."""
TEXT = st.text(alphabet=st.sampled_from(CHARACTERS), min_size=1, max_size=6)
ARGUMENTS = st.dictionaries(TEXT, st.one_of(TEXT, st.integers(), st.none()), max_size=2)


@st.composite
def streams(draw: DrawFn) -> Writer:
    """Draw a stream that keeps the rules: attempts that break, restarts, seams, calls in pieces, notices between."""
    writer = Writer().started()
    _notices(draw, writer)
    writer.attempt_started()
    for _ in range(draw(st.integers(0, 2))):
        _content(draw, writer)
        _break(draw, writer)
    _content(draw, writer)
    match draw(st.sampled_from(["complete", "incomplete", "failed"])):
        case "complete":
            return writer.end()
        case "incomplete":
            return writer.end(End.OUTCOME_INCOMPLETE, FINISH_REASON_LENGTH)
        case _:
            return writer.failed().end(End.OUTCOME_FAILED)


def _notices(draw: DrawFn, writer: Writer) -> None:
    for which in draw(st.lists(st.integers(0, 3), max_size=2)):
        writer.notice(which)


def _content(draw: DrawFn, writer: Writer) -> None:
    """Add pieces to parts that are there, or begin new ones."""
    for _ in range(draw(st.integers(1, 5))):
        parts = writer.parts()
        part = draw(st.integers(0, len(parts)))
        kind = draw(st.sampled_from(["text", "thinking", "refusal", "call"])) if part == len(parts) else parts[part][0]
        if kind == "text":
            writer.text(*draw(st.lists(TEXT, min_size=1, max_size=3)), part=part)
        elif kind == "thinking":
            _thinking(draw, writer, part)
        elif kind == "refusal":
            writer.refusal(draw(TEXT), part=part)
        elif kind == "call":
            _call(draw, writer, part)
        _notices(draw, writer)


def _thinking(draw: DrawFn, writer: Writer, part: int) -> None:
    sealed = any(each.part == part and each.kind == "signature" for each in writer.sent)
    if not sealed and draw(st.booleans()):
        writer.signature(draw(TEXT), part=part)
    else:
        writer.thinking(draw(TEXT), part=part)


def _call(draw: DrawFn, writer: Writer, part: int) -> None:
    """Send a call in pieces; perhaps without its last one, which leaves it open."""
    arguments = json.dumps(draw(ARGUMENTS), ensure_ascii=False)
    at = draw(st.integers(0, len(arguments) - 1))
    writer.tool(part, arguments[:at], call=(f"id-{writer.seq}", "f"))
    if draw(st.booleans()):
        writer.tool(part, arguments[at:])
        writer.tool(part, "", done=True)


def _break(draw: DrawFn, writer: Writer) -> None:
    """Break the attempt and begin another: from the beginning, or from some frame on."""
    if draw(st.booleans()):
        writer.failed(AttemptFailed.NEXT_RESTARTING)
        _notices(draw, writer)
        writer.reset().attempt_started(provider="two")
        return
    writer.failed(AttemptFailed.NEXT_CONTINUING)
    if draw(st.booleans()):
        writer.reset(draw(st.integers(0, writer.seq)))
    if writer.sent:
        writer.goes_on()
    else:
        writer.attempt_started()


def status(writer: Writer) -> CallFailure | None:
    """Return the status that agrees with a stream."""
    return BROKEN if writer.frames[-1].end.outcome == End.OUTCOME_FAILED else None


def read(frames: list[StreamFrame], failure: CallFailure | None) -> Answer:
    assembly = Assembly()
    for frame in frames:
        assembly.feed(frame)
    return assembly.finish(failure)


def told(frames: list[StreamFrame], failure: CallFailure | None) -> Answer:
    """Return the answer of a whole stream, or what a stream that tells of its failure carries."""
    try:
        return read(frames, failure)
    except StreamBrokenError as error:
        return error.partial


@given(streams())
def test_a_stream_adds_up_to_what_was_sent(writer: Writer) -> None:
    """Parts, calls and figures are those of the content that counts, whatever came between."""
    answer = told(writer.frames, status(writer))
    sent = writer.parts()
    calls = {True: answer.tool_calls, False: answer.open_tool_calls}
    for done, found in calls.items():
        assert [("tool_call", call.arguments_json, f"{call.id}/{call.name}", done) for call in found] == [
            part for part in sent if part[0] == "tool_call" and part[3] is done
        ]
    assert answer.text == "".join(text for kind, text, *_ in sent if kind == "text")
    assert answer.thinking == "".join(text for kind, text, *_ in sent if kind == "thinking")
    assert answer.refusal == "".join(text for kind, text, *_ in sent if kind == "refusal")
    kinds = [kind for kind, _, _, done in sent if kind != "tool_call" or done]
    assert [part.WhichOneof("content") for part in answer.message.parts] == kinds
    seals = [mark for kind, _, mark, _ in sent if kind == "thinking"]
    assert [part.thinking.signature for part in answer.message.parts if part.HasField("thinking")] == seals
    assert answer.last_seq == writer.seq
    assert answer.outcome == writer.frames[-1].end.outcome


@given(streams())
def test_the_pieces_are_the_answer(writer: Writer) -> None:
    """Whoever shows pieces as they come, and obeys what is taken back, has shown the answer's text and nothing else."""
    assembly = Assembly()
    shown = ""
    for frame in writer.frames:
        for event in assembly.feed(frame):
            if isinstance(event, TextPiece):
                shown += event.text
            elif isinstance(event, Retracted):
                shown = event.text
        # Pieces of several parts may take turns, so the order of what was shown is another.
        assert Counter(shown) == Counter(assembly.partial().text)


def damaged(writer: Writer, data: DataObject) -> list[StreamFrame]:
    """Return the frames of a stream, one of them lost, doubled, displaced, cut off or changed."""
    frames = [StreamFrame.FromString(frame.SerializeToString()) for frame in writer.frames]
    at = data.draw(st.integers(0, len(frames) - 2))
    match data.draw(st.sampled_from(["lost", "doubled", "displaced", "cut off", "renumbered", "other sum", "content"])):
        case "lost":
            del frames[at]
        case "doubled":
            frames.insert(data.draw(st.integers(at, len(frames))), frames[at])
        case "displaced":
            frames.insert(data.draw(st.integers(at + 1, len(frames) - 1)), frames.pop(at))
        case "cut off":
            del frames[at + 1 :]
        case "renumbered":
            frames[at].seq ^= 1 << data.draw(st.integers(0, 63))
        case "other sum":
            frames[-1].end.content_crc32c ^= 1 << data.draw(st.integers(0, 31))
        case "content":
            change(data.draw(st.sampled_from([frame for frame in frames if frame.HasField("deltas")])), data)
    return frames


def change(frame: StreamFrame, data: DataObject) -> None:
    """Change one thing in a frame with content: a byte of it, its place, or its attempt; or drop a piece."""
    items = frame.deltas.items
    at = data.draw(st.integers(0, len(items) - 1))
    match data.draw(st.sampled_from(["byte", "byte", "offset", "attempt", "piece"])):
        case "byte":
            flip(items[at], data)
        case "offset":
            items[at].offset ^= 1 << data.draw(st.integers(0, 63))
        case "attempt":
            frame.attempt ^= 1 << data.draw(st.integers(0, 31))
        case "piece":
            assume(_content_of(items[at]))
            del items[at]


def _content_of(item: Delta) -> str:
    return item.text or item.thinking or item.refusal or item.tool_call.arguments_json_delta


def flip(item: Delta, data: DataObject) -> None:
    """Replace one character of a piece by another; a signature is not part of the checksum."""
    text = _content_of(item)
    assume(text)
    at = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.sampled_from([character for character in CHARACTERS if character != text[at]]))
    text = text[:at] + other + text[at + 1 :]
    if item.HasField("tool_call"):
        item.tool_call.arguments_json_delta = text
    else:
        setattr(item, item.WhichOneof("content") or "", text)


@given(streams(), st.data())
def test_no_damage_goes_unnoticed(writer: Writer, data: DataObject) -> None:
    """A damaged stream ends in an error, or its damage was in what does not count and the answer is the true one."""
    failure = status(writer)
    truth, frames = told(writer.frames, failure), damaged(writer, data)
    assume(frames != writer.frames)
    try:
        answer, error = told(frames, failure), None
    except StreamError as raised:
        answer, error = raised.partial, raised
    if error is None:
        assert answer == truth
        assert any(frame.HasField("reset") for frame in frames)
    assert error is None or answer.outcome == End.OUTCOME_UNSPECIFIED


@given(streams(), st.data())
def test_only_the_status_that_agrees_makes_a_stream_whole(writer: Writer, data: DataObject) -> None:
    """Whatever else the status is, the stream is not whole, and what came of it is there."""
    whole = status(writer) is None
    failure = data.draw(st.sampled_from([BROKEN, LOST] if whole else [None, LOST]))
    came = data.draw(st.integers(0, writer.seq))
    assembly = Assembly()
    for frame in writer.frames[:came]:
        assembly.feed(frame)
    so_far = assembly.partial()
    with pytest.raises(StreamError) as caught:
        assembly.finish(failure)
    assert caught.value.partial == so_far
    assert not isinstance(caught.value, StreamBrokenError)
