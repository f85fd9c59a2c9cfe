"""The retry budget by example: what it grows by, what it is used up by, and whom it is used up for."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

from trunkline_server.routing.budget import SHARES, BudgetLimits, RetryBudget, Share
from trunkline_server.routing.clock import ManualClock
from trunkline_server.routing.failures import RULES, FailureClass

PLAIN = FailureClass.OVERLOADED
RECOVERING = FailureClass.SERVER_ERROR
BARE = BudgetLimits(floor_per_s=0.0)
"""Without a floor the shares show."""


def budget_of(firsts: int, limits: BudgetLimits = BARE, clock: ManualClock | None = None) -> RetryBudget:
    """Return a budget that saw `firsts` first visits of the caller `a`."""
    budget = RetryBudget(limits, clock=clock or ManualClock())
    for _ in range(firsts):
        budget.first("a")
    return budget


def room(budget: RetryBudget, failure_class: FailureClass = PLAIN, caller: str = "a") -> int:
    """Return how many retries it lets through at once, by booking them."""
    count = 0
    while budget.refuses(failure_class, caller) is None:
        budget.charge(caller)
        count += 1
        assert count < 10_000
    return count


def test_the_table_names_the_classes_that_count_and_rate_limits() -> None:
    """No class that speaks of a provider's health is retried for free, and no other is charged."""
    assert set(SHARES) == {kind for kind, rule in RULES.items() if rule.counts} | {FailureClass.RATE_LIMITED}
    recovering = {FailureClass.SERVER_ERROR, FailureClass.CONNECT, FailureClass.TRUNCATED}
    assert {kind for kind, share in SHARES.items() if share is Share.RECOVERING} == recovering


@pytest.mark.parametrize("failure_class", FailureClass)
def test_a_class_that_is_not_charged_is_never_refused(failure_class: FailureClass) -> None:
    """With nothing in the budget the classes of the table are refused, and only those."""
    refused = budget_of(0).refuses(failure_class, "a")
    assert (refused is not None) == (failure_class in SHARES)


def test_a_provider_that_sees_few_calls_gets_the_floor() -> None:
    """3 a second over 10 s, whether or not anybody called."""
    assert room(budget_of(0, BudgetLimits())) == 30
    assert room(budget_of(0, BudgetLimits()), RECOVERING) == 30


def test_the_budget_is_a_tenth_of_the_first_visits_and_the_floor() -> None:
    """Retries are no visits: they do not make room for more of their kind."""
    assert room(budget_of(1000, BudgetLimits())) == 130
    assert room(budget_of(1009)) == 100
    assert room(budget_of(30)) == 3


def test_the_last_whole_retry_is_not_lost_to_rounding() -> None:
    """0.29 x 100 is 28.999999999999996 in floats, and 29 retries."""
    assert room(budget_of(100, BudgetLimits(ratio=0.29, floor_per_s=0.0))) == 29
    budget = budget_of(375, BudgetLimits())
    for _ in range(26):
        budget.hedge("a")
    assert budget.refuses_hedge(0.072, "a") is None  # 0.072 x 375 is 26.999999999999996


def test_a_refusal_is_told_in_figures() -> None:
    """Whoever reads why an attempt was not made sees how much was used, and of how much."""
    budget = budget_of(120)
    assert room(budget) == 12
    assert budget.refuses(PLAIN, "a") == "its retry budget is used up: 12 of 12 in 10 s"
    assert budget.refuses(PLAIN, "b") == "its retry budget is used up: 12 of 12 in 10 s"


def test_the_window_moves_on() -> None:
    """Visits and charges count for 10 s, each from its own time."""
    clock = ManualClock()
    budget = budget_of(100, clock=clock)
    clock.advance(5)
    assert room(budget) == 10
    clock.advance(4.9)
    assert budget.refuses(PLAIN, "a") == "its retry budget is used up: 10 of 10 in 10 s"
    clock.advance(0.1)
    assert budget.refuses(PLAIN, "a") == "its retry budget is used up: 10 of 0 in 10 s"
    for _ in range(100):
        budget.first("a")
    assert room(budget) == 0
    clock.advance(5)
    assert room(budget) == 10


