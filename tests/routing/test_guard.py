"""Circuits in the way of a request: its plan, its moves, and what its attempts tell."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from trunkline_server.routing.aliases import Alias, AliasTarget, Tier
from trunkline_server.routing.circuit import Circuit, CircuitLimits, CircuitState
from trunkline_server.routing.clock import ManualClock
from trunkline_server.routing.events import (
    Action,
    AttemptFailed,
    Backoff,
    Completed,
    Dispatch,
    Event,
    Fail,
    FirstContent,
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
from trunkline_server.routing.failures import RULES, Failure, FailureClass
from trunkline_server.routing.health import Health
from trunkline_server.routing.machine import Machine
from trunkline_server.routing.retry import Allowance
from trunkline_server.routing.selection import Demand, NoEligibleTargetError, Plan, make_plan
from trunkline_server.routing.types import Reason, Refusal, TargetId

CLOSED, OPEN, HALF_OPEN, RAMPING = CircuitState
FULL = Refusal(FailureClass.SATURATED, Reason.QUEUE_FULL, "full", 1.0)
REJECTED = Refusal(FailureClass.KEY_REJECTED, Reason.UPSTREAM_CREDENTIALS, "rejected", 60.0)
F = FailureClass


class World:
    """An alias whose targets have circuits, on a manual clock. Targets are named `provider/model`."""

    def __init__(self, *tiers: Sequence[str]) -> None:
        self.clock = ManualClock(100.0)
        limits = CircuitLimits(open_s=5.0)
        names = [name for tier in tiers for name in tier]
        self.circuits = {name: Circuit(limits, clock=self.clock, rng=random.Random(1)) for name in names}
        self.alias = Alias(
            "default", tuple(Tier(tuple(AliasTarget(TargetId(*name.split("/"))) for name in tier)) for tier in tiers)
        )
        self.refusals: dict[str, Refusal] = {}
        self.machine: Machine

    def set(self, **states: CircuitState) -> World:
        """Bring the circuits of these providers into a state."""
        for provider, state in states.items():
            circuit = self.circuits[f"{provider}/m"]
            if state is not CLOSED:
                for _ in range(5):
                    circuit.enter().failed()
        self.clock.advance(5.6 if HALF_OPEN in states.values() or RAMPING in states.values() else 0.0)
        for provider, state in states.items():
            circuit = self.circuits[f"{provider}/m"]
            if state is OPEN and circuit.state is HALF_OPEN:
                circuit.enter().failed()
            if state is RAMPING:
                circuit.enter().succeeded()
            assert circuit.state is state
        return self

    def plan(self, demand: Demand | None = None, *, advance: bool = True) -> Plan:
        return make_plan(
            self.alias,
            demand or Demand(),
            lambda target: self.refusals.get(str(target)),
            lambda target: Health(self.circuits[str(target)]),
            advance=advance,
        )

    def names(self, plan: Plan | None = None) -> list[str]:
        return [str(candidate.target) for candidate in (plan or self.plan()).candidates]

    def start(self, max_attempts: int = 3) -> list[str]:
        """Plan a request and start it; return whom it may try at once."""
        allowance = Allowance(max_attempts, self.clock() + 60)
        self.machine = Machine(self.plan(), allowance, clock=self.clock, rng=random.Random(1))
        return self.tried(Started())

    def tried(self, event: Event) -> list[str]:
        action = self.machine.handle(event)
        assert isinstance(action, TryNow), action
        return [str(self.machine.plan.candidates[move.candidate].target) for move in action.moves]

    def grant(self, name: str, key: str = "k") -> Action:
        return self.machine.handle(Granted(self.names(self.machine.plan).index(name), key))

    def dispatch(self, name: str) -> Dispatch:
        action = self.grant(name)
        assert isinstance(action, Dispatch)
        return action

    def fail(self, failure_class: FailureClass = F.SERVER_ERROR, *, by_caller: bool = False) -> AttemptFailed:
        return AttemptFailed(Failure(failure_class, "test", caused_by_caller=by_caller))


# The plan.


def test_an_open_circuit_takes_its_target_out_of_the_plan() -> None:
    """Its traffic goes to the others of its tier, or to the next tier, and the reason is kept."""
    world = World(["a/m", "b/m"], ["c/m"]).set(a=OPEN)
    plan = world.plan()
    assert world.names(plan) == ["b/m", "c/m"]
    assert [(str(out.target), out.tier, out.constraint) for out in plan.removed] == [("a/m", 0, "circuit")]
    assert plan.removed[0].detail.startswith("open for another ")
    assert world.names(World(["a/m"], ["c/m"]).set(a=OPEN).plan()) == ["c/m"]


def test_panic_ignores_circuits_when_they_alone_leave_nobody() -> None:
    """With every circuit open all targets are in the plan, in their order."""
    world = World(["a/m"], ["b/m"]).set(a=OPEN, b=OPEN)
    assert world.names() == ["a/m", "b/m"]
    assert world.start() == ["a/m"]


def test_panic_overrides_neither_keys_nor_the_request() -> None:
    """A target without usable keys, or excluded, stays out of a plan in panic."""
    world = World(["a/m"], ["b/m"], ["c/m"]).set(a=OPEN)
    world.refusals["b/m"] = Refusal(F.KEY_EXHAUSTED, Reason.UPSTREAM_QUOTA, "exhausted", 300.0)
    plan = world.plan(Demand(excluded=frozenset({"c"})))
    assert world.names(plan) == ["a/m"]
    assert sorted(out.constraint for out in plan.removed) == ["exclude_targets", "keys"]
    with pytest.raises(NoEligibleTargetError):
        world.plan(Demand(excluded=frozenset({"c", "a"})))


def test_a_target_that_fails_fast_is_nobody_to_go_to() -> None:
    """An open circuit is ignored rather than every request failed for another target's rejected keys."""
    world = World(["a/m"], ["b/m"]).set(a=OPEN)
    world.refusals["b/m"] = REJECTED
    assert world.names() == ["a/m", "b/m"]
    assert world.start() == ["a/m"]


