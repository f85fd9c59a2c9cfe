"""Whole answers: JSON in, neutral answers or classified failures out.

The forms are those of ai.google.dev/api/generate-content#GenerateContentResponse and of google-genai 3.4.0 (`types.
GenerateContentResponse`), signatures as ai.google.dev/gemini-api/docs/thought-signatures has them, read in 2026-11.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from google.genai import types
from tests.providers.gemini.said import call, chunk, text, thought, usage

from trunkline_server.chat.answer import (
    Answer,
    Finished,
    FinishReason,
    TokenAlternative,
    TokenLogprob,
    Usage,
    UsageSource,
)
from trunkline_server.chat.message import Message, Part, Role, TextPart, ThinkingPart, ToolCallPart
from trunkline_server.providers.base import AdapterTerms, AttemptError
from trunkline_server.providers.gemini import GeminiAdapter
from trunkline_server.providers.gemini.finish import REASONS
from trunkline_server.routing.failures import Failure, FailureClass

ADAPTER = GeminiAdapter(AdapterTerms("google", "https://generativelanguage.googleapis.com/v1beta"))


def decoded(body: object) -> Answer:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return ADAPTER.decode_answer(200, {}, raw)


def failed(body: object) -> Failure:
    with pytest.raises(AttemptError) as caught:
        decoded(body)
    return caught.value.failure


def sealed(signature: str) -> ThinkingPart:
    return ThinkingPart("", signature, provider="google")


def test_an_answer_as_the_provider_s_manual_has_it() -> None:
    """Text, end and usage, printed on many lines (ai.google.dev/gemini-api/docs/text-generation, read 2026-11)."""
    body = {
        "candidates": [
            {
                "content": {"parts": [{"text": "AI learns patterns."}], "role": "model"},
                "finishReason": "STOP",
                "avgLogprobs": -0.1,
                "safetyRatings": [{"category": "HARM_CATEGORY_HARASSMENT", "probability": "NEGLIGIBLE"}],
            }
        ],
        "usageMetadata": {
            "promptTokenCount": 8,
            "candidatesTokenCount": 4,
            "totalTokenCount": 42,
            "cachedContentTokenCount": 3,
            "thoughtsTokenCount": 30,
            "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 8}],
        },
        "modelVersion": "gemini-2.5-flash",
        "responseId": "x",
    }
    assert decoded(json.dumps(body, indent=2).encode()) == Answer(
        message=Message(Role.ASSISTANT, (TextPart("AI learns patterns."),)),
        finished=Finished(FinishReason.STOP, "STOP"),
        usage=Usage(
            input_tokens=8,
            output_tokens=34,
            cached_input_tokens=3,
            reasoning_tokens=30,
            source=UsageSource.PROVIDER,
        ),
    )


PARTS: dict[str, tuple[list[dict[str, Any]], tuple[Part, ...]]] = {
    "neighbouring texts are one": ([text("a"), text("b")], (TextPart("ab"),)),
    "reasoning before text": (
        [thought("hm"), thought("m"), text("a")],
        (ThinkingPart("hmm", provider="google"), TextPart("a")),
    ),
    "text between reasoning": (
        [thought("h"), text("a"), thought("m"), text("b")],
        (ThinkingPart("h", provider="google"), TextPart("a"), ThinkingPart("m", provider="google"), TextPart("b")),
    ),
    "a signature on text": ([text("a", thoughtSignature="c2ln")], (sealed("c2ln"), TextPart("a"))),
    "a signature on later text": (
        [text("a"), text("b", thoughtSignature="c2ln"), text("c")],
        (TextPart("a"), sealed("c2ln"), TextPart("bc")),
    ),
    "a signature on nothing": (
        [text("a"), text("", thoughtSignature="c2ln")],
        (TextPart("a"), sealed("c2ln")),
    ),
    "a signature on reasoning": (
        [thought("h", thoughtSignature="c2ln"), thought("m"), text("a")],
        (ThinkingPart("h", "c2ln", provider="google"), ThinkingPart("m", provider="google"), TextPart("a")),
    ),
    "a signature on a call": (
        [call("look", {"q": 1}, "f1", thoughtSignature="c2ln")],
        (sealed("c2ln"), ToolCallPart("f1", "look", '{"q": 1}')),
    ),
    "calls at once": (
        [call("look", {"q": 1.0}, "f1", thoughtSignature="c2ln"), call("look", {"q": 2}, "f2")],
        (sealed("c2ln"), ToolCallPart("f1", "look", '{"q": 1.0}'), ToolCallPart("f2", "look", '{"q": 2}')),
    ),
    "calls without ids": (
        [call("look", {}), text("and"), call("look", {})],
        (
            ToolCallPart("call_q7sBaYyFLdWIvdIPvKKDoAs_0", "look", "{}"),
            TextPart("and"),
            ToolCallPart("call_q7sBaYyFLdWIvdIPvKKDoAs_1", "look", "{}"),
        ),
    ),
    "a call without arguments": ([call("look", call_id="f1")], (ToolCallPart("f1", "look", "{}"),)),
    "empty texts": ([text(""), thought("")], ()),
    "no parts": ([], ()),
}


@pytest.mark.parametrize("case", PARTS)
def test_parts_become_parts(case: str) -> None:
    """In their order; a signature stands as reasoning without text in front of what it was found on."""
    wire, expected = PARTS[case]
    assert decoded(chunk(*wire, finish="STOP")).message == Message(Role.ASSISTANT, expected)


def test_arguments_come_without_the_line_breaks_of_a_printed_body() -> None:
    """Numbers, keys and their order stay as they are."""
    body = chunk(call("look", {"b": [1.0, 12345678901234567890], "a": {"x": "é\n"}}, "f1"), finish="STOP")
    answer = decoded(json.dumps(body, indent=2, ensure_ascii=False).encode())
    assert answer.message.parts == (ToolCallPart("f1", "look", '{"b":[1.0,12345678901234567890],"a":{"x":"é\\n"}}'),)


def test_every_documented_reason_is_known() -> None:
    """The list is that of the official package."""
    official = {reason.value for reason in types.FinishReason}
    assert set(REASONS) == official - {"FINISH_REASON_UNSPECIFIED"}


ENDS = {
    "STOP": FinishReason.STOP,
    "MAX_TOKENS": FinishReason.LENGTH,
    "CONTINUATION": FinishReason.LENGTH,
    "SAFETY": FinishReason.CONTENT_FILTER,
    "RECITATION": FinishReason.CONTENT_FILTER,
    "BLOCKLIST": FinishReason.CONTENT_FILTER,
    "PROHIBITED_CONTENT": FinishReason.CONTENT_FILTER,
    "SPII": FinishReason.CONTENT_FILTER,
    "MODEL_ARMOR": FinishReason.CONTENT_FILTER,
    "LANGUAGE": FinishReason.OTHER,
    "OTHER": FinishReason.OTHER,
    "MALFORMED_FUNCTION_CALL": FinishReason.OTHER,
    "UNEXPECTED_TOOL_CALL": FinishReason.OTHER,
    "PUP_LIMITED_DISABLED": FinishReason.OTHER,
    "SOMETHING_NEW": FinishReason.OTHER,
}


@pytest.mark.parametrize("native", ENDS)
def test_reasons_after_content(native: str) -> None:
    """What came before stands, with the provider's word beside ours."""
    assert decoded(chunk(text("a"), finish=native)).finished == Finished(ENDS[native], native)


