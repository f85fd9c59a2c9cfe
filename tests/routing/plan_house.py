"""An alias whose targets have health, prices and times that a test sets, and the plans that are made for it."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field, replace

from trunkline_server.routing.aliases import Alias, AliasPolicy, AliasTarget, ModelFacts, Strategy, Tier
from trunkline_server.routing.circuit import Circuit, CircuitLimits
from trunkline_server.routing.clock import ManualClock
from trunkline_server.routing.health import Health
from trunkline_server.routing.latency import Latency
from trunkline_server.routing.load import Load
from trunkline_server.routing.selection import NO_DEMAND, Demand, Plan, make_plan
from trunkline_server.routing.types import Refusal, TargetId

USD = 1_000_000_000


def named(name: str) -> TargetId:
    provider, _, model = name.partition("/")
    return TargetId(provider, model)


def priced(input_usd: float, output_usd: float | None = None) -> ModelFacts:
    """Return facts with prices in USD a million tokens."""
    output = input_usd if output_usd is None else output_usd
    return ModelFacts(input_nanousd_per_million=round(input_usd * USD), output_nanousd_per_million=round(output * USD))


def member(name: str, weight: float = 1.0, facts: ModelFacts | None = None, variant: str = "") -> AliasTarget:
    return AliasTarget(named(name), weight, variant, facts or ModelFacts())


@dataclass
class PlanHouse:
    """`tiers`: their members, all of one strategy."""

    tiers: list[list[AliasTarget]]
    strategy: Strategy = Strategy.WEIGHTED
    policy: AliasPolicy = field(default_factory=AliasPolicy)
    rng: random.Random | None = None
    clock: ManualClock = field(default_factory=ManualClock)
    refusals: dict[str, Refusal] = field(default_factory=dict)
    demand: Demand = NO_DEMAND

    def __post_init__(self) -> None:
        tiers = tuple(Tier(tuple(members), self.strategy) for members in self.tiers)
        self.alias = Alias("default", tiers, self.policy)
        self.healths = {
            entry.target: Health(
                Circuit(CircuitLimits(), clock=self.clock, rng=random.Random(1)),
                None,
                Latency.unknown(clock=self.clock),
                Load(clock=self.clock),
            )
            for members in self.tiers
            for entry in members
        }

    def health_of(self, target: TargetId) -> Health:
        return self.healths.get(target, Health())

    def blockage(self, target: TargetId) -> Refusal | None:
        return self.refusals.get(str(target))

    def takes(self, name: str, seconds: float, times: int = 5) -> None:
        """Let a target's streams have shown their first content after so long."""
        latency = self.healths[named(name)].latency
        assert latency is not None
        for _ in range(times):
            latency.first_content.book(seconds)

    def load(self, name: str) -> Load:
        load = self.healths[named(name)].load
        assert load is not None
        return load

    def open(self, name: str) -> None:
        """Let a target fail until its circuit opens."""
        circuit = self.healths[named(name)].circuit
        assert circuit is not None
        for _ in range(5):
            permit = circuit.enter()
            permit.failed()
            permit.ended()

    def plan(self, demand: Demand | None = None, alias: Alias | None = None) -> Plan:
        return make_plan(
            alias or self.alias, self.demand if demand is None else demand, self.blockage, self.health_of, rng=self.rng
        )

    def order(self, demand: Demand | None = None) -> list[str]:
        return names(self.plan(demand))

    def look(self, demand: Demand | None = None) -> list[str]:
        """Return the order that a request would get, without taking its turn."""
        wanted = self.demand if demand is None else demand
        return names(make_plan(self.alias, wanted, self.blockage, self.health_of, advance=False))

    def firsts(self, calls: int, demand: Demand | None = None) -> Counter[str]:
        """Return how often each target came first."""
        return Counter(self.order(demand)[0] for _ in range(calls))

    def removed(self, demand: Demand) -> dict[str, tuple[str, str]]:
        """Return what was left out of a plan that has somebody left, and why."""
        return {str(entry.target): (entry.constraint, entry.detail) for entry in self.plan(demand).removed}


def names(plan: Plan) -> list[str]:
    return [str(candidate.target) for candidate in plan.candidates]


def sticky(key: str, demand: Demand = NO_DEMAND) -> Demand:
    return replace(demand, sticky_key=key)
