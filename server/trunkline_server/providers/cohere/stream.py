"""The answer as it comes: bytes of server-sent events in, neutral deltas out.

The parts of an answer are numbered in the order in which they appear: one for the plan before tool calls, one for each
block of text or thinking, one for each call, just as the whole answer has them. Nothing is read after `message-end`.
"""

from __future__ import annotations

from typing import Final

from trunkline_server.chat.answer import (
    Delta,
    TextDelta,
    ThinkingDelta,
    ThinkingSignatureDelta,
    Usage,
)
from trunkline_server.providers.answer_stream import SseAnswerStream
from trunkline_server.providers.base import AttemptError
from trunkline_server.providers.cohere.errors import classify_text, message_under_ok
from trunkline_server.providers.cohere.finish import WHOLE, finished, token_logprobs, usage_of
from trunkline_server.providers.cohere.messages import PLAN_SEAL
from trunkline_server.providers.cohere.toolcalls import ToolCallAssembly
from trunkline_server.providers.cohere.wire import (
    ContentItem,
    StreamDelta,
    StreamEvent,
    StreamMessage,
    ToolCallWire,
    UsageWire,
    decode_event,
)
from trunkline_server.providers.failures import protocol_error
from trunkline_server.providers.json_wire import DECODING_ERRORS
from trunkline_server.providers.part_numbers import PartNumbers
from trunkline_server.providers.sse import SseEvent
from trunkline_server.routing.failures import Failure, FailureClass

_DONE: Final = b"[DONE]"
_NO_KINDS: Final = frozenset({"message", "error"})
"""Names of events that say nothing of what an event is."""
_NO_MESSAGE: Final = StreamMessage()
_NO_DELTA: Final = StreamDelta()


class CohereStreamDecoder(SseAnswerStream):
    """Decodes one streamed answer."""

    __slots__ = ("_answer_id", "_calls", "_index", "_part", "_parts", "_plan_part", "_thinks", "_usage")

    def __init__(self) -> None:
        super().__init__()
        self._parts = PartNumbers()
        self._calls = ToolCallAssembly(self._parts)
        self._plan_part = -1
        self._part = -1
        """The part of the block that is open, with its index and its kind."""
        self._index: int | None = None
        self._thinks = False
        self._answer_id = ""
        self._usage: UsageWire | None = None

    @property
    def usage(self) -> Usage | None:
        """What the provider counted; it says so at the end."""
        return usage_of(self._usage)

    def _bare_error(self, body: bytes) -> Failure | None:
        message = message_under_ok(body)
        return classify_text(message) if message else None

    def _not_whole(self) -> AttemptError:
        if not self._seen:
            return protocol_error("a stream without a single event")
        if self._done and not self._parts.count:
            # The provider itself says that this was all; otherwise it only stopped talking.
            return protocol_error("neither content nor a finish reason")
        return AttemptError(Failure(FailureClass.TRUNCATED, "the stream ended without a finish reason"))

    def _event(self, event: SseEvent, deltas: list[Delta]) -> None:
        data, name = event
        if self._done:
            return
        if data == _DONE:
            self._done = self._seen = True
            return
        try:
            wire = decode_event(data)
        except DECODING_ERRORS:
            raise protocol_error("an event that is none of a chat stream") from None
        kind = wire.type or name
        if kind == "content-delta":
            self._seen = True
            self._content(wire, deltas)
        elif kind in _EVENTS:
            self._seen = True
            self._rare(kind, wire, deltas)
        elif isinstance(wire.message, str):
            raise AttemptError(classify_text(wire.message))
        elif kind in _NO_KINDS:
            raise protocol_error("an event that is none of a chat stream")

    def _rare(self, kind: str, wire: StreamEvent, deltas: list[Delta]) -> None:
        """Take an event that does not come for each token, or only for those of tool calls and plans."""
        message = (wire.delta or _NO_DELTA).message or _NO_MESSAGE
        if kind == "content-start":
            self._begin(wire, message.content, deltas)
        elif kind == "tool-call-delta":
            if isinstance(message.tool_calls, ToolCallWire):
                self._calls.add(wire.index, message.tool_calls, deltas)
        elif kind == "tool-plan-delta":
            self._plan(message.tool_plan, deltas)
        elif kind == "tool-call-start":
            self._seal_plan(deltas)
            call = message.tool_calls if isinstance(message.tool_calls, ToolCallWire) else ToolCallWire()
            self._calls.start(wire.index, call, self._answer_id, deltas)
        elif kind == "tool-call-end":
            self._calls.end(wire.index, deltas)
        elif kind == "message-start":
            self._answer_id = wire.id if isinstance(wire.id, str) else ""
        elif kind == "citation-start":
            self._dropped.note("message.citations")
        elif kind == "message-end":
            self._end(wire.delta or _NO_DELTA, deltas)

    def _begin(self, wire: StreamEvent, content: object, deltas: list[Delta]) -> None:
        if type(content) is ContentItem and content.text is None and content.thinking is None:
            self._dropped.note(f"message.content[{wire.index}]")
        self._content(wire, deltas)

    def _content(self, wire: StreamEvent, deltas: list[Delta]) -> None:
        delta = wire.delta
        message = None if delta is None else delta.message
        content = None if message is None else message.content
        if type(content) is not ContentItem:
            return
        thinks = bool(content.thinking)
        text = content.thinking if thinks else content.text
        if not text:
            return
        if self._part < 0 or wire.index != self._index or thinks is not self._thinks:
            self._open(wire.index, deltas, thinks=thinks)
        if thinks:
            deltas.append(ThinkingDelta(self._part, text))
        elif wire.logprobs is None:
            deltas.append(TextDelta(self._part, text))
        else:
            deltas.append(TextDelta(self._part, text, token_logprobs(wire.logprobs)))

    def _open(self, index: int | None, deltas: list[Delta], *, thinks: bool) -> None:
        self._seal_plan(deltas)
        self._part = self._parts()
        self._index = index
        self._thinks = thinks

    def _plan(self, text: str | None, deltas: list[Delta]) -> None:
        if text:
            if self._plan_part < 0:
                self._plan_part = self._parts()
            deltas.append(ThinkingDelta(self._plan_part, text))

    def _seal_plan(self, deltas: list[Delta]) -> None:
        """Mark the plan as one, now that something else begins."""
        if self._plan_part >= 0:
            deltas.append(ThinkingSignatureDelta(self._plan_part, PLAN_SEAL))
            self._plan_part = -1

    def _end(self, delta: StreamDelta, deltas: list[Delta]) -> None:
        self._usage = delta.usage
        native = delta.finish_reason or ("ERROR" if delta.error else "")
        if not native:
            return
        end = finished(native, delta.error, called=bool(self._calls), empty=not self._parts.count)
        self._seal_plan(deltas)
        self._calls.finish(deltas, whole=end.reason in WHOLE)
        self._finished = end
        self._done = True


_EVENTS: Final = frozenset(
    {
        "message-start", "content-start", "content-end", "tool-plan-delta", "tool-call-start", "tool-call-delta",
        "tool-call-end", "citation-start", "citation-end", "message-end", "debug",
    }
)  # fmt: skip
"""What a stream is made of beside the pieces of its text; any other type is a later addition, and is passed over."""
