"""`Explain`: the whole routing decision for a request, as the call itself would take it now, and nothing sent."""

from __future__ import annotations

from trunkline_server.chat.request import ChatRequest
from trunkline_server.engine.frames import ExplainedCandidate, Explanation, RouteInfo
from trunkline_server.engine.snapshot import Snapshot
from trunkline_server.routing.aliases import Alias
from trunkline_server.routing.demand import Demand
from trunkline_server.routing.health import Health
from trunkline_server.routing.insight import Insight, explain_plan
from trunkline_server.routing.plan import CIRCUIT, Candidate
from trunkline_server.routing.selection import Blockage
from trunkline_server.routing.types import TargetId


def explained(
    request: ChatRequest, alias: Alias, demand: Demand, snapshot: Snapshot, blockage: Blockage
) -> Explanation:
    """Return every target of the request's alias with its place, its figures, and what removed it."""

    def health_of(target: TargetId) -> Health:
        return snapshot.providers[target.provider].health_of(target.model)

    found = explain_plan(alias, demand, blockage, health_of)
    held = {} if found.plan is None else _held(found.plan.candidates)
    candidates: list[ExplainedCandidate] = []
    order = 0
    for insight in found.insights:
        because = _because(insight) or held.get((insight.target, insight.tier), ())
        stays = not because or insight.rejected
        if stays:
            order += 1
        candidates.append(_candidate(insight, because, order if stays else 0, _region(alias, insight)))
    candidates.sort(key=lambda candidate: (candidate.order == 0, candidate.order))
    return Explanation(RouteInfo(request.model, alias.name, snapshot.version, "", None, ()), tuple(candidates))


def _because(insight: Insight) -> tuple[str, ...]:
    if insight.removed is not None:
        return (f"{insight.removed.constraint}: {insight.removed.detail}",)
    if insight.rejected and insight.keys is not None:
        return (f"keys: {insight.keys.message}",)
    return ()


def _held(kept: tuple[Candidate, ...]) -> dict[tuple[TargetId, int], tuple[str, ...]]:
    """Return the candidates that a ramp would hold back now, since one behind them takes the call."""
    first = next((index for index, candidate in enumerate(kept) if candidate.takes_anybody), 0)
    return {
        (candidate.target, candidate.tier): (f"{CIRCUIT}: {because}",)
        for candidate in kept[:first]
        if candidate.rejected is None and (because := candidate.held_because) is not None
    }


def _candidate(insight: Insight, because: tuple[str, ...], order: int, region: str) -> ExplainedCandidate:
    return ExplainedCandidate(
        insight.target,
        insight.tier,
        order,
        eligible=not because,
        removed_because=because,
        predicted_first_token_s=insight.first_content_s,
        predicted_cost_nanousd=insight.cost_nanousd,
        variant=insight.variant,
        weight=insight.weight,
        ordered_by="sticky" if insight.sticky else insight.strategy.value,
        score=insight.score,
        late=insight.late,
        in_flight=insight.in_flight,
        circuit=insight.circuit or "",
        keys="" if insight.keys is None else insight.keys.message,
        region=region,
    )


def _region(alias: Alias, insight: Insight) -> str:
    """Return where a target is served, if that is known: one region, or all that it may be."""
    for member in alias.tiers[insight.tier].members:
        if member.target == insight.target and member.facts.regions:
            return ", ".join(sorted(member.facts.regions))
    return ""
