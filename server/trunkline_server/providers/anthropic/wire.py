"""The JSON that comes back from the Messages API, as types: decoding it is validating it.

Only fields that are read stand here; everything else in a body is skipped without being built. The vendor adds events,
blocks and pieces as it likes, and says that clients must pass over what they do not know: so a field that some of
them share with others has the type that the known ones give it, and whatever does not fit is looked at again by
`ignorable`. `gc=False`: these records live for one decode and hold no cycles.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from trunkline_server.providers.json_wire import DECODING_ERRORS, decode_any


class OutputDetailsWire(msgspec.Struct, gc=False):
    """What of the output was reasoning."""

    thinking_tokens: int | float | None = None


class UsageWire(msgspec.Struct, gc=False):
    """Tokens, as the provider counted them; input that was read from or written to the cache is counted apart."""

    input_tokens: int | float | None = None
    output_tokens: int | float | None = None
    cache_read_input_tokens: int | float | None = None
    cache_creation_input_tokens: int | float | None = None
    output_tokens_details: OutputDetailsWire | None = None


class StopDetailsWire(msgspec.Struct, gc=False):
    """Why an answer was refused: a category if a filter did it, none if the model did."""

    category: str | None = None


class BlockWire(msgspec.Struct, gc=False):
    """A content block: whole in an answer, its beginning in a stream."""

    type: str = ""
    text: str | None = None
    citations: Any = None
    thinking: str | None = None
    signature: str | None = None
    data: str | None = None
    id: str | None = None
    name: str | None = None
    input: msgspec.Raw = msgspec.Raw()


class AnswerWire(msgspec.Struct, gc=False):
    """The body of a 2xx answer, and the beginning of one in a stream."""

    type: str | None = None
    id: Any = None
    content: list[BlockWire] | None = None
    stop_reason: str | None = None
    stop_details: StopDetailsWire | None = None
    usage: UsageWire | None = None


class PieceWire(msgspec.Struct, gc=False):
    """What one event adds to a block, or to the answer at its end."""

    type: str | None = None
    text: str | None = None
    partial_json: str | None = None
    thinking: str | None = None
    signature: str | None = None
    stop_reason: str | None = None
    stop_details: StopDetailsWire | None = None


class EventWire(msgspec.Struct, gc=False):
    """The data of one event of a stream."""

    type: str = ""
    index: int = -1
    delta: PieceWire | None = None
    content_block: BlockWire | None = None
    message: AnswerWire | None = None
    usage: UsageWire | None = None


decode_answer_wire: Final = msgspec.json.Decoder(AnswerWire).decode
decode_event: Final = msgspec.json.Decoder(EventWire).decode

KNOWN_EVENTS: Final = frozenset(
    {"message_start", "content_block_start", "content_block_delta", "content_block_stop", "message_delta"}
)
"""Events that are read; `ping`, `message_stop` and those that nobody knows yet say nothing more."""

KNOWN_BLOCKS: Final = frozenset({"text", "thinking", "redacted_thinking", "tool_use"})
"""Blocks that are carried; others hold what a tool at the provider was asked and said."""

KNOWN_PIECES: Final = frozenset({"text_delta", "input_json_delta", "thinking_delta", "signature_delta"})
"""Pieces of such blocks; citations are passed over."""


class _Kind(msgspec.Struct, gc=False):
    """The types that an event, its block and its piece name."""

    type: str = ""
    index: Any = None
    content_block: Any = None
    delta: Any = None


_decode_kind: Final = msgspec.json.Decoder(_Kind).decode


def ignorable(data: bytes) -> EventWire | None:
    """Return what stands for an event that did not fit the types: something unknown, to be passed over; None if not."""
    try:
        kind = _decode_kind(data)
    except DECODING_ERRORS:
        return None
    if kind.type not in KNOWN_EVENTS:
        return EventWire(type=kind.type)
    if kind.type == "content_block_start" and _type(kind.content_block) not in KNOWN_BLOCKS:
        return EventWire(kind.type, _index(kind), content_block=BlockWire(_type(kind.content_block)))
    if kind.type == "content_block_delta" and _type(kind.delta) not in KNOWN_PIECES:
        return EventWire(kind.type, _index(kind), delta=PieceWire(_type(kind.delta)))
    return None


def _index(kind: _Kind) -> int:
    return kind.index if isinstance(kind.index, int) else -1


def _type(value: object) -> str:
    found = value.get("type") if isinstance(value, dict) else None
    return found if isinstance(found, str) else ""


class _LooseAnswer(msgspec.Struct, gc=False):
    """A whole answer whose blocks may be anything."""

    type: str | None = None
    id: Any = None
    content: list[msgspec.Raw] | None = None
    stop_reason: str | None = None
    stop_details: StopDetailsWire | None = None
    usage: UsageWire | None = None


_decode_loose: Final = msgspec.json.Decoder(_LooseAnswer).decode
_decode_block: Final = msgspec.json.Decoder(BlockWire).decode


def answer_with_odd_blocks(body: bytes) -> AnswerWire | None:
    """Return a whole answer that did not fit the types because of blocks that nobody knows; None if it is none."""
    try:
        loose = _decode_loose(body)
        content = None if loose.content is None else list(map(_block, loose.content))
    except DECODING_ERRORS:
        return None
    return AnswerWire(loose.type, loose.id, content, loose.stop_reason, loose.stop_details, loose.usage)


def _block(raw: msgspec.Raw) -> BlockWire:
    kind = _type(decode_any(raw))
    return _decode_block(raw) if kind in KNOWN_BLOCKS else BlockWire(kind)


def input_text(raw: msgspec.Raw) -> str:
    """Return a call's arguments as the provider wrote them; empty if there are none."""
    text = bytes(raw)
    return "" if text in {b"", b"null"} else text.decode()
