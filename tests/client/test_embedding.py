"""The client's vectors behind a whole gateway and the provider simulator."""

from __future__ import annotations

import asyncio
import re
from array import array
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from trunkline import QUERY, CallError, Vectors, connect, connect_aio, embed, embed_aio, failure_of, vectors_of
from trunkline.v1 import Embedding, EmbedResponse, RoutingOptions
from trunkline_server.simulator.vectors import vector

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.e2e.conftest import Gateways

SMALL = "text-embedding-3-small"
ROUTES = """
version: 1
providers:
  one:
    protocol: openai
    base_url: {base}
    keys: [{{id: a, secret: env:ONE_A_API_KEY}}]
aliases:
  search: {{tiers: [[{{target: one/text-embedding-3-small}}]]}}
"""
README = (Path(__file__).resolve().parents[2] / "clients/python/README.md").read_text()


async def test_vectors_come_in_the_texts_order(gateway: Gateways) -> None:
    """As arrays of single precision, with the model that made them; a generator of texts is fine too."""
    async with gateway(routes=ROUTES) as running, connect_aio(running.address) as channel:
        texts = ["one", "two", "one"]
        found = await embed_aio(channel, iter(texts), model="search", timeout=30, dimensions=8, request_id="r7")
        assert found.vectors == tuple(vector(SMALL, text, 8) for text in texts)
        assert (found.model, found.dimensions, found.response.request_id) == (SMALL, 8, "r7")


async def test_the_synchronous_call_is_the_same(gateway: Gateways) -> None:
    """In a thread beside the loop that serves it."""
    async with gateway(routes=ROUTES) as running:

        def call() -> Vectors:
            with connect(running.address) as channel:
                return embed(channel, ["one"], model="search", timeout=30, input_type=QUERY)

        found = await asyncio.to_thread(call)
        assert found.vectors == (vector(SMALL, "one", 1536),)
        assert [warning.code for warning in found.response.warnings] == ["UNSUPPORTED_FIELD"]


async def test_a_failed_call_is_read_like_any_other(gateway: Gateways) -> None:
    """`failure_of` says why."""
    routing = RoutingOptions(exclude_targets=["one"])
    async with gateway(routes=ROUTES) as running, connect_aio(running.address) as channel:
        with pytest.raises(CallError) as caught:
            await embed_aio(channel, ["one"], model="search", timeout=30, routing=routing)
        assert failure_of(caught.value).reason == "NO_ELIGIBLE_TARGET"


@pytest.mark.parametrize(
    ("embeddings", "told"),
    [
        ([], "0 vectors came for 2 texts"),
        ([Embedding(index=1, values=[1]), Embedding(index=0, values=[1])], "in another order"),
        ([Embedding(index=0, values=[1]), Embedding(index=1, values=[1, 2])], "has not 1 numbers"),
    ],
)
def test_an_answer_that_does_not_fit_is_refused(embeddings: list[Embedding], told: str) -> None:
    """Rather than a vector be taken for another text's."""
    with pytest.raises(ValueError, match=told):
        vectors_of(EmbedResponse(embeddings=embeddings, dimensions=1), 2)


def test_no_numbers_are_lost() -> None:
    """What came is what the arrays hold."""
    found = vectors_of(EmbedResponse(embeddings=[Embedding(values=[0.1, -2.5])], dimensions=2, model="m"), 1)
    assert found.vectors == (array("f", [0.1, -2.5]),)


async def test_the_readme_s_search_finds(gateway: Gateways) -> None:
    """The code of the README's section runs as it stands there."""
    scope: dict[str, Any] = {}
    block = re.search(r"## Vectors\n\n```python\n(.*?)```", README, re.DOTALL)
    assert block is not None
    exec(block[1], scope)  # noqa: S102  our own README is what is tested
    nearest: Callable[..., str] = scope["nearest"]
    async with gateway(routes=ROUTES) as running:
        assert await asyncio.to_thread(nearest, running.address, "two", ["one", "two", "three"]) == "two"
