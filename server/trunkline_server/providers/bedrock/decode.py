"""A whole answer: the JSON of a 2xx response as a neutral `Answer`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from trunkline_server.chat.answer import Answer, Finished, FinishReason, Warning_
from trunkline_server.chat.message import Message, Part, Role, TextPart, ThinkingPart, ToolCallPart
from trunkline_server.providers.base import AttemptError
from trunkline_server.providers.bedrock.errors import classify_under_ok
from trunkline_server.providers.bedrock.finish import WHOLE, finished, usage_of
from trunkline_server.providers.bedrock.wire import BlockWire, ReasoningWire, ToolUseWire, decode_answer_wire
from trunkline_server.providers.dropped import dropped
from trunkline_server.providers.failures import filtered_error, protocol_error
from trunkline_server.providers.json_wire import DECODING_ERRORS
from trunkline_server.providers.tool_arguments import MAX_CALLS, NO_ARGUMENTS
from trunkline_server.routing.failures import Failure, FailureClass

_NULL: Final = "null"


def decode_answer(headers: Mapping[str, str], body: bytes) -> Answer:
    """Read a whole 2xx answer.

    Raise AttemptError: PROTOCOL for what is no answer (not JSON, no message, neither content nor a stop reason),
    TRUNCATED for content without a stop reason, CONTENT_FILTERED for a filter's block before any content, and the class
    of its row for an exception under a 2xx.
    """
    try:
        wire = decode_answer_wire(body)
    except DECODING_ERRORS:
        raise protocol_error("no JSON of a Converse answer") from None  # the cause may hold the answer's words
    if wire.exception:
        raise AttemptError(classify_under_ok(headers, body))
    if wire.output is None or wire.output.message is None:
        raise protocol_error("no message in it")
    warnings: list[Warning_] = []
    parts: list[Part] = []
    for number, block in enumerate(wire.output.message.content or ()):
        _add_part(block, number, parts, warnings)
    end = _finished(wire.stop_reason, parts)
    return Answer(
        message=Message(Role.ASSISTANT, tuple(_with_arguments(part, end) for part in parts)),
        finished=end,
        usage=usage_of(wire.usage),
        warnings=tuple(warnings),
    )


def _add_part(block: BlockWire, number: int, parts: list[Part], warnings: list[Warning_]) -> None:
    """Add the part that a block is; an empty one is none, and one that nobody can carry on is told."""
    if block.text is not None:
        if block.text:
            parts.append(TextPart(block.text))
    elif block.tool_use is not None and block.tool_use.type is None:
        if sum(isinstance(part, ToolCallPart) for part in parts) >= MAX_CALLS:
            raise protocol_error("its tool calls are without bounds")
        parts.append(_call(block.tool_use))
    elif block.reasoning_content is not None:
        if (thinking := _thinking(block.reasoning_content)) is not None:
            parts.append(thinking)
    elif block.citations_content is not None:
        text = "".join(piece.text for piece in block.citations_content.content or ())
        if text:
            parts.append(TextPart(text))
        warnings.append(dropped(f"message.content[{number}].citations"))
    else:
        warnings.append(dropped(f"message.content[{number}]"))


def _call(wire: ToolUseWire) -> ToolCallPart:
    if not wire.name or not wire.tool_use_id:
        raise protocol_error("a tool call has no name or no id")
    arguments = bytes(wire.input).decode()
    return ToolCallPart(wire.tool_use_id, wire.name, "" if arguments == _NULL else arguments)


def _thinking(wire: ReasoningWire) -> ThinkingPart | None:
    if wire.redacted_content:
        return ThinkingPart("", wire.redacted_content, redacted=True)
    shown = wire.reasoning_text
    return None if shown is None or not (shown.text or shown.signature) else ThinkingPart(shown.text, shown.signature)


def _finished(native: str | None, parts: list[Part]) -> Finished:
    if not native:
        if not parts:
            raise protocol_error("neither content nor a stop reason")
        raise AttemptError(Failure(FailureClass.TRUNCATED, "the answer has no stop reason"))
    end = finished(native, called=any(isinstance(part, ToolCallPart) for part in parts))
    if end.reason is FinishReason.CONTENT_FILTER and not parts:
        raise filtered_error(native)
    return end


def _with_arguments(part: Part, end: Finished) -> Part:
    """Return a call that ended whole with arguments, if it came without any."""
    if isinstance(part, ToolCallPart) and not part.arguments_json and end.reason in WHOLE:
        return ToolCallPart(part.id, part.name, NO_ARGUMENTS)
    return part
