"""`Embed` over real gRPC, against the simulator: aliases, pools, failover, limits and errors are those of any call."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from tests.e2e.conftest import ask as ask_model
from tests.e2e.outside import Ran, run
from tests.e2e.routed import name_of

from trunkline import connect_aio, failure_of
from trunkline.v1 import (
    FAILURE_CLASS_CALLER_INVALID,
    FAILURE_CLASS_CONTEXT_LENGTH,
    FAILURE_CLASS_MODEL_UNAVAILABLE,
    FAILURE_CLASS_PROTOCOL,
    FAILURE_CLASS_RATE_LIMITED,
    FAILURE_CLASS_SERVER_ERROR,
    FAILURE_CLASS_TRUNCATED,
    CompletionServiceStub,
    EmbedRequest,
    EmbedResponse,
    ListModelsRequest,
    RouteFailure,
    RoutingOptions,
)
from trunkline_server.simulator.vectors import vector

if TYPE_CHECKING:
    from tests.e2e.conftest import Gateway, Gateways

    from trunkline import CallFailure
    from trunkline.v1 import CompletionServiceAsyncStub

SMALL, LARGE = "text-embedding-3-small", "text-embedding-3-large"
NANOUSD_A_TOKEN = 20
"""Of the small model, by the catalogue."""

ROUTES = """
version: 1
providers:
  one:
    protocol: openai
    base_url: {base}
    keys: [{{id: a, secret: env:ONE_A_API_KEY}}, {{id: b, secret: env:ONE_B_API_KEY}}]
  two:
    protocol: openai
    base_url: {base}
    keys: [{{id: c, secret: env:TWO_C_API_KEY}}]
aliases:
  search:
    max_attempts: 4
    tiers: [[{{target: one/text-embedding-3-small}}], [{{target: two/text-embedding-3-small}}],
      [{{target: two/text-embedding-3-large}}]]
  chat:
    tiers: [[{{target: one/gpt-4o-mini}}]]
"""
CALLERS = """callers:
  - {{id: checkout, token_sha256: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08, aliases: [search],
     tokens_per_minute: 400}}
"""
"""The token is `test`."""


def ask(*inputs: str, model: str = "search", **fields: Any) -> EmbedRequest:
    """Return a request for the vectors of some texts."""
    return EmbedRequest(model=model, inputs=inputs or ("a",), **fields)


async def embed(running: Gateway, request: EmbedRequest, **call: Any) -> EmbedResponse:
    """Return the answer; nothing is held afterwards."""
    response = await running.stub.Embed(request, timeout=30, **call)
    await running.quiet()
    return response


async def refused(running: Gateway, request: EmbedRequest, **call: Any) -> CallFailure:
    """Return how a request fails that has to; nothing is held afterwards."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await running.stub.Embed(request, timeout=30, **call)
    await running.quiet()
    return failure_of(caught.value)


def told(failure: CallFailure) -> RouteFailure:
    """Return what failed upstream."""
    assert failure.route_failure is not None
    return failure.route_failure


async def test_each_input_has_the_model_s_vector(gateway: Gateways) -> None:
    """In order, in single precision as the provider sent it, with usage, price, route and the attempt."""
    async with gateway(routes=ROUTES) as running:
        response = await embed(running, ask("one", "two", "one", request_id="r7"))
        assert [each.index for each in response.embeddings] == [0, 1, 2]
        for each, text in zip(response.embeddings, ("one", "two", "one"), strict=True):
            assert list(each.values) == list(vector(SMALL, text, 1536))
        assert (response.request_id, response.dimensions, response.model) == ("r7", 1536, SMALL)
        usage = response.usage
        assert usage.input_tokens > 0
        assert (usage.output_tokens, usage.HasField("output_tokens")) == (0, True)
        assert usage.cost_nanousd == NANOUSD_A_TOKEN * usage.input_tokens
        assert (response.route.alias, name_of(response.route.served_by)) == ("search", f"one/{SMALL}")
        assert [name_of(attempt.target) for attempt in response.attempts] == [f"one/{SMALL}"]
        sent = running.simulator.stats.last_requests[0]
        assert (sent.path, sent.json["encoding_format"], sent.json["input"]) == (
            "/v1/embeddings",
            "base64",
            ["one", "two", "one"],
        )


