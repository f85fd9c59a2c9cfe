"""Which provider options a caller may pass: the keys that are ours, and the keys that cost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from trunkline_server.providers.base import OptionFinding
from trunkline_server.providers.option_rules import OptionRules

MACHINE_KEYS: Final = frozenset({"model", "messages", "stream", "stream_options", "n"})
"""Refused whatever the operator allows: another value would break routing, decoding or accounting."""

TYPED_KEYS: Final = {
    "temperature": "sampling.temperature",
    "top_p": "sampling.top_p",
    "top_k": "sampling.top_k",
    "max_tokens": "sampling.max_output_tokens",
    "max_completion_tokens": "sampling.max_output_tokens",
    "stop": "sampling.stop",
    "seed": "sampling.seed",
    "frequency_penalty": "sampling.frequency_penalty",
    "presence_penalty": "sampling.presence_penalty",
    "logprobs": "sampling.top_logprobs",
    "top_logprobs": "sampling.top_logprobs",
    "reasoning_effort": "sampling.reasoning_effort",
    "reasoning": "sampling.reasoning_effort",
    "tools": "tools",
    "functions": "tools",
    "tool_choice": "tool_choice",
    "function_call": "tool_choice",
    "parallel_tool_calls": "tool_choice.parallel",
    "response_format": "output",
}
"""Keys that have a typed field of the request, and that field."""

COSTLY_KEYS: Final = {
    "service_tier": "it chooses another price",
    "store": "it stores the conversation at the provider",
    "moderation": "it runs another model beside this one",
    "prompt_cache_retention": "it stores the prompt at the provider",
    "prompt_cache_options": "it stores the prompt at the provider",
    "prediction": "rejected tokens of a prediction are charged",
    "modalities": "audio output is charged at another price",
    "audio": "audio output is charged at another price",
    "web_search_options": "it runs a tool at the provider",
    "search_parameters": "it runs a tool at the provider",
    "plugins": "it runs tools at the provider",
    "models": "it lets the provider choose another model",
}
"""Keys that raise cost, and how. Not here: `metadata`, `user`, `safety_identifier`, `prompt_cache_key`, `logit_bias`
and `verbosity`, which label or shape an answer at the price of its tokens; `metadata` is useless without `store`,
and the provider says so."""

_RULES: Final = OptionRules(MACHINE_KEYS, TYPED_KEYS, COSTLY_KEYS)


def check_options(options: Mapping[str, object], allowed: frozenset[str]) -> list[OptionFinding]:
    """Return a finding for each key of `options` that is not the caller's to pass; see OptionRules."""
    return _RULES.check(options, allowed)
