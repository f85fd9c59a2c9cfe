"""A pool for httpx without limits and without a queue, on httpcore's HTTP/1.1 connections.

httpcore's own pool looks at every connection for every idle connection at every request (milliseconds of CPU time
for some dozens of them), does not say whether a connection was a kept one, and loses slots of a full pool when
calls are cancelled. What a router needs of a pool is less than it offers: a stack of idle connections an origin.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

import httpcore
import httpx

from trunkline_server.providers.transport.base import ConnectError, ProtocolError, TransportError
from trunkline_server.providers.transport.heads import KEEP_ALIVE_S
from trunkline_server.providers.transport.httpx_network import NetworkStream, Origin, Resolver, dial

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator

CONNECT_TIMEOUT_S = "connect_timeout_s"
"""The request extension that bounds DNS, TCP and TLS together, in seconds."""


class _Connection:
    """One connection, and what it takes to keep it."""

    __slots__ = ("expiry", "http", "origin", "stream")

    def __init__(self, origin: Origin, stream: NetworkStream) -> None:
        self.origin = origin
        self.stream = stream
        self.http = httpcore.AsyncHTTP11Connection(
            httpcore.Origin(origin.scheme.encode(), origin.host.encode(), origin.port), stream
        )
        self.expiry: asyncio.TimerHandle | None = None


class Pool(httpx.AsyncBaseTransport):
    """Keeps idle connections for `KEEP_ALIVE_S`, the last used first out, and dials whenever there is none."""

    def __init__(self, tls: ssl.SSLContext) -> None:
        self._tls = tls
        self._resolver = Resolver()
        self._open: set[_Connection] = set()
        self._idle: dict[Origin, list[_Connection]] = {}
        self._closed = False

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request; a kept connection that fails before a byte of the response is dialled afresh once."""
        url = request.url
        origin = Origin(url.scheme, url.raw_host.decode("ascii"), url.port or (443 if url.scheme == "https" else 80))
        kept = self._take(origin)
        if kept is not None:
            # If the upstream let this connection go while the request was on its way, others may be as dead.
            with suppress(ConnectError):
                return await self._exchange(kept, request)
        stream = await dial(origin, self._tls, self._resolver, request.extensions[CONNECT_TIMEOUT_S])
        if self._closed:
            stream.abort()
            raise ConnectError("cannot connect: this side is shut down", phase="tcp")
        connection = _Connection(origin, stream)
        self._open.add(connection)
        stream.on_end = partial(self._forget, connection)
        if stream.ended:
            self._forget(connection)
        return await self._exchange(connection, request)

    async def aclose(self) -> None:
        """Close every connection. Idempotent."""
        self._closed = True
        for connection in list(self._open):
            connection.stream.abort()

    def _take(self, origin: Origin) -> _Connection | None:
        idle = self._idle.get(origin, [])
        while idle:
            connection = idle.pop()
            if connection.expiry is not None:
                connection.expiry.cancel()
            if not connection.http.has_expired():
                return connection
            connection.stream.abort()  # it holds bytes that nobody asked for
        return None

    def keep(self, connection: _Connection) -> None:
        """Take a connection back whose response is over; drop it if it is of no more use."""
        stream = connection.stream
        if self._closed or stream.ended or stream.unsent or not connection.http.is_idle():
            stream.abort()
            return
        self._idle.setdefault(connection.origin, []).append(connection)
        connection.expiry = asyncio.get_running_loop().call_later(KEEP_ALIVE_S, stream.abort)

    def _forget(self, connection: _Connection) -> None:
        self._open.discard(connection)
        if connection.expiry is not None:
            connection.expiry.cancel()
        idle = self._idle.get(connection.origin, [])
        if connection in idle:
            idle.remove(connection)
        if not idle:
            self._idle.pop(connection.origin, None)

    async def _exchange(self, connection: _Connection, request: httpx.Request) -> httpx.Response:
        url = request.url
        connection.stream.answered = False
        origin = connection.origin
        try:
            response = await connection.http.handle_async_request(
                httpcore.Request(
                    request.method,
                    httpcore.URL(
                        scheme=origin.scheme, host=origin.host.encode(), port=origin.port, target=url.raw_path
                    ),
                    headers=request.headers.raw,
                    content=request.stream,
                )
            )
        except httpcore.LocalProtocolError:
            connection.stream.abort()
            raise TransportError("the upstream request cannot be written as HTTP") from None
        except (httpcore.NetworkError, httpcore.ProtocolError) as exc:
            connection.stream.abort()
            if not connection.stream.answered:
                raise ConnectError("the connection was lost before a byte of the response", phase="response") from exc
            raise ProtocolError("the upstream's answer is not HTTP/1.1, or its head is cut off or too large") from None
        except BaseException:
            connection.stream.abort()
            raise
        return httpx.Response(
            response.status,
            headers=response.headers,
            stream=_Body(self, connection, response),
            extensions={"network_stream": connection.stream},
        )


class _Body(httpx.AsyncByteStream):
    """The body of a response; closing it gives its connection back."""

    def __init__(self, pool: Pool, connection: _Connection, response: httpcore.Response) -> None:
        self._pool = pool
        self._connection = connection
        self._response = response
        self._closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for piece in self._response.aiter_stream():
            yield piece

    async def aclose(self) -> None:
        """Let go of the response. Idempotent."""
        if self._closed:
            return
        self._closed = True
        try:
            await self._response.aclose()
        finally:
            self._pool.keep(self._connection)
