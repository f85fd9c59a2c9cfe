"""The gate by example: slots, the queue, and what callbacks may do."""

from __future__ import annotations

from random import Random

import pytest
from tests.routing.gate_house import NOBODY, House

from trunkline_server.routing.failures import FailureClass
from trunkline_server.routing.gate import Gate, GateLimits, TicketState
from trunkline_server.routing.key_pool import KeyPool, KeySpec
from trunkline_server.routing.lease import Lease, LeaseError
from trunkline_server.routing.types import Reason


def test_a_lease_is_slot_and_key() -> None:
    """Slot and key are taken together and given back together."""
    house = House(max_in_flight=2)
    lease = house.take()
    assert (lease.provider, lease.key_id, lease.model, lease.granted_at) == ("openai", "k0", "m", 100.0)
    assert (house.gate.in_flight, house.pool.in_flight) == (1, 1)
    second = house.take()
    assert house.gate.try_take("m") is None
    lease.release()
    second.release()
    assert (house.gate.in_flight, house.pool.in_flight) == (0, 0)


def test_a_second_release_raises_and_frees_nothing() -> None:
    """A lease is released exactly once."""
    house = House(max_in_flight=2)
    lease, _other = house.take(), house.take()
    lease.release()
    with pytest.raises(LeaseError, match="released twice: <Lease openai/m key k0"):
        lease.release()
    assert (house.gate.in_flight, house.pool.in_flight) == (1, 1)


def test_no_usable_key_takes_no_slot() -> None:
    """A call whose keys cannot serve leaves the slot to others."""
    house = House()
    house.cool("k0", 3.0)
    assert house.gate.try_take("m") is None
    assert house.gate.in_flight == 0
    assert house.gate.try_take("other") is not None


def test_a_place_in_the_queue_is_counted_from_its_head() -> None:
    """Places move up as others are served or leave; who waits no more, or at another gate, has none."""
    house, other = House(), House()
    lease = house.take()
    other.take()
    tickets = [house.join(name) for name in ("one", "two", "three")]
    assert [house.gate.position(ticket) for ticket in tickets] == [1, 2, 3]
    house.gate.leave(tickets[1])
    lease.release()
    assert [house.gate.position(ticket) for ticket in tickets] == [None, None, 1]
    elsewhere = [other.join(name) for name in ("one", "two", "three")]
    assert [house.gate.position(ticket) for ticket in elsewhere] == [None, None, None]


def test_first_in_first_out() -> None:
    """A slot that comes free goes to the one that waits longest, inside the release."""
    house = House()
    lease = house.take()
    for name in ("one", "two", "three"):
        house.join(name)
    lease.release()
    assert house.order == ["one"]
    house.granted["one"].release()
    house.granted["two"].release()
    assert house.order == ["one", "two", "three"]
    assert (house.gate.in_flight, house.gate.waiting) == (1, 0)


class TickingClock:
    """A clock that moves with every look at it, as real ones do."""

    def __init__(self) -> None:
        self._now_s = 0.0

    def __call__(self) -> float:
        """Return a later time than ever before."""
        self._now_s += 1e-6
        return self._now_s


def test_slots_are_handed_on_while_the_clock_ticks() -> None:
    """Time that passes between two looks at the clock keeps nobody waiting."""
    clock = TickingClock()
    pool = KeyPool("openai", [KeySpec("a", 1)], clock=clock, rng=Random(1))
    gate = Gate("openai", GateLimits(1, 100, 5.0), pool, clock=clock)
    held: list[Lease] = []
    for _ in range(100):
        gate.join("m", NOBODY, deadline_at=1e9, on_grant=held.append, on_refused=lambda _: None)
    gate.poll()
    for number in range(100):
        assert len(held) == number + 1
        held[number].release()
    assert (gate.waiting, gate.in_flight) == (0, 0)


def test_nobody_overtakes_a_waiter_that_could_go() -> None:
    """A newcomer gets no slot that a waiter could have, even before the gate was polled."""
    house = House(max_in_flight=2)
    house.cool("k0", 3.0)
    house.join("waiter")
    assert house.take("other").key_id == "k0"
    house.clock.advance(3.0)
    assert house.gate.try_take("m") is None
    assert house.gate.try_take("other") is None
    assert house.gate.blockage("m").reason is Reason.QUEUE_FULL
    assert house.gate.next_event_at() == house.clock()
    house.gate.poll()
    assert house.order == ["waiter"]


