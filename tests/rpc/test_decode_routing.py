from __future__ import annotations

import pytest
from google.protobuf.duration_pb2 import Duration

from trunkline import v1 as pb
from trunkline_server.chat.request import RoutingOptions
from trunkline_server.routing.types import Criticality, OnBreak
from trunkline_server.rpc.decode_routing import decode_routing
from trunkline_server.rpc.violations import InvalidRequestError, Violations

SECOND = Duration(seconds=1)


def decoded(routing: pb.RoutingOptions) -> RoutingOptions:
    found = Violations()
    result = decode_routing(routing, found)
    found.raise_if_any()
    return result


def refused(routing: pb.RoutingOptions) -> list[str]:
    with pytest.raises(InvalidRequestError) as caught:
        decoded(routing)
    return [each.path for each in caught.value.violations]


def test_the_options_are_taken() -> None:
    """Each as the engine knows it, durations in seconds."""
    routing = pb.RoutingOptions(
        max_attempts=2,
        allow_fallback=False,
        exclude_targets=["openai", "a/b"],
        on_break=pb.ON_BREAK_CONTINUE,
        max_first_token=Duration(seconds=2, nanos=500_000_000),
        max_token_gap=Duration(nanos=1),
        allow_hedge=True,
        detachable=True,
        heartbeat=SECOND,
        announce_early=True,
        usage_every=Duration(nanos=50_000_000),
        fallback_models=["cheap", "a/b"],
        sticky_key="user-1",
        criticality=pb.CRITICALITY_SHEDDABLE_PLUS,
        max_cost_nanousd=5,
        require_capabilities=["vision", "tools"],
        allow_regions=["eu"],
        may_drop=["seed", "*"],
    )
    options = RoutingOptions(
        max_attempts=2,
        allow_fallback=False,
        exclude_targets=frozenset({"openai", "a/b"}),
        on_break=OnBreak.CONTINUE,
        max_first_token_s=2.5,
        max_token_gap_s=1e-9,
        allow_hedge=True,
        detachable=True,
        heartbeat_s=1.0,
        announce_early=True,
        usage_every_s=0.05,
        fallback_models=("cheap", "a/b"),
        sticky_key="user-1",
        criticality=Criticality.SHEDDABLE_PLUS,
        max_cost_nanousd=5,
        require_capabilities=frozenset({"tools", "vision"}),
        allow_regions=frozenset({"eu"}),
        may_drop=frozenset({"seed", "*"}),
    )
    assert decoded(routing) == options


@pytest.mark.parametrize("on_break", OnBreak, ids=lambda each: each.value)
def test_what_follows_a_break_is_taken_by_its_name(on_break: OnBreak) -> None:
    """FAIL that was asked for is another thing than nothing asked for: it overrides the alias."""
    asked = pb.RoutingOptions(on_break=pb.OnBreak.Value(f"ON_BREAK_{on_break.value}"))
    assert decoded(asked).on_break is on_break


def test_a_hedge_may_be_refused() -> None:
    """False is told apart from unset, which leaves it to the alias."""
    assert decoded(pb.RoutingOptions(allow_hedge=False)).allow_hedge is False
    assert decoded(pb.RoutingOptions()).allow_hedge is None


def test_a_cost_of_nothing_is_a_limit() -> None:
    """A caller whose money is used up asks for what is free; unset leaves it to the alias."""
    assert decoded(pb.RoutingOptions(max_cost_nanousd=0)).max_cost_nanousd == 0
    assert decoded(pb.RoutingOptions()).max_cost_nanousd is None


def test_nothing_asked_for_is_nothing() -> None:
    """Zero, false, empty and UNSPECIFIED ask for nothing."""
    zero = Duration()
    routing = pb.RoutingOptions(
        sticky_key="",
        criticality=pb.CRITICALITY_UNSPECIFIED,
        on_break=pb.ON_BREAK_UNSPECIFIED,
        max_attempts=0,
        max_first_token=zero,
        max_token_gap=zero,
        detachable=False,
        heartbeat=zero,
        announce_early=False,
        usage_every=zero,
    )
    assert decoded(routing) == RoutingOptions()


