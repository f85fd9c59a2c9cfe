"""Waiting for a slot: nothing that a gate grants is lost, whenever its asker leaves."""

from __future__ import annotations

import asyncio
import random
import time

import pytest

from trunkline_server.engine.admission import Desk
from trunkline_server.routing.failures import Failure, FailureClass
from trunkline_server.routing.gate import Gate, GateLimits, Ticket
from trunkline_server.routing.key_pool import KeyPool, KeySpec
from trunkline_server.routing.lease import Lease
from trunkline_server.routing.types import Criticality, Reason, Refusal

NO_KEYS: frozenset[str] = frozenset()


def desk(*, slots: int = 1, queue: int = 10, max_wait_s: float = 5.0, per_s: float | None = None) -> Desk:
    pool = KeyPool("p", [KeySpec("a", 1.0)], clock=time.monotonic, rng=random.Random(1))
    gate = Gate("p", GateLimits(slots, queue, max_wait_s, dispatches_per_s=per_s), pool, clock=time.monotonic)
    return Desk(gate, time.monotonic)


async def wait(at: Desk, deadline_s: float = 5.0) -> Lease | Refusal:
    return await at.queue("m", NO_KEYS, time.monotonic() + deadline_s)


async def turns(count: int = 3) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_a_slot_that_comes_free_goes_to_the_one_that_waits() -> None:
    """The waiter gets the lease in the turn in which the other gave it back."""
    front = desk()
    held = await wait(front)
    assert isinstance(held, Lease)
    waiting = asyncio.ensure_future(wait(front))
    await turns()
    front.release(held)
    lease = await waiting
    assert isinstance(lease, Lease)
    front.release(lease)
    assert front.gate.in_flight == 0


@pytest.mark.parametrize("grant_first", [True, False])
async def test_a_waiter_that_is_cancelled_leaves_nothing_behind(grant_first: bool) -> None:  # noqa: FBT001  a parameter
    """Also when the grant and the cancellation come in the same turn, in either order."""
    front = desk()
    held = await wait(front)
    assert isinstance(held, Lease)
    waiting = asyncio.ensure_future(wait(front))
    await turns()
    assert front.gate.waiting == 1
    if grant_first:
        front.release(held)
        waiting.cancel()
    else:
        waiting.cancel()
        front.release(held)
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert (front.gate.in_flight, front.gate.waiting) == (0, 0)


async def test_whoever_waits_learns_of_its_place() -> None:
    """The ticket is handed over before the wait, and only if there is one; its place moves up as others leave."""
    front, tickets = desk(), list[Ticket]()
    held = await front.queue("m", NO_KEYS, time.monotonic() + 5, tickets.append)
    assert isinstance(held, Lease)
    assert tickets == []
    waiting = [asyncio.ensure_future(front.queue("m", NO_KEYS, time.monotonic() + 5, tickets.append)) for _ in range(3)]
    await turns()
    assert [front.gate.position(ticket) for ticket in tickets] == [1, 2, 3]
    front.release(held)
    first = await waiting[0]
    assert [front.gate.position(ticket) for ticket in tickets] == [None, 1, 2]
    for task in waiting[1:]:
        task.cancel()
    await asyncio.wait(waiting)
    assert [front.gate.position(ticket) for ticket in tickets] == [None, None, None]
    assert isinstance(first, Lease)
    front.release(first)
    assert front.gate.in_flight == 0


async def test_a_listener_that_raises_leaves_nothing_behind() -> None:
    """Its error comes out of the wait, and the place in the queue is given up."""
    front = desk()
    held = await wait(front)
    assert isinstance(held, Lease)

    def fail(ticket: Ticket) -> None:
        raise ValueError(str(ticket.number))

    with pytest.raises(ValueError, match="1"):
        await front.queue("m", NO_KEYS, time.monotonic() + 5, fail)
    front.release(held)
    assert (front.gate.in_flight, front.gate.waiting) == (0, 0)


async def test_the_wait_ends_by_the_mere_passing_of_time() -> None:
    """Nobody has to call anything for a waiter to be refused at its bound, and the timer goes with it."""
    front = desk(max_wait_s=0.02)
    held = await wait(front)
    refused = await wait(front)
    assert isinstance(refused, Refusal)
    assert refused.reason is Reason.QUEUE_TIMEOUT
    assert isinstance(held, Lease)
    front.release(held)


async def test_a_cooling_key_wakes_its_waiter() -> None:
    """A waiter for a key only is granted when the key's cool-down ends."""
    front = desk()
    front.gate._pool.failed("a", "m", Failure(FailureClass.RATE_LIMITED, "429", 0.05))
    started = time.monotonic()
    lease = await wait(front)
    assert isinstance(lease, Lease)
    assert time.monotonic() - started >= 0.04
    front.release(lease)


async def test_the_callers_deadline_is_told_as_such() -> None:
    """A wait that the deadline ends is DEADLINE, not a time-out of the queue."""
    front = desk()
    held = await wait(front)
    refused = await wait(front, deadline_s=0.02)
    assert isinstance(refused, Refusal)
    assert refused.reason is Reason.DEADLINE
    assert isinstance(held, Lease)
    front.release(held)


async def test_whoever_is_pushed_out_hears_of_it_at_once() -> None:
    """A more important call takes the place of a waiter, which ends as SHED in that very turn of the loop."""
    front = desk(queue=1)
    held = await wait(front)
    assert isinstance(held, Lease)
    low = asyncio.ensure_future(
        front.queue("m", NO_KEYS, time.monotonic() + 5, caller="a", criticality=Criticality.SHEDDABLE)
    )
    await turns()
    high = asyncio.ensure_future(front.queue("m", NO_KEYS, time.monotonic() + 5, tokens=7, caller="b"))
    refused = await low
    assert isinstance(refused, Refusal)
    assert refused.reason is Reason.SHED
    front.release(held)
    lease = await high
    assert isinstance(lease, Lease)
    assert lease.tokens == 7
    front.release(lease)
    assert (front.gate.in_flight, front.gate.waiting) == (0, 0)


async def test_paced_waiters_are_woken_one_by_one() -> None:
    """Nobody has to call anything for the next dispatch to go when it is due."""
    front = desk(slots=10, per_s=100.0)
    began = time.monotonic()
    leases = await asyncio.gather(*(wait(front) for _ in range(7)))
    assert time.monotonic() - began >= 0.049
    granted = [lease.granted_at for lease in leases if isinstance(lease, Lease)]
    assert len(granted) == 7
    assert all(later - first >= 0.049 for first, later in zip(granted, granted[6:], strict=False))
    for lease in leases:
        assert isinstance(lease, Lease)
        front.release(lease)


async def test_many_that_come_and_go() -> None:
    """500 waiters that are cancelled, timed out or served in random order leave an empty gate."""
    front, rng = desk(slots=5, queue=600, max_wait_s=0.2), random.Random(7)

    async def one() -> None:
        outcome = await wait(front, deadline_s=rng.uniform(0.01, 0.4))
        if isinstance(outcome, Lease):
            try:
                await asyncio.sleep(rng.uniform(0, 0.005))
            finally:
                front.release(outcome)

    tasks = [asyncio.ensure_future(one()) for _ in range(500)]
    for task in rng.sample(tasks, 150):
        asyncio.get_running_loop().call_later(rng.uniform(0, 0.2), task.cancel)
    await asyncio.gather(*tasks, return_exceptions=True)
    assert (front.gate.in_flight, front.gate.waiting) == (0, 0)
    assert all(view.in_flight == 0 for view in front.gate._pool.states())
