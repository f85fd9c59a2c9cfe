"""Whole responses: JSON in, neutral answers or classified failures out."""

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
from trunkline_server.providers.openai_responses import ResponsesAdapter
from trunkline_server.routing.failures import Failure, FailureClass


def decoded(body: object) -> Answer:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return ResponsesAdapter().decode_answer(200, {"x-request-id": "req-1"}, raw)


def answer(*output: dict[str, Any], status: str | None = "completed", **body: Any) -> Answer:
    return decoded({"id": "resp_1", "object": "response", "status": status, "output": list(output), **body})


def failed(body: object) -> Failure:
    with pytest.raises(AttemptError) as caught:
        decoded(body)
    return caught.value.failure


def message(*content: dict[str, Any]) -> dict[str, Any]:
    return {"type": "message", "id": "msg_1", "status": "completed", "role": "assistant", "content": list(content)}


def text(words: str, **more: Any) -> dict[str, Any]:
    return {"type": "output_text", "text": words, "annotations": [], **more}


def call(arguments: object, call_id: str | None = "c1", **more: Any) -> dict[str, Any]:
    return {"type": "function_call", "id": "fc_1", "call_id": call_id, "name": "look", "arguments": arguments, **more}


def reasoning(*summary: str, sealed: str | None = None, **more: Any) -> dict[str, Any]:
    pieces = [{"type": "summary_text", "text": piece} for piece in summary]
    return {"type": "reasoning", "id": "rs_1", "summary": pieces, "encrypted_content": sealed, **more}


GOLDEN_SOURCE = "https://platform.openai.com/docs/api-reference/responses/object, 2026-11-23"
GOLDEN = {
    "id": "resp_67ccd3a9da748190baa7f1570fe91ac604becb25c45c1d41",
    "object": "response",
    "created_at": 1741476777,
    "status": "completed",
    "completed_at": 1741476778,
    "error": None,
    "incomplete_details": None,
    "instructions": None,
    "max_output_tokens": None,
    "model": "gpt-4o-2024-08-06",
    "output": [
        {
            "type": "message",
            "id": "msg_67ccd3acc8d48190a77525dc6de64b4104becb25c45c1d41",
            "status": "completed",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "The image depicts a scenic landscape.", "annotations": []}],
        }
    ],
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "reasoning": {"effort": None, "summary": None},
    "store": True,
    "temperature": 1,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_p": 1,
    "truncation": "disabled",
    "usage": {
        "input_tokens": 328,
        "input_tokens_details": {"cached_tokens": 64},
        "output_tokens": 52,
        "output_tokens_details": {"reasoning_tokens": 12},
        "total_tokens": 380,
    },
    "user": None,
    "metadata": {},
}


def test_a_response_as_the_provider_s_manual_has_it() -> None:
    """Text, end and usage of the documented example."""
    assert decoded(GOLDEN) == Answer(
        message=Message(Role.ASSISTANT, (TextPart("The image depicts a scenic landscape."),)),
        finished=Finished(FinishReason.STOP, "completed"),
        usage=Usage(
            input_tokens=328,
            output_tokens=52,
            cached_input_tokens=64,
            reasoning_tokens=12,
            source=UsageSource.PROVIDER,
        ),
    )


