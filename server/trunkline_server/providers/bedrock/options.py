"""Which provider options a caller may pass, and where in the body they go.

The fields that the Converse API has itself stand in the body under their names. Every other option is the model's own
and goes into `additionalModelRequestFields`; so that field is none that could be passed itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from trunkline_server.providers.base import OptionFinding
from trunkline_server.providers.option_rules import OptionRules

EXTRA_FIELD: Final = "additionalModelRequestFields"

MACHINE_KEYS: Final = frozenset({"modelId", "messages", "stream", EXTRA_FIELD})
"""Refused whatever the operator allows: another value would break routing, decoding or accounting."""

API_KEYS: Final = frozenset(
    {
        "system",
        "inferenceConfig",
        "toolConfig",
        "outputConfig",
        "guardrailConfig",
        "performanceConfig",
        "serviceTier",
        "promptVariables",
        "requestMetadata",
        "additionalModelResponseFieldPaths",
    }
)
"""Fields of the API beside messages: the rest belongs to the model."""

TYPED_KEYS: Final = {
    "system": "messages",
    "inferenceConfig": "sampling",
    "temperature": "sampling.temperature",
    "topP": "sampling.top_p",
    "top_p": "sampling.top_p",
    "p": "sampling.top_p",
    "topK": "sampling.top_k",
    "top_k": "sampling.top_k",
    "k": "sampling.top_k",
    "maxTokens": "sampling.max_output_tokens",
    "max_tokens": "sampling.max_output_tokens",
    "max_gen_len": "sampling.max_output_tokens",
    "max_completion_tokens": "sampling.max_output_tokens",
    "stopSequences": "sampling.stop",
    "stop_sequences": "sampling.stop",
    "stop": "sampling.stop",
    "seed": "sampling.seed",
    "frequency_penalty": "sampling.frequency_penalty",
    "presence_penalty": "sampling.presence_penalty",
    "thinking": "sampling.reasoning_effort",
    "reasoning_config": "sampling.reasoning_effort",
    "reasoningConfig": "sampling.reasoning_effort",
    "reasoning_effort": "sampling.reasoning_effort",
    "toolConfig": "tools",
    "tools": "tools",
    "tool_choice": "tool_choice",
    "outputConfig": "output",
    "output_config": "output",
    "output_format": "output",
    "response_format": "output",
}
"""Keys that have a typed field of the request, and that field."""

COSTLY_KEYS: Final = {
    "serviceTier": "it chooses another price",
    "performanceConfig": "it chooses another price",
    "guardrailConfig": "a guardrail is charged for",
    "anthropic_beta": "it may choose another price, or run tools at the provider",
    "speed": "it chooses another price",
    "mcp_servers": "it runs tools at the provider",
    "context_management": "it stores the conversation at the provider",
    "container": "it runs tools at the provider",
}
"""Keys that raise cost, and how."""

_EXTRA_REFUSED: Final = "written by the gateway itself: name the model's own fields one by one"

_RULES: Final = OptionRules(MACHINE_KEYS, TYPED_KEYS, COSTLY_KEYS)


def check_options(options: Mapping[str, object], allowed: frozenset[str]) -> list[OptionFinding]:
    """Return a finding for each key of `options` that is not the caller's to pass; see OptionRules."""
    extra = [OptionFinding(key, _EXTRA_REFUSED) for key in options if key == EXTRA_FIELD]
    return extra + _RULES.check((key for key in options if key != EXTRA_FIELD), allowed)


def add_options(body: dict[str, Any], extra: dict[str, Any], options: Mapping[str, object]) -> None:
    """Write options that passed `check_options` into `body`, or into `extra`, the model's own fields."""
    for key, value in options.items():
        fields = body if key in API_KEYS else extra
        present = fields.get(key)
        if isinstance(present, dict) and isinstance(value, Mapping):
            fields[key] = {**present, **value}
        else:
            fields[key] = value
