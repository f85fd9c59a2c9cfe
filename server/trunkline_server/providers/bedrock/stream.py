"""The answer as it comes: bytes of an AWS event stream in, neutral deltas out.

The answer is a list of blocks, told apart by an index; each becomes one part, numbered in the order in which their
content appears, just as the whole answer has them. The terminal event is `messageStop`. What comes after it is ignored,
errors included, but for the usage, which comes last: the answer is whole, and the protocol promises nothing else.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Callable
from typing import Final

from trunkline_server.chat.answer import (
    Delta,
    FinishReason,
    TextDelta,
    ThinkingDelta,
    ThinkingSignatureDelta,
    ToolCallDelta,
    Usage,
)
from trunkline_server.providers.answer_stream import AnswerStream
from trunkline_server.providers.base import AttemptError
from trunkline_server.providers.bedrock.errors import classify_message
from trunkline_server.providers.bedrock.finish import WHOLE, finished, usage_of
from trunkline_server.providers.bedrock.wire import (
    ReasoningPiece,
    UsageWire,
    decode_delta,
    decode_message_stop,
    decode_metadata,
    decode_start,
    decode_stop,
)
from trunkline_server.providers.eventstream import EventStreamDecoder, EventStreamError, EventStreamMessage
from trunkline_server.providers.failures import filtered_error, protocol_error
from trunkline_server.providers.json_wire import DECODING_ERRORS, is_json
from trunkline_server.providers.tool_arguments import MAX_ARGUMENTS_CHARS, MAX_CALLS, NO_ARGUMENTS
from trunkline_server.routing.failures import Failure, FailureClass

_NOT_OURS: Final = -1
"""Stands for the part of a block that is none of the answer: a tool that the service runs itself."""


class _Call:
    """A tool call as far as it has come."""

    __slots__ = ("part", "pieces")

    def __init__(self, part: int) -> None:
        self.part = part
        self.pieces: list[str] = []


class _Seal:
    """The seal of a reasoning block as far as it has come; of withheld words it is all there is."""

    __slots__ = ("pieces", "redacted")

    def __init__(self, redacted: bool) -> None:  # noqa: FBT001  the one thing that it is made of
        self.redacted = redacted
        self.pieces: list[str] = []

    def whole(self) -> str:
        """Return all of it; pieces of what is withheld are base64 each."""
        if not self.redacted or len(self.pieces) == 1:
            return "".join(self.pieces)
        return b64encode(b"".join(map(b64decode, self.pieces))).decode()


class BedrockStreamDecoder(AnswerStream):
    """Decodes one streamed answer."""

    __slots__ = (
        "_calls",
        "_calls_chars",
        "_calls_seen",
        "_counted",
        "_frames",
        "_kept_chars",
        "_part_of",
        "_parts",
        "_seals",
        "_usage",
    )

    def __init__(self) -> None:
        super().__init__()
        self._frames = EventStreamDecoder()
        self._part_of: dict[int, int] = {}
        self._parts = 0
        self._calls: dict[int, _Call] = {}
        """Those that are open, by their block's index."""
        self._calls_seen = 0
        self._calls_chars = 0
        self._seals: dict[int, _Seal] = {}
        """Of reasoning blocks that are open, by their index."""
        self._kept_chars = 0
        self._counted = False
        self._usage: UsageWire | None = None

    @property
    def usage(self) -> Usage | None:
        """What the service counted, once it said so: at the very end."""
        return usage_of(self._usage)

    def _read(self, chunk: bytes, deltas: list[Delta]) -> None:
        try:
            for message in self._frames.feed(chunk):
                self._message(message, deltas)
            if self._frames.error is not None:
                self._framing_broken(self._frames.error)
        except EventStreamError as error:
            self._framing_broken(error)

    def _not_whole(self) -> AttemptError:
        if not self._seen:
            return protocol_error("a stream without a single event")
        if self._counted and not self._parts:
            # The usage comes last: the service itself says that this was all.
            return protocol_error("neither content nor a stop reason")
        return AttemptError(Failure(FailureClass.TRUNCATED, "the stream ended without a stop reason"))

    def _message(self, message: EventStreamMessage, deltas: list[Delta]) -> None:
        headers, payload = message
        if headers.get(":message-type") != "event":
            if self._finished is None:
                raise AttemptError(classify_message(message))
            return
        self._seen = True
        kind = headers.get(":event-type")
        try:
            if kind == "contentBlockDelta":
                if self._finished is None:
                    self._delta(payload, deltas)
            elif isinstance(kind, str) and (read := _READERS.get(kind)) is not None:
                read(self, payload, deltas)
        except DECODING_ERRORS:
            if self._finished is None:
                raise protocol_error("an event that is none of a Converse stream") from None

    def _delta(self, payload: bytes, deltas: list[Delta]) -> None:
        event = decode_delta(payload)
        delta = event.delta
        if delta.text is not None:
            if delta.text:
                deltas.append(TextDelta(self._part(event.content_block_index), delta.text))
        elif delta.tool_use is not None:
            self._arguments(event.content_block_index, delta.tool_use.input, deltas)
        elif delta.reasoning_content is not None:
            self._reasoning(event.content_block_index, delta.reasoning_content, deltas)
        elif self._part_of.get(event.content_block_index) != _NOT_OURS:
            self._dropped.note(f"message.content[{event.content_block_index}].citations")

    def _reasoning(self, index: int, piece: ReasoningPiece, deltas: list[Delta]) -> None:
        if piece.text:
            deltas.append(ThinkingDelta(self._part(index), piece.text))
        if piece.signature:
            self._seal(index, piece.signature, redacted=False)
        if piece.redacted_content:
            self._seal(index, piece.redacted_content, redacted=True)

    def _seal(self, index: int, text: str, *, redacted: bool) -> None:
        """Keep a piece of a seal until its block ends: seals are told whole."""
        self._kept_chars += len(text)
        if self._kept_chars > MAX_ARGUMENTS_CHARS:
            raise protocol_error("its seals are without bounds")
        self._seals.setdefault(index, _Seal(redacted)).pieces.append(text)

    def _start(self, payload: bytes, deltas: list[Delta]) -> None:
        event = decode_start(payload)
        tool = event.start.tool_use
        if self._finished is not None:
            return
        if tool is None and event.start.tool_result is None and event.start.image is None:
            return  # some models announce texts too
        if tool is None or tool.type is not None:
            self._part_of[event.content_block_index] = _NOT_OURS
            self._dropped.note(f"message.content[{event.content_block_index}]")
            return
        if not tool.name or not tool.tool_use_id:
            raise protocol_error("a tool call has no name or no id")
        if event.content_block_index in self._part_of:
            raise protocol_error("two of its blocks have one index")
        self._calls_seen += 1
        if self._calls_seen > MAX_CALLS:
            raise protocol_error("its tool calls are without bounds")
        part = self._part(event.content_block_index)
        self._calls[event.content_block_index] = _Call(part)
        deltas.append(ToolCallDelta(part, tool.tool_use_id, tool.name))

    def _arguments(self, index: int, text: str, deltas: list[Delta]) -> None:
        call = self._calls.get(index)
        if call is None:
            if self._part_of.get(index) == _NOT_OURS:
                return
            raise protocol_error("arguments of a tool call that is not open")
        if not text:
            return
        self._calls_chars += len(text)
        if self._calls_chars > MAX_ARGUMENTS_CHARS:
            raise protocol_error("the arguments of its tool calls are without bounds")
        call.pieces.append(text)
        deltas.append(ToolCallDelta(call.part, arguments_json_delta=text))

    def _stop(self, payload: bytes, deltas: list[Delta]) -> None:
        index = decode_stop(payload).content_block_index
        if self._finished is not None:
            return
        if index in self._seals:
            self._tell_seal(index, deltas)
        call = self._calls.get(index)
        # A call without any arguments is told by the stop reason: whole, or cut before the first of them.
        if call is not None and call.pieces:
            del self._calls[index]
            _close(call, deltas)

    def _tell_seal(self, index: int, deltas: list[Delta]) -> None:
        seal = self._seals.pop(index)
        deltas.append(ThinkingSignatureDelta(self._part(index), seal.whole(), seal.redacted))

    def _message_stop(self, payload: bytes, deltas: list[Delta]) -> None:
        native = decode_message_stop(payload).stop_reason
        if self._finished is not None:
            return
        for index in tuple(self._seals):
            self._tell_seal(index, deltas)
        end = finished(native, called=self._calls_seen > 0)
        if end.reason is FinishReason.CONTENT_FILTER and not self._parts:
            raise filtered_error(native)
        for call in self._calls.values():
            if call.pieces:
                _close(call, deltas)
            elif end.reason in WHOLE:
                deltas.append(ToolCallDelta(call.part, arguments_json_delta=NO_ARGUMENTS, done=True))
        self._calls.clear()
        self._finished = end

    def _metadata(self, payload: bytes, deltas: list[Delta]) -> None:  # noqa: ARG002  the readers have one form
        self._usage = decode_metadata(payload).usage
        self._counted = True

    def _part(self, index: int) -> int:
        """Return the part of a block; a new one for a block that had no content yet."""
        part = self._part_of.get(index)
        if part is None or part == _NOT_OURS:
            part = self._part_of[index] = self._parts
            self._parts += 1
        return part


def _close(call: _Call, deltas: list[Delta]) -> None:
    """Tell that `call` is done, if it is: half of an argument never counts as one."""
    if is_json("".join(call.pieces)):
        deltas.append(ToolCallDelta(call.part, done=True))


_READERS: Final[dict[str, Callable[[BedrockStreamDecoder, bytes, list[Delta]], None]]] = {
    "contentBlockStart": BedrockStreamDecoder._start,  # noqa: SLF001  the table stands behind the class it belongs to
    "contentBlockStop": BedrockStreamDecoder._stop,  # noqa: SLF001
    "messageStop": BedrockStreamDecoder._message_stop,  # noqa: SLF001
    "metadata": BedrockStreamDecoder._metadata,  # noqa: SLF001
}
"""Events that are read, but for the most frequent one; `messageStart` and what is new are skipped."""
