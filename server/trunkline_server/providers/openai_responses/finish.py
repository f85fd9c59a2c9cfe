"""How a response ended, and what it used: the provider's words in ours."""

from __future__ import annotations

from typing import Final

from trunkline_server.chat.answer import Finished, FinishReason, TokenAlternative, TokenLogprob, Usage, UsageSource
from trunkline_server.providers.openai_responses.wire import ContentWire, ResponseWire, TokenWire, UsageWire

COMPLETED: Final = "completed"
INCOMPLETE: Final = "incomplete"

PIECE_BORDER: Final = "\n\n"
"""Between the pieces of one item's reasoning, which the provider writes as paragraphs with headings."""

_REASONS: Final = {
    "max_output_tokens": FinishReason.LENGTH,
    "max_tokens": FinishReason.LENGTH,
    "content_filter": FinishReason.CONTENT_FILTER,
}
_MAX_COUNT: Final = 2**63


def finished(response: ResponseWire, status: str, *, called: bool, only_refused: bool) -> Finished:
    """Return the end of a response of `status` COMPLETED or INCOMPLETE.

    `called`: it asks for functions; `only_refused`: it holds nothing but a refusal. The protocol has no words for
    these two.
    """
    if status == COMPLETED:
        if called:
            return Finished(FinishReason.TOOL_CALLS, status)
        return Finished(FinishReason.REFUSAL if only_refused else FinishReason.STOP, status)
    details = response.incomplete_details
    native = (details.reason if details is not None else None) or status
    return Finished(_REASONS.get(native, FinishReason.OTHER), native)


def usage_of(wire: UsageWire | None) -> Usage | None:
    """Return the provider's count; what it does not say, or says with a number that no count has, is None."""
    if wire is None:
        return None
    given, made = wire.input_tokens_details, wire.output_tokens_details
    return Usage(
        input_tokens=_count(wire.input_tokens),
        output_tokens=_count(wire.output_tokens),
        cached_input_tokens=None if given is None else _count(given.cached_tokens),
        cache_write_tokens=None if given is None else _count(given.cache_write_tokens),
        reasoning_tokens=None if made is None else _count(made.reasoning_tokens),
        source=UsageSource.PROVIDER,
    )


def reasoning_text(content: list[ContentWire] | None, summary: list[ContentWire] | None) -> str:
    """Return what an item shows of its reasoning: its words, where the model's are shown, and their summary."""
    pieces = [*(content or ()), *(summary or ())]
    return PIECE_BORDER.join(piece.text for piece in pieces if piece.text)


def token_logprobs(tokens: list[TokenWire] | None) -> tuple[TokenLogprob, ...]:
    """Return log-probabilities in our types; raise ValueError if a token's bytes are none."""
    if not tokens:
        return ()
    return tuple(
        TokenLogprob(
            token=wire.token,
            logprob=wire.logprob,
            bytes=_bytes(wire.bytes),
            top=tuple(
                TokenAlternative(other.token, other.logprob, _bytes(other.bytes))
                for other in wire.top_logprobs or ()
                if other.token is not None and other.logprob is not None
            ),
        )
        for wire in tokens
    )


def _bytes(values: list[int] | None) -> bytes | None:
    return None if values is None else bytes(values)


def _count(value: float | None) -> int | None:
    return int(value) if value is not None and 0 <= value < _MAX_COUNT else None
