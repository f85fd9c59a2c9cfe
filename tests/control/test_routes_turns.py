"""One change at a time, and each request id once."""

from __future__ import annotations

import asyncio

import pytest

from trunkline_server.control.routes_turns import Repeats, Turns
from trunkline_server.engine.frames import CallFailedError, CallFailure
from trunkline_server.routing.types import Reason


class Change:
    """A change that goes on until it is let go."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.let_go = asyncio.Event()
        self.runs = 0
        self.fails = False

    async def __call__(self) -> int:
        self.runs += 1
        self.begun.set()
        await self.let_go.wait()
        if self.fails:
            raise CallFailedError(CallFailure(Reason.INTERNAL, "no"))
        return self.runs


async def test_changes_do_not_overlap() -> None:
    """The second begins when the first has ended."""
    turns, first, second = Turns(), Change(), Change()
    calls = [asyncio.ensure_future(turns.run(first)), asyncio.ensure_future(turns.run(second))]
    await first.begun.wait()
    await asyncio.sleep(0)
    assert not second.begun.is_set()
    second.let_go.set()
    first.let_go.set()
    assert await asyncio.gather(*calls) == [1, 1]


async def test_the_wait_for_a_turn_is_bounded() -> None:
    """Whoever does not get its turn in time is told to come back, and its change never begins."""
    turns, first, second = Turns(), Change(), Change()
    call = asyncio.ensure_future(turns.run(first))
    await first.begun.wait()
    with pytest.raises(CallFailedError) as caught:
        await turns.run(second, max_wait_s=0.01)
    assert (caught.value.failure.reason, caught.value.failure.retry_after_s) == (Reason.QUEUE_TIMEOUT, 1.0)
    first.let_go.set()
    await call
    assert second.runs == 0
    second.let_go.set()
    assert await turns.run(second) == 1


async def test_a_change_that_has_begun_goes_on_without_its_caller() -> None:
    """Its caller may leave; the next change waits for its end all the same, and so does `settle`."""
    turns, first, second = Turns(), Change(), Change()
    call = asyncio.ensure_future(turns.run(first))
    await first.begun.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    waiting = asyncio.ensure_future(turns.run(second))
    settled = asyncio.ensure_future(turns.settle())
    await asyncio.sleep(0)
    assert not second.begun.is_set()
    assert not settled.done()
    first.let_go.set()
    second.let_go.set()
    await settled
    assert await waiting == 1


async def test_a_change_that_is_not_waited_for_any_more_never_begins() -> None:
    """A caller that leaves while it waits takes its order with it, and keeps nobody's turn."""
    turns, first, second, third = Turns(), Change(), Change(), Change()
    call = asyncio.ensure_future(turns.run(first))
    await first.begun.wait()
    waiting = asyncio.ensure_future(turns.run(second))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    first.let_go.set()
    third.let_go.set()
    await call
    assert await turns.run(third) == 1
    assert second.runs == 0


async def test_a_repeat_waits_for_the_first() -> None:
    """Both get the one answer, also if the first caller has left."""
    repeats: Repeats[int] = Repeats()
    change = Change()
    first = asyncio.ensure_future(repeats.once("alice", "id", "content", change))
    await change.begun.wait()
    second = asyncio.ensure_future(repeats.once("alice", "id", "content", change))
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    change.let_go.set()
    assert await second == 1
    assert await repeats.once("alice", "id", "content", change) == 1


async def test_what_failed_is_tried_afresh() -> None:
    """A failure is told to all who wait for it, and is not remembered."""
    repeats: Repeats[int] = Repeats()
    change = Change()
    change.fails = True
    change.let_go.set()
    results = await asyncio.gather(
        *(repeats.once("alice", "id", "content", change) for _ in range(2)), return_exceptions=True
    )
    assert [type(result) for result in results] == [CallFailedError, CallFailedError]
    assert change.runs == 1
    change.fails = False
    assert await repeats.once("alice", "id", "content", change) == 2


async def test_only_the_last_ids_are_remembered() -> None:
    """Memory is bounded: an old id is a new order again."""
    repeats: Repeats[int] = Repeats(remembered=3)
    change = Change()
    change.let_go.set()
    for number in range(4):
        await repeats.once("alice", f"id-{number}", "content", change)
    assert await repeats.once("alice", "id-3", "content", change) == 4
    assert await repeats.once("alice", "id-0", "content", change) == 5


async def test_without_an_id_nothing_is_remembered() -> None:
    """Orders without an id are all new."""
    repeats: Repeats[int] = Repeats()
    change = Change()
    change.let_go.set()
    assert [await repeats.once("alice", "", "content", change) for _ in range(3)] == [1, 2, 3]
