"""Hedging: one second attempt beside a slow one, before anything is shown."""

from __future__ import annotations

import pytest
from tests.routing.machine_house import FULL, NO_BUDGET, F, MachineHouse, candidates, limits, reason

from trunkline_server.routing.aliases import AliasPolicy, HedgePolicy
from trunkline_server.routing.breaks import Shown
from trunkline_server.routing.budget import BudgetLimits, RetryBudget
from trunkline_server.routing.clock import ManualClock
from trunkline_server.routing.events import Backoff, Dispatch, Fail, Finish, GoOn, TryNow, Why
from trunkline_server.routing.failover import IllegalEventError, State
from trunkline_server.routing.failures import Failure
from trunkline_server.routing.moves import Move
from trunkline_server.routing.types import OnBreak, Reason


def hedged(*tiers: list[str], max_extra: float = 1.0, budget: BudgetLimits | None = None) -> MachineHouse:
    """Return a house whose providers have seen enough for a hedge."""
    policy = AliasPolicy(hedge=HedgePolicy(enabled=True, max_extra=max_extra))
    house = MachineHouse(*tiers, policy=policy, budget=budget)
    for provider in house.budgets:
        house.visits(provider, 20)
        house.budgets[provider].booked.clear()
    return house


def race(house: MachineHouse) -> None:
    """Begin a request whose second attempt, at the second candidate, races its first."""
    house.begin()
    house.slow()
    assert house.dispatch(1) == Dispatch(2, 1, "k1", Why.HEDGE)


def test_a_slow_attempt_is_raced_elsewhere_first_then_with_another_key() -> None:
    """Another provider goes before the same one; the same target comes last, without the key that is slow."""
    house = hedged(["a/m", "a/n", "b/m"], ["c/m"])
    house.begin()
    action = house.slow()
    assert candidates(action) == [2, 1, 3, 0]
    assert isinstance(action, TryNow)
    assert action.moves[-1] == Move(0, frozenset({"k1"}))


@pytest.mark.parametrize("winner", [1, 2])
def test_the_first_content_wins_and_the_loser_says_nothing(winner: int) -> None:
    """The loser's circuit hears only that it is over; the winner's that it serves."""
    house = hedged(["a/m"], ["b/m"])
    race(house)
    house.content(winner)
    words = {"a/m": [["ended"]], "b/m": [["ended"]]} | {"ab"[winner - 1] + "/m": [["succeeded"]]}
    assert {name: house.said(name) for name in words} == words
    assert house.machine.at == winner - 1
    assert house.complete(winner) == Finish()


def test_a_whole_answer_wins_as_well() -> None:
    """Answers that are not streamed race to their end."""
    house = hedged(["a/m"], ["b/m"])
    race(house)
    assert house.complete(2) == Finish()
    assert house.said("a/m") == [["ended"]]
    assert house.said("b/m") == [["succeeded", "ended"]]


@pytest.mark.parametrize("failing", [1, 2])
def test_one_racers_failure_leaves_the_other(failing: int) -> None:
    """It counts against its own target; the call goes on with the other attempt as if nothing had been."""
    house = hedged(["a/m"], ["b/m"])
    race(house)
    assert house.fail(F.SERVER_ERROR, failing) == GoOn()
    assert house.machine.state is State.IN_FLIGHT
    assert house.said("ab"[failing - 1] + "/m") == [["failed", "ended"]]
    house.content()
    assert house.machine.at == 2 - failing


def test_when_both_fail_it_is_an_ordinary_failover() -> None:
    """The next untried target is tried, and in the end the first attempt's failure is told."""
    house = hedged(["a/m"], ["b/m"], ["c/m"])
    race(house)
    house.fail(F.CONNECT, 2)
    assert candidates(house.fail(F.OVERLOADED, 1)) == [2]
    assert house.dispatch(2).why is Why.FAILOVER
    ended = house.fail(F.PROTOCOL)
    assert ended == Fail(Reason.UPSTREAM_EXHAUSTED, failure=Failure(F.OVERLOADED, "test"))


def test_when_both_fail_with_nobody_left_the_same_target_follows_after_its_backoff() -> None:
    """A hedge is an attempt like the others: the third one is the last."""
    house = hedged(["a/m"], ["b/m"])
    race(house)
    house.fail(attempt=1)
    assert isinstance(house.fail(attempt=2), Backoff)
    house.wake()
    assert house.dispatch().why is Why.RETRY
    assert reason(house.fail()) is Reason.UPSTREAM_EXHAUSTED


@pytest.mark.parametrize("stop", [Reason.CANCELLED, Reason.DEADLINE, Reason.SERVER_DRAINING])
def test_a_stop_ends_both(stop: Reason) -> None:
    """The caller's leaving lets go of both attempts, and speaks of neither."""
    house = hedged(["a/m"], ["b/m"])
    race(house)
    assert house.stop(stop) == Fail(stop)
    assert house.said("a/m") == house.said("b/m") == [["ended"]]


