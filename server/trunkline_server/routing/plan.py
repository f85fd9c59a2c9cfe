"""A plan: the ordered candidates for one request, and what was left out of it, each with its reason."""

from __future__ import annotations

from dataclasses import dataclass, field

from trunkline_server.routing.aliases import Alias, AliasTarget
from trunkline_server.routing.circuit import Circuit
from trunkline_server.routing.filters import over_limit
from trunkline_server.routing.health import HEALTHY, Health
from trunkline_server.routing.record import record
from trunkline_server.routing.types import Refusal, TargetId

CIRCUIT = "circuit"
"""The constraint of a target that its circuit keeps out."""
OPERATOR = "operator"
"""The constraint of a target that an operator drained or disabled."""
LATENCY = "latency"
"""Why a request went elsewhere: who would have been first is usually later than its limit."""


@dataclass(slots=True)
class Candidate:
    """One target of a plan. In a plan nobody changes it; it is not frozen since each request makes one a target."""

    target: TargetId
    tier: int
    """Of the plan's tiers: its alias's own, then those of the request's fallback models. Where late ones come after
    others, all tiers are there twice, the second time for the late ones."""
    member: AliasTarget
    rejected: Refusal | None = None
    """All keys were rejected and the alias says to fail fast: reaching this candidate fails, without an attempt."""
    health: Health = field(default=HEALTHY, compare=False, repr=False)
    late: bool = False
    """It usually takes longer to its first content than request or alias allow."""
    cost_nanousd: int | None = None
    """What the request would cost here, by estimate, 1e-9 USD; only where its cost is limited."""

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


@record
class Removed:
    """A target that was left out: by which constraint, and in words."""

    target: TargetId
    tier: int
    constraint: str
    detail: str
    refusal: Refusal | None = None


@record
class Plan:
    """The ordered candidates for one request."""

    alias: Alias
    """With the plan's tiers: see `Candidate.tier`."""
    candidates: tuple[Candidate, ...]
    removed: tuple[Removed, ...] = field(default=())
    max_cost_nanousd: int | None = None
    """The most that the request may cost in all, by estimate, 1e-9 USD."""
    moved_because: str = ""
    """COST or LATENCY, if this limit alone sent the request away from whom it would have come to first."""
    moved_from: TargetId | None = None
    """Who that was."""

    def tier_members(self, tier: int) -> tuple[int, ...]:
        """Return the indices of the candidates of one tier, in order."""
        return tuple([index for index, candidate in enumerate(self.candidates) if candidate.tier == tier])

    def too_dear(self, index: int, spent_nanousd: int) -> str | None:
        """Return why one more attempt, at this candidate, would cost too much after what was spent; None if not."""
        return over_limit(self.candidates[index].cost_nanousd, self.max_cost_nanousd, spent_nanousd)


class NoEligibleTargetError(Exception):
    """Nobody is left to serve the request; `removed` tells why, target by target."""

    def __init__(self, removed: tuple[Removed, ...]) -> None:
        super().__init__("no eligible target")
        self.removed = removed

    @property
    def key_refusal(self) -> Refusal | None:
        """The first key-pool refusal, if keys alone stand in the way of a target that fits the request."""
        return next((entry.refusal for entry in self.removed if entry.refusal is not None), None)
