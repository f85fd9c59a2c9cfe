"""How hard a model should think, in the words of its generation."""

from __future__ import annotations

from typing import Any, Final

from trunkline_server.chat.answer import Warning_
from trunkline_server.chat.request import ReasoningEffort, Sampling
from trunkline_server.providers.gemini.models import ModelTraits, Thinking
from trunkline_server.providers.gemini.words import left_out
from trunkline_server.providers.unsupported import adjusted

EFFORT: Final = "sampling.reasoning_effort"
BUDGET: Final = "sampling.reasoning_max_tokens"

_LEVELS: Final = {
    ReasoningEffort.NONE: "MINIMAL",
    ReasoningEffort.MINIMAL: "MINIMAL",
    ReasoningEffort.LOW: "LOW",
    ReasoningEffort.MEDIUM: "MEDIUM",
    ReasoningEffort.HIGH: "HIGH",
    ReasoningEffort.MAX: "HIGH",
}
_LOWEST: Final = "LOW"
"""The lowest level that every model takes."""

_BUDGETS: Final = {
    ReasoningEffort.NONE: 0,
    ReasoningEffort.MINIMAL: 1024,
    ReasoningEffort.LOW: 1024,
    ReasoningEffort.MEDIUM: 8192,
    ReasoningEffort.HIGH: 24_576,
    ReasoningEffort.MAX: 32_768,
}
"""Tokens that the provider's own OpenAI-compatible face takes for an effort (ai.google.dev/gemini-api/docs/openai)."""


def thinking_config(sampling: Sampling, traits: ModelTraits, warnings: list[Warning_]) -> dict[str, Any] | None:
    """Return `thinkingConfig`; None if the request leaves thinking to the model, or the model does not think.

    Reasoning is asked to be shown whenever the request asks for any.
    """
    effort, budget = sampling.reasoning_effort, sampling.reasoning_max_tokens
    if effort is None and budget is None:
        return None
    if traits.thinking is Thinking.NONE:
        if effort is not None:
            warnings.append(left_out(EFFORT, "thinking of a model that does not think"))
        if budget is not None:
            warnings.append(left_out(BUDGET, "thinking of a model that does not think"))
        return None
    if budget is not None:
        if effort is not None:
            warnings.append(left_out(EFFORT, "an effort beside a number of tokens"))
        return _budget_config(budget, traits, BUDGET, warnings)
    if effort is None:
        return None
    if traits.thinking is Thinking.BUDGET:
        return _budget_config(_BUDGETS[effort], traits, EFFORT, warnings)
    return _level_config(effort, traits, warnings)


def _budget_config(budget: int, traits: ModelTraits, field: str, warnings: list[Warning_]) -> dict[str, Any]:
    sent = budget
    if traits.thinking is Thinking.BUDGET:
        sent = min(max(budget, traits.budget_min), traits.budget_max)
    if sent != budget and not (field == EFFORT and sent == traits.budget_max):
        warnings.append(adjusted(field, f"sent as {sent} tokens, the nearest that the model takes"))
    return {"thinkingBudget": sent, **_shown(sent > 0)}


def _level_config(effort: ReasoningEffort, traits: ModelTraits, warnings: list[Warning_]) -> dict[str, Any]:
    level = _LEVELS[effort]
    if level == "MINIMAL" and not traits.takes_minimal:
        level = _LOWEST
    if effort is ReasoningEffort.NONE or (effort is ReasoningEffort.MINIMAL and level == _LOWEST):
        warnings.append(adjusted(EFFORT, f"sent as the level {level}: the model thinks no less"))
    return {"thinkingLevel": level, **_shown(effort is not ReasoningEffort.NONE)}


def _shown(shown: bool) -> dict[str, Any]:  # noqa: FBT001  the one thing that it is asked
    return {"includeThoughts": True} if shown else {}
