"""The JSON that comes back from `/v2/chat`, as types: decoding it is validating it.

Only fields that are read stand here; everything else in a body is skipped without being built. `gc=False`: these
records live for one decode and hold no cycles.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec


class TokenCounts(msgspec.Struct, gc=False):
    """Tokens of one kind of count; whole numbers are written as 12.0."""

    input_tokens: int | float | None = None
    output_tokens: int | float | None = None


class UsageWire(msgspec.Struct, gc=False):
    """Tokens that went through the model, and those of them that are paid for."""

    tokens: TokenCounts | None = None
    billed_units: TokenCounts | None = None
    cached_tokens: int | float | None = None


class LogprobWire(msgspec.Struct, gc=False):
    """A piece of text with the log-probability of each token that it is made of."""

    text: str | None = None
    logprobs: list[float] | None = None


class FunctionWire(msgspec.Struct, gc=False):
    """Name and arguments of a call, or pieces of them."""

    name: str | None = None
    arguments: str | None = None


class ToolCallWire(msgspec.Struct, gc=False):
    """One tool call, or a piece of it."""

    id: str | None = None
    function: FunctionWire | None = None


class ContentItem(msgspec.Struct, gc=False):
    """One block of a whole message; a `type` that is not known has neither text nor thinking."""

    text: str | None = None
    thinking: str | None = None


class MessageWire(msgspec.Struct, gc=False):
    """A whole message."""

    content: list[ContentItem] | str | None = None
    tool_plan: str | None = None
    tool_calls: list[ToolCallWire] | None = None
    citations: msgspec.Raw = msgspec.Raw()


class AnswerWire(msgspec.Struct, gc=False):
    """The body of a 2xx answer."""

    id: Any = None
    message: MessageWire | None = None
    finish_reason: str | None = None
    usage: UsageWire | None = None
    logprobs: list[LogprobWire] | None = None


class StreamMessage(msgspec.Struct, gc=False):
    """What an event adds to the message: one object for what it is of; empty lists at the start."""

    content: ContentItem | list[Any] | None = None
    tool_plan: str | None = None
    tool_calls: ToolCallWire | list[Any] | None = None


class StreamDelta(msgspec.Struct, gc=False):
    """What an event tells; the last three are those of the end."""

    message: StreamMessage | None = None
    finish_reason: str | None = None
    error: Any = None
    usage: UsageWire | None = None


class StreamEvent(msgspec.Struct, gc=False):
    """The data of one event of a stream. `message` is there where it is an error."""

    type: str = ""
    index: int | None = None
    id: Any = None
    delta: StreamDelta | None = None
    logprobs: LogprobWire | None = None
    message: Any = None


decode_answer_wire: Final = msgspec.json.Decoder(AnswerWire).decode
decode_event: Final = msgspec.json.Decoder(StreamEvent).decode

_NOTHING: Final = frozenset({b"", b"null", b"[]"})


def holds_citations(raw: msgspec.Raw) -> bool:
    """Return whether a message has citations."""
    return bytes(raw) not in _NOTHING