def test_every_option_of_the_contract_is_taken() -> None:
    """An option that is added to the contract cannot be ignored in silence: each alone changes what comes out."""
    everything = pb.RoutingOptions(
        fallback_models=["m"],
        sticky_key="k",
        criticality=pb.CRITICALITY_SHEDDABLE,
        on_break=pb.ON_BREAK_RESTART,
        max_attempts=1,
        max_cost_nanousd=1,
        max_first_token=SECOND,
        max_token_gap=SECOND,
        require_capabilities=["c"],
        allow_regions=["r"],
        exclude_targets=["t"],
        allow_fallback=False,
        allow_hedge=True,
        detachable=True,
        heartbeat=SECOND,
        announce_early=True,
        usage_every=SECOND,
        may_drop=["top_k"],
    )
    fields = everything.ListFields()
    assert {field.name for field, _ in fields} == {field.name for field in pb.RoutingOptions.DESCRIPTOR.fields}
    for field, _ in fields:
        alone = pb.RoutingOptions()
        alone.CopyFrom(everything)
        for other, _ in fields:
            if other.name != field.name:
                alone.ClearField(other.name)  # type: ignore[arg-type]  # a name of the contract, read from it
        assert decoded(alone) != RoutingOptions(), field.name


@pytest.mark.parametrize("criticality", Criticality, ids=lambda each: each.name)
def test_criticality_is_taken_by_its_name(criticality: Criticality) -> None:
    """The numbers of the wire are not the ranks."""
    asked = pb.RoutingOptions(criticality=pb.Criticality.Value(f"CRITICALITY_{criticality.name}"))
    assert decoded(asked).criticality is criticality


def test_fallback_models_keep_their_order_each_once() -> None:
    """They are tried in the order given; a name that comes again says nothing more."""
    assert decoded(pb.RoutingOptions(fallback_models=["b", "a", "b"])).fallback_models == ("b", "a")


@pytest.mark.parametrize(
    ("routing", "path"),
    [
        (pb.RoutingOptions(max_attempts=-1), "routing.max_attempts"),
        (pb.RoutingOptions(max_cost_nanousd=-1), "routing.max_cost_nanousd"),
        (pb.RoutingOptions(max_first_token=Duration(seconds=-1)), "routing.max_first_token"),
        (pb.RoutingOptions(max_token_gap=Duration(nanos=10**9)), "routing.max_token_gap"),
        (pb.RoutingOptions(heartbeat=Duration(nanos=-1)), "routing.heartbeat"),
        (pb.RoutingOptions(usage_every=Duration(seconds=2**62)), "routing.usage_every"),
        (pb.RoutingOptions(exclude_targets=["a", ""]), "routing.exclude_targets[1]"),
        (pb.RoutingOptions(exclude_targets=["x" * 257]), "routing.exclude_targets[0]"),
        (pb.RoutingOptions(exclude_targets=["x"] * 257), "routing.exclude_targets"),
        (pb.RoutingOptions(fallback_models=[""]), "routing.fallback_models[0]"),
        (pb.RoutingOptions(fallback_models=[f"m{number}" for number in range(9)]), "routing.fallback_models"),
        (pb.RoutingOptions(sticky_key="k" * 257), "routing.sticky_key"),
        (pb.RoutingOptions(require_capabilities=["a", ""]), "routing.require_capabilities[1]"),
        (pb.RoutingOptions(allow_regions=["x" * 257]), "routing.allow_regions[0]"),
        (pb.RoutingOptions(may_drop=["seed", "sead", "images"]), "routing.may_drop[1]"),
        (pb.RoutingOptions(may_drop=["tools"]), "routing.may_drop[0]"),
        (pb.RoutingOptions(may_drop=["seed"] * 257), "routing.may_drop"),
        (pb.RoutingOptions.FromString(b"\x18\x63"), "routing.criticality"),
        (pb.RoutingOptions.FromString(b"\x20\x63"), "routing.on_break"),
    ],
)
def test_a_wrong_option_is_a_violation(routing: pb.RoutingOptions, path: str) -> None:
    """Negative limits, empty and unknown names, unknown enum values, and texts above their bounds."""
    assert refused(routing) == [path]
