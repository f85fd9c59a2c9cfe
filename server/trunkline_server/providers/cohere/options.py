"""Which provider options a caller may pass: all but the keys that are ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from trunkline_server.providers.base import OptionFinding
from trunkline_server.providers.option_rules import OptionRules

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

_RULES: Final = OptionRules(MACHINE_KEYS, TYPED_KEYS, {})


def check_options(options: Mapping[str, object], allowed: frozenset[str]) -> list[OptionFinding]:
    """Return a finding for each key of `options` that is not the caller's to pass; see OptionRules."""
    return _RULES.check(options, allowed)
