"""Answers of Azure OpenAI: whole and streamed, with what its content filter says of them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from trunkline_server.chat.answer import Finished, FinishReason, TextDelta, Usage, UsageSource
from trunkline_server.chat.message import TextPart
from trunkline_server.chat.request import ChatRequest
from trunkline_server.providers.azure_openai import AzureOpenAIAdapter, AzureResponsesAdapter
from trunkline_server.providers.base import AttemptError, RateLimitHeaders
from trunkline_server.routing.failures import FailureClass

ADAPTER = AzureOpenAIAdapter()
REQUEST = ChatRequest(model="m", messages=(), request_id="r")
STREAMING = "https://learn.microsoft.com/azure/ai-foundry/openai/concepts/content-streaming, 2025-10-16"
ANNOTATIONS = "https://learn.microsoft.com/azure/ai-foundry/openai/concepts/content-filter-annotations, 2025-09-16"

SAFE = {name: {"filtered": False, "severity": "safe"} for name in ("hate", "self_harm", "sexual", "violence")}


def whole(prompt: object, choice: object, **more: Any) -> bytes:
    body = {
        "choices": [
            {
                "content_filter_results": choice,
                "finish_reason": "stop",
                "index": 0,
                "message": {"content": "Example model response", "role": "assistant"},
                **more,
            }
        ],
        "created": 1699386280,
        "id": "chatcmpl-8IMI4HzcmcK6I77vpOJCPt0Vcf8zJ",
        "model": "gpt-35-turbo",
        "object": "chat.completion",
        "usage": {"completion_tokens": 40, "prompt_tokens": 11, "total_tokens": 51},
        "prompt_filter_results": [{"prompt_index": 0, "content_filter_results": prompt}],
    }
    return json.dumps(body).encode()


def warned(prompt: object, choice: object) -> list[tuple[str, str, str]]:
    answer = ADAPTER.decode_answer(200, {}, whole(prompt, choice))
    assert answer.message.parts == (TextPart("Example model response"),)
    return [(warning.code, warning.field, warning.message) for warning in answer.warnings]


def test_an_answer_that_the_filter_found_nothing_in() -> None:
    """Its annotations are no content and no warning."""
    answer = ADAPTER.decode_answer(200, {}, whole({**SAFE, "jailbreak": {"detected": False, "filtered": False}}, SAFE))
    assert answer.message.parts == (TextPart("Example model response"),)
    assert answer.finished == Finished(FinishReason.STOP, "stop")
    assert answer.usage == Usage(input_tokens=11, output_tokens=40, source=UsageSource.PROVIDER)
    assert answer.warnings == ()


def test_what_the_filter_marked_is_told() -> None:
    """Of the prompt and of the answer, by category."""
    code = {"citation": {"URL": "https://code.example", "license": "MIT"}, "detected": True, "filtered": False}
    assert warned(
        {**SAFE, "jailbreak": {"detected": True, "filtered": False}},
        {**SAFE, "violence": {"filtered": False, "severity": "low"}, "protected_material_code": code},
    ) == [
        ("CONTENT_FLAGGED", "messages", "the provider's content filter marked the prompt: jailbreak"),
        (
            "CONTENT_FLAGGED",
            "message",
            "the provider's content filter marked the answer: protected_material_code, violence (low)",
        ),
    ]


@pytest.mark.parametrize("results", [None, 7, [], {}, {"hate": 7}, {"error": {"code": "content_filter_error"}}])
def test_annotations_of_any_shape_cost_nobody_the_answer(results: object) -> None:
    """The filter may be off, fail, or say what nobody knows."""
    assert warned(results, results) == []


def test_a_filtered_answer() -> None:
    """With content it is an answer with its reason; without, a failure."""
    filtered = {**SAFE, "violence": {"filtered": True, "severity": "high"}}
    answer = ADAPTER.decode_answer(200, {}, whole(SAFE, filtered, finish_reason="content_filter"))
    assert answer.finished == Finished(FinishReason.CONTENT_FILTER, "content_filter")
    assert "violence (high)" in answer.warnings[0].message
    with pytest.raises(AttemptError) as caught:
        ADAPTER.decode_answer(200, {}, whole(SAFE, filtered, finish_reason="content_filter", message={}))
    assert caught.value.failure.failure_class is FailureClass.CONTENT_FILTERED


def event(choice: dict[str, Any] | None, **more: Any) -> bytes:
    choices = [] if choice is None else [{"index": 0, "finish_reason": None, **choice}]
    body = {"id": "", "object": "", "created": 0, "model": "", "choices": choices, "usage": None, **more}
    return b"data: " + json.dumps(body).encode() + b"\n\n"


def text(words: str) -> bytes:
    return event({"delta": {"content": words}}, id="chatcmpl-7rCNsVeZy0PGnX3H6jK8STps5nZUY")


PROMPT = event(None, prompt_filter_results=[{"prompt_index": 0, "content_filter_results": SAFE}])
ROLE = event({"delta": {"role": "assistant"}})
OFFSETS = {"check_offset": 44, "start_offset": 44, "end_offset": 198}
NOTE = event({"content_filter_results": SAFE, "content_filter_offsets": OFFSETS})
BLOCKED = event(
    {
        "finish_reason": "content_filter",
        "content_filter_results": {"protected_material_text": {"detected": True, "filtered": True}},
        "content_filter_offsets": OFFSETS,
    }
)
STOP = event({"finish_reason": "stop", "delta": {}})
USAGE = event(None, usage={"prompt_tokens": 5, "completion_tokens": 2})
DONE = b"data: [DONE]\n\n"


def test_a_stream_with_the_default_filter() -> None:
    """The prompt's results come first, in a chunk without choices; the pieces carry theirs."""
    stream = ADAPTER.stream_decoder(REQUEST)
    annotated = event({"delta": {"content": "Color"}, "content_filter_results": SAFE})
    deltas = [delta for chunk in (PROMPT, ROLE, annotated, STOP, USAGE, DONE) for delta in stream.feed(chunk)]
    assert stream.close() == []
    assert deltas == [TextDelta(0, "Color")]
    assert stream.finished == Finished(FinishReason.STOP, "stop")
    assert stream.usage == Usage(input_tokens=5, output_tokens=2, source=UsageSource.PROVIDER)


