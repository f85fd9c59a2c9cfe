"""Between the upstream's pace and the caller's: frames that wait to be written, merged while they wait.

The producer puts deltas as they come, the boundary takes frames as fast as it can write them. What waits is joined:
adjacent pieces of one part become one item, so a writer that is behind writes fewer, larger frames and nothing is
held back from one that is not. Memory is bounded: a producer that is too far ahead waits for room, which stops its
read from upstream.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field

import google_crc32c

from trunkline_server.chat.answer import (
    Delta,
    RefusalDelta,
    TextDelta,
    ThinkingDelta,
    ThinkingSignatureDelta,
    TokenLogprob,
    ToolCallDelta,
)
from trunkline_server.engine.frames import ContentFrame, DeltaKind, EndFrame, Frame

ROOM_BYTES = 256 * 1024
"""How much memory may wait for a reader, about, before the producer has to."""

_PIECE_OVERHEAD_BYTES = 64
"""What a piece takes besides its letters, a token of the log-probabilities likewise: most pieces are a few letters."""

_KIND: dict[type, DeltaKind] = {
    TextDelta: DeltaKind.TEXT,
    ThinkingDelta: DeltaKind.THINKING,
    ThinkingSignatureDelta: DeltaKind.THINKING_SIGNATURE,
    RefusalDelta: DeltaKind.REFUSAL,
    ToolCallDelta: DeltaKind.TOOL_CALL,
}


@dataclass(slots=True)
class _Waiting:
    """Content that was put and not yet taken; `offset` is that of its first piece."""

    attempt: int
    kind: DeltaKind
    part: int
    offset: int
    pieces: list[str]
    tool_id: str = ""
    tool_name: str = ""
    tool_done: bool = False
    logprobs: list[TokenLogprob] = field(default_factory=list)
    cost_bytes: int = 0


class Outbox:
    """One stream's frames on their way to the boundary. One producer, one consumer, one event loop."""

    __slots__ = (
        "_closed",
        "_crc",
        "_offsets",
        "_queue",
        "_reader",
        "_tool_calls",
        "_waiting_bytes",
        "_writer",
        "attempt_bytes",
        "content_bytes",
        "room_bytes",
    )

    def __init__(self, room_bytes: int = ROOM_BYTES) -> None:
        self.room_bytes = room_bytes
        self.content_bytes = 0
        """Bytes of content put so far, in UTF-8."""
        self.attempt_bytes = 0
        """The same, of the attempt in flight."""
        self._tool_calls: dict[int, tuple[str, bool]] = {}
        self._queue: deque[_Waiting | Frame] = deque()
        self._offsets: dict[tuple[int, int], int] = {}
        self._waiting_bytes = 0
        self._crc = 0
        self._closed = False
        self._reader: asyncio.Future[None] | None = None
        self._writer: asyncio.Future[None] | None = None

    # The producer's side.

    def put_frame(self, frame: Frame) -> None:
        """Add a frame that stands for itself."""
        self._queue.append(frame)
        self._wake_reader()

    def begin_attempt(self) -> None:
        """Count content from zero for a new attempt."""
        self.attempt_bytes = 0
        self._tool_calls = {}

    def tool_calls(self, *, done: bool) -> tuple[str, ...]:
        """Return the ids of the attempt's tool calls that are done, or of those that are still open."""
        return tuple(call_id for call_id, closed in self._tool_calls.values() if closed is done)

    def put(self, attempt: int, delta: Delta) -> None:
        """Add content; joined to what waits where it goes on in the same part."""
        kind = _KIND[type(delta)]
        if isinstance(delta, ToolCallDelta):
            text = delta.arguments_json_delta
            self._note_tool_call(delta)
        elif isinstance(delta, ThinkingSignatureDelta):
            text = delta.signature
        else:
            text = delta.text
        size = len(text) if text.isascii() else len(text.encode())
        waiting = self._queue[-1] if self._queue else None
        if not isinstance(waiting, _Waiting) or not _joins(waiting, attempt, kind, delta):
            waiting = self._new_item(attempt, kind, delta)
        waiting.pieces.append(text)
        cost_bytes = _PIECE_OVERHEAD_BYTES + size
        if isinstance(delta, ToolCallDelta):
            waiting.tool_done = delta.done
        elif isinstance(delta, (TextDelta, RefusalDelta)) and delta.logprobs:
            waiting.logprobs.extend(delta.logprobs)
            cost_bytes += _PIECE_OVERHEAD_BYTES * sum(1 + len(entry.top) for entry in delta.logprobs)
        waiting.cost_bytes += cost_bytes
        self._waiting_bytes += cost_bytes
        if kind is not DeltaKind.THINKING_SIGNATURE:
            self._offsets[attempt, delta.part] += size
            self.content_bytes += size
            self.attempt_bytes += size
        self._wake_reader()

    @property
    def full(self) -> bool:
        """Whether the producer has to wait before it reads on."""
        return self._waiting_bytes >= self.room_bytes

    async def room(self) -> None:
        """Wait until the reader has caught up."""
        while self.full and not self._closed:
            self._writer = asyncio.get_running_loop().create_future()
            try:
                await self._writer
            finally:
                self._writer = None

    def close(self) -> None:
        """Say that nothing more will come."""
        self._closed = True
        self._wake_reader()

    # The consumer's side.

    async def take(self) -> Frame | None:
        """Return the next frame, waiting for it; None once the producer closed and everything was taken."""
        while not self._queue:
            if self._closed:
                return None
            self._reader = asyncio.get_running_loop().create_future()
            try:
                await self._reader
            finally:
                self._reader = None
        item = self._queue.popleft()
        if isinstance(item, _Waiting):
            return self._content(item)
        if isinstance(item, EndFrame):
            item.content_bytes = self.content_bytes
            item.content_crc32c = self._crc
        return item

    # Inside.

    def _new_item(self, attempt: int, kind: DeltaKind, delta: Delta) -> _Waiting:
        offset = self._offsets.setdefault((attempt, delta.part), 0)
        item = _Waiting(attempt, kind, delta.part, offset, [])
        if isinstance(delta, ToolCallDelta):
            item.tool_id, item.tool_name = delta.id, delta.name
        self._queue.append(item)
        return item

    def _note_tool_call(self, delta: ToolCallDelta) -> None:
        known = self._tool_calls.get(delta.part, ("", False))
        self._tool_calls[delta.part] = (delta.id or known[0], delta.done)

    def _content(self, item: _Waiting) -> ContentFrame:
        text = item.pieces[0] if len(item.pieces) == 1 else "".join(item.pieces)
        self._waiting_bytes -= item.cost_bytes
        if self._writer is not None and not self._writer.done() and self._waiting_bytes < self.room_bytes // 2:
            self._writer.set_result(None)
        if item.kind is not DeltaKind.THINKING_SIGNATURE:
            self._crc = google_crc32c.extend(self._crc, text.encode())
        return ContentFrame(
            item.attempt,
            item.kind,
            item.part,
            item.offset,
            text,
            item.tool_id,
            item.tool_name,
            item.tool_done,
            tuple(item.logprobs),
        )

    def _wake_reader(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)


def _joins(waiting: _Waiting, attempt: int, kind: DeltaKind, delta: Delta) -> bool:
    """Say whether `delta` goes on where `waiting` ends; a tool call's first piece and a signature stand alone."""
    return (
        waiting.kind is kind
        and waiting.part == delta.part
        and waiting.attempt == attempt
        and kind is not DeltaKind.THINKING_SIGNATURE
        and not (isinstance(delta, ToolCallDelta) and (delta.id or waiting.tool_done))
    )
