"""A whole answer: the JSON of a 2xx response as a neutral `Answer`."""

from __future__ import annotations

from trunkline_server.chat.answer import Answer, Finished, Warning_
from trunkline_server.chat.message import Message, Part, Role, TextPart, ThinkingPart, ToolCallPart
from trunkline_server.providers.base import AttemptError
from trunkline_server.providers.cohere.errors import classify_text, message_under_ok
from trunkline_server.providers.cohere.finish import WHOLE, finished, token_logprobs, usage_of
from trunkline_server.providers.cohere.messages import PLAN_SEAL
from trunkline_server.providers.cohere.wire import (
    AnswerWire,
    ContentItem,
    MessageWire,
    ToolCallWire,
    decode_answer_wire,
    holds_citations,
)
from trunkline_server.providers.dropped import dropped
from trunkline_server.providers.failures import protocol_error
from trunkline_server.providers.json_wire import DECODING_ERRORS, is_json
from trunkline_server.providers.tool_arguments import NO_ARGUMENTS, made_id
from trunkline_server.routing.failures import Failure, FailureClass


def decode_answer(body: bytes, provider: str) -> Answer:
    """Read a whole 2xx answer of the provider of this name.

    Raise AttemptError: PROTOCOL for what is no answer (not JSON, no message, neither content nor a finish reason),
    TRUNCATED for content without a finish reason, CONTENT_FILTERED for a block before any content, and the class of
    its words for an answer that says that it failed.
    """
    try:
        wire = decode_answer_wire(body)
    except DECODING_ERRORS:
        # An error under a 200 has its text where an answer has its message.
        if message := message_under_ok(body):
            raise AttemptError(classify_text(message)) from None
        raise protocol_error("no JSON of a chat answer") from None  # the cause may hold the answer's words
    if wire.message is None and wire.finish_reason is None:
        raise protocol_error("no message in it")
    warnings: list[Warning_] = []
    parts = _parts(wire.message or MessageWire(), provider, wire.id if isinstance(wire.id, str) else "", warnings)
    end = _finished(wire, parts)
    parts = [_checked(part, end, number, warnings) for number, part in enumerate(parts)]
    return Answer(
        message=Message(Role.ASSISTANT, tuple(parts)),
        finished=end,
        usage=usage_of(wire.usage),
        logprobs=tuple(each for item in wire.logprobs or () for each in token_logprobs(item)),
        warnings=tuple(warnings),
    )


def _finished(wire: AnswerWire, parts: list[Part]) -> Finished:
    if not wire.finish_reason:
        if not parts:
            raise protocol_error("neither content nor a finish reason")
        raise AttemptError(Failure(FailureClass.TRUNCATED, "the answer has no finish reason"))
    called = any(isinstance(part, ToolCallPart) for part in parts)
    return finished(wire.finish_reason, None, called=called, empty=not parts)


def _parts(message: MessageWire, provider: str, answer_id: str, warnings: list[Warning_]) -> list[Part]:
    parts: list[Part] = []
    if message.tool_plan:
        parts.append(ThinkingPart(message.tool_plan, PLAN_SEAL, provider=provider or None))
    content = message.content
    if isinstance(content, str):
        content = [ContentItem(text=content)]
    for number, item in enumerate(content or ()):
        if item.thinking:
            parts.append(ThinkingPart(item.thinking, provider=provider or None))
        if item.text:
            parts.append(TextPart(item.text))
        if item.text is None and item.thinking is None:
            warnings.append(dropped(f"message.content[{number}]"))
    parts.extend(_tool_call(call, answer_id, number) for number, call in enumerate(message.tool_calls or ()))
    if holds_citations(message.citations):
        warnings.append(dropped("message.citations"))
    return parts


def _tool_call(call: ToolCallWire, answer_id: str, number: int) -> ToolCallPart:
    function = call.function
    if function is None or not function.name:
        raise protocol_error("a tool call has no name")
    return ToolCallPart(call.id or made_id(answer_id, number), function.name, function.arguments or "")


def _checked(part: Part, end: Finished, number: int, warnings: list[Warning_]) -> Part:
    """Return `part` with its arguments as the model wrote them; what is no JSON is told, and kept."""
    if not isinstance(part, ToolCallPart) or is_json(part.arguments_json):
        return part
    if not part.arguments_json and end.reason in WHOLE:
        return ToolCallPart(part.id, part.name, NO_ARGUMENTS)
    field = f"message.parts[{number}].tool_call.arguments_json"
    warnings.append(Warning_("TOOL_ARGUMENTS_NOT_JSON", field, "the model's arguments for this call are no JSON"))
    return part
