"""The door of a gate: who is refused at once because the wait would not fit, and how long to stay away."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.routing.gate_house import NOBODY, House

from trunkline_server.routing.failures import FailureClass
from trunkline_server.routing.gate import GateLimits, Ticket
from trunkline_server.routing.types import Criticality, Reason


def standing(waiting: int, max_in_flight: int = 2, max_wait_s: float = 60.0, queue: int = 50) -> House:
    """Return a house whose slots are held for 4 s on average, all in use, with so many waiters of one caller."""
    house = House(max_in_flight, queue, max_wait_s)
    house.serve(5, 4.0)
    for _ in range(max_in_flight):
        house.take()
    for number in range(waiting):
        house.join(f"w{number}")
    return house


def test_a_wait_that_cannot_fit_the_deadline_is_refused_at_the_door() -> None:
    """The expected wait is the turns before it, by slots, by slot time; it is told, and so is the time to stay away."""
    house = standing(3)
    assert isinstance(house.ask("fits", deadline_s=8.01), Ticket)
    refusal = house.refusal("does not", deadline_s=9.99)
    assert (refusal.failure_class, refusal.reason) == (FailureClass.SATURATED, Reason.DEADLINE_IN_QUEUE)
    assert refusal.retry_after_s == pytest.approx((4 + 1) / 2 * 4.0)
    assert "a wait of 10 s is expected, and 9.99 s are left of the deadline" in refusal.message


def test_a_wait_beyond_what_a_call_may_wait_is_refused_at_the_door() -> None:
    """The gate's own bound is QUEUE_TIMEOUT, in words of its own."""
    house = standing(2, max_wait_s=6.0)
    refusal = house.refusal("too late")
    assert (refusal.failure_class, refusal.reason) == (FailureClass.SATURATED, Reason.QUEUE_TIMEOUT)
    assert refusal.retry_after_s == pytest.approx(6.0)
    assert "6 s are left of what a call may wait" in refusal.message


def test_until_five_calls_were_seen_only_the_length_of_the_queue_counts() -> None:
    """Nothing is known of slot times, so nobody is refused for them."""
    house = House(queue=3)
    house.serve(4, 4.0)
    house.take()
    for name in ("one", "two", "three"):
        house.join(name, deadline_s=1.0)
    assert house.refusal("four", deadline_s=1.0).reason is Reason.QUEUE_FULL


def test_the_door_counts_turns_and_not_heads() -> None:
    """Another caller's long flow costs a newcomer one turn, and less important waiters cost it none."""
    house = standing(20)
    assert house.refusal("same", deadline_s=5.0).retry_after_s == pytest.approx(21 / 2 * 4.0)
    assert isinstance(house.ask("other", deadline_s=5.0, caller="other"), Ticket)
    assert isinstance(house.ask("high", deadline_s=3.0, criticality=Criticality.CRITICAL_PLUS), Ticket)
    low = house.refusal("low", deadline_s=5.0, caller="low", criticality=Criticality.SHEDDABLE)
    assert low.retry_after_s == pytest.approx((1 + 20 + 1 + 1) / 2 * 4.0)


def test_the_door_knows_the_pace() -> None:
    """Where dispatches are paced, the wait is known before any call was seen."""
    house = House(max_in_flight=50, dispatches_per_s=2.0)
    for _ in range(2):
        house.take()
    assert house.gate.try_take("m") is None
    assert "paced" in house.gate.blockage("m").message
    house.join("one", deadline_s=0.51)
    refusal = house.refusal("two", deadline_s=0.99)
    assert refusal.reason is Reason.DEADLINE_IN_QUEUE
    house.join("two", deadline_s=1.01)
    house.go_to(house.gate.next_event_at())
    assert house.order == ["one"]
    assert house.clock() == pytest.approx(100.5)
    house.go_to(house.gate.next_event_at())
    assert house.order == ["one", "two"]
    assert house.clock() == pytest.approx(101.0)


def test_the_door_knows_the_limits_of_the_keys() -> None:
    """Who could not be served by its keys within the bound, after those that wait already, is told so at once."""
    house = House(max_in_flight=50, keys=2, max_wait_s=3.0, requests_per_minute=60.0)
    for _ in range(2):
        house.take()
    for number in range(4):
        house.join(f"w{number}")
    refusal = house.refusal("too late")
    assert refusal.reason is Reason.RATE_LIMITED
    assert refusal.retry_after_s is not None
    assert refusal.retry_after_s >= 3 * 60 / 59.7
    assert isinstance(house.ask("another model", "other"), Ticket)
    house.gate.poll()
    house.go_to(102.1)
    assert house.order == ["another model", "w0", "w1", "w2", "w3"]


def test_a_closed_gate_refuses_whatever_the_deadline() -> None:
    """Draining comes before any other reason."""
    house = House()
    house.gate.close()
    assert "takes no more calls" in house.refusal("one", deadline_s=0.0).message


@settings(deadline=None)
@given(
    st.integers(1, 4),
    st.lists(st.integers(0, 400), max_size=12),
    st.sampled_from([30.0, 60.0, 240.0]),
    st.integers(0, 400),
)
def test_a_time_to_stay_away_is_never_too_early(keys: int, asks: list[int], per_minute: float, tokens: int) -> None:
    """Before it no key could serve the refused call, were it behind those that wait; nor is it far too late."""
    house = House(60, 50, 600.0, keys, requests_per_minute=per_minute)
    while house.gate.try_take("m") is not None:
        pass
    for number, size in enumerate(asks):
        house.join(f"{number}", deadline_s=600.0, tokens=size)
    told = house.gate.blockage("m", tokens=tokens)
    assert told.retry_after_s is not None
    back_at = house.clock() + told.retry_after_s
    house.join("mine", deadline_s=600.0, tokens=tokens)
    while "mine" not in house.order:
        house.go_to(house.gate.next_event_at())
    served_at = house.granted["mine"].granted_at
    assert served_at - 1e-6 <= back_at <= served_at + 60.0 / per_minute + 0.1


@pytest.mark.parametrize(("per_s", "burst"), [(1.0, 0), (0.0, 2), (float("inf"), 2), (float("nan"), 2)])
def test_paces_that_mean_nothing_are_refused(per_s: float, burst: int) -> None:
    """A pace lets something through, and not everything at once."""
    with pytest.raises(ValueError, match="no bounds of a gate"):
        GateLimits(dispatches_per_s=per_s, burst=burst)


def test_a_blockage_is_no_later_than_the_queue_would_be() -> None:
    """What is told to who moves on without joining counts its turn, not the whole queue."""
    house = standing(20)
    assert house.gate.blockage("m", NOBODY, caller="other").retry_after_s == pytest.approx(2 / 2 * 4.0)


def test_the_keys_time_counts_who_waits_already() -> None:
    """A caller whose keys were limited upstream is not told to come before those that wait for the same keys."""
    house = House(60, 50, 600.0, requests_per_minute=60.0)
    assert house.gate.try_take("m") is not None
    alone = house.gate.key_blockage("m")
    assert alone is not None
    for number in range(5):
        house.join(f"caller {number}")
    behind = house.gate.key_blockage("m")
    assert behind is not None
    assert alone.retry_after_s is not None
    assert behind.retry_after_s is not None
    assert behind.retry_after_s > alone.retry_after_s + 3
