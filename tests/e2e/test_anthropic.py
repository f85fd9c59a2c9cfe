"""Anthropic's protocol through the whole server, in front of the simulator that speaks it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import pytest
from tests.e2e.conftest import ask
from tests.e2e.routed import refused
from tests.e2e.stream_books import read

from trunkline.v1 import (
    FINISH_REASON_CONTENT_FILTER,
    FINISH_REASON_STOP,
    FINISH_REASON_TOOL_CALLS,
    ON_BREAK_RESTART,
    REASONING_EFFORT_HIGH,
    ROLE_SYSTEM,
    ROLE_TOOL,
    AttemptSummary,
    FailureClass,
    FunctionTool,
    JsonSchemaFormat,
    Message,
    OutputFormat,
    Part,
    RoutingOptions,
    Sampling,
    Tool,
    ToolChoice,
    ToolResultPart,
)
from trunkline_server.simulator.anthropic.job import WITHHOLD

if TYPE_CHECKING:
    from tests.e2e.conftest import Gateway, Gateways

    from trunkline.v1 import CompleteRequest

ROUTES: Final = """
version: 1
providers:
  one:
    protocol: anthropic
    base_url: {root}
    keys: [{{id: a, secret: env:ONE_A_API_KEY}}, {{id: b, secret: env:ONE_B_API_KEY}}]
  two:
    protocol: openai
    base_url: {base}
    keys: [{{id: c, secret: env:TWO_C_API_KEY}}]
aliases:
  default: {{tiers: [[one/claude-haiku-4-5], [two/gpt]]}}
  new: {{tiers: [[one/claude-opus-5-5]]}}
"""
PLAN: Final = "Let me look. "
LOOK: Final = Tool(function=FunctionTool(name="look", description="Looks.", parameters_json_schema='{"type":"object"}'))
BOTH: Final = pytest.mark.parametrize("stream", [False, True], ids=["unary", "streamed"])


async def answered(running: Gateway, request: CompleteRequest, *, stream: bool) -> Any:
    """Return message, finish reason and usage of a call that goes well."""
    if stream:
        reading = await read(running.stub.StreamComplete(request, timeout=30))
        assert reading.error is None
        return reading.answer
    return await running.stub.Complete(request, timeout=30)


def sent(running: Gateway) -> dict[str, Any]:
    """Return the body that the simulator got last; it found nothing wrong with it."""
    record = running.simulator.stats.last_requests[-1]
    assert record.status == 200
    body: dict[str, Any] = record.json
    return body


def go_on(request: CompleteRequest, answer: Message) -> None:
    """Add an answer to the request, and a result to each of its calls."""
    request.messages.append(answer)
    for part in answer.parts:
        if part.HasField("tool_call"):
            result = ToolResultPart(tool_call_id=part.tool_call.id, parts=[Part(text="4")])
            request.messages.append(Message(role=ROLE_TOOL, parts=[Part(tool_result=result)]))


@BOTH
@pytest.mark.parametrize(("model", "most"), [("default", 64_000), ("new", 128_000)])
async def test_a_call_of_an_old_and_of_a_new_model(gateway: Gateways, model: str, most: int, *, stream: bool) -> None:
    """An answer with its reason to stop and its usage; what a caller did not limit has the model's own limit."""
    async with gateway(routes=ROUTES) as running:
        answer = await answered(running, ask("good morning", model), stream=stream)
        assert [part.text for part in answer.message.parts] == ["You said: good morning"]
        assert answer.finish_reason == FINISH_REASON_STOP
        assert (answer.usage.input_tokens > 0, answer.usage.output_tokens > 0) == (True, True)
        body = sent(running)
        assert body["max_tokens"] == most
        assert body["messages"] == [{"role": "user", "content": "good morning"}]
        record = running.simulator.stats.last_requests[-1]
        assert (record.protocol, record.path) == ("anthropic", "/v1/messages")
        await running.quiet()


