"""However the bytes of a stream are cut, and whether they come as a stream at all, the answer is the same."""

from __future__ import annotations

import json
from collections import defaultdict
from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from trunkline_server.chat.answer import Finished, RefusalDelta, TextDelta, ThinkingDelta, ToolCallDelta, Usage
from trunkline_server.chat.message import Part, RefusalPart, TextPart, ThinkingPart, ToolCallPart
from trunkline_server.chat.request import ChatRequest
from trunkline_server.providers.base import AttemptError
from trunkline_server.providers.openai import OpenAIAdapter
from trunkline_server.routing.failures import Failure

Joined = dict[int, list[object]]
ADAPTER = OpenAIAdapter()
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
                elif isinstance(delta, TextDelta | ThinkingDelta | RefusalDelta):
                    part.extend([type(delta).__name__, delta.text])
        stream.close()
    except AttemptError as error:
        failure = error.failure
    return dict(parts), stream.finished, stream.usage, failure


def cut(stream: bytes, places: list[int]) -> list[bytes]:
    borders = [0, *sorted(place % (len(stream) + 1) for place in places), len(stream)]
    return [stream[start:end] for start, end in pairwise(borders)]


def event(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    return {"id": "x-1", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


EVENTS: list[dict[str, Any] | None] = [
    event({"role": "assistant", "content": ""}),
    event({"reasoning_content": "grübeln"}),
    event({"content": "héllo "}),
    event({"content": "wörld 🌍"}),
    event({"tool_calls": [{"index": 0, "id": "c1", "function": {"name": "f", "arguments": ""}}]}),
    event({"tool_calls": [{"index": 0, "function": {"arguments": '{"a":"'}}]}),
    event({"tool_calls": [{"index": 0, "function": {"arguments": 'ß"}'}}]}),
    event({"tool_calls": [{"index": 1, "id": "c2", "function": {"name": "g", "arguments": "{}"}}]}),
    event({}, "tool_calls"),
    {"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2}},
]
ENDS: list[list[dict[str, Any] | None]] = [
    [*EVENTS, None],
    EVENTS[:5],
    [*EVENTS[:6], {"error": {"message": "it broke", "code": "overloaded"}}],
]


def written(events: list[dict[str, Any] | None], line_end: str, *, ascii_only: bool) -> bytes:
    texts = ("[DONE]" if body is None else json.dumps(body, ensure_ascii=ascii_only) for body in events)
    return b"".join(f": beat{line_end}data: {text}{line_end}{line_end}".encode() for text in texts)


@given(
    events=st.sampled_from(ENDS),
    line_end=st.sampled_from(["\n", "\r\n", "\r"]),
    ascii_only=st.booleans(),
    places=st.lists(st.integers(min_value=0, max_value=4000), max_size=40),
)
def test_any_chunking_gives_the_same_answer(
    events: list[dict[str, Any] | None], line_end: str, places: list[int], *, ascii_only: bool
) -> None:
    """Parts, end, usage and failure do not depend on where the bytes were cut."""
    stream = written(events, line_end, ascii_only=ascii_only)
    assert joined(cut(stream, places)) == joined([written(events, "\n", ascii_only=False)])


def test_byte_by_byte_gives_the_same_answer() -> None:
    """The finest chunking of all, through every failure too."""
    for events in ENDS:
        stream = written(events, "\r\n", ascii_only=False)
        assert joined([stream[at : at + 1] for at in range(len(stream))]) == joined([stream])


def shown(part: Part) -> list[object]:
    """Return a part of a whole answer in the form of `joined`."""
    if isinstance(part, ToolCallPart):
        return [part.id, part.name, *part.arguments_json, "done"]
    if isinstance(part, TextPart):
        return ["TextDelta", part.text]
    if isinstance(part, ThinkingPart):
        return ["ThinkingDelta", part.text]
    assert isinstance(part, RefusalPart)
    return ["RefusalDelta", part.text]


words = st.text(min_size=1, max_size=20)


@given(
    reasoning=st.none() | words,
    content=st.none() | words,
    refusal=st.none() | words,
    arguments=st.lists(st.dictionaries(words, st.integers()).map(json.dumps), max_size=3),
)
def test_a_stream_and_a_whole_answer_agree(
    reasoning: str | None, content: str | None, refusal: str | None, arguments: list[str]
) -> None:
    """The same message has the same parts, ids and end either way."""
    calls = [{"index": number, "function": {"name": "f", "arguments": text}} for number, text in enumerate(arguments)]
    message = {"reasoning_content": reasoning, "content": content, "refusal": refusal, "tool_calls": calls or None}
    choice = {"index": 0, "finish_reason": "stop"}
    answer = ADAPTER.decode_answer(
        200, {}, json.dumps({"id": "x-1", "choices": [{**choice, "message": message}]}).encode()
    )
    body = {"id": "x-1", "choices": [{**choice, "delta": message}]}
    parts, finished, _, failure = joined([b"data: " + json.dumps(body).encode() + b"\n\n"])
    assert failure is None
    assert finished == answer.finished
    whole = {number: [text for text in shown(part) if text] for number, part in enumerate(answer.message.parts)}
    assert {number: [text for text in texts if text] for number, texts in parts.items()} == whole
