"""From a request's needs to its plan: the ordered candidates, each with the reason it was kept or left out.

Hard filters look at what the request needs; soft filters look at whether any key could serve, even after waiting, and
at circuits. Prices, windows and regions join them with the issues that build those.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from trunkline_server.routing.aliases import Alias, AliasTarget, Policy
from trunkline_server.routing.circuit import Circuit
from trunkline_server.routing.failures import FailureClass
from trunkline_server.routing.health import HEALTHY, Health, HealthOf, all_healthy
from trunkline_server.routing.types import Reason, Refusal, TargetId

Blockage = Callable[[TargetId], Refusal | None]
"""Asked for a target: why no key of its pool can serve it now; None if one can, or could after a wait."""

CIRCUIT = "circuit"
"""The constraint of a target that its circuit keeps out."""


@dataclass(frozen=True, slots=True)
class Demand:
    """What a request needs from whoever serves it."""

    capabilities: frozenset[str] = frozenset()
    """`tools`, `vision`, `json_schema`, `reasoning`; a model whose capabilities are unknown is not filtered."""
    only_providers: frozenset[str] = frozenset()
    """Providers named by a file id or a provider's own tool: nobody else can serve. More than one: nobody can."""
    excluded: frozenset[str] = frozenset()
    """`provider/model` names and provider names."""
    allow_fallback: bool = True


NO_DEMAND = Demand()


@dataclass(frozen=True, slots=True)
class Candidate:
    """One target of a plan."""

    target: TargetId
    tier: int
    member: AliasTarget
    rejected: Refusal | None = None
    """All keys were rejected and the alias says to fail fast: reaching this candidate fails, without an attempt."""
    health: Health = field(default=HEALTHY, compare=False, repr=False)

    @property
    def circuit(self) -> Circuit | None:
        """The circuit of its target, if it has one."""
        return self.health.circuit

    @property
    def calm(self) -> bool:
        """Whether its circuit surely has nothing to say."""
        circuit = self.health.circuit
        return circuit is None or circuit.calm

    @property
    def shut_because(self) -> str | None:
        """Why its circuit lets nobody in who could go elsewhere."""
        return None if self.circuit is None else self.circuit.shut_because()

    @property
    def held_because(self) -> str | None:
        """Why its circuit's ramp would not let this call in."""
        return None if self.circuit is None else self.circuit.held_because()

    @property
    def takes_anybody(self) -> bool:
        """Whether neither its keys nor its circuit stand against one more call."""
        return self.rejected is None and (self.calm or (self.shut_because is None and self.held_because is None))


@dataclass(frozen=True, slots=True)
class Removed:
    """A target that was left out: by which constraint, and in words."""

    target: TargetId
    tier: int
    constraint: str
    detail: str
    refusal: Refusal | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """The ordered candidates for one request."""

    alias: Alias
    candidates: tuple[Candidate, ...]
    removed: tuple[Removed, ...] = field(default=())

    def tier_members(self, tier: int) -> tuple[int, ...]:
        """Return the indices of the candidates of one tier, in order."""
        return tuple(index for index, candidate in enumerate(self.candidates) if candidate.tier == tier)


class NoEligibleTargetError(Exception):
    """Nobody is left to serve the request; `removed` tells why, target by target."""

    def __init__(self, removed: tuple[Removed, ...]) -> None:
        super().__init__("no eligible target")
        self.removed = removed

    @property
    def key_refusal(self) -> Refusal | None:
        """The first key-pool refusal, if keys alone stand in the way of a target that fits the request."""
        return next((entry.refusal for entry in self.removed if entry.refusal is not None), None)


def make_plan(
    alias: Alias, demand: Demand, blockage: Blockage, health_of: HealthOf = all_healthy, *, advance: bool = True
) -> Plan:
    """Filter and order an alias's targets; raise NoEligibleTargetError if none is left.

    `advance=False` looks without taking a turn (Explain).
    """
    fit: list[dict[int, Candidate]] = []
    removed: list[Removed] = []
    calm = True
    for number, tier in enumerate(alias.tiers):
        eligible: dict[int, Candidate] = {}
        for index, member in enumerate(tier.members):
            out = _hard_filter(member, number, demand) or _key_filter(member, number, alias, blockage)
            if isinstance(out, Removed):
                removed.append(out)
            else:
                health = health_of(member.target)
                calm = calm and (health.circuit is None or health.circuit.calm)
                eligible[index] = Candidate(member.target, number, member, out, health)
        fit.append(eligible)
    if not calm:
        _circuit_filter(fit, removed)
    kept: list[Candidate] = []
    for tier, eligible in zip(alias.tiers, fit, strict=True):
        kept += [eligible[index] for index in tier.turn.order(list(eligible), advance=advance)]
    if not kept:
        raise NoEligibleTargetError(tuple(removed))
    return Plan(alias, tuple(kept), tuple(removed))


def _circuit_filter(fit: list[dict[int, Candidate]], removed: list[Removed]) -> None:
    """Take out whom their circuits keep out, unless that leaves nobody who could serve: panic."""
    shut = {
        candidate.target: because
        for tier in fit
        for candidate in tier.values()
        if (because := candidate.shut_because) is not None
    }
    if not any(
        candidate.rejected is None and candidate.target not in shut for tier in fit for candidate in tier.values()
    ):
        return
    for number, tier in enumerate(fit):
        for index in [index for index, candidate in tier.items() if candidate.target in shut]:
            target = tier.pop(index).target
            removed.append(Removed(target, number, CIRCUIT, shut[target]))


def _hard_filter(member: AliasTarget, tier: int, demand: Demand) -> Removed | None:
    """Return why what the request needs rules this target out."""
    target = member.target
    if tier and not demand.allow_fallback:
        return Removed(target, tier, "allow_fallback", "the request allows no fallback tier")
    if demand.excluded and (target.provider in demand.excluded or str(target) in demand.excluded):
        return Removed(target, tier, "exclude_targets", "excluded by the request")
    if demand.only_providers and demand.only_providers != {target.provider}:
        needed = ", ".join(sorted(demand.only_providers))
        return Removed(target, tier, "provider", f"the request has parts that only {needed} can read")
    known = member.facts.capabilities
    if known is not None and not demand.capabilities <= known:
        lacking = ", ".join(sorted(demand.capabilities - known))
        return Removed(target, tier, "capability", f"the model lacks: {lacking}")
    return None


def _key_filter(member: AliasTarget, tier: int, alias: Alias, blockage: Blockage) -> Removed | Refusal | None:
    """Return why no key could serve this target even after waiting; a bare refusal keeps it in the plan.

    Keys that all stand rejected do not remove a target whose alias fails fast: the target stays and refuses, each
    time alike, until a key is due to be probed.
    """
    refusal = blockage(member.target)
    if refusal is None or refusal.reason is Reason.RATE_LIMITED:
        return None
    if refusal.failure_class is FailureClass.KEY_REJECTED and alias.policy.on_key_rejected is Policy.FAIL:
        return refusal
    return Removed(member.target, tier, "keys", refusal.message, refusal)
