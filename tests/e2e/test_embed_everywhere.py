"""`Embed` by every protocol that has embeddings: the same for the caller, the vendor's own words upstream."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import grpc
import pytest
from tests.e2e.protocols import WIRES, Wire, environment, routes

from trunkline import failure_of
from trunkline.v1 import (
    FAILURE_CLASS_KEY_REJECTED,
    FAILURE_CLASS_PROTOCOL,
    FAILURE_CLASS_RATE_LIMITED,
    FAILURE_CLASS_SERVER_ERROR,
    EmbedRequest,
)
from trunkline_server.simulator.vectors import vector

if TYPE_CHECKING:
    from tests.e2e.conftest import Gateway, Gateways

    from trunkline import CallFailure

QUERY = EmbedRequest.INPUT_TYPE_QUERY


@dataclass(frozen=True)
class Embedder:
    """An embedding model behind one wire."""

    wire: str
    model: str
    dimensions: int
    """Another length than its usual one."""
    usual: int
    at_most: int
    """Inputs a call."""
    inputs_in: Callable[[Any], list[str]]
    """Reads the inputs out of a body."""
    query_in: Callable[[Any], bool] | None = None
    """Whether a body says that the vectors are for questions; None: the protocol cannot say it."""
    counted: bool = True
    """The provider counts the tokens."""

    def behind(self) -> Wire:
        """Return the wire with this model."""
        return replace(WIRES[self.wire], model=self.model, facts={"capabilities": ["embeddings"]})


def _asks_cohere(body: Any) -> bool:
    return bool(body["input_type"] == "search_query")


EMBEDDERS: Final = [
    Embedder("openai", "text-embedding-3-small", 8, 1536, 2048, lambda body: body["input"]),
    Embedder(
        "cohere",
        "embed-v4.0",
        256,
        1536,
        96,
        lambda body: body["texts"],
        _asks_cohere,
    ),
    Embedder(
        "gemini",
        "gemini-embedding-001",
        256,
        3072,
        100,
        lambda body: [each["content"]["parts"][0]["text"] for each in body["requests"]],
        lambda body: {each["taskType"] for each in body["requests"]} == {"RETRIEVAL_QUERY"},
    ),
    Embedder("bedrock", "amazon.titan-embed-text-v2:0", 256, 1024, 1, lambda body: [body["inputText"]]),
    Embedder("bedrock", "cohere.embed-v4:0", 256, 1536, 96, lambda body: body["texts"], _asks_cohere, counted=False),
]
EACH = pytest.mark.parametrize("embedder", EMBEDDERS, ids=[f"{each.wire} {each.model}" for each in EMBEDDERS])


def serve(gateway: Gateways, *embedders: Embedder, aliases: dict[str, Any] | None = None, **scenario: Any) -> Any:
    """Start a gateway with an alias for each embedder's wire."""
    wires = [embedder.behind() for embedder in embedders]
    return gateway(scenario, routes=routes(wires, aliases), environ=environment(wires))


async def refused(running: Gateway, request: EmbedRequest) -> CallFailure:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await running.stub.Embed(request, timeout=30)
    await running.quiet()
    return failure_of(caught.value)


@EACH
async def test_vectors_are_the_model_s(gateway: Gateways, embedder: Embedder) -> None:
    """As many inputs as one call takes, up to three, in their order, of the model's usual length."""
    texts = ["one", "two", "one"][: embedder.at_most]
    async with serve(gateway, embedder) as running:
        response = await running.stub.Embed(EmbedRequest(model=embedder.wire, inputs=texts), timeout=30)
        await running.quiet()
        expected = [list(vector(embedder.model, text, embedder.usual)) for text in texts]
        assert [list(each.values) for each in response.embeddings] == expected
        assert (response.dimensions, response.model) == (embedder.usual, embedder.model)
        assert response.HasField("usage") == embedder.counted
        assert (response.usage.input_tokens > 0) == embedder.counted
        assert response.usage.output_tokens == 0
        assert response.warnings == []
        assert embedder.inputs_in(running.simulator.stats.last_requests[0].json) == texts


@EACH
async def test_length_and_purpose_are_said_in_the_vendor_s_words(gateway: Gateways, embedder: Embedder) -> None:
    """What the protocol cannot say is told in a warning."""
    request = EmbedRequest(model=embedder.wire, inputs=["one"], dimensions=embedder.dimensions, input_type=QUERY)
    async with serve(gateway, embedder) as running:
        response = await running.stub.Embed(request, timeout=30)
        assert list(response.embeddings[0].values) == list(vector(embedder.model, "one", embedder.dimensions))
        told = [warning.field for warning in response.warnings]
        if embedder.query_in is None:
            assert told == ["input_type"]
        else:
            assert told == []
            assert embedder.query_in(running.simulator.stats.last_requests[0].json)


@EACH
async def test_more_inputs_than_one_call_takes_are_refused(gateway: Gateways, embedder: Embedder) -> None:
    """Before anything is sent, with the bound: by name where there is a limit of ours too."""
    texts = ["x"] * (embedder.at_most + 1)
    async with serve(gateway, embedder) as running:
        failure = await refused(running, EmbedRequest(model=embedder.wire, inputs=texts))
        assert running.simulator.stats.requests == 0
        if len(texts) > 2048:
            assert [each.field for each in failure.field_violations] == ["inputs"]
        else:
            assert failure.metadata["inputs"] == f"{embedder.wire}/{embedder.model}"
            assert f"one call takes at most {embedder.at_most}" in failure.message


@EACH
@pytest.mark.parametrize(
    ("fault", "failure_class"),
    [
        ({"status": 500}, FAILURE_CLASS_SERVER_ERROR),
        ({"status": 429}, FAILURE_CLASS_RATE_LIMITED),
        ({"error": "invalid_api_key"}, FAILURE_CLASS_KEY_REJECTED),
        ({"empty": "choices"}, FAILURE_CLASS_PROTOCOL),
        ({"body": "<html>"}, FAILURE_CLASS_PROTOCOL),
        ({"body": "{}"}, FAILURE_CLASS_PROTOCOL),
    ],
)
async def test_failures_are_of_the_same_classes(
    gateway: Gateways, embedder: Embedder, fault: dict[str, Any], failure_class: int
) -> None:
    """As those of answers, by the same table of the vendor."""
    async with serve(gateway, embedder, default=fault) as running:
        failure = await refused(running, EmbedRequest(model=embedder.wire, inputs=["one"]))
        assert failure.route_failure is not None
        assert failure.route_failure.attempts[0].error.failure_class == failure_class


async def test_one_model_at_two_vendors_is_one_space(gateway: Gateways) -> None:
    """Cohere's model fails over to Bedrock, whose name for it is another: the catalogue knows them for the same."""
    cohere, bedrock = (each for each in EMBEDDERS if "embed-v4" in each.model)
    aliases = {"search": {"tiers": [[cohere.behind().target], [bedrock.behind().target]]}}
    async with serve(gateway, cohere, bedrock, aliases=aliases, models={cohere.model: {"status": 503}}) as running:
        request = EmbedRequest(model="search", inputs=["one"], input_type=QUERY)
        response = await running.stub.Embed(request, timeout=30)
        assert response.route.served_by.provider == "bedrock"
        assert response.warnings == []
        assert bedrock.query_in is not None
        assert bedrock.query_in(running.simulator.stats.last_requests[-1].json)
