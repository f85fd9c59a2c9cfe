"""Streams: server-sent events in, deltas and ends out.

The forms are those of ai.google.dev/api/generate-content#method:-models.streamgeneratecontent, read in 2026-11; each
event is a whole GenerateContentResponse.
"""

from __future__ import annotations

import json

import pytest
from tests.providers.gemini.said import call, chunk, event, text, thought, usage

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
from trunkline_server.providers.gemini import GeminiAdapter, GeminiStreamDecoder
from trunkline_server.routing.failures import FailureClass

HI = event(chunk(text("Hi")))
END = event(chunk(text("."), finish="STOP"))
UNAVAILABLE = {"error": {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}}


def decoder() -> GeminiStreamDecoder:
    return GeminiAdapter().stream_decoder(ChatRequest(model="m", messages=(), request_id="r"))


def whole(*chunks: bytes) -> tuple[list[Delta], GeminiStreamDecoder]:
    """Decode a stream that ends in order and whole."""
    stream = decoder()
    deltas = [delta for piece in chunks for delta in stream.feed(piece)]
    assert stream.close() == []
    return deltas, stream


def failure_class(*chunks: bytes) -> FailureClass:
    """Decode a stream that fails, and go on asking: it fails the same way for ever."""
    stream = decoder()

    def read() -> None:
        for piece in chunks:
            stream.feed(piece)
        stream.close()

    for _ in range(2):
        with pytest.raises(AttemptError) as caught:
            read()
        assert stream.failure is caught.value.failure
    with pytest.raises(AttemptError):
        stream.close()
    assert stream.failure is not None
    return stream.failure.failure_class


def test_the_decoder_is_what_the_engine_calls() -> None:
    """It has the interface of all stream decoders, and knows nothing before the first byte."""
    adapter: Adapter = GeminiAdapter()
    stream: StreamDecoder = adapter.stream_decoder(ChatRequest(model="m", messages=(), request_id="r"))
    assert (stream.finished, stream.failure, stream.usage) == (None, None, None)


def test_a_stream_as_the_provider_sends_it() -> None:
    """Text in chunks that each count, a last one with the reason and the whole count; no sign of its own at the end.

    As a call with alt=sse shows it (ai.google.dev/gemini-api/docs/text-generation, "Streaming responses", 2026-11).
    """
    deltas, stream = whole(
        event(chunk(text("AI"), **usage(promptTokenCount=4, totalTokenCount=34, thoughtsTokenCount=30))),
        event(chunk(text(" learns"), **usage(promptTokenCount=4, candidatesTokenCount=2, totalTokenCount=36))),
        event(
            chunk(
                text("."),
                finish="STOP",
                **usage(promptTokenCount=4, candidatesTokenCount=3, totalTokenCount=37, thoughtsTokenCount=30),
            )
        ),
    )
    assert deltas == [TextDelta(0, "AI"), TextDelta(0, " learns"), TextDelta(0, ".")]
    assert stream.finished == Finished(FinishReason.STOP, "STOP")
    assert stream.usage == Usage(4, 33, reasoning_tokens=30, source=UsageSource.PROVIDER)


def test_reasoning_calls_and_their_signatures() -> None:
    """A call comes whole and is done at once; what seals it comes as a part of its own before it."""
    deltas, stream = whole(
        event(chunk(thought("Let me"))),
        event(chunk(thought(" see."))),
        event(chunk(call("look", {"q": "Oslo"}, "f1", thoughtSignature="c2ln"), call("look", {"q": "Rome"}, "f2"))),
        event(chunk(text(""), finish="STOP")),
    )
    assert deltas == [
        ThinkingDelta(0, "Let me"),
        ThinkingDelta(0, " see."),
        ThinkingSignatureDelta(1, "c2ln"),
        ToolCallDelta(2, "f1", "look", '{"q":"Oslo"}', done=True),
        ToolCallDelta(3, "f2", "look", '{"q":"Rome"}', done=True),
    ]
    assert stream.finished == Finished(FinishReason.TOOL_CALLS, "STOP")


