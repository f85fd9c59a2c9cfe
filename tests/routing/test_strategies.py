"""The four strategies of a tier, and sticky keys, which stand above them."""

from __future__ import annotations

import heapq
import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.routing.plan_house import PlanHouse, member, priced, sticky

from trunkline_server.routing.aliases import Strategy
from trunkline_server.routing.selection import Demand

COST, LATENCY, LOADED = Strategy.LOWEST_COST, Strategy.LOWEST_LATENCY, Strategy.LEAST_LOADED


class TestLowestCost:
    """What this request would cost decides."""

    def test_the_request_s_own_tokens_decide(self) -> None:
        """A dear output matters to who asks for much of it, a dear input to who sends much."""
        house = PlanHouse([[member("a/m", facts=priced(1, 10)), member("b/m", facts=priced(5, 5))]], COST)
        assert house.order(Demand(input_tokens=10_000, output_tokens=10)) == ["a/m", "b/m"]
        assert house.order(Demand(input_tokens=10, output_tokens=900)) == ["b/m", "a/m"]

    def test_the_alias_s_usual_output_counts_where_it_is_smaller(self) -> None:
        """An alias of short answers is not reckoned with what a request would allow."""
        house = PlanHouse([[member("a/m", facts=priced(1, 10)), member("b/m", facts=priced(5, 5))]], COST)
        demand = Demand(input_tokens=1000, output_tokens=4000)
        assert house.order(demand) == ["b/m", "a/m"]
        for _ in range(20):
            house.alias.outputs.book(10)
        assert house.order(demand) == ["a/m", "b/m"]

    def test_unknown_prices_come_last_and_standbys_behind_them(self) -> None:
        """Who cannot be reckoned is used when nobody else is left; a weight of 0 is behind even that."""
        members = [
            member("z/m", 0, priced(0)),
            member("u/m"),
            member("b/m", facts=priced(2)),
            member("c/m", 1, priced(1)),
        ]
        assert PlanHouse([members], COST).order() == ["c/m", "b/m", "u/m", "z/m"]

    def test_equals_share_by_weight_whatever_a_dearer_one_weighs(self) -> None:
        """The turn is only that of the cheapest."""
        members = [member("a/m", 3, priced(1)), member("b/m", 1, priced(1)), member("c/m", 9, priced(2))]
        assert PlanHouse([members], COST).firsts(400) == {"a/m": 300, "b/m": 100}


class TestLowestLatency:
    """The median of the last minute decides."""

    def house(self) -> PlanHouse:
        return PlanHouse([[member("a/m"), member("b/m"), member("c/m")]], LATENCY)

    def test_the_fastest_first_and_the_unknown_before_it(self) -> None:
        """Who has too few calls to say is measured first."""
        house = self.house()
        house.takes("a/m", 2.0)
        house.takes("b/m", 1.0)
        house.takes("c/m", 0.1, times=4)
        assert house.order() == ["c/m", "b/m", "a/m"]
        house.takes("c/m", 9.0, times=6)
        assert house.order() == ["b/m", "a/m", "c/m"]

    def test_a_target_that_was_slow_is_measured_again(self) -> None:
        """After a minute without calls nothing is known of it any more."""
        house = self.house()
        house.takes("a/m", 30.0)
        for _ in range(7):
            house.clock.advance(10.0)
            house.takes("b/m", 1.0)
            house.takes("c/m", 2.0)
        assert house.order()[0] == "a/m"

    def test_a_burst_does_not_wait_for_the_unknown_to_be_measured(self) -> None:
        """With five calls on their way to it, the others go to those that are known."""
        house = self.house()
        house.takes("b/m", 1.0)
        house.takes("c/m", 2.0)
        firsts = []
        for _ in range(10):
            first = house.order()[0]
            firsts.append(first)
            house.load(first).began()
        assert firsts == ["a/m"] * 5 + ["b/m"] * 5

    def test_calls_without_a_stream_go_by_whole_answers(self) -> None:
        """Where nothing is shown as it comes, the time to the answer counts."""
        house = PlanHouse([[member("a/m"), member("b/m")]], LATENCY)
        house.takes("a/m", 0.1)
        house.takes("b/m", 0.2)
        for name, seconds in (("a/m", 9.0), ("b/m", 3.0)):
            latency = house.healths[member(name).target].latency
            assert latency is not None
            for _ in range(5):
                latency.response.book(seconds)
        assert house.order()[0] == "a/m"
        assert house.order(Demand(streams=False))[0] == "b/m"

    def test_equals_share_by_weight(self) -> None:
        """The same median is a tie, and ties go by weight and turn."""
        house = PlanHouse([[member("a/m", 3), member("b/m", 1)]], LATENCY)
        house.takes("a/m", 1.0)
        house.takes("b/m", 1.0)
        assert house.firsts(40) == {"a/m": 30, "b/m": 10}


