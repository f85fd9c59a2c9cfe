"""A whole answer: the JSON of a 2xx response as a neutral `Answer`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from trunkline_server.chat.answer import Answer, Finished, FinishReason, TokenLogprob, Warning_
from trunkline_server.chat.message import Message, Part, RefusalPart, Role, TextPart, ThinkingPart, ToolCallPart
from trunkline_server.providers.base import AttemptError
from trunkline_server.providers.dropped import dropped
from trunkline_server.providers.failure_table import FailureTable
from trunkline_server.providers.failures import filtered_error, protocol_error
from trunkline_server.providers.json_wire import DECODING_ERRORS, is_json
from trunkline_server.providers.openai.classify import classify_under_ok
from trunkline_server.providers.openai.wire import arguments_text
from trunkline_server.providers.openai_responses.finish import (
    COMPLETED,
    INCOMPLETE,
    finished,
    reasoning_text,
    token_logprobs,
    usage_of,
)
from trunkline_server.providers.openai_responses.seal import sealed
from trunkline_server.providers.openai_responses.wire import (
    FUNCTION_CALL,
    REASONING,
    ItemWire,
    ResponseWire,
    decode_item,
    decode_response,
    says_something,
)
from trunkline_server.providers.tool_arguments import NO_ARGUMENTS, made_id
from trunkline_server.routing.failures import Failure, FailureClass

_NO_RESPONSE: Final = "no JSON of a response"


def decode_answer(headers: Mapping[str, str], body: bytes, table: FailureTable) -> Answer:
    """Read a whole 2xx answer; `table` classifies an error in it.

    Raise AttemptError: PROTOCOL for what is no answer (not JSON, still running, neither content nor a status),
    TRUNCATED for content without a status, CONTENT_FILTERED for a filter's block before any content, and the class of
    its row for a response that failed.
    """
    try:
        wire = decode_response(body)
        items = [item for raw in wire.output or () if (item := decode_item(raw)) is not None]
    except DECODING_ERRORS:
        raise protocol_error(_NO_RESPONSE) from None  # the cause may hold the answer's words
    if says_something(wire.error):
        raise AttemptError(classify_under_ok(bytes(wire.error), headers, table))
    return _answer(wire, items)


def _answer(wire: ResponseWire, items: list[ItemWire]) -> Answer:
    warnings: list[Warning_] = []
    others = len(wire.output or ()) - len(items)
    if others:
        warnings.append(dropped("output", f"{others} items of tools that it runs itself"))
    reading = _Reading(wire.id if isinstance(wire.id, str) else "", warnings)
    for item in items:
        reading.item(item)
    end = _finished(wire, reading)
    reading.check_arguments(whole=end.reason is FinishReason.TOOL_CALLS)
    return Answer(
        message=Message(Role.ASSISTANT, tuple(reading.parts)),
        finished=end,
        usage=usage_of(wire.usage),
        logprobs=tuple(reading.logprobs),
        warnings=tuple(warnings),
    )


def _finished(wire: ResponseWire, reading: _Reading) -> Finished:
    status = wire.status
    if status not in {COMPLETED, INCOMPLETE}:
        if status:
            raise protocol_error("a response that is neither complete nor ended")
        if not reading.parts:
            raise protocol_error("neither content nor a status")
        raise AttemptError(Failure(FailureClass.TRUNCATED, "the answer has no status"))
    kinds = {type(part) for part in reading.parts}
    only_refused = RefusalPart in kinds and TextPart not in kinds
    end = finished(wire, str(status), called=ToolCallPart in kinds, only_refused=only_refused)
    if end.reason is FinishReason.CONTENT_FILTER and not reading.parts:
        raise filtered_error(end.native_reason)
    return end


class _Reading:
    """The parts of an answer, read item by item."""

    def __init__(self, answer_id: str, warnings: list[Warning_]) -> None:
        self.parts: list[Part] = []
        self.logprobs: list[TokenLogprob] = []
        self._answer_id = answer_id
        self._warnings = warnings
        self._calls = 0

    def item(self, item: ItemWire) -> None:
        """Add the parts of one item; raise AttemptError (PROTOCOL) if it makes no sense."""
        if item.type == REASONING:
            self._reasoning(item)
        elif item.type == FUNCTION_CALL:
            if not item.name:
                raise protocol_error("a tool call has no name")
            call_id = item.call_id or made_id(self._answer_id, self._calls)
            arguments = arguments_text(item.arguments)
            if not arguments and item.status == COMPLETED:
                arguments = NO_ARGUMENTS
            self.parts.append(ToolCallPart(call_id, item.name, arguments))
            self._calls += 1
        else:
            self._message(item)

    def _reasoning(self, item: ItemWire) -> None:
        text = reasoning_text(item.content, item.summary)
        if item.encrypted_content:
            item_id = item.id if isinstance(item.id, str) else ""
            seal = sealed(item_id, item.encrypted_content)
            self.parts.append(ThinkingPart(text, seal, redacted=not text))
        elif text:
            self.parts.append(ThinkingPart(text))

    def _message(self, item: ItemWire) -> None:
        for number, content in enumerate(item.content or ()):
            if content.text:
                self.parts.append(TextPart(content.text))
            elif content.refusal:
                self.parts.append(RefusalPart(content.refusal))
            elif content.text is None and content.refusal is None:
                self._warnings.append(dropped(f"message.content[{number}]", "content"))
            if content.annotations:
                self._warnings.append(dropped("message.annotations", "annotations"))
            try:
                self.logprobs.extend(token_logprobs(content.logprobs))
            except ValueError as error:
                raise protocol_error("a token's bytes are no bytes") from error

    def check_arguments(self, *, whole: bool) -> None:
        """Make missing arguments an empty object if nothing else is missing; tell of those that are no JSON."""
        for number, part in enumerate(self.parts):
            if not isinstance(part, ToolCallPart) or is_json(part.arguments_json):
                continue
            if whole and not part.arguments_json:
                self.parts[number] = ToolCallPart(part.id, part.name, NO_ARGUMENTS)
                continue
            field = f"message.parts[{number}].tool_call.arguments_json"
            words = "the model's arguments for this call are no JSON"
            self._warnings.append(Warning_("TOOL_ARGUMENTS_NOT_JSON", field, words))
