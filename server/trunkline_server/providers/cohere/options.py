"""Which provider options a caller may pass: all but the keys that are ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from trunkline_server.providers.base import OptionFinding

MACHINE_KEYS: Final = frozenset({"model", "messages", "stream"})
"""Refused whatever the operator allows: another value would break routing, decoding or accounting."""

TYPED_KEYS: Final = {
    "tools": "tools",
    "strict_tools": "tools[].function.strict",
    "tool_choice": "tool_choice",
    "response_format": "output",
    "max_tokens": "sampling.max_output_tokens",
    "stop_sequences": "sampling.stop",
    "temperature": "sampling.temperature",
    "seed": "sampling.seed",
    "frequency_penalty": "sampling.frequency_penalty",
    "presence_penalty": "sampling.presence_penalty",
    "k": "sampling.top_k",
    "p": "sampling.top_p",
    "logprobs": "sampling.top_logprobs",
    "thinking": "sampling.reasoning_effort",
}
"""Keys that have a typed field of the request, and that field. Nothing else of this API raises cost: `documents` cost
what their tokens do; `citation_options`, `safety_mode` and `priority` shape an answer at the price of its tokens."""


def check_options(options: Mapping[str, object], allowed: frozenset[str]) -> list[OptionFinding]:
    """Return a finding for each key of `options` that is not the caller's to pass; `allowed` lets typed keys pass."""
    found: list[OptionFinding] = []
    for key in options:
        if key in MACHINE_KEYS:
            found.append(OptionFinding(key, "written by the gateway itself; it cannot be allowed"))
        elif key in TYPED_KEYS and key not in allowed:
            found.append(OptionFinding(key, f"has a field of its own in the request: {TYPED_KEYS[key]}"))
    return found
