"""Whole answers: JSON in, neutral answers or classified failures out."""

from __future__ import annotations

import json
from typing import Any

import pytest

from trunkline_server.chat.answer import (
    Answer,
    Finished,
    FinishReason,
    TokenAlternative,
    TokenLogprob,
    Usage,
    UsageSource,
)
from trunkline_server.chat.message import Message, Part, RefusalPart, Role, TextPart, ThinkingPart, ToolCallPart
from trunkline_server.providers.base import AttemptError
from trunkline_server.providers.openai import OpenAIAdapter
from trunkline_server.routing.failures import Failure, FailureClass


def answer(message: dict[str, Any] | None, finish: str | None = "stop", **body: Any) -> Answer:
    choice = {"index": 0, "message": message, "finish_reason": finish}
    return decoded({"id": "chatcmpl-1", "choices": [choice], **body})


def decoded(body: object) -> Answer:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return OpenAIAdapter().decode_answer(200, {"x-request-id": "req-1"}, raw)


def failed(body: object) -> Failure:
    with pytest.raises(AttemptError) as caught:
        decoded(body)
    return caught.value.failure


def parts(message: dict[str, Any]) -> tuple[Part, ...]:
    return answer(message).message.parts


def call(arguments: object, call_id: str | None = "c1", name: str = "look") -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def test_an_answer_as_the_provider_s_manual_has_it() -> None:
    """Text, end and usage of the documented example."""
    body = {
        "id": "chatcmpl-B9MBs8CjcLOU2hLn4n570S5qMJKcT",
        "object": "chat.completion",
        "created": 1741569952,
        "model": "gpt-4.1-2025-04-14",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Hello!", "refusal": None, "annotations": []},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {
            "prompt_tokens": 19,
            "completion_tokens": 10,
            "total_tokens": 29,
            "prompt_tokens_details": {"cached_tokens": 4, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 6, "audio_tokens": 0},
        },
        "service_tier": "default",
    }
    assert decoded(body) == Answer(
        message=Message(Role.ASSISTANT, (TextPart("Hello!"),)),
        finished=Finished(FinishReason.STOP, "stop"),
        usage=Usage(
            input_tokens=19,
            output_tokens=10,
            cached_input_tokens=4,
            reasoning_tokens=6,
            source=UsageSource.PROVIDER,
        ),
    )


MESSAGES: dict[str, tuple[dict[str, Any], tuple[Part, ...]]] = {
    "text": ({"content": "a"}, (TextPart("a"),)),
    "empty text": ({"content": ""}, ()),
    "refusal": ({"content": None, "refusal": "no"}, (RefusalPart("no"),)),
    "reasoning_content": ({"reasoning_content": "hm", "content": "a"}, (ThinkingPart("hm"), TextPart("a"))),
    "reasoning": ({"reasoning": "hm", "content": "a"}, (ThinkingPart("hm"), TextPart("a"))),
    "both reasoning fields": (
        {"reasoning": "hm", "reasoning_content": "hm", "content": "a"},
        (ThinkingPart("hm"), TextPart("a")),
    ),
    "reasoning of another shape": ({"reasoning": {"effort": "low"}, "content": "a"}, (TextPart("a"),)),
    "content list": (
        {
            "content": [
                {"type": "thinking", "thinking": [{"type": "text", "text": "h"}, {"type": "text", "text": "m"}]},
                {"type": "text", "text": "a"},
                {"type": "text", "text": "b"},
                {"type": "refusal", "refusal": "no"},
            ]
        },
        (ThinkingPart("hm"), TextPart("ab"), RefusalPart("no")),
    ),
    "tool calls": (
        {"content": None, "tool_calls": [call('{"q": 1.0}'), call("{}", "c2")]},
        (ToolCallPart("c1", "look", '{"q": 1.0}'), ToolCallPart("c2", "look", "{}")),
    ),
    "arguments as an object": ({"tool_calls": [call({"q": 1})]}, (ToolCallPart("c1", "look", '{"q":1}'),)),
    "no arguments": ({"tool_calls": [call("")]}, (ToolCallPart("c1", "look", "{}"),)),
    "null arguments": ({"tool_calls": [call(None)]}, (ToolCallPart("c1", "look", "{}"),)),
    "no ids": (
        {"tool_calls": [call("{}", None), call("{}", "")]},
        (ToolCallPart("call_chatcmpl-1_0", "look", "{}"), ToolCallPart("call_chatcmpl-1_1", "look", "{}")),
    ),
    "function_call": (
        {"content": None, "function_call": {"name": "look", "arguments": "{}"}},
        (ToolCallPart("call_chatcmpl-1_0", "look", "{}"),),
    ),
}


