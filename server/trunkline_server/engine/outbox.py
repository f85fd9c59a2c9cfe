"""Between the upstream's pace and the caller's: frames that wait to be written, merged while they wait.

The producer puts deltas as they come, the boundary takes frames as fast as it can write them. What waits is joined:
adjacent pieces of one part become one item, so a writer that is behind writes fewer, larger frames and nothing is
held back from one that is not. Memory is bounded: a producer that is too far ahead waits for room, which stops its
read from upstream.

What is known when a frame is put, and what only when it is taken, is kept apart: how much stands and which tool calls
are open is the producer's to know at once (the ledger); numbers of frames, checksums, and what a reset keeps come into
being as frames are taken. Both see the same frames in the same order, so they agree.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace

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
from trunkline_server.engine.frames import (
    AttemptStartedFrame,
    ContentFrame,
    DeltaKind,
    EndFrame,
    Frame,
    ResetFrame,
)
from trunkline_server.engine.standing import Ledger, Run, Standing

ROOM_BYTES = 256 * 1024
"""How much memory may wait for a reader, about, before the producer has to."""

PILE_BYTES = 16 * 1024
"""How much is merged for a reader that is not there, about.

Less than half of ROOM_BYTES, at which a producer that waits for room goes on."""

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
    attempts_part: int
    """The part's number as the attempt counts."""
    run: Run
    offset: int
    pieces: list[str]
    tool_id: str = ""
    tool_name: str = ""
    tool_done: bool = False
    logprobs: list[TokenLogprob] | None = None
    cost_bytes: int = 0
    redacted: bool = False


@dataclass(frozen=True, slots=True)
class _TakeBack:
    """A reset that was put; what it keeps is known once it is taken."""

    before_part: int | None


@dataclass(slots=True)
class _Taken:
    """What was taken and stands."""

    crc: int = 0
    content_bytes: int = 0
    content_seq: int = 0
    """Number of the last frame with content that stands; 0: there is none."""


