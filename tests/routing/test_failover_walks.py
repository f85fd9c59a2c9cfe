"""Random walks through the failover machine: what holds on every way, whatever happens."""

from __future__ import annotations

import random

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from trunkline_server.routing.aliases import Alias, AliasPolicy, AliasTarget, ModelFacts, Policy, Tier
from trunkline_server.routing.circuit import Circuit, CircuitLimits, CircuitState
from trunkline_server.routing.clock import ManualClock
from trunkline_server.routing.events import (
    Action,
    AttemptFailed,
    Backoff,
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
    Woke,
)
from trunkline_server.routing.failover import State
from trunkline_server.routing.failures import Failure, FailureClass
from trunkline_server.routing.machine import Machine
from trunkline_server.routing.moves import Move
from trunkline_server.routing.retry import KEY_WALK_STEPS, Allowance
from trunkline_server.routing.selection import Candidate, Plan
from trunkline_server.routing.types import Reason, Refusal, TargetId

DEADLINE_S = 30.0
UPSTREAM = sorted(
    set(FailureClass) - {FailureClass.SATURATED, FailureClass.DEADLINE, FailureClass.CANCELLED}, key=lambda c: c.value
)
REFUSALS = [
    Refusal(FailureClass.SATURATED, Reason.QUEUE_FULL, "full", 1.0),
    Refusal(FailureClass.SATURATED, Reason.QUEUE_TIMEOUT, "waited", 1.0),
    Refusal(FailureClass.RATE_LIMITED, Reason.RATE_LIMITED, "cooling", 5.0),
    Refusal(FailureClass.KEY_REJECTED, Reason.UPSTREAM_CREDENTIALS, "rejected", 60.0),
]
KEYS = [f"k{number}" for number in range(8)]


