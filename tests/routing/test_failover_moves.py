"""Where a request goes next, in the cases that are easy to get wrong: refusals on the way, returns, waits."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from trunkline_server.routing.aliases import Alias, AliasPolicy, AliasTarget, ModelFacts, Policy, Tier
from trunkline_server.routing.clock import ManualClock
from trunkline_server.routing.events import (
    Action,
    AttemptFailed,
    Backoff,
    Dispatch,
    Fail,
    Granted,
    NoneFree,
    Queue,
    Refused,
    Started,
    TryNow,
    Why,
    Woke,
)
from trunkline_server.routing.failures import Failure, FailureClass
from trunkline_server.routing.machine import Machine
from trunkline_server.routing.moves import Move
from trunkline_server.routing.retry import Allowance
from trunkline_server.routing.selection import Candidate, Plan
from trunkline_server.routing.types import Reason, Refusal, TargetId

F = FailureClass
FULL = Refusal(F.SATURATED, Reason.QUEUE_FULL, "full", 1.0)
COOLING = Refusal(F.RATE_LIMITED, Reason.RATE_LIMITED, "cooling", 9.0)
REJECTED = Refusal(F.KEY_REJECTED, Reason.UPSTREAM_CREDENTIALS, "every key was rejected", 60.0)


class Call:
    """A machine on a manual clock over tiers of `provider/model` names; those in `rejected` fail fast."""

    def __init__(
        self,
        *tiers: Sequence[str],
        rejected: Sequence[str] = (),
        policy: AliasPolicy | None = None,
        windows: dict[str, int] | None = None,
        deadline_s: float = 60.0,
    ) -> None:
        members = [[(name, self._member(name, windows or {})) for name in tier] for tier in tiers]
        alias = Alias(
            "default", tuple(Tier(tuple(member for _, member in tier)) for tier in members), policy or AliasPolicy()
        )
        candidates = [
            Candidate(member.target, number, member, REJECTED if name in rejected else None)
            for number, tier in enumerate(members)
            for name, member in tier
        ]
        self.clock = ManualClock()
        allowance = Allowance(alias.policy.max_attempts, deadline_s)
        self.machine = Machine(Plan(alias, tuple(candidates)), allowance, clock=self.clock, rng=random.Random(1))

    @staticmethod
    def _member(name: str, windows: dict[str, int]) -> AliasTarget:
        provider, _, model = name.partition("/")
        return AliasTarget(TargetId(provider, model), facts=ModelFacts(context_tokens=windows.get(name)))

    def start(self) -> Action:
        return self.machine.handle(Started())

    def grant(self, candidate: int, key: str = "k1", passed: tuple[Refusal, ...] = ()) -> Dispatch:
        action = self.machine.handle(Granted(candidate, key, passed))
        assert isinstance(action, Dispatch)
        return action

    def fail(self, failure_class: FailureClass, retry_after_s: float | None = None) -> Action:
        return self.machine.handle(AttemptFailed(Failure(failure_class, "test", retry_after_s)))

    def none_free(self, *refusals: Refusal) -> Action:
        return self.machine.handle(NoneFree(refusals))

    def refused(self, refusal: Refusal = FULL) -> Action:
        return self.machine.handle(Refused(refusal))


def moves(action: Action) -> list[int]:
    assert isinstance(action, TryNow), action
    return [move.candidate for move in action.moves]


def told(action: Action) -> Reason:
    assert isinstance(action, Fail), action
    return action.reason


def test_who_was_passed_over_on_the_way_to_a_free_candidate_is_remembered() -> None:
    """A candidate that refused before another one took the call is skipped, with its own refusal."""
    call = Call(["a/m", "b/m", "c/m"])
    call.start()
    assert call.grant(2, passed=(FULL, COOLING)).why is Why.FAILOVER
    assert call.machine.refusals == {0: FULL, 1: COOLING}


def test_a_refusal_is_forgotten_once_its_candidate_takes_the_call() -> None:
    """What is told in the end is not how long the queue was before the first attempt."""
    call = Call(["a/m"], policy=AliasPolicy(max_attempts=1))
    call.start()
    call.none_free(FULL)
    call.grant(0)
    ended = call.fail(F.SERVER_ERROR)
    assert isinstance(ended, Fail)
    assert ended.refusal is None


def test_only_the_first_call_at_the_first_candidate_is_first() -> None:
    """A later call that lands on the plan's first candidate for the first time is a failover."""
    call = Call(["a/m", "b/m"])
    call.start()
    call.grant(1, passed=(FULL,))
    assert moves(call.fail(F.SERVER_ERROR)) == [0]
    assert call.grant(0).why is Why.FAILOVER


