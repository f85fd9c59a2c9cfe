"""Random walks through the failover machine: what holds on every way, whatever happens."""

from __future__ import annotations

from collections import Counter

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.routing.machine_house import Reached, ToldBudget
from tests.routing.machine_rows import EXAMPLES
from tests.routing.walk_books import REACHED, Books, Request
from tests.routing.walk_world import REFUSALS, WalkWorld

from trunkline_server.routing.aliases import Policy
from trunkline_server.routing.breaks import Shown
from trunkline_server.routing.events import (
    Action,
    AttemptFailed,
    Backoff,
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
    Stopped,
    TryNow,
    Woke,
)
from trunkline_server.routing.failover import TABLE, State
from trunkline_server.routing.failures import Failure, FailureClass
from trunkline_server.routing.retry import ATTEMPTS_AFTER_BREAK, FREE_WALK, KEY_WALK_STEPS
from trunkline_server.routing.types import OnBreak, Reason, Refusal

UPSTREAM = sorted(
    set(FailureClass) - {FailureClass.SATURATED, FailureClass.DEADLINE, FailureClass.CANCELLED}, key=lambda c: c.value
)
KEYS = [f"k{number}" for number in range(8)]
SHOWN = st.builds(
    Shown,
    tool_call_done=st.sampled_from([False, False, False, True]),
    cannot_continue=st.sampled_from(["", "", "it is not text alone"]),
    nothing_left=st.sampled_from([False, False, False, True]),
)
SELDOM = st.sampled_from([False, True, True, True, True])
REQUEST: st.SearchStrategy[Request] = st.tuples(
    st.sampled_from([1, 2, 3, 3, 4, 5]), st.sampled_from([None, *OnBreak]), st.booleans()
)


class Walk(Books, RuleBasedStateMachine):
    """Plays everything that may happen to a request; the machine only decides."""

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
        self.world = WalkWorld(tiers, policies, seed, prompted=prompted)
        self.come(request)

    @precondition(lambda self: self.ended)
    @rule(request=REQUEST)
    def another(self, request: Request) -> None:
        """The next request comes, to health as the last one left it."""
        for circuit in self.world.circuits:
            circuit.words.clear()
        self.come(request)

    @invariant()
    def late_events_are_dropped(self) -> None:
        """Whatever comes after the end means nothing."""
        if hasattr(self, "ended") and self.ended:
            failed = AttemptFailed(Failure(FailureClass.CONNECT, "late"))
            for event in (failed, Granted(0, "k0"), FirstContent(1), Completed(1), Slow(), Woke()):
                assert self.machine.handle(event) == Drop()

    # What may happen.

    @rule(index=st.integers(0, 8), failed=st.booleans(), seconds=st.floats(0, 2))
    def somebody_else_calls(self, index: int, seconds: float, *, failed: bool) -> None:
        """Another request tells circuit and budget what became of its attempts, and time passes."""
        circuit = self.world.circuits[index % len(self.world.circuits)]
        permit = circuit.enter()
        self.clock.advance(seconds)
        if failed:
            permit.failed()
        else:
            permit.succeeded()
        permit.ended()
        del circuit.words[permit]
        budget = self.plan.candidates[index % len(self.world.circuits)].health.budget
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
        said = {permit: words for circuit in self.world.circuits for permit, words in circuit.words.items()}
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


TestWalk = Walk.TestCase
TestWalk.settings = settings(max_examples=300, stateful_step_count=50, deadline=None)


def test_every_action_of_every_row_is_reached() -> None:
    """Examples come by everything that the table says may happen; walks show by how much of it they came."""
    by_example: Reached = Counter()
    for example in EXAMPLES:
        by_example += example()
    possible = {(state, event, action) for (state, event), row in TABLE.items() for action in row.leads}
    print(f"of {len(possible)} ways these were not walked:", *_told(possible - set(REACHED)), sep="\n    ")
    assert not _told(possible - set(by_example))


def _told(ways: set[tuple[State, type[Event], type[Action]]]) -> list[str]:
    return sorted(f"{state.value}: {event.__name__} / {action.__name__}" for state, event, action in ways)
