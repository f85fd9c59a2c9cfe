"""Calls at an even pace in virtual time: plans, machines and shared health together, with nothing around them."""

from __future__ import annotations

import heapq
import random
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count

from trunkline_server.routing.aliases import Alias, AliasTarget, Tier
from trunkline_server.routing.budget import BudgetLimits, RetryBudget
from trunkline_server.routing.circuit import Circuit, CircuitLimits, CircuitState
from trunkline_server.routing.clock import ManualClock
from trunkline_server.routing.events import (
    Action,
    AttemptFailed,
    Backoff,
    Completed,
    Dispatch,
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
from trunkline_server.routing.latency import Latency
from trunkline_server.routing.machine import Machine
from trunkline_server.routing.retry import Allowance
from trunkline_server.routing.selection import NO_DEMAND, make_plan
from trunkline_server.routing.types import TargetId

Upstream = Callable[[float, str], tuple[float, FailureClass | None]]
"""Asked with the time and the target of an attempt: after how long it ends, and how; None: with an answer."""

ME = ("me", False)


@dataclass(slots=True)
class Drill:
    """One alias of `provider/model` names with weights, tier by tier; every call may make 3 attempts in 30 s.

    `callers` take turns: each one's name, and whether its library says that it sends the RPC again.
    """

    tiers: Sequence[Mapping[str, float]]
    upstream: Upstream
    rng: random.Random
    calls_per_s: int
    callers: Sequence[tuple[str, bool]] = (ME,)
    clock: ManualClock = field(default_factory=ManualClock)
    attempts: dict[str, list[float]] = field(default_factory=dict)
    """When each target got a call, in order."""
    ends: Counter[tuple[str, type[Action]]] = field(default_factory=Counter)
    """How often each caller's calls ended in which way."""
    circuits: dict[str, Circuit] = field(default_factory=dict)
    opened: Counter[str] = field(default_factory=Counter)
    """How many attempts at each target ended with its circuit open."""
    _alias: Alias = field(init=False)
    _health: dict[str, Health] = field(default_factory=dict)
    _agenda: list[tuple[float, int, Callable[[], None]]] = field(default_factory=list)
    _numbers: count[int] = field(default_factory=count)

    def __post_init__(self) -> None:
        """Make the alias and the health of its targets, of which nothing is known yet."""
        budgets: dict[str, RetryBudget] = {}
        for name in (name for targets in self.tiers for name in targets):
            circuit = self.circuits[name] = Circuit(CircuitLimits(), clock=self.clock, rng=self.rng)
            provider = name.partition("/")[0]
            budget = budgets.setdefault(provider, RetryBudget(BudgetLimits(), clock=self.clock))
            self._health[name] = Health(circuit, budget, Latency.unknown(clock=self.clock))
        tiers = tuple(
            Tier(tuple(AliasTarget(TargetId(*name.split("/")), weight) for name, weight in targets.items()))
            for targets in self.tiers
        )
        self._alias = Alias("default", tiers)

    def run(self, calls: int) -> None:
        """Play so many calls, from the first one's start to the last one's end, and count these alone."""
        self.ends.clear()
        self.attempts.clear()
        self.opened.clear()

        def start(number: int) -> None:
            plan = make_plan(self._alias, NO_DEMAND, lambda _: None, lambda target: self._health[str(target)])
            caller, sent_again = self.callers[number % len(self.callers)]
            allowance = Allowance(3, self.clock() + 30.0)
            machine = Machine(
                plan, allowance, clock=self.clock, rng=self.rng, streams=False, caller=caller, sent_again=sent_again
            )
            self._go_on(machine, machine.handle(Started()), caller)

        for number in range(calls):
            self._later(number / self.calls_per_s, lambda number=number: start(number))  # type: ignore[misc]
        while self._agenda:
            at, _, act = heapq.heappop(self._agenda)
            self.clock.advance(max(0.0, at - self.clock()))
            act()

    def _later(self, seconds: float, act: Callable[[], None]) -> None:
        heapq.heappush(self._agenda, (self.clock() + seconds, next(self._numbers), act))

    def _go_on(self, machine: Machine, action: Action, caller: str) -> None:
        while isinstance(action, TryNow | Queue):
            move = action.moves[0] if isinstance(action, TryNow) else action.move
            action = machine.handle(Granted(move.candidate, "key"))
        if isinstance(action, Dispatch):
            self._attempt(machine, action, caller)
        elif isinstance(action, Backoff):
            self._later(action.seconds, lambda: self._go_on(machine, machine.handle(Woke()), caller))
        else:
            assert isinstance(action, Finish | Fail)
            machine.close()
            self.ends[caller, type(action)] += 1

    def _attempt(self, machine: Machine, action: Dispatch, caller: str) -> None:
        candidate = machine.plan.candidates[action.candidate]
        target = str(candidate.target)
        self.attempts.setdefault(target, []).append(self.clock())
        seconds, failed = self.upstream(self.clock(), target)
        event = Completed() if failed is None else AttemptFailed(Failure(failed, "drill"))

        def end() -> None:
            if failed is None and candidate.health.latency is not None:
                candidate.health.latency.response.book(seconds)
            after = machine.handle(event)
            self.opened[target] += self.circuits[target].state is CircuitState.OPEN
            self._go_on(machine, after, caller)

        self._later(seconds, end)

    def calls(self, target: str, since: float, until: float) -> int:
        """Return how many calls a target got in a span of time."""
        times = self.attempts[target]
        return bisect_left(times, until) - bisect_left(times, since)

    @property
    def made(self) -> int:
        """How many upstream calls were made, of all targets."""
        return sum(map(len, self.attempts.values()))

    def succeeded(self, caller: str = ME[0]) -> float:
        """Return which share of a caller's calls had an answer."""
        finished, failed = self.ends[caller, Finish], self.ends[caller, Fail]
        return finished / (finished + failed)