class TestLeastLoaded:
    """Two are drawn, and the one with the lower load per weight is taken."""

    def served(self, house: PlanHouse, seconds: dict[str, float], calls: int, in_flight: int) -> Counter[str]:
        """Serve so many calls, always `in_flight` at a time; each ends after its target's time, give or take 20 %."""
        dice = random.Random(11)
        running: list[tuple[float, float, str]] = []
        served: Counter[str] = Counter()
        for _ in range(calls):
            while len(running) >= in_flight:
                ends_at, lasted_s, name = heapq.heappop(running)
                house.clock.advance(max(0.0, ends_at - house.clock()))
                house.load(name).ended(lasted_s)
            name = house.order()[0]
            served[name] += 1
            house.load(name).began()
            lasts_s = seconds[name] * dice.uniform(0.8, 1.2)
            heapq.heappush(running, (house.clock() + lasts_s, lasts_s, name))
        return served

    def test_the_fast_serve_more_and_nobody_starves(self) -> None:
        """Of three alike and one that takes four times as long, the slow one gets less, and not nothing."""
        house = PlanHouse([[member(f"{name}/m") for name in "abcd"]], LOADED, rng=random.Random(7))
        seconds = {"a/m": 1.0, "b/m": 1.0, "c/m": 1.0, "d/m": 4.0}
        served = self.served(house, seconds, 2000, 16)
        print(dict(served))
        fast = [served[name] for name in ("a/m", "b/m", "c/m")]
        assert max(fast) - min(fast) < 0.1 * sum(fast)
        assert 0 < served["d/m"] < min(fast) / 2

    def test_alike_targets_share_by_weight(self) -> None:
        """Under load, calls in flight follow the weights."""
        house = PlanHouse([[member("a/m", 3), member("b/m", 1)]], LOADED, rng=random.Random(7))
        served = self.served(house, {"a/m": 1.0, "b/m": 1.0}, 2000, 16)
        assert abs(served["a/m"] / 2000 - 0.75) < 0.05

    def test_what_nothing_is_known_of_shares_by_weight(self) -> None:
        """Without a load to go by, weight and turn decide."""
        house = PlanHouse([[member("a/m", 3), member("b/m", 1)]], LOADED, rng=random.Random(7))
        assert house.firsts(400) == {"a/m": 300, "b/m": 100}

    def test_only_two_are_drawn(self) -> None:
        """The least loaded of all comes first only when it is drawn, so that not everybody runs to it at once."""
        house = PlanHouse([[member(f"{name}/m") for name in "abcd"]], LOADED, rng=random.Random(7))
        for name in "bcd":
            house.load(f"{name}/m").began()
        firsts = house.firsts(2000)
        assert abs(firsts["a/m"] / 2000 - 0.5) < 0.05
        assert min(firsts.values()) > 200

    def test_without_dice_all_are_compared(self) -> None:
        """Explain, and who hands in no dice, see the least loaded of all first; a standby never is."""
        house = PlanHouse([[member("z/m", 0), *(member(f"{name}/m") for name in "abc")]], LOADED)
        for name, calls in (("a", 3), ("b", 1), ("c", 2)):
            for _ in range(calls):
                house.load(f"{name}/m").began()
        assert house.order() == ["b/m", "c/m", "a/m", "z/m"]


