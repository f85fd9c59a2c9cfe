"""What Converse leaves to each family of models: settings beyond the common ones, and which blocks a family takes.

Converse has four settings of its own; everything else goes into `additionalModelRequestFields` under the names of the
model's maker. The family is told from the model id, which holds the maker's name also in ARNs of foundation models and
of inference profiles that the service defines. An id that says nothing (an application inference profile, a model of
one's own) is of no family: it gets what is common to all, and a warning for the rest.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from trunkline_server.providers.features import stated


class Thinks(Enum):
    """How a family is told to think."""

    UNTOLD = "untold"
    """It cannot be told."""
    CLAUDE = "claude"
    """`thinking`, as `claude` has it for each generation."""
    NOVA = "nova"
    """Nova 2: `reasoningConfig` with an effort."""
    EFFORT = "effort"
    """`reasoning_effort`, as OpenAI calls it."""


@dataclass(frozen=True, slots=True)
class Family:
    """Models that take the same."""

    name: str
    pattern: re.Pattern[str]
    """Found somewhere in the model id."""
    thinks: Thinks = Thinks.UNTOLD
    top_k: tuple[str, ...] = ()
    """The path of the setting inside the additional fields; empty: there is none."""
    others: Mapping[str, str] = field(default_factory=dict)
    """Further fields of `Sampling`, and what the additional fields call them."""
    takes_thinking: bool = False
    """Reasoning goes back to the model that showed it; the others refuse it."""
    signed_thinking: bool = False
    """It goes back only with its signature."""
    caches: bool = False
    """Points for caching may stand in a prompt; the others refuse them."""
    tells_errors: bool = False
    """A tool's result may say that it is an error; the others refuse the field."""

    @property
    def features(self) -> frozenset[str]:
        """What of a request it takes beyond what all of them do, in the words of `features`."""
        own = {"seed", "frequency_penalty", "presence_penalty"} & self.others.keys()
        if self.top_k:
            own.add("top_k")
        if self.thinks is not Thinks.UNTOLD:
            own.add("reasoning_effort")
        if self.thinks is Thinks.CLAUDE:
            own.add("reasoning_max_tokens")
        return stated(*own)


def _claude(name: str, pattern: str, thinks: Thinks) -> Family:
    return Family(
        name,
        re.compile(pattern),
        thinks,
        top_k=("top_k",),
        takes_thinking=True,
        signed_thinking=True,
        caches=True,
        tells_errors=True,
    )


def _nova(name: str, pattern: str, thinks: Thinks, *, takes_thinking: bool = False) -> Family:
    return Family(
        name,
        re.compile(pattern),
        thinks,
        top_k=("inferenceConfig", "topK"),
        takes_thinking=takes_thinking,
        caches=True,
        tells_errors=True,
    )


_PENALTIES: Final = {"frequency_penalty": "frequency_penalty", "presence_penalty": "presence_penalty"}

FAMILIES: Final = (
    _claude("Claude without thinking", r"anthropic\.claude-(?:v2|instant|3-(?!7))", Thinks.UNTOLD),
    _claude("Claude", r"anthropic\.claude-", Thinks.CLAUDE),
    _nova("Nova 2", r"amazon\.nova-2-", Thinks.NOVA, takes_thinking=True),
    _nova("Nova", r"amazon\.nova-", Thinks.UNTOLD),
    Family("gpt-oss", re.compile(r"openai\.gpt-oss"), Thinks.EFFORT),
    Family("Command R", re.compile(r"cohere\.command-r"), top_k=("k",), others={**_PENALTIES, "seed": "seed"}),
    Family("Mistral", re.compile(r"mistral\."), top_k=("top_k",)),
    Family("Jamba", re.compile(r"ai21\.jamba"), others=_PENALTIES),
)
"""The first whose pattern is found is a model's family."""

OTHER: Final = Family("other models", re.compile(""))
"""Everything that is common to all models, and nothing more."""


def family_of(model: str) -> Family:
    """Return the family of a model id or ARN."""
    return next((family for family in FAMILIES if family.pattern.search(model)), OTHER)
