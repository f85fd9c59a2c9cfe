"""The failover machine by example: what it does after what happened."""

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
    Broken,
    Completed,
    Dispatch,
    Drop,
    Fail,
    Finish,
    FirstContent,
    GoOn,
    Granted,
    NoneFree,
    Queue,
    Refused,
    Started,
    Stopped,
    TryNow,
    Why,
    Woke,
)
from trunkline_server.routing.failover import TABLE, IllegalEventError, State
from trunkline_server.routing.failures import Failure, FailureClass
from trunkline_server.routing.machine import Machine
from trunkline_server.routing.moves import Move
from trunkline_server.routing.retry import Allowance
from trunkline_server.routing.selection import Candidate, Plan
from trunkline_server.routing.types import OnBreak, Reason, Refusal, TargetId

FULL = Refusal(FailureClass.SATURATED, Reason.QUEUE_FULL, "full", 1.0)
COOLING = Refusal(FailureClass.RATE_LIMITED, Reason.RATE_LIMITED, "cooling", 9.0)
F = FailureClass


def plan(*tiers: Sequence[str], windows: dict[str, int] | None = None, policy: AliasPolicy | None = None) -> Plan:
    """Return a plan whose candidates are `tiers` of `provider/model` names, in this order."""
    members = [
        [
            AliasTarget(TargetId(*name.split("/")), facts=ModelFacts(context_tokens=(windows or {}).get(name)))
            for name in tier
        ]
        for tier in tiers
    ]
    alias = Alias("default", tuple(Tier(tuple(tier)) for tier in members), policy or AliasPolicy())
    candidates = [Candidate(member.target, number, member) for number, tier in enumerate(members) for member in tier]
    return Plan(alias, tuple(candidates))


class Driven:
    """A machine on a manual clock, driven by hand."""

    def __init__(self, of: Plan, *, max_attempts: int = 3, deadline_s: float = 60.0) -> None:
        self.clock = ManualClock()
        self.machine = Machine(of, Allowance(max_attempts, deadline_s), clock=self.clock, rng=random.Random(1))

    def start(self) -> Action:
        return self.machine.handle(Started())

    def dispatch(self, candidate: int = 0, key: str = "k1") -> Dispatch:
        action = self.machine.handle(Granted(candidate, key))
        assert isinstance(action, Dispatch)
        return action

    def fail(self, failure_class: FailureClass, retry_after_s: float | None = None) -> Action:
        return self.machine.handle(AttemptFailed(Failure(failure_class, "test", retry_after_s)))

    def none_free(self, *refusals: Refusal) -> Action:
        return self.machine.handle(NoneFree(refusals))


def candidates(action: Action) -> list[int]:
    assert isinstance(action, TryNow), action
    return [move.candidate for move in action.moves]


def reason(action: Action) -> Reason:
    assert isinstance(action, Fail), action
    return action.reason


def test_the_plain_way() -> None:
    """Try the tier, dispatch, show the first content, finish."""
    call = Driven(plan(["a/m"]))
    assert candidates(call.start()) == [0]
    assert call.dispatch() == Dispatch(1, 0, "k1", Why.FIRST)
    assert call.machine.handle(FirstContent()) == GoOn()
    assert repr(call.machine).startswith("Machine(COMMITTED")
    assert call.machine.handle(Completed()) == Finish()
    assert repr(call.machine).startswith("Machine(ENDED")


def test_a_full_tier_queues_at_its_first_candidate_then_moves_on() -> None:
    """All of a tier are asked at once; then its first one's queue; then the next tier."""
    call = Driven(plan(["a/m", "b/m"], ["c/m"]))
    assert candidates(call.start()) == [0, 1]
    assert call.none_free(FULL, FULL) == Queue(Move(0))
    assert candidates(call.machine.handle(Refused(FULL))) == [2]
    assert call.dispatch(2).why is Why.FAILOVER
    assert sorted(call.machine.refusals) == [0, 1]


def test_after_the_last_tier_the_first_candidates_refusal_is_told() -> None:
    """When nothing was dispatched, the answer is the first candidate's own refusal."""
    call = Driven(plan(["a/m"], ["b/m"]))
    call.start()
    call.none_free(FULL)
    call.machine.handle(Refused(COOLING))
    call.none_free(FULL)
    ended = call.machine.handle(Refused(FULL))
    assert ended == Fail(Reason.RATE_LIMITED, refusal=COOLING)


def test_a_rate_limit_walks_to_another_key_before_another_target() -> None:
    """Move 1 is another key of the same target, without the one that failed."""
    call = Driven(plan(["a/m", "b/m"]))
    call.start()
    call.dispatch(0, "k1")
    action = call.fail(F.RATE_LIMITED)
    assert isinstance(action, TryNow)
    assert action.moves == (Move(0, frozenset({"k1"})), Move(1))
    assert call.dispatch(0, "k2").why is Why.KEY_WALK


