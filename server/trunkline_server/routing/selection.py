"""From a request's needs to its plan: the ordered candidates, each with the reason it was kept or left out.

Hard filters look at what the request needs and may cost; soft filters look at whether any key could serve, even after
waiting, and at circuits. Limits on time are an order: who usually breaks them comes after everybody else.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import replace

from trunkline_server.routing.aliases import Alias, AliasTarget, Policy, Strategy
from trunkline_server.routing.demand import NO_DEMAND, Demand
from trunkline_server.routing.failures import FailureClass
from trunkline_server.routing.filters import COST, Limits, limits_of, unfit
from trunkline_server.routing.health import HealthOf, all_healthy
from trunkline_server.routing.plan import CIRCUIT, LATENCY, OPERATOR, Candidate, NoEligibleTargetError, Plan, Removed
from trunkline_server.routing.strategies import Asked
from trunkline_server.routing.types import Reason, Refusal, TargetId

__all__ = [
    "CIRCUIT", "COST", "LATENCY", "NO_DEMAND", "Blockage", "Candidate", "Demand", "NoEligibleTargetError", "Plan",
    "Removed", "asked_of", "make_plan",
]  # fmt: skip

Blockage = Callable[[TargetId], Refusal | None]
"""Asked for a target: why no key of its pool can serve it now; None if one can, or could after a wait."""

_Tier = dict[int, Candidate]
"""Candidates of one tier, by their place in it."""


def make_plan(
    alias: Alias,
    demand: Demand,
    blockage: Blockage,
    health_of: HealthOf = all_healthy,
    *,
    advance: bool = True,
    rng: random.Random | None = None,
) -> Plan:
    """Filter and order an alias's targets; raise NoEligibleTargetError if none is left.

    `advance=False` looks without taking a turn (Explain). `rng` draws the two choices of LEAST_LOADED tiers; None: all
    of their targets are compared.
    """
    found = _Sieve(alias, demand, blockage, health_of)
    found.sift()
    if not found.calm:
        _circuit_filter(found.fit, found.removed)
    if found.limited:
        return _limited_plan(found, asked_of(alias, demand, advance=advance, rng=rng))
    asked: Asked | None = None
    kept: list[Candidate] = []
    for tier, fit in zip(alias.tiers, found.fit, strict=True):
        if tier.strategy is Strategy.WEIGHTED and demand.sticky_key is None:
            order = tier.turn.order(list(fit), advance=advance)
        else:
            asked = asked or asked_of(alias, demand, advance=advance, rng=rng)
            order = asked.order(tier, {index: candidate.health for index, candidate in fit.items()})
        kept += [fit[index] for index in order]
    if not kept:
        raise NoEligibleTargetError(tuple(found.removed))
    return Plan(alias, tuple(kept), tuple(found.removed), found.max_cost_nanousd)


def asked_of(alias: Alias, demand: Demand, *, advance: bool = True, rng: random.Random | None = None) -> Asked:
    """Return what the order within the tiers depends on. Sticky choices of one alias say nothing of another's."""
    sticky = None if demand.sticky_key is None else f"{alias.name}\0{demand.sticky_key}".encode()
    output_tokens = alias.outputs.expected(demand.output_tokens)
    return Asked(sticky, demand.streams, demand.input_at, output_tokens, advance, rng)


