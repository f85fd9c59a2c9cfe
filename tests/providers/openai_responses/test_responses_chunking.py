"""However the bytes of a stream are cut, and whether they come as a stream at all, the answer is the same."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline_server.chat.answer import (
    Finished,
    RefusalDelta,
    TextDelta,
    ThinkingDelta,
    ThinkingSignatureDelta,
    ToolCallDelta,
    Usage,
)
from trunkline_server.chat.message import Part, RefusalPart, TextPart, ThinkingPart, ToolCallPart
from trunkline_server.chat.request import ChatRequest
from trunkline_server.providers.base import AttemptError
from trunkline_server.providers.openai_responses import ResponsesAdapter
from trunkline_server.routing.failures import Failure, FailureClass

Joined = dict[int, list[object]]
ADAPTER = ResponsesAdapter()
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
                    part.extend([delta.signature, delta.redacted])
                elif isinstance(delta, TextDelta | ThinkingDelta | RefusalDelta):
                    part.extend([type(delta).__name__, delta.text])
        stream.close()
    except AttemptError as error:
        failure = error.failure
    return dict(parts), stream.finished, stream.usage, failure


def cut(stream: bytes, places: list[int]) -> list[bytes]:
    borders = [0, *sorted(place % (len(stream) + 1) for place in places), len(stream)]
    return [stream[start:end] for start, end in pairwise(borders)]


THOUGHT = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gA="}
CALL = {"type": "function_call", "call_id": "c1", "name": "f", "arguments": ""}
COMPLETED = {
    "type": "response.completed",
    "response": {"status": "completed", "usage": {"input_tokens": 1, "output_tokens": 2}},
}
EVENTS: list[dict[str, Any]] = [
    {"type": "response.created", "response": {"id": "resp_1"}},
    {"type": "response.reasoning_summary_text.delta", "output_index": 0, "summary_index": 0, "delta": "grübeln"},
    {"type": "response.output_item.done", "output_index": 0, "item": THOUGHT},
    {"type": "response.output_text.delta", "output_index": 1, "content_index": 0, "delta": "héllo ", "logprobs": []},
    {"type": "response.output_text.delta", "output_index": 1, "content_index": 0, "delta": "wörld 🌍"},
    {"type": "response.output_item.added", "output_index": 2, "item": CALL},
    {"type": "response.function_call_arguments.delta", "output_index": 2, "delta": '{"a":"'},
    {"type": "response.function_call_arguments.delta", "output_index": 2, "delta": 'ß"}'},
    {"type": "response.function_call_arguments.done", "output_index": 2, "arguments": '{"a":"ß"}'},
    COMPLETED,
]
ENDS: list[list[dict[str, Any]]] = [
    EVENTS,
    EVENTS[:5],
    [*EVENTS[:6], {"type": "error", "message": "it broke", "code": "overloaded"}],
    [*EVENTS[:4], {"type": "response.failed", "response": {"error": {"code": "rate_limit_exceeded"}}}],
]


def written(events: list[dict[str, Any]], line_end: str, *, ascii_only: bool) -> bytes:
    lines = (
        f": beat{line_end}event: {body['type']}{line_end}data: {json.dumps(body, ensure_ascii=ascii_only)}"
        for body in events
    )
    return b"".join(f"{line}{line_end}{line_end}".encode() for line in lines)


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


@given(
    end=st.integers(min_value=0, max_value=len(written(EVENTS, "\n", ascii_only=False)) - 2),
    places=st.lists(st.integers(min_value=0, max_value=4000), max_size=8),
)
def test_a_stream_cut_anywhere_is_told(end: int, places: list[int]) -> None:
    """Before its last event is whole, no stream passes for an answer."""
    stream = written(EVENTS, "\n", ascii_only=False)[:end]
    _, finished, _, failure = joined(cut(stream, places))
    assert finished is None
    assert failure is not None
    assert failure.failure_class in {FailureClass.TRUNCATED, FailureClass.PROTOCOL}


KINDS = sorted({body["type"] for body in EVENTS} | {"error", "response.incomplete", "response.refusal.delta"})
FIELDS = ("delta", "item", "response", "arguments", "output_index", "content_index", "logprobs")
LETTERS = 'ab 7"\\{}[]:,\n\r\x00ß\u2028世🌍'
"""What JSON escapes, what ends lines somewhere, and letters of one to four bytes."""

TEXTS = st.text(LETTERS, max_size=8)
garbage = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["id", "type", "text"]), inner),
    max_leaves=6,
)


@given(
    st.lists(
        st.fixed_dictionaries(
            {"type": st.sampled_from(KINDS) | TEXTS},
            optional=dict.fromkeys(FIELDS, garbage),
        ),
        max_size=6,
    )
)
def test_garbage_is_an_answer_or_a_typed_failure(events: list[dict[str, Any]]) -> None:
    """Whatever stands in the fields of an event, nothing but AttemptError comes out."""
    _, finished, _, failure = joined([written(events, "\n", ascii_only=False)])
    assert (finished is None) == (failure is not None)


@given(st.lists(st.binary(max_size=64), max_size=8))
def test_bytes_of_nobody_are_a_typed_failure(pieces: list[bytes]) -> None:
    """No such stream is an answer."""
    _, finished, _, failure = joined(pieces)
    assert finished is None
    assert failure is not None


@pytest.mark.parametrize("size", [1024, 65536])
def test_a_large_event_takes_linear_time(size: int) -> None:
    """1 MiB in one event, in pieces of any size, is read in far less than a second."""
    body = {"type": "response.output_text.delta", "output_index": 0, "content_index": 0, "delta": "a" * (1 << 20)}
    stream = written([body, COMPLETED], "\n", ascii_only=False)
    started = time.process_time()
    parts, finished, _, failure = joined([stream[at : at + size] for at in range(0, len(stream), size)])
    assert time.process_time() - started < 1.0
    assert failure is None
    assert finished is not None
    assert parts[0] == ["TextDelta", "a" * (1 << 20)]


def shown(part: Part) -> list[object]:
    """Return a part of a whole answer in the form of `joined`."""
    if isinstance(part, ToolCallPart):
        return [part.id, part.name, *part.arguments_json, "done"]
    if isinstance(part, TextPart):
        return ["TextDelta", part.text]
    if isinstance(part, ThinkingPart):
        words: list[object] = ["ThinkingDelta", part.text] if part.text else []
        return words if part.signature is None else [*words, part.signature, part.redacted]
    assert isinstance(part, RefusalPart)
    return ["RefusalDelta", part.text]


words = st.text(LETTERS, min_size=1, max_size=20)
messages = st.builds(
    lambda texts: {"type": "message", "content": [{"type": "output_text", "text": text} for text in texts]},
    st.lists(words, max_size=3),
)
thoughts = st.builds(
    lambda text, seal: {
        "type": "reasoning",
        "id": "rs_1",
        "summary": [{"type": "summary_text", "text": text}] if text else [],
        "encrypted_content": seal,
    },
    st.none() | words,
    st.none() | words,
)
calls = st.builds(
    lambda arguments: {"type": "function_call", "name": "f", "arguments": json.dumps(arguments)},
    st.dictionaries(words, st.integers(), max_size=2),
)


@given(st.lists(messages | thoughts | calls, max_size=5))
def test_a_stream_and_a_whole_answer_agree(output: list[dict[str, Any]]) -> None:
    """The same items have the same parts, ids and end either way."""
    response = {"id": "resp_1", "status": "completed", "output": output}
    answer = ADAPTER.decode_answer(200, {}, json.dumps(response).encode())
    events: list[dict[str, Any]] = [{"type": "response.created", "response": {"id": "resp_1"}}]
    events += ({"type": "response.output_item.done", "output_index": n, "item": i} for n, i in enumerate(output))
    events.append({"type": "response.completed", "response": response})
    parts, finished, _, failure = joined([written(events, "\n", ascii_only=False)])
    assert failure is None
    assert finished == answer.finished
    whole = {number: [bit for bit in shown(part) if bit != ""] for number, part in enumerate(answer.message.parts)}
    assert {number: [bit for bit in bits if bit != ""] for number, bits in parts.items()} == whole
