"""Which provider options a caller may pass: the keys that are ours, and the keys that cost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from trunkline_server.providers.base import OptionFinding

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


def check_options(options: Mapping[str, object], allowed: frozenset[str]) -> list[OptionFinding]:
    """Return a finding for each key of `options` that is not the caller's to pass.

    A key with a typed field and a key that raises cost pass if `allowed` names them; then the option goes before
    the typed field. `MACHINE_KEYS` are refused even if `allowed` names them. Every other key passes: the provider
    judges it.
    """
    findings = (_finding(key, allowed) for key in options)
    return [finding for finding in findings if finding is not None]


def _finding(key: str, allowed: frozenset[str]) -> OptionFinding | None:
    if key in MACHINE_KEYS:
        return OptionFinding(key, "written by the gateway itself; it cannot be allowed")
    if key in allowed:
        return None
    if key in TYPED_KEYS:
        return OptionFinding(key, f"has a field of its own in the request: {TYPED_KEYS[key]}")
    if key in COSTLY_KEYS:
        return OptionFinding(key, f"raises cost, since {COSTLY_KEYS[key]}; not allowed to this caller")
    return None
