"""A decoder for server-sent events that does no I/O: bytes in, events out.

It follows the event stream format of the HTML standard, as far as providers use it: `data` and `event` count,
`id` and `retry` are for reconnecting browsers and are ignored, an event without `data` is none.

Line ends are brought to LF first, at the speed of `bytes.replace`; after that an event is what stands between
two LF LF. So the work is a handful of C calls for each chunk and each event, and none for a byte.
"""

from __future__ import annotations

from typing import Final, NamedTuple

MAX_EVENT_BYTES: Final = 4 * 1024 * 1024
"""The default bound on one event: all its lines, comments included, in bytes."""

_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"


class EventTooLargeError(Exception):
    """One event is larger than the decoder's bound. The stream cannot be decoded any further."""

    def __init__(self, max_event_bytes: int) -> None:
        super().__init__(f"an event of the stream is larger than {max_event_bytes} bytes")
        self.max_event_bytes: Final = max_event_bytes


class SseEvent(NamedTuple):
    """One event: its `data` lines joined by LF, and the name that the `event` field gave it."""

    data: bytes
    event: str = "message"


class SseDecoder:
    """Decodes one stream, in any chunking; the time it takes is linear in the bytes. One instance a stream.

    `max_event_bytes` bounds an event and with it the memory that the decoder holds.
    """

    __slots__ = ("_after_cr", "_at_start", "_max_event_bytes", "_pending")

    def __init__(self, *, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self._max_event_bytes = max_event_bytes
        self._pending = bytearray()
        self._at_start = True
        self._after_cr = False

    def feed(self, chunk: bytes) -> list[SseEvent]:
        """Return the events that `chunk` completed, in order, maybe none.

        Raise EventTooLargeError for an event above the bound, complete or not; the events before it in the
        same chunk are lost with it.
        """
        if self._after_cr or b"\r" in chunk:
            chunk = self._with_lf_only(chunk)
        pending = self._pending
        if pending:
            seen = len(pending) - 1  # the first LF of the pair may be the last byte of the chunk before
            pending += chunk
            end = pending.rfind(b"\n\n", max(seen, 0))
            if end >= 0:
                text = bytes(pending[:end])
                del pending[: end + 2]
        else:
            end = chunk.rfind(b"\n\n")
            if end >= 0:
                text = chunk[:end]
                pending += chunk[end + 2 :]
            else:
                pending += chunk
        if len(pending) > self._max_event_bytes:
            self._check_size(bytes(pending))
        return [] if end < 0 else self._events(text)

    def close(self) -> bool:
        """Tell that the stream has ended; return whether an incomplete event was dropped."""
        dropped = bool(self._pending.strip(b"\n"))
        self._pending.clear()
        return dropped

    def _with_lf_only(self, chunk: bytes) -> bytes:
        if self._after_cr and chunk:
            # That CR was a line end already; an LF after it belongs to it.
            self._after_cr = False
            chunk = chunk.removeprefix(b"\n")
        if chunk.endswith(b"\r"):
            self._after_cr = True
        return chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _events(self, text: bytes) -> list[SseEvent]:
        if self._at_start:
            self._at_start = False
            text = text.removeprefix(_BYTE_ORDER_MARK)
        if len(text) > self._max_event_bytes:
            for block in text.split(b"\n\n"):
                self._check_size(block)
        events: list[SseEvent] = []
        for block in text.split(b"\n\n"):
            if block.startswith(b"data: ") and b"\n" not in block:  # nearly all there are
                events.append(SseEvent(block[6:]))
            elif block:
                _parse(block, events)
        return events

    def _check_size(self, block: bytes) -> None:
        if len(block.strip(b"\n")) > self._max_event_bytes:
            raise EventTooLargeError(self._max_event_bytes)


def _parse(block: bytes, events: list[SseEvent]) -> None:
    """Append the event that the lines of `block` make, if they make one."""
    event = "message"
    data: list[bytes] = []
    for line in block.split(b"\n"):
        name, _, value = line.partition(b":")
        if name == b"data":
            data.append(value.removeprefix(b" "))
        elif name == b"event":
            event = value.removeprefix(b" ").decode("utf-8", "replace") or "message"
    if data:
        events.append(SseEvent(b"\n".join(data), event))
