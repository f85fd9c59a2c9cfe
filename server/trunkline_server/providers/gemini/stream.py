"""The answer as it comes: bytes of server-sent events in, neutral deltas out.

A stream ends without a sign of its own: the terminal event is a chunk with a finish reason, and only usage counts after
it. An error may come as an event, or, when the provider gives up in the middle, as bare JSON behind the last event,
printed over many lines and sometimes inside a list: that is what is left in the decoder when the body ends.
"""

from __future__ import annotations

from trunkline_server.chat.answer import Delta, Finished, FinishReason, Usage, Warning_
from trunkline_server.providers.answer_stream import SseAnswerStream
from trunkline_server.providers.base import AttemptError
from trunkline_server.providers.failures import filtered_error, protocol_error
from trunkline_server.providers.gemini.classify import classify_under_ok, error_in
from trunkline_server.providers.gemini.decode import block_reason, end_of
from trunkline_server.providers.gemini.finish import is_reason, token_logprobs, usage_of
from trunkline_server.providers.gemini.parts import AnswerParts
from trunkline_server.providers.gemini.wire import AnswerWire, CandidateWire, UsageWire, decode_answer_wire
from trunkline_server.providers.json_wire import DECODING_ERRORS
from trunkline_server.providers.sse import SseEvent
from trunkline_server.routing.failures import Failure, FailureClass


class GeminiStreamDecoder(SseAnswerStream):
    """Decodes one streamed answer."""

    __slots__ = ("_parts", "_usage")

    def __init__(self) -> None:
        super().__init__()
        self._parts = AnswerParts()
        self._usage: UsageWire | None = None

    @property
    def usage(self) -> Usage | None:
        """What the provider counted so far: it counts in each chunk, and the last count holds."""
        return usage_of(self._usage)

    @property
    def warnings(self) -> tuple[Warning_, ...]:
        """What of the answer so far could not be carried over."""
        return self._parts.warnings

    def _bare_error(self, body: bytes) -> Failure | None:
        error = error_in(body)
        return None if error is None else classify_under_ok(error)

    def _not_whole(self) -> AttemptError:
        if not self._seen:
            return protocol_error("a stream without a candidate")
        return AttemptError(Failure(FailureClass.TRUNCATED, "the stream ended without a finish reason"))

    def _event(self, event: SseEvent, deltas: list[Delta]) -> None:
        data = event.data
        try:
            wire = decode_answer_wire(data)
        except DECODING_ERRORS:
            self._not_a_chunk(data)
            return
        if wire.error is not None and wire.error:
            self._not_a_chunk(data)
            return
        if wire.usage_metadata is not None:
            self._usage = wire.usage_metadata
        if self._finished is not None:
            return
        if wire.candidates:
            self._candidates(wire, wire.candidates, deltas)
        elif (blocked := block_reason(wire)) is not None:
            if not self._parts.count:
                raise filtered_error(blocked)
            self._finished = Finished(FinishReason.CONTENT_FILTER, blocked)

    def _not_a_chunk(self, data: bytes) -> None:
        """Raise the failure that an event tells or is; after the finish reason the answer is whole in spite of it."""
        if self._finished is not None:
            return
        if (error := error_in(data)) is not None:
            raise AttemptError(classify_under_ok(error))
        raise protocol_error("an event that is no chunk of generateContent")

    def _candidates(self, wire: AnswerWire, candidates: list[CandidateWire], deltas: list[Delta]) -> None:
        """Take the first candidate; we ask for one only."""
        for candidate in candidates:
            if candidate.index:
                continue
            self._seen = True
            parts = self._parts
            if not parts.answer_id and isinstance(wire.response_id, str):
                parts.answer_id = wire.response_id
            logprobs = () if candidate.logprobs_result is None else token_logprobs(candidate.logprobs_result)
            parts.add(candidate, logprobs, deltas)
            native = candidate.finish_reason
            if native is not None and is_reason(native):
                self._finished = end_of(native, parts)
            return
