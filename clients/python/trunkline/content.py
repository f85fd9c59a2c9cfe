"""Content put together from the deltas of a stream: parts, tool calls, offsets, length and checksum."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import google_crc32c

from trunkline.events import RefusalPiece, TextPiece, ThinkingPiece, ToolCallDone, ToolCallPiece
from trunkline.v1 import Delta, Part, ThinkingPart, TokenLogprob, ToolCallPart

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trunkline.events import StreamEvent


class ContradictionError(Exception):
    """What came cannot be true; the text says why. Readers turn it into a StreamCorruptError."""


class _Piece(NamedTuple):
    """One delta as it came. It is kept, since a reset takes back from the end."""

    seq: int
    provider: str
    delta: Delta


@dataclass(slots=True)
class _Part:
    """One part of the message as far as it came."""

    kind: str
    provider: str
    pieces: list[str] = field(default_factory=list)
    size_bytes: int = 0
    signature: str = ""
    redacted: bool = False
    call_id: str = ""
    name: str = ""
    done: bool = False

    def tool_call(self) -> ToolCallPart:
        """Return the tool call that this part is."""
        return ToolCallPart(id=self.call_id, name=self.name, arguments_json="".join(self.pieces))

    def message_part(self) -> Part | None:
        """Return the part for a message; None if it says nothing or is a tool call that is not whole."""
        if self.kind == "tool_call":
            return Part(tool_call=self.tool_call()) if self.done else None
        text = "".join(self.pieces)
        if self.kind == "thinking":
            if not text and not self.signature:
                return None
            # It goes back only to the provider that it came from, so the part names it.
            thinking = ThinkingPart(text=text, signature=self.signature, redacted=self.redacted, provider=self.provider)
            return Part(thinking=thinking)
        if not text:
            return None
        return Part(text=text) if self.kind == "text" else Part(refusal=text)


class Content:
    """The content that counts. Feed it deltas in order; `keep_through` takes back what came after a frame."""

    def __init__(self) -> None:
        self._log: list[_Piece] = []
        self._clear()

    def _clear(self) -> None:
        self._parts: dict[int, _Part] = {}
        self.size_bytes = 0
        """Bytes of content, in UTF-8."""
        self.crc32c = 0
        """CRC-32C over them in the order in which they came."""
        self.logprobs: list[TokenLogprob] = []
        """Log-probabilities, in the order in which they came."""

    @property
    def last_seq(self) -> int:
        """The number of the last frame with content that counts; 0: there is none."""
        return self._log[-1].seq if self._log else 0

    @property
    def text(self) -> str:
        """The text of all text parts."""
        return "".join("".join(part.pieces) for part in self._in_order() if part.kind == "text")

    def message_parts(self) -> Iterator[Part]:
        """Return the message's parts; tool calls that are not whole are none."""
        return filter(None, (part.message_part() for part in self._in_order()))

    def tool_calls(self, *, done: bool) -> tuple[ToolCallPart, ...]:
        """Return the tool calls that are whole, or those that are not."""
        parts = self._in_order()
        return tuple(part.tool_call() for part in parts if part.kind == "tool_call" and part.done is done)

    def add(self, seq: int, provider: str, items: list[Delta]) -> list[StreamEvent]:
        """Take the items of one frame and return what they tell; raise ContradictionError for what does not fit."""
        if len(items) > 1:
            _check_one_kind(items)
        events: list[StreamEvent] = []
        for delta in items:
            piece = _Piece(seq, provider, delta)
            self._apply(piece, events)
            self._log.append(piece)
        return events

    def keep_through(self, seq: int) -> None:
        """Take back the content of all frames after `seq`."""
        self._log = [piece for piece in self._log if piece.seq <= seq]
        self._clear()
        for piece in self._log:
            self._apply(piece, [])

    def _in_order(self) -> list[_Part]:
        return [part for _, part in sorted(self._parts.items())]

    def _apply(self, piece: _Piece, events: list[StreamEvent]) -> None:
        delta = piece.delta
        self.logprobs.extend(delta.logprobs)
        kind = delta.WhichOneof("content")
        if kind is None:
            # Only log-probabilities, or a kind of content that came after this client.
            return
        part = self._part(delta, kind.removesuffix("_signature"), piece.provider)
        if delta.offset != part.size_bytes:
            raise ContradictionError(
                f"part {delta.part} goes on at byte {delta.offset}, but byte {part.size_bytes} comes next"
            )
        match kind:
            case "text":
                events.append(TextPiece(delta.part, delta.text, tuple(delta.logprobs)))
                self._count(part, delta.text)
            case "thinking":
                events.append(ThinkingPiece(delta.part, delta.thinking))
                self._count(part, delta.thinking)
            case "refusal":
                events.append(RefusalPiece(delta.part, delta.refusal, tuple(delta.logprobs)))
                self._count(part, delta.refusal)
            case "thinking_signature":
                if part.signature:
                    raise ContradictionError(f"part {delta.part} is signed twice")
                part.signature, part.redacted = delta.thinking_signature, delta.thinking_redacted
            case "tool_call":
                self._tool_call(delta, part, events)

    def _part(self, delta: Delta, kind: str, provider: str) -> _Part:
        part = self._parts.get(delta.part)
        if part is None:
            part = self._parts[delta.part] = _Part(kind, provider)
        elif part.kind != kind:
            raise ContradictionError(f"part {delta.part} is {part.kind} and goes on as {kind}")
        return part

    def _count(self, part: _Part, text: str) -> None:
        raw = text.encode()
        part.pieces.append(text)
        part.size_bytes += len(raw)
        self.size_bytes += len(raw)
        self.crc32c = google_crc32c.extend(self.crc32c, raw)

    def _tool_call(self, delta: Delta, part: _Part, events: list[StreamEvent]) -> None:
        call = delta.tool_call
        if part.done:
            raise ContradictionError(f"the tool call of part {delta.part} goes on after it was whole")
        if not part.name:
            if not call.id or not call.name:
                raise ContradictionError(f"the tool call of part {delta.part} begins without an id and a name")
            part.call_id, part.name = call.id, call.name
        elif call.id not in {"", part.call_id} or call.name not in {"", part.name}:
            raise ContradictionError(f"the tool call of part {delta.part} goes on as another one")
        events.append(ToolCallPiece(delta.part, part.call_id, part.name, call.arguments_json_delta))
        self._count(part, call.arguments_json_delta)
        if call.done:
            whole = part.tool_call()
            if not _is_json(whole.arguments_json):
                raise ContradictionError(f"the tool call of part {delta.part} is called whole, but is no JSON")
            part.done = True
            events.append(ToolCallDone(delta.part, whole))


def _check_one_kind(items: list[Delta]) -> None:
    """Raise ContradictionError if a frame holds content of two kinds or of two tool calls."""
    kinds = {delta.WhichOneof("content") for delta in items} - {None}
    if len(kinds) > 1:
        raise ContradictionError("a frame holds content of two kinds")
    if "tool_call" in kinds and len({delta.part for delta in items if delta.HasField("tool_call")}) > 1:
        raise ContradictionError("a frame holds pieces of two tool calls")


def _is_json(text: str) -> bool:
    """Say whether a text is JSON. Numbers are not converted: Python refuses long ones."""
    try:
        json.loads(text, parse_int=len, parse_float=len)
    except (ValueError, RecursionError):
        return False
    return True
