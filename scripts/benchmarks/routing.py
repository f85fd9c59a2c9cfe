"""What the routing core alone costs: microseconds of CPU time for the decisions of one call."""

from __future__ import annotations

import random
import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from trunkline_server.routing.aliases import Alias, AliasTable, AliasTarget, Tier
from trunkline_server.routing.budget import BudgetLimits, RetryBudget
from trunkline_server.routing.circuit import Circuit, CircuitLimits
from trunkline_server.routing.events import AttemptFailed, Completed, Dispatch, Finish, Granted, Started, TryNow
from trunkline_server.routing.failures import Failure, FailureClass
from trunkline_server.routing.gate import Gate, GateLimits
from trunkline_server.routing.health import Health
from trunkline_server.routing.key_pool import KeyPool, KeySpec
from trunkline_server.routing.latency import Latency
from trunkline_server.routing.machine import Machine
from trunkline_server.routing.retry import Allowance
from trunkline_server.routing.selection import NO_DEMAND, make_plan
from trunkline_server.routing.types import Caller, TargetId

if TYPE_CHECKING:
    from collections.abc import Callable

    from trunkline_server.routing.events import Action, Event
    from trunkline_server.routing.lease import Lease
    from trunkline_server.routing.types import Refusal

TARGETS = 4
KEYS = 8
BAR_US = 60.0
"""Decisions of one call, with TARGETS targets of KEYS keys each."""

_ALIAS = "default"
_MODEL = "large"
_CALLER = Caller("bench", frozenset({_ALIAS}), frozenset())
_BROKE = Failure(FailureClass.SERVER_ERROR, "the provider failed", http_status=500)
_FOREVER_S = 1e9
_NEVER_OPEN = CircuitLimits(recent_failures=20, failures_in_row=1_000_000, error_ratio=1.0)
"""Every other outcome is a failure where each call fails over."""
_Kind = TypeVar("_Kind")


@dataclass(frozen=True, slots=True)
class Figure:
    """Microseconds of CPU time for each decision: one entry a repetition."""

    name: str
    us: tuple[float, ...]
    bar_us: float | None = None

    @property
    def median_us(self) -> float:
        """The median of the repetitions."""
        return statistics.median(self.us)


class Core:
    """The routing core as the engine drives it, with an upstream that answers or fails at once."""

    def __init__(self, targets: int = TARGETS, keys: int = KEYS) -> None:
        self._clock = time.monotonic
        self._rng = random.Random(1)  # noqa: S311  repeatable
        names = [f"provider-{number}" for number in range(targets)]
        self._pools = {name: make_pool(keys, name) for name in names}
        self._gates = {name: Gate(name, GateLimits(), pool, clock=self._clock) for name, pool in self._pools.items()}
        self._health = {name: self._fresh() for name in names}
        tier = Tier(tuple(AliasTarget(TargetId(name, _MODEL)) for name in names))
        self._table = AliasTable({_ALIAS: Alias(_ALIAS, (tier,))}, frozenset(names), {})

    def decide(self, failures: int = 0) -> None:
        """Take every decision of one call that fails over `failures` times and then succeeds."""
        plan = make_plan(self._table.resolve(_ALIAS, _CALLER), NO_DEMAND, self._blockage, self._health_of)
        machine = Machine(plan, Allowance(3, _FOREVER_S), clock=self._clock, rng=self._rng, caller=_CALLER.id)
        event: Event = Started()
        for _ in range(failures):
            lease = self._dispatch(machine, event)
            self._pools[lease.provider].failed(lease.key_id, lease.model, _BROKE, fingerprint=lease.fingerprint)
            lease.release()
            event = AttemptFailed(_BROKE)
        lease = self._dispatch(machine, event)
        self._pools[lease.provider].succeeded(lease.key_id, lease.model, fingerprint=lease.fingerprint)
        lease.release()
        _expect(machine.handle(Completed()), Finish)

    def _dispatch(self, machine: Machine, event: Event) -> Lease:
        action = _expect(machine.handle(event), TryNow)
        for move in action.moves:
            target = machine.plan.candidates[move.candidate].target
            lease = self._gates[target.provider].try_take(target.model, move.exclude_keys)
            if lease is not None:
                _expect(machine.handle(Granted(move.candidate, lease.key_id)), Dispatch)
                return lease
        raise RuntimeError("nobody took the call, although everything is free")

    def _fresh(self) -> Health:
        return Health(
            Circuit(_NEVER_OPEN, clock=self._clock, rng=self._rng),
            RetryBudget(BudgetLimits(), clock=self._clock),
            Latency.unknown(clock=self._clock),
        )

    def _health_of(self, target: TargetId) -> Health:
        return self._health[target.provider]

    def _blockage(self, target: TargetId) -> Refusal | None:
        return self._pools[target.provider].blockage(target.model)


def _expect(action: Action, kind: type[_Kind]) -> _Kind:
    if not isinstance(action, kind):
        raise RuntimeError(f"the machine said {action!r} where a {kind.__name__} was due")  # noqa: TRY004  no type of input
    return action


def make_pool(keys: int, provider: str = "provider") -> KeyPool:
    """Return a pool of so many keys of equal weight."""
    specs = [KeySpec(f"key-{number}", 1.0) for number in range(keys)]
    return KeyPool(provider, specs, clock=time.monotonic, rng=random.Random(1))  # noqa: S311  repeatable


def timed(name: str, work: Callable[[], object], calls: int, *, bar_us: float | None = None) -> Figure:
    """Time `calls` runs of `work`, seven times after a warm-up."""
    _run(work, max(1, calls // 10))
    return Figure(name, tuple(_run(work, calls) / calls * 1e6 for _ in range(7)), bar_us)


def _run(work: Callable[[], object], calls: int) -> float:
    began_s = time.process_time()
    for _ in range(calls):
        work()
    return time.process_time() - began_s


def routing_figures(calls: int) -> list[Figure]:
    """Measure everything that `scripts/bench routing` shows; `calls` decisions a repetition."""
    core = Core()
    figures = [
        timed(f"one call, {TARGETS} targets x {KEYS} keys", core.decide, calls, bar_us=BAR_US),
        timed("one call with a failover", lambda: core.decide(1), calls),
    ]
    for keys in (10, 1000):
        pool = make_pool(keys)

        def turn(pool: KeyPool = pool) -> None:
            key_id = pool.take(_MODEL)
            if key_id is not None:
                pool.give_back(key_id, _MODEL)

        figures.append(timed(f"a key taken and given back, {keys} keys", turn, calls * 5))
    return figures


def print_figures(figures: list[Figure]) -> None:
    """Print them, with the bar where there is one."""
    print("\nrouting decisions alone (CPU µs, median of 7, min-max)")
    for figure in figures:
        bar = "" if figure.bar_us is None else f"   bar {figure.bar_us:.0f}"
        print(f"{figure.name:42}{figure.median_us:8.1f} ({min(figure.us):.1f}-{max(figure.us):.1f}){bar}")
