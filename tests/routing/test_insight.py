"""The whole decision, to be shown."""

from __future__ import annotations

import pytest
from tests.routing.plan_house import PlanHouse, member, priced, sticky

from trunkline_server.routing.aliases import AliasTable, Strategy
from trunkline_server.routing.failures import FailureClass
from trunkline_server.routing.insight import Explained, explain_plan
from trunkline_server.routing.selection import COST, Demand, make_plan
from trunkline_server.routing.types import Caller, Reason, Refusal

COOLING = Refusal(FailureClass.RATE_LIMITED, Reason.RATE_LIMITED, "all keys of a cool", 2.0)


def explained(house: PlanHouse, demand: Demand | None = None) -> Explained:
    return explain_plan(house.alias, demand or Demand(), house.blockage, house.health_of)


def test_each_target_has_its_figures_and_states() -> None:
    """Order, times, costs, calls in flight, circuits and keys, for those that are in and those that are out."""
    house = PlanHouse([[member("a/m", 2, priced(1), "v"), member("b/m", 1, priced(10))], [member("c/m")]])
    house.refusals["a/m"] = COOLING
    house.takes("a/m", 1.0)
    house.load("a/m").began()
    house.open("b/m")
    first, second, out = explained(house, Demand(input_tokens=1000)).insights
    assert (str(first.target), first.order, first.tier, first.variant, first.weight) == ("a/m", 1, 0, "v", 2)
    assert first.first_content_s == pytest.approx(1.0, rel=0.05)
    assert (first.cost_nanousd, first.in_flight, first.circuit, first.keys) == (2_000_000, 1, "CLOSED", COOLING)
    assert (first.strategy, first.sticky, first.score) == (Strategy.WEIGHTED, False, 2.0)
    assert (str(second.target), second.order, second.tier, second.cost_nanousd) == ("c/m", 2, 1, None)
    assert (str(out.target), out.order, out.circuit, out.cost_nanousd) == ("b/m", 0, "OPEN", 20_000_000)
    assert out.removed is not None
    assert out.removed.constraint == "circuit"


def test_late_ones_are_shown_in_their_own_tier() -> None:
    """In the order in which they would be tried, and marked."""
    house = PlanHouse([[member("a/m")], [member("b/m")]])
    house.takes("a/m", 5.0)
    shown = explained(house, Demand(max_first_token_s=1.0))
    assert [(str(one.target), one.tier, one.late) for one in shown.insights] == [("b/m", 1, False), ("a/m", 0, True)]
    assert shown.plan is not None
    assert shown.plan.moved_because == "latency"


def test_nobody_eligible_is_explained_too() -> None:
    """Without a plan every target is there with its reason."""
    house = PlanHouse([[member("a/m", facts=priced(1))], [member("b/m")]])
    shown = explained(house, Demand(input_tokens=1000, max_cost_nanousd=1))
    assert shown.plan is None
    assert [one.removed.constraint for one in shown.insights if one.removed is not None] == [COST, COST]


@pytest.mark.parametrize(
    ("strategy", "scores"),
    [
        (Strategy.WEIGHTED, (1.0, 1.0)),
        (Strategy.LEAST_LOADED, (0.0, 0.0)),
        (Strategy.LOWEST_COST, (1_000_000, None)),
        (Strategy.LOWEST_LATENCY, (None, None)),
    ],
)
def test_the_score_is_what_the_strategy_went_by(strategy: Strategy, scores: tuple[float | None, ...]) -> None:
    """Unknown figures are shown as unknown; a sticky key has its own score instead."""
    house = PlanHouse([[member("a/m", facts=priced(1)), member("b/m")]], strategy)
    assert tuple(one.score for one in explained(house).insights) == scores
    keyed = explained(house, sticky("k")).insights
    assert all(one.sticky for one in keyed)
    assert [one.score for one in keyed] == sorted((one.score for one in keyed if one.score), reverse=True)


def test_explaining_takes_no_turn() -> None:
    """However often it is asked, the next request gets what was shown."""
    house = PlanHouse([[member("a/m", 3), member("b/m", 1)]])
    for _ in range(8):
        shown = [str(explained(house).insights[0].target) for _ in range(3)]
        assert shown == [house.order()[0]] * 3


def test_a_borrowed_target_is_shown_once() -> None:
    """What a fallback model repeats has its place in the earlier tier."""
    house = PlanHouse([[member("a/m")]])
    table = AliasTable({"default": house.alias}, frozenset("ab"), {})
    everybody = Caller("anonymous")
    alias = table.with_fallbacks(house.alias, ["a/m", "b/m"], everybody)
    shown = explain_plan(alias, Demand(), house.blockage, house.health_of)
    assert [(str(one.target), one.tier, one.order) for one in shown.insights] == [("a/m", 0, 1), ("b/m", 2, 2)]


def test_what_is_shown_first_is_who_would_serve_also_where_cost_moves_the_choice() -> None:
    """Turns are looked at as the call takes them, with limits too; and showing them takes none."""
    weights = {"x/m": 7, "dear/m": 9, "y/m": 2, "z/m": 8}
    house = PlanHouse(
        [[member(name, weight, priced(100 if name == "dear/m" else 1)) for name, weight in weights.items()]]
    )
    demand = Demand(input_tokens=1000, output_tokens=1, max_cost_nanousd=10_000_000)
    for _ in range(200):
        shown = explained(house, demand).insights[0].target
        again = explained(house, demand).insights[0].target
        real = make_plan(house.alias, demand, house.blockage, house.health_of).candidates[0].target
        assert shown == again == real


def test_costs_and_windows_go_by_what_was_learnt_of_a_target() -> None:
    """A target that counts twice the tokens costs twice as much, and is full twice as soon."""
    house = PlanHouse([[member("a/m", 1, priced(1)), member("b/m", 1, priced(1))]])
    demand = Demand(input_tokens=1000, learnt=lambda target: 2000 if target.provider == "a" else 1000)
    costs = {insight.target.provider: insight.cost_nanousd for insight in explained(house, demand).insights}
    plain = {
        insight.target.provider: insight.cost_nanousd
        for insight in explained(house, Demand(input_tokens=1000)).insights
    }
    assert plain["a"] == plain["b"] == costs["b"]
    assert costs["a"] is not None
    assert costs["b"] is not None
    assert costs["a"] > costs["b"]
