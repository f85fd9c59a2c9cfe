"""Gemini's protocol through the whole server: keys and access tokens, signatures, quotas, breaks, embeddings."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from aiohttp import web
from tests.e2e.conftest import ask
from tests.e2e.routed import refused
from tests.e2e.stream_books import read
from tests.providers.credentials.token_endpoint import TokenEndpoint

from trunkline import failure_of
from trunkline.v1 import (
    FINISH_REASON_STOP,
    FINISH_REASON_TOOL_CALLS,
    ON_BREAK_RESTART,
    REASONING_EFFORT_LOW,
    ROLE_TOOL,
    AttemptSummary,
    EmbedRequest,
    FailureClass,
    FunctionTool,
    Message,
    Part,
    RoutingOptions,
    Sampling,
    Tool,
    ToolResultPart,
)
from trunkline_server.simulator.vectors import vector

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.e2e.conftest import Gateway, Gateways

    from trunkline.v1 import CompleteRequest

ROUTES = """
version: 1
providers:
  one:
    protocol: gemini
    base_url: {root}/v1beta
    keys: [{{id: a, secret: env:ONE_A_API_KEY}}, {{id: b, secret: env:ONE_B_API_KEY}}]
  vertex:
    protocol: gemini
    base_url: {root}/v1/projects/p/locations/l/publishers/google
    keys: [{{id: v, secret: env:VERTEX_V_API_KEY}}]
  two:
    protocol: openai
    base_url: {base}
    keys: [{{id: c, secret: env:TWO_C_API_KEY}}]
aliases:
  default: {{tiers: [[one/gemini-3-pro], [two/gpt]]}}
  vertex: {{tiers: [[vertex/gemini-3-pro]], max_attempts: 1}}
  vertex-first: {{tiers: [[vertex/gemini-3-pro], [two/gpt]], on_key_rejected: next_target}}
  embeddings: {{tiers: [[one/gemini-embedding-001]]}}
  vertex-embeddings: {{tiers: [[vertex/text-embedding-005]]}}
"""
TOOLS = [Tool(function=FunctionTool(name="look"))]
CALLS = {"reasoning": "I will look.", "tool_calls": 2}


@pytest.fixture
async def endpoint() -> AsyncIterator[TokenEndpoint]:
    endpoint = TokenEndpoint()
    await endpoint.start()
    yield endpoint
    await endpoint.stop()


def environment(document: dict[str, Any] | None = None) -> dict[str, str]:
    """Return the secrets; `document` is Vertex's, which is an API key without one."""
    return {
        "ONE_A_API_KEY": "AIza-a",
        "ONE_B_API_KEY": "AIza-b",
        "TWO_C_API_KEY": "sk-c",
        "VERTEX_V_API_KEY": "AIza-v" if document is None else json.dumps(document),
    }


async def answered(running: Gateway, request: CompleteRequest, *, stream: bool) -> Any:
    """Return message, finish reason and usage of a call that goes well."""
    if stream:
        reading = await read(running.stub.StreamComplete(request, timeout=30))
        assert reading.error is None
        return reading.answer
    return await running.stub.Complete(request, timeout=30)


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


@pytest.mark.parametrize("stream", [False, True], ids=["unary", "streamed"])
async def test_a_tool_round_keeps_its_signatures(gateway: Gateways, *, stream: bool) -> None:
    """The call is sealed in front of it; sent back, the seal stands on it again, which the provider checks."""
    async with gateway({"rules": [{"times": 1, "fault": CALLS}]}, routes=ROUTES, environ=environment()) as running:
        request = ask(tools=TOOLS, sampling=Sampling(reasoning_effort=REASONING_EFFORT_LOW))
        first = await answered(running, request, stream=stream)
        assert first.finish_reason == FINISH_REASON_TOOL_CALLS
        kinds = [part.WhichOneof("content") for part in first.message.parts]
        assert kinds == ["thinking", "thinking", "tool_call", "tool_call"]
        thoughts, seal = first.message.parts[0].thinking, first.message.parts[1].thinking
        assert (thoughts.text, thoughts.provider) == ("I will look.", "one")
        assert (seal.text, seal.provider) == ("", "one")
        assert first.usage.reasoning_tokens == 3
        request.messages.append(first.message)
        results = [
            Part(tool_result=ToolResultPart(tool_call_id=part.tool_call.id, parts=[Part(text="4")]))
            for part in first.message.parts[2:]
        ]
        request.messages.append(Message(role=ROLE_TOOL, parts=results))
        second = await answered(running, request, stream=stream)
        assert second.finish_reason == FINISH_REASON_STOP
        sent = running.simulator.stats.last_requests[-1].json
        calls = sent["contents"][1]["parts"]
        assert [part.get("thoughtSignature") for part in calls] == [None, seal.signature, None]
        assert [part["functionResponse"]["name"] for part in sent["contents"][2]["parts"]] == ["look", "look"]
        assert sent["generationConfig"]["thinkingConfig"] == {"thinkingLevel": "LOW", "includeThoughts": True}
        await running.quiet()


