"""Which provider options a caller may pass: the keys that are ours, and the keys that cost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from trunkline_server.providers.base import OptionFinding
from trunkline_server.providers.option_rules import OptionRules

MACHINE_KEYS: Final = frozenset({"model", "messages", "stream", "thread", "compaction"})
"""Refused whatever the operator allows: another value would break routing, decoding or accounting."""

TYPED_KEYS: Final = {
    "system": "messages",
    "max_tokens": "sampling.max_output_tokens",
    "temperature": "sampling.temperature",
    "top_p": "sampling.top_p",
    "top_k": "sampling.top_k",
    "stop_sequences": "sampling.stop",
    "thinking": "sampling.reasoning_effort",
    "tools": "tools",
    "tool_choice": "tool_choice",
    "output_config": "output",
    "output_format": "output",
    "cache_control": "messages[].cache_breakpoint",
}
"""Keys that have a typed field of the request, and that field. `output_config` holds the effort too."""

COSTLY_KEYS: Final = {
    "service_tier": "it chooses another price",
    "speed": "it chooses another price",
    "inference_geo": "it chooses another price",
    "billing_policy": "it chooses who is billed",
    "fallback_credit_token": "it chooses another price",
    "fallbacks": "it lets the provider choose another model",
    "container": "it runs tools at the provider",
    "mcp_servers": "it runs tools at the provider",
    "context_management": "it runs another model beside this one",
    "diagnostics": "it compares the prompt with one that the provider stored",
}
"""Keys that raise cost, and how. Not here: `metadata`, which only labels a call."""

_RULES: Final = OptionRules(MACHINE_KEYS, TYPED_KEYS, COSTLY_KEYS)


def check_options(options: Mapping[str, object], allowed: frozenset[str]) -> list[OptionFinding]:
    """Return a finding for each key of `options` that is not the caller's to pass; see OptionRules."""
    return _RULES.check(options, allowed)
