"""A caller's account in virtual time: what it lets in, what it refuses and until when, and what it settles."""

from __future__ import annotations

import random

import pytest

from trunkline_server.routing.caller_account import DAY_S, CallerAccount, CallerRefusal, Pass, PassError
from trunkline_server.routing.caller_limits import NO_LIMITS, CallerLimits
from trunkline_server.routing.clock import ManualClock
from trunkline_server.routing.types import Reason

NOON = 20_000 * DAY_S + DAY_S / 2
A_MINUTE_S = 60.0


class Desk:
    """An account, and the two clocks that it sees."""

    def __init__(self, limits: CallerLimits) -> None:
        self.clock = ManualClock(1000.0)
        self.wall_s = NOON
        self.account = CallerAccount("c", limits, clock=self.clock, wall_clock=lambda: self.wall_s)

    def pass_by(self, seconds: float) -> None:
        """Let time pass on both clocks."""
        self.clock.advance(seconds)
        self.wall_s += seconds

    def let_in(self, tokens: int = 0, cost: int = 0) -> Pass:
        """Return the pass of a call that has to get one."""
        admitted = self.account.admit(tokens, cost)
        assert isinstance(admitted, Pass), admitted
        return admitted

    def turned_away(self, tokens: int = 0, cost: int = 0) -> CallerRefusal:
        """Return why a call is refused that has to be."""
        refusal = self.account.admit(tokens, cost)
        assert isinstance(refusal, CallerRefusal)
        return refusal


def test_without_limits_everybody_gets_in() -> None:
    """An account without limits only counts."""
    desk = Desk(NO_LIMITS)
    passes = [desk.let_in(10**9, 10**15) for _ in range(1000)]
    assert desk.account.in_flight == 1000
    for each in passes:
        each.settle()
    assert (desk.account.in_flight, desk.account.held_nanousd) == (0, 0)


def test_calls_above_the_rate_are_told_the_moment_at_which_one_fits() -> None:
    """A refused call fits when the told time has passed, and not a moment before."""
    desk = Desk(CallerLimits(requests_per_minute=60))
    while isinstance(admitted := desk.account.admit(0, 0), Pass):
        admitted.settle()
    told = desk.turned_away()
    assert (told.reason, told.limit, told.allowed, told.never) == (
        Reason.CALLER_QUOTA, "requests_per_minute", "60", False,
    )  # fmt: skip
    assert "requests_per_minute: 60" in told.message
    desk.pass_by(told.retry_after_s - 0.001)
    assert desk.turned_away().retry_after_s == pytest.approx(0.001, abs=1e-6)
    desk.pass_by(0.001001)
    desk.let_in()


def test_a_refusal_changes_nothing() -> None:
    """However often a caller is refused, it gets in at the time that it was told first."""
    desk = Desk(CallerLimits(requests_per_minute=60, tokens_per_minute=1000, max_in_flight=2, budget_nanousd_per_day=9))
    desk.let_in(10, 3)
    desk.let_in(10, 3)
    before = repr(desk.account), desk.account.held_nanousd
    first = desk.turned_away(1, 1)
    for _ in range(50):
        assert desk.turned_away(1, 1) == first
    assert (repr(desk.account), desk.account.held_nanousd) == before


def test_tokens_are_reserved_by_estimate_and_settled_by_use() -> None:
    """What a call did not use is there again when it ends; what it used beyond its estimate is owed."""
    desk = Desk(CallerLimits(tokens_per_minute=600))
    thrifty = desk.let_in(60)
    told = desk.turned_away(60)
    assert (told.reason, told.limit) == (Reason.CALLER_QUOTA, "tokens_per_minute")
    thrifty.book(1, 0)
    thrifty.settle()
    greedy = desk.let_in(10)
    greedy.book(300, 0)
    greedy.settle()
    owed_s = desk.turned_away(1).retry_after_s
    assert 24 < owed_s < 27
    desk.pass_by(owed_s + 1e-6)
    desk.let_in(1)


def test_a_request_larger_than_the_minute_is_told_that_it_never_fits() -> None:
    """Waiting would not help it, so it is told so, whatever else there is room for."""
    desk = Desk(CallerLimits(tokens_per_minute=600))
    told = desk.turned_away(601)
    assert (told.reason, told.limit, told.never, told.retry_after_s) == (
        Reason.CALLER_QUOTA, "tokens_per_minute", True, DAY_S,
    )  # fmt: skip
    assert "601 tokens" in told.message
    desk.let_in(600)


