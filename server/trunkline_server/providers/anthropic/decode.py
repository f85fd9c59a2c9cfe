"""A whole answer: the JSON of a 2xx response as a neutral `Answer`."""

from __future__ import annotations

from collections.abc import Mapping

from trunkline_server.chat.answer import Answer, Warning_
from trunkline_server.chat.message import Message, Part, Role, TextPart, ThinkingPart, ToolCallPart
from trunkline_server.providers.anthropic.classify import classify_under_ok
from trunkline_server.providers.anthropic.finish import finished, is_block, usage_of
from trunkline_server.providers.anthropic.wire import (
    KNOWN_BLOCKS,
    AnswerWire,
    BlockWire,
    answer_with_odd_blocks,
    decode_answer_wire,
    input_text,
)
from trunkline_server.providers.base import AttemptError
from trunkline_server.providers.dropped import dropped
from trunkline_server.providers.failures import filtered_error, protocol_error
from trunkline_server.providers.json_wire import DECODING_ERRORS
from trunkline_server.providers.tool_arguments import NO_ARGUMENTS, made_id
from trunkline_server.routing.failures import Failure, FailureClass


def decode_answer(headers: Mapping[str, str], body: bytes) -> Answer:
    """Read a whole 2xx answer.

    Raise AttemptError: PROTOCOL for what is no answer (not JSON, no content and no reason to stop), TRUNCATED for
    content without a reason, CONTENT_FILTERED for a filter's block before any content, and the class of its row for an
    error that the server reports under a 2xx.
    """
    wire: AnswerWire | None
    try:
        wire = decode_answer_wire(body)
    except DECODING_ERRORS:
        wire = answer_with_odd_blocks(body)
    if wire is None:
        raise protocol_error("no JSON of a message")
    if wire.type == "error":
        raise AttemptError(classify_under_ok(body, headers))
    warnings: list[Warning_] = []
    parts = _parts(wire, warnings)
    if wire.stop_reason is None:
        if not parts:
            raise protocol_error("neither content nor a reason to stop")
        raise AttemptError(Failure(FailureClass.TRUNCATED, "the answer has no reason to stop"))
    if not parts and is_block(wire.stop_reason):
        raise filtered_error(wire.stop_reason)
    return Answer(
        message=Message(Role.ASSISTANT, tuple(parts)),
        finished=finished(wire.stop_reason, wire.stop_details),
        usage=usage_of(wire.usage),
        warnings=tuple(warnings),
    )


def _parts(wire: AnswerWire, warnings: list[Warning_]) -> list[Part]:
    answer_id = wire.id if isinstance(wire.id, str) else ""
    parts: list[Part] = []
    calls = 0
    for number, block in enumerate(wire.content or ()):
        if block.type not in KNOWN_BLOCKS:
            warnings.append(dropped(f"message.content[{number}]"))
        elif block.type == "tool_use":
            parts.append(_call(block, answer_id, calls))
            calls += 1
        elif (part := _said(block)) is not None:
            parts.append(part)
        if block.citations:
            warnings.append(dropped(f"message.content[{number}].citations"))
    return parts


def _said(block: BlockWire) -> Part | None:
    """Return the text or the reasoning of a block; None if it is empty."""
    if block.type == "text":
        return TextPart(block.text) if block.text else None
    if block.type == "redacted_thinking":
        return ThinkingPart("", block.data, redacted=True) if block.data else None
    if not block.thinking and not block.signature:
        return None
    return ThinkingPart(block.thinking or "", block.signature or None)


def _call(block: BlockWire, answer_id: str, number: int) -> ToolCallPart:
    if not block.name:
        raise protocol_error("a tool call has no name")
    arguments = input_text(block.input) or NO_ARGUMENTS
    return ToolCallPart(block.id or made_id(answer_id, number), block.name, arguments)
