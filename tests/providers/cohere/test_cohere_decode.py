"""Golden pairs: whole answers of Cohere's and what becomes of them. The forms are those of SPEC."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.providers.cohere.cohere_golden import PROVIDER, USAGE, adapter

from trunkline_server.chat.answer import Answer, Finished, FinishReason, TokenLogprob, Usage, UsageSource
from trunkline_server.chat.message import Part, TextPart, ThinkingPart, ToolCallPart
from trunkline_server.providers.base import AttemptError
from trunkline_server.providers.cohere.messages import PLAN_SEAL
from trunkline_server.routing.failures import FailureClass

COUNTED = Usage(input_tokens=913, output_tokens=83, cached_input_tokens=176, source=UsageSource.PROVIDER)


def decoded(body: object) -> Answer:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return adapter().decode_answer(200, {}, raw)


def answer(message: dict[str, Any] | None, reason: str | None = "COMPLETE", **more: Any) -> dict[str, Any]:
    return {"id": "c14c80c3-18eb", "message": message, "finish_reason": reason, **more}


def said(*items: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": list(items), **more}


TEXT = {"type": "text", "text": "Hello"}
WEATHER = {
    "id": "get_weather_nsz5zm3w56q3",
    "type": "function",
    "function": {"name": "get_weather", "arguments": '{"location":"Madrid"}'},
}

PARTS: dict[str, tuple[dict[str, Any], tuple[Part, ...]]] = {
    "text": (said(TEXT), (TextPart("Hello"),)),
    "a plain string": ({"role": "assistant", "content": "Hello"}, (TextPart("Hello"),)),
    "nothing": (said(), ()),
    "no content at all": ({"role": "assistant"}, ()),
    "empty text": (said({"type": "text", "text": ""}), ()),
    "thinking before text": (
        said({"type": "thinking", "thinking": "hm"}, TEXT),
        (ThinkingPart("hm", provider=PROVIDER), TextPart("Hello")),
    ),
    "a plan and a call": (
        said(tool_plan="I will look.", tool_calls=[WEATHER]),
        (
            ThinkingPart("I will look.", PLAN_SEAL, provider=PROVIDER),
            ToolCallPart("get_weather_nsz5zm3w56q3", "get_weather", '{"location":"Madrid"}'),
        ),
    ),
    "a call without id and arguments": (
        said(tool_calls=[{"function": {"name": "now"}}]),
        (ToolCallPart("call_c14c80c3-18eb_0", "now", "{}"),),
    ),
}


@pytest.mark.parametrize("case", PARTS)
def test_parts_of_an_answer(case: str) -> None:
    """Each kind of content becomes this, and nothing is warned of."""
    message, parts = PARTS[case]
    found = decoded(answer(message))
    assert found.message.parts == parts
    assert found.warnings == ()


@pytest.mark.parametrize(
    ("native", "reason"),
    [
        ("COMPLETE", FinishReason.STOP),
        ("STOP_SEQUENCE", FinishReason.STOP),
        ("MAX_TOKENS", FinishReason.LENGTH),
        ("TOOL_CALL", FinishReason.TOOL_CALLS),
        ("ERROR_LIMIT", FinishReason.CONTEXT_LIMIT),
        ("ERROR_TOXIC", FinishReason.CONTENT_FILTER),
        ("SOMETHING_NEW", FinishReason.OTHER),
    ],
)
def test_finish_reasons(native: str, reason: FinishReason) -> None:
    """All of SPEC's, the two of the API's first version that a model may still end with, and what nobody knows."""
    assert decoded(answer(said(TEXT), native)).finished == Finished(reason, native)


def test_a_call_that_ends_as_complete_is_a_call() -> None:
    """Whatever word the provider has for it."""
    assert decoded(answer(said(tool_calls=[WEATHER]))).finished.reason is FinishReason.TOOL_CALLS


def test_usage_counts_what_went_through_the_model() -> None:
    """Billed units are fewer, and stand in only where nothing else was counted."""
    assert decoded(answer(said(TEXT), usage=USAGE)).usage == COUNTED
    billed = decoded(answer(said(TEXT), usage={"billed_units": {"input_tokens": 5, "output_tokens": 2}})).usage
    assert billed == Usage(input_tokens=5, output_tokens=2, source=UsageSource.PROVIDER)
    odd = decoded(answer(said(TEXT), usage={"tokens": {"input_tokens": -1, "output_tokens": 1e300}})).usage
    assert odd == Usage(source=UsageSource.PROVIDER)
    assert decoded(answer(said(TEXT))).usage is None


def test_log_probabilities_are_of_pieces_of_text() -> None:
    """A piece of several tokens has their product's: none of them has a text of its own."""
    items = [
        {"text": "Hel", "token_ids": [1], "logprobs": [-0.5]},
        {"text": "lo", "token_ids": [2, 3], "logprobs": [-0.25, -1.0]},
        {"text": "!", "token_ids": [4]},
    ]
    assert decoded(answer(said(TEXT), logprobs=items)).logprobs == (
        TokenLogprob("Hel", -0.5),
        TokenLogprob("lo", -1.25),
    )


