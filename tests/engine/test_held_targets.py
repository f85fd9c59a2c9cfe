"""Calls to a target that an operator drained: they go elsewhere, or are told why they can't, and nothing is sent."""

from __future__ import annotations

import asyncio

import pytest
from tests.engine.scripted import Said, World

from trunkline_server.engine.frames import CallFailedError
from trunkline_server.routing.gate import GateLimits
from trunkline_server.routing.key_spec import KeyStatus
from trunkline_server.routing.types import Reason


async def test_a_call_goes_to_the_next_tier() -> None:
    """With its first target drained, an alias is served by the one behind it."""
    world = World(models=(("m",), ("spare",)))
    world.upstream.answers(Said.WHOLE)
    world.pool.hold_model("m", KeyStatus.DRAINING)
    done = await world.engine.complete(world.request(), world.scope())
    assert done.attempts[-1].served_by.target.model == "spare"
    assert len(world.upstream.sent) == 1


async def test_whoever_has_nowhere_else_to_go_is_told_why() -> None:
    """A call that only a drained target could serve ends at once, as the operator's doing, and nothing was sent."""
    world = World()
    world.pool.hold_model("m", KeyStatus.DISABLED)
    with pytest.raises(CallFailedError) as raised:
        await world.engine.complete(world.request(), world.scope())
    assert raised.value.failure.reason is Reason.NO_ELIGIBLE_TARGET
    assert raised.value.failure.metadata == {"operator": "one/m"}
    assert not world.upstream.sent
    assert world.held == 0


async def test_a_call_that_waits_moves_on_when_its_target_is_drained() -> None:
    """A waiter leaves the queue at once for its next target, though no slot of the first came free."""
    world = World(models=(("m",), ("spare",)), gate=GateLimits(max_in_flight=1, queue=5, max_wait_s=30))
    world.upstream.answers(Said.WHOLE)
    running = world.desk.gate.try_take("m")
    assert running is not None
    call = asyncio.ensure_future(world.engine.complete(world.request(), world.scope()))
    async with asyncio.timeout(5):
        while not world.desk.gate.waiting:  # noqa: ASYNC110  the gate tells nobody
            await asyncio.sleep(0.001)
    world.pool.hold_model("m", KeyStatus.DRAINING)
    world.desk.gate.drop_waiters("m")
    world.desk.release(running)
    async with asyncio.timeout(5):
        done = await call
    assert done.attempts[-1].served_by.target.model == "spare"
    assert world.held == 0


async def test_explain_says_that_an_operator_holds_a_target() -> None:
    """The decision that is shown leaves the target out for the operator's word."""
    world = World(models=(("m",), ("spare",)))
    world.pool.hold_model("m", KeyStatus.DRAINING)
    told = {each.target.model: each for each in world.engine.explain(world.request(), world.scope()).candidates}
    assert told["m"].removed_because == ("operator: one/m takes no new calls: drained by an operator",)
    assert told["spare"].eligible
