"""However the bytes of a stream are cut, and whether they come as a stream at all, the answer is the same."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from tests.providers.gemini.said import call, chunk, event, text, thought, usage

from trunkline_server.chat.answer import (
    Delta,
    Finished,
    TextDelta,
    ThinkingDelta,
    ThinkingSignatureDelta,
    ToolCallDelta,
    Usage,
)
from trunkline_server.chat.message import Part, TextPart, ThinkingPart, ToolCallPart
from trunkline_server.providers.base import AttemptError
from trunkline_server.providers.gemini import GeminiAdapter, GeminiStreamDecoder
from trunkline_server.routing.failures import Failure, FailureClass

Joined = dict[int, list[object]]


def shown(delta: Delta) -> list[object]:
    """Return a delta in pieces that can be joined with those of its neighbours."""
    if isinstance(delta, ToolCallDelta):
        return [delta.id, delta.name, *delta.arguments_json_delta, *(["done"] * delta.done)]
    if isinstance(delta, ThinkingSignatureDelta):
        return ["sealed", delta.signature]
    assert isinstance(delta, TextDelta | ThinkingDelta)
    return [f"{type(delta).__name__} {char}" for char in delta.text]


def joined(pieces: list[bytes]) -> tuple[Joined, Finished | None, Usage | None, Failure | None]:
    """Decode a stream; return its parts with adjacent pieces joined, its end, its usage and its failure."""
    stream = GeminiStreamDecoder()
    parts: Joined = defaultdict(list)
    failure = None
    try:
        for piece in pieces:
            for delta in stream.feed(piece):
                parts[delta.part].extend(shown(delta))
        stream.close()
    except AttemptError as error:
        failure = error.failure
    return dict(parts), stream.finished, stream.usage, failure


def cut(stream: bytes, places: list[int]) -> list[bytes]:
    borders = [0, *sorted(place % (len(stream) + 1) for place in places), len(stream)]
    return [stream[start:end] for start, end in pairwise(borders)]


EVENTS: list[dict[str, Any]] = [
    chunk(thought("grübeln")),
    chunk(text("héllo ")),
    chunk(text("wörld 🌍"), **usage(promptTokenCount=3)),
    chunk(text("!", thoughtSignature="c2ln")),
    chunk(call("f", {"a": "ß"}, "c1", thoughtSignature="c2lnMg=="), call("g", {}, "c2")),
    chunk(text(""), finish="STOP", **usage(promptTokenCount=3, candidatesTokenCount=2)),
]
ERROR = {"error": {"code": 503, "status": "UNAVAILABLE", "message": "The model is overloaded."}}
ENDS: list[list[dict[str, Any]]] = [
    EVENTS,
    EVENTS[:3],
    [*EVENTS[:4], ERROR],
    [{"promptFeedback": {"blockReason": "X"}}],
]
TAILS = [b"", json.dumps(ERROR, indent=1).encode(), json.dumps([ERROR], indent=2).encode() + b"\r\n", b"{", b"data: {"]


def written(events: list[dict[str, Any]], line_end: bytes) -> bytes:
    return b"".join(b": beat" + line_end + event(body).replace(b"\r\n", line_end) for body in events)


@given(
    events=st.sampled_from(ENDS),
    tail=st.sampled_from(TAILS),
    line_end=st.sampled_from([b"\n", b"\r\n", b"\r"]),
    places=st.lists(st.integers(min_value=0, max_value=4000), max_size=40),
)
def test_any_chunking_gives_the_same_answer(
    events: list[dict[str, Any]], tail: bytes, line_end: bytes, places: list[int]
) -> None:
    """Parts, end, usage and failure do not depend on where the bytes were cut."""
    stream = written(events, line_end) + tail
    assert joined(cut(stream, places)) == joined([written(events, b"\n") + tail])


def test_byte_by_byte_gives_the_same_answer() -> None:
    """The finest chunking of all, through every failure too."""
    for events in ENDS:
        stream = written(events, b"\r\n")
        assert joined([stream[at : at + 1] for at in range(len(stream))]) == joined([stream])


@given(length=st.integers(min_value=0, max_value=2000))
def test_a_stream_that_is_cut_anywhere_is_whole_or_fails(length: int) -> None:
    """It ends with a reason, or with a failure that has a class: never with neither."""
    stream = written(EVENTS, b"\r\n")
    _, finished, _, failure = joined([stream[:length]])
    assert (finished is None) == (failure is not None)
    if failure is not None:
        assert failure.failure_class in {FailureClass.TRUNCATED, FailureClass.PROTOCOL}


@given(garbage=st.binary(max_size=300), place=st.integers(min_value=0, max_value=1500))
def test_garbage_anywhere_ends_in_an_answer_or_a_failure(garbage: bytes, place: int) -> None:
    """Whatever the bytes, nothing else is raised."""
    stream = written(EVENTS, b"\r\n")
    at = place % len(stream)
    _, finished, _, failure = joined([stream[:at] + garbage + stream[at:]])
    assert (finished is None) == (failure is not None)


def test_an_event_of_a_mebibyte_in_small_pieces_takes_linear_time() -> None:
    """Four times the bytes take about four times as long."""

    def best_s(size: int) -> float:
        stream = event(chunk(text("x" * size), finish="STOP"))
        pieces = [stream[at : at + 64] for at in range(0, len(stream), 64)]
        times = []
        for _ in range(3):
            start = time.process_time()
            parts, _, _, failure = joined(pieces)
            times.append(time.process_time() - start)
            assert failure is None
            assert len(parts[0]) == size
        return min(times)

    assert best_s(1024 * 1024) < 8 * best_s(256 * 1024)


words = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
signatures = st.none() | st.sampled_from(["c2ln", "c2lnMg=="])


def sealed(part: dict[str, Any], signature: str | None) -> dict[str, Any]:
    return part if signature is None else {**part, "thoughtSignature": signature}


PARTS = st.lists(
    st.one_of(
        st.builds(sealed, words.map(text), signatures),
        st.builds(sealed, words.map(thought), signatures),
        st.builds(sealed, st.builds(call, words, st.dictionaries(words, st.integers())), signatures),
        st.just(text("")),
    ),
    max_size=8,
)


def shown_part(part: Part) -> list[object]:
    if isinstance(part, ToolCallPart):
        return [part.id, part.name, *part.arguments_json, "done"]
    if isinstance(part, TextPart):
        return [f"TextDelta {char}" for char in part.text]
    assert isinstance(part, ThinkingPart)
    return [
        *(f"ThinkingDelta {char}" for char in part.text),
        *(["sealed", part.signature] if part.signature is not None else []),
    ]


@given(parts=PARTS)
def test_a_stream_and_a_whole_answer_agree(parts: list[dict[str, Any]]) -> None:
    """The same parts are the same parts of ours either way, with the same ids, signatures and end."""
    stream = b"".join(event(chunk(part)) for part in parts) + event(chunk(finish="STOP"))
    streamed, finished, _, failure = joined([stream])
    body = json.dumps(chunk(*parts, finish="STOP"), separators=(",", ":"), ensure_ascii=False).encode()
    answer = GeminiAdapter().decode_answer(200, {}, body)
    assert failure is None
    assert finished == answer.finished
    assert streamed == {number: shown_part(part) for number, part in enumerate(answer.message.parts)}