def test_an_answer_with_calls_ends_for_them() -> None:
    """The protocol says `STOP` for it; a limit stays a limit."""
    assert decoded(chunk(call("f", {}), finish="STOP")).finished == Finished(FinishReason.TOOL_CALLS, "STOP")
    assert decoded(chunk(call("f", {}), finish="MAX_TOKENS")).finished == Finished(FinishReason.LENGTH, "MAX_TOKENS")


@pytest.mark.parametrize("native", ["STOP", "MAX_TOKENS", "MALFORMED_FUNCTION_CALL", "OTHER"])
def test_an_empty_answer_with_a_reason_is_an_answer(native: str) -> None:
    """A limit that was used up by thinking, or a call that the model wrote wrongly, is no failure of the provider."""
    answer = decoded(chunk(finish=native, candidate={"finishMessage": "Malformed function call: look("}))
    assert answer.message.parts == ()
    assert answer.finished.native_reason == native


FAILURES: dict[str, tuple[object, FailureClass]] = {
    "blocked prompt": ({"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}}, FailureClass.CONTENT_FILTERED),
    "blocked prompt with usage": (
        {"promptFeedback": {"blockReason": "SAFETY"}, **usage(promptTokenCount=9, totalTokenCount=9)},
        FailureClass.CONTENT_FILTERED,
    ),
    "blocked before any content": (chunk(finish="SAFETY"), FailureClass.CONTENT_FILTERED),
    "recitation before any content": (chunk(finish="RECITATION"), FailureClass.CONTENT_FILTERED),
    "an account that is cut off": (chunk(finish="PUP_LIMITED_DISABLED"), FailureClass.KEY_REJECTED),
    "no reason": (chunk(text("a")), FailureClass.TRUNCATED),
    "a reason that is none": (chunk(text("a"), finish="FINISH_REASON_UNSPECIFIED"), FailureClass.TRUNCATED),
    "neither content nor reason": (chunk(), FailureClass.PROTOCOL),
    "no candidate": ({"candidates": []}, FailureClass.PROTOCOL),
    "nothing": ({}, FailureClass.PROTOCOL),
    "feedback without a block": ({"promptFeedback": {"safetyRatings": []}}, FailureClass.PROTOCOL),
    "an error": ({"error": {"code": 503, "status": "UNAVAILABLE", "message": "no"}}, FailureClass.OVERLOADED),
    "an error in a list": ([{"error": {"code": 429, "message": "no"}}], FailureClass.RATE_LIMITED),
    "a list": ([chunk(text("a"), finish="STOP")], FailureClass.PROTOCOL),
    "text that is none": (chunk({"text": 7}, finish="STOP"), FailureClass.PROTOCOL),
    "a call without a name": (chunk({"functionCall": {"args": {}}}, finish="STOP"), FailureClass.PROTOCOL),
    "a call in pieces": (
        chunk({"functionCall": {"name": "f", "willContinue": True}}, finish="STOP"),
        FailureClass.PROTOCOL,
    ),
    "arguments that are no UTF-8": (
        b'{"candidates":[{"content":{"parts":[{"functionCall":{"name":"f","args":{"a":"\xff"}}}]},"finishReason":"STOP"}]}',
        FailureClass.PROTOCOL,
    ),
    "arguments that are no JSON": (
        b'{"candidates":[{"content":{"parts":[{"functionCall":{"name":"f","args":{"a":"\\x"}}}]},"finishReason":"STOP"}]}',
        FailureClass.PROTOCOL,
    ),
    "calls without end": (chunk(*[call("f", {})] * 300, finish="STOP"), FailureClass.PROTOCOL),
    "arguments without end": (chunk(call("f", {"a": "x" * 9_000_000}), finish="STOP"), FailureClass.PROTOCOL),
    "no JSON": (b"<html>", FailureClass.PROTOCOL),
    "bad UTF-8": (b'{"candidates":"\xff"}', FailureClass.PROTOCOL),
    "nesting without end": (b'{"error":' + b"[" * 100_000, FailureClass.PROTOCOL),
}


@pytest.mark.parametrize("case", FAILURES)
def test_what_is_no_answer(case: str) -> None:
    """Each way of not being one has its class."""
    body, expected = FAILURES[case]
    assert failed(body).failure_class is expected


def test_a_block_names_its_reason() -> None:
    """As the provider's code."""
    assert failed({"promptFeedback": {"blockReason": "JAILBREAK"}}).upstream_code == "JAILBREAK"
    assert failed(chunk(finish="SPII")).upstream_code == "SPII"


USAGES: dict[str, tuple[dict[str, int | float], Usage]] = {
    "tools of the provider": (
        {"promptTokenCount": 10, "toolUsePromptTokenCount": 90, "candidatesTokenCount": 5, "totalTokenCount": 105},
        Usage(100, 5, source=UsageSource.PROVIDER),
    ),
    "thinking alone": (
        {"promptTokenCount": 10, "thoughtsTokenCount": 7, "totalTokenCount": 17},
        Usage(10, 7, reasoning_tokens=7, source=UsageSource.PROVIDER),
    ),
    "no token at all": (
        {"promptTokenCount": 10, "totalTokenCount": 10},
        Usage(10, 0, source=UsageSource.PROVIDER),
    ),
    "the prompt alone": ({"promptTokenCount": 10}, Usage(10, source=UsageSource.PROVIDER)),
    "no counts": ({"promptTokenCount": -1, "candidatesTokenCount": 2**70}, Usage(source=UsageSource.PROVIDER)),
    "whole numbers with a point": ({"promptTokenCount": 12.0}, Usage(12, source=UsageSource.PROVIDER)),
}


@pytest.mark.parametrize("case", USAGES)
def test_usage(case: str) -> None:
    """Input holds what tools of the provider read, output what was thought; unknown is not zero."""
    counts, expected = USAGES[case]
    assert decoded(chunk(text("a"), finish="STOP", usageMetadata=counts)).usage == expected


def test_log_probabilities() -> None:
    """The token that was chosen, and the others that were asked for."""
    result = {
        "chosenCandidates": [
            {"token": "Hel", "tokenId": 1, "logProbability": -0.5},
            {"token": "lo", "tokenId": 2, "logProbability": -1},
        ],
        "topCandidates": [
            {"candidates": [{"token": "Hel", "logProbability": -0.5}, {"token": "Hi", "logProbability": -2}]}
        ],
    }
    answer = decoded(chunk(text("Hello"), finish="STOP", candidate={"logprobsResult": result}))
    assert answer.logprobs == (
        TokenLogprob("Hel", -0.5, top=(TokenAlternative("Hel", -0.5), TokenAlternative("Hi", -2.0))),
        TokenLogprob("lo", -1.0),
    )


DROPPED: dict[str, tuple[dict[str, Any], str]] = {
    "a picture": (
        chunk(text("a"), {"inlineData": {"mimeType": "image/png", "data": "iVBO"}}, finish="STOP"),
        "candidates[0].content.parts.inlineData",
    ),
    "code": (
        chunk({"executableCode": {"language": "PYTHON", "code": "1"}, "thoughtSignature": "c2ln"}, finish="STOP"),
        "candidates[0].content.parts.executableCode",
    ),
    "its result": (
        chunk({"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "1"}}, finish="STOP"),
        "candidates[0].content.parts.codeExecutionResult",
    ),
    "sources": (
        chunk(text("a"), finish="STOP", candidate={"groundingMetadata": {"webSearchQueries": ["q"]}}),
        "candidates[0].groundingMetadata",
    ),
    "pages": (
        chunk(text("a"), finish="STOP", candidate={"urlContextMetadata": {"urlMetadata": [{}]}}),
        "candidates[0].urlContextMetadata",
    ),
    "citations": (
        chunk(text("a"), finish="STOP", candidate={"citationMetadata": {"citationSources": [{}]}}),
        "candidates[0].citationMetadata",
    ),
}


@pytest.mark.parametrize("case", DROPPED)
def test_what_cannot_be_carried_is_told(case: str) -> None:
    """Pictures, code that the provider ran, and sources: once each, by their place."""
    body, field = DROPPED[case]
    assert [(warning.code, warning.field) for warning in decoded(body).warnings] == [("DROPPED_CONTENT", field)]


def test_what_is_empty_is_no_loss() -> None:
    """Metadata without anything in it is not told."""
    empty: dict[str, Any] = {"groundingMetadata": {}, "citationMetadata": {}}
    assert decoded(chunk(text("a"), finish="STOP", candidate=empty)).warnings == ()
