"""Cohere's protocol through the whole server, in front of the simulator that speaks it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
import pytest
from tests.e2e.conftest import ask
from tests.e2e.routed import refused
from tests.e2e.stream_books import read

from trunkline.v1 import (
    FINISH_REASON_TOOL_CALLS,
    ON_BREAK_RESTART,
    ROLE_TOOL,
    AttemptSummary,
    EmbedRequest,
    FailureClass,
    FunctionTool,
    Message,
    Part,
    RoutingOptions,
    Tool,
    ToolResultPart,
)
from trunkline_server.simulator.vectors import vector

if TYPE_CHECKING:
    from tests.e2e.conftest import Gateway, Gateways

    from trunkline.v1 import CompleteRequest

ROUTES = """
version: 1
providers:
  one:
    protocol: cohere
    base_url: {root}
    keys: [{{id: a, secret: env:ONE_A_API_KEY}}, {{id: b, secret: env:ONE_B_API_KEY}}]
  two:
    protocol: openai
    base_url: {base}
    keys: [{{id: c, secret: env:TWO_C_API_KEY}}]
aliases:
  default: {{tiers: [[one/command-a], [two/gpt]]}}
  embeddings: {{tiers: [[one/embed-v4.0]]}}
"""
PLAN = "I will look."
CALLS = {"reasoning": PLAN, "tool_calls": 2}
TOOLS = [Tool(function=FunctionTool(name="look"))]


async def answered(running: Gateway, request: CompleteRequest, *, stream: bool) -> Any:
    """Return message, finish reason and usage of a call that goes well."""
    if stream:
        reading = await read(running.stub.StreamComplete(request, timeout=30))
        assert reading.error is None
        return reading.answer
    return await running.stub.Complete(request, timeout=30)


@pytest.mark.parametrize("stream", [False, True], ids=["unary", "streamed"])
async def test_a_plan_comes_as_reasoning_and_goes_back_as_a_plan(gateway: Gateways, *, stream: bool) -> None:
    """It is the provider's own, sealed as a plan, and stands before the calls that it was made for."""
    async with gateway({"rules": [{"times": 1, "fault": CALLS}]}, routes=ROUTES) as running:
        first = await answered(running, ask(tools=TOOLS), stream=stream)
        assert first.finish_reason == FINISH_REASON_TOOL_CALLS
        thinking, *calls = first.message.parts
        assert (thinking.thinking.text, thinking.thinking.signature) == (PLAN, "tool_plan")
        assert thinking.thinking.provider == "one"
        request = ask(tools=TOOLS)
        request.messages.append(first.message)
        for call in calls:
            result = ToolResultPart(tool_call_id=call.tool_call.id, parts=[Part(text="4")])
            request.messages.append(Message(role=ROLE_TOOL, parts=[Part(tool_result=result)]))
        await answered(running, request, stream=stream)
        sent = running.simulator.stats.last_requests[-1].json["messages"]
        assert [message["role"] for message in sent] == ["user", "assistant", "tool", "tool"]
        assert sent[1]["tool_plan"] == PLAN
        assert "content" not in sent[1]
        await running.quiet()


def failed(attempts: Any) -> list[tuple[str, str, str]]:
    """Return key, reason and class of failure of each attempt."""
    return [
        (
            each.target.key_id,
            AttemptSummary.Why.Name(each.why).removeprefix("WHY_"),
            FailureClass.Name(each.error.failure_class).removeprefix("FAILURE_CLASS_")
            if each.HasField("error")
            else "",
        )
        for each in attempts
    ]


async def test_a_month_s_limit_is_the_key_s_and_a_minute_s_a_rate(gateway: Gateways) -> None:
    """Both are 429: the first moves to another key for good, the second until it has cooled."""
    for name, expected in (("trial_month_exceeded", "KEY_EXHAUSTED"), ("rate_limit_exceeded", "RATE_LIMITED")):
        rules = [{"times": 1, "fault": {"error": name}}]
        async with gateway({"rules": rules}, routes=ROUTES) as running:
            response = await running.stub.Complete(ask())
            first, second = failed(response.attempts)
            assert first[2] == expected
            assert second == ({"a": "b", "b": "a"}[first[0]], "KEY_WALK", "")


async def test_listed_words_are_a_filter_s_block(gateway: Gateways) -> None:
    """Status 498 is neither the key's nor the provider's fault, and nobody else is asked."""
    async with gateway({"models": {"command-a": {"error": "content_filter"}}}, routes=ROUTES) as running:
        failure = await refused(running, ask())
        assert failure.reason == "CONTENT_FILTERED"
        assert running.simulator.stats.requests == 1


async def test_a_stream_that_fails_at_its_end_breaks_and_starts_anew_elsewhere(gateway: Gateways) -> None:
    """The error stands in the event that would have ended the message."""
    fault = {"error": "server_error", "error_after_chunks": 2, "content": "one two three four"}
    async with gateway({"models": {"command-a": fault}}, routes=ROUTES) as running:
        request = ask("hi", routing=RoutingOptions(on_break=ON_BREAK_RESTART))
        reading = await read(running.stub.StreamComplete(request, timeout=30))
        assert reading.error is None
        assert [kind for kind in reading.kinds() if kind in {"attempt_failed", "reset"}] == ["attempt_failed", "reset"]
        assert reading.attempts() == [("FIRST", "SERVER_ERROR"), ("RESTART", "")]
        assert "".join(part.text for part in reading.answer.message.parts) == "You said: hi"
        await running.quiet()


async def test_documents_are_an_option_of_the_provider(gateway: Gateways) -> None:
    """They go along as they are; what has a field of its own is refused with its path."""
    documents = '{"documents": [{"id": "1", "data": {"text": "t"}}], "safety_mode": "STRICT"}'
    async with gateway({"strict_parameters": True}, routes=ROUTES) as running:
        await running.stub.Complete(ask(provider_options_json={"one": documents}))
        sent = running.simulator.stats.last_requests[-1].json
        assert (sent["documents"], sent["safety_mode"]) == ([{"id": "1", "data": {"text": "t"}}], "STRICT")
        failure = await refused(running, ask(provider_options_json={"one": '{"k": 5}'}))
        assert [violation.field for violation in failure.field_violations] == ['provider_options_json["one"].k']


async def test_embeddings_are_made_as_asked(gateway: Gateways) -> None:
    """Of the length and for the purpose that the request says, in the inputs' order."""
    async with gateway({"strict_parameters": True}, routes=ROUTES) as running:
        asked = EmbedRequest(
            model="embeddings", inputs=["a", "b"], dimensions=256, input_type=EmbedRequest.INPUT_TYPE_QUERY
        )
        response = await running.stub.Embed(asked)
        wanted = [list(vector("embed-v4.0", text, 256)) for text in ("a", "b")]
        assert [list(each.values) for each in response.embeddings] == wanted
        assert response.usage.input_tokens > 0
        assert not response.warnings
        assert running.simulator.stats.last_requests[-1].json["input_type"] == "search_query"


async def test_more_inputs_than_a_call_takes_are_refused_before_it(gateway: Gateways) -> None:
    """The vendor takes 96."""
    async with gateway(routes=ROUTES) as running:
        await running.stub.Embed(EmbedRequest(model="embeddings", inputs=["a"] * 96))
        with pytest.raises(grpc.aio.AioRpcError, match="96"):
            await running.stub.Embed(EmbedRequest(model="embeddings", inputs=["a"] * 97))
        assert running.simulator.stats.requests == 1
