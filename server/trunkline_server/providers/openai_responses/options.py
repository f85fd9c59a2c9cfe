"""Which provider options a caller may pass: the keys that are ours, and the keys that cost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from trunkline_server.providers.base import OptionFinding
from trunkline_server.providers.option_rules import OptionRules

MACHINE_KEYS: Final = frozenset(
    {"model", "input", "stream", "stream_options", "include", "background", "previous_response_id", "conversation"},
)
"""Refused whatever the operator allows: another value would break routing, decoding or accounting, or go on with
a conversation that only one account of one provider has."""

TYPED_KEYS: Final = {
    "instructions": "messages",
    "temperature": "sampling.temperature",
    "top_p": "sampling.top_p",
    "max_output_tokens": "sampling.max_output_tokens",
    "top_logprobs": "sampling.top_logprobs",
    "reasoning": "sampling.reasoning_effort",
    "tools": "tools",
    "tool_choice": "tool_choice",
    "parallel_tool_calls": "tool_choice.parallel",
    "text.format": "output",
}
"""Keys that have a typed field of the request, and that field. `text` holds the format, and settings that have none."""

COSTLY_KEYS: Final = {
    "service_tier": "it chooses another price",
    "store": "it stores the conversation at the provider",
    "moderation": "it runs another model beside this one",
    "prompt": "it puts a text of the provider's in front of the messages",
    "prompt_cache_retention": "it stores the prompt at the provider",
    "prompt_cache_options": "it stores the prompt at the provider",
    "context_management": "it runs the model once more to shorten the conversation",
}
"""Keys that raise cost, and how."""

_RULES: Final = OptionRules(MACHINE_KEYS, TYPED_KEYS, COSTLY_KEYS)


def check_options(options: Mapping[str, object], allowed: frozenset[str]) -> list[OptionFinding]:
    """Return a finding for each key of `options` that is not the caller's to pass, those of `text` one by one."""
    text = options.get("text")
    return _RULES.check([*options, *(f"text.{key}" for key in (text if isinstance(text, Mapping) else ()))], allowed)
