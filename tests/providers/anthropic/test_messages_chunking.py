"""However the bytes of a stream are cut, and whether they come as a stream at all, the answer is the same."""

from __future__ import annotations

import contextlib
import json
from collections import defaultdict
from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

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
from trunkline_server.providers.anthropic import AnthropicAdapter
from trunkline_server.providers.base import AttemptError
from trunkline_server.routing.failures import Failure

Joined = dict[int, list[object]]
ADAPTER = AnthropicAdapter()
REQUEST = ChatRequest(model="m", messages=(), request_id="r")


def joined(pieces: list[bytes]) -> tuple[Joined, Finished | None, Usage | None, Failure | None]:
    """Decode a stream; return its parts with adjacent pieces joined, its end, its usage and its failure."""
    stream = ADAPTER.stream_decoder(REQUEST)
    parts: Joined = defaultdict(list)
    failure = None
    try:
        for piece in pieces:
            for delta in stream.feed(piece):
                part = parts[delta.part]
                if isinstance(delta, ToolCallDelta):
                    part.extend([delta.id, delta.name, *delta.arguments_json_delta, *(["done"] * delta.done)])
                elif isinstance(delta, ThinkingSignatureDelta):
                    part.extend([f"redacted {delta.redacted}", delta.signature])
                elif isinstance(delta, TextDelta | ThinkingDelta):
                    part.extend([type(delta).__name__, delta.text])
        stream.close()
    except AttemptError as error:
        failure = error.failure
    return dict(parts), stream.finished, stream.usage, failure


def cut(stream: bytes, places: list[int]) -> list[bytes]:
    borders = [0, *sorted(place % (len(stream) + 1) for place in places), len(stream)]
    return [stream[start:end] for start, end in pairwise(borders)]


def delta(index: int, kind: str, **fields: Any) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": index, "delta": {"type": kind, **fields}}


def begin(index: int, **block: Any) -> dict[str, Any]:
    return {"type": "content_block_start", "index": index, "content_block": block}


def end(index: int) -> dict[str, Any]:
    return {"type": "content_block_stop", "index": index}


EVENTS: list[dict[str, Any]] = [
    {"type": "message_start", "message": {"id": "msg_1", "usage": {"input_tokens": 3, "output_tokens": 1}}},
    begin(0, type="thinking", thinking="", signature=""),
    delta(0, "thinking_delta", thinking="grübeln"),
    delta(0, "signature_delta", signature="c2ln"),
    end(0),
    {"type": "ping"},
    begin(1, type="redacted_thinking", data="c2VhbGVk"),
    end(1),
    begin(2, type="text", text=""),
    delta(2, "text_delta", text="héllo "),
    delta(2, "text_delta", text="wörld 🌍"),
    end(2),
    begin(3, type="server_tool_use", id="s1", name="web_search", input={}),
    delta(3, "input_json_delta", partial_json='{"q":1}'),
    end(3),
    begin(4, type="tool_use", id="t1", name="f", input={}),
    delta(4, "input_json_delta", partial_json='{"a":"'),
    delta(4, "input_json_delta", partial_json='ß"}'),
    end(4),
    begin(5, type="tool_use", id="t2", name="g", input={}),
    end(5),
    {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 9}},
    {"type": "message_stop"},
]
FAILING = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
ENDS: list[list[dict[str, Any]]] = [EVENTS, EVENTS[:11], [*EVENTS[:17], FAILING], [*EVENTS[:3], {"type": 7}]]


def written(events: list[dict[str, Any]], line_end: str, *, ascii_only: bool, named: bool = True) -> bytes:
    texts = ((event["type"], json.dumps(event, ensure_ascii=ascii_only)) for event in events)
    names = ((f"event: {kind}{line_end}" if named else "", text) for kind, text in texts)
    return b"".join(f"{name}data: {text}{line_end}{line_end}".encode() for name, text in names)


@given(
    events=st.sampled_from(ENDS),
    line_end=st.sampled_from(["\n", "\r\n", "\r"]),
    ascii_only=st.booleans(),
    places=st.lists(st.integers(min_value=0, max_value=4000), max_size=40),
)
def test_any_chunking_gives_the_same_answer(
    events: list[dict[str, Any]], line_end: str, places: list[int], *, ascii_only: bool
) -> None:
    """Parts, end, usage and failure do not depend on where the bytes were cut."""
    stream = written(events, line_end, ascii_only=ascii_only)
    assert joined(cut(stream, places)) == joined([written(events, "\n", ascii_only=False)])


def test_byte_by_byte_gives_the_same_answer() -> None:
    """The finest chunking of all, through every failure too."""
    for events in ENDS:
        stream = written(events, "\r\n", ascii_only=False)
        assert joined([stream[at : at + 1] for at in range(len(stream))]) == joined([stream])


