"""Claude's own rules: the models are those of their maker, so what they take together is told by its table.

Only the places differ: `thinking` and `top_k` are fields of the model, the effort and the answer's schema of the API.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from trunkline_server.chat.answer import Warning_
from trunkline_server.chat.request import JsonSchemaOutput, Sampling
from trunkline_server.providers.anthropic.models import SamplingRule, Thinking, Traits, traits_of
from trunkline_server.providers.anthropic.reasoning import Circumstances, Reasoning, reasoning_of
from trunkline_server.providers.anthropic.schema import answer_schema
from trunkline_server.providers.anthropic.words import PROTOCOL as AT_ITS_MAKER
from trunkline_server.providers.bedrock.words import PROTOCOL, unsupported
from trunkline_server.providers.unsupported import adjusted

USUAL_MAX_TOKENS: Final = 64_000
"""What an answer may be if neither the request nor the routes say it: the service then takes the model's own limit."""

_THINKING_TEMPERATURE: Final = 1.0
_THINKING_MIN_TOP_P: Final = 0.95
_DRAWN: Final = ("temperature", "top_p", "top_k")


def claude_traits(model: str) -> Traits:
    """Return what the Claude of this id or ARN takes."""
    return traits_of(model.rpartition("/")[2])


def lacking(traits: Traits) -> frozenset[str]:
    """Return the features that a model has no more."""
    found: set[str] = set()
    if traits.sampling is SamplingRule.NONE:
        found.update(_DRAWN)
    if not traits.budget:
        found.add("reasoning_max_tokens")
    if not traits.forced_tools:
        found.update(("tool_choice_required", "tool_choice_function"))
    return frozenset(found)


def add_thinking(
    body: dict[str, Any],
    extra: dict[str, Any],
    sampling: Sampling,
    traits: Traits,
    warnings: list[Warning_],
    *,
    circumstances: Circumstances,
) -> bool:
    """Write how hard the model should think, and return whether it will."""
    told: list[Warning_] = []
    found: Reasoning = reasoning_of(sampling, traits, circumstances, told)
    warnings.extend(replace(each, message=each.message.replace(AT_ITS_MAKER, PROTOCOL)) for each in told)
    if found.thinking is not None:
        extra["thinking"] = found.thinking
    if found.effort is not None:
        body.setdefault("outputConfig", {})["effort"] = found.effort
    return found.thinks or (traits.thinking is Thinking.ADAPTIVE_ON and found.thinking is None)


def add_draw(
    settings: dict[str, Any],
    extra: dict[str, Any],
    sampling: Sampling,
    traits: Traits,
    warnings: list[Warning_],
    *,
    thinks: bool,
) -> None:
    """Write how the answer is drawn, as far as the model takes it; while it thinks it takes little."""
    temperature, top_p, top_k = sampling.temperature, sampling.top_p, sampling.top_k
    if traits.sampling is SamplingRule.NONE:
        asked = (name for name in _DRAWN if getattr(sampling, name) is not None)
        warnings.extend(unsupported(f"sampling.{name}", "a sampling parameter for this model") for name in asked)
        return
    if temperature is not None:
        if temperature > _THINKING_TEMPERATURE:
            warnings.append(unsupported("sampling.temperature", "a temperature above 1"))
        elif thinks and temperature != _THINKING_TEMPERATURE:
            warnings.append(unsupported("sampling.temperature", "a temperature while the model thinks"))
        else:
            settings["temperature"] = temperature
    if top_p is not None:
        if thinks and top_p < _THINKING_MIN_TOP_P:
            warnings.append(unsupported("sampling.top_p", "a top_p below 0.95 while the model thinks"))
        elif traits.sampling is SamplingRule.ONE and "temperature" in settings:
            warnings.append(unsupported("sampling.top_p", "a top_p beside a temperature, for this model,"))
        else:
            settings["topP"] = top_p
    if top_k is not None:
        if thinks:
            warnings.append(unsupported("sampling.top_k", "a top_k while the model thinks"))
        else:
            extra["top_k"] = top_k


def schema_for(output: JsonSchemaOutput, warnings: list[Warning_]) -> Mapping[str, Any]:
    """Return the answer's schema as Claude can keep to it."""
    schema, told = answer_schema(output.schema)
    if told:
        what = "bounds in the schema that this model does not keep to are said to it instead"
        warnings.append(adjusted("output.json_schema.schema_json", what))
    return schema