def test_citations_are_told_to_be_left_out() -> None:
    """No part of ours can hold them; an empty list is none."""
    cited = {"start": 0, "end": 5, "text": "Hello", "sources": [], "type": "TEXT_CONTENT"}
    warnings = decoded(answer(said(TEXT, citations=[cited]))).warnings
    assert [(warning.code, warning.field) for warning in warnings] == [("DROPPED_CONTENT", "message.citations")]
    assert decoded(answer(said(TEXT, citations=[]))).warnings == ()


def test_content_that_nobody_knows_is_told() -> None:
    """With its place."""
    warnings = decoded(answer(said(TEXT, {"type": "picture", "url": "x"}))).warnings
    assert [(warning.code, warning.field) for warning in warnings] == [("DROPPED_CONTENT", "message.content[1]")]


def test_arguments_that_are_no_json_are_kept_and_told() -> None:
    """Exactly as the model wrote them; a cut call without any stays without."""
    cut = {"id": "c", "function": {"name": "f", "arguments": '{"a'}}
    found = decoded(answer(said(tool_calls=[cut]), "MAX_TOKENS"))
    assert found.message.parts == (ToolCallPart("c", "f", '{"a'),)
    assert [warning.code for warning in found.warnings] == ["TOOL_ARGUMENTS_NOT_JSON"]
    empty = decoded(answer(said(tool_calls=[{"id": "c", "function": {"name": "f", "arguments": ""}}]), "MAX_TOKENS"))
    assert empty.message.parts == (ToolCallPart("c", "f", ""),)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", FailureClass.PROTOCOL),
        (b"<html></html>", FailureClass.PROTOCOL),
        (b"[]", FailureClass.PROTOCOL),
        (b"{}", FailureClass.PROTOCOL),
        (b"[" * 100_000, FailureClass.PROTOCOL),
        (b'{"message":', FailureClass.PROTOCOL),
        ({"message": {"content": 7}, "finish_reason": "COMPLETE"}, FailureClass.PROTOCOL),
        (answer(said(), None), FailureClass.PROTOCOL),
        (answer(said(tool_calls=[{"id": "c"}])), FailureClass.PROTOCOL),
        (answer(said(TEXT), None), FailureClass.TRUNCATED),
        (answer(said(TEXT), ""), FailureClass.TRUNCATED),
        (answer(said(TEXT), "ERROR"), FailureClass.SERVER_ERROR),
        (answer(said(TEXT), "TIMEOUT"), FailureClass.SERVER_ERROR),
        (answer(said(), "ERROR_TOXIC"), FailureClass.CONTENT_FILTERED),
        ({"id": "x", "message": "too many tokens: the prompt"}, FailureClass.CONTEXT_LENGTH),
        ({"message": "it broke"}, FailureClass.SERVER_ERROR),
    ],
)
def test_answers_that_are_none(body: object, expected: FailureClass) -> None:
    """Each way of being no answer has its class."""
    with pytest.raises(AttemptError) as caught:
        decoded(body)
    assert caught.value.failure.failure_class is expected


def test_an_answer_with_a_reason_and_nothing_else_is_one() -> None:
    """However empty."""
    assert decoded({"finish_reason": "MAX_TOKENS"}).finished.reason is FinishReason.LENGTH
