"""However the bytes of a stream are cut, and whether they come as a stream at all, the answer is the same."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from tests.providers.cohere.cohere_golden import (
    CITED_STREAM,
    START,
    THINKING_STREAM,
    TOOL_CALL_STREAM,
    adapter,
    arguments,
    call,
    end,
    event,
    plan,
    sse,
    text,
    thought,
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
from trunkline_server.routing.failures import Failure

Joined = dict[int, list[object]]
ADAPTER = adapter()
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
                elif isinstance(delta, TextDelta | ThinkingDelta):
                    part.extend([type(delta).__name__, *delta.text] if not part else delta.text)
                elif isinstance(delta, ThinkingSignatureDelta):
                    part.append(("seal", delta.signature))
        stream.close()
    except AttemptError as error:
        failure = error.failure
    return dict(parts), stream.finished, stream.usage, failure


def cut(stream: bytes, places: list[int]) -> list[bytes]:
    borders = [0, *sorted(place % (len(stream) + 1) for place in places), len(stream)]
    return [stream[start:end] for start, end in pairwise(borders)]


STREAMS = {
    "thinking": THINKING_STREAM,
    "tool calls": TOOL_CALL_STREAM,
    "citations": CITED_STREAM,
    "cut off": TOOL_CALL_STREAM[:6],
    "an error at the end": [*THINKING_STREAM[:5], end("ERROR", error="it broke")],
    "wörds": [START, plan("ich größe"), call(0, "c1", "f"), arguments(0, '{"ß":"🌍"}'), end("TOOL_CALL")],
}


@given(
    name=st.sampled_from(sorted(STREAMS)),
    line_end=st.sampled_from(["\n", "\r\n", "\r"]),
    ascii_only=st.booleans(),
    done=st.booleans(),
    places=st.lists(st.integers(min_value=0, max_value=6000), max_size=40),
)
def test_any_chunking_gives_the_same_answer(
    name: str, line_end: str, places: list[int], *, ascii_only: bool, done: bool
) -> None:
    """Parts, end, usage and failure do not depend on where the bytes were cut, nor on how they were framed."""
    stream = sse(*STREAMS[name], line_end=line_end, ascii_only=ascii_only, done=done)
    assert joined(cut(stream, places)) == joined([sse(*STREAMS[name], ascii_only=False)])


def test_byte_by_byte_gives_the_same_answer() -> None:
    """The finest chunking of all, through every failure too."""
    for events in STREAMS.values():
        stream = sse(*events, line_end="\r\n", ascii_only=False)
        assert joined([stream[at : at + 1] for at in range(len(stream))]) == joined([stream])


@given(st.data())
def test_what_is_missing_or_wrong_ends_as_a_failure_or_an_answer(data: st.DataObject) -> None:
    """Any part of a stream with any bytes put in: deltas, then an end or a typed failure, and never anything else."""
    whole = sse(*STREAMS[data.draw(st.sampled_from(sorted(STREAMS)))])
    at = data.draw(st.integers(min_value=0, max_value=len(whole)))
    upto = data.draw(st.integers(min_value=at, max_value=len(whole)))
    garbage = data.draw(st.binary(max_size=30))
    _, finished, _, failure = joined([whole[:at] + garbage + whole[upto:]])
    assert (finished is None) == (failure is not None)


NAMES = [
    "type", "index", "id", "delta", "message", "content", "text", "thinking", "tool_calls", "tool_plan", "function",
    "name", "arguments", "finish_reason", "usage", "tokens", "error", "logprobs",
]  # fmt: skip
KINDS = [
    "message-start", "content-delta", "tool-plan-delta", "tool-call-start", "tool-call-delta", "citation-start",
    "message-end",
]  # fmt: skip
plain_values = st.none() | st.booleans() | st.integers() | st.text(max_size=5)
values = st.recursive(
    plain_values,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4),
    max_leaves=12,
)


@given(values, st.sampled_from(KINDS))
def test_events_of_any_shape_are_read_or_refused(body: Any, kind: str) -> None:
    """What has a known type and no known form is a failure of its own kind, not of ours."""
    framed = b"data: " + json.dumps({**body, "type": kind} if isinstance(body, dict) else body).encode() + b"\n\n"
    _, finished, _, failure = joined([framed])
    assert finished is not None or failure is not None


def test_large_events_and_many_small_ones_take_linear_time() -> None:
    """Ten times as much of an event, of 100 KiB and of 1 MiB, takes no more than some twenty times as long."""

    def took_s(size: int) -> float:
        pieces = [sse(START, text("x" * size)), *(sse(text("y")) for _ in range(size // 1000)), sse(end())]
        stream = b"".join(pieces)
        chunks = [stream[at : at + 4096] for at in range(0, len(stream), 4096)]
        times = []
        for _ in range(5):
            began_s = time.process_time()
            joined_sizes = sum(len(getattr(delta, "text", "")) for delta in _deltas(chunks))
            times.append(time.process_time() - began_s)
            assert joined_sizes == size + size // 1000
        return min(times)

    small = took_s(100 * 1024)
    assert took_s(1024 * 1024) < 22 * small + 0.05


def _deltas(chunks: list[bytes]) -> list[Any]:
    stream = ADAPTER.stream_decoder(REQUEST)
    return [delta for chunk in chunks for delta in stream.feed(chunk)] + stream.close()


def shown(part: Part) -> list[object]:
    """Return a part of a whole answer in the form of `joined`."""
    if isinstance(part, ToolCallPart):
        return [part.id, part.name, *part.arguments_json, "done"]
    if isinstance(part, TextPart):
        return ["TextDelta", *part.text]
    assert isinstance(part, ThinkingPart)
    return ["ThinkingDelta", *part.text, *([("seal", part.signature)] if part.signature else [])]


words = st.text(min_size=1, max_size=20)


@given(
    tool_plan=st.none() | words,
    thinking=st.none() | words,
    content=st.none() | words,
    calls=st.lists(st.dictionaries(words, st.integers()).map(json.dumps), max_size=3),
)
def test_a_stream_and_a_whole_answer_agree(
    tool_plan: str | None, thinking: str | None, content: str | None, calls: list[str]
) -> None:
    """The same message has the same parts, ids and end either way."""
    items = [{"type": "thinking", "thinking": thinking}] if thinking else []
    items += [{"type": "text", "text": content}] if content else []
    made = [
        {"id": f"c{number}", "type": "function", "function": {"name": "f", "arguments": written}}
        for number, written in enumerate(calls)
    ]
    message = {"role": "assistant", "content": items, "tool_plan": tool_plan, "tool_calls": made}
    body = json.dumps({"id": "x-1", "message": message, "finish_reason": "COMPLETE"}).encode()
    answer = ADAPTER.decode_answer(200, {}, body)
    events = [START, *([plan(tool_plan)] if tool_plan else []), *([thought(thinking)] if thinking else [])]
    events += [text(content, 1)] if content else []
    for number, written in enumerate(calls):
        events += [call(number, f"c{number}", "f"), arguments(number, written), event("tool-call-end", index=number)]
    parts, finished, _, failure = joined([sse(*events, end())])
    assert failure is None
    assert finished == answer.finished
    assert {number: [each for each in texts if each] for number, texts in parts.items()} == {
        number: shown(part) for number, part in enumerate(answer.message.parts)
    }