def test_retries_that_succeed_make_room_for_more_where_failures_pass_by_themselves() -> None:
    """10 % + 45 % x the share that succeeded, after SERVER_ERROR, CONNECT and TRUNCATED alone."""
    budget = budget_of(1000)
    for number in range(20):
        charge = budget.charge("a")
        if number % 4:
            charge.succeeded()
        else:
            charge.failed()
    assert room(budget, PLAIN) == 100 - 20
    assert room(budget, RECOVERING) == 437 - 100


def test_an_outage_is_left_alone() -> None:
    """Retries that all fail leave the plain share, however many there were."""
    budget = budget_of(1000)
    for _ in range(50):
        budget.charge("a").failed()
    assert room(budget, RECOVERING) == 100 - 50


@pytest.mark.parametrize(("ended", "allowed"), [(9, 10), (10, 55)])
def test_fewer_than_ten_ended_retries_tell_nothing(ended: int, allowed: int) -> None:
    """Until then the share is the plain one, even if all of them succeeded."""
    budget = budget_of(100)
    for _ in range(ended):
        budget.charge("a").succeeded()
    assert ended + room(budget, RECOVERING) == allowed


def test_what_a_retry_achieved_counts_when_it_is_known() -> None:
    """A retry that runs longer than the window still tells how it ended; its charge has left by then."""
    clock = ManualClock()
    budget = RetryBudget(BARE, clock=clock)
    charges = [budget.charge("a") for _ in range(10)]
    clock.advance(60)
    for _ in range(100):
        budget.first("a")
    for charge in charges:
        charge.succeeded()
    assert room(budget, RECOVERING) == 55
    clock.advance(10)
    for _ in range(100):
        budget.first("a")
    assert room(budget, RECOVERING) == 10


def test_only_the_first_word_of_a_charge_counts() -> None:
    """A stream that breaks after its first content was a retry that succeeded, and a cancelled one tells nothing."""
    budget = budget_of(100)
    for _ in range(10):
        charge = budget.charge("a")
        charge.succeeded()
        charge.succeeded()
        charge.failed()
        charge.ended()
    assert repr(budget).endswith("10 of 10 retries succeeded>")
    silent = budget.charge("a")
    silent.ended()
    silent.failed()
    silent.succeeded()
    failed = budget.charge("a")
    failed.failed()
    failed.succeeded()
    assert repr(budget).endswith("10 of 11 retries succeeded>")


# -- what a caller's library sends again


def test_a_librarys_retry_is_a_charge_in_place_of_a_visit() -> None:
    """A caller whose library tries again has less left, and its marked calls do not make the budget larger."""
    budget = budget_of(100)
    for _ in range(4):
        budget.first("a", library_retry=True)
    assert room(budget) == 6
    told = budget.refuses(PLAIN, "a")
    assert told == "its retry budget is used up: 10 of 10 in 10 s, 4 of them by the caller's own library"


def test_a_librarys_retries_count_no_further_than_its_callers_part_of_the_calls() -> None:
    """A caller that makes a fifth of the calls can use up a fifth of the budget in that way, however many it marks."""
    budget = budget_of(180)
    for _ in range(25):
        budget.first("b")
    for _ in range(20):
        budget.first("b", library_retry=True)
    # 205 visits make 20; b has 45 of 225 calls, and so 4.1 of 20.5.
    assert room(budget, caller="b") == 20 - 4


def test_a_forged_mark_moves_nobody_elses_budget() -> None:
    """Whatever one caller marks, the others have as much left as if it had not called."""
    honest, forged = budget_of(200), budget_of(200)
    for _ in range(5000):
        forged.first("forger", library_retry=True)
    for failure_class in SHARES:
        assert honest.refuses(failure_class, "a") == forged.refuses(failure_class, "a")
    assert forged.refuses_hedge(0.02, "a") is None
    assert room(honest) == room(forged) == 20
    assert honest.refuses(PLAIN, "a") == forged.refuses(PLAIN, "a")


def test_a_caller_that_marks_everything_keeps_others_from_nothing_and_itself_from_most() -> None:
    """With nearly all of the calls it can use up nearly all of the budget, for itself alone."""
    budget = budget_of(10, BudgetLimits())
    for _ in range(990):
        budget.first("b", library_retry=True)
    assert room(budget, caller="b") == 1
    assert room(budget, caller="a") == 30


# -- hedges


