"""Whole answers of the Messages API: JSON in, neutral answers or classified failures out."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest

from trunkline_server.chat.answer import Answer, Finished, FinishReason, Usage, UsageSource
from trunkline_server.chat.message import Message, Part, Role, TextPart, ThinkingPart, ToolCallPart
from trunkline_server.providers.anthropic import AnthropicAdapter
from trunkline_server.providers.base import AttemptError
from trunkline_server.routing.failures import Failure, FailureClass

SOURCE: Final = "https://platform.claude.com/docs/en/api/messages (2026-11-23)"
"""Of the shapes below, with the types of the vendor's Python library 2.12.0."""


def decoded(body: object) -> Answer:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return AnthropicAdapter().decode_answer(200, {"request-id": "req_1"}, raw)


def message(*content: dict[str, Any], stop: str | None = "end_turn", **more: Any) -> dict[str, Any]:
    return {
        "id": "msg_01XFDUDYJgAACzvnptvVoYEL",
        "type": "message",
        "role": "assistant",
        "model": "claude-opus-5-5",
        "content": list(content),
        "stop_reason": stop,
        "stop_sequence": None,
        "usage": {"input_tokens": 12, "output_tokens": 6},
        **more,
    }


def failed(body: object) -> Failure:
    with pytest.raises(AttemptError) as caught:
        decoded(body)
    return caught.value.failure


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words, "citations": None}


def call(call_input: Any, call_id: str | None = "toolu_1", name: str | None = "look") -> dict[str, Any]:
    return {"type": "tool_use", "id": call_id, "name": name, "input": call_input, "caller": {"type": "direct"}}


def parts(*content: dict[str, Any]) -> tuple[Part, ...]:
    return decoded(message(*content)).message.parts


def test_an_answer_as_the_vendor_s_manual_has_it() -> None:
    """Text, end and usage of the documented example."""
    assert decoded(message(text("Hello!"))) == Answer(
        Message(Role.ASSISTANT, (TextPart("Hello!"),)),
        Finished(FinishReason.STOP, "end_turn"),
        Usage(input_tokens=12, output_tokens=6, source=UsageSource.PROVIDER),
    )


def test_each_block_is_a_part() -> None:
    """Thinking with its signature or sealed, text, and calls with their arguments as they were written."""
    raw = json.dumps(
        message(
            {"type": "thinking", "thinking": "hm", "signature": "sig"},
            {"type": "thinking", "thinking": "", "signature": "unshown"},
            {"type": "redacted_thinking", "data": "sealed"},
            text("One look."),
            call({}),
            stop="tool_use",
        )
    ).replace('"input": {}', '"input": {"b": 1.50,"a":"\\u00e9"}')
    answer = decoded(raw.encode())
    assert answer.message.parts == (
        ThinkingPart("hm", "sig"),
        ThinkingPart("", "unshown"),
        ThinkingPart("", "sealed", redacted=True),
        TextPart("One look."),
        ToolCallPart("toolu_1", "look", '{"b": 1.50,"a":"\\u00e9"}'),
    )
    assert answer.finished == Finished(FinishReason.TOOL_CALLS, "tool_use")


def test_empty_blocks_are_no_parts() -> None:
    """They say nothing."""
    nothing = {"type": "thinking", "thinking": "", "signature": ""}
    assert parts(text(""), nothing, {"type": "redacted_thinking", "data": ""}, text("a")) == (TextPart("a"),)


@pytest.mark.parametrize("arguments", [{}, None])
def test_a_call_without_arguments_has_an_empty_object(arguments: Any) -> None:
    """Servers that write `null` mean the same."""
    assert parts(call(arguments)) == (ToolCallPart("toolu_1", "look", "{}"),)


def test_a_call_without_an_id_gets_one() -> None:
    """Of the answer's own id and the call's number, whatever else stands between."""
    made = parts(call({}, None), text("a"), call({}, ""))
    assert [part.id for part in made if isinstance(part, ToolCallPart)] == [
        "call_01XFDUDYJgAACzvnptvVoYEL_0",
        "call_01XFDUDYJgAACzvnptvVoYEL_1",
    ]


SERVER_BLOCKS: Final[list[dict[str, Any]]] = [
    {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "x"}},
    {
        "type": "web_search_tool_result",
        "tool_use_id": "srvtoolu_1",
        "content": [{"type": "web_search_result", "url": "https://h", "title": "t"}],
    },
    {"type": "web_fetch_tool_result", "tool_use_id": "srvtoolu_2", "content": {"type": "x"}},
    {"type": "container_upload", "file_id": "file_1"},
    {"type": "brand_new", "text": {"of": "another shape"}, "id": 7, "signature": []},
]


