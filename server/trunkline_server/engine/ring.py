"""The latest frames of one stream, kept for a reader that lost its connection."""

from __future__ import annotations

from collections import deque

from trunkline_server.chat.answer import TokenLogprob
from trunkline_server.engine.frames import ContentFrame, Frame

RING_BYTES = 256 * 1024
"""How much of a stream is kept, about."""

FRAME_OVERHEAD_BYTES = 240
"""What a frame takes in memory besides its letters (measured: 245 with four of them)."""

_LOGPROB_OVERHEAD_BYTES = 192
"""The same of one token of the log-probabilities, and of each alternative to it."""


class Ring:
    """Frames by number, the oldest dropped first. Pure: it waits for nobody.

    Invariant: the frames kept are consecutive and end with the last one appended; they take at most `bound_bytes`,
    unless a single frame is larger or a reader still needs them.
    """

    __slots__ = ("_bound_bytes", "_frames", "_sizes", "bytes", "last_seq")

    def __init__(self, bound_bytes: int = RING_BYTES) -> None:
        self._bound_bytes = bound_bytes
        self._frames: deque[Frame] = deque()
        self._sizes: deque[int] = deque()
        self.bytes = 0
        """What the frames kept take, about."""
        self.last_seq = 0
        """Number of the last frame appended; 0 before the first."""

    def __len__(self) -> int:
        return len(self._frames)

    @property
    def oldest_seq(self) -> int:
        """Number of the oldest frame that is kept; of the next one to come, if none is."""
        return self.last_seq - len(self._frames) + 1

    def append(self, frame: Frame, *, read_through: int | None) -> None:
        """Keep a frame, and drop old ones to make room. Raises ValueError if it is not the next one.

        `read_through`: up to where a reader has got; what lies behind is not dropped. None: nobody reads.
        """
        if frame.seq != self.last_seq + 1:
            raise ValueError(f"frame {frame.seq} came after frame {self.last_seq}")
        size = _size_bytes(frame)
        self._frames.append(frame)
        self._sizes.append(size)
        self.bytes += size
        self.last_seq = frame.seq
        if self.bytes > self._bound_bytes:
            self.trim(read_through=read_through)

    def trim(self, *, read_through: int | None) -> None:
        """Drop the oldest frames until the rest fits; never the newest one, nor what a reader still needs."""
        droppable = len(self._frames) - 1
        if read_through is not None:
            droppable = min(droppable, read_through - self.oldest_seq + 1)
        while droppable > 0 and self.bytes > self._bound_bytes:
            self._frames.popleft()
            self.bytes -= self._sizes.popleft()
            droppable -= 1

    def after(self, seq: int) -> Frame | None:
        """Return the frame that follows number `seq`; None if it has not come yet. Raises LookupError if dropped."""
        index = seq + 1 - self.oldest_seq
        if index < 0:
            raise LookupError(f"frame {seq + 1} is not kept any more")
        return self._frames[index] if index < len(self._frames) else None


def _size_bytes(frame: Frame) -> int:
    if not isinstance(frame, ContentFrame):
        return FRAME_OVERHEAD_BYTES
    text = frame.text
    size = FRAME_OVERHEAD_BYTES + (len(text) if text.isascii() else len(text.encode()))
    return size + sum(map(_logprob_bytes, frame.logprobs)) if frame.logprobs else size


def _logprob_bytes(entry: TokenLogprob) -> int:
    return _LOGPROB_OVERHEAD_BYTES * (1 + len(entry.top))
