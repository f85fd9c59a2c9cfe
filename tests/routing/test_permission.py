"""May another attempt be made? Five questions, asked in one place; each no is recorded once, with its words."""

from __future__ import annotations

import pytest
from tests.routing.machine_house import F, MachineHouse, candidates, limits, reason, told

from trunkline_server.routing.breaks import Shown
from trunkline_server.routing.events import Backoff, Fail, Queue, Started, TryNow
from trunkline_server.routing.failures import RULES, FailureClass, NextTarget, SameKey
from trunkline_server.routing.latency import SAMPLES_MIN
from trunkline_server.routing.types import OnBreak, Reason

NOWHERE = [
    kind
    for kind, rule in RULES.items()
    if rule.same_key in {SameKey.NO, SameKey.NEVER} and rule.next_target is NextTarget.NO and not rule.other_key
]
"""Classes whose row allows nothing at all."""


@pytest.mark.parametrize("failure_class", NOWHERE)
def test_the_class_says_no(failure_class: FailureClass) -> None:
    """Question 1: what its row does not allow is no move, whoever is there; the class itself is the reason told."""
    house = MachineHouse(["a/m"], ["b/m"])
    house.begin()
    ended = house.fail(failure_class)
    assert isinstance(ended, Fail)
    assert ended.failure is not None
    assert ended.failure.failure_class is failure_class


def test_what_was_shown_says_no() -> None:
    """Question 2: after content there is an attempt only as the break allows, and the break tells why there is none."""
    house = MachineHouse(["a/m"], ["b/m"])
    house.show(OnBreak.FAIL)
    assert reason(told(house.fail()).then) is Reason.STREAM_BROKEN
    house.show(OnBreak.RESTART)
    broken = told(house.fail(shown=Shown(tool_call_done=True)))
    assert broken.degraded_because == "a tool call was delivered whole, and may be running"


def test_attempts_say_no() -> None:
    """Question 3: all are used; each target that was not tried for it is told, once."""
    house = MachineHouse(["a/m"], ["b/m"], ["c/m"])
    house.begin(max_attempts=1)
    assert reason(house.fail()) is Reason.UPSTREAM_EXHAUSTED
    assert house.machine.not_made == [f"{name}/m: all 1 attempts are used" for name in "bca"]


def test_a_limit_that_two_moves_meet_is_told_once() -> None:
    """After RATE_LIMITED both another key and the one that cools would do; both are refused for one reason."""
    house = MachineHouse(["a/m"])
    house.begin(max_attempts=1)
    assert reason(house.fail(F.RATE_LIMITED)) is Reason.RATE_LIMITED
    assert house.machine.not_made == ["a/m: all 1 attempts are used"]


def test_key_walks_say_no() -> None:
    """Question 3: after five walks in a request there is no sixth."""
    house = MachineHouse(["a/m"])
    house.begin()
    for step in range(5):
        house.fail(F.KEY_REJECTED)
        house.dispatch(0, f"key{step}")
    house.fail(F.KEY_REJECTED)
    assert house.machine.not_made == ["a/m: walked through 5 keys already"]


def test_one_attempt_after_a_break_says_no() -> None:
    """Question 3: at most one of a request's attempts follows a break, also where more are left."""
    house = MachineHouse(["a/m"], ["b/m"], ["c/m"])
    house.show(OnBreak.RESTART)
    house.fail(F.STALLED)
    house.dispatch(1)
    house.fail(F.STALLED)
    assert house.machine.not_made == ["c/m: the one attempt after a break is used"]


def slow_fallback(deadline_s: float, *, streams: bool = True, samples: int = SAMPLES_MIN) -> MachineHouse:
    """Return a house whose request was dispatched at `a`; `b` usually takes 4 s to its first content, and 9 in all."""
    house = MachineHouse(["a/m"], ["b/m"])
    latency = house.plan.candidates[1].health.latency
    assert latency is not None
    for _ in range(samples):
        latency.first_content.book(4.0)
        latency.response.book(9.0)
    house.come(deadline_s=deadline_s, streams=streams)
    house.handle(Started())
    house.dispatch()
    return house