async def test_vertex_is_called_with_tokens_that_are_fetched_once(gateway: Gateways, endpoint: TokenEndpoint) -> None:
    """Many calls at once share the first token; the endpoint has checked its assertion's signature."""
    async with gateway(routes=ROUTES, environ=environment(endpoint.service_account())) as running:
        responses = await asyncio.gather(*(running.stub.Complete(ask(model="vertex")) for _ in range(20)))
        assert {response.message.parts[0].text for response in responses} == {"You said: hi"}
        assert len(endpoint.asked) == 1
        assert endpoint.refused == []
        assert running.simulator.stats.by_key == {"ya29.token-1": 20}
        record = running.simulator.stats.last_requests[-1]
        assert record.path == "/v1/projects/p/locations/l/publishers/google/models/gemini-3-pro:generateContent"
        assert "x-goog-api-key" not in record.headers
        await running.quiet()


async def test_a_token_is_replaced_when_its_time_is_over(gateway: Gateways, endpoint: TokenEndpoint) -> None:
    """Calls go on meanwhile, each with a token that lives; one fetch serves many of them."""
    endpoint.lifetime_s = 0.2
    async with gateway(routes=ROUTES, environ=environment(endpoint.service_account())) as running:
        async with asyncio.timeout(20):
            while len(endpoint.asked) < 3:
                await running.stub.Complete(ask(model="vertex"))
        used = running.simulator.stats.by_key
        assert {"ya29.token-1", "ya29.token-2"} <= set(used)
        assert sum(used.values()) > len(endpoint.asked)


async def test_a_secret_that_the_endpoint_refuses_rejects_the_key(gateway: Gateways, endpoint: TokenEndpoint) -> None:
    """Nothing is sent to the provider; where the alias says so the next target serves, and no word of it leaks."""
    document = endpoint.user(refresh_token="1//revoked-and-secret")  # noqa: S106  nobody's
    async with gateway(routes=ROUTES, environ=environment(document)) as running:
        failure = await refused(running, ask(model="vertex"))
        assert failure.reason == "UPSTREAM_CREDENTIALS"
        assert failure.route_failure is not None
        told = str(failure)
        assert "revoked" not in told
        assert "another user" not in told
        response = await running.stub.Complete(ask(model="vertex-first"))
        assert response.route.served_by.provider == "two"
        assert running.simulator.stats.by_key == {"sk-c": 1}
        await running.quiet()


async def test_an_endpoint_that_is_down_is_an_outage(gateway: Gateways, endpoint: TokenEndpoint) -> None:
    """The next target serves, and the key is not to blame."""
    document = endpoint.service_account()
    await endpoint.stop()
    async with gateway(routes=ROUTES, environ=environment(document)) as running:
        response = await running.stub.Complete(ask(model="vertex-first"))
        assert [attempt[2] for attempt in failed(response.attempts)] == ["CONNECT", ""]
        await running.quiet()


async def test_a_caller_that_leaves_while_a_token_is_fetched(gateway: Gateways, endpoint: TokenEndpoint) -> None:
    """Its slot is free at once, and the token comes for the next one."""
    reached, go = asyncio.Event(), asyncio.Event()

    async def answer() -> web.Response:
        reached.set()
        await go.wait()
        return web.json_response({"access_token": "ya29.late", "expires_in": 3600})

    endpoint.answer = answer
    async with gateway(routes=ROUTES, environ=environment(endpoint.service_account())) as running:
        call = running.stub.Complete(ask(model="vertex"))
        leaving = asyncio.ensure_future(call)
        await reached.wait()
        leaving.cancel()
        await running.quiet()
        go.set()
        await running.stub.Complete(ask(model="vertex"))
        assert len(endpoint.asked) == 1
        assert running.simulator.stats.by_key == {"ya29.late": 1}


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ({"error": "daily_quota_exceeded", "retry_after_s": 30}, "KEY_EXHAUSTED"),
        ({"error": "insufficient_quota"}, "KEY_EXHAUSTED"),
        ({"error": "rate_limit_exceeded", "retry_after_s": 30}, "RATE_LIMITED"),
        ({"error": "invalid_api_key"}, "KEY_REJECTED"),
        ({"error": "missing_scope"}, "KEY_REJECTED"),
    ],
)
async def test_what_is_wrong_with_a_key_moves_to_the_other_one(
    gateway: Gateways, fault: dict[str, Any], expected: str
) -> None:
    """A quota of a day is used up, one of a minute cools: the body tells which, under the same status."""
    async with gateway({"rules": [{"times": 1, "fault": fault}]}, routes=ROUTES, environ=environment()) as running:
        response = await running.stub.Complete(ask())
        first, second = failed(response.attempts)
        assert first[2] == expected
        assert second == ({"a": "b", "b": "a"}[first[0]], "KEY_WALK", "")
        asked = [record.key for record in running.simulator.stats.last_requests]
        for _ in range(4):
            await running.stub.Complete(ask())
        assert [record.key for record in running.simulator.stats.last_requests][2:] == [asked[1]] * 4


