"""The answer as it comes: bytes of server-sent events in, neutral deltas out.

The parts of an answer are numbered in the order in which they appear: one for the text, one for the reasoning, one
for a refusal, and one for each tool call, just as the whole answer has them. What a chunk brings after the finish
reason is ignored, errors included, but for the usage: the answer is whole, and the protocol promises nothing else.
"""

from __future__ import annotations

from typing import Final

from trunkline_server.chat.answer import (
    Delta,
    FinishReason,
    RefusalDelta,
    TextDelta,
    ThinkingDelta,
    TokenLogprob,
    Usage,
)
from trunkline_server.providers.answer_stream import SseAnswerStream
from trunkline_server.providers.base import AttemptError
from trunkline_server.providers.failure_table import FailureTable
from trunkline_server.providers.failures import filtered_error, protocol_error
from trunkline_server.providers.json_wire import DECODING_ERRORS
from trunkline_server.providers.openai.classify import classify_under_ok
from trunkline_server.providers.openai.errors import TABLE
from trunkline_server.providers.openai.finish import WHOLE, finished, is_reason, token_logprobs, usage_of
from trunkline_server.providers.openai.toolcalls import ToolCallAssembly
from trunkline_server.providers.openai.wire import (
    Chunk,
    ChunkChoice,
    ChunkDelta,
    ContentItem,
    LogprobsWire,
    ToolCallWire,
    UsageWire,
    decode_chunk,
    holds_error,
    shown_reasoning,
    thinking_text,
)
from trunkline_server.providers.part_numbers import PartNumbers
from trunkline_server.providers.sse import SseEvent
from trunkline_server.routing.failures import Failure, FailureClass

_DONE: Final = b"[DONE]"
_NO_ERROR: Final = Chunk().error
"""The one object that stands for a missing `error`: comparing it spares each chunk a look inside."""
_NO_LOGPROBS: Final[tuple[TokenLogprob, ...]] = ()


