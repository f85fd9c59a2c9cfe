"""Why a model stopped, and what it used: Bedrock's words in ours."""

from __future__ import annotations

from typing import Final

from trunkline_server.chat.answer import Finished, FinishReason, Usage, UsageSource
from trunkline_server.providers.bedrock.wire import UsageWire

_REASONS: Final = {
    "end_turn": FinishReason.STOP,
    "stop_sequence": FinishReason.STOP,
    "tool_use": FinishReason.TOOL_CALLS,
    "max_tokens": FinishReason.LENGTH,
    "guardrail_intervened": FinishReason.CONTENT_FILTER,
    "content_filtered": FinishReason.CONTENT_FILTER,
    "refusal": FinishReason.REFUSAL,
    "model_context_window_exceeded": FinishReason.CONTEXT_LIMIT,
    "malformed_model_output": FinishReason.OTHER,
    "malformed_tool_use": FinishReason.OTHER,
}

WHOLE: Final = frozenset({FinishReason.STOP, FinishReason.TOOL_CALLS})
"""Reasons after which nothing of the answer is missing."""

_MAX_COUNT: Final = 2**63


def finished(native: str, *, called: bool) -> Finished:
    """Return the end of an answer; `called` says whether it asks for tools."""
    reason = _REASONS.get(native, FinishReason.OTHER)
    if called and reason is FinishReason.STOP:
        # Some models end a call that a tool choice forced like any turn.
        reason = FinishReason.TOOL_CALLS
    return Finished(reason, native)


def usage_of(wire: UsageWire | None) -> Usage | None:
    """Return the service's count, with what a cache had to do with it as parts of the input.

    What it does not say, or says with a number that no count has, is None.
    """
    if wire is None:
        return None
    uncached, read, written = map(
        _count, (wire.input_tokens, wire.cache_read_input_tokens, wire.cache_write_input_tokens)
    )
    return Usage(
        input_tokens=None if uncached is None else uncached + (read or 0) + (written or 0),
        output_tokens=_count(wire.output_tokens),
        cached_input_tokens=read,
        cache_write_tokens=written,
        source=UsageSource.PROVIDER,
    )


def _count(value: float | None) -> int | None:
    return int(value) if value is not None and 0 <= value < _MAX_COUNT else None