class Outbox:
    """One stream's frames on their way to the boundary. One producer, one consumer, one event loop."""

    __slots__ = (
        "_before",
        "_closed",
        "_ledger",
        "_queue",
        "_reader",
        "_seq",
        "_taken",
        "_waiting_bytes",
        "_writer",
        "attempt_bytes",
        "content_bytes",
        "on_content",
        "on_frame",
        "room_bytes",
    )

    def __init__(self, room_bytes: int = ROOM_BYTES) -> None:
        self.room_bytes = room_bytes
        self.content_bytes = 0
        """Bytes of content that was put and stands, in UTF-8."""
        self.attempt_bytes = 0
        """Bytes of content that the attempt in flight put, whether it stands or not."""
        self.on_content: Callable[[], None] | None = None
        """Called each time that content was put."""
        self.on_frame: Callable[[], None] | None = None
        """Called each time that a frame was put that stands for itself."""
        self._ledger = Ledger()
        self._queue: deque[_Waiting | _TakeBack | Frame] = deque()
        self._waiting_bytes = 0
        self._closed = False
        self._reader: asyncio.Future[None] | None = None
        self._writer: asyncio.Future[None] | None = None
        self._seq = 0
        self._taken = _Taken()
        self._before: dict[int, tuple[int, _Taken]] = {}
        """For each part that was taken and stands: the last frame before its first, and what stood then."""

    # The producer's side.

    @property
    def keep_text(self) -> bool:
        """Whether text is remembered for `standing`; to be set before the first of it is put."""
        return self._ledger.keep_text

    @keep_text.setter
    def keep_text(self, keep: bool) -> None:
        self._ledger.keep_text = keep

    def put_frame(self, frame: Frame) -> None:
        """Add a frame that stands for itself."""
        self._queue.append(frame)
        if self.on_frame is not None:
            self.on_frame()
        self._wake_reader()

    def begin_attempt(self, attempt: int = 1, *, continues: bool = False) -> None:  # noqa: ARG002  put() says it too
        """Let an attempt become visible: its content is counted from zero, its parts from 0.

        They go out as it numbers them. If it continues, its first text part goes on in the last text part that
        stands, and every other part is numbered behind all that stand. RuntimeError if it neither continues nor has
        what stands been taken back.
        """
        self.attempt_bytes = 0
        self._ledger.begin_attempt(continues=continues)

    def reset(self, before_part: int | None) -> None:
        """Take back everything from the first piece of a part on (as numbered for the caller); None: everything.

        What waits still goes out in front of the reset. Then the next attempt begins. KeyError if no such part stands.
        """
        self.content_bytes = self._ledger.take_back(before_part)
        self._queue.append(_TakeBack(before_part))
        if self.on_frame is not None:
            self.on_frame()
        self._wake_reader()

    def tool_calls(self, *, done: bool) -> tuple[str, ...]:
        """Return the ids of the attempt's tool calls that are done, or of those that are still open."""
        return self._ledger.attempts_tool_calls(done=done)

    def standing(self) -> Standing:
        """Return what stands of everything that was put, taken or not."""
        return self._ledger.standing()

    def put(self, attempt: int, delta: Delta) -> None:
        """Add content; joined to what waits where it goes on in the same part."""
        kind = _KIND[type(delta)]
        if isinstance(delta, ToolCallDelta):
            text = delta.arguments_json_delta
        elif isinstance(delta, ThinkingSignatureDelta):
            text = delta.signature
        else:
            text = delta.text
        size = len(text) if text.isascii() else len(text.encode())
        waiting = self._queue[-1] if self._queue else None
        if not isinstance(waiting, _Waiting) or not _joins(waiting, attempt, kind, delta):
            waiting = self._new_item(attempt, kind, delta)
        waiting.pieces.append(text)
        run = waiting.run
        if run.kept is not None:
            run.kept.append(text)
        cost_bytes = _PIECE_OVERHEAD_BYTES + size
        if isinstance(delta, ToolCallDelta):
            waiting.tool_done = run.part.done = delta.done
        elif isinstance(delta, (TextDelta, RefusalDelta)) and delta.logprobs:
            if waiting.logprobs is None:
                waiting.logprobs = []
            waiting.logprobs.extend(delta.logprobs)
            cost_bytes += _PIECE_OVERHEAD_BYTES * sum(1 + len(entry.top) for entry in delta.logprobs)
        waiting.cost_bytes += cost_bytes
        self._waiting_bytes += cost_bytes
        if kind is not DeltaKind.THINKING_SIGNATURE:
            run.part.size_bytes += size
            self.content_bytes += size
            self.attempt_bytes += size
        if self.on_content is not None:
            self.on_content()
        self._wake_reader()

    @property
    def behind(self) -> bool:
        """Whether something waits for the reader."""
        return bool(self._queue)

    @property
    def full(self) -> bool:
        """Whether the producer has to wait before it reads on."""
        return self._waiting_bytes >= self.room_bytes

    @property
    def piled_up(self) -> bool:
        """Whether more waits than should lie here for a reader that is not there; far below what is `full`."""
        return self._waiting_bytes >= PILE_BYTES

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
        self._seq += 1
        if isinstance(item, _Waiting):
            return self._content(item)
        if isinstance(item, _TakeBack):
            return self._take_back(item.before_part)
        item.seq = self._seq
        if isinstance(item, AttemptStartedFrame) and item.seam is not None:
            item.seam.after_seq = self._taken.content_seq
        elif isinstance(item, EndFrame):
            item.content_bytes = self._taken.content_bytes
            item.content_crc32c = self._taken.crc
        return item

    # Inside.

    def _new_item(self, attempt: int, kind: DeltaKind, delta: Delta) -> _Waiting:
        run = self._ledger.run(delta.part, kind, self.content_bytes)
        item = _Waiting(attempt, kind, delta.part, run, run.part.size_bytes, [])
        if isinstance(delta, ToolCallDelta):
            item.tool_id, item.tool_name = delta.id, delta.name
            run.part.call_id = delta.id or run.part.call_id
        elif isinstance(delta, ThinkingSignatureDelta):
            item.redacted = delta.redacted
        self._queue.append(item)
        return item

    def _content(self, item: _Waiting) -> ContentFrame:
        text = item.pieces[0] if len(item.pieces) == 1 else "".join(item.pieces)
        self._waiting_bytes -= item.cost_bytes
        if self._writer is not None and not self._writer.done() and self._waiting_bytes < self.room_bytes // 2:
            self._writer.set_result(None)
        part, taken, seq = item.run.part.number, self._taken, self._seq
        if part not in self._before:
            self._before[part] = (seq - 1, replace(taken))
        if item.kind is not DeltaKind.THINKING_SIGNATURE:
            raw = text.encode()
            taken.crc = google_crc32c.extend(taken.crc, raw)
            taken.content_bytes += len(raw)
        taken.content_seq = seq
        return ContentFrame(
            item.attempt,
            item.kind,
            part,
            item.offset,
            text,
            item.tool_id,
            item.tool_name,
            item.tool_done,
            () if item.logprobs is None else tuple(item.logprobs),
            seq,
            item.redacted,
        )

    def _take_back(self, before_part: int | None) -> ResetFrame:
        keep_through_seq, taken = (0, _Taken()) if before_part is None else self._before[before_part]
        self._taken = taken
        self._before = {part: entry for part, entry in self._before.items() if entry[0] < keep_through_seq}
        return ResetFrame(keep_through_seq, self._seq)

    def _wake_reader(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)


def _joins(waiting: _Waiting, attempt: int, kind: DeltaKind, delta: Delta) -> bool:
    """Say whether `delta` goes on where `waiting` ends; a tool call's first piece and a signature stand alone."""
    return (
        waiting.kind is kind
        and waiting.attempts_part == delta.part
        and waiting.attempt == attempt
        and kind is not DeltaKind.THINKING_SIGNATURE
        and not (isinstance(delta, ToolCallDelta) and (delta.id or waiting.tool_done))
    )