@pytest.mark.parametrize("case", MESSAGES)
def test_messages(case: str) -> None:
    """Each shape of a message has exactly these parts."""
    message, golden = MESSAGES[case]
    assert parts(message) == golden


@pytest.mark.parametrize(
    ("native", "message", "reason"),
    [
        ("stop", {"content": "a"}, FinishReason.STOP),
        ("stop", {"content": ""}, FinishReason.STOP),
        ("stop", None, FinishReason.STOP),
        ("stop", {"refusal": "no"}, FinishReason.REFUSAL),
        ("stop", {"content": "a", "refusal": "no"}, FinishReason.STOP),
        ("stop", {"tool_calls": [call("{}")]}, FinishReason.TOOL_CALLS),
        ("tool_calls", {"tool_calls": [call("{}")]}, FinishReason.TOOL_CALLS),
        ("function_call", {"function_call": {"name": "f", "arguments": "{}"}}, FinishReason.TOOL_CALLS),
        ("length", {"content": "a"}, FinishReason.LENGTH),
        ("length", {"content": ""}, FinishReason.LENGTH),
        ("model_length", {"content": "a"}, FinishReason.CONTEXT_LIMIT),
        ("content_filter", {"content": "a"}, FinishReason.CONTENT_FILTER),
        ("eos_token", {"content": "a"}, FinishReason.OTHER),
    ],
)
def test_finish_reasons(native: str, message: dict[str, Any] | None, reason: FinishReason) -> None:
    """The provider's word is mapped and kept; a terminal reason makes an answer, however empty."""
    assert answer(message, native).finished == Finished(reason, native)


def test_a_filter_s_block_before_any_content_is_a_failure() -> None:
    """A block is CONTENT_FILTERED in whatever shape it comes."""
    choice = {"index": 0, "message": {"content": ""}, "finish_reason": "content_filter"}
    assert failed({"choices": [choice]}).failure_class is FailureClass.CONTENT_FILTERED


def test_arguments_that_are_no_json_are_kept_and_told() -> None:
    """Half of an argument comes as the model wrote it, with a warning."""
    got = answer({"content": "a", "tool_calls": [call('{"q": ')]}, "length")
    assert got.message.parts == (TextPart("a"), ToolCallPart("c1", "look", '{"q": '))
    assert [(warning.code, warning.field) for warning in got.warnings] == [
        ("TOOL_ARGUMENTS_NOT_JSON", "message.parts[1].tool_call.arguments_json")
    ]


def test_a_call_cut_before_its_arguments_is_not_made_whole() -> None:
    """Missing arguments are an empty object only if nothing is missing."""
    got = answer({"tool_calls": [call("")]}, "length")
    assert got.message.parts == (ToolCallPart("c1", "look", ""),)
    assert got.warnings[0].code == "TOOL_ARGUMENTS_NOT_JSON"


def test_content_that_cannot_be_carried_is_told() -> None:
    """Audio, annotations and unknown items leave a warning behind."""
    got = answer({"content": [{"type": "hologram"}], "audio": {"id": "a"}, "annotations": [{}]})
    assert [warning.field for warning in got.warnings] == [
        "message.content[0]",
        "message.audio",
        "message.annotations",
    ]


