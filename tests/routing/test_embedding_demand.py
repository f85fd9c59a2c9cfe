"""What requests for vectors demand of a target, and how that is told."""

from __future__ import annotations

import pytest

from trunkline_server.routing.aliases import AliasTarget, ModelFacts
from trunkline_server.routing.cost import cost_nanousd
from trunkline_server.routing.demand import CHAT, EMBEDDINGS, Demand
from trunkline_server.routing.filters import unfit
from trunkline_server.routing.types import TargetId

TARGET = TargetId("p", "m")
VECTORS = Demand(capabilities=frozenset({EMBEDDINGS}), features=frozenset({EMBEDDINGS}), output_tokens=0)


def target(features: set[str] | None = None, **facts: object) -> AliasTarget:
    known = ModelFacts(**facts)  # type: ignore[arg-type]  # names and values are the test's
    return AliasTarget(TARGET, facts=known, features=None if features is None else frozenset(features))


@pytest.mark.parametrize(
    ("capabilities", "for_vectors", "for_answers"),
    [
        (None, True, True),
        ({EMBEDDINGS}, True, False),
        ({EMBEDDINGS, CHAT}, True, True),
        ({"tools"}, False, True),
        (set(), False, True),
    ],
)
def test_a_model_does_what_it_is_known_for(
    capabilities: set[str] | None, *, for_vectors: bool, for_answers: bool
) -> None:
    """Nothing known restricts nothing; embeddings alone answer nobody."""
    member = target(capabilities=None if capabilities is None else frozenset(capabilities))
    assert (unfit(member, 0, VECTORS) is None) == for_vectors
    assert (unfit(member, 0, Demand()) is None) == for_answers


def test_a_protocol_without_embeddings_is_out_by_name() -> None:
    """By the constraint of all features."""
    assert unfit(target(features={"tools"}), 0, VECTORS) == ("feature", "its protocol cannot carry: embeddings")
    assert unfit(target(features={EMBEDDINGS}), 0, VECTORS) is None


@pytest.mark.parametrize(("share", "fits"), [(1.0, False), (0.5, True), (0.51, False)])
def test_only_what_stands_in_one_window_has_to_fit(share: float, *, fits: bool) -> None:
    """A hundred tokens in all, and a window of fifty."""
    demand = Demand(input_tokens=100, output_tokens=0, features=frozenset({EMBEDDINGS}), window_share=share)
    because = unfit(target(context_tokens=50), 0, demand)
    assert (because is None) == fits
    assert because is None or because[0] == "context"


def test_what_the_engine_knows_is_asked_last() -> None:
    """What is known of the model is told first: it is the plainer reason."""
    asked: list[AliasTarget] = []

    def judge(member: AliasTarget) -> tuple[str, str]:
        asked.append(member)
        return "inputs", "too many"

    demand = Demand(capabilities=frozenset({EMBEDDINGS}), judge=judge)
    assert unfit(target(capabilities=frozenset[str]()), 0, demand) == ("capability", "the model lacks: embeddings")
    assert asked == []
    assert unfit(target(), 0, demand) == ("inputs", "too many")
    assert [member.target for member in asked] == [TARGET]


@pytest.mark.parametrize(
    ("input_price", "output_price", "output_tokens", "expected"),
    [(2_000_000, None, 0, 20), (2_000_000, 5, 0, 20), (2_000_000, None, 1, None), (None, 5, 0, None)],
)
def test_no_output_needs_no_price(
    input_price: int | None, output_price: int | None, output_tokens: int, expected: int | None
) -> None:
    """Ten tokens of input: what has output tokens costs nobody knows what without their price."""
    facts = ModelFacts(input_nanousd_per_million=input_price, output_nanousd_per_million=output_price)
    assert cost_nanousd(facts, 10, output_tokens) == expected
