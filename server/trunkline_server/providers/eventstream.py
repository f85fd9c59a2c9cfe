"""A decoder for `application/vnd.amazon.eventstream` that does no I/O: bytes in, messages out.

Each message is framed by its lengths and guarded by two checksums (CRC-32 as in gzip), big-endian throughout:

    total length (4) · headers length (4) · CRC of these eight bytes (4) · headers · payload · CRC of all before (4)

A header is a name (one byte of length), one byte of type, and a value. The headers of a stream are the same few
blocks of bytes again and again, so each block is parsed once: a message costs two checksums and two slices.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple
from uuid import UUID
from zlib import crc32

MAX_MESSAGE_BYTES: Final = 4 * 1024 * 1024
"""The default bound on one message: its frame, headers and payload, in bytes."""

MAX_HEADERS_BYTES: Final = 128 * 1024
"""The most that the format allows for the headers of one message."""

HeaderValue = bool | int | bytes | str | UUID
"""A header's value. Timestamps are milliseconds since 1970 (UTC)."""

_PRELUDE: Final = struct.Struct(">III")
_CRC: Final = struct.Struct(">I")
_PRELUDE_BYTES: Final = 12
_FRAME_BYTES: Final = 16
"""What a message without headers and payload has: the prelude and the second checksum."""
_KEPT_BLOCKS: Final = 32
_KEPT_BLOCK_BYTES: Final = 1024

_TRUE, _FALSE, _BINARY, _TEXT, _UUID = 0, 1, 6, 7, 9
_INTEGERS: Final[Mapping[int, struct.Struct]] = MappingProxyType(
    {
        2: struct.Struct(">b"),
        3: struct.Struct(">h"),
        4: struct.Struct(">i"),
        5: struct.Struct(">q"),
        8: struct.Struct(">q"),
    }
)
"""Types whose value is a whole number of fixed size: byte, short, int, long, timestamp."""
_LENGTH: Final = struct.Struct(">H")
_UUID_BYTES: Final = 16


class EventStreamError(Exception):
    """The bytes are no event stream, or one beyond our bounds. It cannot be decoded any further.

    The message is in words of ours and holds nothing of the stream.
    """


class EventStreamMessage(NamedTuple):
    """One message: its headers by name, and its payload as it came."""

    headers: Mapping[str, HeaderValue]
    payload: bytes


_new_message: Final = tuple.__new__
"""Makes a message of a tuple of its fields, in half the time of calling the class."""


