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
from trunkline_server.providers.gemini.wire import LogprobsWire, UsageWire

_F: Final = FinishReason.CONTENT_FILTER
_O: Final = FinishReason.OTHER

REASONS: Final = {
    "STOP": FinishReason.STOP,
    "MAX_TOKENS": FinishReason.LENGTH,
    "CONTINUATION": FinishReason.LENGTH,  # the request's own limit; what follows would have to be asked for
    "SAFETY": _F,
    "RECITATION": _F,
    "BLOCKLIST": _F,
    "PROHIBITED_CONTENT": _F,
    "SPII": _F,
    "IMAGE_SAFETY": _F,
    "IMAGE_PROHIBITED_CONTENT": _F,
    "IMAGE_RECITATION": _F,
    "MODEL_ARMOR": _F,
    "ESCALATION": _F,
    "LANGUAGE": _O,
    "OTHER": _O,
    "MALFORMED_FUNCTION_CALL": _O,
    "MALFORMED_RESPONSE": _O,
    "UNEXPECTED_TOOL_CALL": _O,
    "TOO_MANY_TOOL_CALLS": _O,
    "MISSING_THOUGHT_SIGNATURE": _O,
    "NO_IMAGE": _O,
    "IMAGE_OTHER": _O,
    "PUP_LIMITED_DISABLED": _O,
}
"""All of the documented list, as of 2026-11 (google-genai 3.4.0, `types.FinishReason`).

A function call that the model wrote wrongly ends the answer as OTHER with the provider's word beside it, not as a
failure: the caller's own schema may have brought it about, which must count against nobody.
"""

ACCOUNT_REASON: Final = "PUP_LIMITED_DISABLED"
"""The account broke the provider's rules and is cut off: no word about the answer, but about the key."""

_NO_REASONS: Final = frozenset({None, "", "FINISH_REASON_UNSPECIFIED"})


def is_reason(native: str | None) -> bool:
    """Return whether `native` ends an answer."""
    return native not in _NO_REASONS


def finished(native: str, *, called: bool) -> Finished:
    """Return the end of an answer; `called` if it asks for functions, for which the protocol says `STOP` too."""
    reason = REASONS.get(native, FinishReason.OTHER)
    if called and reason is FinishReason.STOP:
        reason = FinishReason.TOOL_CALLS
    return Finished(reason, native)


def usage_of(wire: UsageWire | None) -> Usage | None:
    """Return the provider's count; what it does not say, or says with a number that no count has, is None.

    Results of tools that the provider ran are input, reasoning is output: that is how they are charged.
    """
    if wire is None:
        return None
    reasoning = _count(wire.thoughts_token_count)
    given = _sum(_count(wire.prompt_token_count), _count(wire.tool_use_prompt_token_count))
    output = _sum(_count(wire.candidates_token_count), reasoning)
    total = _count(wire.total_token_count)
    if output is None and given is not None and total is not None and total >= given:
        # An answer without a token has a total, and no count of its own.
        output = total - given
    return Usage(
        input_tokens=given,
        output_tokens=output,
        cached_input_tokens=_count(wire.cached_content_token_count),
        reasoning_tokens=reasoning,
        source=UsageSource.PROVIDER,
    )


def token_logprobs(wire: LogprobsWire | None) -> tuple[TokenLogprob, ...]:
    """Return log-probabilities in our types; the provider tells no bytes."""
    if wire is None or not wire.chosen_candidates:
        return ()
    tops = wire.top_candidates or []
    found: list[TokenLogprob] = []
    for step, chosen in enumerate(wire.chosen_candidates):
        others = (tops[step].candidates or ()) if step < len(tops) else ()
        top = tuple(TokenAlternative(other.token, other.log_probability) for other in others)
        found.append(TokenLogprob(chosen.token, chosen.log_probability, top=top))
    return tuple(found)


_MAX_COUNT: Final = 2**63


def _count(value: float | None) -> int | None:
    return int(value) if value is not None and 0 <= value < _MAX_COUNT else None


def _sum(first: int | None, second: int | None) -> int | None:
    return second if first is None else first + (second or 0)
