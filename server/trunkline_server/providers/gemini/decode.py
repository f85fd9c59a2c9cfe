"""A whole answer: the JSON of a 2xx response as a neutral `Answer`."""

from __future__ import annotations

from collections.abc import Mapping

from trunkline_server.chat.answer import (
    Answer,
    Delta,
    Finished,
    FinishReason,
    TextDelta,
    ThinkingDelta,
    ThinkingSignatureDelta,
    ToolCallDelta,
)
from trunkline_server.chat.message import Message, Part, Role, TextPart, ThinkingPart, ToolCallPart
from trunkline_server.providers.base import AttemptError
from trunkline_server.providers.failures import filtered_error, protocol_error
from trunkline_server.providers.gemini.classify import account_error, classify_under_ok, error_in
from trunkline_server.providers.gemini.finish import ACCOUNT_REASON, finished, is_reason, token_logprobs, usage_of
from trunkline_server.providers.gemini.parts import AnswerParts
from trunkline_server.providers.gemini.wire import AnswerWire, CandidateWire, decode_answer_wire
from trunkline_server.providers.json_wire import DECODING_ERRORS
from trunkline_server.routing.failures import Failure, FailureClass


def decode_answer(headers: Mapping[str, str], body: bytes, provider: str) -> Answer:
    """Read a whole 2xx answer; its reasoning is marked as that of the provider named `provider`.

    Raise AttemptError: PROTOCOL for what is no answer (not JSON, no candidate, neither content nor a finish reason),
    TRUNCATED for content without a finish reason, CONTENT_FILTERED for a block of the prompt or of the answer before
    any content, and the class of its row for an error that the server reports under a 2xx.
    """
    try:
        wire = decode_answer_wire(body)
    except DECODING_ERRORS:
        if (error := error_in(body)) is not None:
            raise AttemptError(classify_under_ok(error, headers)) from None
        raise protocol_error("no JSON of generateContent") from None  # the cause may hold the answer's words
    if wire.error and (error := error_in(body)) is not None:
        raise AttemptError(classify_under_ok(error, headers))
    candidate = first_candidate(wire)
    if candidate is None:
        if (blocked := block_reason(wire)) is not None:
            raise filtered_error(blocked)
        raise protocol_error("no candidate in it")
    return _answer(wire, candidate, provider)


def first_candidate(wire: AnswerWire) -> CandidateWire | None:
    """Return the candidate that counts; we ask for one only."""
    return next((candidate for candidate in wire.candidates or () if not candidate.index), None)


def block_reason(wire: AnswerWire) -> str | None:
    """Return why the prompt was blocked; None if it was not."""
    feedback = wire.prompt_feedback
    return (feedback.block_reason or None) if feedback is not None else None


def end_of(native: str, parts: AnswerParts) -> Finished:
    """Return the end of an answer whose reason is `native`.

    Raise AttemptError if there is nothing in front of it, and it is no end of an answer but a block of it.
    """
    if not parts.count and native == ACCOUNT_REASON:
        raise account_error(native)
    end = finished(native, called=parts.called)
    if end.reason is FinishReason.CONTENT_FILTER and not parts.count:
        raise filtered_error(native)
    return end


def _answer(wire: AnswerWire, candidate: CandidateWire, provider: str) -> Answer:
    parts = AnswerParts()
    if isinstance(wire.response_id, str):
        parts.answer_id = wire.response_id
    deltas: list[Delta] = []
    parts.add(candidate, (), deltas)
    native = candidate.finish_reason
    if native is None or not is_reason(native):
        if not parts.count:
            raise protocol_error("neither content nor a finish reason")
        raise AttemptError(Failure(FailureClass.TRUNCATED, "the answer has no finish reason"))
    return Answer(
        message=Message(Role.ASSISTANT, tuple(_parts(deltas, parts.count, provider))),
        finished=end_of(native, parts),
        usage=usage_of(wire.usage_metadata),
        logprobs=token_logprobs(candidate.logprobs_result),
        warnings=parts.warnings,
    )


def _parts(deltas: list[Delta], count: int, provider: str) -> list[Part]:
    """Return the parts that deltas add up to."""
    of_part: list[list[Delta]] = [[] for _ in range(count)]
    for delta in deltas:
        of_part[delta.part].append(delta)
    return [_part(pieces, provider) for pieces in of_part]


def _part(pieces: list[Delta], provider: str) -> Part:
    first = pieces[0]
    if isinstance(first, ToolCallDelta):
        return ToolCallPart(first.id, first.name, first.arguments_json_delta)
    text = "".join(piece.text for piece in pieces if isinstance(piece, TextDelta | ThinkingDelta))
    if isinstance(first, TextDelta):
        return TextPart(text)
    seals = (piece.signature for piece in pieces if isinstance(piece, ThinkingSignatureDelta))
    return ThinkingPart(text, next(seals, None), provider=provider or None)
