"""Alias tables: from a logical name to tiers of targets, and who may use it.

A table is immutable but for the turn of its weighted tiers, and belongs to one snapshot.
"""

from __future__ import annotations

import difflib
import heapq
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum

from trunkline_server.routing.outputs import OutputSizes
from trunkline_server.routing.types import Caller, OnBreak, TargetId
from trunkline_server.routing.weighted import SmoothWeighted

FALLBACK_MODELS_MAX = 8
"""So many may a request name."""
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
    embedding_space: str | None = None
    """Models of the same word make vectors that may be compared; None: those of its own name do."""


UNKNOWN_FACTS = ModelFacts()


@dataclass(frozen=True, slots=True)
class AliasTarget:
    """A target as a member of a tier."""

    target: TargetId
    weight: float = 1.0
    variant: str = ""
    facts: ModelFacts = UNKNOWN_FACTS
    features: frozenset[str] | None = None
    """What of a request its protocol can carry; None is unknown, which restricts nothing."""


class Tier:
    """The targets of an alias that share traffic, by weight and strategy."""

    __slots__ = ("marks", "members", "strategy", "turn", "weights")

    def __init__(self, members: tuple[AliasTarget, ...], strategy: Strategy = Strategy.WEIGHTED) -> None:
        self.members = members
        self.strategy = strategy
        self.weights = tuple(member.weight for member in members)
        self.turn = SmoothWeighted(self.weights)
        self.marks = tuple(f"{member.target} {member.variant}".encode() for member in members)
        """Each member's name for sticky choices: a target may have a place for each variant."""

    def copy(self) -> Tier:
        """Return the same tier with turns of its own, which stand where this one's do."""
        return self.copy_for(self.members, self.strategy)

    def copy_for(self, members: tuple[AliasTarget, ...], strategy: Strategy) -> Tier:
        """Return a tier of as many members with the same weights, whose turns stand where this one's do."""
        other = Tier(members, strategy)
        other.turn = self.turn.copy()
        return other

    def __repr__(self) -> str:
        """Show strategy, targets and weights."""
        shares = ", ".join(f"{member.target}*{member.weight:g}" for member in self.members)
        return f"Tier({self.strategy.value}: {shares})"


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
    outputs: OutputSizes = field(default_factory=OutputSizes, compare=False, repr=False)
    """How long its answers are; whoever ends an attempt with an answer books its output tokens here."""
    borrowed_tiers: int = 0
    """How many of `tiers`, the last ones, are not its own but of the request's `fallback_models`."""


class UnknownModelError(Exception):
    """No alias and no model of that name is there for this caller; `near` holds similar names that are."""

    def __init__(self, model: str, near: tuple[str, ...], field: str = "model") -> None:
        super().__init__(model)
        self.model = model
        self.near = near
        self.field = field
        """Where in the request the name stands."""


FeaturesOf = Callable[[TargetId], frozenset[str] | None]
"""Returns what of a request a target's protocol can carry; None: unknown."""


def unknown_features(target: TargetId) -> None:
    """Return that nothing is known of a target's protocol."""


class AliasTable:
    """All aliases of a snapshot, and the models that may be named directly.

    `providers`: the names of all providers. `facts`: what is known, by `provider/model`. `features_of`: for models that
    are named directly; the targets of aliases have theirs.
    """

    def __init__(
        self,
        aliases: Mapping[str, Alias],
        providers: frozenset[str],
        facts: Mapping[str, ModelFacts],
        features_of: FeaturesOf = unknown_features,
    ) -> None:
        self._aliases = dict(aliases)
        self._providers = providers
        self._facts = dict(facts)
        self._features_of = features_of
        self._direct_outputs: dict[str, OutputSizes] = {}
        """Of the models that were named directly and have facts, so not of whatever somebody makes up."""
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
                return Alias("", (Tier((self._direct(model),)),), outputs=self._outputs_of(model))
        raise UnknownModelError(model, _near(model, self.names_for(caller)))

    def with_fallbacks(self, alias: Alias, models: Sequence[str], caller: Caller) -> Alias:
        """Return `alias` with the tiers of `models` behind its own, in their order; its policy holds for all of them.

        Each is an alias or a `provider/model`. Raise UnknownModelError, with the field, for the first that this caller
        may not use, and ValueError for more than FALLBACK_MODELS_MAX.
        """
        if not models:
            return alias
        if len(models) > FALLBACK_MODELS_MAX:
            raise ValueError(f"a request may name {FALLBACK_MODELS_MAX} fallback models, not {len(models)}")
        borrowed: list[Tier] = []
        for number, model in enumerate(models):
            try:
                borrowed += self.resolve(model, caller).tiers
            except UnknownModelError as error:
                field = f"routing.fallback_models[{number}]"
                raise UnknownModelError(error.model, error.near, field) from error
        return replace(alias, tiers=(*alias.tiers, *borrowed), borrowed_tiers=len(borrowed))

    def take_over(self, older: AliasTable) -> None:
        """Go on with what the table before this one learned of the length of answers, name by name, and with turns.

        To be called once, before the first request: answers that are still on their way to the older table's aliases
        are then learned from too. Tiers that stayed as they were go on where their turns stand: if every reload began
        them anew, frequent reloads would starve whoever has a small share.
        """
        for name, alias in self._aliases.items():
            known = older._aliases.get(name)
            if known is not None:
                tiers = (*map(_go_on, alias.tiers, known.tiers), *alias.tiers[len(known.tiers) :])
                self._aliases[name] = replace(alias, outputs=known.outputs, tiers=tiers)
        direct = older._direct_outputs
        self._direct_outputs = {model: sizes for model, sizes in direct.items() if model in self._facts}

    def _direct(self, model: str) -> AliasTarget:
        provider, _, upstream = model.partition("/")
        target = TargetId(provider, upstream)
        facts = self._facts.get(model, UNKNOWN_FACTS)
        return AliasTarget(target, facts=facts, features=self._features_of(target))

    def _outputs_of(self, model: str) -> OutputSizes:
        if model not in self._facts:
            return OutputSizes()
        return self._direct_outputs.setdefault(model, OutputSizes())

    def names_for(self, caller: Caller) -> list[str]:
        """Return the aliases, then the known models, that this caller may use, each sorted."""
        aliases = [name for name in self._aliases if caller.aliases is None or name in caller.aliases]
        models = self._known_models if caller.models is None else caller.models
        return sorted(aliases) + sorted(name for name in models if name.partition("/")[0] in self._providers)


def _go_on(tier: Tier, older: Tier) -> Tier:
    """Return the tier with turns that stand where those of an older one do, if that is the same."""
    same = tier.weights == older.weights and tier.marks == older.marks
    return older.copy_for(tier.members, tier.strategy) if same else tier


def _near(model: str, names: Iterable[str]) -> tuple[str, ...]:
    """Return the names that are most like `model`, if any is: the likeliest by shared pairs of letters, compared."""
    wanted = _pairs(model)
    likely = heapq.nlargest(_NEAR_COMPARED, names, key=lambda name: len(wanted & _pairs(name)))
    return tuple(difflib.get_close_matches(model, likely, n=_NEAR_NAMES, cutoff=0.5))


def _pairs(name: str) -> set[str]:
    return {name[at : at + 2] for at in range(len(name) - 1)}
