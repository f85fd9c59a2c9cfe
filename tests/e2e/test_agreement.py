"""`Complete` and `StreamComplete` are two views of one answer, by either transport."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from tests.e2e.assembled import Assembled, plain_response
from tests.e2e.conftest import ROUTES, ask

from trunkline import failure_of
from trunkline.v1 import (
    FINISH_REASON_CONTENT_FILTER,
    FINISH_REASON_CONTEXT_LIMIT,
    FINISH_REASON_LENGTH,
    FINISH_REASON_OTHER,
    FINISH_REASON_REFUSAL,
    FINISH_REASON_STOP,
    FINISH_REASON_TOOL_CALLS,
    REASONING_EFFORT_LOW,
    CompleteRequest,
    End,
    FunctionTool,
    JsonObjectFormat,
    JsonSchemaFormat,
    OutputFormat,
    RoutingOptions,
    Sampling,
    Tool,
    ToolChoice,
)

if TYPE_CHECKING:
    from tests.e2e.conftest import Gateways

TRANSPORTS = ("aiohttp", "httpx")

SCHEMA = (
    '{"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}, "required": ["city"]}'
)
WEATHER = Tool(function=FunctionTool(name="weather", description="the weather", parameters_json_schema=SCHEMA))
CLOCK = Tool(function=FunctionTool(name="clock", parameters_json_schema='{"type": "object", "properties": {}}'))

PARALLEL = [
    {"id": "c1", "name": "weather", "arguments": {"city": "Zürich", "days": 3}},
    {"id": "c2", "name": "clock", "arguments": {}},
    {"id": "c3", "name": "weather", "arguments": {"city": "東京"}},
]

Scenario = tuple[dict[str, Any], dict[str, Any], int]

SCENARIOS: dict[str, Scenario] = {
    "text": ({}, {}, FINISH_REASON_STOP),
    "text in many pieces": ({"chunks": 400, "chunk_text": "tök 𝄞 "}, {}, FINISH_REASON_STOP),
    "text that stops at a word": (
        {"content": "one two three END four"},
        {"sampling": Sampling(stop=["END"])},
        FINISH_REASON_STOP,
    ),
    "nothing": ({"empty": "content"}, {}, FINISH_REASON_STOP),
    "one tool in pieces": (
        {"tool_calls": 1, "tool_pieces": 9},
        {"tools": [WEATHER]},
        FINISH_REASON_TOOL_CALLS,
    ),
    "parallel tools": ({"tool_calls": PARALLEL}, {"tools": [WEATHER, CLOCK]}, FINISH_REASON_TOOL_CALLS),
    "parallel tools whose pieces take turns": (
        {"tool_calls": PARALLEL, "tool_interleaved": True, "tool_pieces": 5},
        {"tools": [WEATHER, CLOCK]},
        FINISH_REASON_TOOL_CALLS,
    ),
    "text and tools": (
        {"content": "let me look", "tool_calls": PARALLEL},
        {"tools": [WEATHER, CLOCK], "tool_choice": ToolChoice(mode=ToolChoice.MODE_AUTO, parallel=True)},
        FINISH_REASON_TOOL_CALLS,
    ),
    "a forced tool": (
        {},
        {"tools": [WEATHER, CLOCK], "tool_choice": ToolChoice(function="weather")},
        FINISH_REASON_TOOL_CALLS,
    ),
    "a tool cut by the limit": (
        {"tool_calls": PARALLEL, "tool_pieces": 6},
        {"tools": [WEATHER, CLOCK], "sampling": Sampling(max_output_tokens=3)},
        FINISH_REASON_LENGTH,
    ),
    "a tool whose arguments are no JSON": (
        {"tool_calls": [{"id": "c1", "name": "weather", "arguments": '{"city": '}]},
        {"tools": [WEATHER]},
        FINISH_REASON_TOOL_CALLS,
    ),
    "a JSON schema": (
        {},
        {"output": OutputFormat(json_schema=JsonSchemaFormat(name="trip", schema_json=SCHEMA, strict=False))},
        FINISH_REASON_STOP,
    ),
    "a JSON object": ({}, {"output": OutputFormat(json_object=JsonObjectFormat())}, FINISH_REASON_STOP),
    "reasoning": (
        {"reasoning": "first this, then that"},
        {"sampling": Sampling(reasoning_effort=REASONING_EFFORT_LOW)},
        FINISH_REASON_STOP,
    ),
    "reasoning and tools": (
        {"reasoning": "which one?", "tool_calls": PARALLEL},
        {"tools": [WEATHER, CLOCK]},
        FINISH_REASON_TOOL_CALLS,
    ),
    "log-probabilities": ({}, {"sampling": Sampling(top_logprobs=3)}, FINISH_REASON_STOP),
    "log-probabilities in many pieces": (
        {"chunks": 200, "chunk_text": "é"},
        {"sampling": Sampling(top_logprobs=0)},
        FINISH_REASON_STOP,
    ),
    "a refusal": ({"refusal": "I can't help with that."}, {}, FINISH_REASON_REFUSAL),
    "a length stop": ({"chunks": 50}, {"sampling": Sampling(max_output_tokens=7)}, FINISH_REASON_LENGTH),
    "a filter in the middle": (
        {"content": "so far so good", "finish_reason": "content_filter"},
        {},
        FINISH_REASON_CONTENT_FILTER,
    ),
    "a full window": ({"content": "so far", "finish_reason": "model_length"}, {}, FINISH_REASON_CONTEXT_LIMIT),
    "an unknown reason": ({"content": "so far", "finish_reason": "tired"}, {}, FINISH_REASON_OTHER),
    "what the provider cannot do": (
        {},
        {
            "sampling": Sampling(top_k=5, reasoning_max_tokens=9),
            "routing": RoutingOptions(may_drop=["top_k", "reasoning_max_tokens"]),
            "provider_options_json": {"two": '{"user": "u"}'},
        },
        FINISH_REASON_STOP,
    ),
}

COMPLETE = {FINISH_REASON_STOP, FINISH_REASON_TOOL_CALLS}


def routes(transport: str) -> str:
    return ROUTES.replace("protocol: openai", f"protocol: openai\n    transport: {transport}")


def without_numbers(plain: dict[str, Any]) -> dict[str, Any]:
    """Return an answer without what the simulator counts up from call to call, and the key whose turn it was."""
    for part in plain["parts"]:
        part.id = re.sub(r"call_sim\d+", "call_sim", part.id)
    return plain | {
        "served_by": re.sub(r'key_id: "\w"', "", plain["served_by"]),
        "attempts": [
            (number, re.sub(r'key_id: "\w"', "", target), *rest) for number, target, *rest in plain["attempts"]
        ],
    }


@pytest.mark.parametrize("name", SCENARIOS)
async def test_a_stream_says_what_the_whole_answer_says(gateway: Gateways, name: str) -> None:
    """Text, tool calls, reasoning, log-probabilities, usage, reason, route and attempts agree, by each transport."""
    fault, fields, reason = SCENARIOS[name]
    request: CompleteRequest = ask("Grüße aus Zürich, one two three", **fields)
    answers = []
    for transport in TRANSPORTS:
        async with gateway({"default": fault}, routes=routes(transport)) as running:
            whole = without_numbers(plain_response(await running.stub.Complete(request)))
            frames, error = await running.frames(request)
            assert error is None
            streamed = Assembled.of(frames)
            assert streamed.end is not None
            assert without_numbers(streamed.plain()) == whole
            wanted = End.OUTCOME_COMPLETE if reason in COMPLETE else End.OUTCOME_INCOMPLETE
            assert streamed.end.outcome == wanted
            assert not streamed.end.HasField("error")
            await running.quiet()
        answers.append(whole)
    assert answers[0] == answers[1]
    assert answers[0]["finish"][0] == reason
    assert answers[0]["usage"]["output_tokens"] >= (name != "nothing")


async def test_the_table_covers_what_it_means_to(gateway: Gateways) -> None:
    """The scenarios really make what their names say, so that they do not agree on nothing."""
    async with gateway() as running:

        async def answer(name: str) -> dict[str, Any]:
            fault, fields, _ = SCENARIOS[name]
            running.simulator.configure({"default": fault})
            return plain_response(await running.stub.Complete(ask("hello", **fields)))

        calls = (await answer("parallel tools"))["parts"]
        assert [(call.kind, call.id, call.name) for call in calls] == [
            ("tool_call", "c1", "weather"),
            ("tool_call", "c2", "clock"),
            ("tool_call", "c3", "weather"),
        ]
        assert [part.kind for part in (await answer("text and tools"))["parts"]] == ["text", *["tool_call"] * 3]
        assert [part.kind for part in (await answer("reasoning"))["parts"]] == ["thinking", "text"]
        assert (await answer("reasoning"))["usage"]["reasoning_tokens"] > 0
        assert [part.kind for part in (await answer("a refusal"))["parts"]] == ["refusal"]
        assert len((await answer("log-probabilities"))["logprobs"]) > 1
        assert [part.done for part in (await answer("a tool cut by the limit"))["parts"]] == [False]
        assert [part.done for part in (await answer("a tool whose arguments are no JSON"))["parts"]] == [False]
        assert (await answer("nothing"))["parts"] == []
        warned = {field for _, field, _ in (await answer("what the provider cannot do"))["warnings"]}
        assert {"sampling.top_k", "sampling.reasoning_max_tokens"} <= warned
        assert any("two" in field for field in warned), warned


ONCE = RoutingOptions(max_attempts=1)

FAILURES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "a refused request": ({"status": 400}, {}),
    "a prompt that is too long": ({"error": "context_length_exceeded"}, {}),
    "a filtered prompt": ({"error": "content_filter"}, {}),
    "a filtered answer without a word": ({"empty": "content", "finish_reason": "content_filter"}, {}),
    "no such model": ({"status": 404}, {}),
    "rejected keys": ({"status": 401}, {}),
    "no credit": ({"error": "insufficient_quota"}, {}),
    "rate limits": ({"status": 429, "retry_after_s": 60}, {}),
    "an outage": ({"status": 500}, {"routing": RoutingOptions(max_attempts=2)}),
    "an overload": ({"status": 529}, {"routing": ONCE}),
    "a reset": ({"reset_after_chunks": 0}, {"routing": ONCE}),
    "no choices": ({"empty": "choices"}, {"routing": ONCE}),
    "a redirect": ({"status": 307, "body": ""}, {"routing": ONCE}),
    "a page": (
        {"status": 200, "body": "<p>", "content_type": "text/html"},
        {"routing": ONCE},
    ),
}


@pytest.mark.parametrize("name", FAILURES)
async def test_a_stream_fails_as_the_whole_answer_fails(gateway: Gateways, name: str) -> None:
    """Before the first content the status, reason, class and attempts are the same, and a stream has no frames."""
    fault, fields = FAILURES[name]
    request = ask(**fields)
    told = []
    for transport in TRANSPORTS:
        for streamed in (False, True):
            # A fresh gateway each: what a failure teaches about keys is not to be seen by the next call.
            async with gateway({"default": fault}, routes=routes(transport)) as running:
                frames: list[Any] = []
                error: grpc.aio.AioRpcError | None = None
                if streamed:
                    frames, error = await running.frames(request)
                else:
                    with pytest.raises(grpc.aio.AioRpcError) as raised:
                        await running.stub.Complete(request)
                    error = raised.value
                assert error is not None
                assert frames == []
                failure = failure_of(error)
                assert failure.route_failure is not None
                told.append(
                    (
                        failure.code,
                        failure.reason,
                        failure.route_failure.failure_class,
                        failure.route_failure.last_upstream_http_status,
                        [(each.error.failure_class, each.why) for each in failure.route_failure.attempts],
                        failure.retry_after_s is not None,
                    )
                )
                await running.quiet()
    assert told[1:] == told[:-1]


async def test_a_failover_is_told_alike(gateway: Gateways) -> None:
    """When the first target fails, both views name the same attempts with the same reasons."""
    for transport in TRANSPORTS:
        async with gateway({"models": {"primary": {"status": 500}}}, routes=routes(transport)) as running:
            whole = without_numbers(plain_response(await running.stub.Complete(ask())))
            frames, error = await running.frames(ask())
            assert error is None
            assert without_numbers(Assembled.of(frames).plain()) == whole
            assert len(whole["attempts"]) == 2
