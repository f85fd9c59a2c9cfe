"""The whole routing decision for one request, to be shown: every target with its place, its figures and its states."""

from __future__ import annotations

from dataclasses import dataclass, replace

from trunkline_server.routing.aliases import Alias, Strategy, Tier
from trunkline_server.routing.cost import cost_nanousd
from trunkline_server.routing.demand import Demand
from trunkline_server.routing.filters import usual_first_content_s
from trunkline_server.routing.health import Health, HealthOf, all_healthy
from trunkline_server.routing.plan import Candidate, NoEligibleTargetError, Plan, Removed
from trunkline_server.routing.selection import Blockage, asked_of, make_plan
from trunkline_server.routing.strategies import Asked
from trunkline_server.routing.types import Refusal, TargetId


@dataclass(frozen=True, slots=True)
class Insight:
    """One target of an alias, as it stands for one request."""

    target: TargetId
    tier: int
    """Of its alias, from 0; those of the request's fallback models follow."""
    variant: str
    weight: float
    order: int
    """Its place in the plan, from 1; 0: it was left out."""
    removed: Removed | None
    """Why it was left out."""
    late: bool
    """It comes behind all that are not: it usually takes longer than request or alias allow."""
    rejected: bool
    """All of its keys were rejected, and its alias fails fast: who comes to it fails."""
    strategy: Strategy
    sticky: bool
    """The sticky key orders its tier, not the strategy."""
    score: float | None
    """By which it was ordered in its tier, see `strategies.Asked.score`; None: not known."""
    first_content_s: float | None
    """Its median of late; None: too few calls say."""
    cost_nanousd: int | None
    """What the request would cost there, by estimate; None: its prices are not known."""
    in_flight: int | None
    """Attempts at it now; None: nobody counts them."""
    circuit: str | None
    """The state of its circuit; None: it has none."""
    keys: Refusal | None
    """Why none of its keys could serve now, even if one could after a wait."""


@dataclass(frozen=True, slots=True)
class Explained:
    """A decision that was looked at and not taken."""

    plan: Plan | None
    """None: nobody is eligible."""
    insights: tuple[Insight, ...]
    """The plan's candidates in their order, then what was left out."""


def explain_plan(alias: Alias, demand: Demand, blockage: Blockage, health_of: HealthOf = all_healthy) -> Explained:
    """Return the decision that `make_plan` would take now; no turn is taken and nobody is drawn."""
    plan: Plan | None = None
    try:
        # On a copy the turns are taken as the call itself takes them: with limits it looks twice.
        looked = replace(alias, tiers=tuple(tier.copy() for tier in alias.tiers))
        plan = make_plan(looked, demand, blockage, health_of)
        removed = plan.removed
    except NoEligibleTargetError as error:
        removed = error.removed
    places = _places(plan, len(alias.tiers))
    out = {(entry.tier, entry.target): entry for entry in removed}
    asked = asked_of(alias, demand, advance=False)
    insights: list[Insight] = []
    for number, tier in enumerate(alias.tiers):
        for index, member in enumerate(tier.members):
            place = places.get((number, member.target, member.variant))
            because = out.get((number, member.target))
            if place is not None or because is not None:  # else it has its place in an earlier tier
                insights.append(
                    _insight(
                        tier,
                        index,
                        asked,
                        number=number,
                        place=place,
                        because=because,
                        health=health_of(member.target),
                        keys=blockage(member.target),
                    )
                )
    insights.sort(key=lambda insight: (insight.order == 0, insight.order))
    return Explained(plan, tuple(insights))


_Place = tuple[int, Candidate]
"""From 1, and who has it."""


def _places(plan: Plan | None, tiers: int) -> dict[tuple[int, TargetId, str], _Place]:
    """Return the candidates by their alias's tier, target and variant."""
    candidates = () if plan is None else plan.candidates
    return {
        (candidate.tier % tiers, candidate.target, candidate.member.variant): (order, candidate)
        for order, candidate in enumerate(candidates, start=1)
    }


def _insight(
    tier: Tier,
    index: int,
    asked: Asked,
    *,
    number: int,
    place: _Place | None,
    because: Removed | None,
    health: Health,
    keys: Refusal | None,
) -> Insight:
    member = tier.members[index]
    candidate = None if place is None else place[1]
    return Insight(
        target=member.target,
        tier=number,
        variant=member.variant,
        weight=member.weight,
        order=0 if place is None else place[0],
        removed=because if place is None else None,
        late=candidate is not None and candidate.late,
        rejected=candidate is not None and candidate.rejected is not None,
        strategy=tier.strategy,
        sticky=asked.sticky is not None,
        score=asked.score(tier, index, health),
        first_content_s=usual_first_content_s(health),
        cost_nanousd=cost_nanousd(member.facts, asked.input_at(member.target), asked.output_tokens),
        in_flight=None if health.load is None else health.load.in_flight,
        circuit=None if health.circuit is None else health.circuit.state.value,
        keys=keys,
    )
