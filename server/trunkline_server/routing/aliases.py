"""Alias tables: from a logical name to tiers of targets, and who may use it.

A table is immutable but for the turn of its weighted tiers, and belongs to one snapshot.
"""

from __future__ import annotations

import difflib
import heapq
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum

from trunkline_server.routing.types import Caller, OnBreak, TargetId
from trunkline_server.routing.weighted import SmoothWeighted

_NEAR_NAMES = 3
_NEAR_COMPARED = 8
"""Comparing names letter by letter takes 0.14 ms each, on the event loop: only the likeliest are."""


class Policy(Enum):
    """What an alias says about a failure whose next step is its own decision."""

    FAIL = "fail"
    NEXT_TARGET = "next_target"


class Strategy(Enum):
    """How a tier's targets are ordered for a request."""

    WEIGHTED = "weighted"
    LEAST_LOADED = "least_loaded"
    LOWEST_COST = "lowest_cost"
    LOWEST_LATENCY = "lowest_latency"


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What is known about an upstream model; None is unknown, which restricts nothing."""

    context_tokens: int | None = None
    max_output_tokens: int | None = None
    capabilities: frozenset[str] | None = None
    input_nanousd_per_million: int | None = None
    output_nanousd_per_million: int | None = None
    first_token_s: float | None = None
    """Overrides the provider's own timer for this model; likewise the next two."""
    stall_s: float | None = None
    response_s: float | None = None
    regions: frozenset[str] | None = None
    """Where it is served, such as `us` and `eu`."""


UNKNOWN_FACTS = ModelFacts()


@dataclass(frozen=True, slots=True)
class AliasTarget:
    """A target as a member of a tier."""

    target: TargetId
    weight: float = 1.0
    variant: str = ""
    facts: ModelFacts = UNKNOWN_FACTS


class Tier:
    """The targets of an alias that share traffic by weight."""

    __slots__ = ("members", "turn")

    def __init__(self, members: tuple[AliasTarget, ...]) -> None:
        self.members = members
        self.turn = SmoothWeighted([member.weight for member in members])

    def __repr__(self) -> str:
        """Show targets and weights."""
        shares = ", ".join(f"{member.target}*{member.weight:g}" for member in self.members)
        return f"Tier({shares})"


@dataclass(frozen=True, slots=True)
class HedgePolicy:
    """When a second attempt may race one that has not given its first content yet."""

    enabled: bool = False
    percentile: float = 95.0
    """Of the target's recent times to first content: how long the first attempt is waited for."""
    max_extra: float = 0.02
    """At most this share of a provider's recent first attempts is made again as a hedge."""


NO_HEDGE = HedgePolicy()


@dataclass(frozen=True, slots=True)
class AliasPolicy:
    """How an alias's requests may be moved and for how long they may run."""

    max_attempts: int = 3
    on_key_rejected: Policy = Policy.FAIL
    on_content_filtered: Policy = Policy.FAIL
    default_deadline_s: float | None = None
    """Budget of a request that came without a deadline; None: the server's."""
    on_break: OnBreak = OnBreak.FAIL
    """For requests that do not say it themselves."""
    allow_prompted_continuation: bool = False
    """Whether a model that cannot be given the start of its answer may be asked in words to go on."""
    hedge: HedgePolicy = NO_HEDGE
    max_cost_nanousd: int | None = None
    """The most that one request may cost, by estimate, 1e-9 USD."""
    max_first_token_s: float | None = None
    """Targets that usually take longer come after all others."""


DEFAULT_POLICY = AliasPolicy()


@dataclass(frozen=True, slots=True)
class Alias:
    """A logical model name. A direct `provider/model` is one too, with an empty name and a single target."""

    name: str
    tiers: tuple[Tier, ...]
    policy: AliasPolicy = DEFAULT_POLICY


class UnknownModelError(Exception):
    """No alias and no model of that name is there for this caller; `near` holds similar names that are."""

    def __init__(self, model: str, near: tuple[str, ...]) -> None:
        super().__init__(model)
        self.model = model
        self.near = near


class AliasTable:
    """All aliases of a snapshot, and the models that may be named directly.

    `providers`: the names of all providers. `facts`: what is known, by `provider/model`.
    """

    def __init__(
        self, aliases: Mapping[str, Alias], providers: frozenset[str], facts: Mapping[str, ModelFacts]
    ) -> None:
        self._aliases = dict(aliases)
        self._providers = providers
        self._facts = dict(facts)
        self._known_models = frozenset(facts) | {
            str(member.target) for alias in aliases.values() for tier in alias.tiers for member in tier.members
        }

    def resolve(self, model: str, caller: Caller) -> Alias:
        """Return what `model` names for this caller; raise UnknownModelError, also for what it may not use."""
        alias = self._aliases.get(model)
        if alias is not None:
            if caller.aliases is None or model in caller.aliases:
                return alias
        elif "/" in model and (caller.models is None or model in caller.models):
            provider, _, upstream = model.partition("/")
            if provider in self._providers and upstream:
                target = AliasTarget(TargetId(provider, upstream), facts=self._facts.get(model, UNKNOWN_FACTS))
                return Alias("", (Tier((target,)),))
        raise UnknownModelError(model, _near(model, self.names_for(caller)))

    def names_for(self, caller: Caller) -> list[str]:
        """Return the aliases, then the known models, that this caller may use, each sorted."""
        aliases = [name for name in self._aliases if caller.aliases is None or name in caller.aliases]
        models = self._known_models if caller.models is None else caller.models
        return sorted(aliases) + sorted(name for name in models if name.partition("/")[0] in self._providers)


def _near(model: str, names: Iterable[str]) -> tuple[str, ...]:
    """Return the names that are most like `model`, if any is: the likeliest by shared pairs of letters, compared."""
    wanted = _pairs(model)
    likely = heapq.nlargest(_NEAR_COMPARED, names, key=lambda name: len(wanted & _pairs(name)))
    return tuple(difflib.get_close_matches(model, likely, n=_NEAR_NAMES, cutoff=0.5))


def _pairs(name: str) -> set[str]:
    return {name[at : at + 2] for at in range(len(name) - 1)}
