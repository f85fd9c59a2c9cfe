"""Azure OpenAI through the whole server: deployments, versions, keys and identities, its filter, its limits, breaks."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from tests.e2e.conftest import ask
from tests.e2e.routed import explain, order_of, refused
from tests.e2e.stream_books import read

from trunkline.v1 import (
    FINISH_REASON_CONTENT_FILTER,
    FINISH_REASON_STOP,
    ON_BREAK_RESTART,
    REASONING_EFFORT_LOW,
    AttemptSummary,
    EmbedRequest,
    FailureClass,
    RoutingOptions,
    Sampling,
)
from trunkline_server.simulator.vectors import vector

if TYPE_CHECKING:
    from tests.e2e.conftest import Gateway, Gateways

    from trunkline.v1 import CompleteRequest

ROUTES = """
version: 1
providers:
  dated:
    protocol: azure_openai
    base_url: {root}
    deployments: {{gpt-4o: my-chat, vectors: my-vectors}}
    keys: [{{id: a, secret: env:DATED_A_API_KEY}}, {{id: b, secret: env:DATED_B_API_KEY}}]
  v1:
    protocol: azure_openai
    base_url: {root}/openai/v1
    keys: [{{id: v, secret: env:V1_V_API_KEY}}]
  two:
    protocol: openai
    base_url: {base}
    keys: [{{id: c, secret: env:TWO_C_API_KEY}}]
models:
  v1/o3-pro: {{wire: responses, capabilities: [reasoning]}}
  dated/o3-pro: {{wire: responses, capabilities: [reasoning]}}
aliases:
  default: {{tiers: [[dated/gpt-4o], [two/gpt]]}}
  alone: {{tiers: [[dated/gpt-4o]], max_attempts: 1}}
  v1: {{tiers: [[v1/my-chat]], max_attempts: 1}}
  both: {{tiers: [[dated/gpt-4o], [v1/my-chat]]}}
  thinks: {{tiers: [[v1/o3-pro]], max_attempts: 1}}
  thinks-dated: {{tiers: [[dated/o3-pro]], max_attempts: 1}}
  embeddings: {{tiers: [[dated/vectors]]}}
"""
STREAM = pytest.mark.parametrize("stream", [False, True], ids=["unary", "streamed"])


def environment(root: str | None = None) -> dict[str, str]:
    """Return the secrets; with `root` the v1 provider's is an identity, whose tokens are fetched there."""
    identity = {"tenant_id": "contoso.example", "client_id": "app-1", "client_secret": "hush-hush", "authority": root}
    return {
        "DATED_A_API_KEY": "azure-a",
        "DATED_B_API_KEY": "azure-b",
        "TWO_C_API_KEY": "sk-c",
        "V1_V_API_KEY": "azure-v" if root is None else json.dumps(identity),
    }


async def answered(running: Gateway, request: CompleteRequest, *, stream: bool) -> Any:
    """Return message, finish reason and usage of a call that goes well."""
    if stream:
        reading = await read(running.stub.StreamComplete(request, timeout=30))
        assert reading.error is None
        return reading.answer
    return await running.stub.Complete(request, timeout=30)


def failed(attempts: Any) -> list[tuple[str, str, str]]:
    """Return provider, reason and class of failure of each attempt."""
    return [
        (
            each.target.provider,
            AttemptSummary.Why.Name(each.why).removeprefix("WHY_"),
            FailureClass.Name(each.error.failure_class).removeprefix("FAILURE_CLASS_")
            if each.HasField("error")
            else "",
        )
        for each in attempts
    ]


@STREAM
async def test_a_model_is_its_deployment(gateway: Gateways, *, stream: bool) -> None:
    """In the path, with the version that is generally available; callers and logs see the model."""
    async with gateway(routes=ROUTES, environ=environment()) as running:
        answer = await answered(running, ask(), stream=stream)
        assert answer.message.parts[0].text == "You said: hi"
        assert answer.finish_reason == FINISH_REASON_STOP
        assert answer.usage.input_tokens > 0
        assert answer.route.served_by.model == "gpt-4o"
        record = running.simulator.stats.last_requests[-1]
        assert (record.path, record.query) == ("/openai/deployments/my-chat/chat/completions", "api-version=2024-10-21")
        assert record.headers["api-key"].startswith("azure-")
        assert "authorization" not in record.headers
        await running.quiet()


@STREAM
async def test_v1_has_no_version(gateway: Gateways, *, stream: bool) -> None:
    """The deployment stands in the body."""
    async with gateway(routes=ROUTES, environ=environment()) as running:
        await answered(running, ask(model="v1"), stream=stream)
        record = running.simulator.stats.last_requests[-1]
        assert (record.path, record.query, record.json["model"]) == ("/openai/v1/chat/completions", "", "my-chat")


