"""The JSON that comes back from Converse and ConverseStream, as types: decoding it is validating it.

Only fields that are read stand here; everything else is skipped without being built. Blocks that nobody can carry on
are typed `Any`, so that an oddity beside the answer does not cost the answer. `gc=False`: these records live for one
decode and hold no cycles.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec


class _Wire(msgspec.Struct, gc=False, rename="camel"):
    """What all of these have in common: camelCase on the wire, and no cycles."""


class UsageWire(_Wire):
    """Tokens, as the service counted them. `input_tokens` leaves out what was read from and written to a cache."""

    input_tokens: int | float | None = None
    output_tokens: int | float | None = None
    cache_read_input_tokens: int | float | None = None
    cache_write_input_tokens: int | float | None = None


class ReasoningTextWire(_Wire):
    """Shown reasoning and its seal."""

    text: str = ""
    signature: str | None = None


class ReasoningWire(_Wire):
    """One reasoning block: shown, or withheld."""

    reasoning_text: ReasoningTextWire | None = None
    redacted_content: str | None = None
    """Base64."""


class ToolUseWire(_Wire):
    """One tool call. With a `type` it is one that the service runs itself."""

    tool_use_id: str = ""
    name: str = ""
    input: msgspec.Raw = msgspec.Raw()
    type: str | None = None


class GeneratedTextWire(_Wire):
    """A piece of text that a citation stands for."""

    text: str = ""


class CitationsWire(_Wire):
    """Text with its sources."""

    content: list[GeneratedTextWire] | None = None


class BlockWire(_Wire):
    """One block of a message: one of its fields is set, or it is of a kind that is not read."""

    text: str | None = None
    tool_use: ToolUseWire | None = None
    reasoning_content: ReasoningWire | None = None
    citations_content: CitationsWire | None = None


class MessageWire(_Wire):
    """A whole message."""

    content: list[BlockWire] | None = None


class OutputWire(_Wire):
    """What wraps the message."""

    message: MessageWire | None = None


class AnswerWire(_Wire):
    """The body of a 2xx answer of Converse. `exception` is there when one is reported under a 200."""

    exception: str | None = msgspec.field(default=None, name="__type")
    output: OutputWire | None = None
    stop_reason: str | None = None
    usage: UsageWire | None = None


class ToolUseStart(_Wire):
    """How a tool call begins."""

    tool_use_id: str = ""
    name: str = ""
    type: str | None = None


class BlockStart(_Wire):
    """What a block is going to be, where that has to be said."""

    tool_use: ToolUseStart | None = None
    tool_result: Any = None
    image: Any = None


class BlockStartEvent(_Wire):
    """Data of `contentBlockStart`."""

    content_block_index: int
    start: BlockStart


class ToolUsePiece(_Wire):
    """More of a tool call's arguments."""

    input: str = ""


class ReasoningPiece(_Wire):
    """More reasoning, its seal, or reasoning that is withheld (base64)."""

    text: str | None = None
    signature: str | None = None
    redacted_content: str | None = None


class BlockDelta(_Wire):
    """More of one block: one field is set, or it is of a kind that is not read."""

    text: str | None = None
    tool_use: ToolUsePiece | None = None
    reasoning_content: ReasoningPiece | None = None


class BlockDeltaEvent(_Wire):
    """Data of `contentBlockDelta`."""

    content_block_index: int
    delta: BlockDelta


class BlockStopEvent(_Wire):
    """Data of `contentBlockStop`."""

    content_block_index: int


class MessageStopEvent(_Wire):
    """Data of `messageStop`."""

    stop_reason: str


class MetadataEvent(_Wire):
    """Data of `metadata`."""

    usage: UsageWire | None = None


decode_answer_wire: Final = msgspec.json.Decoder(AnswerWire).decode
decode_start: Final = msgspec.json.Decoder(BlockStartEvent).decode
decode_delta: Final = msgspec.json.Decoder(BlockDeltaEvent).decode
decode_stop: Final = msgspec.json.Decoder(BlockStopEvent).decode
decode_message_stop: Final = msgspec.json.Decoder(MessageStopEvent).decode
decode_metadata: Final = msgspec.json.Decoder(MetadataEvent).decode
