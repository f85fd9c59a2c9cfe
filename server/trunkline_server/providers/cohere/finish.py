"""Why a model stopped, and what it used: Cohere's words in ours."""

from __future__ import annotations

import math
from typing import Final

from trunkline_server.chat.answer import Finished, FinishReason, TokenLogprob, Usage, UsageSource
from trunkline_server.providers.base import AttemptError
from trunkline_server.providers.cohere.errors import classify_text
from trunkline_server.providers.cohere.wire import LogprobWire, TokenCounts, UsageWire
from trunkline_server.providers.failures import filtered_error

_REASONS: Final = {
    "COMPLETE": FinishReason.STOP,
    "STOP_SEQUENCE": FinishReason.STOP,
    "TOOL_CALL": FinishReason.TOOL_CALLS,
    "MAX_TOKENS": FinishReason.LENGTH,
    "ERROR_LIMIT": FinishReason.CONTEXT_LIMIT,
    "ERROR_TOXIC": FinishReason.CONTENT_FILTER,
}
BROKEN: Final = frozenset({"ERROR", "TIMEOUT"})
"""Reasons that are none of the model's: the provider failed, or did not come to an end in its own time."""

WHOLE: Final = frozenset({FinishReason.STOP, FinishReason.TOOL_CALLS})
"""Reasons after which nothing of the answer is missing."""

_MAX_COUNT: Final = 2.0**63


def finished(native: str, error: object, *, called: bool, empty: bool) -> Finished:
    """Return the end of an answer that asked for tools (`called`), or that has no content at all (`empty`).

    `error`: the provider's words of what went wrong, if it has any. Raise AttemptError where the answer failed:
    SERVER_ERROR or the class of these words, CONTENT_FILTERED for a block before any content.
    """
    if native in BROKEN:
        raise AttemptError(classify_text(error if isinstance(error, str) else ""))
    reason = _REASONS.get(native, FinishReason.OTHER)
    if reason is FinishReason.STOP and called:
        reason = FinishReason.TOOL_CALLS
    if reason is FinishReason.CONTENT_FILTER and empty:
        raise filtered_error(native)
    return Finished(reason, native)


def usage_of(wire: UsageWire | None) -> Usage | None:
    """Return what the provider counted: all tokens that went through the model, the template around them included.

    `billed_units` are fewer, and stand in only where the others are missing.
    """
    if wire is None:
        return None
    counts = wire.tokens or wire.billed_units or TokenCounts()
    return Usage(
        input_tokens=_count(counts.input_tokens),
        output_tokens=_count(counts.output_tokens),
        cached_input_tokens=_count(wire.cached_tokens),
        source=UsageSource.PROVIDER,
    )


def token_logprobs(wire: LogprobWire | None) -> tuple[TokenLogprob, ...]:
    """Return the log-probability of a piece of text: of all its tokens together, since only the whole has a text."""
    if wire is None or not wire.logprobs or wire.text is None:
        return ()
    return (TokenLogprob(wire.text, math.fsum(wire.logprobs)),)


def _count(value: float | None) -> int | None:
    return int(value) if value is not None and 0 <= value < _MAX_COUNT else None