def test_a_waiter_whose_keys_cannot_serve_is_passed_over_and_keeps_its_place() -> None:
    """The next one goes, and the one passed over goes before all that came later."""
    house = House()
    lease = house.take()
    house.join("cool")
    house.cool("k0", 3.0)
    house.join("other", "other")
    house.join("late", "other")
    lease.release()
    assert house.order == ["other"]
    house.clock.advance(3.0)
    house.granted["other"].release()
    assert house.order == ["other", "cool"]


def test_a_waiter_gets_none_of_the_keys_it_excludes() -> None:
    """A waiter waits for a key that it has not tried yet."""
    house = House(max_in_flight=1, keys=2)
    lease = house.take()
    house.cool("k1", 2.0)
    house.join("picky", exclude=frozenset({"k0"}))
    lease.release()
    assert house.order == []
    assert house.gate.next_event_at() == 102.0
    house.go_to(102.0)
    assert house.granted["picky"].key_id == "k1"


def test_a_waiter_that_leaves_is_never_called() -> None:
    """Leaving is at once and may be repeated; the next waiter moves up."""
    house = House()
    lease = house.take()
    ticket = house.join("gone")
    house.join("stays")
    house.gate.leave(ticket)
    house.gate.leave(ticket)
    assert ticket.state is TicketState.LEFT
    assert house.gate.waiting == 1
    lease.release()
    assert house.order == ["stays"]
    house.gate.leave(ticket)
    assert house.gate.in_flight == 1


def test_leaving_after_the_grant_does_nothing() -> None:
    """A ticket that was granted has no place left to give up; its lease is its receiver's."""
    house = House()
    lease = house.take()
    ticket = house.join("one")
    lease.release()
    house.gate.leave(ticket)
    assert ticket.state is TicketState.GRANTED
    assert house.gate.in_flight == 1
    house.granted["one"].release()
    assert house.gate.in_flight == 0


def test_a_callback_may_use_the_gate() -> None:
    """A lease that is released inside the grant goes on to the next waiter, once, in order."""
    house = House()
    lease = house.take()
    passed: list[str] = []

    def pass_on(name: str) -> None:
        def on_grant(granted: Lease) -> None:
            passed.append(f"{name} begins")
            granted.release()
            house.gate.poll()
            passed.append(f"{name} ends")

        house.gate.join("m", NOBODY, deadline_at=1e9, on_grant=on_grant, on_refused=lambda _: None)

    for name in ("one", "two", "three"):
        pass_on(name)
    lease.release()
    assert passed == ["one begins", "one ends", "two begins", "two ends", "three begins", "three ends"]
    assert (house.gate.in_flight, house.pool.in_flight, house.gate.waiting) == (0, 0, 0)


def test_a_poll_inside_a_callback_looks_at_everybody_again() -> None:
    """A waiter that was passed over in this round is granted if a callback brought it a key, and polls."""
    house = House(max_in_flight=5)
    house.cool("k0", 3.0)
    house.join("passed over")

    def on_grant(lease: Lease) -> None:
        house.leases.append(lease)
        house.pool.reconfigure([KeySpec("k0", 1), KeySpec("new", 1)])
        house.gate.poll()
        assert house.order == []

    house.gate.join("other", NOBODY, deadline_at=1e9, on_grant=on_grant, on_refused=lambda _: None)
    house.gate.poll()
    assert house.granted["passed over"].key_id == "new"


def test_joining_and_leaving_call_nobody() -> None:
    """A waiter that could go at once is granted by the next poll, which is due now."""
    house = House()
    house.join("one")
    ticket = house.join("two")
    assert house.gate.try_take("m") is None
    house.gate.leave(ticket)
    assert house.order == []
    assert house.gate.next_event_at() == house.clock()
    house.gate.poll()
    assert house.order == ["one"]