ITEMS: dict[str, tuple[list[dict[str, Any]], tuple[Part, ...]]] = {
    "text": ([message(text("a"))], (TextPart("a"),)),
    "nothing": ([], ()),
    "empty text": ([message(text(""))], ()),
    "several contents and messages": (
        [message(text("a"), text("b")), message(text("c"))],
        (TextPart("a"), TextPart("b"), TextPart("c")),
    ),
    "refusal": ([message({"type": "refusal", "refusal": "no"})], (RefusalPart("no"),)),
    "a summary of reasoning": ([reasoning("a", "b"), message(text("c"))], (ThinkingPart("a\n\nb"), TextPart("c"))),
    "words of reasoning": (
        [reasoning("b", content=[{"type": "reasoning_text", "text": "a"}])],
        (ThinkingPart("a\n\nb"),),
    ),
    "sealed reasoning": (
        [reasoning("a", sealed="gA="), call("{}")],
        (ThinkingPart("a", "rs_1:gA="), ToolCallPart("c1", "look", "{}")),
    ),
    "sealed reasoning that shows nothing": (
        [reasoning(sealed="gA="), message(text("a"))],
        (ThinkingPart("", "rs_1:gA=", redacted=True), TextPart("a")),
    ),
    "reasoning that neither shows nor seals anything": ([reasoning(), message(text("a"))], (TextPart("a"),)),
    "calls": (
        [call('{"q": 1.0}'), call("{}", "c2")],
        (ToolCallPart("c1", "look", '{"q": 1.0}'), ToolCallPart("c2", "look", "{}")),
    ),
    "arguments as an object": ([call({"q": 1})], (ToolCallPart("c1", "look", '{"q":1}'),)),
    "no arguments": ([call("")], (ToolCallPart("c1", "look", "{}"),)),
    "no ids": (
        [call("{}", None), call("{}", "")],
        (ToolCallPart("call_resp_1_0", "look", "{}"), ToolCallPart("call_resp_1_1", "look", "{}")),
    ),
}


@pytest.mark.parametrize("case", ITEMS)
def test_items_become_parts(case: str) -> None:
    """Each kind of item has exactly these parts, in the order of the items."""
    output, golden = ITEMS[case]
    got = answer(*output)
    assert got.message.parts == golden
    assert got.warnings == ()


@pytest.mark.parametrize(
    ("output", "reason"),
    [
        ([message(text("a"))], FinishReason.STOP),
        ([], FinishReason.STOP),
        ([message({"type": "refusal", "refusal": "no"})], FinishReason.REFUSAL),
        ([message(text("a"), {"type": "refusal", "refusal": "no"})], FinishReason.STOP),
        ([message(text("a")), call("{}")], FinishReason.TOOL_CALLS),
    ],
)
def test_how_a_complete_response_ended(output: list[dict[str, Any]], reason: FinishReason) -> None:
    """The API says only that it is complete; calls and refusals say the rest."""
    assert answer(*output).finished == Finished(reason, "completed")


@pytest.mark.parametrize(
    ("native", "reason"),
    [
        ("max_output_tokens", FinishReason.LENGTH),
        ("content_filter", FinishReason.CONTENT_FILTER),
        ("brand_new", FinishReason.OTHER),
    ],
)
def test_why_a_response_is_incomplete(native: str, reason: FinishReason) -> None:
    """The provider's word is mapped and kept."""
    got = answer(message(text("a")), status="incomplete", incomplete_details={"reason": native})
    assert got.finished == Finished(reason, native)


def test_an_incomplete_response_may_say_no_reason() -> None:
    """Then its status is the word for it."""
    got = answer(message(text("a")), status="incomplete", incomplete_details=None)
    assert got.finished == Finished(FinishReason.OTHER, "incomplete")


def test_a_filter_s_block_before_any_content_is_a_failure() -> None:
    """A block is CONTENT_FILTERED in whatever shape it comes."""
    body = {"status": "incomplete", "output": [], "incomplete_details": {"reason": "content_filter"}}
    assert failed(body).failure_class is FailureClass.CONTENT_FILTERED


def test_a_call_that_was_cut_is_kept_and_told() -> None:
    """Half of an argument comes as the model wrote it, with a warning, and none is made up."""
    output = (call('{"q": ', status="incomplete"), call("", "c2", status="incomplete"))
    got = answer(*output, status="incomplete", incomplete_details={"reason": "max_output_tokens"})
    assert got.message.parts == (ToolCallPart("c1", "look", '{"q": '), ToolCallPart("c2", "look", ""))
    assert [(warning.code, warning.field) for warning in got.warnings] == [
        ("TOOL_ARGUMENTS_NOT_JSON", "message.parts[0].tool_call.arguments_json"),
        ("TOOL_ARGUMENTS_NOT_JSON", "message.parts[1].tool_call.arguments_json"),
    ]