def test_a_signature_may_come_on_an_empty_text_at_the_end() -> None:
    """It is a part of its own behind the text."""
    deltas, _ = whole(HI, event(chunk(text("", thoughtSignature="c2ln"), finish="STOP")))
    assert deltas == [TextDelta(0, "Hi"), ThinkingSignatureDelta(1, "c2ln")]


def test_log_probabilities_come_with_their_text() -> None:
    """Those of a chunk with its first text."""
    result = {"chosenCandidates": [{"token": "Hi", "logProbability": -0.5}]}
    deltas, _ = whole(event(chunk(text("Hi"), candidate={"logprobsResult": result})), END)
    assert deltas == [TextDelta(0, "Hi", (TokenLogprob("Hi", -0.5),)), TextDelta(0, ".")]


@pytest.mark.parametrize(
    "preamble",
    [
        event(chunk()),
        event(chunk(text(""))),
        event(chunk(thought(""))),
        event({}),
        event({"candidates": []}),
        event({"candidates": None, "promptFeedback": {"safetyRatings": []}}),
        event({"candidates": [{"index": 1, "content": {"parts": [{"text": "x"}]}, "finishReason": "STOP"}]}),
        event({**chunk(), "error": None}),
        event({**chunk(), "responseId": 7}),
        event(chunk(finish="FINISH_REASON_UNSPECIFIED")),
        event(usage(promptTokenCount=4)),
        b": keep-alive\n\n",
    ],
)
def test_a_preamble_yields_nothing(preamble: bytes) -> None:
    """Roles, empty texts, counts, other candidates and heartbeats are no content and no end."""
    stream = decoder()
    assert stream.feed(preamble) == []
    assert stream.finished is None
    assert stream.feed(END) == [TextDelta(0, ".")]
    assert stream.close() == []


def test_after_the_reason_only_usage_counts() -> None:
    """More content, another reason, an error or garbage cannot unmake a whole answer."""
    deltas, stream = whole(
        END,
        event(chunk(text("more"), finish="SAFETY")),
        event(UNAVAILABLE),
        event(b"{"),
        event(usage(promptTokenCount=4)),
        json.dumps(UNAVAILABLE, indent=2).encode(),
    )
    assert deltas == [TextDelta(0, ".")]
    assert stream.finished == Finished(FinishReason.STOP, "STOP")
    assert stream.usage == Usage(4, source=UsageSource.PROVIDER)


def test_garbage_after_the_end_costs_no_memory() -> None:
    """An endless event after the reason is not read any more."""
    stream = decoder()
    stream.feed(END)
    for _ in range(8):
        assert stream.feed(b"x" * 1_000_000) == []
    assert stream.close() == []


def test_what_was_dropped_is_known() -> None:
    """The decoder remembers what no delta could say, each kind once."""
    code = {"executableCode": {"language": "PYTHON", "code": "1"}}
    _, stream = whole(
        event(chunk(code)),
        event(chunk(code)),
        event(chunk(text("1"), finish="STOP", candidate={"groundingMetadata": {"x": 1}})),
    )
    assert [warning.field for warning in stream.warnings] == [
        "candidates[0].content.parts.executableCode",
        "candidates[0].groundingMetadata",
    ]


def test_a_block_after_content_is_an_end() -> None:
    """The caller has what came before, whichever way it is told."""
    _, stream = whole(HI, event(chunk(finish="SAFETY")))
    assert stream.finished == Finished(FinishReason.CONTENT_FILTER, "SAFETY")
    _, stream = whole(HI, event({"promptFeedback": {"blockReason": "OTHER"}}))
    assert stream.finished == Finished(FinishReason.CONTENT_FILTER, "OTHER")