async def test_vectors_can_be_shorter_and_options_passed(gateway: Gateways) -> None:
    """`dimensions` goes to the model, options of the serving provider beside it."""
    async with gateway(routes=ROUTES) as running:
        request = ask("x", dimensions=8, provider_options_json={"one": '{"user":"u7"}', "two": "{}"})
        response = await embed(running, request)
        assert list(response.embeddings[0].values) == list(vector(SMALL, "x", 8))
        assert [warning.code for warning in response.warnings] == ["OPTIONS_UNUSED"]
        assert running.simulator.stats.last_requests[0].json["user"] == "u7"
        failure = await refused(running, ask(provider_options_json={"one": '{"encoding_format":"float"}'}))
        assert failure.reason == "BAD_REQUEST"
        assert [each.field for each in failure.field_violations] == ['provider_options_json["one"].encoding_format']


async def test_another_key_then_the_same_model_elsewhere(gateway: Gateways) -> None:
    """A refused key is walked past; a provider that fails is left; the vectors are the same."""
    async with gateway({"keys": {"sk-a": {"status": 401}, "sk-b": {"status": 503}}}, routes=ROUTES) as running:
        response = await embed(running, ask("x", routing=RoutingOptions(max_attempts=2)))
        assert name_of(response.route.served_by) == f"two/{SMALL}"
        assert list(response.embeddings[0].values) == list(vector(SMALL, "x", 1536))
        assert response.warnings == []


async def test_another_model_serves_only_if_it_may(gateway: Gateways) -> None:
    """By default a call fails rather than give vectors of another space; if it may, it says which model it was."""
    async with gateway({"models": {SMALL: {"status": 404}}}, routes=ROUTES) as running:
        failure = await refused(running, ask("x"))
        assert failure.reason == "MODEL_UNAVAILABLE"
        assert {name_of(attempt.target) for attempt in told(failure).attempts} == {f"one/{SMALL}", f"two/{SMALL}"}
    async with gateway({"models": {SMALL: {"status": 404}}}, routes=ROUTES) as running:
        response = await embed(running, ask("x", allow_other_models=True))
        assert (response.model, response.dimensions) == (LARGE, 3072)
        assert [warning.code for warning in response.warnings] == ["OTHER_MODEL"]


async def test_models_are_asked_for_what_they_do(gateway: Gateways) -> None:
    """Known embedding models answer nobody, known chat models make no vectors; ListModels says which is which."""
    async with gateway(routes=ROUTES) as running:
        failure = await refused(running, ask(model="chat"))
        assert failure.reason == "NO_ELIGIBLE_TARGET"
        assert failure.metadata["capability"] == "one/gpt-4o-mini"

        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await running.stub.Complete(ask_model(model="search"))
        assert failure_of(caught.value).metadata["capability"].startswith(f"one/{SMALL}")
        models = await running.stub.ListModels(ListModelsRequest())
        capabilities = {model.name: list(model.capabilities) for model in models.models}
        assert capabilities["search"] == ["embeddings"]
        assert "embeddings" not in capabilities["chat"]
        assert running.simulator.stats.requests == 0


@pytest.mark.parametrize(
    ("request_", "metadata", "words"),
    [
        (ask("word " * 10_000), "context", "window of 8191"),
        (ask(routing=RoutingOptions(exclude_targets=["one", "two"])), "exclude_targets", "excluded by the request"),
        (ask(routing=RoutingOptions(max_cost_nanousd=1)), "cost", "the request may cost"),
        (ask(routing=RoutingOptions(require_capabilities=["vision"])), "capability", "the model lacks: vision"),
    ],
)
async def test_constraints_are_told_by_name(
    gateway: Gateways, request_: EmbedRequest, metadata: str, words: str
) -> None:
    """As for any call: which constraint removed which target, and in words what was wrong with the first."""
    async with gateway(routes=ROUTES) as running:
        failure = await refused(running, request_)
        assert failure.reason == "NO_ELIGIBLE_TARGET"
        assert f"one/{SMALL}" in failure.metadata[metadata]
        assert words in failure.message
        assert running.simulator.stats.requests == 0


