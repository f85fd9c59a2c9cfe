"""What a request needs, read off it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from trunkline_server.chat.message import MediaPart, Message, Role, TextPart, ToolResultPart
from trunkline_server.chat.request import (
    ChatRequest,
    FunctionTool,
    JsonSchemaOutput,
    ProviderTool,
    RoutingOptions,
    Sampling,
)
from trunkline_server.engine.demand import demand_of, media_bytes
from trunkline_server.routing.demand import NO_DEMAND, Demand

PICTURE = MediaPart("image/png", data=b"1234")
PLAIN = ChatRequest("default", (Message(Role.USER, (TextPart("hello"),)),), "r1")


def with_routing(**options: object) -> ChatRequest:
    return replace(PLAIN, routing=replace(RoutingOptions(), **options))  # type: ignore[arg-type]


def test_a_plain_request_demands_nothing() -> None:
    """And that is told by the one object that selection knows, so that no target is looked at for it."""
    assert demand_of(PLAIN) == NO_DEMAND
    assert demand_of(with_routing(sticky_key="", max_attempts=2)) == NO_DEMAND


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (replace(PLAIN, sampling=Sampling(max_output_tokens=7)), Demand(output_tokens=7)),
        (with_routing(allow_regions=frozenset({"eu"})), Demand(regions=frozenset({"eu"}))),
        (with_routing(max_cost_nanousd=5), Demand(max_cost_nanousd=5)),
        (with_routing(max_cost_nanousd=0), Demand(max_cost_nanousd=0)),
        (with_routing(max_first_token_s=2.5), Demand(max_first_token_s=2.5)),
        (with_routing(sticky_key="k"), Demand(sticky_key="k")),
        (with_routing(exclude_targets=frozenset({"a"})), Demand(excluded=frozenset({"a"}))),
        (with_routing(allow_fallback=False), Demand(allow_fallback=False)),
    ],
)
def test_each_wish_has_its_place(request_: ChatRequest, expected: Demand) -> None:
    """Limits and wishes come over as they are."""
    assert demand_of(request_) == expected


def test_what_the_request_names_joins_what_it_shows() -> None:
    """Capabilities that it asks for by name, and those that its parts, tools and output need."""
    request = replace(
        with_routing(require_capabilities=frozenset({"prefill", "tools"})),
        messages=(Message(Role.USER, (ToolResultPart("c1", (PICTURE,)),)),),
        tools=(FunctionTool("f"), ProviderTool("openai", {})),
        output=JsonSchemaOutput("o", {}),
        sampling=Sampling(reasoning_max_tokens=5),
    )
    demand = demand_of(request)
    assert demand.capabilities == {"prefill", "tools", "vision", "json_schema", "reasoning"}
    assert demand.features == {
        "images", "tool_result_images", "tools", "provider_tools", "json_schema", "json_with_tools",
        "reasoning_max_tokens",
    }  # fmt: skip
    assert demand.only_providers == {"openai"}
    assert media_bytes(request) == 4


def test_the_engine_s_own_figures_are_handed_in() -> None:
    """The estimate of the input, and whether the answer is shown as it comes."""
    assert demand_of(PLAIN, input_tokens=12, streams=False) == Demand(input_tokens=12, streams=False)
