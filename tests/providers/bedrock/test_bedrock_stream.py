"""Streams of ConverseStream: golden events and the deltas, the end, the usage or the failure that they become."""

from __future__ import annotations

import json

import pytest
from tests.providers.bedrock.frames import (
    START,
    arguments,
    block_end,
    call,
    end,
    event,
    failure,
    frame,
    metadata,
    reasoning,
    text,
)

from trunkline_server.chat.answer import (
    Delta,
    Finished,
    FinishReason,
    TextDelta,
    ThinkingDelta,
    ThinkingSignatureDelta,
    ToolCallDelta,
    Usage,
    UsageSource,
)
from trunkline_server.chat.request import ChatRequest
from trunkline_server.providers.base import AttemptError
from trunkline_server.providers.bedrock import BedrockAdapter, BedrockStreamDecoder
from trunkline_server.routing.failures import FailureClass

C = FailureClass


def decoder() -> BedrockStreamDecoder:
    return BedrockAdapter().stream_decoder(ChatRequest("m", (), "r"))


def whole(*chunks: bytes) -> tuple[list[Delta], BedrockStreamDecoder]:
    stream = decoder()
    deltas = [delta for chunk in chunks for delta in stream.feed(chunk)]
    deltas += stream.close()
    return deltas, stream


def failed(*chunks: bytes) -> FailureClass:
    with pytest.raises(AttemptError) as raised:
        whole(*chunks)
    return raised.value.failure.failure_class


def test_a_text() -> None:
    """Pieces of text, the stop reason as the end, the usage behind it."""
    deltas, stream = whole(
        START,
        text("Hel"),
        text("lo"),
        block_end(0),
        end(),
        metadata(inputTokens=125, outputTokens=60, totalTokens=185),
    )
    assert deltas == [TextDelta(0, "Hel"), TextDelta(0, "lo")]
    assert stream.finished == Finished(FinishReason.STOP, "end_turn")
    assert stream.usage == Usage(input_tokens=125, output_tokens=60, source=UsageSource.PROVIDER)


def test_a_tool_call_behind_a_text() -> None:
    """A call of the vendor's example tool, text before it.

    Tool: docs.aws.amazon.com/bedrock/latest/userguide/tool-use-inference-call.html, as of 2026-11-23; events:
    ConverseStreamOutput in botocore 1.44.5's model of bedrock-runtime.
    """
    deltas, stream = whole(
        START,
        text("To find the most popular song"),
        block_end(0),
        call(1, "tooluse_kZJMlvQmRJ6eAyJE5GIl7Q", "top_song"),
        arguments(1, ""),
        arguments(1, '{"sign": "'),
        arguments(1, 'WZPZ"}'),
        block_end(1),
        end("tool_use"),
        metadata(inputTokens=432, outputTokens=71, totalTokens=503),
    )
    assert deltas == [
        TextDelta(0, "To find the most popular song"),
        ToolCallDelta(1, "tooluse_kZJMlvQmRJ6eAyJE5GIl7Q", "top_song"),
        ToolCallDelta(1, arguments_json_delta='{"sign": "'),
        ToolCallDelta(1, arguments_json_delta='WZPZ"}'),
        ToolCallDelta(1, done=True),
    ]
    assert stream.finished == Finished(FinishReason.TOOL_CALLS, "tool_use")


def test_reasoning_with_its_seal() -> None:
    """Shown reasoning, its signature, withheld reasoning as such, and parts in the order in which they appear."""
    deltas, _ = whole(
        START,
        reasoning(0, text="Let me "),
        reasoning(0, text="see."),
        reasoning(0, signature="EqAB"),
        block_end(0),
        reasoning(1, redactedContent="c2VhbGVk"),
        block_end(1),
        text("Yes.", 2),
        end(),
    )
    assert deltas == [
        ThinkingDelta(0, "Let me "),
        ThinkingDelta(0, "see."),
        ThinkingSignatureDelta(0, "EqAB"),
        ThinkingSignatureDelta(1, "c2VhbGVk", redacted=True),
        TextDelta(2, "Yes."),
    ]