def test_a_provider_failure_goes_to_the_next_target_and_not_to_another_key() -> None:
    """After SERVER_ERROR another key of the same target would hit the same trouble."""
    call = Driven(plan(["a/m", "b/m"], ["c/m"]))
    call.start()
    call.dispatch()
    assert candidates(call.fail(F.SERVER_ERROR)) == [1, 2]


@pytest.mark.parametrize(("failure_class", "order"), [(F.SERVER_ERROR, [1, 2, 3]), (F.OVERLOADED, [2, 1, 3])])
def test_after_overload_another_provider_goes_first_within_the_tier(
    failure_class: FailureClass, order: list[int]
) -> None:
    """OVERLOADED prefers another provider within the tier; tiers stay in order."""
    call = Driven(plan(["a/m", "a/n", "b/m"], ["a/o"]))
    call.start()
    call.dispatch()
    assert candidates(call.fail(failure_class)) == order


def test_when_nobody_else_is_there_the_same_target_is_tried_after_a_backoff() -> None:
    """Move 4: equal jitter between 0.05 and 0.1 s, then 0.1 to 0.2 s; slot and key are not held meanwhile."""
    call = Driven(plan(["a/m"]))
    call.start()
    call.dispatch()
    first = call.fail(F.SERVER_ERROR)
    assert isinstance(first, Backoff)
    assert 0.05 <= first.seconds <= 0.1
    assert call.machine.handle(Woke()) == Queue(Move(0))
    assert call.dispatch().why is Why.RETRY
    second = call.fail(F.SERVER_ERROR)
    assert isinstance(second, Backoff)
    assert 0.1 <= second.seconds <= 0.2


def test_retry_after_wins_over_our_own_backoff() -> None:
    """What the provider asks for is how long we wait, if it fits the deadline."""
    call = Driven(plan(["a/m"]), deadline_s=10.0)
    call.start()
    call.dispatch()
    assert call.fail(F.OVERLOADED, 7.5) == Backoff(7.5)


def test_a_wait_that_does_not_fit_the_deadline_is_not_made() -> None:
    """A retry that would start after the deadline ends the call now, with what failed, and the no is recorded."""
    call = Driven(plan(["a/m"]), deadline_s=5.0)
    call.start()
    call.dispatch()
    assert reason(call.fail(F.OVERLOADED, 7.5)) is Reason.UPSTREAM_EXHAUSTED
    assert call.machine.not_made == ["a/m: the deadline leaves no time for it"]


def test_attempts_are_counted_over_all_targets() -> None:
    """max_attempts bounds the whole request; there is no sleep after the last attempt."""
    call = Driven(plan(["a/m", "b/m", "c/m"]), max_attempts=2)
    call.start()
    call.dispatch(0)
    call.fail(F.SERVER_ERROR)
    assert call.dispatch(1).attempt == 2
    assert reason(call.fail(F.CONNECT)) is Reason.UPSTREAM_EXHAUSTED


def test_a_key_walk_uses_up_no_attempt_and_ends_after_five_steps() -> None:
    """Rejected keys are walked past at most five times; each walk is free."""
    call = Driven(plan(["a/m"]), max_attempts=1)
    call.start()
    call.dispatch(0, "k0")
    for step in range(1, 6):
        assert isinstance(call.fail(F.KEY_REJECTED), TryNow)
        assert call.dispatch(0, f"k{step}").why is Why.KEY_WALK
    assert reason(call.fail(F.KEY_REJECTED)) is Reason.UPSTREAM_CREDENTIALS
    assert call.machine.attempts_used == 1


def test_rejected_keys_fail_fast_unless_the_alias_goes_on() -> None:
    """on_key_rejected: fail ends the call after the last key; next_target goes on."""
    for policy, goes_on in ((Policy.FAIL, False), (Policy.NEXT_TARGET, True)):
        call = Driven(plan(["a/m"], ["b/m"], policy=AliasPolicy(on_key_rejected=policy)))
        call.start()
        call.dispatch()
        moves = candidates(call.fail(F.KEY_REJECTED))
        assert moves == ([0, 1] if goes_on else [0])
        if not goes_on:
            # Its last hope is another key in the queue; refused there, the call ends with the rejection.
            assert isinstance(call.none_free(COOLING), Queue)
            assert reason(call.machine.handle(Refused(COOLING))) is Reason.UPSTREAM_CREDENTIALS