class TestSticky:
    """A key keeps its target."""

    @pytest.mark.parametrize("strategy", list(Strategy))
    def test_a_key_always_comes_to_the_same_target(self, strategy: Strategy) -> None:
        """Whatever the strategy, and whatever others do meanwhile."""
        members = [member(f"{name}/m", facts=priced(price)) for price, name in enumerate("abcd")]
        house = PlanHouse([members], strategy, rng=random.Random(1))
        first = house.order(sticky("k"))
        for name in "abcd":
            house.takes(f"{name}/m", 1.0 + ord(name))
            house.load(f"{name}/m").began()
            house.order()
            assert house.order(sticky("k")) == first

    def test_it_yields_to_health_and_comes_back(self) -> None:
        """While its circuit is open the key goes to the next one of its own order, and back when it closes."""
        house = PlanHouse([[member("a/m"), member("b/m"), member("c/m")]])
        order = house.order(sticky("k"))
        house.open(order[0])
        assert house.order(sticky("k")) == order[1:]
        house.clock.advance(6.0)
        assert house.order(sticky("k")) == order

    def test_it_takes_no_turn(self) -> None:
        """Those without a key share by weight as if nobody had one."""
        house = PlanHouse([[member("a/m", 3), member("b/m", 1)]])
        firsts: Counter[str] = Counter()
        for number in range(40):
            house.order(sticky(str(number)))
            firsts += house.firsts(1)
        assert firsts == {"a/m": 30, "b/m": 10}

    def test_variants_of_one_target_share_its_keys(self) -> None:
        """An experiment with two places for one target parts the keys by weight, and each key keeps its variant."""
        house = PlanHouse([[member("a/m", 8, variant="old"), member("a/m", 2, variant="new")]])
        found = {key: house.plan(sticky(key)).candidates[0].member.variant for key in map(str, range(2000))}
        assert abs(Counter(found.values())["new"] / 2000 - 0.2) < 0.03
        assert all(house.plan(sticky(key)).candidates[0].member.variant == found[key] for key in list(found)[:50])

    def test_two_aliases_choose_apart(self) -> None:
        """Who is in one alias's small variant is no likelier to be in another's."""
        one, other = (PlanHouse([[member("a/m"), member("b/m")]]) for _ in range(2))
        other.alias = type(other.alias)("other", other.alias.tiers)
        same = sum(one.order(sticky(key))[0] == other.order(sticky(key))[0] for key in map(str, range(2000)))
        assert abs(same / 2000 - 0.5) < 0.05


@given(
    st.sampled_from(list(Strategy)),
    st.lists(
        st.tuples(st.integers(0, 5), st.integers(0, 3), st.integers(0, 9), st.integers(0, 3)), min_size=1, max_size=8
    ),
    st.sampled_from([None, "k"]),
    st.integers(0, 2**32),
)
def test_every_order_is_a_permutation_with_standbys_last(
    strategy: Strategy,
    members: list[tuple[int, int, int, int]],
    key: str | None,
    seed: int,
) -> None:
    """Nobody is lost or doubled, whatever is known, and a weight of 0 never comes before another."""
    tier = [member(f"p{at}/m", weight, priced(price)) for at, (weight, price, _, _) in enumerate(members)]
    house = PlanHouse([tier], strategy, rng=random.Random(seed))
    for at, (_, _, seconds, calls) in enumerate(members):
        house.takes(f"p{at}/m", seconds / 2, times=seconds)
        for _ in range(calls):
            house.load(f"p{at}/m").began()
    for _ in range(3):
        plan = house.plan(sticky(key) if key else None)
        assert sorted(str(candidate.target) for candidate in plan.candidates) == sorted(str(one.target) for one in tier)
        weights = [candidate.member.weight > 0 for candidate in plan.candidates]
        assert weights == sorted(weights, reverse=True)


@given(st.sampled_from([Strategy.WEIGHTED, COST, LATENCY]), st.lists(st.integers(1, 9), min_size=2, max_size=5))
def test_looking_changes_nothing(strategy: Strategy, weights: list[int]) -> None:
    """What Explain shows first is what the next request gets."""
    house = PlanHouse([[member(f"p{at}/m", weight) for at, weight in enumerate(weights)]], strategy)
    for _ in range(sum(weights)):
        shown = [house.look()[0] for _ in range(2)]
        assert shown == [house.order()[0]] * 2
