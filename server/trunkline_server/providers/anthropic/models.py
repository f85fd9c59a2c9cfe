"""What the vendor's models take differently: one table, by the beginning of their names.

A request that one model answers is a 400 at the next: budgets for thinking went and efforts came, sampling parameters
went, a prefilled answer went, and a forced tool went. As of 2026-11-23, from the vendor's pages about its models
(https://platform.claude.com/docs/en/models/<model>/whats-new…), thinking and effort
(https://platform.claude.com/docs/en/build-with-claude/thinking).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from enum import Enum
from typing import Final


class Thinking(Enum):
    """What a model does without being told whether to think."""

    BUDGET = "budget"
    """It does not think; told to, it takes a number of tokens."""
    ADAPTIVE = "adaptive"
    """It does not think; told to, it decides itself how much."""
    ADAPTIVE_ON = "adaptive, on"
    """It decides itself how much it thinks."""


class SamplingRule(Enum):
    """Which of temperature, top_p and top_k a model takes."""

    ALL = "all"
    ONE = "temperature or top_p"
    """And top_k with either."""
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Traits:
    """What a model takes."""

    thinking: Thinking = Thinking.BUDGET
    budget: bool = True
    """Whether it takes a number of tokens for thinking."""
    off: str | None = "disabled"
    """The type of `thinking` that keeps it from thinking; None: nothing does."""
    efforts: frozenset[str] = frozenset()
    """The levels that it takes in `output_config`."""
    displays: bool = False
    """Whether it shows its thinking only if asked to."""
    sampling: SamplingRule = SamplingRule.ONE
    forced_tools: bool = True
    """Whether it can be made to call a tool."""
    prefill: bool = True
    """Whether it goes on from an assistant's message at the end."""
    system_turns: bool = False
    """Whether instructions may stand in the conversation, behind a user's message."""


_EFFORTS: Final = frozenset({"low", "medium", "high", "max"})
_ALL_EFFORTS: Final = _EFFORTS | {"xhigh"}

_CLASSIC: Final = Traits()
_4_6: Final = Traits(Thinking.ADAPTIVE, efforts=_EFFORTS, prefill=False)
_4_7: Final = Traits(
    Thinking.ADAPTIVE,
    budget=False,
    efforts=_ALL_EFFORTS,
    displays=True,
    sampling=SamplingRule.NONE,
    prefill=False,
)
_4_8: Final = replace(_4_7, system_turns=True)
_5: Final = replace(_4_8, thinking=Thinking.ADAPTIVE_ON)
_5_ALWAYS: Final = replace(_5, off=None)
_5_5: Final = replace(_5_ALWAYS, forced_tools=False)

TRAITS: Final = {
    "claude-3": replace(_CLASSIC, sampling=SamplingRule.ALL),
    "claude-haiku-4": _CLASSIC,
    "claude-sonnet-4": _CLASSIC,
    "claude-opus-4": _CLASSIC,
    "claude-sonnet-4-6": _4_6,
    "claude-opus-4-6": _4_6,
    "claude-opus-4-7": _4_7,
    "claude-opus-4-8": _4_8,
    "claude-haiku-5": _5,
    "claude-sonnet-5": _5,
    "claude-sonnet-5-5": replace(_5, off="between_tools", forced_tools=False),
    "claude-opus-5": _5,
    "claude-opus-5-5": _5_5,
    "claude-fable-5": _5_ALWAYS,
    "claude-fable-5-1": _5_5,
    "claude-fable-5-2": _5_5,
    "claude-mythos-5": _5_ALWAYS,
    "claude-mythos-5-1": _5_5,
    "claude-mythos-5-2": _5_5,
    "claude-mythos-preview": _5_ALWAYS,
}
"""By the name up to its version; the longest that fits holds."""

_NEWEST: Final = _5_5
"""For names of the vendor's that the table does not have: what the latest models take, every model before them takes,
apart from what they added."""

_FOREIGN: Final = replace(_CLASSIC, sampling=SamplingRule.ALL)
"""For models of others that speak this protocol: as it was when they learnt it."""

_NAME: Final = re.compile(r"(?:[\w.\-]*[./])?(claude-[a-z0-9\-]+)", re.ASCII)
"""A name without what platforms put before it (`anthropic.`, `us.anthropic.`) and behind it (`@date`, `-v1:0`)."""


def traits_of(model: str) -> Traits:
    """Return what the model of this upstream name takes."""
    found = _NAME.match(model)
    if found is None:
        return _FOREIGN
    name = found[1]
    while name not in TRAITS:
        name, dash, _ = name.rpartition("-")
        if not dash:
            return _NEWEST
    return TRAITS[name]