def test_a_stream_with_the_asynchronous_filter() -> None:
    """Annotations come in chunks of their own, without a delta, and after the end too."""
    stream = ADAPTER.stream_decoder(REQUEST)
    chunks = (PROMPT, ROLE, text("Color"), NOTE, text(" is"), STOP, NOTE, USAGE, DONE)
    deltas = [delta for chunk in chunks for delta in stream.feed(chunk)]
    assert stream.close() == []
    assert deltas == [TextDelta(0, "Color"), TextDelta(0, " is")]
    assert stream.finished == Finished(FinishReason.STOP, "stop")
    assert stream.usage is not None


def test_a_stream_that_the_asynchronous_filter_stopped() -> None:
    """Its last chunk has the reason and no delta; what came before is the answer."""
    stream = ADAPTER.stream_decoder(REQUEST)
    deltas = [delta for chunk in (PROMPT, ROLE, text("Hey"), NOTE, BLOCKED, DONE) for delta in stream.feed(chunk)]
    assert stream.close() == []
    assert deltas == [TextDelta(0, "Hey")]
    assert stream.finished == Finished(FinishReason.CONTENT_FILTER, "content_filter")


def marked(severity: str) -> dict[str, Any]:
    return {**SAFE, "violence": {"filtered": False, "severity": severity}}


JAILBREAK = {"jailbreak": {"detected": True, "filtered": False}}
MARKED = [
    event(None, prompt_filter_results=[{"prompt_index": 0, "content_filter_results": JAILBREAK}]),
    *(event({"delta": {"content": "a"}, "content_filter_results": SAFE}) for _ in range(3)),
    event({"delta": {"content": "b"}, "content_filter_results": marked("medium")}),
    event({"content_filter_results": marked("low"), "delta": {"content": 'the "content_filter_results": high'}}),
    event({"content_filter_results": SAFE, "delta": {"content": "c"}}),
    STOP,
    event({"content_filter_results": {"protected_material_text": {"detected": True}}, "content_filter_offsets": {}}),
    DONE,
]


