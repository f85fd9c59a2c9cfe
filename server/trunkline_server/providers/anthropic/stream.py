"""A streamed answer: the vendor's events in, neutral deltas out."""

from __future__ import annotations

from typing import Final

from trunkline_server.chat.answer import (
    Delta,
    TextDelta,
    ThinkingDelta,
    ThinkingSignatureDelta,
    ToolCallDelta,
    Usage,
)
from trunkline_server.providers.answer_stream import SseAnswerStream
from trunkline_server.providers.anthropic.classify import classify_under_ok
from trunkline_server.providers.anthropic.finish import WHOLE, finished, is_block, merged, usage_of
from trunkline_server.providers.anthropic.wire import (
    BlockWire,
    EventWire,
    PieceWire,
    UsageWire,
    decode_event,
    ignorable,
    input_text,
)
from trunkline_server.providers.base import AttemptError
from trunkline_server.providers.failures import filtered_error, protocol_error
from trunkline_server.providers.json_wire import DECODING_ERRORS, is_json
from trunkline_server.providers.sse import SseEvent
from trunkline_server.providers.tool_arguments import MAX_ARGUMENTS_CHARS, MAX_CALLS, NO_ARGUMENTS, made_id
from trunkline_server.routing.failures import Failure, FailureClass

MAX_BLOCKS: Final = 4_096
"""Content blocks of one answer; more is no answer of a model."""

_PASSED_OVER: Final = ""


class _Block:
    """One content block that has begun and not ended. It has no part before its first content, or if passed over."""

    __slots__ = ("begun", "chars", "kind", "part", "pieces")

    def __init__(self, kind: str, part: int) -> None:
        self.kind = kind
        self.part = part
        self.pieces: list[str] = []
        """Of a call's arguments or of a signature, which are told or judged whole."""
        self.begun = ""
        """Arguments that stood in the block's first event: they count if no others come."""
        self.chars = 0

    def __repr__(self) -> str:
        return f"<block {self.part} {self.kind or 'passed over'}>"