def test_a_half_open_target_is_planned_until_its_probe_is_under_way() -> None:
    """The next request probes it in its ordinary place, with the others behind it; the one after goes past it."""
    world = World(["a/m"], ["b/m"]).set(a=HALF_OPEN)
    assert world.start() == ["a/m"]
    world.dispatch("a/m")
    plan = world.plan()
    assert world.names(plan) == ["b/m"]
    assert plan.removed[0].detail == "half-open, and its one probe is under way"
    assert world.tried(world.fail()) == ["b/m"], "the probe's caller loses nothing"
    assert world.circuits["a/m"].state is OPEN


def test_looking_at_a_plan_takes_neither_turn_nor_probe() -> None:
    """Explaining as often as one likes leaves every circuit as it was."""
    world = World(["a/m", "b/m"], ["c/m"]).set(a=HALF_OPEN, b=RAMPING)
    for _ in range(50):
        assert world.names(world.plan(advance=False)) == ["a/m", "b/m", "c/m"]
    assert world.circuits["a/m"].shut_because() is None


# The ramp.


def test_a_ramp_lets_in_its_share_and_the_rest_goes_on() -> None:
    """One pick of ten that fall on it; the others go to the next candidate, in a later tier too."""
    world = World(["a/m"], ["b/m"]).set(a=RAMPING)
    first = []
    for _ in range(40):
        name = world.start()[0]
        first.append(name)
        world.dispatch(name)
        world.machine.handle(Completed())
    assert [first.count("a/m"), first.count("b/m")] == [4, 36]
    assert first.index("a/m") == 9


def test_a_ramp_counts_only_picks_that_fall_on_it() -> None:
    """Within a tier, the turns of others bring the next call that is let in no nearer."""
    world = World(["a/m", "b/m"]).set(a=RAMPING)
    first = []
    for _ in range(80):
        name = world.start()[0]
        first.append(name)
        world.dispatch(name)
        world.machine.handle(Completed())
    assert first.count("a/m") == 4, "of 40 turns"


def test_what_a_ramp_holds_back_has_no_other_place_than_the_ramp() -> None:
    """Without another candidate everybody is let in; with two ramps the first one takes the call."""
    world = World(["a/m"]).set(a=RAMPING)
    assert [world.start() for _ in range(5)] == [["a/m"]] * 5
    world = World(["a/m"], ["b/m"]).set(a=RAMPING, b=RAMPING)
    assert world.start() == ["a/m"]
    world = World(["a/m"], ["b/m"]).set(a=RAMPING)
    world.refusals["b/m"] = REJECTED
    assert world.start() == ["a/m"]


def test_a_failover_reaches_a_ramp_only_by_its_share() -> None:
    """After a failure, too, a ramp is passed over for an untried candidate; without one it is let in."""
    world = World(["a/m", "b/m"], ["c/m"]).set(b=RAMPING)
    world.start()
    world.dispatch("a/m")
    assert world.tried(world.fail()) == ["c/m"]
    world.dispatch("c/m")
    assert world.tried(world.fail()) == ["b/m"]


