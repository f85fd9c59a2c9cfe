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
from trunkline_server.providers.openai.errors import TABLE
from trunkline_server.providers.openai.finish import WHOLE, finished, is_reason, token_logprobs, usage_of
from trunkline_server.providers.openai.wire import (
    AnswerWire,
    ChoiceWire,
    ContentItem,
    LogprobsWire,
    MessageWire,
    ToolCallWire,
    arguments_text,
    decode_answer_wire,
    holds_error,
    shown_reasoning,
    thinking_text,
)
from trunkline_server.providers.tool_arguments import NO_ARGUMENTS, made_id
from trunkline_server.routing.failures import Failure, FailureClass

_EMPTY: Final = MessageWire()
_DROPPED: Final = ("audio", "images", "annotations")
"""Fields of a message that no part of ours can hold."""


def decode_answer(headers: Mapping[str, str], body: bytes, table: FailureTable = TABLE) -> Answer:
    """Read a whole 2xx answer; `table` classifies an error in it.

    Raise AttemptError: PROTOCOL for what is no answer (not JSON, no choice, neither content nor a finish reason),
    TRUNCATED for content without a finish reason, CONTENT_FILTERED for a filter's block before any content, and
    the class of its row for an error that the server reports under a 2xx.
    """
    try:
        wire = decode_answer_wire(body)
    except DECODING_ERRORS:
        raise protocol_error("no JSON of a chat completion") from None  # the cause may hold the answer's words
    if holds_error(wire.error):
        raise AttemptError(classify_under_ok(body, headers, table))
    choice = next((choice for choice in wire.choices or () if not choice.index), None)
    if choice is None:
        raise protocol_error("no choice in it")
    return _answer(wire, choice)


def _answer(wire: AnswerWire, choice: ChoiceWire) -> Answer:
    message = choice.message or _EMPTY
    warnings: list[Warning_] = []
    parts = _parts(message, wire.id if isinstance(wire.id, str) else "", warnings)
    end = _finished(choice.finish_reason, parts)
    if message.tool_calls or message.function_call:
        parts = [_checked(part, end, number, warnings) for number, part in enumerate(parts)]
    return Answer(
        message=Message(Role.ASSISTANT, tuple(parts)),
        finished=end,
        usage=usage_of(wire.usage),
        logprobs=() if choice.logprobs is None else _logprobs(choice.logprobs),
        warnings=tuple(warnings),
    )


def _finished(native: str | None, parts: list[Part]) -> Finished:
    if native is None or not is_reason(native):
        if not parts:
            raise protocol_error("neither content nor a finish reason")
        raise AttemptError(Failure(FailureClass.TRUNCATED, "the answer has no finish reason"))
    kinds = {type(part) for part in parts}
    only_refused = RefusalPart in kinds and TextPart not in kinds
    end = finished(native, called=ToolCallPart in kinds, only_refused=only_refused)
    if end.reason is FinishReason.CONTENT_FILTER and not parts:
        raise filtered_error(native)
    return end


def _parts(message: MessageWire, answer_id: str, warnings: list[Warning_]) -> list[Part]:
    parts: list[Part] = []
    reasoning = shown_reasoning(message.reasoning_content, message.reasoning)
    if reasoning:
        parts.append(ThinkingPart(reasoning))
    content = message.content
    if isinstance(content, str):
        if content:
            parts.append(TextPart(content))
    elif content:
        parts.extend(_item_parts(content, warnings))
    if message.refusal:
        parts.append(RefusalPart(message.refusal))
    if message.tool_calls:
        parts.extend(_tool_call(call, answer_id, number) for number, call in enumerate(message.tool_calls))
    if message.function_call is not None:
        # The old form of the protocol: one call, without an id.
        parts.append(_tool_call(ToolCallWire(function=message.function_call), answer_id, 0))
    warnings.extend(dropped(f"message.{name}") for name in _DROPPED if getattr(message, name))
    return parts


def _item_parts(items: list[ContentItem], warnings: list[Warning_]) -> list[Part]:
    """Return the parts of a content list, one of each kind as in a stream: reasoning, text, refusal."""
    thinking = "".join(thinking_text(item.thinking) for item in items)
    text = "".join(item.text or "" for item in items)
    refusal = "".join(item.refusal or "" for item in items)
    for number, item in enumerate(items):
        if item.text is None and item.refusal is None and item.thinking is None:
            warnings.append(dropped(f"message.content[{number}]"))
    parts: list[Part] = [ThinkingPart(thinking)] if thinking else []
    if text:
        parts.append(TextPart(text))
    if refusal:
        parts.append(RefusalPart(refusal))
    return parts


def _tool_call(call: ToolCallWire, answer_id: str, number: int) -> ToolCallPart:
    function = call.function
    if function is None or not function.name:
        raise protocol_error("a tool call has no name")
    return ToolCallPart(call.id or made_id(answer_id, number), function.name, arguments_text(function.arguments))


def _checked(part: Part, end: Finished, number: int, warnings: list[Warning_]) -> Part:
    """Return `part` with its arguments as the model wrote them; what is no JSON is told, and kept."""
    if not isinstance(part, ToolCallPart) or is_json(part.arguments_json):
        return part
    if not part.arguments_json and end.reason in WHOLE:
        return ToolCallPart(part.id, part.name, NO_ARGUMENTS)
    field = f"message.parts[{number}].tool_call.arguments_json"
    warnings.append(Warning_("TOOL_ARGUMENTS_NOT_JSON", field, "the model's arguments for this call are no JSON"))
    return part


def _logprobs(wire: LogprobsWire) -> tuple[TokenLogprob, ...]:
    try:
        return token_logprobs(wire.content) + token_logprobs(wire.refusal)
    except ValueError as error:
        raise protocol_error("a token's bytes are no bytes") from error