class AnthropicStreamDecoder(SseAnswerStream):
    """Decodes one streamed answer."""

    __slots__ = ("_answer_id", "_blocks", "_calls", "_chars", "_parts", "_started", "_unsure", "_usage")

    def __init__(self) -> None:
        super().__init__()
        self._blocks: dict[int, _Block] = {}
        self._started = 0
        self._parts = 0
        self._calls = 0
        self._chars = 0
        self._unsure: _Block | None = None
        """A call that ended without any arguments: whole if the answer goes on or ends whole."""
        self._answer_id = ""
        self._usage: UsageWire | None = None

    @property
    def usage(self) -> Usage | None:
        """What the provider counted so far: the prompt at the beginning, the answer at its end."""
        return usage_of(self._usage)

    def _bare_error(self, body: bytes) -> Failure | None:
        try:
            told = decode_event(body).type == "error"
        except DECODING_ERRORS:
            return None
        return classify_under_ok(body) if told else None

    def _not_whole(self) -> AttemptError:
        if not self._seen:
            return protocol_error("a stream without a single event")
        if self._done and not self._parts:
            # The provider itself says that this was all; otherwise it only stopped talking.
            return protocol_error("neither content nor a reason to stop")
        return AttemptError(Failure(FailureClass.TRUNCATED, "the stream ended without a reason to stop"))

    def _event(self, event: SseEvent, deltas: list[Delta]) -> None:
        data, name = event
        if self._done:
            return
        if name == "error":
            self._error(data)
            return
        try:
            wire = decode_event(data)
        except DECODING_ERRORS:
            unknown = ignorable(data)
            if unknown is None:
                self._garbage()
                return
            wire = unknown
        self._seen = True
        if wire.type == "content_block_delta":  # most events
            if wire.delta is not None and self._finished is None:
                self._piece(wire.index, wire.delta, deltas)
        else:
            self._other(wire, data, deltas)

    def _other(self, wire: EventWire, data: bytes, deltas: list[Delta]) -> None:
        """Take an event that adds nothing to a block; one that nobody knows is passed over."""
        kind = wire.type
        if kind == "content_block_start":
            self._begin(wire, deltas)
        elif kind == "content_block_stop":
            self._end(wire.index, deltas)
        elif kind == "message_delta":
            self._message_delta(wire, deltas)
        elif kind == "message_start":
            self._message_start(wire)
        elif kind == "message_stop":
            self._done = True
        elif kind == "error":
            self._error(data)

    def _garbage(self) -> None:
        """Raise for data that is no event; after the reason to stop the answer is whole in spite of it."""
        if self._finished is None:
            raise protocol_error("an event that is none of a message")

    def _error(self, data: bytes) -> None:
        if self._finished is None:
            raise AttemptError(classify_under_ok(data))

    def _message_start(self, wire: EventWire) -> None:
        message = wire.message
        if message is None:
            return
        if isinstance(message.id, str):
            self._answer_id = message.id
        if message.usage is not None:
            self._usage = merged(self._usage, message.usage)

    def _message_delta(self, wire: EventWire, deltas: list[Delta]) -> None:
        if wire.usage is not None:
            self._usage = merged(self._usage, wire.usage)
        delta = wire.delta
        if delta is None or delta.stop_reason is None or self._finished is not None:
            return
        native = delta.stop_reason
        if not self._parts and is_block(native):
            raise filtered_error(native)
        end = finished(native, delta.stop_details)
        if self._unsure is not None and end.reason in WHOLE:
            self._close_call(self._unsure, deltas)
        self._finished = end

    def _begin(self, wire: EventWire, deltas: list[Delta]) -> None:
        block = wire.content_block
        if block is None or self._finished is not None:
            return
        self._started += 1
        if self._started > MAX_BLOCKS:
            raise protocol_error("its content blocks are without bounds")
        if self._unsure is not None:
            # The provider went on, so nothing of that call is missing.
            self._close_call(self._unsure, deltas)
        self._blocks[wire.index] = begun = self._begun(block, deltas)
        if begun.kind == _PASSED_OVER:
            self._dropped.note(f"message.content[{wire.index}]")

    def _begun(self, block: BlockWire, deltas: list[Delta]) -> _Block:
        """Return the state of a block that begins, and tell what stands in its first event."""
        kind = block.type
        if kind == "text":
            begun = _Block("text", -1)
            if block.text:
                deltas.append(TextDelta(self._part(begun), block.text))
        elif kind == "thinking":
            begun = _Block("thinking", -1)
            if block.thinking:
                deltas.append(ThinkingDelta(self._part(begun), block.thinking))
            if block.signature:
                begun.pieces.append(block.signature)
        elif kind == "redacted_thinking":
            begun = _Block("redacted_thinking", -1)
            if block.data:
                deltas.append(ThinkingSignatureDelta(self._part(begun), block.data, redacted=True))
        elif kind == "tool_use":
            begun = self._begun_call(block, deltas)
        else:
            begun = _Block(_PASSED_OVER, -1)
        return begun

    def _begun_call(self, block: BlockWire, deltas: list[Delta]) -> _Block:
        if not block.name:
            raise protocol_error("a tool call has no name")
        if self._calls >= MAX_CALLS:
            raise protocol_error("its tool calls are without bounds")
        call_id = block.id or made_id(self._answer_id, self._calls)
        self._calls += 1
        begun = _Block("tool_use", -1)
        begun.begun = input_text(block.input)
        deltas.append(ToolCallDelta(self._part(begun), call_id, block.name))
        return begun

    def _piece(self, index: int, piece: PieceWire, deltas: list[Delta]) -> None:
        block = self._blocks.get(index)
        if block is None:
            raise protocol_error("a piece of a content block that has not begun")
        kind = piece.type
        if kind == "text_delta":
            if piece.text and block.kind == "text":
                deltas.append(TextDelta(self._part(block) if block.part < 0 else block.part, piece.text))
        elif kind == "thinking_delta":
            if piece.thinking and block.kind == "thinking":
                deltas.append(ThinkingDelta(self._part(block) if block.part < 0 else block.part, piece.thinking))
        elif kind == "input_json_delta":
            if piece.partial_json and block.kind == "tool_use":
                self._bound(block, piece.partial_json)
                deltas.append(ToolCallDelta(block.part, arguments_json_delta=piece.partial_json))
        elif kind == "signature_delta" and piece.signature and block.kind == "thinking":
            self._bound(block, piece.signature)
        elif kind == "citations_delta":
            self._dropped.note(f"message.content[{index}].citations")

    def _bound(self, block: _Block, text: str) -> None:
        self._chars += len(text)
        if self._chars > MAX_ARGUMENTS_CHARS:
            raise protocol_error("what it calls and signs is without bounds")
        block.pieces.append(text)

    def _end(self, index: int, deltas: list[Delta]) -> None:
        block = self._blocks.pop(index, None)
        if block is None or self._finished is not None:
            return
        if block.kind == "thinking" and block.pieces:
            part = self._part(block) if block.part < 0 else block.part
            deltas.append(ThinkingSignatureDelta(part, "".join(block.pieces)))
        elif block.kind == "tool_use":
            if block.pieces:
                self._close_call(block, deltas)
            else:
                self._unsure = block

    def _close_call(self, call: _Block, deltas: list[Delta]) -> None:
        """Tell that a call is done, if it is: half of an argument never counts as one."""
        self._unsure = None
        if not call.pieces:
            deltas.append(ToolCallDelta(call.part, arguments_json_delta=call.begun or NO_ARGUMENTS, done=True))
        elif is_json("".join(call.pieces)):
            deltas.append(ToolCallDelta(call.part, done=True))

    def _part(self, block: _Block) -> int:
        """Give a block its number, now that there is something of it: an empty one is no part, as in a whole answer."""
        block.part = part = self._parts
        self._parts = part + 1
        return part