def test_a_guess_at_the_answer_turns_nobody_away_for_good() -> None:
    """Where the prompt fits and only the guess is above the limit, the whole limit is reserved instead."""
    desk = Desk(CallerLimits(tokens_per_minute=600, budget_nanousd_per_day=100))
    call = desk.account.admit(1010, 210, guessed_tokens=1000, guessed_nanousd=200)
    assert isinstance(call, Pass)
    assert (call.tokens, call.held_nanousd) == (600, 100)
    call.book(20, 15)
    call.settle()
    refused = desk.account.admit(1601, 16, guessed_tokens=1000, guessed_nanousd=6)
    assert isinstance(refused, CallerRefusal)
    assert refused.never
    dear = desk.account.admit(20, 121, guessed_tokens=1, guessed_nanousd=20)
    assert isinstance(dear, CallerRefusal)
    assert (dear.limit, dear.never) == ("budget_usd_per_day", True)


def test_the_attempts_of_one_call_are_one_request() -> None:
    """Failover charges its tokens and its cost, and no second request."""
    desk = Desk(CallerLimits(requests_per_minute=1, budget_nanousd_per_day=1000))
    call = desk.let_in(10, 100)
    for _ in range(3):
        call.book(10, 90)
    call.settle()
    assert desk.account.spent_nanousd == 270
    desk.let_in(10, 100)  # two at once always may
    assert desk.turned_away().limit == "requests_per_minute"


def test_calls_in_flight_are_capped_until_one_ends() -> None:
    """At the cap nobody is let in; the end of one makes room for one."""
    desk = Desk(CallerLimits(max_in_flight=2))
    first, _ = desk.let_in(), desk.let_in()
    told = desk.turned_away()
    assert (told.reason, told.limit, told.allowed) == (Reason.CALLER_QUOTA, "max_in_flight", "2")
    assert 0 < told.retry_after_s <= A_MINUTE_S
    first.settle()
    desk.let_in()
    desk.turned_away()


def test_the_time_told_at_the_cap_follows_how_long_calls_take() -> None:
    """Callers with long calls are asked to stay away longer than those with short ones."""
    told_s = []
    for long_s in (0.1, 20.0):
        desk = Desk(CallerLimits(max_in_flight=1))
        for _ in range(50):
            call = desk.let_in()
            desk.pass_by(long_s)
            call.settle()
        desk.let_in()
        told_s.append(desk.turned_away().retry_after_s)
    assert told_s == [pytest.approx(0.1, rel=0.2), pytest.approx(20, rel=0.2)]


def test_what_calls_in_flight_hold_counts_against_the_budget() -> None:
    """Two calls cannot both have the rest of the day's money; what one gives back the next may have."""
    desk = Desk(CallerLimits(budget_nanousd_per_day=100))
    first = desk.let_in(cost=60)
    told = desk.turned_away(cost=60)
    assert (told.reason, told.limit) == (Reason.CALLER_BUDGET, "budget_usd_per_day")
    assert told.retry_after_s <= A_MINUTE_S, "it fits when the other call ends, not tomorrow"
    first.book(5, 40)
    first.settle()
    desk.let_in(cost=60)
    assert desk.account.spent_nanousd == 40


def test_a_spent_budget_fits_again_at_midnight_and_not_before() -> None:
    """The time to stay away ends with the day, in UTC."""
    desk = Desk(CallerLimits(budget_nanousd_per_day=100))
    call = desk.let_in(cost=10)
    call.book(5, 100)
    call.settle()
    told = desk.turned_away(cost=1)
    assert told.retry_after_s == DAY_S / 2
    assert "midnight" in told.message
    desk.pass_by(told.retry_after_s - 1)
    assert desk.turned_away(cost=1).retry_after_s == pytest.approx(1)
    desk.pass_by(1)
    desk.let_in(cost=100)


def test_a_spent_budget_refuses_calls_of_unknown_price_too() -> None:
    """With nothing left a call that is reckoned to cost nothing does not get in either."""
    desk = Desk(CallerLimits(budget_nanousd_per_day=100))
    call = desk.let_in(cost=0)
    call.book(5, 100)
    call.settle()
    assert desk.turned_away(cost=0).reason is Reason.CALLER_BUDGET


def test_a_request_dearer_than_the_day_is_told_that_it_never_fits() -> None:
    """The whole budget would not pay for it."""
    told = Desk(CallerLimits(budget_nanousd_per_day=100)).turned_away(cost=101)
    assert (told.reason, told.never, told.allowed) == (Reason.CALLER_BUDGET, True, "1e-07")


