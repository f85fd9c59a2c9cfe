"""How many tokens a request will be, before anybody has counted them; and how far off that was, by model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from trunkline_server.chat.media_tokens import media_tokens
from trunkline_server.chat.message import (
    MediaPart,
    Part,
    RefusalPart,
    TextPart,
    ThinkingPart,
    ToolCallPart,
)
from trunkline_server.chat.request import ChatRequest, FunctionTool, JsonSchemaOutput
from trunkline_server.chat.text_tokens import text_tokens

REQUEST_TOKENS = 3
"""What a provider's template adds to a conversation, and next to each message, tool call and tool."""
MESSAGE_TOKENS = 4
CALL_TOKENS = 8
TOOL_TOKENS = 10

RATIO_MIN = 0.25
RATIO_MAX = 4.0
MODELS_MAX = 4_096
"""Models that are remembered; the one that was heard of longest ago goes first."""
LEARNED_FROM = 32
"""Smaller estimates teach nothing: there a template's few words are most of the count."""
_SHARE_MIN = 0.05
"""What the latest observation weighs once there are many; the first ones weigh more."""


def estimate_input_tokens(request: ChatRequest) -> int:
    """Estimate the input tokens of a request: messages, tools with their schemas, the schema of the answer, media.

    Never raises and never looks anything up. Linear in the request's size, constant for what is longer than 64 KiB in
    one text; 3 to 7 µs for one message of 2 KiB.
    """
    tokens = REQUEST_TOKENS
    for message in request.messages:
        tokens += MESSAGE_TOKENS
        if message.name:
            tokens += text_tokens(message.name)
        for part in message.parts:
            # Most parts are texts.
            tokens += text_tokens(part.text) if type(part) is TextPart else _part_tokens(part)
    for tool in request.tools:
        tokens += TOOL_TOKENS
        if isinstance(tool, FunctionTool):
            tokens += text_tokens(tool.name) + text_tokens(tool.description or "")
            tokens += _json_tokens(tool.parameters)
        else:
            tokens += _json_tokens(tool.tool)
    if isinstance(request.output, JsonSchemaOutput):
        tokens += TOOL_TOKENS + text_tokens(request.output.name) + _json_tokens(request.output.schema)
    return tokens


def _part_tokens(part: Part) -> int:
    if isinstance(part, (TextPart, RefusalPart)):
        return text_tokens(part.text)
    if isinstance(part, ToolCallPart):
        return CALL_TOKENS + text_tokens(part.name) + text_tokens(part.arguments_json)
    if isinstance(part, MediaPart):
        return media_tokens(part)
    if isinstance(part, ThinkingPart):
        return text_tokens(part.text) + text_tokens(part.signature or "")
    return CALL_TOKENS + sum(_part_tokens(inner) for inner in part.parts)


def _json_tokens(value: Mapping[str, Any] | None) -> int:
    return text_tokens(json.dumps(value, ensure_ascii=False)) if value else 0


class Calibration:
    """What estimates of input tokens have to be multiplied with, by model, learned from the usage that comes back.

    Belongs to one event loop, and outlasts the snapshots that it serves. A model is any name: its target's.
    """

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: dict[str, tuple[float, int]] = {}
        """Ratio, and observations so far with the assumption of 1 for the first; the latest heard of is the last."""

    def learn(self, model: str, estimate: int, real: int) -> None:
        """Note that `estimate` (as `estimate_input_tokens` gave it) was `real` tokens by the provider's own count."""
        if estimate < LEARNED_FROM or real <= 0:
            return
        ratio, seen = self._known.pop(model, (1.0, 1))
        share = max(_SHARE_MIN, 1.0 / (seen + 1))
        ratio += share * (min(max(real / estimate, RATIO_MIN), RATIO_MAX) - ratio)
        if len(self._known) >= MODELS_MAX:
            del self._known[next(iter(self._known))]
        self._known[model] = (ratio, seen + 1)

    def ratio(self, model: str) -> float:
        """Return what estimates for this model are multiplied with; 1 while nothing is known of it."""
        known = self._known.get(model)
        return 1.0 if known is None else known[0]

    def calibrated(self, model: str, estimate: int) -> int:
        """Return the estimate for a request at this model: whole tokens, rounded up."""
        return -int(-estimate * self.ratio(model) // 1)

    def __repr__(self) -> str:
        """Show how many models are known."""
        return f"<Calibration: {len(self._known)} models>"