def test_blocks_of_tools_at_the_provider_and_unknown_ones_are_told() -> None:
    """The rest of the answer stands, whatever they look like inside."""
    answer = decoded(message(text("a"), *SERVER_BLOCKS, text("b")))
    assert answer.message.parts == (TextPart("a"), TextPart("b"))
    assert [(warning.code, warning.field) for warning in answer.warnings] == [
        ("DROPPED_CONTENT", f"message.content[{number}]") for number in range(1, 6)
    ]


REASONS: Final = {
    "end_turn": FinishReason.STOP,
    "stop_sequence": FinishReason.STOP,
    "tool_use": FinishReason.TOOL_CALLS,
    "max_tokens": FinishReason.LENGTH,
    "refusal": FinishReason.REFUSAL,
    "model_context_window_exceeded": FinishReason.CONTEXT_LIMIT,
    "pause_turn": FinishReason.OTHER,
    "compaction": FinishReason.OTHER,
    "brand_new": FinishReason.OTHER,
}


@pytest.mark.parametrize("native", REASONS)
def test_each_reason_to_stop_has_its_own(native: str) -> None:
    """The provider's word is kept beside ours."""
    assert decoded(message(text("a"), stop=native)).finished == Finished(REASONS[native], native)


@pytest.mark.parametrize(
    ("details", "reason"),
    [
        ({"type": "refusal", "category": "cyber", "explanation": "no"}, FinishReason.CONTENT_FILTER),
        ({"type": "refusal", "category": None, "explanation": None}, FinishReason.REFUSAL),
        (None, FinishReason.REFUSAL),
    ],
)
def test_a_refusal_with_a_category_is_a_filter_s(details: Any, reason: FinishReason) -> None:
    """It cut the answer off; a model's own refusal has none."""
    answer = decoded(message(text("a"), stop="refusal", stop_details=details))
    assert answer.finished == Finished(reason, "refusal")


def test_a_refusal_before_any_content_is_a_filter_s_block() -> None:
    """It fails, so that the alias may have another target answer."""
    failure = failed(message(stop="refusal"))
    assert (failure.failure_class, failure.upstream_code) == (FailureClass.CONTENT_FILTERED, "refusal")


def test_an_answer_may_be_empty() -> None:
    """With a reason to stop it is an answer."""
    assert decoded(message()).message.parts == ()


USAGE: Final[dict[str, tuple[dict[str, Any], Usage]]] = {
    "with a cache": (
        {
            "input_tokens": 50,
            "cache_read_input_tokens": 100_000,
            "cache_creation_input_tokens": 248,
            "cache_creation": {"ephemeral_5m_input_tokens": 148, "ephemeral_1h_input_tokens": 100},
            "output_tokens": 503,
            "output_tokens_details": {"thinking_tokens": 400},
            "server_tool_use": {"web_search_requests": 1},
            "service_tier": "standard",
        },
        Usage(100_298, 503, 100_000, 248, 400, UsageSource.PROVIDER),
    ),
    "without one": (
        {"input_tokens": 5, "cache_read_input_tokens": None, "output_tokens": 1.0},
        Usage(5, 1, source=UsageSource.PROVIDER),
    ),
    "nothing said": ({"cache_read_input_tokens": 7}, Usage(cached_input_tokens=7, source=UsageSource.PROVIDER)),
    "no counts": ({"input_tokens": -1, "output_tokens": 1e300}, Usage(source=UsageSource.PROVIDER)),
}


@pytest.mark.parametrize("case", USAGE)
def test_input_is_all_that_was_read(case: str) -> None:
    """What came from the cache and what went into it are parts of it; unknown is not zero."""
    usage, expected = USAGE[case]
    assert decoded(message(text("a"), usage=usage)).usage == expected


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", FailureClass.PROTOCOL),
        (b"<html>", FailureClass.PROTOCOL),
        (b"[]", FailureClass.PROTOCOL),
        (b"{}", FailureClass.PROTOCOL),
        (b"[" * 100_000, FailureClass.PROTOCOL),
        ({"type": "message", "content": 7, "stop_reason": "end_turn"}, FailureClass.PROTOCOL),
        (message(stop=None), FailureClass.PROTOCOL),
        (message(call({}, name=None), stop="tool_use"), FailureClass.PROTOCOL),
        (message({"type": "text", "text": 7}), FailureClass.PROTOCOL),
        (message(text("a"), stop=None), FailureClass.TRUNCATED),
        ({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}, FailureClass.OVERLOADED),
    ],
)
def test_what_is_no_answer_fails(body: object, expected: FailureClass) -> None:
    """By what is wrong with it."""
    assert failed(body).failure_class is expected