@BOTH
async def test_a_round_of_tools_keeps_its_thinking(gateway: Gateways, *, stream: bool) -> None:
    """It goes back signed, in front of the calls that it led to, and the results stand in one turn."""
    rules = [{"times": 1, "fault": {"reasoning": PLAN, "tool_calls": 2}}]
    async with gateway({"rules": rules}, routes=ROUTES) as running:
        request = ask(tools=[LOOK], sampling=Sampling(reasoning_effort=REASONING_EFFORT_HIGH))
        first = await answered(running, request, stream=stream)
        assert first.finish_reason == FINISH_REASON_TOOL_CALLS
        thinking, *calls = first.message.parts
        assert (thinking.thinking.text, thinking.thinking.redacted) == (PLAN, False)
        assert (bool(thinking.thinking.signature), thinking.thinking.provider) == (True, "one")
        assert [call.tool_call.name for call in calls] == ["look", "look"]

        go_on(request, first.message)
        await answered(running, request, stream=stream)
        body = sent(running)
        assert body["thinking"]["type"] == "enabled"
        asked, said, results = body["messages"]
        assert [message["role"] for message in (asked, said, results)] == ["user", "assistant", "user"]
        assert [block["type"] for block in said["content"]] == ["thinking", "tool_use", "tool_use"]
        assert [block["tool_use_id"] for block in results["content"]] == [block["id"] for block in said["content"][1:]]
        await running.quiet()


@BOTH
async def test_withheld_thinking_goes_back_as_it_came(gateway: Gateways, *, stream: bool) -> None:
    """Its seal is all that there is of it, and the service knows it again."""
    async with gateway(routes=ROUTES) as running:
        request = ask(WITHHOLD, sampling=Sampling(reasoning_effort=REASONING_EFFORT_HIGH))
        first = await answered(running, request, stream=stream)
        thinking = first.message.parts[0].thinking
        assert (thinking.text, thinking.redacted, bool(thinking.signature)) == ("", True, True)
        request.messages.append(first.message)
        request.messages.append(ask("And now?").messages[0])
        await answered(running, request, stream=stream)
        block = sent(running)["messages"][1]["content"][0]
        assert block == {"type": "redacted_thinking", "data": thinking.signature}


@BOTH
async def test_a_mark_writes_to_the_cache(gateway: Gateways, *, stream: bool) -> None:
    """It stands on the last block of its message, and the usage tells what was written, as a part of the prompt."""
    async with gateway(routes=ROUTES) as running:
        plain = await answered(running, ask(), stream=stream)
        request = ask()
        request.messages[0].cache_breakpoint = True
        marked = await answered(running, request, stream=stream)
        assert marked.usage.cache_write_tokens > 0
        assert marked.usage.input_tokens == plain.usage.input_tokens
        (block,) = sent(running)["messages"][0]["content"]
        assert block["cache_control"] == {"type": "ephemeral"}


async def test_an_error_in_a_stream_moves_on_before_content_and_starts_anew_after_it(gateway: Gateways) -> None:
    """It comes as an event under status 200, and its type says what the status would have."""
    for after in (0, 2):
        fault = {"error": "overloaded", "error_after_chunks": after, "content": "one two three four"}
        async with gateway({"models": {"claude-haiku-4-5": fault}}, routes=ROUTES) as running:
            request = ask("hi", routing=RoutingOptions(on_break=ON_BREAK_RESTART))
            reading = await read(running.stub.StreamComplete(request, timeout=30))
            assert reading.error is None
            assert bool(reading.all_of("reset")) == bool(after)
            assert reading.attempts()[0] == ("FIRST", "OVERLOADED")
            assert reading.answer.route.served_by.provider == "two"
            assert reading.answer.text == "You said: hi"
            await running.quiet()


def failed(attempts: Any) -> list[tuple[str, str]]:
    """Return provider and class of failure of each attempt."""
    return [
        (
            each.target.provider,
            FailureClass.Name(each.error.failure_class).removeprefix("FAILURE_CLASS_")
            if each.HasField("error")
            else "",
        )
        for each in attempts
    ]