def test_a_whole_call_without_arguments_has_an_empty_object() -> None:
    """Even if the response was cut after it."""
    got = answer(call("", status="completed"), status="incomplete", incomplete_details={"reason": "max_output_tokens"})
    assert got.message.parts == (ToolCallPart("c1", "look", "{}"),)


def test_content_that_cannot_be_carried_is_told() -> None:
    """Annotations, unknown content and the items of the provider's own tools leave a warning behind."""
    got = answer(
        {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search"}},
        {"type": "mcp_list_tools", "id": "m_1", "content": 7, "summary": {}, "arguments": [1]},
        message(text("a", annotations=[{"type": "url_citation"}]), {"type": "hologram"}),
    )
    assert [(warning.code, warning.field) for warning in got.warnings] == [
        ("DROPPED_CONTENT", "output"),
        ("DROPPED_CONTENT", "message.annotations"),
        ("DROPPED_CONTENT", "message.content[1]"),
    ]
    assert "2 items" in got.warnings[0].message


def test_log_probabilities() -> None:
    """Tokens come with their bytes and alternatives; an alternative that says nothing is none."""
    token = {
        "token": "é",
        "logprob": -0.5,
        "bytes": [195, 169],
        "top_logprobs": [{"token": "e", "logprob": -1, "bytes": None}, {"token": None, "logprob": None}],
    }
    assert answer(message(text("é", logprobs=[token]))).logprobs == (
        TokenLogprob("é", -0.5, b"\xc3\xa9", (TokenAlternative("e", -1.0, None),)),
    )
    token["bytes"] = [256]
    body = {"status": "completed", "output": [message(text("é", logprobs=[token]))]}
    assert failed(body).failure_class is FailureClass.PROTOCOL


def test_usage_that_no_count_has_is_unknown() -> None:
    """Unknown is not zero, and an oddity costs nobody the answer."""
    assert answer().usage is None
    usage = {"input_tokens": 12.0, "output_tokens": -1, "input_tokens_details": {"cache_write_tokens": 3}}
    assert answer(usage=usage).usage == Usage(input_tokens=12, cache_write_tokens=3, source=UsageSource.PROVIDER)


def test_a_failed_response_under_a_200_is_classified_by_the_table() -> None:
    """Its error has a code of the API's own list; without one the provider failed."""
    limited = failed({"status": "failed", "error": {"code": "rate_limit_exceeded", "message": "no"}, "output": []})
    assert limited.failure_class is FailureClass.RATE_LIMITED
    assert limited.upstream_request_id == "req-1"
    broken = failed({"status": "failed", "error": {"code": "server_error", "message": "no"}})
    assert broken.failure_class is FailureClass.SERVER_ERROR


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b"{}",
        b'{"output":[]}',
        b'{"status":"in_progress","output":[]}',
        b'{"status":"queued","output":[]}',
        b'{"status":"completed","output":[{"type":"message","content":7}]}',
        b'{"status":"completed","output":[{"type":"function_call","call_id":"c","arguments":"{}"}]}',
        b'{"status":"completed","output":[7]}',
        b'{"status":"completed","output":[{"type":"message","content":[{"text":"\xff"}]}]}',
        b'{"x":' + b"[" * 100_000,
    ],
)
def test_what_is_no_answer_is_a_protocol_failure(body: bytes) -> None:
    """Not JSON, another shape, still running, neither content nor status."""
    failure = failed(body)
    assert failure.failure_class is FailureClass.PROTOCOL
    assert failure.upstream_text is None


def test_content_without_a_status_is_truncated() -> None:
    """Nobody knows whether such an answer is whole, so it counts as cut."""
    assert failed({"output": [message(text("a"))]}).failure_class is FailureClass.TRUNCATED
