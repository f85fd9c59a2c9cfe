"""What it costs to choose: plan, key and gate for one request, by kind of choice and number of targets."""

from __future__ import annotations

import random
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from scripts.benchmarks.routing import KEYS, Figure, make_pool, timed

from trunkline_server.routing.aliases import Alias, AliasTarget, ModelFacts, Strategy, Tier
from trunkline_server.routing.circuit import Circuit, CircuitLimits
from trunkline_server.routing.demand import NO_DEMAND, Demand
from trunkline_server.routing.gate import Gate, GateLimits
from trunkline_server.routing.health import Health
from trunkline_server.routing.latency import Latency
from trunkline_server.routing.load import Load
from trunkline_server.routing.selection import make_plan
from trunkline_server.routing.types import TargetId

if TYPE_CHECKING:
    from trunkline_server.routing.types import Refusal

SIZES = (4, 40, 400)
"""Targets of one alias."""

_ALIAS = "default"
_MODEL = "large"


class Choice:
    """A plan, the key of its first candidate and a slot at its gate, taken and given back; every target is well known.

    `demand`: what each request asks for.
    """

    def __init__(self, targets: int, strategy: Strategy = Strategy.WEIGHTED, demand: Demand = NO_DEMAND) -> None:
        self._rng = random.Random(1)  # noqa: S311  repeatable
        self._demand = demand
        names = [f"provider-{number}" for number in range(targets)]
        pools = {name: make_pool(KEYS, name) for name in names}
        self._pools = pools
        self._gates = {name: Gate(name, GateLimits(), pool, clock=time.monotonic) for name, pool in pools.items()}
        self._healths = {name: self._known_health(number) for number, name in enumerate(names)}
        tier = Tier(tuple(AliasTarget(TargetId(name, _MODEL), facts=_FACTS) for name in names), strategy)
        self._alias = Alias(_ALIAS, (tier,))

    def take(self) -> None:
        """Choose for one request, and let it end."""
        plan = make_plan(self._alias, self._demand, self._blockage, self._health_of, rng=self._rng)
        target = plan.candidates[0].target
        load = self._healths[target.provider].load
        lease = self._gates[target.provider].try_take(target.model)
        if lease is None or load is None:
            raise RuntimeError("nobody took the call, although everything is free")
        load.began()
        load.ended(1.0)
        lease.release()

    def _blockage(self, target: TargetId) -> Refusal | None:
        return self._pools[target.provider].blockage(target.model)

    def _health_of(self, target: TargetId) -> Health:
        return self._healths[target.provider]

    def _known_health(self, number: int) -> Health:
        latency = Latency.unknown(clock=time.monotonic)
        for _ in range(5):
            latency.first_content.book(1.0 + number % 7)
        circuit = Circuit(CircuitLimits(), clock=time.monotonic, rng=self._rng)
        return Health(circuit, None, latency, Load(clock=time.monotonic))


_FACTS = ModelFacts(
    context_tokens=128_000,
    capabilities=frozenset({"tools", "vision"}),
    input_nanousd_per_million=150_000_000,
    output_nanousd_per_million=600_000_000,
    regions=frozenset({"eu"}),
)
_WISHES = Demand(
    capabilities=frozenset({"tools"}),
    regions=frozenset({"eu"}),
    input_tokens=1000,
    output_tokens=500,
    max_cost_nanousd=10_000_000,
    max_first_token_s=5.0,
)
"""Everything that a request can ask of its targets; two in seven of them are late."""

_CHOICES: dict[str, tuple[Strategy, Demand]] = {
    "weighted": (Strategy.WEIGHTED, NO_DEMAND),
    "least loaded": (Strategy.LEAST_LOADED, NO_DEMAND),
    "lowest cost": (Strategy.LOWEST_COST, NO_DEMAND),
    "lowest latency": (Strategy.LOWEST_LATENCY, NO_DEMAND),
    "sticky": (Strategy.WEIGHTED, replace(NO_DEMAND, sticky_key="session")),
    "every limit": (Strategy.WEIGHTED, _WISHES),
}


def choice_figures(calls: int) -> list[Figure]:
    """Measure plan, key and gate, for each kind of choice and each size; fewer calls where one takes longer."""
    return [
        timed(choice_name(kind, targets), Choice(targets, *asked).take, max(5, calls * SIZES[0] // targets))
        for kind, asked in _CHOICES.items()
        for targets in SIZES
    ]


def choice_name(kind: str, targets: int) -> str:
    """Return what a figure of `choice_figures` is called."""
    return f"plan, key and gate, {kind}, {targets} targets"


def print_growth(figures: list[Figure]) -> None:
    """Print the figures of `choice_figures` by kind, and how they grow with the targets."""
    us = {figure.name: figure.median_us for figure in figures}
    sizes = "".join(f"{targets:>10}" for targets in SIZES)
    print(f"\nplan, key and gate (CPU µs, median of 7)\n{'targets':20}{sizes}   growth   a target more")
    for kind in _CHOICES:
        row = [us[choice_name(kind, targets)] for targets in SIZES]
        slope = (row[-1] - row[0]) / (SIZES[-1] - SIZES[0])
        print(f"{kind:20}{''.join(f'{value:10.1f}' for value in row)}{row[-1] / row[0]:8.1f}x{slope:13.2f} µs")