class EventStreamDecoder:
    """Decodes one stream, in any chunking; the time it takes is linear in the bytes. One instance a stream.

    `max_message_bytes` bounds a message and with it the memory that the decoder holds.
    """

    __slots__ = ("_blocks", "_error", "_max_message_bytes", "_needed", "_pending")

    def __init__(self, *, max_message_bytes: int = MAX_MESSAGE_BYTES) -> None:
        self._max_message_bytes = max_message_bytes
        self._pending = bytearray()
        self._needed = _PRELUDE_BYTES
        self._blocks: dict[bytes, Mapping[str, HeaderValue]] = {}
        self._error: EventStreamError | None = None

    @property
    def error(self) -> EventStreamError | None:
        """What the stream broke with: raised already, or to be raised by the next `feed`."""
        return self._error

    def feed(self, chunk: bytes) -> list[EventStreamMessage]:
        """Return the messages that `chunk` completed, in order, maybe none.

        Raise EventStreamError for a wrong checksum, a length that cannot be or is above our bounds, and headers that
        cannot be read. Messages in front of it in the same chunk are returned first; the next call raises.
        """
        if self._error is not None:
            raise self._error
        pending = self._pending
        if pending:
            pending += chunk
            if len(pending) < self._needed:
                return []
            chunk = bytes(pending)
            pending.clear()
        messages: list[EventStreamMessage] = []
        try:
            end = self._messages(chunk, messages)
        except EventStreamError as error:
            self._error = error
            if not messages:
                raise
            return messages
        if end < len(chunk):
            pending += chunk[end:]
        return messages

    def close(self) -> bool:
        """Tell that the stream has ended; return whether an incomplete message was dropped."""
        dropped = bool(self._pending)
        self._pending.clear()
        return dropped

    def _messages(self, data: bytes, messages: list[EventStreamMessage]) -> int:
        """Append the whole messages at the front of `data` and return where they end."""
        at, size = 0, len(data)
        while at + _PRELUDE_BYTES <= size:
            total, headers_length, prelude_crc = _PRELUDE.unpack_from(data, at)
            crc = crc32(data[at : at + 8])
            if crc != prelude_crc:
                raise EventStreamError("the checksum of a message's lengths is wrong")
            if (
                total > self._max_message_bytes
                or not total - headers_length >= _FRAME_BYTES
                or (headers_length > MAX_HEADERS_BYTES)
            ):
                raise self._impossible(total, headers_length)
            end = at + total
            if end > size:
                self._needed = total
                return at
            crc_at = end - 4
            if crc32(data[at + 8 : crc_at], crc) != _CRC.unpack_from(data, crc_at)[0]:
                raise EventStreamError("the checksum of a message is wrong")
            payload_at = at + _PRELUDE_BYTES + headers_length
            block = data[at + _PRELUDE_BYTES : payload_at]
            headers = self._blocks.get(block)
            if headers is None:
                headers = self._read_block(block)
            messages.append(_new_message(EventStreamMessage, (headers, data[payload_at:crc_at])))
            at = end
        self._needed = _PRELUDE_BYTES
        return at

    def _impossible(self, total: int, headers_length: int) -> EventStreamError:
        if headers_length > MAX_HEADERS_BYTES:
            return EventStreamError(f"the headers of a message are larger than {MAX_HEADERS_BYTES} bytes")
        if total > self._max_message_bytes:
            return EventStreamError(f"a message of the stream is larger than {self._max_message_bytes} bytes")
        return EventStreamError("the lengths of a message contradict each other")

    def _read_block(self, block: bytes) -> Mapping[str, HeaderValue]:
        headers = MappingProxyType(read_headers(block))
        if len(block) <= _KEPT_BLOCK_BYTES and len(self._blocks) < _KEPT_BLOCKS:
            self._blocks[block] = headers
        return headers


def read_headers(block: bytes) -> dict[str, HeaderValue]:
    """Return the headers of one message; raise EventStreamError if `block` is anything but whole, differing headers."""
    headers: dict[str, HeaderValue] = {}
    at = 0
    try:
        while at < len(block):
            name_end = at + 1 + block[at]
            name = block[at + 1 : name_end].decode()
            value, at = _value(block, block[name_end], name_end + 1)
            if name in headers:
                raise EventStreamError("a message has two headers of one name")
            headers[name] = value
    except (IndexError, struct.error, UnicodeDecodeError):
        raise EventStreamError("the headers of a message cannot be read") from None
    if at > len(block):
        raise EventStreamError("the headers of a message cannot be read")
    return headers


def _value(block: bytes, kind: int, at: int) -> tuple[HeaderValue, int]:
    """Return the value of type `kind` that begins at `at`, and where it ends, which may be beyond the block."""
    if kind in {_TEXT, _BINARY}:
        start = at + 2
        end = start + _LENGTH.unpack_from(block, at)[0]
        raw = block[start:end]
        return raw.decode() if kind == _TEXT else raw, end
    if kind in {_TRUE, _FALSE}:
        return kind == _TRUE, at
    if kind in _INTEGERS:
        integer = _INTEGERS[kind]
        return int(integer.unpack_from(block, at)[0]), at + integer.size
    if kind == _UUID:
        raw = block[at : at + _UUID_BYTES].ljust(_UUID_BYTES, b"\0")
        return UUID(bytes=raw), at + _UUID_BYTES
    raise EventStreamError("a header of a message is of an unknown type")