def test_a_rejected_target_fails_its_requests_alike_in_any_tier() -> None:
    """Reached behind a full tier, a target whose keys were all rejected fails the call as UPSTREAM_CREDENTIALS."""
    call = Call(["a/m"], ["b/m"], ["c/m"], rejected=["b/m"])
    call.start()
    call.none_free(FULL)
    ended = call.refused()
    assert ended == Fail(Reason.UPSTREAM_CREDENTIALS, refusal=REJECTED)


@pytest.mark.parametrize("policy", list(Policy))
def test_keys_that_are_rejected_while_a_call_waits_for_them(policy: Policy) -> None:
    """The last key may be rejected in another call's hands: the waiter fails fast too, unless the alias goes on."""
    call = Call(["a/m"], ["b/m"], policy=AliasPolicy(on_key_rejected=policy))
    call.start()
    call.none_free(FULL)
    action = call.refused(REJECTED)
    if policy is Policy.FAIL:
        assert action == Fail(Reason.UPSTREAM_CREDENTIALS, refusal=REJECTED)
    else:
        assert moves(action) == [1]


def test_a_return_that_does_not_fit_the_deadline_leaves_the_turn_to_the_next() -> None:
    """The earliest candidate asks for a minute; the next one allows a return now, and gets it."""
    call = Call(["a/m", "b/m"], deadline_s=10.0)
    call.start()
    call.grant(0)
    call.fail(F.OVERLOADED, 60.0)
    call.grant(1)
    action = call.fail(F.SERVER_ERROR)
    assert isinstance(action, Backoff)
    assert action.seconds <= 0.1
    assert call.machine.handle(Woke()) == Queue(Move(1))


def test_a_return_that_is_refused_gives_way_to_the_waits() -> None:
    """After the backoff the same target is full: the next one, which was full before, may still be waited for."""
    call = Call(["a/m", "b/m"])
    call.start()
    call.grant(0)
    assert moves(call.fail(F.SERVER_ERROR)) == [1]
    assert isinstance(call.none_free(FULL), Backoff)
    assert call.machine.handle(Woke()) == Queue(Move(0))
    assert call.refused() == Queue(Move(1))
    assert call.grant(1).why is Why.FAILOVER


def test_after_silence_another_provider_is_waited_for_first() -> None:
    """FIRST_TOKEN_TIMEOUT: where all are full, the queue of another provider goes before that of the same."""
    call = Call(["a/m", "a/n", "b/m"], ["a/o"])
    call.start()
    call.grant(0)
    assert moves(call.fail(F.FIRST_TOKEN_TIMEOUT)) == [2, 1, 3]
    assert call.none_free(FULL, FULL, FULL) == Queue(Move(2))
    assert call.refused() == Queue(Move(1))
    assert call.refused() == Queue(Move(3))
    assert told(call.refused()) is Reason.UPSTREAM_EXHAUSTED


def test_a_prompt_too_long_does_not_return_to_a_window_that_is_no_larger() -> None:
    """CONTEXT_LENGTH at the second target: the first, which had failed otherwise, could not read it either."""
    call = Call(["a/m", "b/m"], windows={"a/m": 8000, "b/m": 8000})
    call.start()
    call.grant(0)
    call.fail(F.SERVER_ERROR)
    call.grant(1)
    assert told(call.fail(F.CONTEXT_LENGTH)) is Reason.UPSTREAM_EXHAUSTED


@pytest.mark.parametrize("retry_after_s", [None, 2.0])
def test_a_cooling_primary_is_waited_for_before_a_full_fallback(retry_after_s: float | None) -> None:
    """Waits go in plan order: the primary's cool-down, then the fallback's queue."""
    call = Call(["a/m"], ["b/m"])
    call.start()
    call.grant(0)
    assert moves(call.fail(F.RATE_LIMITED, retry_after_s)) == [0, 1]
    assert call.none_free(COOLING, FULL) == Queue(Move(0))
    assert call.refused(COOLING) == Queue(Move(1))
    assert told(call.refused()) is Reason.RATE_LIMITED


def test_a_rejected_target_is_no_fallback() -> None:
    """After a failure a target that would fail fast is passed over."""
    call = Call(["a/m", "b/m"], ["c/m"], rejected=["b/m"])
    call.start()
    call.grant(0)
    assert moves(call.fail(F.SERVER_ERROR)) == [2]