class Walk(RuleBasedStateMachine):
    """Plays everything that may happen to a request; the machine only decides."""

    machine: Machine
    action: Action

    @initialize(
        tiers=st.lists(st.lists(st.sampled_from("abc"), min_size=1, max_size=3), min_size=1, max_size=3),
        max_attempts=st.integers(1, 5),
        policies=st.tuples(st.sampled_from(Policy), st.sampled_from(Policy)),
        seed=st.integers(0, 999),
    )
    def begin(self, tiers: list[list[str]], max_attempts: int, policies: tuple[Policy, Policy], seed: int) -> None:
        rng = random.Random(seed)
        members = [
            [
                AliasTarget(
                    TargetId(provider, f"m{tier}{place}"), facts=ModelFacts(context_tokens=rng.choice([None, 8, 16]))
                )
                for place, provider in enumerate(names)
            ]
            for tier, names in enumerate(tiers)
        ]
        policy = AliasPolicy(max_attempts, policies[0], policies[1])
        alias = Alias("default", tuple(Tier(tuple(tier)) for tier in members), policy)
        rejected = REFUSALS[-1] if policies[0] is Policy.FAIL else None
        self.clock = ManualClock()
        self.circuits: list[Circuit] = []
        candidates = [
            Candidate(member.target, tier, member, rejected if rng.random() < 0.2 else None, self.circuit(rng))
            for tier, them in enumerate(members)
            for member in them
        ]
        self.plan = Plan(alias, tuple(candidates))
        self.max_attempts = max_attempts
        self.machine = Machine(self.plan, Allowance(max_attempts, DEADLINE_S), clock=self.clock, rng=rng)
        self.dispatched: list[tuple[int, str]] = []
        self.ended: list[Action] = []
        self.committed = False
        self.outstanding = False
        self.asked: tuple[Move, ...] = ()
        self.waits = 0
        self.take(self.machine.handle(Started()))

    def circuit(self, rng: random.Random) -> Circuit:
        """Return a circuit in any state: closed, about to open, open, half-open or ramping."""
        limits = CircuitLimits(open_s=1.0, ramp_s=3.0)
        circuit = Circuit(limits, clock=self.clock, rng=rng)
        kind = rng.randrange(5)
        for _ in range(4 if kind == 1 else 5 if kind else 0):
            circuit.enter().failed()
        if kind > 2:
            self.clock.advance(1.2)
            assert circuit.state is CircuitState.HALF_OPEN
        if kind == 4:
            circuit.enter().succeeded()
        self.circuits.append(circuit)
        return circuit

    @rule(index=st.integers(0, 8), failed=st.booleans(), seconds=st.floats(0, 2))
    def somebody_else_calls(self, index: int, seconds: float, *, failed: bool) -> None:
        """Another request tells a circuit what became of its attempt, and time passes."""
        permit = self.circuits[index % len(self.circuits)].enter()
        self.clock.advance(seconds)
        if failed:
            permit.failed()
        else:
            permit.succeeded()
        permit.ended()

    def take(self, action: Action) -> None:
        """Keep the books of what the machine asked for."""
        self.action = action
        match action:
            case TryNow(moves):
                self.asked = moves
                assert moves
                assert all(self.machine.guard.shut_because(move.candidate) is None for move in moves)
                assert not self.outstanding
            case Queue(move):
                self.asked = (move,)
                self.waits += 1
                assert not self.outstanding
            case Backoff(seconds):
                assert seconds >= 0
                assert self.clock() + seconds < DEADLINE_S
                assert not self.outstanding
            case Dispatch(attempt, candidate, key_id):
                assert not self.outstanding, "two attempts at once"
                assert not self.committed, "another attempt after the commit point"
                assert self.plan.candidates[candidate].rejected is None, "a target that fails fast was asked"
                self.outstanding = True
                self.dispatched.append((candidate, key_id))
                assert attempt == len(self.dispatched)
            case Finish() | Fail():
                self.ended.append(action)
            case GoOn() | Drop():
                pass

    @precondition(lambda self: isinstance(self.action, TryNow | Queue))
    @rule(data=st.data())
    def grant(self, data: st.DataObject) -> None:
        """A slot and a key came: at one of the candidates that were asked for, with a key that is not excluded."""
        move = data.draw(st.sampled_from(self.asked))
        key_id = data.draw(st.sampled_from([key for key in KEYS if key not in move.exclude_keys]))
        passed = data.draw(st.sampled_from(REFUSALS))
        before = (passed,) * self.asked.index(move)
        self.take(self.machine.handle(Granted(move.candidate, key_id, before)))
        if isinstance(self.action, Dispatch):
            assert move.candidate not in self.machine.refusals
        else:
            assert self.plan.candidates[move.candidate].shut_because is not None, "a grant was not used"
            assert any(other.shut_because is None for other in self.plan.candidates)

    @precondition(lambda self: isinstance(self.action, TryNow))
    @rule(refusal=st.sampled_from(REFUSALS))
    def none_free(self, refusal: Refusal) -> None:
        """Nobody could take the call at once."""
        self.take(self.machine.handle(NoneFree((refusal,) * len(self.asked))))

    @precondition(lambda self: isinstance(self.action, Queue))
    @rule(refusal=st.sampled_from(REFUSALS), waited_s=st.floats(0, 5))
    def refused(self, refusal: Refusal, waited_s: float) -> None:
        """The queue was full, or the wait was in vain."""
        self.clock.advance(waited_s)
        self.take(self.machine.handle(Refused(refusal)))

    @precondition(lambda self: isinstance(self.action, Backoff))
    @rule()
    def wake(self) -> None:
        """The backoff is over."""
        assert isinstance(self.action, Backoff)
        self.clock.advance(self.action.seconds)
        self.take(self.machine.handle(Woke()))

    @precondition(lambda self: self.outstanding and not self.committed)
    @rule()
    def first_content(self) -> None:
        """The attempt shows its first content."""
        self.committed = True
        self.take(self.machine.handle(FirstContent()))

    @precondition(lambda self: self.outstanding)
    @rule()
    def complete(self) -> None:
        """The attempt gave its whole answer."""
        self.outstanding = False
        self.take(self.machine.handle(Completed()))
        assert isinstance(self.action, Finish)

    @precondition(lambda self: self.outstanding)
    @rule(
        failure_class=st.sampled_from(UPSTREAM),
        retry_after_s=st.none() | st.floats(0, 60),
        after_s=st.floats(0, 10),
    )
    def fail(self, failure_class: FailureClass, retry_after_s: float | None, after_s: float) -> None:
        """The attempt failed, in any class."""
        self.clock.advance(after_s)
        self.outstanding = False
        self.take(self.machine.handle(AttemptFailed(Failure(failure_class, "test", retry_after_s))))
        if self.committed:
            assert isinstance(self.action, Fail)
            assert self.action.reason is Reason.STREAM_BROKEN

    @precondition(lambda self: not self.ended)
    @rule(reason=st.sampled_from([Reason.DEADLINE, Reason.CANCELLED, Reason.SERVER_DRAINING]))
    def stop(self, reason: Reason) -> None:
        """The call ends from outside, in the middle of whatever it does."""
        was_committed = self.committed and self.outstanding
        self.outstanding = False
        self.take(self.machine.handle(Stopped(reason)))
        assert isinstance(self.action, Fail)
        assert self.action.reason is reason
        assert (self.action.broken is not None) is was_committed

    @precondition(lambda self: self.ended)
    @rule(failure_class=st.sampled_from(UPSTREAM))
    def late(self, failure_class: FailureClass) -> None:
        """Whatever comes after the end is dropped."""
        assert self.machine.handle(AttemptFailed(Failure(failure_class, "late"))) == Drop()
        assert self.machine.handle(Granted(0, "k0")) == Drop()

    @invariant()
    def one_ending(self) -> None:
        """A call ends once, and its state says so."""
        if hasattr(self, "ended"):
            assert len(self.ended) <= 1
            assert (self.machine.state is State.ENDED) is bool(self.ended)

    @invariant()
    def circuits_are_told(self) -> None:
        """A permit is held while an attempt is in flight, and only then; so no probe's place is ever lost."""
        if hasattr(self, "outstanding"):
            assert (self.machine.guard._permit is not None) is self.outstanding

    @invariant()
    def within_policy(self) -> None:
        """Attempts and key walks stay within what the request may have; waits cannot go on for ever."""
        if hasattr(self, "dispatched"):
            assert self.machine.attempts_used <= self.max_attempts
            assert len(self.dispatched) <= self.max_attempts + KEY_WALK_STEPS
            candidates = len(self.plan.candidates)
            assert self.waits <= candidates + (len(self.dispatched) + 1) * (candidates + 1)


TestWalk = Walk.TestCase
TestWalk.settings = settings(max_examples=300, stateful_step_count=30, deadline=None)