@pytest.mark.parametrize("size", [1, 7, 100, 10_000])
def test_what_the_filter_marked_in_a_stream_is_told(size: int) -> None:
    """As of a whole answer: each category once, by its worst, wherever the results stand and the bytes are cut."""
    stream = ADAPTER.stream_decoder(REQUEST)
    body = b"".join(MARKED)
    for at in range(0, len(body), size):
        stream.feed(body[at : at + size])
    stream.close()
    assert [(warning.code, warning.field, warning.message) for warning in stream.warnings] == [
        ("CONTENT_FLAGGED", "messages", "the provider's content filter marked the prompt: jailbreak"),
        (
            "CONTENT_FLAGGED",
            "message",
            "the provider's content filter marked the answer: protected_material_text, violence (medium)",
        ),
    ]


@pytest.mark.parametrize("results", [None, 7, [], {}, {"hate": 7}, {"error": {"code": "content_filter_error"}}, SAFE])
def test_results_of_any_shape_cost_nobody_the_stream(results: object) -> None:
    """Nor are they told, if they say nothing."""
    stream = ADAPTER.stream_decoder(REQUEST)
    prompt = event(None, prompt_filter_results=[{"content_filter_results": results}, results])
    piece = event({"delta": {"content": "a"}, "content_filter_results": results})
    deltas = [delta for chunk in (prompt, piece, piece, STOP, DONE) for delta in stream.feed(chunk)]
    assert deltas == [TextDelta(0, "a"), TextDelta(0, "a")]
    assert stream.warnings == ()


def test_a_filter_of_many_words_is_told_in_few() -> None:
    """What comes from outside is bounded."""
    many = {f"category {number:04d} {'x' * 99}": {"filtered": True} for number in range(1000)}
    answer = ADAPTER.decode_answer(200, {}, whole(many, SAFE))
    assert len(answer.warnings[0].message) < 1000


def test_a_stream_that_the_filter_stopped_before_any_content() -> None:
    """It is a block, and no answer."""
    stream = ADAPTER.stream_decoder(REQUEST)
    with pytest.raises(AttemptError) as caught:
        stream.feed(PROMPT + ROLE + BLOCKED)
    assert caught.value.failure.failure_class is FailureClass.CONTENT_FILTERED


def test_errors_inside_a_stream_have_azure_s_rows() -> None:
    """Of both wires."""
    message = "The system is currently experiencing high demand and cannot process your request."
    body = json.dumps({"error": {"message": message}}).encode()
    for adapter in (ADAPTER, AzureResponsesAdapter()):
        with pytest.raises(AttemptError) as caught:
            adapter.stream_decoder(REQUEST).feed(b"data: " + body + b"\n\n")
        assert caught.value.failure.failure_class is FailureClass.OVERLOADED
        with pytest.raises(AttemptError) as caught:
            adapter.decode_answer(200, {}, body)
        assert caught.value.failure.failure_class is FailureClass.OVERLOADED


def test_a_response_that_the_filter_cut() -> None:
    """https://github.com/openai/codex/issues/17615, 2026-04-13."""
    message = {"type": "message", "content": [{"type": "output_text", "text": "I'm sorry"}]}
    body = {"status": "incomplete", "incomplete_details": {"reason": "content_filter"}, "output": [message]}
    answer = AzureResponsesAdapter().decode_answer(200, {}, json.dumps(body).encode())
    assert answer.finished == Finished(FinishReason.CONTENT_FILTER, "content_filter")


HEADERS_SOURCE = "https://github.com/EvolvingPrograms/oaib/issues/11, 2024-03-02"
UNKNOWN_SOURCE = "https://github.com/openai/openai-dotnet/issues/838, 2025-11-17"


def test_limits_are_read_as_azure_writes_them() -> None:
    """What is left and no more, resets in plain seconds, and -1 for what it does not know."""
    left = {"x-ratelimit-remaining-requests": "79", "x-ratelimit-remaining-tokens": "61353"}
    assert ADAPTER.limits(left) == RateLimitHeaders(remaining_requests=79, remaining_tokens=61353)
    unknown = {
        "x-ratelimit-limit-tokens": "-1",
        "x-ratelimit-remaining-tokens": "-1",
        "x-ratelimit-reset-tokens": "0",
    }
    assert ADAPTER.limits(unknown) == RateLimitHeaders(reset_tokens_s=0.0)
    over = {"x-ratelimit-remaining-tokens": "0", "x-ratelimit-limit-tokens": "30000", "x-ratelimit-reset-tokens": "55"}
    assert AzureResponsesAdapter().limits(over) == RateLimitHeaders(
        limit_tokens=30000, remaining_tokens=0, reset_tokens_s=55.0
    )
