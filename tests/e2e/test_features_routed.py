"""What a protocol cannot carry, over the wire: who is left out by it, what Explain says, and what may be dropped."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
import pytest
from tests.e2e.conftest import ask
from tests.e2e.routed import explain, order_of, refused, routed

from trunkline import failure_of
from trunkline.v1 import (
    CompleteRequest,
    EmbedRequest,
    FunctionTool,
    JsonObjectFormat,
    MediaPart,
    OutputFormat,
    Part,
    RoutingOptions,
    Sampling,
    Tool,
)

if TYPE_CHECKING:
    from tests.e2e.conftest import Gateways

ROUTES = """
version: 1
providers:
  one:
    protocol: openai
    base_url: {base}
    keys: [{{id: a, secret: env:ONE_A_API_KEY}}]
  two:
    protocol: cohere
    base_url: {root}
    keys: [{{id: c, secret: env:TWO_C_API_KEY}}]
aliases:
  default: {{tiers: [[one/gpt], [two/command]]}}
"""
JSON_AND_TOOLS: dict[str, Any] = {
    "output": OutputFormat(json_object=JsonObjectFormat()),
    "tools": [Tool(function=FunctionTool(name="f"))],
}


def sounding(mime_type: str) -> CompleteRequest:
    request = ask("what is it?")
    request.messages[0].parts.append(Part(media=MediaPart(mime_type=mime_type, data=b"x")))
    return request


@pytest.mark.parametrize(
    ("request_", "left", "out", "lacking"),
    [
        (ask(sampling=Sampling(top_k=5)), ["two/command"], "one/gpt", "top_k"),
        (ask(**JSON_AND_TOOLS), ["one/gpt"], "two/command", "json_with_tools"),
        (sounding("audio/wav"), ["one/gpt"], "two/command", "audio"),
    ],
    ids=["a setting that the first lacks", "a combination that the second lacks", "sound"],
)
async def test_who_cannot_carry_it_is_left_out(
    gateway: Gateways, request_: CompleteRequest, left: list[str], out: str, lacking: str
) -> None:
    """Explain says what is lacking, and the call goes by it."""
    async with gateway(routes=ROUTES) as running:
        found = await routed(running, request_)
        assert found.order == left
        assert list(found.explained[out].removed_because) == [f"feature: its protocol cannot carry: {lacking}"]
        assert found.served == left[0]
        assert not found.warnings


async def test_nobody_who_can_carry_it_is_told_by_name(gateway: Gateways) -> None:
    """The constraint stands in the error's metadata with whom it removed; nothing was sent."""
    async with gateway(routes=ROUTES) as running:
        failure = await refused(running, sounding("video/mp4"))
        assert (failure.code, failure.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "NO_ELIGIBLE_TARGET")
        assert failure.metadata["feature"] == "one/gpt, two/command"
        assert "its protocol cannot carry: video" in failure.message
        assert running.simulator.stats.requests == 0


@pytest.mark.parametrize("may_drop", [["top_k"], ["*"]])
async def test_what_may_be_dropped_is_dropped_with_a_warning(gateway: Gateways, may_drop: list[str]) -> None:
    """Then the first target stays the first, leaves it out, and says so, whole and streamed."""
    async with gateway(routes=ROUTES) as running:
        request = ask(sampling=Sampling(top_k=5), routing=RoutingOptions(may_drop=may_drop))
        for stream in (False, True):
            found = await routed(running, request, stream=stream)
            assert found.served == "one/gpt"
            assert found.warnings == {"UNSUPPORTED_FIELD": "sampling.top_k"}
            assert "top_k" not in running.simulator.stats.last_requests[-1].json


async def test_a_hard_feature_cannot_be_dropped(gateway: Gateways) -> None:
    """To ask for that is a mistake of the request's own."""
    async with gateway(routes=ROUTES) as running:
        failure = await refused(running, ask(routing=RoutingOptions(may_drop=["tools"])))
        assert failure.reason == "BAD_REQUEST"
        assert [violation.field for violation in failure.field_violations] == ["routing.may_drop[0]"]


async def test_a_model_that_is_named_directly_is_no_way_around(gateway: Gateways) -> None:
    """Its protocol's features hold for it though no alias and no catalogue knows it."""
    async with gateway(routes=ROUTES) as running:
        request = ask(model="one/whatever", sampling=Sampling(top_k=5))
        assert order_of(await explain(running, request)) == []
        assert (await refused(running, request)).reason == "NO_ELIGIBLE_TARGET"


async def test_a_plain_chat_is_for_everybody(gateway: Gateways) -> None:
    """It asks for nothing that anybody lacks."""
    async with gateway(routes=ROUTES) as running:
        assert order_of(await explain(running, ask("a"))) == ["one/gpt", "two/command"]


async def test_who_has_no_embeddings_makes_none(gateway: Gateways) -> None:
    """A protocol without them is out by the same word as for anything else that it lacks."""
    routes = ROUTES.replace("protocol: cohere", "protocol: anthropic").replace(
        "[[one/gpt], [two/command]]", "[[two/claude]]"
    )
    async with gateway(routes=routes) as running:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await running.stub.Embed(EmbedRequest(model="default", inputs=["a"]))
        failure = failure_of(raised.value)
        assert failure.reason == "NO_ELIGIBLE_TARGET"
        assert failure.metadata["feature"] == "two/claude"
