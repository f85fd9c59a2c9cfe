"""How hard the model should think, as its generation takes it: a budget of tokens, an effort, or nothing at all.

What was asked gives way where both cannot be had: a call that must be made, a text to go on from, and a round of tools
that another provider's model began go before thinking, since the vendor refuses them together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from trunkline_server.chat.answer import Warning_
from trunkline_server.chat.request import ReasoningEffort, Sampling
from trunkline_server.providers.anthropic.models import Thinking, Traits
from trunkline_server.providers.anthropic.words import left_out
from trunkline_server.providers.unsupported import adjusted

MIN_BUDGET_TOKENS: Final = 1_024
"""The vendor takes no smaller budget."""

BUDGETS: Final = {
    ReasoningEffort.MINIMAL: MIN_BUDGET_TOKENS,
    ReasoningEffort.LOW: 2_048,
    ReasoningEffort.MEDIUM: 8_192,
    ReasoningEffort.HIGH: 16_384,
    ReasoningEffort.MAX: 32_000,
}
"""Tokens for models that know budgets only. Above 32,000 the vendor advises against a single open request."""

EFFORTS: Final = {
    ReasoningEffort.MINIMAL: "low",
    ReasoningEffort.LOW: "low",
    ReasoningEffort.MEDIUM: "medium",
    ReasoningEffort.HIGH: "high",
    ReasoningEffort.MAX: "max",
}
"""Levels for models that know them."""

_EFFORT: Final = "sampling.reasoning_effort"
_BUDGET: Final = "sampling.reasoning_max_tokens"


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What of a request stands against thinking."""

    max_tokens: int
    """The whole answer's limit; thinking counts in it."""
    forced_tool: bool = False
    prefilled: bool = False
    """The conversation ends with the assistant's text."""
    unthought_round: bool = False
    """Its last round of tools began without thinking that can go back."""

    @property
    def against_thinking(self) -> str:
        """What cannot be had together with thinking, in words; empty: nothing."""
        if self.forced_tool:
            return "thinking before a call that must be made"
        return "thinking before a text to go on from" if self.prefilled else ""


@dataclass(frozen=True, slots=True)
class Reasoning:
    """What the body says about it."""

    thinking: Mapping[str, Any] | None = None
    effort: str | None = None

    @property
    def thinks(self) -> bool:
        """Whether the body makes the model think."""
        return self.thinking is not None and self.thinking["type"] in {"enabled", "adaptive"}


NOTHING_SAID: Final = Reasoning()


def reasoning_of(
    sampling: Sampling, traits: Traits, circumstances: Circumstances, warnings: list[Warning_]
) -> Reasoning:
    """Return what the body says; what cannot be had as asked is added to `warnings`."""
    effort, tokens = sampling.reasoning_effort, sampling.reasoning_max_tokens
    if effort is None and tokens is None:
        return NOTHING_SAID
    if not sampling.asks_reasoning:
        return _off(_EFFORT if effort is not None else _BUDGET, traits, warnings)
    if traits.thinking is Thinking.BUDGET or (traits.budget and tokens and not circumstances.unthought_round):
        return _budget(sampling, circumstances, warnings)
    if tokens:
        warnings.append(left_out(_BUDGET, "a limit for thinking to this model"))
    return _adaptive(effort, traits, circumstances, warnings)


def _off(field: str, traits: Traits, warnings: list[Warning_]) -> Reasoning:
    if traits.thinking is not Thinking.ADAPTIVE_ON:
        return NOTHING_SAID
    if traits.off is not None:
        return Reasoning({"type": traits.off})
    warnings.append(adjusted(field, "sent as the lowest effort: this model cannot be kept from thinking"))
    return Reasoning(effort=EFFORTS[ReasoningEffort.LOW])


def _adaptive(
    effort: ReasoningEffort | None, traits: Traits, circumstances: Circumstances, warnings: list[Warning_]
) -> Reasoning:
    level = None if effort is None else EFFORTS.get(effort)
    if level not in traits.efforts:
        level = None
    obstacle = circumstances.against_thinking
    if obstacle and traits.thinking is Thinking.ADAPTIVE:
        warnings.append(left_out(_BUDGET if effort is None else _EFFORT, obstacle))
        return Reasoning(effort=level)
    thinking = {"type": "adaptive"}
    if traits.displays:
        thinking["display"] = "summarized"
    return Reasoning(thinking, level)


def _budget(sampling: Sampling, circumstances: Circumstances, warnings: list[Warning_]) -> Reasoning:
    asked = sampling.reasoning_max_tokens or None
    field = _EFFORT if asked is None else _BUDGET
    obstacle = circumstances.against_thinking
    if not obstacle and circumstances.unthought_round:
        obstacle = "thinking in a round of tools that began without it"
    if not obstacle and circumstances.max_tokens <= MIN_BUDGET_TOKENS:
        obstacle = f"thinking in an answer of at most {circumstances.max_tokens} tokens"
    if obstacle:
        warnings.append(left_out(field, obstacle))
        return NOTHING_SAID
    budget = asked or BUDGETS[sampling.reasoning_effort or ReasoningEffort.MEDIUM]
    if budget >= circumstances.max_tokens:
        budget = circumstances.max_tokens // 2
    budget = max(budget, MIN_BUDGET_TOKENS)
    if asked is not None and budget != asked:
        warnings.append(adjusted(field, f"sent as {budget}, which this model and the answer's limit allow"))
    return Reasoning({"type": "enabled", "budget_tokens": budget})