class OpenAIStreamDecoder(SseAnswerStream):
    """Decodes one streamed answer."""

    __slots__ = ("_answer_id", "_calls", "_parts", "_refusal_part", "_table", "_text_part", "_thinking_part", "_usage")

    def __init__(self, table: FailureTable = TABLE) -> None:
        """Start before the first byte; `table` classifies an error inside the stream."""
        super().__init__()
        self._table = table
        self._parts = PartNumbers()
        self._calls = ToolCallAssembly(self._parts)
        self._text_part = -1
        self._thinking_part = -1
        self._refusal_part = -1
        self._answer_id = ""
        self._usage: UsageWire | None = None

    @property
    def usage(self) -> Usage | None:
        """What the provider counted so far; some count in each chunk, and the last count holds."""
        return usage_of(self._usage)

    def _bare_error(self, body: bytes) -> Failure | None:
        try:
            told = holds_error(decode_chunk(body).error)
        except DECODING_ERRORS:
            return None
        return classify_under_ok(body, table=self._table) if told else None

    def _not_whole(self) -> AttemptError:
        if not self._seen:
            return protocol_error("a stream without a single event")
        if self._done and not self._parts.count:
            # The provider itself says that this was all; otherwise it only stopped talking.
            return protocol_error("neither content nor a finish reason")
        return AttemptError(Failure(FailureClass.TRUNCATED, "the stream ended without a finish reason"))

    def _event(self, event: SseEvent, deltas: list[Delta]) -> None:
        data, name = event
        if data == _DONE:
            self._done = self._seen = True
        if self._done:
            return
        try:
            chunk = decode_chunk(data)
        except DECODING_ERRORS:
            self._not_a_chunk(event)
            return
        if name == "error" or (chunk.error is not _NO_ERROR and holds_error(chunk.error)):
            self._not_a_chunk(event, is_error=True)
            return
        self._seen = True
        if chunk.usage is not None:
            self._usage = chunk.usage
        elif chunk.x_groq is not None and chunk.x_groq.usage is not None:
            self._usage = chunk.x_groq.usage
        if chunk.choices and self._finished is None:
            self._choices(chunk, chunk.choices, deltas)

    def _not_a_chunk(self, event: SseEvent, *, is_error: bool = False) -> None:
        """Raise the failure that `event` tells or is; after the finish reason the answer is whole in spite of it."""
        if self._finished is not None:
            return
        if is_error or event.event == "error":
            raise AttemptError(classify_under_ok(event.data, table=self._table))
        raise protocol_error("an event that is no chunk of a chat completion")

    def _choices(self, chunk: Chunk, choices: list[ChunkChoice], deltas: list[Delta]) -> None:
        """Take the first choice; we ask for one only, and Azure's first chunk has none."""
        for choice in choices:
            if choice.index:
                continue
            if choice.delta is not None:
                if not self._answer_id and isinstance(chunk.id, str):
                    self._answer_id = chunk.id
                self._delta(choice, choice.delta, deltas)
            native = choice.finish_reason
            if native is not None and is_reason(native):
                self._finish(native, deltas)
            return

    def _delta(self, choice: ChunkChoice, delta: ChunkDelta, deltas: list[Delta]) -> None:
        logprobs = refusal_logprobs = _NO_LOGPROBS
        if choice.logprobs is not None:
            logprobs, refusal_logprobs = _logprobs(choice.logprobs)
        if delta.reasoning_content is not None or delta.reasoning is not None:
            self._thinking(shown_reasoning(delta.reasoning_content, delta.reasoning), deltas)
        content = delta.content
        if type(content) is list:
            self._items(content, deltas)
            content = ""
        if content or logprobs:
            # Half a character has a token with bytes, and no text yet.
            if self._text_part < 0:
                self._text_part = self._parts()
            deltas.append(TextDelta(self._text_part, content or "", logprobs))  # type: ignore[arg-type]  # no list now
        if delta.refusal or refusal_logprobs:
            self._refusal(delta.refusal or "", refusal_logprobs, deltas)
        if delta.tool_calls:
            self._tool_calls(delta.tool_calls, deltas)
        if delta.function_call is not None or delta.audio is not None or delta.images or delta.annotations:
            self._seldom(delta, deltas)

    def _seldom(self, delta: ChunkDelta, deltas: list[Delta]) -> None:
        if delta.function_call is not None:
            # The old form of the protocol: one call, without an id.
            self._tool_calls([ToolCallWire(index=0, function=delta.function_call)], deltas)
        if delta.audio is not None:
            self._dropped.note("message.audio")
        if delta.images:
            self._dropped.note("message.images")
        if delta.annotations:
            self._dropped.note("message.annotations")

    def _items(self, items: list[ContentItem], deltas: list[Delta]) -> None:
        for item in items:
            if item.text:
                if self._text_part < 0:
                    self._text_part = self._parts()
                deltas.append(TextDelta(self._text_part, item.text))
            self._thinking(thinking_text(item.thinking), deltas)
            if item.refusal:
                self._refusal(item.refusal, (), deltas)
            if item.text is None and item.refusal is None and item.thinking is None:
                self._dropped.note("message.content")

    def _thinking(self, text: str, deltas: list[Delta]) -> None:
        if not text:
            return
        if self._thinking_part < 0:
            self._thinking_part = self._parts()
        deltas.append(ThinkingDelta(self._thinking_part, text))

    def _refusal(self, text: str, logprobs: tuple[TokenLogprob, ...], deltas: list[Delta]) -> None:
        if self._refusal_part < 0:
            self._refusal_part = self._parts()
        deltas.append(RefusalDelta(self._refusal_part, text, logprobs))

    def _tool_calls(self, pieces: list[ToolCallWire], deltas: list[Delta]) -> None:
        for piece in pieces:
            self._calls.add(piece, self._answer_id, deltas)

    def _finish(self, native: str, deltas: list[Delta]) -> None:
        only_refused = self._refusal_part >= 0 and self._text_part < 0
        end = finished(native, called=bool(self._calls), only_refused=only_refused)
        if end.reason is FinishReason.CONTENT_FILTER and not self._parts.count:
            raise filtered_error(native)
        self._calls.finish(deltas, whole=end.reason in WHOLE)
        self._finished = end


def _logprobs(wire: LogprobsWire) -> tuple[tuple[TokenLogprob, ...], tuple[TokenLogprob, ...]]:
    """Return the log-probabilities of the text and of the refusal."""
    try:
        return token_logprobs(wire.content), token_logprobs(wire.refusal)
    except ValueError as error:
        raise protocol_error("a token's bytes are no bytes") from error