def test_a_tier_that_fails_fast_is_no_other_place() -> None:
    """A ramp holds nobody back for the sake of a tier whose turn is a target with rejected keys."""
    world = World(["a/m"], ["b/m", "c/m"]).set(a=RAMPING)
    world.refusals["b/m"] = REJECTED
    assert world.start() == ["a/m"]
    world.dispatch("a/m")
    assert world.names(world.plan(advance=False)) == ["a/m", "c/m", "b/m"], "the turn is with another one now"
    assert world.start() == ["c/m"]


def test_a_ramp_does_not_hold_back_a_walk_to_another_key() -> None:
    """Whom a ramp has let in may try the target's other keys, though others wait for their share."""
    world = World(["a/m"], ["b/m"]).set(a=RAMPING)
    for _ in range(9):
        assert world.start() == ["b/m"]
        world.dispatch("b/m")
    assert world.start() == ["a/m"]
    world.dispatch("a/m")
    assert world.tried(world.fail(F.RATE_LIMITED)) == ["a/m", "b/m"]


def test_the_first_attempt_beyond_a_ramp_is_a_failover() -> None:
    """Only an attempt at the plan's first candidate is told as FIRST, and who was passed by is known."""
    world = World(["a/m"], ["b/m"]).set(a=RAMPING)
    assert world.start() == ["b/m"]
    assert world.dispatch("b/m").why is Why.FAILOVER
    assert world.machine.guard.kept_out == {0}


# Moves.


def test_an_open_circuit_refuses_retries() -> None:
    """A target whose circuit opened meanwhile is not gone back to, and the reason is recorded."""
    world = World(["a/m"], ["b/m"])
    world.start()
    world.dispatch("a/m")
    assert world.tried(world.fail()) == ["b/m"]
    world.dispatch("b/m")
    world.set(a=OPEN)
    action = world.machine.handle(world.fail(F.PROTOCOL))
    assert isinstance(action, Fail)
    assert action.reason is Reason.UPSTREAM_EXHAUSTED
    assert world.machine.not_made == ["a/m: its circuit is open for another 4.6 s"]


def test_panic_lets_retries_pass() -> None:
    """Where all circuits are open, the same target is tried again after its backoff."""
    world = World(["a/m"])
    world.start()
    world.dispatch("a/m")
    for _ in range(4):
        world.circuits["a/m"].enter().failed()
    action = world.machine.handle(world.fail())
    assert world.circuits["a/m"].state is OPEN
    assert isinstance(action, Backoff)
    assert isinstance(world.machine.handle(Woke()), Queue)
    assert world.dispatch("a/m").why is Why.RETRY


def test_a_failover_passes_over_a_circuit_that_opened_since_the_plan() -> None:
    """An untried target whose circuit is open by now is skipped while another one is there."""
    world = World(["a/m"], ["b/m"], ["c/m"])
    world.start()
    world.dispatch("a/m")
    world.set(b=OPEN)
    assert world.tried(world.fail()) == ["c/m"]


def test_a_grant_that_comes_after_the_circuit_opened_is_not_used() -> None:
    """Who waited in the queue of a target that broke meanwhile goes to the others of the tier, then to the next."""
    world = World(["a/m", "b/m"], ["c/m"])
    world.start()
    first = world.names(world.machine.plan)[0]
    assert isinstance(world.machine.handle(NoneFree((FULL, FULL))), Queue)
    world.set(**{first[0]: OPEN})
    action = world.grant(first)
    assert isinstance(action, TryNow)
    assert [move.candidate for move in action.moves] == [1]
    assert isinstance(world.machine.handle(NoneFree((FULL,))), Queue)
    assert world.tried(Refused(FULL)) == ["c/m"]
    assert world.machine.not_made == [f"{first}: its circuit is open for another 4.6 s"]


def test_whose_grant_was_not_used_once_is_not_waited_for_again() -> None:
    """A request never goes round in a tier whose circuits open and recover in turns."""
    world = World(["a/m", "b/m"], ["c/m"])
    world.start()
    world.machine.handle(NoneFree((FULL, FULL)))
    world.set(a=OPEN)
    assert world.tried(Granted(0, "k")) == ["b/m"]
    world.machine.handle(NoneFree((FULL,)))
    world.clock.advance(5.6)
    world.set(b=OPEN)
    assert world.circuits["a/m"].state is HALF_OPEN
    assert world.tried(Granted(1, "k")) == ["c/m"]