def test_log_probabilities() -> None:
    """Tokens come with their bytes and alternatives, the refusal's behind the text's."""
    token = {
        "token": "é",
        "logprob": -0.5,
        "bytes": [195, 169],
        "top_logprobs": [{"token": "e", "logprob": -1, "bytes": None}],
    }
    choice = {
        "index": 0,
        "message": {"content": "é"},
        "finish_reason": "stop",
        "logprobs": {"content": [token], "refusal": [{"token": "n", "logprob": -2.0}]},
    }
    assert decoded({"choices": [choice]}).logprobs == (
        TokenLogprob("é", -0.5, b"\xc3\xa9", (TokenAlternative("e", -1.0, None),)),
        TokenLogprob("n", -2.0),
    )
    token["bytes"] = [256]
    assert failed({"choices": [choice]}).failure_class is FailureClass.PROTOCOL


def test_usage_that_no_count_has_is_unknown() -> None:
    """Unknown is not zero, and a negative or fractional oddity costs nobody the answer."""
    assert answer({"content": "a"}).usage is None
    usage = {"prompt_tokens": 12.0, "completion_tokens": -1, "prompt_tokens_details": {"cache_write_tokens": 3}}
    assert answer({"content": "a"}, usage=usage).usage == Usage(
        input_tokens=12, cache_write_tokens=3, source=UsageSource.PROVIDER
    )


def test_only_the_first_choice_is_read() -> None:
    """Choices beyond index 0 were not asked for."""
    other = {"index": 1, "message": {"content": "b"}, "finish_reason": "stop"}
    first = {"index": 0, "message": {"content": "a"}, "finish_reason": "stop"}
    assert decoded({"choices": [other, first]}).message.parts == (TextPart("a"),)
    assert failed({"choices": [other]}).failure_class is FailureClass.PROTOCOL


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b"{}",
        b'{"choices":[]}',
        b'{"choices":null}',
        b'{"choices":[{"message":{"content":7},"finish_reason":"stop"}]}',
        b'{"choices":[{"message":{"content":""},"finish_reason":null}]}',
        b'{"choices":[{"message":null}]}',
        b'{"choices":[{"message":{"tool_calls":[{"id":"c"}]},"finish_reason":"stop"}]}',
        b'{"choices":[{"message":{"content":"\xff"},"finish_reason":"stop"}]}',
        b'{"x":' + b"[" * 100_000,
    ],
)
def test_what_is_no_answer_is_a_protocol_failure(body: bytes) -> None:
    """Not JSON, no choice, another shape, neither content nor reason."""
    failure = failed(body)
    assert failure.failure_class is FailureClass.PROTOCOL
    assert failure.upstream_text is None


@pytest.mark.parametrize("finish", [None, "", "null"])
def test_content_without_a_finish_reason_is_truncated(finish: str | None) -> None:
    """Nobody knows whether such an answer is whole, so it counts as cut."""
    choice = {"index": 0, "message": {"content": "a"}, "finish_reason": finish}
    assert failed({"choices": [choice]}).failure_class is FailureClass.TRUNCATED


def test_an_error_under_a_200_is_classified_by_the_same_table() -> None:
    """Codes, and a status in the body where there is no other."""
    quota = failed({"error": {"message": "no", "code": "insufficient_quota"}})
    assert quota.failure_class is FailureClass.KEY_EXHAUSTED
    assert quota.upstream_request_id == "req-1"
    assert failed({"error": {"message": "no", "code": 429}}).failure_class is FailureClass.RATE_LIMITED
    assert failed({"error": {"message": "no"}}).failure_class is FailureClass.SERVER_ERROR


def test_an_empty_error_field_is_none() -> None:
    """Servers that always write the field are understood."""
    nothings: tuple[dict[str, Any] | None, ...] = (None, {})
    for nothing in nothings:
        assert answer({"content": "a"}, error=nothing).message.parts == (TextPart("a"),)