@pytest.mark.parametrize(
    ("name", "found", "then"),
    [
        ("credit_balance_too_low", "KEY_EXHAUSTED", "one"),
        ("spend_limit_reached", "KEY_EXHAUSTED", "one"),
        ("rate_limit_exceeded", "RATE_LIMITED", "one"),
        ("invalid_api_key", "KEY_REJECTED", "one"),
        ("model_not_found", "MODEL_UNAVAILABLE", "one"),
        ("overloaded", "OVERLOADED", "two"),
    ],
)
async def test_an_error_takes_its_way(gateway: Gateways, name: str, found: str, then: str) -> None:
    """To another key where it is the key's fault, to another provider where that may know better."""
    rules = [{"times": 1, "fault": {"error": name}}]
    async with gateway({"rules": rules}, routes=ROUTES) as running:
        response = await running.stub.Complete(ask(), timeout=30)
        assert failed(response.attempts) == [("one", found), (then, "")]
        if then == "one":
            assert AttemptSummary.Why.Name(response.attempts[1].why) == "WHY_KEY_WALK"


async def test_a_schema_is_sent_as_the_service_takes_it(gateway: Gateways) -> None:
    """Closed, and without the bounds that it refuses; those are in words, and the caller is told."""
    schema = {"type": "object", "properties": {"n": {"type": "integer", "minimum": 3}}, "required": ["n"]}
    output = OutputFormat(json_schema=JsonSchemaFormat(name="count", schema_json=json.dumps(schema)))
    async with gateway({"strict_parameters": True}, routes=ROUTES) as running:
        response = await running.stub.Complete(ask(output=output), timeout=30)
        wanted = sent(running)["output_config"]["format"]["schema"]
        assert wanted["additionalProperties"] is False
        assert wanted["properties"]["n"] == {"type": "integer", "description": '{"minimum": 3}'}
        assert "ADJUSTED_FIELD" in [warning.code for warning in response.warnings]
        assert set(json.loads(response.message.parts[0].text)) == {"n"}


async def test_a_new_model_is_not_told_how_to_draw(gateway: Gateways) -> None:
    """The caller lets it go, and is told."""
    sampling = Sampling(temperature=0.5, max_output_tokens=50)
    request = ask(model="new", sampling=sampling, routing=RoutingOptions(may_drop=["*"]))
    request.messages.insert(0, Message(role=ROLE_SYSTEM, parts=[Part(text="Be brief.")]))
    async with gateway({"strict_parameters": True}, routes=ROUTES) as running:
        response = await running.stub.Complete(request, timeout=30)
        body = sent(running)
        assert (body["max_tokens"], body["system"]) == (50, "Be brief.")
        assert "temperature" not in body
        assert [warning.field for warning in response.warnings] == ["sampling.temperature"]


async def test_a_tool_that_must_be_called_is_left_to_models_that_can(gateway: Gateways) -> None:
    """The latest cannot be made to call one, and are not even asked."""
    request = ask(model="new", tools=[LOOK], tool_choice=ToolChoice(mode=ToolChoice.MODE_REQUIRED))
    routes = ROUTES.replace("[[one/claude-opus-5-5]]", "[[one/claude-opus-5-5], [two/gpt]]")
    async with gateway(routes=routes) as running:
        response = await running.stub.Complete(request, timeout=30)
        assert failed(response.attempts) == [("two", "")]


async def test_an_option_of_the_service_goes_along(gateway: Gateways) -> None:
    """What has a field of its own is refused with its path."""
    async with gateway({"strict_parameters": True}, routes=ROUTES) as running:
        await running.stub.Complete(ask(provider_options_json={"one": '{"metadata": {"user_id": "u"}}'}))
        assert sent(running)["metadata"] == {"user_id": "u"}
        failure = await refused(running, ask(provider_options_json={"one": '{"top_k": 5}'}))
        assert [violation.field for violation in failure.field_violations] == ['provider_options_json["one"].top_k']


@BOTH
async def test_a_refusal_of_the_filter_s_is_told_as_one(gateway: Gateways, *, stream: bool) -> None:
    """With what was said until then."""
    fault = {"finish_reason": "content_filter", "content": "Well, "}
    async with gateway({"default": fault}, routes=ROUTES) as running:
        answer = await answered(running, ask(), stream=stream)
        assert answer.finish_reason == FINISH_REASON_CONTENT_FILTER
        assert answer.message.parts[0].text == "Well, "