def test_hedges_are_a_small_share_of_the_first_visits() -> None:
    """2 % of 149 visits are two hedges; no part of one is sent."""
    budget = budget_of(149, BudgetLimits())
    sent = 0
    while budget.refuses_hedge(0.02, "a") is None:
        budget.hedge("a").ended()
        sent += 1
    assert sent == 2
    assert budget.refuses_hedge(0.02, "a") == "its hedges are used up: 2 of 2 in 10 s"
    assert budget.refuses_hedge(0.1, "a") is None
    assert budget_of(49, BudgetLimits()).refuses_hedge(0.02, "a") == "its hedges are used up: 0 of 0 in 10 s"


def test_a_hedge_is_paid_from_the_retry_budget() -> None:
    """Hedges leave less for retries, and where retries have used the budget up none is sent."""
    budget = budget_of(100)
    budget.hedge("a")
    assert room(budget) == 9
    assert budget.refuses_hedge(0.1, "a") == "its retry budget is used up: 10 of 10 in 10 s"


def test_a_hedge_says_nothing_of_retries() -> None:
    """What becomes of hedges does not make room after failures: nothing had failed."""
    budget = budget_of(1000)
    for _ in range(20):
        budget.hedge("a").succeeded()
    assert room(budget, RECOVERING) == 100 - 20
    assert repr(budget).endswith("0 of 0 retries succeeded>")


# -- bounds


@pytest.mark.parametrize(
    "limits",
    [
        {"ratio": -0.1},
        {"recovering_ratio": -1.0},
        {"floor_per_s": float("inf")},
        {"ratio": float("nan")},
        {"window_s": 0.0},
        {"window_s": float("inf")},
    ],
)
def test_limits_that_mean_nothing_are_refused(limits: dict[str, float]) -> None:
    """Shares and times are finite and not below zero, and the window has a length."""
    with pytest.raises(ValueError, match="no limits of a retry budget"):
        BudgetLimits(**limits)


def lines_run(work: Callable[[], Any]) -> int:
    """Return how many lines of Python `work` runs: a measure of its effort that no other load disturbs."""
    count = 0

    def trace(_frame: FrameType, event: str, _arg: object) -> Any:
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return count


def test_the_effort_of_a_call_does_not_grow_with_the_traffic() -> None:
    """A thousand calls take as many steps among 100,000 of the window as among 1,000."""

    def effort(calls: int) -> float:
        clock = ManualClock()
        budget = RetryBudget(BudgetLimits(), clock=clock)

        def drive() -> None:
            for number in range(1000):
                clock.advance(10.0 / calls)
                budget.first(f"caller-{number % 7}", library_retry=number % 5 == 0)
                budget.refuses(RECOVERING, "caller-1")
                budget.charge("caller-1").succeeded()

        for _ in range(calls // 1000):
            drive()
        return lines_run(drive)

    assert effort(100_000) < 1.1 * effort(1000)


def test_callers_that_left_are_forgotten() -> None:
    """What is kept is bounded by the window: after it nothing is left of whoever called before."""
    clock = ManualClock()
    budget = RetryBudget(BudgetLimits(), clock=clock)

    def effort_of_forgetting(callers: int) -> int:
        for number in range(callers):
            budget.first(f"{callers}-{number}", library_retry=True)
        clock.advance(11)
        return lines_run(lambda: budget.first("late"))

    few, many = effort_of_forgetting(10), effort_of_forgetting(1000)
    assert many > 10 * few  # each of them was remembered, and let go
    clock.advance(11)
    assert lines_run(lambda: budget.first("late")) < few


def test_other_limits_hold_at_once_for_what_was_booked() -> None:
    """Visits and charges stay; only how much they are worth changes, up and down."""
    budget = budget_of(100)
    assert room(budget) == 10
    budget.resize(BudgetLimits(ratio=0.2, floor_per_s=0.0))
    assert room(budget) == 10
    budget.resize(BudgetLimits(ratio=0.05, floor_per_s=0.0))
    assert budget.refuses(PLAIN, "a") == "its retry budget is used up: 20 of 5 in 10 s"
    assert budget.limits.ratio == 0.05


def test_a_shorter_window_forgets_what_is_older_at_once() -> None:
    """100 visits of 3 s ago are none in a window of 2 s; a longer one brings nothing back."""
    clock = ManualClock()
    budget = budget_of(100, clock=clock)
    clock.advance(3)
    budget.resize(BudgetLimits(floor_per_s=0.0, window_s=2.0))
    assert room(budget) == 0
    budget.resize(BARE)
    assert room(budget) == 0