def test_usage_counts_what_a_cache_had_to_do_with_it() -> None:
    """All input tokens together, with those read from and written to the cache as parts of them."""
    _, stream = whole(
        START,
        text("a"),
        end(),
        metadata(inputTokens=4, outputTokens=6, totalTokens=1310, cacheReadInputTokens=1000, cacheWriteInputTokens=300),
    )
    assert stream.usage == Usage(
        input_tokens=1304,
        output_tokens=6,
        cached_input_tokens=1000,
        cache_write_tokens=300,
        source=UsageSource.PROVIDER,
    )


@pytest.mark.parametrize(
    "preamble",
    [
        START,
        text(""),
        reasoning(text=""),
        event("contentBlockStart", contentBlockIndex=0, start={}),
        block_end(0),
        event("somethingNew", field=1),
        event("contentBlockDelta", contentBlockIndex=0, delta={"citation": {"title": "t"}}),
        event("contentBlockDelta", contentBlockIndex=0, delta={"image": {"source": {"bytes": "AA=="}}}),
    ],
)
def test_a_preamble_yields_nothing(preamble: bytes) -> None:
    """Roles, empty pieces, starts of blocks and what is new are no content and no end."""
    stream = decoder()
    assert stream.feed(preamble) == []
    assert stream.finished is None
    assert stream.feed(text("a") + end()) == [TextDelta(0, "a")]
    assert stream.finished is not None


def test_tools_that_the_service_runs_are_no_calls() -> None:
    """A tool of the service's own, and what it answered, are nobody's to run."""
    deltas, stream = whole(
        START,
        event(
            "contentBlockStart",
            contentBlockIndex=0,
            start={"toolUse": {"toolUseId": "t1", "name": "nova_grounding", "type": "server_tool_use"}},
        ),
        arguments(0, "{}"),
        block_end(0),
        event("contentBlockStart", contentBlockIndex=1, start={"toolResult": {"toolUseId": "t1"}}),
        event("contentBlockDelta", contentBlockIndex=1, delta={"toolResult": [{"text": "found"}]}),
        block_end(1),
        text("So it is.", 2),
        end(),
    )
    assert deltas == [TextDelta(0, "So it is.")]
    assert stream.finished == Finished(FinishReason.STOP, "end_turn")


REASONS = {
    "end_turn": FinishReason.STOP,
    "stop_sequence": FinishReason.STOP,
    "tool_use": FinishReason.TOOL_CALLS,
    "max_tokens": FinishReason.LENGTH,
    "guardrail_intervened": FinishReason.CONTENT_FILTER,
    "content_filtered": FinishReason.CONTENT_FILTER,
    "malformed_model_output": FinishReason.OTHER,
    "malformed_tool_use": FinishReason.OTHER,
    "model_context_window_exceeded": FinishReason.CONTEXT_LIMIT,
    "refusal": FinishReason.REFUSAL,
    "something_new": FinishReason.OTHER,
}
"""The enum StopReason of botocore 1.44.5's model of bedrock-runtime, and two that it does not have."""


@pytest.mark.parametrize("native", REASONS)
def test_stop_reasons(native: str) -> None:
    """Each of the vendor's words is one of ours, and kept beside it."""
    _, stream = whole(START, text("a"), end(native))
    assert stream.finished == Finished(REASONS[native], native)


def test_a_call_that_ends_like_a_turn_is_one_for_tools() -> None:
    """Some models say `end_turn` when a tool choice forced the call."""
    _, stream = whole(START, call(0, "c1", "f"), arguments(0, "{}"), block_end(0), end("end_turn"))
    assert stream.finished == Finished(FinishReason.TOOL_CALLS, "end_turn")


