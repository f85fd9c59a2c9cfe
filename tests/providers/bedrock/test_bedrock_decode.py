"""Whole answers of Converse: golden bodies and what they become."""

from __future__ import annotations

import json
from typing import Any

import pytest

from trunkline_server.chat.answer import Answer, Finished, FinishReason, Usage, UsageSource, Warning_
from trunkline_server.chat.message import TextPart, ThinkingPart, ToolCallPart
from trunkline_server.providers.base import AttemptError
from trunkline_server.providers.bedrock import BedrockAdapter
from trunkline_server.routing.failures import FailureClass

C = FailureClass
USAGE = {"inputTokens": 5, "outputTokens": 2, "totalTokens": 7}


def decode(body: object) -> Answer:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return BedrockAdapter().decode_answer(200, {}, raw)


def answer(*blocks: Any, reason: str | None = "end_turn", **fields: Any) -> dict[str, Any]:
    message = {"role": "assistant", "content": list(blocks)}
    return {"output": {"message": message}, "stopReason": reason, "usage": USAGE, "metrics": {"latencyMs": 1}, **fields}


def failed(body: object) -> FailureClass:
    with pytest.raises(AttemptError) as raised:
        decode(body)
    return raised.value.failure.failure_class


def test_a_text() -> None:
    """A body of every field that is required (ConverseResponse in botocore 1.44.5's model of bedrock-runtime)."""
    found = decode(
        b"""{"output": {"message": {"role": "assistant", "content": [{"text": "Here is a list of 3 pop songs."}]}},
        "stopReason": "end_turn", "usage": {"inputTokens": 125, "outputTokens": 60, "totalTokens": 185},
        "metrics": {"latencyMs": 1175}}"""
    )
    assert found.message.parts == (TextPart("Here is a list of 3 pop songs."),)
    assert found.finished == Finished(FinishReason.STOP, "end_turn")
    assert found.usage == Usage(input_tokens=125, output_tokens=60, source=UsageSource.PROVIDER)
    assert found.warnings == ()


def test_a_tool_call() -> None:
    """A call of the vendor's example tool, its input as it was written.

    Tool: docs.aws.amazon.com/bedrock/latest/userguide/tool-use-inference-call.html, as of 2026-11-23.
    """
    call = {"toolUseId": "tooluse_hbTgdi0CSLq_hM4P8csZJA", "name": "top_song", "input": {"sign": "WZPZ"}}
    found = decode(answer({"toolUse": call}, reason="tool_use"))
    assert found.message.parts == (ToolCallPart("tooluse_hbTgdi0CSLq_hM4P8csZJA", "top_song", '{"sign": "WZPZ"}'),)
    assert found.finished == Finished(FinishReason.TOOL_CALLS, "tool_use")


def test_every_kind_of_block() -> None:
    """Blocks are parts in their order; what nobody can carry on is told."""
    found = decode(
        answer(
            {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "sig"}}},
            {"reasoningContent": {"reasoningText": {"text": "", "signature": "withheld"}}},
            {"reasoningContent": {"redactedContent": "c2VhbGVk"}},
            {"reasoningContent": {"reasoningText": {"text": ""}}},
            {"text": ""},
            {"citationsContent": {"content": [{"text": "It "}, {"text": "is."}], "citations": [{"title": "t"}]}},
            {"image": {"format": "png", "source": {"bytes": "AA=="}}},
            {"toolUse": {"toolUseId": "t", "name": "search", "input": {}, "type": "server_tool_use"}},
            {"text": "so"},
        )
    )
    assert found.message.parts == (
        ThinkingPart("hm", "sig"),
        ThinkingPart("", "withheld"),
        ThinkingPart("", "c2VhbGVk", redacted=True),
        TextPart("It is."),
        TextPart("so"),
    )
    told = "the provider sent content that this gateway cannot carry"
    assert found.warnings == (
        Warning_("DROPPED_CONTENT", "message.content[5].citations", told),
        Warning_("DROPPED_CONTENT", "message.content[6]", told),
        Warning_("DROPPED_CONTENT", "message.content[7]", told),
    )


def test_usage_with_a_cache() -> None:
    """All input together; what is no count is unknown."""
    usage = {"inputTokens": 4, "outputTokens": 6, "cacheReadInputTokens": 1000, "cacheWriteInputTokens": 300}
    assert decode(answer({"text": "a"}, usage=usage)).usage == Usage(
        input_tokens=1304,
        output_tokens=6,
        cached_input_tokens=1000,
        cache_write_tokens=300,
        source=UsageSource.PROVIDER,
    )
    odd = decode(answer({"text": "a"}, usage={"inputTokens": -1, "outputTokens": 1e300})).usage
    assert odd == Usage(source=UsageSource.PROVIDER)
    assert decode(answer({"text": "a"}, usage=None)).usage is None


@pytest.mark.parametrize("arguments", [{}, {"input": None}, {"input": {}}])
def test_a_call_without_arguments_has_none(arguments: dict[str, Any]) -> None:
    """However the service says it, the caller gets an empty object."""
    found = decode(answer({"toolUse": {"toolUseId": "c", "name": "f", **arguments}}, reason="tool_use"))
    assert found.message.parts == (ToolCallPart("c", "f", "{}"),)


def test_an_empty_answer_is_an_answer() -> None:
    """A terminal reason without content is no failure."""
    assert decode(answer()).message.parts == ()


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", C.PROTOCOL),
        (b"<html>", C.PROTOCOL),
        (b"\xff", C.PROTOCOL),
        (b"[" * 100_000, C.PROTOCOL),
        ([], C.PROTOCOL),
        ({}, C.PROTOCOL),
        ({"message": "no"}, C.PROTOCOL),
        ({"output": {}}, C.PROTOCOL),
        (answer({"text": 7}), C.PROTOCOL),
        (answer(reason=None), C.PROTOCOL),
        (answer({"toolUse": {"toolUseId": "c", "name": "", "input": {}}}), C.PROTOCOL),
        (answer({"toolUse": {"toolUseId": "", "name": "f", "input": {}}}), C.PROTOCOL),
        (answer(*[{"toolUse": {"toolUseId": "c", "name": "f", "input": {}}}] * 300), C.PROTOCOL),
        (answer({"text": "a"}, reason=None), C.TRUNCATED),
        ({"__type": "ThrottlingException", "message": "no"}, C.RATE_LIMITED),
        ({"__type": "com.amazon.coral.service#ServiceUnavailableException"}, C.OVERLOADED),
        (answer(reason="content_filtered"), C.CONTENT_FILTERED),
        (answer(reason="guardrail_intervened"), C.CONTENT_FILTERED),
    ],
)
def test_bodies_that_are_no_answer(body: object, expected: FailureClass) -> None:
    """Each has its class, and none is an answer."""
    assert failed(body) is expected
