"""A target that an operator drained or disabled: it takes nothing new, and what it has goes on."""

from __future__ import annotations

import pytest
from tests.routing.key_house import make

from trunkline_server.routing.aliases import Alias, AliasTarget, Tier
from trunkline_server.routing.failures import FailureClass
from trunkline_server.routing.gate import Gate, GateLimits
from trunkline_server.routing.key_pool import KeyPool, KeySpec
from trunkline_server.routing.key_spec import KeyStatus
from trunkline_server.routing.lease import Lease
from trunkline_server.routing.plan import OPERATOR
from trunkline_server.routing.selection import NO_DEMAND, NoEligibleTargetError, make_plan
from trunkline_server.routing.types import Refusal, TargetId

ONE, TWO = TargetId("openai", "m"), TargetId("openai", "other")


def alias(*targets: TargetId) -> Alias:
    return Alias("default", (Tier(tuple(AliasTarget(target) for target in targets)),))


def blockage_of(pool: KeyPool, target: TargetId) -> Refusal | None:
    return pool.blockage(target.model)


def test_a_held_model_takes_nothing_and_others_do() -> None:
    """A hold stands against one model of the provider alone."""
    pool, _ = make()
    pool.hold_model("m", KeyStatus.DRAINING)
    assert pool.take("m") is None
    assert not pool.usable_now("m")
    assert pool.earliest("m") is None
    assert pool.take("other") is not None


def test_calls_in_flight_end_as_always() -> None:
    """What was taken before a hold is given back under it."""
    pool, _ = make()
    key = pool.take("m")
    assert key is not None
    pool.hold_model("m", KeyStatus.DISABLED)
    pool.give_back(key, "m")
    assert pool.in_flight == 0


def test_a_hold_outlasts_a_new_configuration_and_ends_when_it_is_taken_back() -> None:
    """A reload frees no target that an operator holds; the operator does."""
    pool, _ = make()
    pool.hold_model("m", KeyStatus.DRAINING)
    pool.reconfigure([KeySpec("c", 1)])
    assert pool.take("m") is None
    pool.free_model("m")
    assert pool.take("m") == "c"


@pytest.mark.parametrize(("status", "word"), [(KeyStatus.DRAINING, "drained"), (KeyStatus.DISABLED, "disabled")])
def test_a_plan_leaves_a_held_target_out_for_its_own_reason(status: KeyStatus, word: str) -> None:
    """A held target is removed as the operator's doing, and not as that of its keys."""
    pool, _ = make()
    pool.hold_model("m", status)
    plan = make_plan(alias(ONE, TWO), NO_DEMAND, lambda target: blockage_of(pool, target))
    assert [candidate.target for candidate in plan.candidates] == [TWO]
    (removed,) = plan.removed
    assert (removed.target, removed.constraint) == (ONE, OPERATOR)
    assert removed.detail == f"openai/m takes no new calls: {word} by an operator"


def test_whoever_names_a_held_target_directly_is_told_so() -> None:
    """Where nobody else could serve, the end says that an operator removed the target, and that no key did."""
    pool, _ = make()
    pool.hold_model("m", KeyStatus.DISABLED)
    with pytest.raises(NoEligibleTargetError) as raised:
        make_plan(alias(ONE), NO_DEMAND, lambda target: blockage_of(pool, target))
    assert raised.value.key_refusal is None
    assert [removed.constraint for removed in raised.value.removed] == [OPERATOR]


def test_waiters_of_a_held_target_move_on_as_saturated() -> None:
    """Who waits for a target when it is drained is refused at once, and who waits for another one stays."""
    pool, clock = make()
    gate = Gate("openai", GateLimits(max_in_flight=1, queue=9), pool, clock=clock)
    running = gate.try_take("other")
    assert running is not None
    refused: list[Refusal] = []
    granted: list[Lease] = []
    for model in ("m", "other"):
        gate.join(model, frozenset(), deadline_at=clock() + 60, on_grant=granted.append, on_refused=refused.append)
    pool.hold_model("m", KeyStatus.DRAINING)
    gate.drop_waiters("m")
    assert [refusal.failure_class for refusal in refused] == [FailureClass.SATURATED]
    running.release()
    assert [lease.model for lease in granted] == ["other"]


def test_nobody_queues_for_a_held_target() -> None:
    """A newcomer is refused at the door, with the reason of the hold."""
    pool, clock = make()
    gate = Gate("openai", GateLimits(max_in_flight=1, queue=9), pool, clock=clock)
    pool.hold_model("m", KeyStatus.DRAINING)
    outcome = gate.join("m", frozenset(), deadline_at=clock() + 60, on_grant=lambda _: None, on_refused=lambda _: None)
    assert isinstance(outcome, Refusal)
    assert outcome.by_operator
    assert gate.try_take("m") is None


def test_headroom_is_that_of_the_model_which_has_least_left() -> None:
    """What a key could take at once follows what was taken, model by model, and comes back with time."""
    pool, clock = make(KeySpec("a", 1, requests_per_minute=60, tokens_per_minute=6000, burst_s=10))
    before = pool.states()[0]
    assert before.room_requests == pytest.approx(10, rel=0.01)
    assert before.room_tokens == pytest.approx(1000, rel=0.01)
    assert pool.take("m", tokens=400) == "a"
    after = pool.states()[0]
    assert after.room_requests == pytest.approx(9, rel=0.01)
    assert after.room_tokens == pytest.approx(600, rel=0.01)
    clock.advance(60.0)
    assert pool.states()[0].room_tokens == before.room_tokens
    unlimited = make(KeySpec("b", 1))[0].states()[0]
    assert (unlimited.room_requests, unlimited.room_tokens) == (None, None)