@pytest.mark.parametrize(
    ("fault", "failure_class"),
    [
        ({"status": 500}, FAILURE_CLASS_SERVER_ERROR),
        ({"status": 429}, FAILURE_CLASS_RATE_LIMITED),
        ({"status": 404}, FAILURE_CLASS_MODEL_UNAVAILABLE),
        ({"error": "context_length_exceeded"}, FAILURE_CLASS_CONTEXT_LENGTH),
        ({"error": "server_error", "error_after_chunks": 0}, FAILURE_CLASS_SERVER_ERROR),
        ({"empty": "choices"}, FAILURE_CLASS_PROTOCOL),
        ({"body": "<html>"}, FAILURE_CLASS_PROTOCOL),
        ({"body": '{"data":[{"embedding":[1,2]},{"embedding":[1]}]}'}, FAILURE_CLASS_PROTOCOL),
        ({"body": '{"data":[{"embedding":[1,2]},{"embedding":[1,1e39]}]}'}, FAILURE_CLASS_PROTOCOL),
        ({"cut_after_bytes": 100}, FAILURE_CLASS_TRUNCATED),
    ],
)
async def test_every_way_to_fail_has_its_class(gateway: Gateways, fault: dict[str, Any], failure_class: int) -> None:
    """Whatever a provider does, the caller hears its class, and nothing is held."""
    async with gateway({"default": fault}, routes=ROUTES) as running:
        failure = await refused(running, ask("a", "b", routing=RoutingOptions(max_attempts=1)))
        assert told(failure).attempts[0].error.failure_class == failure_class


async def test_a_length_that_the_model_has_not_is_the_caller_s(gateway: Gateways) -> None:
    """Refused by the provider, and told as such, without another try."""
    async with gateway(routes=ROUTES) as running:
        failure = await refused(running, ask("a", dimensions=5000))
        assert failure.reason == "BAD_REQUEST"
        assert told(failure).failure_class == FAILURE_CLASS_CALLER_INVALID
        assert len(told(failure).attempts) == 1


async def test_callers_are_held_to_their_names_and_limits(gateway: Gateways) -> None:
    """Their aliases, and the tokens of their inputs: a caller's budget knows no difference between calls."""
    token = (("authorization", "Bearer test"),)
    async with gateway(routes=ROUTES + CALLERS) as running:
        assert (await refused(running, ask())).reason == "UNAUTHENTICATED"
        assert (await refused(running, ask(model="chat"), metadata=token)).reason == "UNKNOWN_MODEL"
        texts = ["word " * 50] * 5
        assert len((await embed(running, ask(*texts), metadata=token)).embeddings) == 5
        failure = await refused(running, ask(*texts), metadata=token)
        assert failure.reason == "CALLER_QUOTA"
        assert failure.metadata["limit"] == "tokens_per_minute"


async def test_as_many_inputs_as_there_may_be(gateway: Gateways) -> None:
    """2,048 vectors, 12 MiB of them, come whole to a client of ours; one input more is refused unsent."""
    texts = [f"text {number}" for number in range(2048)]
    async with gateway(routes=ROUTES) as running, connect_aio(running.address) as channel:
        stub: CompletionServiceAsyncStub = CompletionServiceStub(channel)
        response = await stub.Embed(ask(*texts), timeout=60)
        assert [each.index for each in response.embeddings] == list(range(2048))
        assert list(response.embeddings[2047].values) == list(vector(SMALL, texts[2047], 1536))
        assert running.simulator.stats.requests == 1
        failure = await refused(running, ask(*texts, "one more"))
        assert [each.field for each in failure.field_violations] == ["inputs"]


async def test_grpcurl_needs_no_files(gateway: Gateways, program: Callable[[str], str]) -> None:
    """The RPC and its messages are found by reflection, and the shortest call works."""
    path = program("grpcurl")
    curl: Callable[..., Awaitable[Ran]] = lambda *words: run(path, "-plaintext", "-max-time", "30", *words)  # noqa: E731
    method = "trunkline.v1.CompletionService/Embed"
    async with gateway(routes=ROUTES) as running:
        described = await curl(running.address, "describe", "trunkline.v1.EmbedRequest.InputType")
        assert "INPUT_TYPE_CLUSTERING" in described.out
        data = json.dumps({"model": "search", "inputs": ["hi"], "dimensions": 4})
        answer = (await curl("-d", data, running.address, method)).document()
        assert answer["embeddings"][0]["values"] == pytest.approx(list(vector(SMALL, "hi", 4)))
        assert (answer["dimensions"], answer["model"]) == (4, SMALL)