CALLS: dict[str, tuple[list[bytes], list[ToolCallDelta]]] = {
    "no arguments": (
        [call(0, "c1", "f"), block_end(0), end("tool_use")],
        [ToolCallDelta(0, "c1", "f"), ToolCallDelta(0, arguments_json_delta="{}", done=True)],
    ),
    "no end of its block": (
        [call(0, "c1", "f"), arguments(0, "{}"), end("tool_use")],
        [ToolCallDelta(0, "c1", "f"), ToolCallDelta(0, arguments_json_delta="{}"), ToolCallDelta(0, done=True)],
    ),
    "cut in its arguments": (
        [call(0, "c1", "f"), arguments(0, '{"a": 1'), block_end(0), end("max_tokens")],
        [ToolCallDelta(0, "c1", "f"), ToolCallDelta(0, arguments_json_delta='{"a": 1')],
    ),
    "cut before its arguments": (
        [call(0, "c1", "f"), block_end(0), end("max_tokens")],
        [ToolCallDelta(0, "c1", "f")],
    ),
    "two at once": (
        [call(0, "c1", "f"), call(1, "c2", "g"), arguments(1, "[]"), arguments(0, "{}"), block_end(0), block_end(1),
         end("tool_use")],
        [
            ToolCallDelta(0, "c1", "f"),
            ToolCallDelta(1, "c2", "g"),
            ToolCallDelta(1, arguments_json_delta="[]"),
            ToolCallDelta(0, arguments_json_delta="{}"),
            ToolCallDelta(0, done=True),
            ToolCallDelta(1, done=True),
        ],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CALLS)
def test_tool_calls(case: str) -> None:
    """A call is done when its block ends and its arguments are JSON; half of one stays open."""
    chunks, golden = CALLS[case]
    assert whole(START, *chunks)[0] == golden


@pytest.mark.parametrize(
    "chunks",
    [
        [call(0, "", "f")],
        [call(0, "c1", "")],
        [call(0, "c1", "f"), call(0, "c2", "g")],
        [arguments(0, "{}")],
        [call(0, "c1", "f"), arguments(0, "{}"), block_end(0), arguments(0, "{}")],
        [call(number, f"c{number}", "f") for number in range(300)],
        [call(0, "c1", "f"), *[arguments(0, "a" * 3_000_000)] * 3],
    ],
    ids=["no id", "no name", "one index twice", "not begun", "goes on after its end", "too many", "too long"],
)
def test_tool_calls_that_make_no_sense_are_a_protocol_failure(chunks: list[bytes]) -> None:
    """A contradiction and a flood end the attempt."""
    assert failed(START, *chunks) is C.PROTOCOL


@pytest.mark.parametrize(
    ("chunks", "expected"),
    [
        ([], C.PROTOCOL),
        ([START], C.TRUNCATED),
        ([START, text("a")], C.TRUNCATED),
        ([START, text("a"), block_end(0)], C.TRUNCATED),
        ([START, text("a"), end()[:-1]], C.TRUNCATED),
        ([b"<html>a page of a proxy, longer than a prelude"], C.PROTOCOL),
        ([START, text("a"), b"garbage and more garbage"], C.PROTOCOL),
        ([START, text("a")[:-1] + b"\0"], C.PROTOCOL),
        ([frame({":message-type": "event", ":event-type": "contentBlockDelta"}, b"{")], C.PROTOCOL),
        ([frame({":message-type": "event", ":event-type": "contentBlockDelta"}, b"\xff")], C.PROTOCOL),
        ([frame({":message-type": "event", ":event-type": "contentBlockDelta"}, b"[" * 100_000)], C.PROTOCOL),
        ([event("contentBlockDelta", delta={"text": "no index"})], C.PROTOCOL),
        ([event("contentBlockDelta", contentBlockIndex=0, delta={"text": 7})], C.PROTOCOL),
        ([event("messageStop")], C.PROTOCOL),
        ([START, metadata(inputTokens=1, outputTokens=0)], C.PROTOCOL),
        ([START, text("a"), metadata(inputTokens=1, outputTokens=1)], C.TRUNCATED),
        ([START, end("content_filtered")], C.CONTENT_FILTERED),
        ([START, end("guardrail_intervened")], C.CONTENT_FILTERED),
    ],
)
def test_streams_that_fail(chunks: list[bytes], expected: FailureClass) -> None:
    """Each way of not ending has its class."""
    assert failed(*chunks) is expected


def test_a_filtered_end_after_content_is_an_answer() -> None:
    """A guardrail says its own words in the model's place, or stops it: the caller has what came."""
    deltas, stream = whole(START, text("Sorry, I cannot."), end("guardrail_intervened"))
    assert deltas == [TextDelta(0, "Sorry, I cannot.")]
    assert stream.finished == Finished(FinishReason.CONTENT_FILTER, "guardrail_intervened")


def test_an_empty_answer_is_an_answer() -> None:
    """A terminal reason without content is no failure."""
    deltas, stream = whole(START, end())
    assert deltas == []
    assert stream.finished == Finished(FinishReason.STOP, "end_turn")


EXCEPTIONS: dict[str, tuple[bytes, FailureClass]] = {
    "throttling": (
        failure("throttlingException", "Too many requests, please wait before trying again."),
        C.RATE_LIMITED,
    ),
    "tokens of a day": (
        failure("throttlingException", "Too many tokens per day, please wait before trying again."),
        C.KEY_EXHAUSTED,
    ),
    "throttling without a word": (failure("throttlingException", ""), C.RATE_LIMITED),
    "model's stream": (
        failure("modelStreamErrorException", "The system encountered an unexpected error during processing."),
        C.SERVER_ERROR,
    ),
    "server": (
        failure("internalServerException", "The system encountered an unexpected error during processing."),
        C.SERVER_ERROR,
    ),
    "unavailable": (
        failure("serviceUnavailableException", "Bedrock is unable to process your request."),
        C.OVERLOADED,
    ),
    "timeout": (failure("modelTimeoutException", "Model has timed out in processing the request."), C.SERVER_ERROR),
    "not ready": (failure("modelNotReadyException", "Model is not ready for inference."), C.OVERLOADED),
    "validation": (failure("validationException", "The value at messages.0 is wrong."), C.CALLER_INVALID),
    "too long": (failure("validationException", "Input is too long for requested model."), C.CONTEXT_LENGTH),
    "access": (failure("accessDeniedException", "Access denied."), C.KEY_REJECTED),
    "access to the model": (
        failure("accessDeniedException", "You don't have access to the model with the specified model ID."),
        C.MODEL_UNAVAILABLE,
    ),
    "unknown": (failure("somethingNewException", "What is it?"), C.SERVER_ERROR),
    "an error of the framing": (
        frame({":message-type": "error", ":error-code": "InternalFailure", ":error-message": "An internal error"}, b""),
        C.SERVER_ERROR,
    ),
    "an error that throttles": (
        frame({":message-type": "error", ":error-code": "ThrottlingException", ":error-message": "Rate"}, b""),
        C.RATE_LIMITED,
    ),
    "no type": (frame({}, json.dumps({"message": "hm"}).encode()), C.SERVER_ERROR),
}
"""Exceptions: API_runtime_ConverseStreamOutput.html. Texts: as reported by users of the service, 2024 to 2026 (for one,
github.com/aws-samples/bedrock-chat issue 95, github.com/anthropics/claude-code issue 236)."""


@pytest.mark.parametrize("case", EXCEPTIONS)
def test_exceptions_inside_a_stream(case: str) -> None:
    """Each exception that comes under a 200 has its class, at the start and after content."""
    raw, expected = EXCEPTIONS[case]
    assert failed(raw) is expected
    assert failed(START, text("a"), raw) is expected


def test_what_came_before_a_failure_in_one_chunk_is_not_lost() -> None:
    """The deltas are returned, the failure can be seen at once and is raised by the next call, every time."""
    for trouble in (failure("internalServerException", "no"), b"garbage and more garbage"):
        stream = decoder()
        assert stream.feed(text("a") + trouble) == [TextDelta(0, "a")]
        assert stream.failure is not None
        for _ in range(2):
            with pytest.raises(AttemptError):
                stream.feed(text("b"))
            with pytest.raises(AttemptError):
                stream.close()


def test_after_the_stop_reason_only_usage_counts() -> None:
    """More content, another reason, an exception or garbage cannot unmake a whole answer."""
    deltas, stream = whole(
        START,
        text("a"),
        end(),
        text("b"),
        call(5, "c", "f"),
        end("max_tokens"),
        failure("internalServerException", "late"),
        metadata(inputTokens=1, outputTokens=2),
        b"garbage and more garbage",
        b"x" * 100,
    )
    assert deltas == [TextDelta(0, "a")]
    assert stream.finished == Finished(FinishReason.STOP, "end_turn")
    assert stream.usage is not None
    assert stream.usage.input_tokens == 1
