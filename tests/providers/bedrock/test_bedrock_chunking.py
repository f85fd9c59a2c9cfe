"""However the bytes of a stream are cut, and whether they come as a stream at all, the answer is the same."""

from __future__ import annotations

import json
from collections import defaultdict
from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from tests.providers.bedrock.frames import (
    START,
    arguments,
    block_end,
    call,
    end,
    failure,
    metadata,
    reasoning,
    text,
)

from trunkline_server.chat.answer import (
    Finished,
    TextDelta,
    ThinkingDelta,
    ThinkingSignatureDelta,
    ToolCallDelta,
    Usage,
)
from trunkline_server.chat.message import Part, TextPart, ThinkingPart, ToolCallPart
from trunkline_server.chat.request import ChatRequest
from trunkline_server.providers.base import AttemptError
from trunkline_server.providers.bedrock import BedrockAdapter
from trunkline_server.routing.failures import Failure

Joined = dict[int, list[object]]
ADAPTER = BedrockAdapter()
REQUEST = ChatRequest(model="m", messages=(), request_id="r")


def joined(pieces: list[bytes]) -> tuple[Joined, Finished | None, Usage | None, Failure | None]:
    """Decode a stream; return its parts with adjacent pieces joined, its end, its usage and its failure."""
    stream = ADAPTER.stream_decoder(REQUEST)
    parts: Joined = defaultdict(list)
    failed = None
    try:
        for piece in pieces:
            for delta in stream.feed(piece):
                part = parts[delta.part]
                if isinstance(delta, ToolCallDelta):
                    part.extend([delta.id, delta.name, *delta.arguments_json_delta, *(["done"] * delta.done)])
                elif isinstance(delta, TextDelta | ThinkingDelta):
                    part.extend([type(delta).__name__, *delta.text])
                elif isinstance(delta, ThinkingSignatureDelta):
                    part.extend([delta.signature, delta.redacted])
        stream.close()
    except AttemptError as error:
        failed = error.failure
    return dict(parts), stream.finished, stream.usage, failed


def cut(stream: bytes, places: list[int]) -> list[bytes]:
    borders = [0, *sorted(place % (len(stream) + 1) for place in places), len(stream)]
    return [stream[start:stop] for start, stop in pairwise(borders)]


EVENTS = [
    START,
    reasoning(0, text="grübeln"),
    reasoning(0, signature="sig"),
    block_end(0),
    text("héllo ", 1),
    text("wörld 🌍", 1),
    block_end(1),
    call(2, "c1", "f"),
    arguments(2, '{"a":"'),
    arguments(2, 'ß"}'),
    block_end(2),
    call(3, "c2", "g"),
    block_end(3),
    end("tool_use"),
    metadata(inputTokens=1, outputTokens=2),
]
ENDS = [
    EVENTS,
    EVENTS[:6],
    [*EVENTS[:9], failure("throttlingException", "slow down")],
    [*EVENTS[:5], EVENTS[5][:-1] + b"\0", *EVENTS[6:]],
]
PLACES = st.lists(st.integers(min_value=0, max_value=4000), max_size=40)


@given(events=st.sampled_from(ENDS), places=PLACES)
def test_any_chunking_gives_the_same_answer(events: list[bytes], places: list[int]) -> None:
    """Parts, end, usage and failure do not depend on where the bytes were cut."""
    stream = b"".join(events)
    assert joined(cut(stream, places)) == joined(events)


def test_byte_by_byte_gives_the_same_answer() -> None:
    """The finest chunking of all, through every failure too."""
    for events in ENDS:
        stream = b"".join(events)
        assert joined([stream[at : at + 1] for at in range(len(stream))]) == joined([stream])


@given(size=st.integers(min_value=0, max_value=len(b"".join(EVENTS)) - 1), places=PLACES)
def test_a_cut_stream_is_told_or_whole(size: int, places: list[int]) -> None:
    """A stream that ends anywhere fails, unless its stop reason was there."""
    stream = b"".join(EVENTS)[:size]
    _, finished, _, failed = joined(cut(stream, places))
    assert (finished is None) == (failed is not None)


@given(at=st.integers(min_value=0), flip=st.integers(min_value=1, max_value=255), places=PLACES)
def test_damage_is_never_an_answer_of_other_words(at: int, flip: int, places: list[int]) -> None:
    """A flipped byte leaves a beginning of the answer, told as broken, or the whole answer if it came after its end."""
    stream = bytearray(b"".join(EVENTS))
    stream[at % len(stream)] ^= flip
    parts, finished, _, failed = joined(cut(bytes(stream), places))
    whole, *_ = joined(EVENTS)
    assert (finished is None) == (failed is not None)
    for number, pieces in parts.items():
        said = [piece for piece in pieces if isinstance(piece, str) and len(piece) == 1]
        assert said == [piece for piece in whole[number] if isinstance(piece, str) and len(piece) == 1][: len(said)]


def shown(part: Part) -> list[object]:
    """Return a part of a whole answer in the form of `joined`."""
    if isinstance(part, ToolCallPart):
        return [part.id, part.name, *part.arguments_json, "done"]
    if isinstance(part, TextPart):
        return ["TextDelta", *part.text]
    assert isinstance(part, ThinkingPart)
    words = ["ThinkingDelta", *part.text] if part.text else []
    return [*words, *([part.signature, part.redacted] if part.signature else [])]


words = st.text(min_size=1, max_size=20)
objects = st.dictionaries(words, st.integers()).map(json.dumps)
BLOCKS = st.lists(
    st.one_of(
        st.tuples(st.just("text"), words),
        st.tuples(st.just("thinking"), words),
        st.tuples(st.just("redacted"), st.just("c2VhbGVk")),
        st.tuples(st.just("call"), objects),
    ),
    max_size=6,
)


def as_block(number: int, kind: str, value: str) -> dict[str, Any]:
    if kind == "text":
        return {"text": value}
    if kind == "thinking":
        return {"reasoningContent": {"reasoningText": {"text": value, "signature": "s"}}}
    if kind == "redacted":
        return {"reasoningContent": {"redactedContent": value}}
    return {"toolUse": {"toolUseId": f"c{number}", "name": "f", "input": json.loads(value)}}


def as_events(number: int, kind: str, value: str) -> list[bytes]:
    if kind == "text":
        return [text(value, number), block_end(number)]
    if kind == "thinking":
        return [reasoning(number, text=value), reasoning(number, signature="s"), block_end(number)]
    if kind == "redacted":
        return [reasoning(number, redactedContent=value), block_end(number)]
    return [call(number, f"c{number}", "f"), arguments(number, value), block_end(number)]


@given(blocks=BLOCKS)
def test_a_stream_and_a_whole_answer_agree(blocks: list[tuple[str, str]]) -> None:
    """The same message has the same parts, ids and end either way."""
    content = [as_block(number, *block) for number, block in enumerate(blocks)]
    body = {"output": {"message": {"role": "assistant", "content": content}}, "stopReason": "end_turn"}
    answer = ADAPTER.decode_answer(200, {}, json.dumps(body).encode())
    events = [event for number, block in enumerate(blocks) for event in as_events(number, *block)]
    parts, finished, _, failed = joined([START, *events, end()])
    assert failed is None
    assert finished == answer.finished
    whole = {
        number: [piece for piece in shown(part) if piece != ""] for number, part in enumerate(answer.message.parts)
    }
    assert {number: [piece for piece in pieces if piece != ""] for number, pieces in parts.items()} == whole
