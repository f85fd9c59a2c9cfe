"""What both transports do with the body of a response: decode it, bound it, and let go of it on any failure."""

from __future__ import annotations

import zlib
from abc import ABC, abstractmethod
from functools import partial
from typing import TYPE_CHECKING, Final, Self

from trunkline_server.providers.transport.base import BodyTooLargeError, ProtocolError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

_PIECE_BYTES: Final = 64 * 1024
"""The most that is decompressed at a time: a small piece of a bomb holds a thousand times its size."""

_ANY_ZLIB_HEADER: Final = zlib.MAX_WBITS | 32


class Inflater:
    """Decodes `gzip` and `deflate`, in bounded pieces."""

    __slots__ = ("_compressed", "_started", "_zlib")

    def __init__(self) -> None:
        self._zlib = zlib.decompressobj(wbits=_ANY_ZLIB_HEADER)
        self._compressed = b""
        self._started = False

    def feed(self, compressed: bytes) -> None:
        """Take the next compressed bytes. Call it only when `piece` has nothing left to give."""
        self._compressed = compressed
        self._started = True

    def piece(self) -> bytes:
        """Return up to 64 KiB more; empty when what was fed is used up. Raise ProtocolError if it is garbage."""
        piece = b""
        while self._compressed and not piece:
            if self._zlib.eof:  # gzip members may follow each other
                self._zlib = zlib.decompressobj(wbits=_ANY_ZLIB_HEADER)
            try:
                piece = self._zlib.decompress(self._compressed, _PIECE_BYTES)
            except zlib.error:
                raise ProtocolError("the body of the response is not in the encoding that its head names") from None
            self._compressed = self._zlib.unused_data if self._zlib.eof else self._zlib.unconsumed_tail
        return piece

    def finish(self) -> None:
        """Tell that the compressed bytes have ended; raise ProtocolError if they are cut off."""
        if self._started and not self._zlib.eof:
            raise ProtocolError("the compressed body of the response is cut off")


class BodyResponse(ABC):
    """A response of either transport. A transport says how raw bytes are pulled and how the call is let go."""

    __slots__ = ()

    @property
    @abstractmethod
    def headers(self) -> Mapping[str, str]:
        """See `UpstreamResponse.headers`."""

    @abstractmethod
    async def pull(self) -> bytes:
        """Return the next raw bytes, empty at the end of the body; raise BrokenBodyError or ProtocolError."""

    @abstractmethod
    def close(self) -> None:
        """See `UpstreamResponse.close`."""

    async def read(self, max_bytes: int) -> bytes:
        """See `UpstreamResponse.read`."""
        try:
            return await self._read_bounded(max_bytes)
        except BaseException:
            self.close()
            raise

    def chunks(self) -> AsyncIterator[bytes]:
        """See `UpstreamResponse.chunks`."""
        return _Chunks(self)

    async def _read_bounded(self, max_bytes: int) -> bytes:
        next_piece = self.choose_decoding()
        size = 0
        pieces: list[bytes] = []
        while piece := await next_piece():
            size += len(piece)
            if size > max_bytes:
                raise BodyTooLargeError(max_bytes)
            pieces.append(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def choose_decoding(self) -> Callable[[], Awaitable[bytes]]:
        """Return what gives the next decoded bytes, empty at the end; raise ProtocolError for an odd encoding."""
        encoding = self.headers.get("content-encoding", "").strip().lower()
        if encoding in {"", "identity"}:
            return self.pull
        if encoding not in {"gzip", "x-gzip", "deflate"}:
            raise ProtocolError("the body of the response is in an encoding that was not asked for")
        return partial(_inflated, self.pull, Inflater())


async def _inflated(pull: Callable[[], Awaitable[bytes]], inflater: Inflater) -> bytes:
    while not (piece := inflater.piece()):
        compressed = await pull()
        if not compressed:
            inflater.finish()
            return b""
        inflater.feed(compressed)
    return piece


class _Chunks:
    """Iterates over a body. No generator: leaving it early leaves nothing for the garbage collector to finish."""

    __slots__ = ("_ended", "_next", "_response")

    def __init__(self, response: BodyResponse) -> None:
        self._response = response
        self._next: Callable[[], Awaitable[bytes]] | None = None
        self._ended = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if self._ended:
            raise StopAsyncIteration
        try:
            if self._next is None:
                self._next = self._response.choose_decoding()
            piece = await self._next()
        except BaseException:
            self._response.close()
            raise
        if not piece:
            self._ended = True
            raise StopAsyncIteration
        return piece
