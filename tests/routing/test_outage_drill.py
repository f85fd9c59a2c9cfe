"""An outage in virtual time: plans, machines and circuits together, with nothing around them."""

from __future__ import annotations

import heapq
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count, pairwise

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
    Finish,
    Granted,
    Queue,
    Started,
    TryNow,
    Woke,
)
from trunkline_server.routing.failures import Failure, FailureClass
from trunkline_server.routing.health import Health
from trunkline_server.routing.machine import Machine
from trunkline_server.routing.retry import Allowance
from trunkline_server.routing.selection import Demand, make_plan
from trunkline_server.routing.types import TargetId

CALLS_PER_S = 200
BREAKS_AT, RETURNS_AT, ENDS_AT = 20.0, 50.0, 80.0
ANSWER_S = 0.2

OUTAGES = {
    "503": (FailureClass.OVERLOADED, 0.005),
    "refused": (FailureClass.CONNECT, 0.001),
    "silent": (FailureClass.FIRST_TOKEN_TIMEOUT, 0.5),
}


@dataclass(slots=True)
class Drill:
    """Calls at an even pace against targets of which one, `p/m`, is broken for a while."""

    tiers: list[dict[str, float]]
    outage: tuple[FailureClass, float]
    seed: int
    upstream: list[tuple[float, str]] = field(default_factory=list)
    """When which target got a call."""
    ends: Counter[str] = field(default_factory=Counter)

    def run(self) -> None:
        """Play it from the first call to the last answer."""
        clock, rng = ManualClock(), random.Random(self.seed)
        circuits = {name: Circuit(CircuitLimits(), clock=clock, rng=rng) for targets in self.tiers for name in targets}
        tiers = tuple(
            Tier(tuple(AliasTarget(TargetId(*name.split("/")), weight) for name, weight in targets.items()))
            for targets in self.tiers
        )
        alias = Alias("default", tiers)
        agenda: list[tuple[float, int, Callable[[], None]]] = []
        numbers = count()

        def later(seconds: float, act: Callable[[], None]) -> None:
            heapq.heappush(agenda, (clock() + seconds, next(numbers), act))

        def start() -> None:
            plan = make_plan(alias, Demand(), lambda _: None, lambda target: Health(circuits[str(target)]))
            machine = Machine(plan, Allowance(3, clock() + 30.0), clock=clock, rng=rng)
            go_on(machine, machine.handle(Started()))

        def go_on(machine: Machine, action: Action) -> None:
            while isinstance(action, TryNow | Queue):
                move = action.moves[0] if isinstance(action, TryNow) else action.move
                action = machine.handle(Granted(move.candidate, "key"))
            if isinstance(action, Dispatch):
                seconds, event = self.attempt(clock(), str(machine.plan.candidates[action.candidate].target))
                later(seconds, lambda: go_on(machine, machine.handle(event)))
            elif isinstance(action, Backoff):
                later(action.seconds, lambda: go_on(machine, machine.handle(Woke())))
            else:
                assert isinstance(action, Finish | Fail)
                self.ends[type(action).__name__] += 1

        for number in range(int(ENDS_AT * CALLS_PER_S)):
            later(number / CALLS_PER_S, start)
        while agenda:
            at, _, act = heapq.heappop(agenda)
            clock.advance(max(0.0, at - clock()))
            act()
        assert all(circuit.state is CircuitState.CLOSED for circuit in circuits.values())

    def attempt(self, now: float, target: str) -> tuple[float, Event]:
        """Return after how long an attempt ends, and how."""
        self.upstream.append((now, target))
        if target == "p/m" and BREAKS_AT <= now < RETURNS_AT:
            failure_class, seconds = self.outage
            return seconds, AttemptFailed(Failure(failure_class, "broken"))
        return ANSWER_S, Completed()

    def calls(self, target: str, since: float, until: float) -> int:
        """Return how many calls a target got in a span of time."""
        return sum(1 for at, name in self.upstream if name == target and since <= at < until)


@pytest.mark.parametrize("outage", OUTAGES)
@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize(
    ("tiers", "share"),
    [([{"p/m": 1.0}, {"f/m": 1.0}], 1.0), ([{"p/m": 3.0, "q/m": 1.0}], 0.75)],
    ids=["a fallback tier", "a neighbour in its tier"],
)
def test_an_outage_of_30_s(tiers: list[dict[str, float]], share: float, seed: int, outage: str) -> None:
    """A dead target gets few calls, costs nobody an answer, and is back within 20 s of its return, without a spike."""
    drill = Drill(tiers, OUTAGES[outage], seed)
    drill.run()
    assert drill.ends == {"Finish": int(ENDS_AT * CALLS_PER_S)}
    per_s = CALLS_PER_S * share
    assert drill.calls("p/m", BREAKS_AT - 5, BREAKS_AT) == 5 * per_s
    # Answers of calls from before are still coming in between the failures.
    last_word_s = max(ANSWER_S, OUTAGES[outage][1])
    assert drill.calls("p/m", BREAKS_AT, BREAKS_AT + 1) <= 16 + per_s * last_word_s + 2
    assert drill.calls("p/m", BREAKS_AT + 1, RETURNS_AT) <= 5, "probes"
    assert drill.calls("p/m", RETURNS_AT + 20, ENDS_AT) == per_s * (ENDS_AT - RETURNS_AT - 20)
    for tenth in range(int(RETURNS_AT * 10), int(ENDS_AT * 10)):
        assert drill.calls("p/m", tenth / 10, tenth / 10 + 1.0) <= per_s + 2, f"a spike at {tenth / 10} s"
    ramp = [second for second in range(50, 80) if 0 < drill.calls("p/m", second, second + 1) < per_s]
    assert 5 <= len(ramp) <= 8, ramp


def test_a_flapping_target_is_left_alone_for_longer_each_time() -> None:
    """A target that fails each time that it is back gets fewer and fewer calls."""
    clock = ManualClock()
    circuit = Circuit(CircuitLimits(), clock=clock, rng=random.Random(7))
    opened: list[float] = []
    for _ in range(400 * CALLS_PER_S):
        clock.advance(1 / CALLS_PER_S)
        if circuit.shut_because() is None and circuit.held_because() is None:
            was = circuit.state
            permit = circuit.enter()
            if was is CircuitState.HALF_OPEN:
                permit.succeeded()
            else:
                permit.failed()
                if circuit.state is CircuitState.OPEN:
                    opened.append(clock())
        else:
            circuit.pass_by()
    gaps = [later - earlier for earlier, later in pairwise(opened)]
    assert len(gaps) == 6
    assert all(1.5 < longer / shorter < 2.5 for shorter, longer in pairwise(gaps)), gaps