@pytest.mark.parametrize(
    ("alias", "place"),
    [
        ("thinks", ("/openai/v1/responses", "")),
        ("thinks-dated", ("/openai/responses", "api-version=2025-04-01-preview")),
    ],
)
@STREAM
async def test_a_model_of_the_other_wire(
    gateway: Gateways, alias: str, place: tuple[str, str], *, stream: bool
) -> None:
    """Its model says so, and its provider's other models go on as before."""
    async with gateway({"default": {"reasoning": "hm"}}, routes=ROUTES, environ=environment()) as running:
        answer = await answered(running, ask(model=alias), stream=stream)
        thought, said = answer.message.parts
        assert (thought.thinking.text, said.text) == ("hm", "You said: hi")
        assert thought.thinking.signature
        record = running.simulator.stats.last_requests[-1]
        assert (record.path, record.query) == place
        await answered(running, ask(), stream=stream)
        assert running.simulator.stats.last_requests[-1].path.endswith("/chat/completions")


async def test_embeddings_of_a_deployment(gateway: Gateways) -> None:
    """By its own name."""
    async with gateway(routes=ROUTES, environ=environment()) as running:
        request = EmbedRequest(model="embeddings", inputs=["one", "two"], dimensions=4)
        response = await running.stub.Embed(request, timeout=30)
        wanted = [list(vector("my-vectors", text, 4)) for text in ("one", "two")]
        assert [list(each.values) for each in response.embeddings] == wanted
        assert running.simulator.stats.last_requests[-1].path == "/openai/deployments/my-vectors/embeddings"


async def test_what_a_version_lacks_leaves_its_provider_out(gateway: Gateways) -> None:
    """Explain says what; the provider of v1 serves."""
    request = ask(model="both", sampling=Sampling(reasoning_effort=REASONING_EFFORT_LOW))
    async with gateway(routes=ROUTES, environ=environment()) as running:
        explained = await explain(running, request)
        assert order_of(explained) == ["v1/my-chat"]
        assert list(explained["dated/gpt-4o"].removed_because) == [
            "feature: its protocol cannot carry: reasoning_effort"
        ]
        response = await running.stub.Complete(request, timeout=30)
        assert response.route.served_by.provider == "v1"
        assert running.simulator.stats.last_requests[-1].json["reasoning_effort"] == "low"


async def test_an_identity_is_called_with_one_token(gateway: Gateways) -> None:
    """Many calls at once share it; the secret goes to the token endpoint alone."""
    async with (
        gateway(routes=ROUTES, environ=environment()) as entra,
        gateway(routes=ROUTES, environ=environment(entra.simulator.root_url)) as running,
    ):
        await asyncio.gather(*(running.stub.Complete(ask(model="v1"), timeout=30) for _ in range(20)))
        assert [record.path for record in entra.simulator.stats.last_requests] == ["/contoso.example/oauth2/v2.0/token"]
        assert running.simulator.stats.by_key == {"app-1": 20}
        for record in running.simulator.stats.last_requests:
            assert record.headers["authorization"] == "Bearer app-1"
            assert "api-key" not in record.headers
            assert "hush" not in str(record)
        await running.quiet()


async def test_a_secret_that_entra_refuses_rejects_the_key(gateway: Gateways) -> None:
    """Nothing is sent to the provider, and no word of the secret is told."""
    async with (
        gateway({"accept_keys": ["another"]}, routes=ROUTES, environ=environment()) as entra,
        gateway(routes=ROUTES, environ=environment(entra.simulator.root_url)) as running,
    ):
        failure = await refused(running, ask(model="v1"))
        assert failure.reason == "UPSTREAM_CREDENTIALS"
        assert failure.route_failure is not None
        assert failure.route_failure.attempts[0].error.upstream_code == "AADSTS7000215"
        assert "hush" not in str(failure)
        assert running.simulator.stats.requests == 0


async def test_an_identity_without_its_role_is_a_rejected_key(gateway: Gateways) -> None:
    """Entra gives the token, the resource refuses it: 401 with a code of its own."""
    async with (
        gateway(routes=ROUTES, environ=environment()) as entra,
        gateway(
            {"default": {"error": "missing_scope"}}, routes=ROUTES, environ=environment(entra.simulator.root_url)
        ) as running,
    ):
        failure = await refused(running, ask(model="v1"))
        assert failure.reason == "UPSTREAM_CREDENTIALS"
        assert failure.route_failure is not None
        assert failure.route_failure.attempts[0].error.upstream_code == "PermissionDenied"


@STREAM
async def test_a_filtered_prompt_is_the_requests_fault(gateway: Gateways, *, stream: bool) -> None:
    """Nobody else is asked, and the message says what was found."""
    async with gateway({"default": {"error": "content_filter"}}, routes=ROUTES, environ=environment()) as running:
        if stream:
            reading = await read(running.stub.StreamComplete(ask(), timeout=30))
            assert reading.error is not None
            failure = reading.error.failure
        else:
            failure = await refused(running, ask())
        assert failure.reason == "CONTENT_FILTERED"
        assert failure.route_failure is not None
        assert ": violence (medium)" in failure.route_failure.attempts[0].error.message
        assert running.simulator.stats.requests == 1


