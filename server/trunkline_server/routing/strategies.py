"""In which order the targets of one tier come, for one request.

WEIGHTED         smooth weighted round robin
LEAST_LOADED     of two that are drawn at random, the one with the lower load per weight
LOWEST_COST      what this request would cost there, unknown prices last
LOWEST_LATENCY   the median of the last minute; who has none yet is measured first

Equals come by weight and turn. A weight of 0 is for standbys: behind all others, whatever the strategy. A sticky key
stands above the strategy: the whole tier comes in its rendezvous order.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping

from trunkline_server.routing.aliases import Strategy, Tier
from trunkline_server.routing.cost import cost_nanousd
from trunkline_server.routing.filters import usual_s
from trunkline_server.routing.health import Health
from trunkline_server.routing.latency import SAMPLES_MIN
from trunkline_server.routing.record import record
from trunkline_server.routing.rendezvous import ranked, score
from trunkline_server.routing.types import TargetId

_PAIR = 2


@record
class Asked:
    """What of a request, and of the moment, the order depends on."""

    sticky: bytes | None
    streams: bool
    input_at: Callable[[TargetId], int]
    """By estimate; likewise the next one."""
    output_tokens: int
    advance: bool
    """Whether turns are taken, or only looked at."""
    rng: random.Random | None
    """Draws the two choices of LEAST_LOADED; None: all are compared."""

    def order(self, tier: Tier, among: Mapping[int, Health]) -> list[int]:
        """Return the indices of `among`, members of the tier with what is known of their health, in order."""
        if self.sticky is not None:
            return ranked(self.sticky, tier.marks, tier.weights, among)
        match tier.strategy:
            case Strategy.WEIGHTED:
                return tier.turn.order(list(among), advance=self.advance)
            case Strategy.LEAST_LOADED:
                return self._least_loaded(tier, among)
            case Strategy.LOWEST_COST:
                return self._lowest(tier, among, lambda index: self._rank_by_cost(tier, index))
            case Strategy.LOWEST_LATENCY:
                return self._lowest(tier, among, lambda index: self._rank_by_latency(among[index]))

    def score(self, tier: Tier, index: int, health: Health) -> float | None:
        """Return the number by which a member was ordered; None if it is not known.

        Sticky: the rendezvous score, highest first. WEIGHTED: the credit with its next turn, highest first.
        LEAST_LOADED: seconds of work per weight, LOWEST_COST: 1e-9 USD, LOWEST_LATENCY: seconds; lowest first.
        """
        if self.sticky is not None:
            return score(self.sticky, tier.marks[index], tier.weights[index])
        match tier.strategy:
            case Strategy.WEIGHTED:
                return tier.turn.credit_next(index)
            case Strategy.LEAST_LOADED:
                return None if health.load is None else health.load.per_weight(tier.weights[index])
            case Strategy.LOWEST_COST:
                return self._cost(tier, index)
            case Strategy.LOWEST_LATENCY:
                return usual_s(health, streams=self.streams)

    def _cost(self, tier: Tier, index: int) -> int | None:
        member = tier.members[index]
        return cost_nanousd(member.facts, self.input_at(member.target), self.output_tokens)

    def _rank_by_cost(self, tier: Tier, index: int) -> float:
        cost = self._cost(tier, index)
        return math.inf if cost is None else cost

    def _rank_by_latency(self, health: Health) -> float:
        known = usual_s(health, streams=self.streams)
        if known is not None:
            return known
        # Enough calls to measure it are on their way: a burst goes to those that are known.
        return math.inf if health.load is not None and health.load.in_flight >= SAMPLES_MIN else 0.0

    def _lowest(self, tier: Tier, among: Mapping[int, Health], rank_of: Callable[[int], float]) -> list[int]:
        """Order by rank, equals by turn; only those who could be first take their turn."""
        groups: dict[tuple[bool, float], list[int]] = {}
        for index in among:
            groups.setdefault((not tier.weights[index], rank_of(index)), []).append(index)
        order: list[int] = []
        for rank in sorted(groups):
            order += tier.turn.order(groups[rank], advance=self.advance and not order)
        return order

    def _least_loaded(self, tier: Tier, among: Mapping[int, Health]) -> list[int]:
        """Order two drawn ones by load, the others behind them by turn."""

        def load_of(index: int) -> float:
            load = among[index].load
            return 0.0 if load is None else load.per_weight(tier.weights[index])

        working = [index for index in among if tier.weights[index]]
        if self.rng is None or not self.advance or len(working) <= _PAIR:
            return self._lowest(tier, among, load_of)
        drawn = self.rng.sample(working, _PAIR)
        first = self._lowest(tier, {index: among[index] for index in drawn}, load_of)
        return first + tier.turn.order([index for index in among if index not in drawn], advance=False)
