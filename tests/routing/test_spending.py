"""What attempts cost the retry budgets of their providers: whom they are booked for, and what the outcome says."""

from __future__ import annotations

import pytest
from tests.routing.machine_house import F, MachineHouse, candidates, limits, reason

from trunkline_server.routing.aliases import AliasPolicy, Policy
from trunkline_server.routing.budget import SHARES
from trunkline_server.routing.events import Backoff, Fail, Started
from trunkline_server.routing.failures import FailureClass
from trunkline_server.routing.health import Health
from trunkline_server.routing.selection import Candidate
from trunkline_server.routing.spending import Spending
from trunkline_server.routing.types import Reason

FREE = [kind for kind in FailureClass if kind not in SHARES]


def test_the_first_visit_to_each_provider_is_free() -> None:
    """A failover to another provider is what that provider's budget grows by, and no charge."""
    house = MachineHouse(["a/m"], ["b/m"])
    house.begin()
    house.fail()
    house.dispatch(1)
    assert house.budgets["a"].booked == ["first"]
    assert house.budgets["b"].booked == ["first"]


@pytest.mark.parametrize("failure_class", SHARES)
def test_what_failed_in_a_class_that_speaks_of_it_is_charged_when_it_is_visited_again(
    failure_class: FailureClass,
) -> None:
    """Whichever target or key: here another model of the same provider."""
    house = MachineHouse(["a/m"], ["a/n"])
    house.begin()
    house.fail(failure_class)
    house.dispatch(1)
    assert house.budgets["a"].booked == ["first", "charge"]


@pytest.mark.parametrize("failure_class", FREE)
def test_other_classes_cost_nothing(failure_class: FailureClass) -> None:
    """A rejected key, a missing model, a caller's fault say nothing of the provider's load."""
    house = MachineHouse(["a/m"], ["a/n"], policy=AliasPolicy(on_key_rejected=Policy.NEXT_TARGET))
    house.begin()
    if isinstance(house.fail(failure_class), Fail):
        return
    house.dispatch(1)
    assert house.budgets["a"].booked == ["first"]


@pytest.mark.parametrize("failure_class", SHARES)
def test_what_the_caller_brought_about_costs_nothing(failure_class: FailureClass) -> None:
    """With timers of its own a caller can neither use up a budget nor be refused by one."""
    house = MachineHouse(["a/m"], ["a/n"], budget=limits())
    house.begin()
    assert 1 in candidates(house.fail(failure_class, by_caller=True))
    house.dispatch(1)
    assert house.budgets["a"].booked == ["first"]
    assert house.budgets["a"].charges == []


def test_another_key_after_a_rate_limit_is_charged() -> None:
    """RATE_LIMITED does not speak of the target's health, but a retry is more load all the same."""
    house = MachineHouse(["a/m"])
    house.begin()
    house.fail(F.RATE_LIMITED)
    house.dispatch(0, "k2")
    assert house.budgets["a"].booked == ["first", "charge"]


def test_a_key_walk_at_a_provider_that_failed_is_charged() -> None:
    """It uses up no attempt, but it is one more call to a provider in trouble."""
    house = MachineHouse(["a/m"])
    house.begin()
    house.fail()
    house.wake()
    house.dispatch()
    house.fail(F.KEY_REJECTED)
    house.dispatch(0, "k2")
    assert house.budgets["a"].booked == ["first", "charge", "charge"]
    assert house.machine.attempts_used == 2


def test_a_charge_says_how_its_attempt_went() -> None:
    """A retry that shows content is a success, one that fails a failure; both are let go of once."""
    house = MachineHouse(["a/m"])
    for end, words in ((house.content, ["succeeded", "ended"]), (house.fail, ["failed", "ended"])):
        house.begin(max_attempts=2)
        assert isinstance(house.fail(), Backoff)
        house.wake()
        house.dispatch()
        end()
        house.stop(Reason.CANCELLED)
        assert house.budgets["a"].charges[-1].words == words


def test_a_charge_of_an_attempt_that_tells_nothing_counts_for_neither() -> None:
    """Cancelled, or failed by its caller's doing: whether retries help is no clearer than before."""
    house = MachineHouse(["a/m"])
    for by_caller in (False, True):
        house.begin()
        house.fail()
        house.wake()
        house.dispatch()
        if by_caller:
            house.fail(F.FIRST_TOKEN_TIMEOUT, by_caller=True)
        else:
            house.stop(Reason.CANCELLED)
        assert house.budgets["a"].charges[-1].words == ["ended"]


def test_an_rpc_that_a_library_sends_again_is_one_charge_for_its_caller() -> None:
    """Its first attempt, whatever its number, in place of a first visit; its failover is a first visit elsewhere."""
    house = MachineHouse(["a/m"], ["b/m"])
    house.come(sent_again=True)
    house.handle(Started())
    house.dispatch()
    house.fail()
    house.dispatch(1)
    assert house.budgets["a"].booked == ["library retry"]
    assert house.budgets["b"].booked == ["first"]


def test_what_a_caller_forges_moves_nobody_elses_budget() -> None:
    """A caller whose every RPC says that it was tried before is refused retries; others have theirs."""
    house = MachineHouse(["a/m"], budget=limits(ratio=0.1))
    house.visits("a", 100)
    for _ in range(900):
        house.come(sent_again=True, caller="forger")
        house.handle(Started())
        house.dispatch()
        house.complete()
    refused = {}
    for caller in ("forger", "other"):
        house.come(caller=caller)
        house.handle(Started())
        house.dispatch()
        refused[caller] = not isinstance(house.fail(), Backoff)
    assert house.budgets["a"].refuses(F.OVERLOADED, "other") is None
    assert not refused["other"]


def test_a_failure_behind_another_one_decides_by_its_own_class() -> None:
    """The share is that of the class in which the provider failed last: 500 may be ridden out where 529 may not."""
    house = MachineHouse(["a/m"], budget=limits(recovering_ratio=1.0))
    house.visits("a", 50)
    for _ in range(20):
        house.budgets["a"].charge("other").succeeded()
    house.begin()
    assert isinstance(house.fail(F.SERVER_ERROR), Backoff)
    house.begin()
    assert reason(house.fail(F.OVERLOADED)) is Reason.UPSTREAM_EXHAUSTED


def test_where_nobody_keeps_a_budget_nothing_is_refused() -> None:
    """Targets without a budget are tried as often as the request may."""
    member = MachineHouse(["a/m"]).plan.candidates[0].member
    spending = Spending([Candidate(member.target, 0, member, None, Health())], "a", sent_again=True)
    assert spending.enter(0) is None
    assert spending.enter(0, raced=0) is None
    assert spending.refuses(0) is None
    assert spending.refuses_hedge(0, 0.0, raced=0) is None
