"""What a random walk goes through: an alias whose targets have health of all kinds."""

from __future__ import annotations

import random

from tests.routing.machine_house import ToldBudget, ToldCircuit

from trunkline_server.routing.aliases import Alias, AliasPolicy, AliasTarget, HedgePolicy, ModelFacts, Policy, Tier
from trunkline_server.routing.breaks import PREFILL
from trunkline_server.routing.budget import BudgetLimits
from trunkline_server.routing.circuit import CircuitLimits, CircuitState
from trunkline_server.routing.clock import ManualClock
from trunkline_server.routing.failures import FailureClass
from trunkline_server.routing.health import Health
from trunkline_server.routing.latency import SAMPLES_MIN, Latency
from trunkline_server.routing.selection import Candidate, Plan
from trunkline_server.routing.types import OnBreak, Reason, Refusal, TargetId

REFUSALS = [
    Refusal(FailureClass.SATURATED, Reason.QUEUE_FULL, "full", 1.0),
    Refusal(FailureClass.SATURATED, Reason.QUEUE_TIMEOUT, "waited", 1.0),
    Refusal(FailureClass.MODEL_UNAVAILABLE, Reason.MODEL_UNAVAILABLE, "every key was tried", never=True),
    Refusal(FailureClass.RATE_LIMITED, Reason.RATE_LIMITED, "cooling", 5.0),
    Refusal(FailureClass.KEY_REJECTED, Reason.UPSTREAM_CREDENTIALS, "rejected", 60.0),
]
_BUDGETS = [
    None,
    BudgetLimits(),
    BudgetLimits(1.0, 1.0, 9.0),
    BudgetLimits(0.0, 0.0, 0.2),
    BudgetLimits(0.0, 0.0, 0.0),
]


class WalkWorld:
    """One alias, its clock and its health, drawn from a seed. `tiers`: each target's provider."""

    def __init__(self, tiers: list[list[str]], policies: tuple[Policy, Policy], seed: int, *, prompted: bool) -> None:
        self.rng = random.Random(seed)
        self.clock = ManualClock()
        self.circuits: list[ToldCircuit] = []
        self.budgets = {provider: self._budget() for provider in "abc"}
        choice = self.rng.choice
        members = [
            [
                AliasTarget(
                    TargetId(provider, f"m{tier}{place}"),
                    facts=ModelFacts(choice([None, 8, 16]), None, choice([None, frozenset({PREFILL})])),
                )
                for place, provider in enumerate(names)
            ]
            for tier, names in enumerate(tiers)
        ]
        hedge = HedgePolicy(enabled=True, max_extra=choice([0.0, 1.0, 1.0]))
        policy = AliasPolicy(3, *policies, None, choice(list(OnBreak)), prompted, hedge)
        rejected = REFUSALS[-1] if policies[0] is Policy.FAIL else None
        candidates = [
            Candidate(member.target, tier, member, rejected if self.rng.random() < 0.2 else None, self._health(member))
            for tier, them in enumerate(members)
            for member in them
        ]
        alias = Alias("default", tuple(Tier(tuple(tier)) for tier in members), policy)
        self.plan = Plan(alias, tuple(candidates))

    def _budget(self) -> ToldBudget | None:
        limits = self.rng.choice(_BUDGETS)
        if limits is None:
            return None
        budget = ToldBudget(limits, clock=self.clock)
        for _ in range(self.rng.choice([0, 3])):
            budget.first("other")
        budget.booked.clear()
        return budget

    def _health(self, member: AliasTarget) -> Health:
        """Return a circuit in any state, the provider's budget, and times that are unknown, short, or too long."""
        circuit = ToldCircuit(CircuitLimits(open_s=1.0, ramp_s=3.0), clock=self.clock, rng=self.rng)
        kind = self.rng.choice([0, 0, 0, 1, 2, 3, 4])
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
        usual_s = self.rng.choice([None, None, 0.1, 20.0])
        for _ in range(0 if usual_s is None else SAMPLES_MIN):
            latency.first_content.book(usual_s or 0.0)
        return Health(circuit, self.budgets[member.target.provider], latency)
