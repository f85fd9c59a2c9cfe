"""Who is next at a gate: levels, callers' flows, newest first in one that stands, and pushing out."""

from __future__ import annotations

import pytest
from tests.routing.gate_house import NOBODY, House

from trunkline_server.routing.gate import GateLimits, TicketState
from trunkline_server.routing.lease import Lease
from trunkline_server.routing.types import Criticality, Reason, Refusal

PLUS, CRITICAL, SHEDDABLE_PLUS, SHEDDABLE = Criticality


def test_levels_go_strictly_by_rank() -> None:
    """As long as somebody more important waits, nobody less important is served, whoever came first."""
    house = House()
    lease = house.take()
    for number, level in enumerate([SHEDDABLE, SHEDDABLE_PLUS, CRITICAL, PLUS, SHEDDABLE, PLUS]):
        house.join(f"{number} {level.name}", caller=f"c{number}", criticality=level)
    lease.release()
    served = house.drain()
    assert served == [
        "3 CRITICAL_PLUS", "5 CRITICAL_PLUS", "2 CRITICAL", "1 SHEDDABLE_PLUS", "0 SHEDDABLE", "4 SHEDDABLE",
    ]  # fmt: skip


def test_callers_take_turns() -> None:
    """Equal calls of one level go round the callers, however many one of them has sent before."""
    house = House(queue=20)
    lease = house.take()
    for number in range(6):
        house.join(f"noisy {number}", caller="noisy")
    for number in range(2):
        house.join(f"quiet {number}", caller="quiet")
    house.join("once", caller="once")
    lease.release()
    served = house.drain()
    assert served[:5] == ["noisy 0", "quiet 0", "once", "noisy 1", "quiet 1"]
    assert served[5:] == ["noisy 2", "noisy 3", "noisy 4", "noisy 5"]


def test_turns_are_counted_in_tokens() -> None:
    """A caller of large calls gets as many tokens as one of small calls, not as many calls."""
    house = House(queue=100)
    lease = house.take()
    for number in range(4):
        house.join(f"large {number}", caller="large", tokens=1000)
    for number in range(40):
        house.join(f"small {number}", caller="small", tokens=100)
    lease.release()
    served = house.drain()
    assert [sum(name.startswith("small") for name in served[:place]) for place in (1, 12, 23, 34)] == [0, 10, 20, 30]


def test_a_flow_that_is_passed_over_keeps_its_turn_but_does_not_catch_up() -> None:
    """Turns that a caller could not take for want of a key are lost, and its next comes at once."""
    house = House(queue=100, max_wait_s=100.0)
    lease = house.take("other")
    house.cool("k0", 10.0)
    for number in range(4):
        house.join(f"cool {number}", "m", caller="cool", deadline_s=1000.0)
    for number in range(12):
        house.join(f"free {number}", "other", caller=f"free {number % 2}", deadline_s=1000.0)
    lease.release()
    for number in range(5):
        house.granted[house.order[number]].release()
    assert all(name.startswith("free") for name in house.order)
    house.clock.advance(10.0)
    house.granted[house.order[5]].release()
    served = house.drain()[6:]
    assert [name.split()[0] for name in served[:7]] == ["cool", "free", "free", "cool", "free", "free", "cool"]


def test_the_small_do_not_pass_the_large_of_their_kind() -> None:
    """Whoever is first of those that wait for the same keys keeps the others of this kind waiting, newcomers too."""
    house = House(max_in_flight=9, max_wait_s=60.0, tokens_per_minute=60_000)
    first = house.gate.try_take("m", tokens=600)
    assert first is not None
    assert house.pool.usable_now("m", tokens=300)
    house.join("large", caller="a", tokens=900)
    house.join("small", caller="b", tokens=1)
    house.gate.poll()
    assert house.order == []
    assert house.take("other").model == "other"
    assert house.gate.try_take("m", tokens=1) is None
    house.go_to(house.gate.next_event_at())
    assert house.order == ["large"]
    assert house.clock() == pytest.approx(100.5, abs=0.02)
    house.go_to(house.gate.next_event_at())
    assert house.order == ["large", "small"]


def test_the_important_pass_whoever_waits() -> None:
    """A newcomer takes a free slot past waiters of a lower level, even if they could go."""
    house = House(max_in_flight=2)
    house.cool("k0", 3.0)
    house.join("waiter", criticality=SHEDDABLE)
    house.clock.advance(3.0)
    assert house.gate.try_take("m", criticality=SHEDDABLE) is None
    assert house.gate.try_take("m", criticality=CRITICAL) is not None
    assert house.order == []


def test_a_flow_that_stands_goes_newest_first() -> None:
    """From 4/5 of its oldest one's time the newest goes first, until the oldest has used less than half."""
    house = House(max_in_flight=1, queue=20, max_wait_s=10.0)
    lease = house.take()
    house.join("old 0")
    house.join("old 1")
    house.clock.advance(7.9)
    house.join("new 0")
    house.join("new 1")
    lease.release()
    assert house.order == ["old 0"]
    house.clock.advance(0.2)
    house.granted["old 0"].release()
    house.granted["new 1"].release()
    house.clock.advance(2.0)
    house.gate.poll()
    assert house.order == ["old 0", "new 1", "new 0", "old 1"]
    assert house.refused["old 1"].reason is Reason.QUEUE_TIMEOUT
    for name in ("a", "b", "c"):
        house.join(name)
    house.granted["new 0"].release()
    assert house.order[-1] == "a"


