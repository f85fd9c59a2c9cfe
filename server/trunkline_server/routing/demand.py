"""What a request needs from whoever serves it, in the core's own terms."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from trunkline_server.routing.types import TargetId

if TYPE_CHECKING:
    from trunkline_server.routing.aliases import AliasTarget

EMBEDDINGS = "embeddings"
"""The capability of a model, and the feature of a protocol, that turns texts into vectors."""
EMBEDDING_DIMENSIONS = "embedding_dimensions"
"""The feature of a protocol that can be told how long a vector is to be."""
CHAT = "chat"
"""The capability of a model that has EMBEDDINGS and answers conversations none the less: few do both."""

Constraint = tuple[str, str]
"""What stands against a target, in a word and in words."""


@dataclass(slots=True, unsafe_hash=True)
class Demand:
    """What a request needs from whoever serves it. Nobody changes it; not frozen, since each request makes one."""

    capabilities: frozenset[str] = frozenset()
    """`tools`, `vision`, `json_schema`, `reasoning`, and what the request names itself; a model whose capabilities are
    unknown is not filtered."""
    features: frozenset[str] = frozenset()
    """What the request asks of a target's protocol; a target whose protocol's features are unknown is not filtered."""
    only_providers: frozenset[str] = frozenset()
    """Providers named by a file id or a provider's own tool: nobody else can serve. More than one: nobody can."""
    excluded: frozenset[str] = frozenset()
    """`provider/model` names and provider names."""
    allow_fallback: bool = True
    regions: frozenset[str] = frozenset()
    """Where alone it may be served; empty: anywhere."""
    input_tokens: int = 0
    """By estimate; 0 if nobody estimated them."""
    output_tokens: int | None = None
    """The most that the request asks for."""
    max_cost_nanousd: int | None = None
    """The most that it may cost, by estimate; the alias may allow less."""
    spent_nanousd: int = 0
    """What earlier attempts of the request cost already."""
    max_first_token_s: float | None = None
    """Targets that usually take longer come after all others; the alias may allow less."""
    sticky_key: str | None = None
    streams: bool = True
    """Whether the answer is shown as it comes: which of a target's times counts for LOWEST_LATENCY."""
    window_share: float = 1.0
    """The share of the input tokens that has to fit into one window: each input of embeddings has one of its own."""
    learnt: Callable[[TargetId], int] | None = field(default=None, compare=False, repr=False)
    """The input tokens by what was learnt of how a target counts; None: nothing was."""

    judge: Callable[[AliasTarget], Constraint | None] | None = field(default=None, compare=False, repr=False)
    """Says of a target what else stands against it, asked after all that is known of its model; None: nothing does."""

    def input_at(self, target: TargetId) -> int:
        """Return the input tokens that a target will count, by the best estimate that there is."""
        return self.input_tokens if self.learnt is None else self.learnt(target)

    def in_window(self, target: TargetId) -> int:
        """Return how many of the input tokens have to fit into one window."""
        tokens = self.input_at(target)
        return tokens if self.window_share == 1.0 else math.ceil(tokens * self.window_share)

    @property
    def for_vectors(self) -> bool:
        """Whether texts are to become vectors, and nobody to answer them."""
        return EMBEDDINGS in self.features


NO_DEMAND = Demand()
