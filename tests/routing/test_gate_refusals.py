"""The gate by example: whom it refuses, when, why, and with which time to stay away."""

from __future__ import annotations

import pytest
from tests.routing.gate_house import House

from trunkline_server.routing.failures import Failure, FailureClass
from trunkline_server.routing.types import Reason


def test_a_full_queue_refuses() -> None:
    """Beyond its length the queue refuses with QUEUE_FULL and a time to stay away."""
    house = House(queue=1, max_wait_s=4.0)
    house.take()
    house.join("one")
    refusal = house.refusal("two")
    assert (refusal.failure_class, refusal.reason) == (FailureClass.SATURATED, Reason.QUEUE_FULL)
    assert refusal.retry_after_s == 4.0
    assert "all 1 places in the queue are taken" in refusal.message


@pytest.mark.parametrize(("queue", "max_wait_s"), [(0, 5.0), (10, 0.0)])
def test_a_gate_without_a_queue_refuses_at_once(queue: int, max_wait_s: float) -> None:
    """Where nobody may wait, a full gate refuses at the door."""
    house = House(queue=queue, max_wait_s=max_wait_s)
    house.take()
    refusal = house.refusal("one")
    assert refusal.reason is Reason.QUEUE_FULL
    assert refusal.retry_after_s is not None
    assert refusal.retry_after_s > 0


def test_the_time_to_stay_away_follows_the_slots() -> None:
    """Once five calls were seen, it is the mean slot time for everyone that waits and the newcomer."""
    house = House(max_in_flight=2, queue=3, max_wait_s=60.0)
    house.serve(5, 4.0)
    house.take()
    house.take()
    for name in ("one", "two", "three"):
        house.join(name)
    assert house.refusal("four").retry_after_s == pytest.approx((3 + 1) / 2 * 4.0)


def test_a_wait_ends_after_its_time() -> None:
    """Who waited `max_wait_s` for a slot is refused as QUEUE_TIMEOUT, and not before."""
    house = House(max_wait_s=5.0)
    house.take()
    house.join("one")
    assert house.gate.next_event_at() == 105.0
    house.clock.advance(4.999)
    house.gate.poll()
    assert house.order == []
    house.go_to(105.0)
    refusal = house.refused["one"]
    assert (refusal.failure_class, refusal.reason) == (FailureClass.SATURATED, Reason.QUEUE_TIMEOUT)
    assert refusal.retry_after_s == 5.0
    assert "within 5 s" in refusal.message
    assert house.gate.next_event_at() is None


def test_a_slot_that_comes_too_late_is_not_granted() -> None:
    """A waiter whose time is over is refused even if the poll came late, and the slot goes to the next."""
    house = House(max_wait_s=5.0)
    lease = house.take()
    house.join("late")
    house.clock.advance(3.0)
    house.join("next")
    house.clock.advance(2.5)
    lease.release()
    assert list(house.refused) == ["late"]
    assert list(house.granted) == ["next"]


def test_the_callers_deadline_ends_the_wait_as_such() -> None:
    """A wait that the caller's own deadline ends is refused as DEADLINE, without a time to stay away."""
    house = House(max_wait_s=5.0)
    house.take()
    house.join("one", deadline_s=2.0)
    house.go_to(house.gate.next_event_at())
    refusal = house.refused["one"]
    assert (refusal.failure_class, refusal.reason) == (FailureClass.DEADLINE, Reason.DEADLINE)
    assert refusal.retry_after_s is None
    assert house.refusal("two", deadline_s=0.0).reason is Reason.DEADLINE


def test_a_wait_for_a_key_ends_early_when_it_would_be_in_vain() -> None:
    """With a slot free and all keys cooling past its bound, a waiter is refused at once, by the pool's reason."""
    house = House(max_in_flight=2, max_wait_s=5.0)
    lease = house.take()
    house.cool("k0", 2.0)
    house.join("one")
    assert house.gate.next_event_at() == 102.0
    house.cool("k0", 30.0)
    lease.release()
    refusal = house.refused["one"]
    assert (refusal.failure_class, refusal.reason) == (FailureClass.RATE_LIMITED, Reason.RATE_LIMITED)
    assert refusal.retry_after_s == 30.0


def test_a_wait_for_a_key_that_is_over_says_so() -> None:
    """Whose time ends with a slot free was kept waiting by the keys, and hears that even if the poll came late."""
    house = House(max_in_flight=2, max_wait_s=5.0)
    house.cool("k0", 2.0)
    house.join("one")
    house.cool("k0", 30.0)
    house.go_to(106.0)
    assert house.refused["one"].failure_class is FailureClass.RATE_LIMITED
    assert house.refused["one"].retry_after_s == pytest.approx(24.0)


def test_the_door_refuses_a_wait_in_vain() -> None:
    """Who cannot be served within the bound is refused at the door by the pool's reason, even if no slot is free."""
    house = House(max_wait_s=5.0)
    house.take("other")
    house.cool("k0", 5.0)
    assert house.refusal("one").failure_class is FailureClass.RATE_LIMITED
    house.pool.failed("k0", "m", Failure(FailureClass.KEY_REJECTED, "401"))
    assert house.refusal("two").failure_class is FailureClass.KEY_REJECTED
    assert house.gate.waiting == 0


def test_a_cool_down_within_the_bound_is_waited_out() -> None:
    """A waiter gets the key as soon as its cool-down ends."""
    house = House(max_wait_s=5.0)
    house.cool("k0", 2.0)
    house.join("one")
    assert house.gate.next_event_at() == 102.0
    house.go_to(102.0)
    assert house.granted["one"].key_id == "k0"


def test_only_one_waiter_gets_the_probe() -> None:
    """A key due for its probe goes to the first waiter; others that have no other key are refused."""
    house = House(max_in_flight=5, max_wait_s=100.0)
    house.pool.failed("k0", "m", Failure(FailureClass.KEY_REJECTED, "401"))
    house.join("one", deadline_s=100.0)
    house.join("two", deadline_s=100.0)
    house.go_to(house.gate.next_event_at())
    assert list(house.granted) == ["one"]
    assert house.refused["two"].failure_class is FailureClass.KEY_REJECTED


def test_the_blockage_says_why_nothing_could_be_taken() -> None:
    """The record of a no names the slots, the queue, the keys or the closed gate."""
    house = House(max_in_flight=1)
    lease = house.take()
    assert "all 1 slots are in use" in house.gate.blockage("m").message
    house.cool("k0", 3.0)
    assert house.gate.blockage("m").failure_class is FailureClass.RATE_LIMITED
    lease.release()
    house.gate.close()
    assert "takes no more calls" in house.gate.blockage("m").message
