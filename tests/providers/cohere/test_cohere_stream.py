"""Streams: server-sent events of Cohere's in, deltas and ends out."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.providers.cohere.cohere_golden import (
    CITED_STREAM,
    CONTENT_START,
    START,
    TEXT_STREAM,
    THINKING_STREAM,
    TOOL_CALL_STREAM,
    USAGE,
    adapter,
    arguments,
    call,
    end,
    event,
    plan,
    sse,
    text,
    told,
)

from trunkline_server.chat.answer import (
    Delta,
    Finished,
    FinishReason,
    TextDelta,
    ThinkingDelta,
    ThinkingSignatureDelta,
    TokenLogprob,
    ToolCallDelta,
    Usage,
    UsageSource,
)
from trunkline_server.chat.request import ChatRequest
from trunkline_server.providers.base import Adapter, AttemptError, StreamDecoder
from trunkline_server.providers.cohere import CohereStreamDecoder
from trunkline_server.providers.cohere.messages import PLAN_SEAL
from trunkline_server.routing.failures import FailureClass

COUNTED = Usage(input_tokens=913, output_tokens=83, cached_input_tokens=176, source=UsageSource.PROVIDER)
REQUEST = ChatRequest(model="m", messages=(), request_id="r")


def decoder() -> CohereStreamDecoder:
    return adapter().stream_decoder(REQUEST)


def whole(
    *events: dict[str, Any], stream: CohereStreamDecoder | None = None
) -> tuple[list[Delta], CohereStreamDecoder]:
    """Decode a stream that ends in order and whole, an event at a time."""
    stream = stream or decoder()
    deltas = [delta for each in events for delta in stream.feed(sse(each))]
    assert stream.close() == []
    return deltas, stream


def read(stream: CohereStreamDecoder, chunks: tuple[bytes, ...]) -> None:
    for chunk in chunks:
        stream.feed(chunk)
    stream.close()


def failure_class(*chunks: bytes) -> FailureClass:
    """Return the class of the failure that a stream ends with."""
    stream = decoder()
    with pytest.raises(AttemptError) as caught:
        read(stream, chunks)
    assert stream.failure == caught.value.failure
    return caught.value.failure.failure_class


def test_adapter_and_decoder_fit_the_interface_of_all_protocols() -> None:
    """The type checker holds both to the protocols that the engine calls."""
    whichever: Adapter = adapter()
    stream: StreamDecoder = whichever.stream_decoder(REQUEST)
    assert (stream.finished, stream.failure, stream.usage) == (None, None, None)


def test_a_stream_of_text() -> None:
    """Start, text, end with its usage; the terminal sign of the event stream is optional, and comes after the end."""
    deltas, stream = whole(*TEXT_STREAM)
    assert deltas == [TextDelta(0, "LL"), TextDelta(0, "Ms")]
    assert stream.finished == Finished(FinishReason.STOP, "COMPLETE")
    assert stream.usage == COUNTED
    assert stream.feed(b"data: [DONE]\n\n") == []


def test_a_stream_of_tool_calls() -> None:
    """The plan is reasoning, sealed as a plan; each call is done when the provider closes it."""
    deltas, stream = whole(*TOOL_CALL_STREAM)
    assert deltas == [
        ThinkingDelta(0, "I"),
        ThinkingDelta(0, " will"),
        ThinkingSignatureDelta(0, PLAN_SEAL),
        ToolCallDelta(1, "get_weather_p1t92w7gfgq7", "get_weather"),
        ToolCallDelta(1, arguments_json_delta='{\n    "'),
        ToolCallDelta(1, arguments_json_delta="location"),
        ToolCallDelta(1, arguments_json_delta='": "Madrid"\n}'),
        ToolCallDelta(1, done=True),
        ToolCallDelta(2, "get_weather_ay6nmvjgp9vn", "get_weather"),
        ToolCallDelta(2, arguments_json_delta='{\n    "location": "Bras'),
        ToolCallDelta(2, arguments_json_delta='ilia"\n}'),
        ToolCallDelta(2, done=True),
    ]
    assert stream.finished == Finished(FinishReason.TOOL_CALLS, "TOOL_CALL")


def test_a_stream_of_thinking() -> None:
    """A block of thinking is a part, the block of text behind it the next."""
    deltas, _ = whole(*THINKING_STREAM)
    assert deltas == [ThinkingDelta(0, "The user"), ThinkingDelta(0, " asks."), TextDelta(1, "Two.")]


def test_a_stream_with_citations() -> None:
    """They are no deltas, and are told to be left out."""
    deltas, stream = whole(*CITED_STREAM)
    assert deltas == [TextDelta(0, "It is 24°C"), TextDelta(0, ".")]
    assert [(warning.code, warning.field) for warning in stream.warnings] == [("DROPPED_CONTENT", "message.citations")]
    assert whole(*TEXT_STREAM)[1].warnings == ()


def test_a_plan_before_text_and_one_that_is_all() -> None:
    """Whatever comes next seals it, the end too."""
    deltas, _ = whole(plan("I might"), text("No."), end())
    assert deltas == [ThinkingDelta(0, "I might"), ThinkingSignatureDelta(0, PLAN_SEAL), TextDelta(1, "No.")]
    deltas, stream = whole(plan("I might"), end("MAX_TOKENS"))
    assert deltas == [ThinkingDelta(0, "I might"), ThinkingSignatureDelta(0, PLAN_SEAL)]
    assert stream.finished == Finished(FinishReason.LENGTH, "MAX_TOKENS")


def test_each_block_of_text_is_a_part() -> None:
    """Told apart by their index, and by what they hold."""
    deltas, _ = whole(
        text("a", 0), text("b", 0), text("c", 1), told("content-delta", 1, content={"thinking": "d"}), end()
    )
    assert deltas == [TextDelta(0, "a"), TextDelta(0, "b"), TextDelta(1, "c"), ThinkingDelta(2, "d")]


def test_log_probabilities_come_with_their_text() -> None:
    """A piece of several tokens has their product's."""
    told_of = {"text": "Hello", "token_ids": [1, 2], "logprobs": [-0.25, -1.0]}
    deltas, _ = whole(text("Hello", logprobs=told_of), text("!", logprobs=None), end())
    assert deltas == [TextDelta(0, "Hello", (TokenLogprob("Hello", -1.25),)), TextDelta(0, "!")]


