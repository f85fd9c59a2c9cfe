"""Where a request may not go, and where it should not: regions, windows, cost, and the time to the first token."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.routing.plan_house import PlanHouse, member, named, names, priced, sticky

from trunkline_server.routing.aliases import AliasPolicy, ModelFacts, Strategy
from trunkline_server.routing.clock import ManualClock
from trunkline_server.routing.events import Dispatch, Granted, NoneFree, Queue, Refused, Started, TryNow
from trunkline_server.routing.failures import FailureClass
from trunkline_server.routing.machine import Machine
from trunkline_server.routing.retry import Allowance
from trunkline_server.routing.selection import COST, LATENCY, Demand, NoEligibleTargetError
from trunkline_server.routing.types import Reason, Refusal

FULL = Refusal(FailureClass.SATURATED, Reason.QUEUE_FULL, "full", 1.0)
EXHAUSTED = Refusal(FailureClass.KEY_EXHAUSTED, Reason.UPSTREAM_QUOTA, "all keys are exhausted", 300.0)
REJECTED = Refusal(FailureClass.KEY_REJECTED, Reason.UPSTREAM_CREDENTIALS, "all keys were rejected", 60.0)


def facts(*regions: str, window: int | None = None) -> ModelFacts:
    return ModelFacts(regions=frozenset(regions) or None, context_tokens=window)


class TestRegionsAndWindows:
    """What is known of a model, against what the request needs."""

    def test_only_what_is_served_where_it_may_be_is_left(self) -> None:
        """Where regions are asked for, who might answer from elsewhere, or is not known at all, is out."""
        house = PlanHouse(
            [[member("a/m", facts=facts("eu")), member("b/m", facts=facts("us", "eu")), member("c/m", facts=facts())]]
        )
        demand = Demand(regions=frozenset({"eu", "ch"}))
        assert house.order(demand) == ["a/m"]
        assert house.removed(demand) == {
            "b/m": ("region", "it may be served in: us"),
            "c/m": ("region", "it is not known where it is served"),
        }
        assert len(house.order()) == 3

    def test_prompt_and_answer_have_to_fit_into_the_window(self) -> None:
        """The estimate and the output that is asked for, together; an unknown window restricts nothing."""
        house = PlanHouse([[member("a/m", facts=facts(window=1000)), member("b/m", facts=facts())]])
        for input_tokens, output_tokens, fits in ((900, 100, True), (901, 100, False), (1000, None, True)):
            demand = Demand(input_tokens=input_tokens, output_tokens=output_tokens)
            assert ("a/m" in house.order(demand)) is fits
        detail = "about 901 tokens of input and 100 tokens of output do not fit into a window of 1000"
        assert house.removed(Demand(input_tokens=901, output_tokens=100)) == {"a/m": ("context", detail)}


class TestCost:
    """A limit on what the request costs, by estimate."""

    house = PlanHouse([[member("a/m", facts=priced(10))], [member("b/m", facts=priced(1))], [member("u/m")]])
    cents = 10_000_000
    """One US cent in nano-USD."""

    @pytest.mark.parametrize(
        ("limit", "spent", "left"),
        [
            (cents * 2, 0, ["a/m", "b/m"]),
            (cents * 2 - 1, 0, ["b/m"]),
            (cents * 2, 1, ["b/m"]),
            (cents // 5, 0, ["b/m"]),
        ],
    )
    def test_who_would_cost_more_is_out(self, limit: int, spent: int, left: list[str]) -> None:
        """1,000 tokens in and 1,000 out, as long as nothing else was seen, and what was spent already."""
        demand = Demand(input_tokens=1000, max_cost_nanousd=limit, spent_nanousd=spent)
        assert self.house.order(demand) == left
        removed = self.house.removed(demand)
        assert removed["u/m"] == (COST, f"its prices are unknown, and the request may cost {usd(limit)}")
        if "a/m" not in left:
            before = ", and 0.000000001 USD were spent already" if spent else ""
            assert removed["a/m"] == (COST, f"about 0.02 USD{before}, where the request may cost {usd(limit)}")

    def test_nobody_left_tells_the_cost(self) -> None:
        """A limit below every target ends as no eligible target, with the figures."""
        with pytest.raises(NoEligibleTargetError) as raised:
            self.house.plan(Demand(input_tokens=1000, max_cost_nanousd=1))
        assert {entry.constraint for entry in raised.value.removed} == {COST}
        assert raised.value.key_refusal is None

    @pytest.mark.parametrize(("own", "alias_s"), [(cents, None), (None, cents), (cents, 5 * cents), (5 * cents, cents)])
    def test_the_smaller_limit_holds(self, own: int | None, alias_s: int | None) -> None:
        """A request can tighten what its alias allows, and no more."""
        house = PlanHouse(self.house.tiers, policy=AliasPolicy(max_cost_nanousd=alias_s))
        plan = house.plan(Demand(input_tokens=1000, max_cost_nanousd=own))
        assert names(plan) == ["b/m"]
        assert plan.max_cost_nanousd == self.cents

    def test_the_alias_s_limit_holds_for_requests_that_want_nothing(self) -> None:
        """Also for one without any demand."""
        house = PlanHouse(self.house.tiers, policy=AliasPolicy(max_cost_nanousd=self.cents // 2))
        assert house.order() == ["b/m"]

    def test_a_further_attempt_is_asked_about_with_what_was_spent(self) -> None:
        """The plan tells which candidate the request could still afford."""
        plan = self.house.plan(Demand(input_tokens=1000, max_cost_nanousd=2 * self.cents))
        assert [plan.too_dear(index, 0) for index in (0, 1)] == [None, None]
        assert plan.too_dear(0, self.cents) is not None
        assert plan.too_dear(1, self.cents) is None
        assert self.house.plan().too_dear(0, 10**15) is None

    def test_keys_do_not_excuse_a_target_that_is_too_dear_anyway(self) -> None:
        """Its reason is the cost: its keys are not what stands in the way."""
        house = PlanHouse([[member("a/m", facts=priced(10))]])
        house.refusals["a/m"] = EXHAUSTED
        with pytest.raises(NoEligibleTargetError) as raised:
            house.plan(Demand(input_tokens=1000, max_cost_nanousd=1))
        assert [entry.constraint for entry in raised.value.removed] == [COST]
        assert raised.value.key_refusal is None


def usd(nanousd: int) -> str:
    return f"{nanousd / 1e9:.9f}".rstrip("0") + " USD"


class TestLatency:
    """A limit on the time to the first token is an order."""

    def house(self, policy: AliasPolicy | None = None) -> PlanHouse:
        house = PlanHouse(
            [[member("a/m"), member("b/m")], [member("c/m"), member("d/m")]], policy=policy or AliasPolicy()
        )
        house.takes("a/m", 5.0)
        house.takes("b/m", 5.0)
        house.takes("c/m", 1.0)
        house.takes("d/m", 9.0, times=4)
        return house

    def test_who_is_late_comes_after_everybody_else(self) -> None:
        """Across tiers; fewer than five calls say nothing; nobody is left out."""
        order = self.house().order(Demand(max_first_token_s=2.0))
        assert set(order[:2]) == {"c/m", "d/m"}
        assert set(order[2:]) == {"a/m", "b/m"}

    @pytest.mark.parametrize(("own", "alias_s"), [(2.0, None), (None, 2.0), (2.0, 10.0), (10.0, 2.0)])
    def test_the_shorter_limit_holds(self, own: float | None, alias_s: float | None) -> None:
        """Of the request's and the alias's."""
        house = self.house(AliasPolicy(max_first_token_s=alias_s))
        assert set(house.order(Demand(max_first_token_s=own))[:2]) == {"c/m", "d/m"}

    def test_late_ones_keep_the_order_of_their_tiers(self) -> None:
        """Where all are late, nothing changes."""
        house = self.house()
        house.takes("c/m", 9.0, times=10)
        house.takes("d/m", 9.0)
        plan = house.plan(Demand(max_first_token_s=2.0))
        assert [candidate.tier for candidate in plan.candidates] == [0, 0, 1, 1]
        assert all(candidate.late for candidate in plan.candidates)
        assert plan.moved_because == ""

    def test_a_slow_target_comes_back_when_nothing_is_known_of_it_any_more(self) -> None:
        """After a minute without calls it is tried again: it is not out for ever."""
        house = self.house()
        demand = Demand(max_first_token_s=2.0)
        assert house.order(demand)[0] in {"c/m", "d/m"}
        house.clock.advance(61.0)
        assert house.order(demand)[0] in {"a/m", "b/m"}

    def test_the_machine_goes_to_the_late_ones_last(self) -> None:
        """They are a turn of their own: first those in time are asked, at once and in the queue, then the late ones."""
        house = self.house()
        plan = house.plan(Demand(max_first_token_s=2.0))
        machine = Machine(plan, Allowance(3, 1e9), clock=ManualClock(), rng=random.Random(1))
        action = machine.handle(Started())
        assert isinstance(action, TryNow)
        asked = [names(plan)[move.candidate] for move in action.moves]
        assert set(asked) == {"c/m", "d/m"}
        assert isinstance(machine.handle(NoneFree((FULL, FULL))), Queue)
        action = machine.handle(Refused(FULL))
        assert isinstance(action, TryNow)
        assert {names(plan)[move.candidate] for move in action.moves} == {"a/m", "b/m"}
        assert isinstance(machine.handle(Granted(action.moves[0].candidate, "k")), Dispatch)

    def test_a_sticky_key_yields_to_it_and_comes_back(self) -> None:
        """Its order holds among those in time, and among the late ones."""
        house = PlanHouse([[member("a/m"), member("b/m"), member("c/m")]])
        order = house.order(sticky("k"))
        demand = sticky("k", Demand(max_first_token_s=2.0))
        house.takes(order[0], 5.0)
        assert house.order(demand) == [*order[1:], order[0]]
        house.clock.advance(61.0)
        assert house.order(demand) == order


class TestMoved:
    """A request that goes elsewhere because of cost or time is told."""

    def test_because_of_cost(self) -> None:
        """The primary is too dear: the plan says which target it was."""
        house = PlanHouse([[member("a/m", facts=priced(10))], [member("b/m", facts=priced(1))]])
        plan = house.plan(Demand(input_tokens=1000, max_cost_nanousd=10_000_000))
        assert (plan.moved_because, plan.moved_from) == (COST, named("a/m"))
        assert house.plan(Demand(input_tokens=1000)).moved_because == ""

    def test_because_of_time(self) -> None:
        """The primary is late."""
        house = PlanHouse([[member("a/m")], [member("b/m")]])
        house.takes("a/m", 5.0)
        plan = house.plan(Demand(max_first_token_s=2.0))
        assert (plan.moved_because, plan.moved_from) == (LATENCY, named("a/m"))
        assert house.plan(Demand(max_first_token_s=6.0)).moved_because == ""

    @pytest.mark.parametrize("why", ["keys", "circuit", "fallback tier"])
    def test_not_if_it_would_have_gone_there_anyway(self, why: str) -> None:
        """Who could not have served is not whom the request was moved from."""
        tiers = [[member("a/m", facts=priced(10))], [member("b/m", facts=priced(1))]]
        house = PlanHouse(tiers[::-1] if why == "fallback tier" else tiers)
        if why == "keys":
            house.refusals["a/m"] = EXHAUSTED
        elif why == "circuit":
            house.open("a/m")
        plan = house.plan(Demand(input_tokens=1000, max_cost_nanousd=10_000_000))
        assert names(plan) == ["b/m"]
        assert plan.moved_because == ""

    def test_as_often_as_it_would_have_been_first_and_the_others_share_by_weight(self) -> None:
        """One of weight 2 of 4 is too dear: half of the requests are told, and the others serve half each."""
        tier = [member("a/m", 2, priced(10)), member("b/m", 1, priced(1)), member("c/m", 1, priced(1))]
        house = PlanHouse([tier])
        demand = Demand(input_tokens=1000, max_cost_nanousd=10_000_000)
        plans = [house.plan(demand) for _ in range(400)]
        moved = sum(plan.moved_because == COST for plan in plans)
        firsts = [names(plan)[0] for plan in plans]
        assert abs(moved - 200) <= 4
        assert abs(firsts.count("b/m") - 200) <= 4

    def test_a_dear_target_that_fails_fast_is_not_gone_to(self) -> None:
        """Rejected keys keep a target in the plan; its cost takes it out, and panic does not bring it back."""
        house = PlanHouse([[member("a/m", facts=priced(10))], [member("b/m", facts=priced(1))]])
        house.refusals["a/m"] = REJECTED
        house.open("b/m")
        plan = house.plan(Demand(input_tokens=1000, max_cost_nanousd=10_000_000))
        assert names(plan) == ["b/m"]


EU = frozenset({"eu"})
_TARGETS = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 3), st.integers(0, 3), st.sampled_from(["", "us", "eu"])),
    min_size=1,
    max_size=7,
)


@given(
    _TARGETS,
    st.sampled_from(list(Strategy)),
    st.integers(0, 4),
    st.sampled_from([None, 0.8, 1.8]),
    st.sampled_from([frozenset[str](), EU]),
)
def test_a_plan_and_what_it_leaves_out_are_all_targets(
    targets: list[tuple[int, int, int, str]],
    strategy: Strategy,
    cents: int,
    limit_s: float | None,
    allowed: frozenset[str],
) -> None:
    """Every target is either kept once or left out with a reason, and each limit holds for what is kept."""
    tiers = [
        [
            member(f"p{at}/m", 1, replace(priced(cost), regions=frozenset({region} - {""}) or None))
            for at, (tier, cost, _, region) in enumerate(targets)
            if tier == number
        ]
        for number in range(3)
    ]
    house = PlanHouse(tiers, strategy, rng=random.Random(1))
    for at, (_, _, seconds, _) in enumerate(targets):
        house.takes(f"p{at}/m", float(seconds))
    # 1,000,000 tokens cost a target's price in USD: a limit of 0 to 4 USD.
    limit = cents * 1_000_000_000 if cents else None
    demand = Demand(regions=allowed, input_tokens=999_000, max_cost_nanousd=limit, max_first_token_s=limit_s)
    try:
        plan = house.plan(demand)
        kept, removed = plan.candidates, plan.removed
    except NoEligibleTargetError as error:
        kept, removed = (), error.removed
    everybody = [str(one.target) for tier in tiers for one in tier]
    assert sorted([str(one.target) for one in kept] + [str(one.target) for one in removed]) == sorted(everybody)
    for candidate in kept:
        assert not allowed or candidate.member.facts.regions == allowed
        assert limit is None or (candidate.cost_nanousd is not None and candidate.cost_nanousd <= limit)
    turns = [(candidate.late, candidate.tier) for candidate in kept]
    assert turns == sorted(turns)
    assert [candidate.tier for candidate in kept] == sorted(candidate.tier for candidate in kept)
