"""A connection of the aiohttp transport: aiohttp's protocol class, taught four things that a router needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.http_exceptions import HttpProcessingError

from trunkline_server.providers.transport.base import MAX_HEADERS_BYTES

if TYPE_CHECKING:
    import asyncio

NO_HEAD_AWAITED = -1
"""The value of `UpstreamConnection.head_bytes` between responses' heads."""


class UpstreamConnection(ResponseHandler):
    """A connection that knows how many calls it served and how much of the awaited head has come.

    Beyond that it bounds a head, cuts off an upstream that speaks without being asked (its words would be taken
    for the answer to the next request), and tells the reader of a body of every way in which it can break.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self.calls = 0
        self.head_bytes = NO_HEAD_AWAITED
        """Bytes received while the head of a response is awaited."""

    def data_received(self, data: bytes) -> None:
        """Take bytes from the network."""
        if self.head_bytes >= 0:
            self.head_bytes += len(data)
            super().data_received(data)
            if self.head_bytes > MAX_HEADERS_BYTES and not self._buffer and not self._eof:
                self.set_exception(HttpProcessingError(message="the head does not end"))
                self.abort()
        elif data and (self._payload is None or self._payload.is_eof()):
            self.abort()
        else:
            super().data_received(data)

    def resume_reading(self, resume_parser: bool = True) -> None:  # noqa: FBT001, FBT002 - aiohttp's signature
        """Go on reading. aiohttp calls this for every piece of a body; mostly there is nothing to do."""
        if self._reading_paused:
            super().resume_reading(resume_parser)

    def set_exception(self, exc: BaseException, *cause: BaseException) -> None:
        """Fail whoever waits for a head, and the reader of a body, which aiohttp forgets for broken framing."""
        self._break_body(exc)
        super().set_exception(exc, *cause)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Take the end of the connection. A reset is no end of a body, although a FIN may be one."""
        if exc is not None:
            self._break_body(exc)
        super().connection_lost(exc)

    def close(self) -> None:
        """Close in order, and tell whoever waits for the rest of a body."""
        self._break_body(aiohttp.ClientConnectionError("closed by this side"))
        super().close()

    def abort(self) -> None:
        """Close at once, unsent bytes or not, and tell whoever waits for the rest of a body."""
        self._break_body(aiohttp.ClientConnectionError("closed by this side"))
        super().abort()

    def _break_body(self, exc: BaseException) -> None:
        payload = self._payload
        if payload is not None and not payload.is_eof() and payload.exception() is None:
            payload.set_exception(exc)