@pytest.mark.parametrize(
    "preamble",
    [
        sse(START),
        sse(event("message-start")),
        sse(CONTENT_START),
        sse(text("")),
        sse(event("content-delta", index=0)),
        sse(told("content-delta", 0, content=None)),
        sse(told("content-delta", 0, content=[])),
        sse(event("content-end", index=0)),
        sse(plan("")),
        sse(event("tool-plan-delta", delta={})),
        sse(event("citation-end", index=0)),
        sse(event("debug", prompt="<BOS>")),
        sse(event("some-later-addition", delta={})),
        sse(end(None)),
        b": keep-alive\n\n",
        b"event: ping\n\n",
        b"event: ping\ndata: {}\n\n",
    ],
)
def test_a_preamble_yields_nothing(preamble: bytes) -> None:
    """Starts, empty pieces, heartbeats and what nobody knows yet are no content and no end."""
    stream = decoder()
    assert stream.feed(preamble) == []
    assert stream.finished is None
    assert stream.feed(sse(text("a"), end())) == [TextDelta(0, "a")]
    assert stream.finished is not None


def test_the_name_of_the_event_stands_in_for_a_type() -> None:
    """Some servers write the type there alone."""
    stream = decoder()
    data = json.dumps({"delta": {"message": {"content": {"text": "a"}}}})
    assert stream.feed(f"event: content-delta\ndata: {data}\n\n".encode()) == [TextDelta(0, "a")]