@STREAM
async def test_a_filtered_answer_ends_with_its_finish_reason(gateway: Gateways, *, stream: bool) -> None:
    """A warning says by what; a stream's stands at its end."""
    fault = {"finish_reason": "content_filter"}
    async with gateway({"default": fault}, routes=ROUTES, environ=environment()) as running:
        answer = await answered(running, ask(), stream=stream)
        assert answer.finish_reason == FINISH_REASON_CONTENT_FILTER
        assert [(each.code, each.field) for each in answer.warnings] == [("CONTENT_FLAGGED", "message")]
        assert "violence (medium)" in answer.warnings[0].message


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("model_not_found", "MODEL_UNAVAILABLE"),
        ("operation_not_supported", "MODEL_UNAVAILABLE"),
        ("api_version_not_supported", "MODEL_UNAVAILABLE"),
        ("virtual_network", "MODEL_UNAVAILABLE"),
        ("server_error", "SERVER_ERROR"),
        ("gateway_timeout", "SERVER_ERROR"),
    ],
)
async def test_what_one_resource_cannot_another_can(gateway: Gateways, name: str, expected: str) -> None:
    """Each of these moves on to the next target, and none is blamed on a key."""
    rule = {"key": "azure-a", "fault": {"error": name}}
    rules = [rule, {**rule, "key": "azure-b"}]
    async with gateway({"rules": rules}, routes=ROUTES, environ=environment()) as running:
        response = await running.stub.Complete(ask(), timeout=30)
        assert response.route.served_by.provider == "two"
        assert {failure for _, _, failure in failed(response.attempts)} == {expected, ""}


async def test_a_rate_limit_without_a_header_is_read_in_its_words(gateway: Gateways) -> None:
    """The key is left alone for as long as the text says."""
    text = "Requests have exceeded token rate limit of your current tier. Please retry after 7 seconds."
    error = {"error": {"message": text, "code": "429"}, "status": 429}
    async with gateway({"default": error}, routes=ROUTES, environ=environment()) as running:
        failure = await refused(running, ask(model="alone"))
        assert failure.route_failure is not None
        first = failure.route_failure.attempts[0].error
        assert FailureClass.Name(first.failure_class) == "FAILURE_CLASS_RATE_LIMITED"
        assert first.retry_after.ToTimedelta().total_seconds() == pytest.approx(7, abs=0.1)


async def test_a_refused_key_walks_to_the_next(gateway: Gateways) -> None:
    """In the gateway's words: a wrong subscription key."""
    rules = [{"times": 1, "fault": {"error": "invalid_api_key"}}]
    async with gateway({"rules": rules}, routes=ROUTES, environ=environment()) as running:
        response = await running.stub.Complete(ask(), timeout=30)
        assert failed(response.attempts) == [("dated", "FIRST", "KEY_REJECTED"), ("dated", "KEY_WALK", "")]


@pytest.mark.parametrize(
    "fault",
    [{"cut_after_chunks": 1}, {"error_after_chunks": 1, "error": "server_error"}, {"malformed_after_chunks": 1}],
    ids=str,
)
async def test_a_broken_stream_goes_on_elsewhere(gateway: Gateways, fault: dict[str, Any]) -> None:
    """The first chunk, which has no choices, counts for nothing; what had come is not told twice."""
    scenario = {"models": {"my-chat": {"content": "one two three four", **fault}}}
    async with gateway(scenario, routes=ROUTES, environ=environment()) as running:
        request = ask(routing=RoutingOptions(on_break=ON_BREAK_RESTART))
        reading = await read(running.stub.StreamComplete(request, timeout=30))
        assert reading.error is None
        assert reading.answer.route.served_by.provider == "two"
        await running.quiet()


async def test_a_caller_that_leaves_leaves_nothing(gateway: Gateways) -> None:
    """The upstream's connection is closed, and no slot is held."""
    fault = {"chunks": 200, "chunk_gap_s": 0.02}
    async with gateway({"default": fault}, routes=ROUTES, environ=environment()) as running:
        call = running.stub.StreamComplete(ask(), timeout=30)
        await call.read()
        await call.read()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call.read()
        await running.quiet()
        assert call.done()


async def test_a_call_that_takes_too_long_is_given_up(gateway: Gateways) -> None:
    """With the caller's own deadline."""
    async with gateway({"default": {"first_byte_s": 5}}, routes=ROUTES, environ=environment()) as running:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await running.stub.Complete(ask(), timeout=0.3)
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        await running.quiet()