def test_a_grant_that_fails_is_given_back() -> None:
    """What a callback raises comes out, and neither slot nor key stays behind."""
    house = House()

    def on_grant(_: Lease) -> None:
        raise RuntimeError("the receiver broke")

    house.gate.join("m", NOBODY, deadline_at=1e9, on_grant=on_grant, on_refused=lambda _: None)
    house.join("next")
    with pytest.raises(RuntimeError, match="the receiver broke"):
        house.gate.poll()
    assert (house.gate.in_flight, house.pool.in_flight) == (0, 0)
    house.gate.poll()
    assert house.order == ["next"]


def test_a_resize_grants_and_fails_nobody() -> None:
    """More slots go to the waiters at once; fewer slots and a shorter queue take nothing from anybody."""
    house = House(max_in_flight=1, queue=10)
    leases = [house.take()]
    for name in ("one", "two", "three", "four"):
        house.join(name)
    house.gate.resize(GateLimits(3, 10, 5.0))
    assert house.order == ["one", "two"]
    house.gate.resize(GateLimits(1, 1, 0.1))
    assert (house.gate.in_flight, house.gate.waiting) == (3, 2)
    assert house.gate.next_event_at() == 105.0
    assert house.refusal("five").reason is Reason.QUEUE_FULL
    leases += house.granted.values()
    for lease in leases:
        lease.release()
    assert house.order == ["one", "two", "three"]


def test_a_closed_gate_sends_everybody_on() -> None:
    """Waiters move on as SATURATED, newcomers are refused, and leases that are out end as always."""
    house = House()
    lease = house.take()
    house.join("one")
    house.join("two")
    house.gate.close()
    assert [refusal.failure_class for refusal in house.refused.values()] == [FailureClass.SATURATED] * 2
    assert house.refusal("three").failure_class is FailureClass.SATURATED
    lease.release()
    assert house.gate.try_take("m") is None
    assert (house.gate.in_flight, house.pool.in_flight) == (0, 0)


def test_a_new_key_serves_those_that_wait() -> None:
    """After a reload of the pool a poll grants what the new keys can serve."""
    house = House(max_in_flight=2)
    house.cool("k0", 4.0)
    house.join("one")
    house.pool.reconfigure([KeySpec("k0", 1), KeySpec("new", 1)])
    assert house.gate.next_event_at() == house.clock()
    house.gate.poll()
    assert house.granted["one"].key_id == "new"


@pytest.mark.parametrize(
    ("max_in_flight", "queue", "max_wait_s"), [(0, 1, 1.0), (1, -1, 1.0), (1, 1, -1.0), (1, 1, float("nan"))]
)
def test_bounds_that_mean_nothing_are_refused(max_in_flight: int, queue: int, max_wait_s: float) -> None:
    """A gate lets at least one call through and waits no negative time."""
    with pytest.raises(ValueError, match="no bounds of a gate"):
        GateLimits(max_in_flight, queue, max_wait_s)


def test_waiters_that_come_and_go_leave_nothing_behind() -> None:
    """However many joined and left, the gate remembers only who is there."""
    house = House()
    house.take()
    house.join("stays")
    for number in range(5000):
        house.gate.leave(house.join(f"n{number}", model=f"m{number % 7}", caller=f"c{number % 11}"))
    assert house.gate.waiting == 1
    assert list(house.gate._line.kinds) == [("m", NOBODY)]
    assert len(house.gate._line.kinds["m", NOBODY]._bounds) <= 20
    assert [len(level._flows) for level in house.gate._line._levels] == [0, 1, 0, 0]


def test_the_gate_tells_its_state_readably() -> None:
    """The repr of gate, lease and ticket say what is held and who waits."""
    house = House(max_in_flight=1, queue=10)
    lease = house.take()
    ticket = house.join("one")
    assert repr(house.gate) == "<Gate openai: 1 of 1 in flight, 1 of 10 waiting>"
    assert repr(lease) == "<Lease openai/m key k0 granted at 100.000, held>"
    assert "model='m'" in repr(ticket)
    assert "state=<TicketState.WAITING" in repr(ticket)
    lease.release()
    house.gate.close()
    assert repr(lease) == "<Lease openai/m key k0 granted at 100.000, released>"
    assert repr(house.gate) == "<Gate openai: 1 of 1 in flight, 0 of 10 waiting, closed>"
