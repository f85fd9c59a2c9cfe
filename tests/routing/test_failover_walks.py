"""Random walks through the failover machine: what holds on every way, whatever happens."""

from __future__ import annotations

import random
from collections import Counter

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.routing.machine_house import Reached, ToldBudget, ToldCharge, ToldCircuit
from tests.routing.machine_rows import EXAMPLES
from trunkline_server.routing.aliases import Alias, AliasPolicy, AliasTarget, HedgePolicy, ModelFacts, Policy, Tier
from trunkline_server.routing.breaks import PREFILL, Shown
from trunkline_server.routing.budget import BudgetLimits
from trunkline_server.routing.circuit import CircuitLimits, CircuitState, Permit
from trunkline_server.routing.clock import ManualClock
from trunkline_server.routing.events import (
    Action,
    AttemptFailed,
    Backoff,
    Broken,
    Completed,
    Dispatch,
    Drop,
    Event,
    Fail,
    Finish,
    FirstContent,
    GoOn,
    Granted,
    NoneFree,
    Queue,
    Refused,
    Slow,
    Started,
    Stopped,
    TryNow,
    Why,
    Woke,
)
from trunkline_server.routing.failover import TABLE, State
from trunkline_server.routing.failures import Failure, FailureClass
from trunkline_server.routing.health import Health
from trunkline_server.routing.latency import SAMPLES_MIN, Latency
from trunkline_server.routing.machine import Machine
from trunkline_server.routing.moves import Move
from trunkline_server.routing.retry import ATTEMPTS_AFTER_BREAK, FREE_WALK, KEY_WALK_STEPS, Allowance
from trunkline_server.routing.selection import Candidate, Plan
from trunkline_server.routing.types import OnBreak, Reason, Refusal, TargetId

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
SHOWN = st.builds(
    Shown,
    tool_call_done=st.sampled_from([False, False, False, True]),
    cannot_continue=st.sampled_from(["", "", "it is not text alone"]),
    nothing_left=st.sampled_from([False, False, False, True]),
)
SELDOM = st.sampled_from([False, True, True, True, True])
BUDGETS = [None, BudgetLimits(), BudgetLimits(1.0, 1.0, 9.0), BudgetLimits(0.0, 0.0, 0.2), BudgetLimits(0.0, 0.0, 0.0)]

Request = tuple[int, OnBreak | None, bool]
"""Its attempts, what it asks for, and whether its caller's library sends it again."""
REQUEST: st.SearchStrategy[Request] = st.tuples(
    st.sampled_from([1, 2, 3, 3, 4, 5]), st.sampled_from([None, *OnBreak]), st.booleans()
)

REACHED: Reached = Counter()
"""Over all walks of a run."""


class Attempt:
    """The model of an attempt in flight, and what its circuit and budget should hear of it."""

    def __init__(self, candidate: int, key_id: str, permit: Permit, charge: ToldCharge | None) -> None:
        self.candidate = candidate
        self.key_id = key_id
        self.permit = permit
        self.charge = charge
        self.words: list[str] = []