class _Sieve:
    """Puts the targets of an alias where they belong: those that fit, those that are too dear, those that are out."""

    __slots__ = ("_alias", "_blockage", "_demand", "_health_of", "_limits", "calm", "dear", "fit", "limited", "removed")

    def __init__(self, alias: Alias, demand: Demand, blockage: Blockage, health_of: HealthOf) -> None:
        self._alias = alias
        self._demand = demand
        self._blockage = blockage
        self._health_of = health_of
        self._limits = limits_of(alias, demand)
        self.fit: list[_Tier] = []
        self.dear: list[_Tier] = []
        """Those that cost alone rules out."""
        self.removed: list[Removed] = []
        self.calm = True
        """Whether no circuit has anything to say."""
        self.limited = False
        """Whether a limit on cost or time stands against anybody."""

    @property
    def alias(self) -> Alias:
        """Whose targets they are."""
        return self._alias

    @property
    def max_cost_nanousd(self) -> int | None:
        """The limit on the request's cost."""
        return None if self._limits is None else self._limits.max_cost_nanousd

    def sift(self) -> None:
        """Look at every target, tier by tier."""
        demand, removed, limits = self._demand, self.removed, self._limits
        undemanding = demand is NO_DEMAND
        for number, members in enumerate(_tiers_of(self._alias)):
            fit: _Tier = {}
            self.fit.append(fit)
            self.dear.append({})
            for index, member in members:
                if not undemanding and (because := unfit(member, number, demand)) is not None:
                    removed.append(Removed(member.target, number, *because))
                elif limits is not None:
                    self._weigh(member, number, index, limits)
                elif (candidate := self._usable(member, number, removed)) is not None:
                    fit[index] = candidate

    def _usable(self, member: AliasTarget, tier: int, removed: list[Removed]) -> Candidate | None:
        """Return the target as a candidate unless no key could serve it, which is noted then.

        Keys that all stand rejected do not remove a target whose alias fails fast: the target stays and refuses, each
        time alike, until a key is due to be probed.
        """
        target = member.target
        refusal = self._blockage(target)
        if refusal is not None:
            if refusal.by_operator:
                removed.append(Removed(target, tier, OPERATOR, refusal.message))
                return None
            if refusal.reason is Reason.RATE_LIMITED:
                refusal = None
            elif (
                refusal.failure_class is not FailureClass.KEY_REJECTED
                or self._alias.policy.on_key_rejected is not Policy.FAIL
            ):
                removed.append(Removed(target, tier, "keys", refusal.message, refusal))
                return None
        health = self._health_of(target)
        circuit = health.circuit
        if circuit is not None and not circuit.calm:
            self.calm = False
        return Candidate(target, tier, member, refusal, health)

    def _weigh(self, member: AliasTarget, tier: int, index: int, limits: Limits) -> None:
        """Look at what the target would cost, and how long it takes."""
        cost = limits.cost(member)
        dear = limits.too_dear(cost)
        if dear is not None:
            self.removed.append(Removed(member.target, tier, *dear))
        candidate = self._usable(member, tier, self.removed if dear is None else [])
        if candidate is None:
            return
        candidate.cost_nanousd = cost
        candidate.late = late = dear is None and limits.late(candidate.health)
        self.limited = self.limited or dear is not None or late
        if dear is None:
            self.fit[tier][index] = candidate
        elif candidate.shut_because is None:
            self.dear[tier][index] = candidate


def _tiers_of(alias: Alias) -> Iterable[Iterable[tuple[int, AliasTarget]]]:
    """Return each tier's members with their places, without those of borrowed tiers that came before."""
    if not alias.borrowed_tiers:
        return [enumerate(tier.members) for tier in alias.tiers]
    tiers: list[list[tuple[int, AliasTarget]]] = []
    seen: set[TargetId] = set()
    own = len(alias.tiers) - alias.borrowed_tiers
    for number, tier in enumerate(alias.tiers):
        members = [pair for pair in enumerate(tier.members) if number < own or pair[1].target not in seen]
        seen.update(member.target for _, member in members)
        tiers.append(members)
    return tiers


def _circuit_filter(fit: list[_Tier], removed: list[Removed]) -> None:
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


def _limited_plan(found: _Sieve, asked: Asked) -> Plan:
    """Order what limits on cost and time leave: who keeps to the time first, then the others, each tier by tier.

    A tier's turn is taken by whoever would have been first without the limits; if that is not who serves, it is taken
    by that one too. So those that stay share by their weights, and a move is told as often as it happens.
    """
    in_time: list[Candidate] = []
    late: list[Candidate] = []
    wanted: Candidate | None = None
    for tier, fit, dear in zip(found.alias.tiers, found.fit, found.dear, strict=True):
        everybody = {**fit, **dear}
        whole = asked.order(tier, {index: everybody[index].health for index in sorted(everybody)})
        if not whole:
            continue
        wanted = wanted or everybody[whole[0]]
        punctual = [index for index in whole if index in fit and not fit[index].late]
        tardy = [index for index in whole if index in fit and fit[index].late]
        serving = punctual or tardy
        if serving and serving[0] != whole[0]:
            serving[:] = asked.order(tier, {index: fit[index].health for index in sorted(serving)})
        in_time += [fit[index] for index in punctual]
        late += [fit[index] for index in tardy]
    kept = in_time + late
    if wanted is None or not kept:
        raise NoEligibleTargetError(tuple(found.removed))
    alias = found.alias
    if in_time and late:
        tiers = len(alias.tiers)
        for candidate in late:
            candidate.tier += tiers
        alias = replace(alias, tiers=alias.tiers * 2)
    removed = tuple(found.removed)
    if kept[0].target == wanted.target:
        return Plan(alias, tuple(kept), removed, found.max_cost_nanousd)
    because = LATENCY if wanted.late else COST
    return Plan(alias, tuple(kept), removed, found.max_cost_nanousd, because, wanted.target)
