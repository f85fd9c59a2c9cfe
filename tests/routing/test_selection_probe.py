"""A target whose keys were all rejected, from the first rejection to the probe that brings it back."""

from __future__ import annotations

import random

import pytest

from trunkline_server.routing.aliases import Alias, AliasPolicy, AliasTarget, Policy, Tier
from trunkline_server.routing.clock import ManualClock
from trunkline_server.routing.failures import Failure, FailureClass
from trunkline_server.routing.key_pool import KeyPool, KeySpec
from trunkline_server.routing.selection import NO_DEMAND, NoEligibleTargetError, Plan, make_plan
from trunkline_server.routing.types import Reason, Refusal, TargetId

REJECTED = Failure(FailureClass.KEY_REJECTED, "401")
PROBE_S = 60 * 1.1
"""By then the first quarantine of a rejected key is over, whatever its jitter."""


class House:
    """An alias with a primary of pool `a` and a fallback that can always serve."""

    def __init__(self, *keys: str, policy: Policy = Policy.FAIL, fallback: bool = True) -> None:
        self.clock = ManualClock()
        self.pool = KeyPool("a", [KeySpec(key, 1.0) for key in keys], clock=self.clock, rng=random.Random(1))
        names = ("a", "b") if fallback else ("a",)
        tiers = tuple(Tier((AliasTarget(TargetId(name, "m")),)) for name in names)
        self.alias = Alias("default", tiers, AliasPolicy(on_key_rejected=policy))

    def plan(self) -> Plan:
        return make_plan(self.alias, NO_DEMAND, self.blockage)

    def blockage(self, target: TargetId) -> Refusal | None:
        return self.pool.blockage(target.model) if target.provider == "a" else None

    def ask(self, failure: Failure | None) -> str:
        """Take a key, use it, give it back; return which it was."""
        key = self.pool.take("m")
        assert key is not None
        if failure is None:
            self.pool.succeeded(key, "m")
        else:
            self.pool.failed(key, "m", failure)
        self.pool.give_back(key, "m")
        return key


def test_an_only_key_is_probed_by_an_ordinary_request() -> None:
    """Rejected: the plan fails fast; at probe_at one request may go, a second one beside it still fails fast."""
    house = House("k")
    house.ask(REJECTED)
    refused = house.plan().candidates[0].rejected
    assert refused is not None
    assert refused.reason is Reason.UPSTREAM_CREDENTIALS
    assert refused.retry_after_s is not None
    assert refused.retry_after_s <= PROBE_S
    house.clock.advance(PROBE_S)
    assert house.plan().candidates[0].rejected is None
    assert house.pool.take("m") == "k"
    assert house.plan().candidates[0].rejected is not None
    house.pool.failed("k", "m", REJECTED)
    house.pool.give_back("k", "m")
    house.clock.advance(PROBE_S)
    assert house.plan().candidates[0].rejected is not None, "the second quarantine is twice as long"
    house.clock.advance(PROBE_S)
    house.ask(None)
    assert house.plan().candidates[0].rejected is None


def test_a_target_with_one_good_key_left_does_not_fail_fast() -> None:
    """One rejected key of two: the other one serves, and the target stays as it is."""
    house = House("k1", "k2")
    bad = house.ask(REJECTED)
    assert house.plan().candidates[0].rejected is None
    assert all(house.ask(None) != bad for _ in range(5))


def test_an_alias_that_goes_on_leaves_the_target_out() -> None:
    """on_key_rejected: next_target: out of the plan, with its reason, until the probe is due."""
    house = House("k", policy=Policy.NEXT_TARGET)
    house.ask(REJECTED)
    plan = house.plan()
    assert [candidate.target.provider for candidate in plan.candidates] == ["b"]
    assert plan.removed[0].constraint == "keys"
    house.clock.advance(PROBE_S)
    assert [candidate.target.provider for candidate in house.plan().candidates] == ["a", "b"]


@pytest.mark.parametrize(
    ("failure_class", "reason"),
    [
        (FailureClass.KEY_REJECTED, Reason.UPSTREAM_CREDENTIALS),
        (FailureClass.KEY_EXHAUSTED, Reason.UPSTREAM_QUOTA),
    ],
)
def test_a_plan_that_keys_alone_empty_tells_their_reason(failure_class: FailureClass, reason: Reason) -> None:
    """Nobody else could serve: the refusal is the keys' own, with the time of the probe."""
    house = House("k", policy=Policy.NEXT_TARGET, fallback=False)
    house.ask(Failure(failure_class, "no"))
    with pytest.raises(NoEligibleTargetError) as raised:
        house.plan()
    refusal = raised.value.key_refusal
    assert refusal is not None
    assert refusal.reason is reason
    assert refusal.retry_after_s is not None


def test_a_key_that_cools_leaves_its_target_in_the_plan() -> None:
    """RATE_LIMITED is a wait, however long, and no filter."""
    house = House("k")
    house.ask(Failure(FailureClass.RATE_LIMITED, "429", 300.0))
    assert [candidate.rejected for candidate in house.plan().candidates] == [None, None]