BLOCKED = {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}, "usageMetadata": {"promptTokenCount": 4}}


@pytest.mark.parametrize("stream", [False, True], ids=["unary", "streamed"])
async def test_a_blocked_prompt_is_nobody_s_failure(gateway: Gateways, *, stream: bool) -> None:
    """It comes under a 200, without a candidate."""
    body = json.dumps(BLOCKED)
    fault = {"body": f"data: {body}\r\n\r\n" if stream else body}
    async with gateway({"models": {"gemini-3-pro": fault}}, routes=ROUTES, environ=environment()) as running:
        if stream:
            frames, error = await running.frames(ask())
            assert frames == []
        else:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await running.stub.Complete(ask())
            error = caught.value
        assert error is not None
        assert failure_of(error).reason == "CONTENT_FILTERED"
        assert running.simulator.stats.requests == 1


ERROR = {"error": {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}}
CHUNK = {"candidates": [{"content": {"parts": [{"text": "Once "}], "role": "model"}, "index": 0}]}
TAIL = f"data: {json.dumps(CHUNK)}\r\n\r\n{json.dumps(ERROR, indent=2)}\r\n"
EVENT = f"data: {json.dumps(CHUNK)}\r\n\r\ndata: {json.dumps([ERROR])}\r\n\r\n"


@pytest.mark.parametrize("body", [TAIL, EVENT], ids=["bare", "event"])
async def test_a_stream_that_gives_up_starts_anew_elsewhere(gateway: Gateways, body: str) -> None:
    """Whether the error is an event or stands bare behind the last one."""
    async with gateway({"models": {"gemini-3-pro": {"body": body}}}, routes=ROUTES, environ=environment()) as running:
        request = ask("hi", routing=RoutingOptions(on_break=ON_BREAK_RESTART))
        reading = await read(running.stub.StreamComplete(request, timeout=30))
        assert reading.error is None
        assert reading.attempts() == [("FIRST", "OVERLOADED"), ("RESTART", "")]
        assert "".join(part.text for part in reading.answer.message.parts) == "You said: hi"
        await running.quiet()


async def test_options_are_judged_inside_the_settings(gateway: Gateways) -> None:
    """What has a field of its own is refused with its path, whichever way it is spelt; the rest goes along."""
    harmless = {
        "safetySettings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}],
        "generationConfig": {"audioTimestamp": True},
    }
    async with gateway(routes=ROUTES, environ=environment()) as running:
        await running.stub.Complete(ask(provider_options_json={"one": json.dumps(harmless)}))
        sent = running.simulator.stats.last_requests[-1].json
        assert (sent["safetySettings"], sent["generationConfig"]) == tuple(harmless.values())
        refusals = await refused(running, ask(provider_options_json={"one": '{"generation_config": {"top_k": 5}}'}))
        path = 'provider_options_json["one"].generation_config.top_k'
        assert [violation.field for violation in refusals.field_violations] == [path]


@pytest.mark.parametrize(
    ("alias", "model"), [("embeddings", "gemini-embedding-001"), ("vertex-embeddings", "text-embedding-005")]
)
async def test_embeddings_are_made_as_asked(gateway: Gateways, endpoint: TokenEndpoint, alias: str, model: str) -> None:
    """Of the length and for the purpose that the request says, in the inputs' order, on either service."""
    async with gateway(routes=ROUTES, environ=environment(endpoint.service_account())) as running:
        asked = EmbedRequest(model=alias, inputs=["a", "b"], dimensions=8, input_type=EmbedRequest.INPUT_TYPE_QUERY)
        response = await running.stub.Embed(asked)
        wanted = [list(vector(model, text, 8)) for text in ("a", "b")]
        assert [list(each.values) for each in response.embeddings] == wanted
        assert response.usage.input_tokens > 0
        assert not response.warnings
        assert "RETRIEVAL_QUERY" in running.simulator.stats.last_requests[-1].body.decode()