def test_nothing_is_read_after_the_end() -> None:
    """Another end, an error or garbage cannot unmake a whole answer, and costs no memory."""
    stream = decoder()
    stream.feed(sse(*TEXT_STREAM))
    for chunk in (sse(end("ERROR", error="late")), b"data: {\n\n", *[b"x" * 1_000_000] * 8):
        assert stream.feed(chunk) == []
    assert stream.close() == []
    assert stream.finished == Finished(FinishReason.STOP, "COMPLETE")


CALL = call(0, "c1", "f")
CALL_END = event("tool-call-end", index=0)

TOOLS: dict[str, tuple[list[dict[str, Any]], list[ToolCallDelta]]] = {
    "arguments with the start": (
        [call(0, "c1", "f", "{}"), end("TOOL_CALL")],
        [ToolCallDelta(0, "c1", "f"), ToolCallDelta(0, arguments_json_delta="{}"), ToolCallDelta(0, done=True)],
    ),
    "no arguments at all": (
        [CALL, CALL_END, end("TOOL_CALL")],
        [ToolCallDelta(0, "c1", "f"), ToolCallDelta(0, arguments_json_delta="{}", done=True)],
    ),
    "no arguments, and not closed": (
        [CALL, arguments(0, ""), end("TOOL_CALL")],
        [ToolCallDelta(0, "c1", "f"), ToolCallDelta(0, arguments_json_delta="{}", done=True)],
    ),
    "the next call closes the one before": (
        [CALL, arguments(0, "{}"), call(1, "c2", "g"), arguments(1, "[]"), end()],
        [
            ToolCallDelta(0, "c1", "f"),
            ToolCallDelta(0, arguments_json_delta="{}"),
            ToolCallDelta(0, done=True),
            ToolCallDelta(1, "c2", "g"),
            ToolCallDelta(1, arguments_json_delta="[]"),
            ToolCallDelta(1, done=True),
        ],
    ),
    "no id, no index": (
        [
            START,
            told("tool-call-start", tool_calls={"function": {"name": "f"}}),
            told("tool-call-delta", tool_calls={"function": {"arguments": "{}"}}),
            event("tool-call-end"),
            end("TOOL_CALL"),
        ],
        [
            ToolCallDelta(0, "call_e-4cae-9800-25e4747408ea_0", "f"),
            ToolCallDelta(0, arguments_json_delta="{}"),
            ToolCallDelta(0, done=True),
        ],
    ),
    "white space behind the end": (
        [CALL, arguments(0, "{}"), CALL_END, arguments(0, "\n"), end("TOOL_CALL")],
        [ToolCallDelta(0, "c1", "f"), ToolCallDelta(0, arguments_json_delta="{}"), ToolCallDelta(0, done=True)],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", TOOLS)
def test_tool_calls(case: str) -> None:
    """However they are cut, they come as one part each and close when they are whole."""
    events, golden = TOOLS[case]
    deltas, stream = whole(*events)
    assert deltas == golden
    assert stream.finished is not None
    assert stream.finished.reason is FinishReason.TOOL_CALLS


@pytest.mark.parametrize("pieces", [[], ['{"a": 1'], ['{"a"', ": tru"]])
def test_a_call_that_was_cut_stays_open(pieces: list[str]) -> None:
    """Half of an argument is never presented as complete, and no argument is made up."""
    deltas, stream = whole(CALL, *(arguments(0, piece) for piece in pieces), end("MAX_TOKENS"))
    assert not any(isinstance(delta, ToolCallDelta) and delta.done for delta in deltas)
    assert stream.finished == Finished(FinishReason.LENGTH, "MAX_TOKENS")


@pytest.mark.parametrize(
    "events",
    [
        [CALL, arguments(0, "{}"), CALL_END, arguments(0, "more")],
        [arguments(0, "{}")],
        [CALL, arguments(1, "{}")],
        [CALL_END],
        [told("tool-call-start", 0, tool_calls={"id": "c1"})],
        [event("tool-call-start", index=0)],
        [call(number, f"c{number}", "f") for number in range(300)],
        [CALL, *[arguments(0, "a" * 3_000_000)] * 3],
    ],
    ids=["goes on", "not begun", "another index", "end of nothing", "no name", "no call", "too many", "too long"],
)
def test_tool_calls_that_make_no_sense_are_a_protocol_failure(events: list[dict[str, Any]]) -> None:
    """A contradiction and a flood end the attempt."""
    assert failure_class(*map(sse, events)) is FailureClass.PROTOCOL


@pytest.mark.parametrize(
    ("chunks", "expected"),
    [
        ([], FailureClass.PROTOCOL),
        ([b"<html>\n\n</html>\n\n"], FailureClass.PROTOCOL),
        ([b": only a comment\n\n"], FailureClass.PROTOCOL),
        ([b"data: [DONE]\n\n"], FailureClass.PROTOCOL),
        ([sse(START), b"data: [DONE]\n\n"], FailureClass.PROTOCOL),
        ([sse(START)], FailureClass.TRUNCATED),
        ([sse(text("a"))], FailureClass.TRUNCATED),
        ([sse(text("a"), done=True)], FailureClass.TRUNCATED),
        ([sse(text("a"), end(None))], FailureClass.TRUNCATED),
        ([sse(text("a")), sse(end())[:-1]], FailureClass.TRUNCATED),
        ([sse(text("a")), b"data: {\n\n"], FailureClass.PROTOCOL),
        ([b"data: []\n\n"], FailureClass.PROTOCOL),
        ([b"data: {}\n\n"], FailureClass.PROTOCOL),
        ([b"data: \xff\n\n"], FailureClass.PROTOCOL),
        ([b"data: " + b"[" * 100_000 + b"\n\n"], FailureClass.PROTOCOL),
        ([sse(told("content-delta", 0, content={"text": 7}))], FailureClass.PROTOCOL),
        ([b"data: " + b"a" * 5_000_000], FailureClass.PROTOCOL),
        ([sse(START, end("ERROR"))], FailureClass.SERVER_ERROR),
        ([sse(START, end("TIMEOUT"))], FailureClass.SERVER_ERROR),
        ([sse(START, end("ERROR", error="it broke"))], FailureClass.SERVER_ERROR),
        ([sse(START, end(None, error="it broke"))], FailureClass.SERVER_ERROR),
        ([sse(START, end("ERROR", error={"odd": 1}))], FailureClass.SERVER_ERROR),
        ([sse(START, end("ERROR", error="too many tokens: prompt"))], FailureClass.CONTEXT_LENGTH),
        ([sse(START, end("ERROR_TOXIC"))], FailureClass.CONTENT_FILTERED),
        ([b'data: {"id":"x","message":"internal server error"}\n\n'], FailureClass.SERVER_ERROR),
        ([b'event: error\ndata: {"message":"too many tokens: prompt"}\n\n'], FailureClass.CONTEXT_LENGTH),
    ],
)
def test_streams_that_fail(chunks: list[bytes], expected: FailureClass) -> None:
    """Each way of not ending has its class; an error inside a 200 has that of the table."""
    assert failure_class(*chunks) is expected


def test_a_failed_end_after_content_is_a_break() -> None:
    """The deltas come first; what the model used is known all the same."""
    stream = decoder()
    assert stream.feed(sse(text("a"), end("ERROR", error="it broke", usage=USAGE))) == [TextDelta(0, "a")]
    assert stream.failure is not None
    assert stream.failure.failure_class is FailureClass.SERVER_ERROR
    assert stream.usage == COUNTED
    for _ in range(2):
        with pytest.raises(AttemptError):
            stream.feed(sse(text("b")))
        with pytest.raises(AttemptError):
            stream.close()


def test_a_filtered_end_after_content_is_an_answer() -> None:
    """The model was stopped by the filter: the caller has what came before."""
    _, stream = whole(text("a"), end("ERROR_TOXIC"))
    assert stream.finished == Finished(FinishReason.CONTENT_FILTER, "ERROR_TOXIC")
