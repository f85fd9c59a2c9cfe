"""Why a model stopped, and what it used: the provider's words in ours."""

from __future__ import annotations

from typing import Final

from trunkline_server.chat.answer import (
    Finished,
    FinishReason,
    TokenAlternative,
    TokenLogprob,
    Usage,
    UsageSource,
)
from trunkline_server.providers.openai.wire import AlternativeWire, TokenWire, UsageWire

_REASONS: Final = {
    "stop": FinishReason.STOP,
    "tool_calls": FinishReason.TOOL_CALLS,
    "function_call": FinishReason.TOOL_CALLS,
    "length": FinishReason.LENGTH,
    "max_tokens": FinishReason.LENGTH,
    "content_filter": FinishReason.CONTENT_FILTER,
    "refusal": FinishReason.REFUSAL,
    "model_length": FinishReason.CONTEXT_LIMIT,
    "model_context_window_exceeded": FinishReason.CONTEXT_LIMIT,
}
_NO_REASONS: Final = frozenset({None, "", "null"})

WHOLE: Final = frozenset({FinishReason.STOP, FinishReason.TOOL_CALLS})
"""Reasons after which nothing of the answer is missing."""


def is_reason(native: str | None) -> bool:
    """Return whether `native` ends an answer; some servers write an empty or a `null` string for "not yet"."""
    return native not in _NO_REASONS


def finished(native: str, *, called: bool, only_refused: bool) -> Finished:
    """Return the end of an answer that asked for tools (`called`) or holds nothing but a refusal.

    The protocol says `stop` for some of these: when a tool choice forced the call, and for each refusal.
    """
    reason = _REASONS.get(native, FinishReason.OTHER)
    if reason is FinishReason.STOP:
        if called:
            reason = FinishReason.TOOL_CALLS
        elif only_refused:
            reason = FinishReason.REFUSAL
    return Finished(reason, native)


def usage_of(wire: UsageWire | None) -> Usage | None:
    """Return the provider's count; what it does not say, or says with a number that no count has, is None."""
    if wire is None:
        return None
    prompt, completion = wire.prompt_tokens_details, wire.completion_tokens_details
    cached = None if prompt is None else _count(prompt.cached_tokens)
    reasoning = None if completion is None else _count(completion.reasoning_tokens)
    return Usage(
        input_tokens=_count(wire.prompt_tokens),
        output_tokens=_output_tokens(wire, reasoning),
        cached_input_tokens=_count(wire.prompt_cache_hit_tokens) if cached is None else cached,
        cache_write_tokens=None if prompt is None else _count(prompt.cache_write_tokens),
        reasoning_tokens=reasoning,
        source=UsageSource.PROVIDER,
    )


def _output_tokens(wire: UsageWire, reasoning: int | None) -> int | None:
    """Return the tokens of the answer with its reasoning, which some servers count beside it: their total says so."""
    said = _count(wire.completion_tokens)
    if said is None or not reasoning:
        return said
    prompt = _count(wire.prompt_tokens)
    beside = prompt is not None and _count(wire.total_tokens) == prompt + said + reasoning
    return said + reasoning if beside else said


def token_logprobs(tokens: list[TokenWire] | None) -> tuple[TokenLogprob, ...]:
    """Return log-probabilities in our types; raise ValueError if a token's bytes are none."""
    if not tokens:
        return ()
    return tuple(
        TokenLogprob(
            token=wire.token,
            logprob=wire.logprob,
            bytes=_bytes(wire.bytes),
            top=tuple(_alternative(other) for other in wire.top_logprobs or ()),
        )
        for wire in tokens
    )


def _alternative(wire: AlternativeWire) -> TokenAlternative:
    return TokenAlternative(wire.token, wire.logprob, _bytes(wire.bytes))


def _bytes(values: list[int] | None) -> bytes | None:
    return None if values is None else bytes(values)


_MAX_COUNT: Final = 2**63


def _count(value: float | None) -> int | None:
    return int(value) if value is not None and 0 <= value < _MAX_COUNT else None
