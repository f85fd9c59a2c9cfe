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


_new_event: Final = tuple.__new__
"""Makes an event of a tuple of its fields, in half the time of calling the class."""


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
        size = len(chunk)
        line_end = chunk.find(b"\n")
        if line_end == size - 2:
            if (
                chunk.startswith(b"data: ")
                and chunk.endswith(b"\n\n")
                and chunk.find(b"\r") < 0
                and not self._pending
                and size <= self._max_event_bytes
            ):
                # One event of one line: what a provider flushes for each token.
                self._at_start = self._after_cr = False
                return [_new_event(SseEvent, (chunk[6:-2], "message"))]
        elif (
            line_end == size - 3
            and chunk.startswith(b"data: ")
            and chunk.endswith(b"\r\n\r\n")
            and chunk.find(b"\r") == size - 4
            and not self._pending
            and size <= self._max_event_bytes
        ):
            # The same with the line ends that others send.
            self._at_start = self._after_cr = False
            return [_new_event(SseEvent, (chunk[6:-4], "message"))]
        elif chunk.startswith(b"event: ") and self._is_named_event(chunk, line_end, size):
            self._at_start = self._after_cr = False
            name = chunk[7:line_end].decode("utf-8", "replace") or "message"
            return [_new_event(SseEvent, (chunk[line_end + 7 : -2], name))]
        text = self._complete(chunk)
        return [] if text is None else self._events(text)

    @property
    def rest(self) -> bytes:
        """What stands behind the last whole event so far, as it came but for its line ends."""
        return bytes(self._pending)

    def close(self) -> bool:
        """Tell that the stream has ended; return whether an incomplete event was dropped."""
        dropped = bool(self._pending.strip(b"\n"))
        self._pending.clear()
        return dropped

    def _is_named_event(self, chunk: bytes, line_end: int, size: int) -> bool:
        """Return whether `chunk` is one event of two lines, its name and its data: what others flush for a token."""
        return (
            chunk.startswith(b"data: ", line_end + 1)
            and chunk.endswith(b"\n\n")
            and chunk.find(b"\n", line_end + 7) == size - 2
            and chunk.find(b"\r") < 0
            and not self._pending
            and size <= self._max_event_bytes
        )

    def _complete(self, chunk: bytes) -> bytes | None:
        """Return what is complete with `chunk`, up to its last LF LF, and keep the rest; None if nothing is."""
        if self._after_cr or chunk.find(b"\r") >= 0:
            chunk = self._with_lf_only(chunk)
        pending = self._pending
        unseen = max(len(pending) - 1, 0)  # the first LF of a pair may have been the last byte so far
        pending += chunk
        end = pending.rfind(b"\n\n", unseen)
        text = None
        if end >= 0:
            text = bytes(pending[:end])
            del pending[: end + 2]
        if len(pending) > self._max_event_bytes:
            self._check_size(bytes(pending))
        return text

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
        if text.startswith(b"data: "):
            payloads = text[6:].split(b"\n\ndata: ")
            if text.count(b"\n") == 2 * (len(payloads) - 1):
                # Nearly all there is: each event is one `data` line, as no LF is left inside any of them.
                return [_new_event(SseEvent, (payload, "message")) for payload in payloads]
        events: list[SseEvent] = []
        for block in text.split(b"\n\n"):
            _parse(block, events)
        return events

    def _check_size(self, block: bytes) -> None:
        if len(block.strip(b"\n")) > self._max_event_bytes:
            raise EventTooLargeError(self._max_event_bytes)


def _parse(block: bytes, events: list[SseEvent]) -> None:
    """Append the event that the lines of `block` make, if they make one."""
    head, _, value = block.partition(b"\ndata: ")
    if value and head.startswith(b"event: ") and value.find(b"\n") < 0 and head.find(b"\n") < 0:
        events.append(_new_event(SseEvent, (value, head[7:].decode("utf-8", "replace") or "message")))
        return
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