@pytest.mark.parametrize(
    ("failure_class", "ends_as"),
    [
        (F.CALLER_INVALID, Reason.BAD_REQUEST),
        (F.CONTENT_FILTERED, Reason.CONTENT_FILTERED),
        (F.CONTEXT_LENGTH, Reason.CONTEXT_LENGTH),
    ],
)
def test_the_callers_own_faults_fail_fast(failure_class: FailureClass, ends_as: Reason) -> None:
    """A request that is wrong is wrong everywhere: one attempt, and the typed reason."""
    call = Driven(plan(["a/m"], ["b/m"]))
    call.start()
    call.dispatch()
    assert reason(call.fail(failure_class)) is ends_as


def test_a_prompt_too_long_goes_only_to_a_larger_window() -> None:
    """CONTEXT_LENGTH moves to targets whose known window is larger, and to no others."""
    windows = {"a/m": 8000, "b/m": 8000, "d/m": 128000}
    call = Driven(plan(["a/m", "b/m"], ["c/m", "d/m"], windows=windows))
    call.start()
    call.dispatch()
    assert candidates(call.fail(F.CONTEXT_LENGTH)) == [3]


def test_a_cooling_key_is_waited_for_when_there_is_nothing_else() -> None:
    """Move 5: the only key cools; the call waits for it in the queue, and a refusal there ends it as RATE_LIMITED."""
    call = Driven(plan(["a/m"]))
    call.start()
    call.dispatch()
    call.fail(F.RATE_LIMITED, 2.0)
    assert call.none_free(COOLING) == Queue(Move(0))
    ended = call.machine.handle(Refused(COOLING))
    assert reason(ended) is Reason.RATE_LIMITED
    assert isinstance(ended, Fail)
    assert ended.refusal is COOLING


def test_the_first_dispatched_candidates_failure_is_told() -> None:
    """Whatever the later ones ended as, the call's failure is that of the first candidate that was dispatched."""
    call = Driven(plan(["a/m"], ["b/m"]))
    call.start()
    call.dispatch(0)
    call.fail(F.RATE_LIMITED)
    call.dispatch(1)
    ended = call.fail(F.CALLER_INVALID)
    assert reason(ended) is Reason.RATE_LIMITED


def test_after_the_commit_point_nothing_is_replaced_in_silence() -> None:
    """A failure after the first content is told and ends the call, with fallbacks and attempts left."""
    call = Driven(plan(["a/m"], ["b/m"]))
    call.start()
    call.dispatch()
    call.machine.handle(FirstContent())
    broken = call.fail(F.TRUNCATED)
    failure = Failure(F.TRUNCATED, "test")
    assert broken == Broken(failure, OnBreak.FAIL, OnBreak.FAIL, "", Fail(Reason.STREAM_BROKEN, failure=failure))
    assert call.machine.state is State.ENDED


@pytest.mark.parametrize("stop", [Reason.DEADLINE, Reason.CANCELLED, Reason.SERVER_DRAINING])
def test_a_stop_ends_any_wait_and_any_attempt(stop: Reason) -> None:
    """Deadline, caller and drain end the call from every state, and keep their own reason after the commit point."""
    waiting = Driven(plan(["a/m"]))
    waiting.start()
    waiting.none_free(FULL)
    assert waiting.machine.handle(Stopped(stop)) == Fail(stop)
    committed = Driven(plan(["a/m"]))
    committed.start()
    committed.dispatch()
    committed.machine.handle(FirstContent())
    ended = committed.machine.handle(Stopped(stop))
    assert isinstance(ended, Broken)
    assert ended.then == Fail(stop)
    assert not ended.failure.rule.counts


def test_after_the_end_events_are_dropped() -> None:
    """A late grant or failure after the end means nothing; a grant is given back by whoever got Drop."""
    call = Driven(plan(["a/m"]))
    call.start()
    call.machine.handle(Stopped(Reason.CANCELLED))
    assert call.machine.handle(Granted(0, "k1")) == Drop()
    assert call.fail(F.CONNECT) == Drop()


def test_an_event_without_a_row_raises() -> None:
    """What cannot happen in a state is a defect of the driver and is told as one."""
    call = Driven(plan(["a/m"]))
    with pytest.raises(IllegalEventError, match="Completed in state NEW"):
        call.machine.handle(Completed())


def test_every_row_has_its_method() -> None:
    """The table names only decisions that the machine has, and every state but the last can be left."""
    for (state, event), row in TABLE.items():
        assert hasattr(Machine, f"_{row.decide}"), (state, event)
    assert {state for state, _ in TABLE} == set(State) - {State.ENDED}
    assert all((state, Stopped) in TABLE for state in State if state is not State.ENDED)


def test_the_machine_prints_where_it_stands() -> None:
    """The repr tells the state, what was tried and how many attempts were used."""
    call = Driven(plan(["a/m", "b/m"]))
    call.start()
    call.dispatch(1, "team-a")
    assert repr(call.machine) == "Machine(IN_FLIGHT, tried=[b/m:team-a], attempts=1)"
