"""The hard filters: what a request needs and its limits, against what is known of a target. Each no has its reason."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from trunkline_server.routing.aliases import Alias, AliasTarget, ModelFacts
from trunkline_server.routing.cost import cost_nanousd
from trunkline_server.routing.demand import CHAT, EMBEDDINGS, Constraint, Demand
from trunkline_server.routing.health import Health
from trunkline_server.routing.types import TargetId

COST = "cost"
"""The constraint of a target that would cost more than request or alias allow."""

FEATURE = "feature"
"""The constraint of a target whose protocol cannot carry what the request asks for."""

_MEDIAN = 50.0
_NANOUSD_PER_USD = 1_000_000_000
_Limit = TypeVar("_Limit", int, float)


def unfit(member: AliasTarget, tier: int, demand: Demand) -> Constraint | None:
    """Return why what the request needs rules this target out, its price apart."""
    target = member.target
    if tier and not demand.allow_fallback:
        return "allow_fallback", "the request allows no fallback tier"
    if demand.excluded and (target.provider in demand.excluded or str(target) in demand.excluded):
        return "exclude_targets", "excluded by the request"
    if demand.only_providers and demand.only_providers != {target.provider}:
        needed = ", ".join(sorted(demand.only_providers))
        return "provider", f"the request has parts that only {needed} can read"
    if demand.features and member.features is not None and not demand.features <= member.features:
        lacking = ", ".join(sorted(demand.features - member.features))
        return FEATURE, f"its protocol cannot carry: {lacking}"
    because = _lacking(target, member.facts, demand)
    return demand.judge(member) if because is None and demand.judge is not None else because


def _lacking(target: TargetId, facts: ModelFacts, demand: Demand) -> Constraint | None:
    """Return what of the model's facts rules it out."""
    known = facts.capabilities
    if known is not None and not demand.capabilities <= known:
        lacking = ", ".join(sorted(demand.capabilities - known))
        return "capability", f"the model lacks: {lacking}"
    if known is not None and EMBEDDINGS in known and CHAT not in known and not demand.for_vectors:
        return "capability", "the model makes vectors of texts, and no answers"
    if demand.regions and (elsewhere := _elsewhere(facts.regions, demand.regions)) is not None:
        return "region", elsewhere
    window = facts.context_tokens
    if window is not None and (tokens := demand.in_window(target)) + (demand.output_tokens or 0) > window:
        return "context", _too_long(demand, tokens, window)
    return None


def _elsewhere(regions: frozenset[str] | None, allowed: frozenset[str]) -> str | None:
    """Return where the target might serve the request against its wish; it is not known which region it would be."""
    if not regions:
        return "it is not known where it is served"
    if regions <= allowed:
        return None
    return f"it may be served in: {', '.join(sorted(regions - allowed))}"


def _too_long(demand: Demand, input_tokens: int, window: int) -> str:
    asked = "" if not demand.output_tokens else f" and {demand.output_tokens} tokens of output"
    return f"about {input_tokens} tokens of input{asked} do not fit into a window of {window}"


@dataclass(frozen=True, slots=True)
class Limits:
    """What of a request's limits needs a look at each target: the stricter of its own and its alias's."""

    max_cost_nanousd: int | None
    max_first_token_s: float | None
    input_at: Callable[[TargetId], int]
    """By estimate; likewise the next one."""
    output_tokens: int
    spent_nanousd: int

    def cost(self, member: AliasTarget) -> int | None:
        """Return what the request would cost at a target, in 1e-9 USD; None if its prices are unknown."""
        return cost_nanousd(member.facts, self.input_at(member.target), self.output_tokens)

    def too_dear(self, cost: int | None) -> Constraint | None:
        """Return why a cost is above what is left; one that is unknown cannot be held to a limit, and is too dear."""
        because = over_limit(cost, self.max_cost_nanousd, self.spent_nanousd)
        return None if because is None else (COST, because)

    def late(self, health: Health) -> bool:
        """Return whether a target usually takes longer to its first content than it should; unknown is in time."""
        if self.max_first_token_s is None:
            return False
        usual_s = usual_first_content_s(health)
        return usual_s is not None and usual_s > self.max_first_token_s


def limits_of(alias: Alias, demand: Demand) -> Limits | None:
    """Return the limits on cost and time, None if there are none."""
    policy = alias.policy
    if (
        policy.max_cost_nanousd is None
        and policy.max_first_token_s is None
        and demand.max_cost_nanousd is None
        and demand.max_first_token_s is None
    ):
        return None
    max_cost = _stricter(demand.max_cost_nanousd, policy.max_cost_nanousd)
    max_first_token_s = _stricter(demand.max_first_token_s, policy.max_first_token_s)
    output_tokens = alias.outputs.expected(demand.output_tokens)
    return Limits(max_cost, max_first_token_s, demand.input_at, output_tokens, demand.spent_nanousd)


def over_limit(cost: int | None, max_cost: int | None, spent: int) -> str | None:
    """Return why a cost, with what was spent already, is more than `max_cost` (all 1e-9 USD); None if it is not."""
    if max_cost is None:
        return None
    if cost is None:
        return f"its prices are unknown, and the request may cost {_usd(max_cost)}"
    if cost + spent <= max_cost:
        return None
    before = f", and {_usd(spent)} were spent already" if spent else ""
    return f"about {_usd(cost)}{before}, where the request may cost {_usd(max_cost)}"


def usual_first_content_s(health: Health) -> float | None:
    """Return a target's median time to its first content of late; None if too few streams say it."""
    return None if health.latency is None else health.latency.first_content.quantile(_MEDIAN)


def usual_s(health: Health, *, streams: bool) -> float | None:
    """Return a target's median time of late to its first content or, for calls without a stream, to its answer."""
    if health.latency is None:
        return None
    return (health.latency.first_content if streams else health.latency.response).quantile(_MEDIAN)


def _stricter(one: _Limit | None, other: _Limit | None) -> _Limit | None:
    if one is None or other is None:
        return other if one is None else one
    return min(one, other)


def _usd(nanousd: int) -> str:
    text = f"{nanousd / _NANOUSD_PER_USD:.9f}".rstrip("0")
    return f"{text}0 USD" if text.endswith(".") else f"{text} USD"