@pytest.mark.parametrize(("streams", "usual_s"), [(True, 4.0), (False, 9.0)])
def test_the_time_that_is_left_says_no(*, streams: bool, usual_s: float) -> None:
    """Question 4: a target that is usually slower than the deadline allows is not tried; a little more time, and it is.

    For a stream the first content counts, for other calls the whole answer. Usual times are known to within 5 %.
    """
    house = slow_fallback(usual_s * 0.94, streams=streams)
    assert reason(house.fail(F.PROTOCOL)) is Reason.UPSTREAM_EXHAUSTED
    assert len(house.machine.not_made) == 1
    assert house.machine.not_made[0].startswith("b/m: it usually takes ")
    assert house.machine.not_made[0].endswith(f" s, and the deadline leaves {usual_s * 0.94:.2g} s")
    assert candidates(slow_fallback(usual_s * 1.06, streams=streams).fail(F.PROTOCOL)) == [1]


def test_usual_times_of_few_samples_say_nothing() -> None:
    """Question 4: with fewer than five of the last minute the target is tried."""
    assert candidates(slow_fallback(1.0, samples=SAMPLES_MIN - 1).fail(F.PROTOCOL)) == [1]
    house = slow_fallback(100.0)
    house.clock.advance(61.0)
    assert candidates(house.fail(F.PROTOCOL)) == [1]


def test_a_wait_counts_as_time_that_is_used() -> None:
    """Question 4: what Retry-After asks for and the usual time have to fit the deadline together."""
    house = MachineHouse(["a/m"], usual_s={"a/m": 4.0})
    for retry_after_s, deadline_s, fits in ((5.0, 10.0, True), (7.0, 10.0, False), (10.0, 10.0, False)):
        house.come(deadline_s=deadline_s)
        house.handle(Started())
        house.dispatch()
        assert isinstance(house.fail(retry_after_s=retry_after_s), Backoff) is fits
    assert house.machine.not_made == ["a/m: the deadline leaves no time for it"]


def test_the_budget_says_no() -> None:
    """Question 5: a provider whose retry budget is used up is not asked again; others are."""
    house = MachineHouse(["a/m"], ["a/n"], ["b/m"], budget=limits())
    house.begin()
    assert candidates(house.fail()) == [2]
    house.dispatch(2)
    assert reason(house.fail()) is Reason.UPSTREAM_EXHAUSTED
    used_up = "its retry budget is used up: 0 of 0 in 10 s"
    assert house.machine.not_made == [f"{name}: {used_up}" for name in ("a/n", "a/m", "b/m")]


def test_a_circuit_says_no() -> None:
    """Question 5: a target whose circuit has opened is not asked again, unless panic ignores it."""
    house = MachineHouse(["a/m"], ["b/m"])
    house.begin()
    house.open_circuit("b/m")
    assert isinstance(house.fail(), Backoff), "back to a/m"
    assert len(house.machine.not_made) == 1
    assert house.machine.not_made[0].startswith("b/m: its circuit is open for another ")
    house.begin()
    house.open_circuit("a/m")
    assert candidates(house.fail()) == [1], "panic"
    assert house.machine.not_made == []


def test_circuit_and_budget_are_asked_again_when_a_slot_had_to_be_waited_for() -> None:
    """Question 5: what was allowed when the wait began may be refused at its end."""
    house = MachineHouse(["a/m"], budget=limits(floor_per_s=0.1))
    house.begin()
    assert isinstance(house.fail(), Backoff)
    assert isinstance(house.wake(), Queue)
    house.budgets["a"].charge("other")
    assert reason(house.grant()) is Reason.UPSTREAM_EXHAUSTED
    assert house.machine.not_made == ["a/m: its retry budget is used up: 1 of 1 in 10 s"]


def test_the_first_attempt_is_asked_nothing() -> None:
    """Neither a used-up budget nor a usual time that is too long keeps a request from its first attempt."""
    house = MachineHouse(["a/m"], usual_s={"a/m": 50.0}, budget=limits())
    house.come(deadline_s=1.0)
    assert isinstance(house.handle(Started()), TryNow)
    assert house.dispatch().attempt == 1
    assert house.machine.not_made == []