def test_a_grant_after_a_backoff_is_not_used_either() -> None:
    """A circuit that opens during the backoff refuses the retry."""
    world = World(["a/m"], ["b/m"])
    world.start()
    world.dispatch("a/m")
    world.tried(world.fail())
    assert isinstance(world.machine.handle(NoneFree((FULL,))), Backoff)
    assert isinstance(world.machine.handle(Woke()), Queue)
    world.set(a=OPEN)
    action = world.grant("a/m")
    assert isinstance(action, Queue)
    assert action.move.candidate == 1, "b/m, which was allowed but full"


# What the attempts tell.


def outcome(world: World, *events: Event) -> CircuitState:
    """Run one request at a/m with these events; return the state of its circuit."""
    world.start(max_attempts=1)
    world.dispatch("a/m")
    for event in events:
        world.machine.handle(event)
    return world.circuits["a/m"].state


@pytest.mark.parametrize("failure_class", [each for each in F if each is not F.SATURATED])
def test_only_classes_that_count_move_a_circuit(failure_class: FailureClass) -> None:
    """Five failures in a row open the circuit if their class counts by the table, and else never do."""
    world = World(["a/m"])
    states = [outcome(world, world.fail(failure_class)) for _ in range(50)]
    assert states == ([CLOSED] * 4 + [OPEN] * 46 if RULES[failure_class].counts else [CLOSED] * 50)


@pytest.mark.parametrize("after", [[], [FirstContent()]])
def test_what_a_caller_brings_about_moves_no_circuit(after: list[Event]) -> None:
    """Neither failures by the caller's own doing nor its leaving count, before and after the first content."""
    world = World(["a/m"])
    for failure_class in (F.FIRST_TOKEN_TIMEOUT, F.STALLED, F.TRUNCATED):
        for _ in range(20):
            assert outcome(world, *after, world.fail(failure_class, by_caller=True)) is CLOSED
    for reason in (Reason.CANCELLED, Reason.DEADLINE, Reason.SERVER_DRAINING):
        for _ in range(20):
            assert outcome(world, *after, Stopped(reason)) is CLOSED
    assert [outcome(world, world.fail()) for _ in range(5)][-1] is (CLOSED if after else OPEN)


def test_a_success_is_told_at_the_first_content_and_a_break_besides() -> None:
    """A stream that breaks after its first content is a success and a failure."""
    world = World(["a/m"])
    states = [outcome(world, FirstContent(), world.fail(F.TRUNCATED)) for _ in range(10)]
    assert states == [CLOSED] * 9 + [OPEN], "ten of twenty"


@pytest.mark.parametrize(
    "event", [FirstContent(), Completed()], ids=["first content of a stream", "whole answer of a unary call"]
)
def test_a_probe_succeeds(event: Event) -> None:
    """The probe's success starts the ramp."""
    assert outcome(World(["a/m"]).set(a=HALF_OPEN), event) is RAMPING


@pytest.mark.parametrize(
    "failure_class", [F.CALLER_INVALID, F.CONTEXT_LENGTH, F.CONTENT_FILTERED, F.RATE_LIMITED, F.KEY_REJECTED]
)
def test_a_probe_that_says_nothing_gives_its_place_back(failure_class: FailureClass) -> None:
    """A caller's fault or a key's leaves the circuit half-open, for the next call to probe."""
    world = World(["a/m"], ["b/m"]).set(a=HALF_OPEN)
    assert outcome(world, world.fail(failure_class)) is HALF_OPEN
    assert world.names() == ["a/m", "b/m"]


def test_a_probe_whose_call_was_dropped_gives_its_place_back() -> None:
    """A call that is cancelled from outside tells its machine nothing; its owner lets go of the permit."""
    world = World(["a/m"], ["b/m"]).set(a=HALF_OPEN)
    outcome(world)
    assert world.names() == ["b/m"]
    world.machine.close()
    world.machine.close()
    assert world.names() == ["a/m", "b/m"]


def test_circuits_that_change_while_they_are_asked_keep_nobody_out() -> None:
    """One whose time comes between two looks is let in: a call is never left with nobody to go to."""
    world = World(["a/m"], ["b/m"])
    plan = world.plan()
    world.set(a=OPEN, b=OPEN)
    ticking = world.circuits["a/m"]
    machine = Machine(plan, Allowance(3, world.clock() + 60), clock=world.clock, rng=random.Random(1))
    looks = 0
    shut = type(ticking).shut_because

    class Ticking(Circuit):
        """Opens up right after its first look."""

        __slots__ = ()

        def shut_because(self) -> str | None:
            nonlocal looks
            looks += 1
            told = shut(self)
            if looks == 1:
                world.clock.advance(5.6)
            return told

    ticking.__class__ = Ticking
    action = machine.handle(Started())
    assert isinstance(action, TryNow)
    assert looks > 1
