"""OpenAI's Responses API through the whole server: who is called by it, sealed reasoning, events, breaks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.e2e.conftest import ask
from tests.e2e.routed import explain, order_of, refused
from tests.e2e.stream_books import read

from trunkline.v1 import (
    FINISH_REASON_CONTENT_FILTER,
    FINISH_REASON_LENGTH,
    FINISH_REASON_STOP,
    FINISH_REASON_TOOL_CALLS,
    ON_BREAK_RESTART,
    REASONING_EFFORT_LOW,
    ROLE_TOOL,
    FailureClass,
    FunctionTool,
    Message,
    Part,
    RoutingOptions,
    Sampling,
    Tool,
    ToolResultPart,
)

if TYPE_CHECKING:
    from tests.e2e.conftest import Gateway, Gateways

    from trunkline.v1 import CompleteRequest

ROUTES = """
version: 1
providers:
  one:
    protocol: openai
    base_url: {base}
    keys: [{{id: a, secret: env:ONE_A_API_KEY}}]
  new:
    protocol: openai
    base_url: {base}
    keys: [{{id: b, secret: env:ONE_B_API_KEY}}]
  two:
    protocol: openai
    base_url: {base}
    keys: [{{id: c, secret: env:TWO_C_API_KEY}}]
models:
  new/something: {{wire: responses}}
  new/o3-pro: {{wire: chat}}
aliases:
  default: {{tiers: [[one/o3-pro], [two/gpt]]}}
  alone: {{tiers: [[one/o3-pro]], max_attempts: 1}}
  chat: {{tiers: [[one/gpt-4o]], max_attempts: 1}}
  new: {{tiers: [[new/something]], max_attempts: 1}}
  old: {{tiers: [[new/o3-pro]], max_attempts: 1}}
"""
TOOLS = [Tool(function=FunctionTool(name="look"))]
LOW = Sampling(reasoning_effort=REASONING_EFFORT_LOW)
STREAM = pytest.mark.parametrize("stream", [False, True], ids=["unary", "streamed"])


async def answered(running: Gateway, request: CompleteRequest, *, stream: bool) -> Any:
    """Return message, finish reason and usage of a call that goes well."""
    if stream:
        reading = await read(running.stub.StreamComplete(request, timeout=30))
        assert reading.error is None
        return reading.answer
    return await running.stub.Complete(request, timeout=30)


@pytest.mark.parametrize(
    ("alias", "path"),
    [
        ("alone", "/v1/responses"),
        ("chat", "/v1/chat/completions"),
        ("new", "/v1/responses"),
        ("old", "/v1/chat/completions"),
    ],
)
@STREAM
async def test_who_is_called_by_it(gateway: Gateways, alias: str, path: str, *, stream: bool) -> None:
    """A model that the catalogue knows to need it, and one whose routes say so; they have the last word."""
    async with gateway(routes=ROUTES) as running:
        answer = await answered(running, ask(model=alias), stream=stream)
        assert answer.message.parts[-1].text == "You said: hi"
        assert answer.finish_reason == FINISH_REASON_STOP
        assert answer.usage.output_tokens == 3
        assert running.simulator.stats.last_requests[-1].path == path
        await running.quiet()


@STREAM
async def test_nothing_is_stored(gateway: Gateways, *, stream: bool) -> None:
    """The body says so, and asks for the reasoning sealed, so that it may come back."""
    async with gateway(routes=ROUTES) as running:
        await answered(running, ask(sampling=LOW), stream=stream)
        sent = running.simulator.stats.last_requests[-1].json
        assert sent["store"] is False
        assert sent["include"] == ["reasoning.encrypted_content"]
        assert sent["reasoning"] == {"effort": "low", "summary": "auto"}


async def round_of_tools(running: Gateway, *, stream: bool) -> tuple[CompleteRequest, Any]:
    """Return a request that goes on with the model's calls, and the model's message."""
    request = ask(tools=TOOLS, sampling=LOW)
    first = await answered(running, request, stream=stream)
    assert first.finish_reason == FINISH_REASON_TOOL_CALLS
    request.messages.append(first.message)
    results = [
        Part(tool_result=ToolResultPart(tool_call_id=part.tool_call.id, parts=[Part(text="4")]))
        for part in first.message.parts
        if part.HasField("tool_call")
    ]
    request.messages.append(Message(role=ROLE_TOOL, parts=results))
    return request, first.message


CALLS = {"reasoning": "I will look.", "tool_calls": 2}


@STREAM
async def test_reasoning_goes_back_in_front_of_its_calls(gateway: Gateways, *, stream: bool) -> None:
    """As it came, sealed; the simulator checks the seal, as OpenAI does."""
    async with gateway({"rules": [{"times": 1, "fault": CALLS}]}, routes=ROUTES) as running:
        request, message = await round_of_tools(running, stream=stream)
        thought = message.parts[0].thinking
        assert (thought.text, thought.provider) == ("I will look.", "one")
        name, _, seal = thought.signature.partition(":")
        second = await answered(running, request, stream=stream)
        assert second.finish_reason == FINISH_REASON_STOP
        items = running.simulator.stats.last_requests[-1].json["input"]
        assert [item.get("type", "message") for item in items] == [
            "message",
            "reasoning",
            "function_call",
            "function_call",
            "function_call_output",
            "function_call_output",
        ]
        assert (items[1]["id"], items[1]["encrypted_content"]) == (name, seal)
        await running.quiet()


async def test_reasoning_stays_with_its_provider(gateway: Gateways) -> None:
    """Where another one serves, it hears the calls without it."""
    async with gateway({"rules": [{"times": 1, "fault": CALLS}]}, routes=ROUTES) as running:
        request, message = await round_of_tools(running, stream=False)
        running.simulator.configure({"models": {"o3-pro": {"error": "server_error"}}})
        response = await running.stub.Complete(request, timeout=30)
        assert response.route.served_by.provider == "two"
        sent = running.simulator.stats.last_requests[-1].body.decode()
        assert message.parts[0].thinking.signature.partition(":")[2] not in sent
        assert "I will look." not in sent


@STREAM
async def test_a_seal_that_does_not_hold_is_for_another_target(gateway: Gateways, *, stream: bool) -> None:
    """A conversation that another organization's key began is not lost: the next target takes it."""
    async with gateway({"rules": [{"times": 1, "fault": CALLS}]}, routes=ROUTES) as running:
        request, _ = await round_of_tools(running, stream=False)
        request.messages[1].parts[0].thinking.signature = "rs_1:gAAAAABwrong"
        answer = await answered(running, request, stream=stream)
        assert answer.route.served_by.provider == "two"
        first = answer.attempts[0].error
        assert FailureClass.Name(first.failure_class) == "FAILURE_CLASS_MODEL_UNAVAILABLE"
        assert first.upstream_code == "invalid_encrypted_content"