def test_a_machine_that_is_dropped_lets_go_of_both() -> None:
    """Closing it is enough, and may be done twice."""
    house = hedged(["a/m"], ["b/m"])
    race(house)
    house.machine.close()
    house.machine.close()
    assert house.said("a/m") == house.said("b/m") == [["ended"]]


def test_there_is_one_hedge_at_most() -> None:
    """Neither while two race, nor once one of them failed, nor for a later attempt."""
    house = hedged(["a/m"], ["b/m"], ["c/m"])
    race(house)
    with pytest.raises(IllegalEventError, match="Slow in state RACING"):
        house.slow()
    house.fail(attempt=1)
    assert house.slow() == GoOn()
    house.fail(attempt=2)
    house.dispatch(2)
    assert house.slow() == GoOn()
    assert house.machine.not_made[0] == "c/m: the one attempt beside another is used"


def test_a_hedge_that_nobody_could_take_may_be_asked_for_again() -> None:
    """Full elsewhere: the slow attempt goes on alone, and the refusals are recorded."""
    house = hedged(["a/m"], ["b/m"])
    house.begin()
    house.slow()
    assert house.none_free(FULL, FULL) == GoOn()
    assert house.machine.not_made == ["b/m: full", "a/m: full"]
    assert isinstance(house.slow(), TryNow)


def test_nothing_is_raced_once_content_was_shown() -> None:
    """Not the attempt itself, and not the one that follows a break."""
    house = hedged(["a/m"], ["b/m"], ["c/m"])
    house.show(OnBreak.RESTART)
    with pytest.raises(IllegalEventError, match="Slow in state COMMITTED"):
        house.slow()
    house.fail(F.STALLED, shown=Shown())
    house.dispatch(1)
    assert house.slow() == GoOn()
    assert house.machine.not_made == ["c/m: content was shown already", "b/m: content was shown already"]


def test_hedges_stay_within_their_share_of_the_first_visits() -> None:
    """max_extra 10 %: of twenty visits to the slow provider two are made again, wherever they go; the next says why."""
    house = hedged(["a/m"], ["b/m"], max_extra=0.1)
    for _ in range(2):
        race(house)
        house.complete(1)
    house.begin()
    assert house.slow() == GoOn()
    told = "its hedges are used up: 2 of 2 in 10 s"
    assert house.machine.not_made == [f"b/m: {told}", f"a/m: {told}"]


def test_a_fallback_that_idles_can_be_hedged_to() -> None:
    """The share is of the visits to the slow provider; the other one only pays."""
    clock = ManualClock(100.0)
    slow, idle = (RetryBudget(BudgetLimits(), clock=clock) for _ in range(2))
    for _ in range(100):
        slow.first("a")
    assert idle.refuses_hedge(0.02, "a") is not None
    assert idle.refuses_hedge(0.02, "a", raced=slow) is None
    for _ in range(2):
        idle.hedge("a", raced=slow)
    assert idle.refuses_hedge(0.02, "a", raced=slow) == "its hedges are used up: 2 of 2 in 10 s"
    assert "2 charged" in repr(idle)
    assert "2 raced by hedges" in repr(slow)


def test_hedges_are_paid_from_the_retry_budget() -> None:
    """Booked where it goes; where the budget has no room there is none."""
    house = hedged(["a/m"], ["b/m"], budget=limits(ratio=0.1))
    for _ in range(2):
        race(house)
        house.complete(1)
    assert house.budgets["b"].booked == ["hedge", "hedge"]
    assert house.budgets["b"].refuses(F.OVERLOADED, "a") is not None, "retries pay for it too"
    house.begin()
    assert candidates(house.slow()) == [0]
    house = hedged(["a/m"], ["b/m"], budget=NO_BUDGET)
    house.begin()
    assert house.slow() == GoOn()
    told = "its retry budget is used up: 0 of 0 in 10 s"
    assert house.machine.not_made == [f"b/m: {told}", f"a/m: {told}"]


def test_a_hedge_counts_as_an_attempt() -> None:
    """With one attempt allowed none is raced."""
    house = hedged(["a/m"], ["b/m"])
    house.begin(max_attempts=1)
    assert house.slow() == GoOn()
    assert house.machine.not_made[0] == "b/m: all 1 attempts are used"


def test_a_hedge_goes_to_no_open_circuit() -> None:
    """A target that fails is no way to be faster."""
    house = hedged(["a/m"], ["b/m"], ["c/m"])
    house.open_circuit("b/m")
    house.begin()
    assert candidates(house.slow()) == [2, 0]


def test_an_event_of_an_attempt_that_is_not_in_flight_is_a_defect() -> None:
    """Two race: an event has to say which one it is about, and nothing more is heard of one that is over."""
    house = hedged(["a/m"], ["b/m"])
    race(house)
    with pytest.raises(IllegalEventError, match=r"attempt 0, where \[1, 2\] are in flight"):
        house.content()
    house.fail(attempt=1)
    with pytest.raises(IllegalEventError, match=r"attempt 1, where \[2\] are in flight"):
        house.fail(attempt=1)
