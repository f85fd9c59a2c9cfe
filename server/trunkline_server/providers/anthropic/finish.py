"""Why a model stopped, and what it used: the provider's words in ours."""

from __future__ import annotations

from typing import Final

from trunkline_server.chat.answer import Finished, FinishReason, Usage, UsageSource
from trunkline_server.providers.anthropic.wire import StopDetailsWire, UsageWire

_REASONS: Final = {
    "end_turn": FinishReason.STOP,
    "stop_sequence": FinishReason.STOP,
    "tool_use": FinishReason.TOOL_CALLS,
    "max_tokens": FinishReason.LENGTH,
    "refusal": FinishReason.REFUSAL,
    "model_context_window_exceeded": FinishReason.CONTEXT_LIMIT,
}
"""`pause_turn`, where a tool of the provider's wants more time, is none of ours: OTHER, as is what nobody knows."""

WHOLE: Final = frozenset({FinishReason.STOP, FinishReason.TOOL_CALLS})
"""Reasons after which nothing of the answer is missing."""

_REFUSAL: Final = "refusal"
_MAX_COUNT: Final = 2**63


def finished(native: str, details: StopDetailsWire | None) -> Finished:
    """Return the end of an answer. A refusal with a category is a filter's, which cuts the model's answer off."""
    reason = _REASONS.get(native, FinishReason.OTHER)
    if reason is FinishReason.REFUSAL and details is not None and details.category is not None:
        reason = FinishReason.CONTENT_FILTER
    return Finished(reason, native)


def is_block(native: str) -> bool:
    """Return whether an answer without any content was blocked by the provider's filter: a model refuses in words."""
    return native == _REFUSAL


def usage_of(wire: UsageWire | None) -> Usage | None:
    """Return the provider's count; what it does not say, or says with a number that no count has, is None."""
    if wire is None:
        return None
    read, written = _count(wire.cache_read_input_tokens), _count(wire.cache_creation_input_tokens)
    own = _count(wire.input_tokens)
    details = wire.output_tokens_details
    return Usage(
        input_tokens=None if own is None else own + (read or 0) + (written or 0),
        output_tokens=_count(wire.output_tokens),
        cached_input_tokens=read,
        cache_write_tokens=written,
        reasoning_tokens=None if details is None else _count(details.thinking_tokens),
        source=UsageSource.PROVIDER,
    )


def merged(before: UsageWire | None, after: UsageWire) -> UsageWire:
    """Return the counts of `after`, which are of the whole answer so far, and of `before` what it does not say."""
    if before is None:
        return after
    for field in UsageWire.__struct_fields__:
        if getattr(after, field) is None:
            setattr(after, field, getattr(before, field))
    return after


def _count(value: float | None) -> int | None:
    return int(value) if value is not None and 0 <= value < _MAX_COUNT else None