@STREAM
async def test_a_limit_of_the_output(gateway: Gateways, *, stream: bool) -> None:
    """Its end is incomplete, which is a finish reason; less than the API takes is raised, and told."""
    request = ask("one " * 40, sampling=Sampling(max_output_tokens=5))
    async with gateway(routes=ROUTES) as running:
        answer = await answered(running, request, stream=stream)
        assert answer.finish_reason == FINISH_REASON_LENGTH
        assert answer.usage.output_tokens == 16
        assert [(each.code, each.field) for each in answer.warnings] == [
            ("ADJUSTED_FIELD", "sampling.max_output_tokens")
        ]


@STREAM
async def test_a_filter_and_a_refusal(gateway: Gateways, *, stream: bool) -> None:
    """The filter is the finish reason; a refusal is a part of the message."""
    async with gateway({"default": {"finish_reason": "content_filter"}}, routes=ROUTES) as running:
        assert (await answered(running, ask(), stream=stream)).finish_reason == FINISH_REASON_CONTENT_FILTER
        running.simulator.configure({"default": {"refusal": "I will not"}})
        answer = await answered(running, ask(), stream=stream)
        assert [part.refusal for part in answer.message.parts if part.HasField("refusal")] == ["I will not"]


@pytest.mark.parametrize(
    "fault",
    [
        {"cut_after_chunks": 2},
        {"reset_after_chunks": 2},
        {"error_after_chunks": 2, "error": "server_error"},
        {"error_after_chunks": 2, "error": "rate_limit_exceeded"},
        {"malformed_after_chunks": 2},
        {"no_finish_reason": True},
    ],
    ids=str,
)
async def test_a_stream_that_breaks_starts_anew_elsewhere(gateway: Gateways, fault: dict[str, Any]) -> None:
    """Whatever breaks it; an end in good order without the last event is none."""
    scenario = {"models": {"o3-pro": {"content": "one two three four", **fault}}}
    request = ask(routing=RoutingOptions(on_break=ON_BREAK_RESTART))
    async with gateway(scenario, routes=ROUTES) as running:
        reading = await read(running.stub.StreamComplete(request, timeout=30))
        assert reading.error is None
        assert reading.answer.route.served_by.provider == "two"
        assert reading.answer.text == "You said: hi"
        await running.quiet()


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("context_length_exceeded", "CONTEXT_LENGTH"),
        ("content_filter", "CONTENT_FILTERED"),
        ("invalid_api_key", "UPSTREAM_CREDENTIALS"),
    ],
)
async def test_refusals_have_the_classes_of_chat_completions(gateway: Gateways, name: str, reason: str) -> None:
    """Their bodies are the same."""
    async with gateway({"default": {"error": name}}, routes=ROUTES) as running:
        assert (await refused(running, ask(model="alone"))).reason == reason


async def test_what_it_lacks_leaves_it_out(gateway: Gateways) -> None:
    """It has no stop sequences, and no seed; chat completions have."""
    for sampling, lacking in ((Sampling(stop=["x"]), "stop"), (Sampling(seed=7), "seed")):
        async with gateway(routes=ROUTES) as running:
            explained = await explain(running, ask(sampling=sampling))
            assert order_of(explained) == ["two/gpt"]
            assert list(explained["one/o3-pro"].removed_because) == [f"feature: its protocol cannot carry: {lacking}"]