def test_only_the_flow_that_stands_is_turned_round() -> None:
    """Another caller's waiters go first in, first out all the same."""
    house = House(max_in_flight=1, queue=20, max_wait_s=10.0)
    lease = house.take()
    house.join("old", caller="stands")
    house.clock.advance(9.0)
    house.join("new", caller="stands")
    house.join("one", caller="flows")
    house.join("two", caller="flows")
    lease.release()
    assert house.drain() == ["new", "one", "old", "two"]


def test_a_burst_that_came_at_once_is_not_turned_round() -> None:
    """Where the newest waits as long as the oldest, the oldest goes first although its time is nearly over."""
    house = House(max_in_flight=1, queue=20, max_wait_s=10.0)
    lease = house.take()
    for name in ("one", "two", "three"):
        house.join(name)
    house.clock.advance(9.0)
    lease.release()
    assert house.drain() == ["one", "two", "three"]


def test_a_full_queue_pushes_out_the_newest_of_the_lowest_level() -> None:
    """Whoever gives up its place hears SHED at once, with a time to stay away; nobody of its own level loses one."""
    house = House(queue=3)
    house.take()
    tickets = [
        house.join(name, criticality=level)
        for name, level in (("low 0", SHEDDABLE), ("low 1", SHEDDABLE), ("middle", SHEDDABLE_PLUS))
    ]
    house.join("high 0")
    house.join("high 1")
    assert house.order == ["low 1", "low 0"]
    assert tickets[1].state is TicketState.REFUSED
    house.join("high 2", criticality=PLUS)
    assert house.order == ["low 1", "low 0", "middle"]
    assert house.gate.waiting == 3
    assert {(refusal.reason, refusal.retry_after_s) for refusal in house.refused.values()} == {(Reason.SHED, 5.0)}
    refusal = house.refusal("low 2", criticality=SHEDDABLE)
    assert (refusal.reason, "by more important calls" in refusal.message) == (Reason.SHED, True)
    assert house.refusal("high 3").reason is Reason.QUEUE_FULL


def test_a_full_queue_pushes_out_the_newest_of_the_longest_flow() -> None:
    """A caller that has at least two places more than the newcomer's gives one up, and no other does."""
    house = House(queue=4)
    house.take()
    for number in range(3):
        house.join(f"noisy {number}", caller="noisy")
    house.join("quiet 0", caller="quiet")
    house.join("quiet 1", caller="quiet")
    assert house.order == ["noisy 2"]
    assert house.refused["noisy 2"].reason is Reason.SHED
    assert house.refusal("quiet 2", caller="quiet").reason is Reason.QUEUE_FULL
    house.join("third", caller="third")
    assert house.order in (["noisy 2", "noisy 1"], ["noisy 2", "quiet 1"])


def test_a_refusal_that_fails_lets_nobody_in() -> None:
    """If the one that is pushed out breaks, that comes out of the newcomer's join, and neither is in the queue."""
    house = House(queue=1)
    lease = house.take()

    def on_refused(_: Refusal) -> None:
        raise RuntimeError("the receiver broke")

    def on_grant(_: Lease) -> None:
        raise AssertionError

    house.gate.join("m", NOBODY, deadline_at=1e9, on_grant=on_grant, on_refused=on_refused, criticality=SHEDDABLE)
    with pytest.raises(RuntimeError, match="the receiver broke"):
        house.join("high")
    assert house.gate.waiting == 0
    lease.release()
    assert house.order == []


def test_places_are_counted_by_turns() -> None:
    """A place counts all more important waiters, and of each other caller no more than have their turn before."""
    house = House(queue=50)
    house.take()
    noisy = [house.join(f"noisy {number}", caller="noisy") for number in range(5)]
    quiet = house.join("quiet", caller="quiet")
    assert house.gate.position(quiet) == 2
    assert [house.gate.position(ticket) for ticket in noisy] == [1, 3, 4, 5, 6]
    house.join("high", criticality=PLUS)
    assert house.gate.position(quiet) == 3
    house.gate.leave(quiet)
    assert [house.gate.position(ticket) for ticket in noisy] == [2, 3, 4, 5, 6]


def test_a_shorter_queue_fails_nobody_who_waits() -> None:
    """After a resize those above the new length stay; only a newcomer with a right to a place pushes one out."""
    house = House(queue=4)
    house.take()
    for number in range(4):
        house.join(f"low {number}", criticality=SHEDDABLE)
    house.gate.resize(GateLimits(1, 1, 5.0))
    assert (house.gate.waiting, house.order) == (4, [])
    house.join("high")
    assert (house.gate.waiting, house.order) == (4, ["low 3"])