def test_a_call_over_midnight_counts_in_the_day_in_which_it_ends() -> None:
    """Nothing that is spent is lost between two days."""
    desk = Desk(CallerLimits(budget_nanousd_per_day=100))
    call = desk.let_in(cost=30)
    desk.pass_by(DAY_S / 2 + 1)
    assert desk.turned_away(cost=71).reason is Reason.CALLER_BUDGET
    call.book(5, 50)
    call.settle()
    assert desk.account.spent_nanousd == 50


def test_a_wall_clock_that_goes_back_forgives_nothing() -> None:
    """A day begins once: a clock that is put back neither clears nor repeats one."""
    desk = Desk(CallerLimits(budget_nanousd_per_day=100))
    call = desk.let_in(cost=100)
    call.book(5, 100)
    call.settle()
    desk.wall_s -= DAY_S
    assert desk.turned_away(cost=1).reason is Reason.CALLER_BUDGET
    desk.wall_s += DAY_S
    assert desk.turned_away(cost=1).reason is Reason.CALLER_BUDGET


def test_a_pass_is_settled_once() -> None:
    """A second settling, or booking after it, is refused and changes nothing."""
    desk = Desk(CallerLimits(max_in_flight=1, budget_nanousd_per_day=100))
    call = desk.let_in(cost=10)
    call.book(1, 5)
    call.settle()
    with pytest.raises(PassError, match="settled twice"):
        call.settle()
    with pytest.raises(PassError, match="booked after"):
        call.book(1, 1)
    assert (desk.account.in_flight, desk.account.held_nanousd, desk.account.spent_nanousd) == (0, 0, 5)


def test_other_limits_hold_at_once_and_debts_stay() -> None:
    """A new rate begins with what is owed under the old one, and calls in flight are counted on."""
    desk = Desk(CallerLimits(requests_per_minute=60, max_in_flight=5))
    calls = [desk.let_in(), desk.let_in()]
    desk.account.retune(CallerLimits(requests_per_minute=6, max_in_flight=5))
    assert desk.turned_away().retry_after_s == pytest.approx(A_MINUTE_S / (0.995 * 6), rel=0.01)
    desk.account.retune(CallerLimits(max_in_flight=2))
    assert desk.turned_away().limit == "max_in_flight"
    desk.account.retune(NO_LIMITS)
    calls.append(desk.let_in())
    for call in calls:
        call.settle()
    assert desk.account.in_flight == 0


def test_the_same_limits_again_change_nothing() -> None:
    """A reload that leaves a caller as it is costs it no refund."""
    limits = CallerLimits(tokens_per_minute=600)
    desk = Desk(limits)
    call = desk.let_in(60)
    desk.account.retune(CallerLimits(tokens_per_minute=600))
    call.settle()
    desk.let_in(60)


@pytest.mark.parametrize(
    ("per_minute", "arrivals"),
    [(1.0, "even"), (29.0, "even"), (60.0, "even"), (600.0, "even"), (600.0, "random"), (6000.0, "random")],
)
def test_one_and_a_half_times_the_limit_gets_the_limit(per_minute: float, arrivals: str) -> None:
    """Of a sustained load above it the limit gets through, 99 % of it at least, and no more."""
    desk = Desk(CallerLimits(requests_per_minute=per_minute))
    rng = random.Random(7)
    minutes = max(10.0, 600 / per_minute)
    mean_s = A_MINUTE_S / (1.5 * per_minute)
    let_in, ends_at = 0, desk.clock() + minutes * A_MINUTE_S
    while desk.clock() < ends_at:
        admitted = desk.account.admit(0, 0)
        if isinstance(admitted, Pass):
            admitted.settle()
            let_in += 1
        desk.pass_by(mean_s if arrivals == "even" else rng.expovariate(1 / mean_s))
    assert 0.99 <= let_in / (minutes * per_minute) <= 1.0


@pytest.mark.parametrize("tokens", [10, 100, 1000])
@pytest.mark.parametrize("load", [1.0, 1.5])
def test_even_requests_at_and_above_the_limit_of_tokens_get_it(tokens: int, load: float) -> None:
    """Also requests of a tenth of the minute, which cannot wait here as they would for a key, get 99 % of the limit."""
    desk = Desk(CallerLimits(tokens_per_minute=10_000))
    used, minutes = 0, 60
    ends_at = desk.clock() + minutes * A_MINUTE_S
    while desk.clock() < ends_at:
        admitted = desk.account.admit(tokens, 0)
        if isinstance(admitted, Pass):
            admitted.book(tokens, 0)
            admitted.settle()
            used += tokens
        desk.pass_by(A_MINUTE_S * tokens / (load * 10_000))
    assert 0.985 <= used / (minutes * 10_000) <= 1.0
