"""How hard a model should think, in the words of its family; Claude's are in `claude`."""

from __future__ import annotations

from typing import Any, Final

from trunkline_server.chat.answer import Warning_
from trunkline_server.chat.request import ReasoningEffort, Sampling
from trunkline_server.providers.bedrock.families import Family, Thinks
from trunkline_server.providers.bedrock.words import unsupported
from trunkline_server.providers.unsupported import adjusted

_E = ReasoningEffort
_EFFORTS: Final = {_E.MINIMAL: "low", _E.LOW: "low", _E.MEDIUM: "medium", _E.HIGH: "high", _E.MAX: "high"}

_EFFORT_FIELD: Final = "sampling.reasoning_effort"
_BUDGET_FIELD: Final = "sampling.reasoning_max_tokens"


def add_reasoning(extra: dict[str, Any], sampling: Sampling, family: Family, warnings: list[Warning_]) -> None:
    """Write the request's wishes about reasoning into `extra`, the fields of the model."""
    effort = sampling.reasoning_effort
    if sampling.reasoning_max_tokens is not None:
        warnings.append(unsupported(_BUDGET_FIELD, f"a budget for reasoning to {family.name}"))
    if effort is None:
        return
    if family.thinks is Thinks.NOVA:
        extra["reasoningConfig"] = _nova(effort, sampling, warnings)
    elif family.thinks is Thinks.EFFORT and effort in _EFFORTS:
        extra["reasoning_effort"] = _EFFORTS[effort]
    elif family.thinks is Thinks.EFFORT or effort is not _E.NONE:
        warnings.append(unsupported(_EFFORT_FIELD, f"reasoning effort {effort.value} to {family.name}"))


def _nova(effort: ReasoningEffort, sampling: Sampling, warnings: list[Warning_]) -> dict[str, Any]:
    if effort not in _EFFORTS:
        return {"type": "disabled"}
    word = _EFFORTS[effort]
    bound = sampling.max_output_tokens is not None or sampling.temperature is not None or sampling.top_p is not None
    if word == "high" and bound:
        # With `high` the model refuses an output limit, which must not be lost, and both settings of sampling.
        told = "sent as medium: the model's highest effort goes with no output limit, temperature or top_p"
        warnings.append(adjusted(_EFFORT_FIELD, told))
        word = "medium"
    return {"type": "enabled", "maxReasoningEffort": word}