@pytest.mark.parametrize(
    ("chunks", "expected"),
    [
        ([], FailureClass.PROTOCOL),
        ([b"<html>\n\n</html>\n\n"], FailureClass.PROTOCOL),
        ([b": only a comment\n\n"], FailureClass.PROTOCOL),
        ([HI], FailureClass.TRUNCATED),
        ([event(chunk())], FailureClass.TRUNCATED),
        ([HI, END[:-2]], FailureClass.TRUNCATED),
        ([HI, event(chunk(text("a"), finish="FINISH_REASON_UNSPECIFIED"))], FailureClass.TRUNCATED),
        ([HI, event(b'{"candidates":[{')], FailureClass.PROTOCOL),
        ([event(b"[]")], FailureClass.PROTOCOL),
        ([event(b"7")], FailureClass.PROTOCOL),
        ([event(b"\xff")], FailureClass.PROTOCOL),
        ([event(b"[" * 100_000)], FailureClass.PROTOCOL),
        ([event(chunk({"text": 7}))], FailureClass.PROTOCOL),
        ([event(chunk({"functionCall": {"name": "f", "partialArgs": [{"jsonPath": "$.a"}]}}))], FailureClass.PROTOCOL),
        ([b"data: " + b"a" * 5_000_000], FailureClass.PROTOCOL),
        ([event({"promptFeedback": {"blockReason": "SAFETY"}})], FailureClass.CONTENT_FILTERED),
        ([event(chunk(finish="PROHIBITED_CONTENT"))], FailureClass.CONTENT_FILTERED),
        ([event(chunk(finish="PUP_LIMITED_DISABLED"))], FailureClass.KEY_REJECTED),
        ([event(UNAVAILABLE)], FailureClass.OVERLOADED),
        ([event([UNAVAILABLE])], FailureClass.OVERLOADED),
        ([event({"error": {"code": 429, "status": "RESOURCE_EXHAUSTED"}})], FailureClass.RATE_LIMITED),
        ([event({"error": {"code": 500, "status": "INTERNAL"}})], FailureClass.SERVER_ERROR),
        ([event({"error": "it broke"})], FailureClass.SERVER_ERROR),
        ([event({"error": {"code": 400, "message": "The input token count (2) exceeds the maximum number of tokens"}})],
         FailureClass.CONTEXT_LENGTH),
    ],
)  # fmt: skip
def test_streams_that_fail(chunks: list[bytes], expected: FailureClass) -> None:
    """Each way of not ending has its class; an error inside a 200 has that of the table."""
    assert failure_class(*chunks) is expected


@pytest.mark.parametrize("before", [[], [HI]])
@pytest.mark.parametrize("body", [UNAVAILABLE, [UNAVAILABLE]])
@pytest.mark.parametrize("step", [1, 7, 10_000])
def test_an_error_may_stand_bare_behind_the_last_event(before: list[bytes], body: object, step: int) -> None:
    """As the provider breaks off in the middle (github.com/theopenco/llmgateway/pull/3616), however it is cut."""
    tail = json.dumps(body, indent=2).replace("\n", "\r\n").encode() + b"\r\n"
    assert (
        failure_class(*before, *(tail[at : at + step] for at in range(0, len(tail), step))) is FailureClass.OVERLOADED
    )


@pytest.mark.parametrize("tail", [b'{"error": {"code": 503', b"{}", b"[{}]", b'{"other": 1}'])
def test_a_bare_tail_that_is_no_error_is_a_stream_that_broke(tail: bytes) -> None:
    """Half an error is none."""
    assert failure_class(HI, tail) is FailureClass.TRUNCATED


def test_what_came_before_a_failure_in_one_chunk_is_not_lost() -> None:
    """The deltas are returned, the failure can be seen at once and is raised by the next call, every time."""
    stream = decoder()
    assert stream.feed(HI + event(UNAVAILABLE)) == [TextDelta(0, "Hi")]
    assert stream.failure is not None
    assert stream.failure.failure_class is FailureClass.OVERLOADED
    for _ in range(2):
        with pytest.raises(AttemptError):
            stream.feed(HI)
        with pytest.raises(AttemptError):
            stream.close()