def test_names_of_events_say_nothing_new() -> None:
    """A server that leaves them out says the same by the types in the data."""
    for events in ENDS:
        assert joined([written(events, "\n", ascii_only=True, named=False)]) == joined(
            [written(events, "\n", ascii_only=True)]
        )


@given(length=st.integers(min_value=0, max_value=2500))
def test_a_stream_that_is_cut_off_is_never_whole(length: int) -> None:
    """Unless its reason to stop had come; what had come before the cut is what the whole has at its beginning."""
    stream = written(EVENTS, "\n", ascii_only=False)
    parts, finished, _, failure = joined([stream[:length]])
    all_parts, *_ = joined([stream])
    assert (finished is None) == (failure is not None)
    for number, part in parts.items():
        assert "".join(map(str, all_parts[number])).startswith("".join(map(str, part)))


LETTERS = 'ab 7"\\{}[]:,\n\r\x00ß\u2028世🌍'
"""What JSON escapes, what ends lines somewhere, and letters of one to four bytes."""

TEXTS = st.text(LETTERS, max_size=8)
JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)


@given(
    st.lists(
        st.binary(max_size=60)
        | st.sampled_from(EVENTS).flatmap(
            lambda event: st.tuples(st.just(event), st.sampled_from(sorted(event)), JUNK).map(
                lambda made: written([{**made[0], made[1]: made[2]} | {"type": made[0]["type"]}], "\n", ascii_only=True)
            )
        ),
        max_size=12,
    )
)
def test_garbage_raises_nothing_but_the_typed_error(chunks: list[bytes]) -> None:
    """Bytes of any kind, and events with a field of any kind: deltas or an AttemptError."""
    stream = ADAPTER.stream_decoder(REQUEST)
    with contextlib.suppress(AttemptError):
        for chunk in chunks:
            stream.feed(chunk)
        stream.close()


@given(st.binary(max_size=80) | JUNK.map(lambda value: json.dumps(value).encode()))
def test_a_whole_answer_of_garbage_raises_nothing_but_the_typed_error(body: bytes) -> None:
    """Likewise."""
    with contextlib.suppress(AttemptError):
        ADAPTER.decode_answer(200, {}, body)


def shown(part: Part) -> list[object]:
    """Return a part of a whole answer in the form of `joined`."""
    if isinstance(part, ToolCallPart):
        return [part.id, part.name, *part.arguments_json, "done"]
    if isinstance(part, TextPart):
        return ["TextDelta", part.text]
    assert isinstance(part, ThinkingPart)
    words = ["ThinkingDelta", part.text] if part.text else []
    return [*words, f"redacted {part.redacted}", part.signature]


words = st.text(LETTERS, min_size=1, max_size=20)
THINKING = st.builds(lambda thinking: {"type": "thinking", "thinking": thinking, "signature": "s"}, words)
REDACTED = st.builds(lambda data: {"type": "redacted_thinking", "data": data}, words)
TEXT = st.builds(lambda text: {"type": "text", "text": text}, words)
CALL = st.builds(
    lambda given: {"type": "tool_use", "id": "", "name": "f", "input": given},
    st.dictionaries(words, st.integers(), max_size=2),
)
OTHER = st.just({"type": "brand_new", "text": 7})


def streamed(index: int, block: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the events of a block as the vendor sends it."""
    if block["type"] == "text":
        pieces = [delta(index, "text_delta", text=block["text"])]
        return [begin(index, type="text", text=""), *pieces, end(index)]
    if block["type"] == "thinking":
        pieces = [
            delta(index, "thinking_delta", thinking=block["thinking"]),
            delta(index, "signature_delta", signature=block["signature"]),
        ]
        return [begin(index, type="thinking", thinking="", signature=""), *pieces, end(index)]
    if block["type"] == "tool_use":
        arguments = json.dumps(block["input"], separators=(",", ":"))
        pieces = [delta(index, "input_json_delta", partial_json=arguments)]
        return [begin(index, **{**block, "input": {}}), *pieces, end(index)]
    return [begin(index, **block), end(index)]


@given(st.lists(THINKING | REDACTED | TEXT | CALL | OTHER, max_size=5))
def test_a_stream_and_a_whole_answer_agree(content: list[dict[str, Any]]) -> None:
    """The same message has the same parts, ids and end either way."""
    told = {"id": "msg_1", "type": "message", "content": content, "stop_reason": "end_turn"}
    answer = ADAPTER.decode_answer(200, {}, json.dumps(told, separators=(",", ":")).encode())
    events = [event for index, block in enumerate(content) for event in streamed(index, block)]
    start = {"type": "message_start", "message": {"id": "msg_1"}}
    stop = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}}
    parts, finished, _, failure = joined([written([start, *events, stop], "\n", ascii_only=True)])
    assert failure is None
    assert finished == answer.finished
    said = [[piece for piece in parts[number] if piece] for number in sorted(parts)]
    assert said == [[piece for piece in shown(part) if piece] for part in answer.message.parts]