class Walk(RuleBasedStateMachine):
    """Plays everything that may happen to a request; the machine only decides."""

    machine: Machine
    action: Action

    @initialize(
        tiers=st.lists(st.lists(st.sampled_from("abc"), min_size=1, max_size=3), min_size=1, max_size=3),
        policies=st.tuples(st.sampled_from(Policy), st.sampled_from(Policy)),
        prompted=st.booleans(),
        seed=st.integers(0, 999),
        request=REQUEST,
    )
    def begin(
        self, tiers: list[list[str]], policies: tuple[Policy, Policy], seed: int, request: Request, *, prompted: bool
    ) -> None:
        """Make an alias, with health of all kinds, and send it a request."""
        self.rng = rng = random.Random(seed)
        self.clock = ManualClock()
        members = [
            [
                AliasTarget(
                    TargetId(provider, f"m{tier}{place}"),
                    facts=ModelFacts(rng.choice([None, 8, 16]), None, rng.choice([None, frozenset({PREFILL})])),
                )
                for place, provider in enumerate(names)
            ]
            for tier, names in enumerate(tiers)
        ]
        policy = AliasPolicy(
            3,
            policies[0],
            policies[1],
            None,
            rng.choice(list(OnBreak)),
            prompted,
            HedgePolicy(enabled=True, max_extra=rng.choice([0.0, 1.0, 1.0])),
        )
        alias = Alias("default", tuple(Tier(tuple(tier)) for tier in members), policy)
        rejected = REFUSALS[-1] if policies[0] is Policy.FAIL else None
        self.circuits: list[ToldCircuit] = []
        self.budgets = {provider: self.budget(rng) for provider in "abc"}
        candidates = [
            Candidate(member.target, tier, member, rejected if rng.random() < 0.2 else None, self.health(member, rng))
            for tier, them in enumerate(members)
            for member in them
        ]
        self.plan = Plan(alias, tuple(candidates))
        self.come(request)

    @precondition(lambda self: self.ended)
    @rule(request=REQUEST)
    def another(self, request: Request) -> None:
        """The next request comes, to health as the last one left it."""
        for circuit in self.circuits:
            circuit.words.clear()
        self.come(request)

    @invariant()
    def late_events_are_dropped(self) -> None:
        """Whatever comes after the end means nothing."""
        if hasattr(self, "ended") and self.ended:
            failed = AttemptFailed(Failure(FailureClass.CONNECT, "late"))
            for event in (failed, Granted(0, "k0"), FirstContent(1), Completed(1), Slow(), Woke()):
                assert self.machine.handle(event) == Drop()

    def come(self, request: Request) -> None:
        max_attempts, on_break, self.sent_again = request
        self.asked_for = self.plan.alias.policy.on_break if on_break is None else on_break
        self.max_attempts = max_attempts
        allowance = Allowance(max_attempts, self.clock() + DEADLINE_S)
        self.machine = Machine(
            self.plan,
            allowance,
            clock=self.clock,
            rng=self.rng,
            on_break=on_break,
            caller="me",
            sent_again=self.sent_again,
        )
        self.deadline_at = allowance.deadline_at
        self.flying: dict[int, Attempt] = {}
        self.flown: list[Attempt] = []
        self.shown = False
        """Whether content of the attempt in flight was shown."""
        self.ever_shown = False
        self.promised: OnBreak | None = None
        """What the latest break said would follow."""
        self.untold: Shown | None = None
        """What was shown of an attempt that broke, until the break is told."""
        self.breaks = 0
        self.after_break = 0
        self.walkable = False
        """Whether the latest failure lets the next key be tried for free."""
        self.hedges = 0
        self.visited: set[str] = set()
        self.speaking: set[str] = set()
        """Providers that failed this request in a way that costs."""
        self.ended: list[Action] = []
        self.asked: tuple[Move, ...] = ()
        self.waits = 0
        self.take(Started())

    def budget(self, rng: random.Random) -> ToldBudget | None:
        limits = rng.choice(BUDGETS)
        if limits is None:
            return None
        budget = ToldBudget(limits, clock=self.clock)
        for _ in range(rng.choice([0, 3])):
            budget.first("other")
        budget.booked.clear()
        return budget

    def health(self, member: AliasTarget, rng: random.Random) -> Health:
        """Return a circuit in any state, the provider's budget, and times that are unknown, short, or too long."""
        circuit = ToldCircuit(CircuitLimits(open_s=1.0, ramp_s=3.0), clock=self.clock, rng=rng)
        kind = rng.choice([0, 0, 0, 1, 2, 3, 4])
        for _ in range(4 if kind == 1 else 5 if kind else 0):
            circuit.enter().failed()
        if kind > 2:
            self.clock.advance(1.2)
            assert circuit.state is CircuitState.HALF_OPEN
        if kind == 4:
            circuit.enter().succeeded()
        circuit.words.clear()
        self.circuits.append(circuit)
        latency = Latency.unknown(clock=self.clock)
        usual_s = rng.choice([None, None, 0.1, 20.0])
        for _ in range(0 if usual_s is None else SAMPLES_MIN):
            latency.first_content.book(usual_s or 0.0)
        return Health(circuit, self.budgets[member.target.provider], latency)

    # The books.

    def take(self, event: Event) -> Action:
        """Hand an event to the machine, and keep the books of what it asks for."""
        before = self.machine.state
        action = self.machine.handle(event)
        if isinstance(action, Broken):
            self.check_break(action)
            action = action.then
        assert self.untold is None or isinstance(action, TryNow), "it went on before it told of the break"
        if before is not State.ENDED:
            assert type(action) in TABLE[before, type(event)].leads
            REACHED[before, type(event), type(action)] += 1
        self.action = action
        match action:
            case TryNow(moves):
                self.asked = moves
                assert moves
                assert all(self.machine.guard.shut_because(move.candidate) is None for move in moves)
            case Queue(move):
                self.asked = (move,)
                self.waits += 1
            case Backoff(seconds):
                assert seconds >= 0
                assert self.clock() + seconds < self.deadline_at
            case Dispatch():
                self.keep(action)
            case Finish() | Fail():
                self.ended.append(action)
            case GoOn() | Drop():
                pass
        if isinstance(action, Queue | Backoff) or (isinstance(action, TryNow) and before is not State.IN_FLIGHT):
            assert not self.flying, "it waits while an attempt is in flight"
        return action

    def keep(self, action: Dispatch) -> None:
        candidate = self.plan.candidates[action.candidate]
        assert candidate.rejected is None, "a target that fails fast was asked"
        assert not self.shown, "an attempt beside one that was shown"
        assert action.attempt == len(self.flown) + len(self.flying) + 1
        move = next(move for move in self.asked if move.candidate == action.candidate)
        tried = {flown.key_id for flown in self.flown if flown.candidate == action.candidate}
        free = move.walk and self.walkable and action.key_id not in tried
        if action.why is Why.HEDGE:
            self.hedges += 1
            assert len(self.flying) == 1
            assert not self.ever_shown
        else:
            assert not self.flying, "two attempts at once"
        if self.ever_shown:
            assert action.after_break is self.promised
            assert self.promised in {OnBreak.RESTART, OnBreak.CONTINUE}, "a silent switch"
            assert action.why is (Why.CONTINUATION if self.promised is OnBreak.CONTINUE else Why.RESTART)
            self.after_break += not free
            if self.promised is OnBreak.CONTINUE:
                capabilities = candidate.member.facts.capabilities or frozenset()
                assert PREFILL in capabilities or self.plan.alias.policy.allow_prompted_continuation
        else:
            assert action.after_break is None
        provider = candidate.target.provider
        charge = self.booked(provider, hedge=action.why is Why.HEDGE)
        permit = list(self.circuits[action.candidate].words)[-1]
        self.flying[action.attempt] = Attempt(action.candidate, action.key_id, permit, charge)

    def booked(self, provider: str, *, hedge: bool) -> ToldCharge | None:
        """Check what the dispatch of an attempt cost; return what it is charged with."""
        budget = self.budgets[provider]
        first = provider not in self.visited
        self.visited.add(provider)
        expected = "hedge" if hedge else "charge" if provider in self.speaking else "first" if first else ""
        if expected == "first" and self.sent_again and not self.flown and not self.flying:
            expected = "library retry"
        if budget is None:
            return None
        assert budget.booked == ([expected] if expected else [])
        budget.booked.clear()
        return budget.charges[-1] if expected in {"hedge", "charge"} else None

    def over(self, attempt: int, *words: str) -> None:
        """Check what an attempt's circuit and charge have heard of it, now that it is over."""
        flown = self.flying.pop(attempt)
        self.flown.append(flown)
        flown.words += words
        said = [word for word in flown.words if word != "blamed"]
        assert self.circuits[flown.candidate].words[flown.permit] == [*said, "ended"]
        if flown.charge is not None:
            assert flown.charge.words == [word.replace("blamed", "failed") for word in flown.words] + ["ended"]

    # What may happen.

    @rule(index=st.integers(0, 8), failed=st.booleans(), seconds=st.floats(0, 2))
    def somebody_else_calls(self, index: int, seconds: float, *, failed: bool) -> None:
        """Another request tells circuit and budget what became of its attempts, and time passes."""
        circuit = self.circuits[index % len(self.circuits)]
        permit = circuit.enter()
        self.clock.advance(seconds)
        if failed:
            permit.failed()
        else:
            permit.succeeded()
        permit.ended()
        del circuit.words[permit]
        budget = self.plan.candidates[index % len(self.circuits)].health.budget
        if budget is not None:
            budget.first("other")
            (budget.charge if failed else budget.hedge)("other").succeeded()
            assert isinstance(budget, ToldBudget)
            budget.booked.clear()

    @precondition(lambda self: isinstance(self.action, TryNow | Queue))
    @rule(data=st.data())
    def grant(self, data: st.DataObject) -> None:
        """A slot and a key came: at one of the candidates that were asked for, with a key that is not excluded."""
        waited = isinstance(self.action, Queue)
        move = data.draw(st.sampled_from(self.asked))
        key_id = data.draw(st.sampled_from([key for key in KEYS if key not in move.exclude_keys]))
        passed = data.draw(st.sampled_from(REFUSALS))
        self.take(Granted(move.candidate, key_id, (passed,) * self.asked.index(move)))
        if isinstance(self.action, Dispatch):
            assert move.candidate not in self.machine.refusals
        else:
            assert waited, "a grant was not used"
            assert self.machine.not_made

    @precondition(lambda self: isinstance(self.action, TryNow))
    @rule(refusal=st.sampled_from(REFUSALS))
    def none_free(self, refusal: Refusal) -> None:
        """Nobody could take the call at once."""
        self.take(NoneFree((refusal,) * len(self.asked)))

    @precondition(lambda self: isinstance(self.action, Queue))
    @rule(refusal=st.sampled_from(REFUSALS), waited_s=st.floats(0, 5))
    def refused(self, refusal: Refusal, waited_s: float) -> None:
        """The queue was full, or the wait was in vain."""
        self.clock.advance(waited_s)
        self.take(Refused(refusal))

    @precondition(lambda self: isinstance(self.action, Backoff))
    @rule()
    def wake(self) -> None:
        """The backoff is over."""
        assert isinstance(self.action, Backoff)
        self.clock.advance(self.action.seconds)
        self.take(Woke())

    @precondition(lambda self: self.machine.state is State.IN_FLIGHT)
    @rule()
    def slow(self) -> None:
        """The attempt in flight has given nothing for long: a second one may race it, where it may be made."""
        hedged = self.hedges
        action = self.take(Slow())
        if self.ever_shown or hedged:
            assert action == GoOn()

    @precondition(lambda self: self.flying and not isinstance(self.action, TryNow) and not self.shown)
    @rule(data=st.data())
    def first_content(self, data: st.DataObject) -> None:
        """An attempt shows its first content; one that raced it is over, and says nothing to anybody."""
        winner = data.draw(st.sampled_from(sorted(self.flying)))
        named = winner if len(self.flying) > 1 else data.draw(st.sampled_from([0, winner]))
        self.take(FirstContent(named))
        for loser in set(self.flying) - {winner}:
            self.over(loser)
        self.flying[winner].words.append("succeeded")
        self.shown = self.ever_shown = True
        assert self.machine.at == self.flying[winner].candidate

    @precondition(lambda self: self.flying and not isinstance(self.action, TryNow))
    @rule(data=st.data())
    def complete(self, data: st.DataObject) -> None:
        """An attempt gave its whole answer; one that raced it is over, and says nothing to anybody."""
        winner = data.draw(st.sampled_from(sorted(self.flying)))
        charge = self.flying[winner].charge
        assert self.take(Completed(winner)) == Finish()
        for loser in set(self.flying) - {winner}:
            self.over(loser)
        if self.shown and charge is not None:
            charge.words.pop(1)  # it says so again at the end, which means nothing
        self.over(winner, *([] if self.shown else ["succeeded"]))
        self.shown = False

    @precondition(lambda self: self.flying and not isinstance(self.action, TryNow))
    @rule(
        data=st.data(),
        failure_class=st.sampled_from(UPSTREAM),
        retry_after_s=st.none() | st.floats(0, 60),
        after_s=st.floats(0, 10),
        by_caller=st.sampled_from([False, False, True]),
        shown=SHOWN,
    )
    def fail(
        self,
        data: st.DataObject,
        failure_class: FailureClass,
        retry_after_s: float | None,
        after_s: float,
        shown: Shown,
        *,
        by_caller: bool,
    ) -> None:
        """An attempt failed, in any class, before or after it showed content."""
        self.clock.advance(after_s)
        attempt = data.draw(st.sampled_from(sorted(self.flying)))
        flown, raced = self.flying[attempt], len(self.flying) > 1
        failure = Failure(failure_class, "test", retry_after_s, caused_by_caller=by_caller)
        was_shown, self.shown = self.shown, False
        counts = failure.rule.counts and not by_caller
        self.walkable = not was_shown and failure_class in FREE_WALK
        if not by_caller and (counts or failure_class is FailureClass.RATE_LIMITED):
            self.speaking.add(self.plan.candidates[flown.candidate].target.provider)
        self.untold = shown if was_shown else None
        ended = [] if by_caller else ["failed"] if counts else ["blamed"]
        # Nothing may be made before the books of this one are closed.
        flown_now = self.flying.pop(attempt)
        action = self.take(AttemptFailed(failure, attempt if raced else 0, shown if was_shown else Shown()))
        self.flying[attempt] = flown_now
        self.over(attempt, *ended)
        if raced:
            assert action == GoOn()
        elif isinstance(action, Fail) and self.ever_shown:
            assert action.reason is Reason.STREAM_BROKEN

    def check_break(self, broken: Broken) -> None:
        """Check that a break is told once, that no more is done than was asked for, and less only with a reason."""
        shown, self.untold = self.untold, None
        assert shown is not None, "told, although nothing was shown, or twice"
        self.breaks += 1
        self.promised = broken.applied
        ladder = [OnBreak.FAIL, OnBreak.RESTART, OnBreak.CONTINUE]
        assert broken.asked is self.asked_for
        assert ladder.index(broken.applied) <= ladder.index(broken.asked)
        assert (broken.applied is not broken.asked) is bool(broken.degraded_because)
        assert (broken.applied is OnBreak.FAIL) is isinstance(broken.then, Fail)
        assert broken.applied is not OnBreak.CONTINUE or not shown.cannot_continue
        assert not shown.tool_call_done or isinstance(broken.then, Fail)
        assert isinstance(broken.then, Finish) <= (shown.nothing_left and broken.applied is OnBreak.CONTINUE)

    @precondition(lambda self: not self.ended)
    @rule(reason=st.sampled_from([Reason.DEADLINE, Reason.CANCELLED, Reason.SERVER_DRAINING]), spared=SELDOM)
    def stop(self, reason: Reason, *, spared: bool) -> None:
        """The call ends from outside, in the middle of whatever it does; nobody's health hears of it."""
        if spared:
            return
        self.untold = Shown() if self.shown else self.untold
        assert self.take(Stopped(reason)) == Fail(reason)
        for attempt in list(self.flying):
            self.over(attempt)
        self.shown = False

    @precondition(lambda self: not self.ended)
    @rule(spared=SELDOM)
    def drop(self, *, spared: bool) -> None:
        """Whoever drives the machine is cancelled: it closes the machine, and comes back with nothing."""
        if spared:
            return
        self.machine.close()
        self.machine.close()
        for attempt in list(self.flying):
            self.over(attempt)
        self.untold = Shown() if self.shown else self.untold
        self.shown = False
        self.take(Stopped(Reason.CANCELLED))

    # What always holds.

    @invariant()
    def one_ending(self) -> None:
        """A call ends once, and its state says so; nothing is in flight then."""
        if hasattr(self, "ended"):
            assert len(self.ended) <= 1
            assert (self.machine.state is State.ENDED) is bool(self.ended)
            assert not self.ended or not self.flying

    @invariant()
    def health_is_told(self) -> None:
        """Permit and charge of an attempt are held while it is in flight, and only then, and let go of once."""
        if not hasattr(self, "flying"):
            return
        assert len(self.flying) <= (1 if self.shown or self.ever_shown else 2)
        held = [each.permit for each in self.flying.values()]
        said = {permit: words for circuit in self.circuits for permit, words in circuit.words.items()}
        assert {permit for permit, words in said.items() if "ended" not in words} == set(held)
        assert all(words.count("ended") == (permit not in held) for permit, words in said.items())
        paid = {id(each.charge) for each in self.flying.values() if each.charge is not None}
        mine = [each.charge for each in self.flown if each.charge is not None]
        assert all(charge.words.count("ended") == 1 for charge in mine)
        assert all("ended" not in each.charge.words for each in self.flying.values() if each.charge is not None)
        assert len(paid) == sum(each.charge is not None for each in self.flying.values())

    @invariant()
    def within_policy(self) -> None:
        """Attempts, walks, hedges and breaks stay within what the request may have; waits cannot go on for ever."""
        if not hasattr(self, "flying"):
            return
        dispatched = len(self.flown) + len(self.flying)
        assert self.machine.attempts_used <= self.max_attempts
        assert dispatched <= self.max_attempts + KEY_WALK_STEPS
        assert self.hedges <= 1
        assert self.after_break <= ATTEMPTS_AFTER_BREAK
        assert self.breaks <= 1 + ATTEMPTS_AFTER_BREAK
        candidates = len(self.plan.candidates)
        assert self.waits <= candidates + (dispatched + 1) * (candidates + 1)
        assert len(set(self.machine.not_made)) == len(self.machine.not_made)


def test_every_action_of_every_row_is_reached() -> None:
    """Walks and examples together come by everything that the table says may happen; what holds, holds on all ways."""
    run_state_machine_as_test(Walk, settings=settings(max_examples=300, stateful_step_count=50, deadline=None))  # type: ignore[no-untyped-call]
    walked = set(REACHED)
    for example in EXAMPLES:
        REACHED.update(example())
    possible = {(state, event, action) for (state, event), row in TABLE.items() for action in row.leads}

    def told(ways: set[tuple[State, type[Event], type[Action]]]) -> list[str]:
        return sorted(f"{state.value} --{event.__name__} / {action.__name__}" for state, event, action in ways)

    print(f"{len(possible & walked)} of {len(possible)} ways were walked; by example alone:", told(possible - walked))
    assert not told(possible - set(REACHED))
