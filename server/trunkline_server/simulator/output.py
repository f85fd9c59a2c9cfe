"""Bytes out, exactly as a fault wants them: framing, half bodies, resets.

aiohttp reads the requests; answers are written to its transport directly, since no HTTP library writes half of one.
"""

from __future__ import annotations

import socket
import struct
from http import HTTPStatus
from typing import TYPE_CHECKING

from aiohttp import web

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterable

_LINGER_ZERO = struct.pack("ii", 1, 0)
_REASONS = {status.value: status.phrase for status in HTTPStatus} | {529: "Site is overloaded"}
LAST_CHUNK = b"0\r\n\r\n"


class ClientGoneError(Exception):
    """The client closed its connection before the answer was done."""


class Written(web.StreamResponse):
    """Tells aiohttp that the answer is already on its way, and whether the connection goes on."""

    def __init__(self, *, keep: bool) -> None:
        super().__init__()
        self._keep = keep

    @property
    def keep_alive(self) -> bool | None:
        """Whether another request may come on this connection."""
        return self._keep

    async def prepare(self, request: web.BaseRequest) -> None:
        """Write nothing: the head is already written."""

    async def write_eof(self, data: bytes = b"") -> None:
        """Write nothing: the body is already written."""


KEEP = Written(keep=True)
CLOSE = Written(keep=False)


def head(status: int, headers: Iterable[tuple[str, str]]) -> bytes:
    """Return the status line and the headers of a response, the empty line included."""
    lines = "".join([f"{name}: {value}\r\n" for name, value in headers])
    return f"HTTP/1.1 {status} {_REASONS.get(status, 'Unknown')}\r\n{lines}\r\n".encode("utf-8", "replace")


def reset(transport: asyncio.Transport) -> None:
    """End a connection with RST instead of FIN; what is not sent yet is lost."""
    sock = transport.get_extra_info("socket")
    if sock is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)
    transport.abort()


class Output:
    """The way out for one answer. Everything is one write a call; `drain` waits for a slow reader."""

    __slots__ = ("_budget", "_chunked", "_drain", "_keep", "_transport")

    def __init__(self, request: web.BaseRequest, *, body_budget: int | None = None) -> None:
        transport = request.transport
        if transport is None:
            raise ClientGoneError
        self._transport = transport
        self._drain = request.writer.drain
        self._keep = request.keep_alive
        self._chunked = request.version >= (1, 1)
        self._budget = body_budget

    @property
    def connection(self) -> str | None:
        """Return the `connection` header that must be sent, if any."""
        return None if self._keep and self._chunked else "close"

    @property
    def chunked(self) -> bool:
        """Whether the client understands chunked bodies (HTTP/1.1)."""
        return self._chunked

    def write(self, data: bytes) -> None:
        """Write `data` as it is, in one write."""
        self._transport.write(data)

    def frame(self, payload: bytes) -> bytes:
        """Return `payload` as one chunk of a chunked body; nothing for no payload, since an empty chunk ends a body."""
        return b"%x\r\n%b\r\n" % (len(payload), payload) if self._chunked and payload else payload

    def body_part(self, payload: bytes, before: bytes = b"") -> bool:
        """Write `before` as it is and `payload` as a chunk, in one write.

        Returns False once the byte budget of the body is used up: then only the part within it was written, and the
        connection must be closed.
        """
        if self._budget is None:
            self._transport.write(before + self.frame(payload))
            return True
        if len(payload) <= self._budget:
            self._budget -= len(payload)
            self._transport.write(before + self.frame(payload))
            return self._budget > 0
        start = b"%x\r\n" % len(payload) if self._chunked else b""
        self._transport.write(before + start + payload[: self._budget])
        self._budget = 0
        return False

    async def drain(self) -> None:
        """Wait while the client reads more slowly than we write. Raises ClientGoneError."""
        try:
            await self._drain()
        except ConnectionError as failure:
            raise ClientGoneError from failure

    def finished(self) -> Written:
        """Return what tells aiohttp that the answer is whole."""
        return KEEP if self._keep and self._chunked else CLOSE

    def reset(self) -> Written:
        """Reset the connection and return what tells aiohttp to forget it."""
        reset(self._transport)
        return CLOSE
