"""A failover machine with health that remembers what it was told, driven by hand on a manual clock."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from trunkline_server.routing.aliases import Alias, AliasPolicy, AliasTarget, ModelFacts, Tier
from trunkline_server.routing.breaks import NOTHING_BARS, PREFILL, Shown
from trunkline_server.routing.budget import BudgetLimits, Charge, RetryBudget
from trunkline_server.routing.circuit import Circuit, CircuitLimits, Permit
from trunkline_server.routing.clock import Clock, ManualClock
from trunkline_server.routing.events import (
    Action,
    AttemptFailed,
    Broken,
    Completed,
    Dispatch,
    Event,
    Fail,
    FirstContent,
    GoOn,
    Granted,
    NoneFree,
    Refused,
    Slow,
    Started,
    Stopped,
    TryNow,
    Woke,
)
from trunkline_server.routing.failover import State
from trunkline_server.routing.failures import Failure, FailureClass
from trunkline_server.routing.health import Health
from trunkline_server.routing.latency import SAMPLES_MIN, Latency
from trunkline_server.routing.machine import Machine
from trunkline_server.routing.retry import Allowance
from trunkline_server.routing.selection import Candidate, Plan
from trunkline_server.routing.types import OnBreak, Reason, Refusal, TargetId

F = FailureClass
FULL = Refusal(F.SATURATED, Reason.QUEUE_FULL, "full", 1.0)
TRIED = Refusal(F.MODEL_UNAVAILABLE, Reason.MODEL_UNAVAILABLE, "every key was tried", never=True)
COOLING = Refusal(F.RATE_LIMITED, Reason.RATE_LIMITED, "cooling", 9.0)
REJECTED = Refusal(F.KEY_REJECTED, Reason.UPSTREAM_CREDENTIALS, "every key was rejected", 60.0)
NO_BUDGET = BudgetLimits(ratio=0.0, recovering_ratio=0.0, floor_per_s=0.0)

Reached = Counter[tuple[State, type[Event], type[Action]]]
"""How often each event led to each action in each state; for Broken: the action that it carries."""


class ToldCircuit(Circuit):
    """A circuit that keeps what every attempt said to it."""

    def __init__(self, limits: CircuitLimits, *, clock: Clock, rng: random.Random) -> None:
        super().__init__(limits, clock=clock, rng=rng)
        self.words: dict[Permit, list[str]] = {}

    def enter(self) -> Permit:
        permit = super().enter()
        self.words[permit] = []
        return permit

    def book(self, permit: Permit, *, failed: bool) -> None:
        self.words[permit].append("failed" if failed else "succeeded")
        super().book(permit, failed=failed)

    def let_go(self, permit: Permit) -> None:
        self.words[permit].append("ended")
        super().let_go(permit)


class ToldCharge(Charge):
    """A charge that keeps what its attempt said to it."""

    __slots__ = ("words",)

    def __init__(self, charge: Charge) -> None:
        super().__init__(charge._tell)
        self.words: list[str] = []

    def succeeded(self) -> None:
        self.words.append("succeeded")
        super().succeeded()

    def failed(self) -> None:
        self.words.append("failed")
        super().failed()

    def ended(self) -> None:
        self.words.append("ended")
        super().ended()


class ToldBudget(RetryBudget):
    """A budget that keeps what was booked."""

    def __init__(self, limits: BudgetLimits, *, clock: Clock) -> None:
        super().__init__(limits, clock=clock)
        self.booked: list[str] = []
        self.charges: list[ToldCharge] = []

    def first(self, caller: str, *, library_retry: bool = False) -> None:
        self.booked.append("library retry" if library_retry else "first")
        super().first(caller, library_retry=library_retry)

    def charge(self, caller: str) -> Charge:
        self.booked.append("charge")
        return self._told(super().charge(caller))

    def hedge(self, caller: str, *, raced: RetryBudget | None = None) -> Charge:
        self.booked.append("hedge")
        return self._told(super().hedge(caller, raced=raced))

    def _told(self, charge: Charge) -> Charge:
        self.charges.append(ToldCharge(charge))
        return self.charges[-1]


class MachineHouse:
    """One alias of `provider/model` names; a circuit a target, a budget a provider, and one request after the other.

    `prefill`: targets that can go on from a text; `usual_s`: times to the first content, where they are known.
    """

    def __init__(
        self,
        *tiers: Sequence[str],
        policy: AliasPolicy | None = None,
        prefill: Collection[str] = (),
        rejected: Collection[str] = (),
        usual_s: Mapping[str, float] | None = None,
        budget: BudgetLimits | None = None,
    ) -> None:
        self.clock = ManualClock(100.0)
        self.reached: Reached = Counter()
        names = [name for tier in tiers for name in tier]
        self.circuits = {
            name: ToldCircuit(CircuitLimits(), clock=self.clock, rng=random.Random(1)) for name in dict.fromkeys(names)
        }
        self.budgets = {
            name.partition("/")[0]: ToldBudget(budget or BudgetLimits(), clock=self.clock) for name in names
        }
        members = [
            [
                AliasTarget(
                    TargetId(*name.split("/")),
                    facts=ModelFacts(capabilities=frozenset({PREFILL}) if name in prefill else frozenset()),
                )
                for name in tier
            ]
            for tier in tiers
        ]
        alias = Alias("default", tuple(Tier(tuple(tier)) for tier in members), policy or AliasPolicy())
        candidates = [
            Candidate(
                member.target,
                number,
                member,
                REJECTED if str(member.target) in rejected else None,
                self._health(member.target, (usual_s or {}).get(str(member.target))),
            )
            for number, tier in enumerate(members)
            for member in tier
        ]
        self.plan = Plan(alias, tuple(candidates))
        self.machine: Machine

    def _health(self, target: TargetId, usual_s: float | None) -> Health:
        latency = Latency.unknown(clock=self.clock)
        for _ in range(SAMPLES_MIN if usual_s is not None else 0):
            latency.first_content.book(usual_s or 0.0)
        return Health(self.circuits[str(target)], self.budgets[target.provider], latency)

    def come(
        self,
        on_break: OnBreak | None = None,
        *,
        deadline_s: float = 60.0,
        max_attempts: int | None = None,
        streams: bool = True,
        sent_again: bool = False,
        caller: str = "a",
    ) -> None:
        """Let the next request come."""
        if max_attempts is None:
            max_attempts = self.plan.alias.policy.max_attempts
        self.machine = Machine(
            self.plan,
            Allowance(max_attempts, self.clock() + deadline_s),
            clock=self.clock,
            rng=random.Random(1),
            on_break=on_break,
            streams=streams,
            caller=caller,
            sent_again=sent_again,
        )

    def start(self, on_break: OnBreak | None = None, *, max_attempts: int | None = None) -> Action:
        """Let the next request come, and start it."""
        self.come(on_break, max_attempts=max_attempts)
        return self.handle(Started())

    def handle(self, event: Event) -> Action:
        before = self.machine.state
        action = self.machine.handle(event)
        done = action.then if isinstance(action, Broken) else action
        self.reached[before, type(event), type(done)] += 1
        return action

    def grant(self, candidate: int = 0, key: str = "k1") -> Action:
        return self.handle(Granted(candidate, key))

    def dispatch(self, candidate: int = 0, key: str = "k1") -> Dispatch:
        action = self.grant(candidate, key)
        done = action.then if isinstance(action, Broken) else action
        assert isinstance(done, Dispatch), action
        return done

    def begin(self, on_break: OnBreak | None = None, *, max_attempts: int | None = None) -> Dispatch:
        """Begin the next request and dispatch it at its first candidate."""
        self.start(on_break, max_attempts=max_attempts)
        return self.dispatch()

    def show(self, on_break: OnBreak | None = None, *, max_attempts: int | None = None) -> None:
        """Begin the next request, and show its first content."""
        self.begin(on_break, max_attempts=max_attempts)
        self.content()

    def content(self, attempt: int = 0) -> None:
        assert self.handle(FirstContent(attempt)) == GoOn()

    def complete(self, attempt: int = 0) -> Action:
        return self.handle(Completed(attempt))

    def fail(
        self,
        failure_class: FailureClass = F.SERVER_ERROR,
        attempt: int = 0,
        *,
        retry_after_s: float | None = None,
        by_caller: bool = False,
        shown: Shown = NOTHING_BARS,
    ) -> Action:
        failure = Failure(failure_class, "test", retry_after_s, caused_by_caller=by_caller)
        return self.handle(AttemptFailed(failure, attempt, shown))

    def none_free(self, *refusals: Refusal) -> Action:
        return self.handle(NoneFree(refusals))

    def refused(self, refusal: Refusal = FULL) -> Action:
        return self.handle(Refused(refusal))

    def slow(self) -> Action:
        return self.handle(Slow())

    def wake(self) -> Action:
        return self.handle(Woke())

    def stop(self, reason: Reason) -> Action:
        return self.handle(Stopped(reason))

    def visits(self, provider: str, count: int) -> None:
        """Let so many first visits of another caller come to a provider."""
        for _ in range(count):
            self.budgets[provider].first("other")

    def open_circuit(self, name: str) -> None:
        for _ in range(5):
            permit = self.circuits[name].enter()
            permit.failed()
            permit.ended()

    def said(self, name: str) -> list[list[str]]:
        """Return what each attempt said to a target's circuit, in the order of their dispatch."""
        return list(self.circuits[name].words.values())


def told(action: Action) -> Broken:
    """Return what is told of a break, which is known by now."""
    assert isinstance(action, Broken), action
    return action


def candidates(action: Action) -> list[int]:
    """Return whom an action tries at once."""
    assert isinstance(action, TryNow), action
    return [move.candidate for move in action.moves]


def reason(action: Action) -> Reason:
    """Return what a call ended as."""
    assert isinstance(action, Fail), action
    return action.reason


def limits(**changes: float) -> BudgetLimits:
    """Return a budget that refuses everything, but for these changes."""
    return replace(NO_BUDGET, **changes)
