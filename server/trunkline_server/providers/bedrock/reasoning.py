"""How hard and how long a model should think, in the words of its family."""

from __future__ import annotations

from typing import Any, Final

from trunkline_server.chat.answer import Warning_
from trunkline_server.chat.request import ReasoningEffort, Sampling
from trunkline_server.providers.bedrock.families import Family, Reasoning
from trunkline_server.providers.bedrock.words import unsupported

MIN_BUDGET_TOKENS: Final = 1024
"""The least that Claude takes."""

_E = ReasoningEffort
_BUDGETS: Final = {_E.MINIMAL: 1024, _E.LOW: 2048, _E.MEDIUM: 8192, _E.HIGH: 16_384, _E.MAX: 32_000}
"""What an effort is in tokens, where only tokens can be said."""
_CLAUDE_EFFORTS: Final = {_E.MINIMAL: "low", _E.LOW: "low", _E.MEDIUM: "medium", _E.HIGH: "high", _E.MAX: "max"}
_THREE_EFFORTS: Final = {_E.MINIMAL: "low", _E.LOW: "low", _E.MEDIUM: "medium", _E.HIGH: "high", _E.MAX: "high"}

_EFFORT_FIELD: Final = "sampling.reasoning_effort"
_BUDGET_FIELD: Final = "sampling.reasoning_max_tokens"


def add_reasoning(
    body: dict[str, Any], extra: dict[str, Any], sampling: Sampling, family: Family, warnings: list[Warning_]
) -> None:
    """Write the request's wishes about reasoning into `body` or, where they are the model's own, into `extra`."""
    effort, style = sampling.reasoning_effort, family.reasoning
    if style is Reasoning.BUDGET:
        _add_budget(extra, sampling, warnings)
        return
    if sampling.reasoning_max_tokens is not None:
        warnings.append(unsupported(_BUDGET_FIELD, f"a budget for reasoning to {family.name}"))
    if style is Reasoning.ADAPTIVE:
        _add_adaptive(body, extra, sampling)
    elif effort is not None:
        if style is Reasoning.NOVA:
            extra["reasoningConfig"] = _nova(effort, sampling, warnings)
        elif style is Reasoning.EFFORT and effort in _THREE_EFFORTS:
            extra["reasoning_effort"] = _THREE_EFFORTS[effort]
        elif style is Reasoning.EFFORT or effort is not _E.NONE:
            warnings.append(unsupported(_EFFORT_FIELD, f"reasoning effort {effort.value} to {family.name}"))


def _add_adaptive(body: dict[str, Any], extra: dict[str, Any], sampling: Sampling) -> None:
    """Claude thinks as long as it finds right; the effort is a field of the API."""
    if not sampling.asks_reasoning:
        return
    extra["thinking"] = {"type": "adaptive"}
    if sampling.reasoning_effort in _CLAUDE_EFFORTS:
        body.setdefault("outputConfig", {})["effort"] = _CLAUDE_EFFORTS[sampling.reasoning_effort]


def _add_budget(extra: dict[str, Any], sampling: Sampling, warnings: list[Warning_]) -> None:
    """Claude thinks within a budget that is a part of the output limit, and smaller than it."""
    if not sampling.asks_reasoning:
        return
    wanted, limit = sampling.reasoning_max_tokens, sampling.max_output_tokens
    tokens = _BUDGETS[sampling.reasoning_effort or _E.MEDIUM] if wanted is None else wanted
    if limit is not None and limit <= MIN_BUDGET_TOKENS:
        field = _EFFORT_FIELD if wanted is None else _BUDGET_FIELD
        warnings.append(unsupported(field, f"thinking with an output limit of {MIN_BUDGET_TOKENS} tokens or less"))
        return
    if tokens < MIN_BUDGET_TOKENS:
        message = f"raised to {MIN_BUDGET_TOKENS} tokens, the least that the model takes"
        warnings.append(Warning_("CHANGED_FIELD", _BUDGET_FIELD, message))
        tokens = MIN_BUDGET_TOKENS
    if limit is not None and tokens >= limit:
        tokens = limit - 1
    extra["thinking"] = {"type": "enabled", "budget_tokens": tokens}


def _nova(effort: ReasoningEffort, sampling: Sampling, warnings: list[Warning_]) -> dict[str, Any]:
    if effort not in _THREE_EFFORTS:
        return {"type": "disabled"}
    word = _THREE_EFFORTS[effort]
    bound = sampling.max_output_tokens is not None or sampling.temperature is not None or sampling.top_p is not None
    if word == "high" and bound:
        # With `high` the model refuses an output limit, which must not be lost, and both settings of sampling.
        message = "lowered to medium: the model's highest effort goes with no output limit, temperature or top_p"
        warnings.append(Warning_("CHANGED_FIELD", _EFFORT_FIELD, message))
        word = "medium"
    return {"type": "enabled", "maxReasoningEffort": word}
