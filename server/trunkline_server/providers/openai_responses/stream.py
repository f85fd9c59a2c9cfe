"""The answer as it comes: bytes of server-sent events in, neutral deltas out.

The parts of an answer are numbered in the order in which they appear: each content of a message, each item of
reasoning and each function call is one, just as the whole answer has them. An event of a type that is not read here is
ignored, whatever is in it; so is all that comes after the end.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Final

from trunkline_server.chat.answer import (
    Delta,
    FinishReason,
    RefusalDelta,
    TextDelta,
    TokenLogprob,
    Usage,
)
from trunkline_server.providers.answer_stream import SseAnswerStream
from trunkline_server.providers.base import AttemptError
from trunkline_server.providers.failure_table import FailureTable
from trunkline_server.providers.failures import filtered_error, protocol_error
from trunkline_server.providers.json_wire import DECODING_ERRORS
from trunkline_server.providers.openai.classify import classify_under_ok
from trunkline_server.providers.openai_responses.calls import Calls
from trunkline_server.providers.openai_responses.errors import TABLE
from trunkline_server.providers.openai_responses.finish import (
    COMPLETED,
    INCOMPLETE,
    finished,
    token_logprobs,
    usage_of,
)
from trunkline_server.providers.openai_responses.thoughts import Thoughts
from trunkline_server.providers.openai_responses.wire import (
    FUNCTION_CALL,
    REASONING,
    Event,
    ItemWire,
    ResponseWire,
    UsageWire,
    decode_event,
    decode_item,
    decode_response,
    decode_type,
    says_something,
)
from trunkline_server.providers.part_numbers import PartNumbers
from trunkline_server.providers.sse import SseEvent
from trunkline_server.routing.failures import Failure, FailureClass

_DONE: Final = b"[DONE]"
_NO_ERROR: Final = Event().error
"""The one object that stands for a missing `error`: comparing it spares each event a look inside."""
_NOT_AN_EVENT: Final = "an event that is none of a response"


class ResponsesStreamDecoder(SseAnswerStream):
    """Decodes one streamed response."""

    __slots__ = (
        "_calls",
        "_contents",
        "_item",
        "_parts",
        "_place",
        "_refused",
        "_said",
        "_table",
        "_text_part",
        "_thoughts",
        "_usage",
    )

    def __init__(self, table: FailureTable = TABLE) -> None:
        """Start before the first byte; `table` classifies an error inside the stream."""
        super().__init__()
        self._table = table
        self._parts = PartNumbers()
        self._calls = Calls(self._parts)
        self._thoughts = Thoughts(self._parts)
        self._contents: dict[tuple[int, int], int] = {}
        """Item and content to the part that it is."""
        self._item = self._place = self._text_part = -1
        """The text that came last, which most likely goes on: its item, its content, its part."""
        self._said = False
        self._refused = False
        self._usage: UsageWire | None = None

    @property
    def usage(self) -> Usage | None:
        """What the provider counted; it says so at the end."""
        return usage_of(self._usage)

    def _bare_error(self, body: bytes) -> Failure | None:
        try:
            error = decode_response(body).error
        except DECODING_ERRORS:
            return None
        return classify_under_ok(bytes(error), table=self._table) if says_something(error) else None

    def _not_whole(self) -> AttemptError:
        if not self._seen:
            return protocol_error("a stream without a single event of a response")
        if self._done and not self._parts.count:
            # The provider itself says that this was all; otherwise it only stopped talking.
            return protocol_error("neither content nor an end of the response")
        return AttemptError(Failure(FailureClass.TRUNCATED, "the stream ended before the response did"))

    def _event(self, sse: SseEvent, deltas: list[Delta]) -> None:
        if self._done:
            return
        data, name = sse
        try:
            event = decode_event(data)
        except DECODING_ERRORS:
            self._not_an_event(sse)
            return
        kind = event.type
        if kind == "response.output_text.delta":  # nearly all there is
            self._seen = True
            self._text(event, deltas)
            return
        if kind == "error" or name == "error" or (event.error is not _NO_ERROR and says_something(event.error)):
            raise AttemptError(classify_under_ok(data, table=self._table))
        handler = self._HANDLERS.get(kind)
        if kind:
            self._seen = True
        if handler is not None:
            try:
                handler(self, event, deltas)
            except DECODING_ERRORS:
                raise protocol_error(_NOT_AN_EVENT) from None  # the cause may hold the answer's words
        elif kind == "response.output_text.annotation.added":
            self._dropped.note("message.annotations", "annotations")

    def _not_an_event(self, sse: SseEvent) -> None:
        """Take the sign that some servers put at the end, let what is not read pass, and raise what `sse` else is."""
        if sse.data == _DONE:
            self._done = self._seen = True
            return
        if sse.event == "error":
            raise AttemptError(classify_under_ok(sse.data, table=self._table))
        try:
            kind = decode_type(sse.data).type
        except DECODING_ERRORS:
            raise protocol_error(_NOT_AN_EVENT) from None
        if not kind or kind in self._HANDLERS or kind == "response.output_text.delta":
            raise protocol_error(_NOT_AN_EVENT)
        self._seen = True

    def _text(self, event: Event, deltas: list[Delta]) -> None:
        logprobs = _logprobs(event) if event.logprobs else ()
        text = event.delta
        if type(text) is not str:
            text = _string(text)
        if not text and not logprobs:
            return
        if event.output_index != self._item or event.content_index != self._place:
            self._item, self._place = event.output_index, event.content_index
            self._text_part = self._content_part(event.output_index, event.content_index)
            self._said = True
        deltas.append(TextDelta(self._text_part, text, logprobs))

    def _refusal(self, event: Event, deltas: list[Delta]) -> None:
        if event.delta:
            self._refused = True
            part = self._content_part(event.output_index, event.content_index)
            deltas.append(RefusalDelta(part, _string(event.delta)))

    def _summary(self, event: Event, deltas: list[Delta]) -> None:
        self._thoughts.add(event.output_index, ("summary", event.summary_index), _string(event.delta), deltas)

    def _thinking(self, event: Event, deltas: list[Delta]) -> None:
        self._thoughts.add(event.output_index, ("words", event.content_index), _string(event.delta), deltas)

    def _arguments(self, event: Event, deltas: list[Delta]) -> None:
        self._calls.add(event.output_index, _string(event.delta), deltas)

    def _arguments_done(self, event: Event, deltas: list[Delta]) -> None:
        if isinstance(event.arguments, str):
            self._calls.complete(event.output_index, event.arguments, deltas)

    def _created(self, event: Event, deltas: list[Delta]) -> None:  # noqa: ARG002  handlers are called alike
        response = decode_response(event.response)
        if isinstance(response.id, str):
            self._calls.answer_id = response.id

    def _item_added(self, event: Event, deltas: list[Delta]) -> None:
        item = decode_item(event.item)
        if item is not None and item.type == FUNCTION_CALL:
            self._calls.show(event.output_index, item, deltas)

    def _item_done(self, event: Event, deltas: list[Delta]) -> None:
        item = decode_item(event.item)
        if item is None:
            self._dropped.note("output", "items of tools that it runs itself")
        else:
            self._whole_item(event.output_index, item, deltas)

    def _whole_item(self, index: int, item: ItemWire, deltas: list[Delta]) -> None:
        """Take an item as it is in the end: what was not told piece by piece is told now."""
        if item.type == FUNCTION_CALL:
            self._calls.end(index, item, deltas)
        elif item.type == REASONING:
            self._thoughts.end(index, item, deltas)
        else:
            for place, content in enumerate(item.content or ()):
                if content.annotations:
                    self._dropped.note("message.annotations", "annotations")
                if (index, place) in self._contents:
                    continue
                told = Event("", content.text or content.refusal, index, place, logprobs=content.logprobs)
                if content.text:
                    self._text(told, deltas)
                elif content.refusal:
                    self._refusal(told, deltas)

    def _failed(self, event: Event, deltas: list[Delta]) -> None:  # noqa: ARG002  handlers are called alike
        response = decode_response(event.response)
        self._usage = response.usage
        error = bytes(response.error) if says_something(response.error) else b"{}"
        raise AttemptError(classify_under_ok(error, table=self._table))

    def _completed(self, event: Event, deltas: list[Delta]) -> None:
        self._end(decode_response(event.response), COMPLETED, deltas)

    def _incomplete(self, event: Event, deltas: list[Delta]) -> None:
        self._end(decode_response(event.response), INCOMPLETE, deltas)

    def _end(self, response: ResponseWire, status: str, deltas: list[Delta]) -> None:
        self._usage = response.usage
        if not self._parts.count:
            # Some servers tell all of it at the end.
            for index, raw in enumerate(response.output or ()):
                item = decode_item(raw)
                if item is not None:
                    self._whole_item(index, item, deltas)
        only_refused = self._refused and not self._said
        end = finished(response, status, called=bool(self._calls), only_refused=only_refused)
        if end.reason is FinishReason.CONTENT_FILTER and not self._parts.count:
            raise filtered_error(end.native_reason)
        self._calls.finish(deltas, whole=status == COMPLETED)
        self._finished = end
        self._done = True

    def _content_part(self, index: int, place: int) -> int:
        part = self._contents.get((index, place))
        if part is None:
            part = self._contents[index, place] = self._parts()
        return part

    _HANDLERS: ClassVar[dict[str, Callable[[ResponsesStreamDecoder, Event, list[Delta]], None]]] = {
        "response.created": _created,
        "response.output_item.added": _item_added,
        "response.output_item.done": _item_done,
        "response.refusal.delta": _refusal,
        "response.reasoning_summary_text.delta": _summary,
        "response.reasoning_text.delta": _thinking,
        "response.function_call_arguments.delta": _arguments,
        "response.function_call_arguments.done": _arguments_done,
        "response.completed": _completed,
        "response.incomplete": _incomplete,
        "response.failed": _failed,
        "response.cancelled": _failed,
    }
    """The types of events that are read, besides text and errors."""


def _string(delta: Any) -> str:
    """Return a delta that must be text; raise AttemptError (PROTOCOL) if it is none."""
    if delta is None:
        return ""
    if not isinstance(delta, str):
        raise protocol_error(_NOT_AN_EVENT)
    return delta


def _logprobs(event: Event) -> tuple[TokenLogprob, ...]:
    try:
        return token_logprobs(event.logprobs)
    except ValueError as error:
        raise protocol_error("a token's bytes are no bytes") from error
