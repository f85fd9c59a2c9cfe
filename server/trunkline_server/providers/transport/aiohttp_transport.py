"""The default transport: aiohttp's connector and C parser, without its session.

The connector dials, resolves, keeps connections and speaks TLS; its protocol class parses responses. What a
session puts around each request (cookies, redirects, proxies, traces, a request and a response object with their
multidicts) is what a router must not have, and more than half of the CPU time of a call. The price is that this
file knows aiohttp from inside; the contract tests hold aiohttp to what is taken for granted here.
"""

from __future__ import annotations

import asyncio
import functools
import ssl
from typing import TYPE_CHECKING, Final, NamedTuple, cast

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError
from yarl import URL

from trunkline_server.providers.transport.aiohttp_connection import NO_HEAD_AWAITED, UpstreamConnection
from trunkline_server.providers.transport.base import (
    MAX_HEADERS_BYTES,
    BrokenBodyError,
    ConnectError,
    ProtocolError,
    TransportError,
)
from trunkline_server.providers.transport.bodies import BodyResponse
from trunkline_server.providers.transport.heads import (
    KEEP_ALIVE_S,
    check_target,
    fold_headers,
    header_lines,
    headers_size,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiohttp.client_proto import ResponseHandler
    from aiohttp.connector import Connection
    from aiohttp.http_parser import RawResponseMessage
    from aiohttp.streams import StreamReader

    from trunkline_server.providers.transport.base import UpstreamRequest

_DNS_CACHE_S: Final = 10
_MAX_HEADERS: Final = 1000
_MAX_TARGETS: Final = 1024
_JOINED_BODY_BYTES: Final = 64 * 1024
_FIRST_FINAL_STATUS: Final = 200
_SWITCHING_PROTOCOLS: Final = 101


class _Target(NamedTuple):
    """What stays the same for all requests to one URL."""

    start: str
    """Request line and host field."""
    dial: aiohttp.ClientRequest
    """Tells the connector where to. It is never sent."""
    where: str
    """Host and port, for messages."""


class AiohttpTransport:
    """See `Transport`. It makes its connectors at the first call, in the event loop of that call.

    `tls` says what upstreams are verified with; without it that is the system's store of authorities.
    """

    def __init__(self, *, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls or ssl.create_default_context()
        self._kept: aiohttp.TCPConnector | None = None
        self._fresh: aiohttp.TCPConnector | None = None
        self._targets: dict[tuple[str, str], _Target] = {}
        self._closed = False

    async def send(self, request: UpstreamRequest, *, connect_timeout_s: float) -> AiohttpResponse:
        """See `Transport.send`."""
        target = self._targets.get((request.method, request.url)) or self._new_target(request)
        head = f"{target.start}{header_lines(request)}content-length: {len(request.body)}\r\n\r\n".encode("latin-1")
        connector = self._kept = self._kept or self._connector(force_close=False)
        connection, protocol = await self._connect(connector, target, connect_timeout_s)
        try:
            return await _exchange(connection, protocol, head, request)
        except ConnectError:
            if protocol.calls == 1:
                raise
        # The upstream let a kept connection go while the request was on its way. Another kept one may be as
        # dead, so this one is new for certain.
        connector = self._fresh = self._fresh or self._connector(force_close=True)
        connection, protocol = await self._connect(connector, target, connect_timeout_s)
        return await _exchange(connection, protocol, head, request)

    async def aclose(self) -> None:
        """See `Transport.aclose`."""
        self._closed = True
        for connector in (self._kept, self._fresh):
            if connector is not None:
                await connector.close(abort_ssl=True)

    def _connector(self, *, force_close: bool) -> aiohttp.TCPConnector:
        connector = aiohttp.TCPConnector(
            limit=0,
            ssl=self._tls,
            ttl_dns_cache=_DNS_CACHE_S,
            force_close=force_close,
            keepalive_timeout=None if force_close else KEEP_ALIVE_S,
        )
        protocols = functools.partial(UpstreamConnection, loop=asyncio.get_running_loop())
        connector._factory = cast(  # noqa: SLF001 - there is no public way to choose the protocol class
            "functools.partial[ResponseHandler]", protocols
        )
        return connector

    def _new_target(self, request: UpstreamRequest) -> _Target:
        check_target(request.method, request.url)
        try:
            url = URL(request.url, encoded=True)
            dial = aiohttp.ClientRequest(request.method, url, loop=asyncio.get_running_loop())
        except ValueError:
            raise TransportError("the URL of an upstream request has no valid host and port") from None
        host = url.host_port_subcomponent
        start = f"{request.method} {url.raw_path_qs} HTTP/1.1\r\nhost: {host}\r\n"
        target = _Target(start, dial, f"{dial.host}:{dial.port}")
        if len(self._targets) >= _MAX_TARGETS:
            self._targets.clear()
        self._targets[request.method, request.url] = target
        return target

    async def _connect(
        self, connector: aiohttp.TCPConnector, target: _Target, connect_timeout_s: float
    ) -> tuple[Connection, UpstreamConnection]:
        if self._closed:
            raise ConnectError(f"cannot connect to {target.where}: this side is shut down", phase="tcp")
        try:
            connection = await connector.connect(target.dial, [], _timeout(connect_timeout_s))
        except aiohttp.ClientConnectorDNSError as exc:
            raise ConnectError(f"cannot resolve {target.dial.host}: {_reason(exc)}", phase="dns") from exc
        except (aiohttp.ClientConnectorSSLError, aiohttp.ClientConnectorCertificateError) as exc:
            raise ConnectError(f"no TLS with {target.where}: {_reason(exc)}", phase="tls") from exc
        except TimeoutError as exc:
            raise ConnectError(
                f"no connection to {target.where} within {connect_timeout_s} s", phase="timeout"
            ) from exc
        except (aiohttp.ClientError, OSError) as exc:
            raise ConnectError(f"cannot connect to {target.where}: {_reason(exc)}", phase="tcp") from exc
        return connection, cast("UpstreamConnection", connection.protocol)


@functools.lru_cache(maxsize=64)
def _timeout(connect_timeout_s: float) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=None, connect=connect_timeout_s)


def _reason(exc: Exception) -> str:
    cause: object = getattr(exc, "certificate_error", None) or getattr(exc, "os_error", exc)
    return getattr(cause, "strerror", None) or str(cause)


async def _exchange(
    connection: Connection, protocol: UpstreamConnection, head: bytes, request: UpstreamRequest
) -> AiohttpResponse:
    """Write the request and wait for the head of its response; on any failure the connection is gone."""
    protocol.calls += 1
    protocol.head_bytes = 0
    try:
        protocol.set_response_params(
            skip_payload=request.method == "HEAD",
            read_until_eof=True,
            auto_decompress=False,
            max_line_size=MAX_HEADERS_BYTES,
            max_field_size=MAX_HEADERS_BYTES,
            max_headers=_MAX_HEADERS,
        )
        transport = cast("asyncio.Transport", protocol.transport)
        if len(request.body) <= _JOINED_BODY_BYTES:
            transport.write(head + request.body)
        else:
            transport.write(head)
            transport.write(request.body)
        message, payload = await _final_head(protocol)
    except BaseException as exc:
        protocol.abort()
        connection.close()
        if isinstance(exc, HttpProcessingError):
            raise ProtocolError("the upstream's answer is not HTTP/1.1, or its head is too large") from None
        if isinstance(exc, (aiohttp.ClientError, OSError)):
            if protocol.head_bytes > 0:
                raise ProtocolError("the connection was lost inside the head of the response") from None
            raise ConnectError("the connection was lost before a byte of the response", phase="response") from exc
        raise
    protocol.head_bytes = NO_HEAD_AWAITED
    return AiohttpResponse(connection, protocol, message, payload)


async def _final_head(protocol: UpstreamConnection) -> tuple[RawResponseMessage, StreamReader]:
    message, payload = await protocol.read()
    while message.code < _FIRST_FINAL_STATUS:
        if message.code == _SWITCHING_PROTOCOLS:
            raise ProtocolError("the upstream switched protocols without being asked")
        message, payload = await protocol.read()
    if protocol.head_bytes > MAX_HEADERS_BYTES and headers_size(message.raw_headers) > MAX_HEADERS_BYTES:
        raise ProtocolError(f"the head of the response is larger than {MAX_HEADERS_BYTES} bytes")
    return message, payload


class AiohttpResponse(BodyResponse):
    """See `UpstreamResponse`."""

    __slots__ = ("_connection", "_ended", "_headers", "_message", "_payload", "_protocol", "status")

    def __init__(
        self,
        connection: Connection,
        protocol: UpstreamConnection,
        message: RawResponseMessage,
        payload: StreamReader,
    ) -> None:
        self._connection: Connection | None = connection
        self._protocol = protocol
        self._message = message
        self._payload = payload
        self._headers: dict[str, str] | None = None
        self._ended = False
        self.status: int = message.code
        """See `UpstreamResponse.status`."""

    @property
    def headers(self) -> Mapping[str, str]:
        """See `UpstreamResponse.headers`."""
        if self._headers is None:
            self._headers = fold_headers(self._message.raw_headers)
        return self._headers

    async def pull(self) -> bytes:
        """Return the next raw bytes, empty at the end."""
        if self._ended:
            return b""
        payload = self._payload
        try:
            data = await payload.readany()
        except (aiohttp.ClientError, HttpProcessingError, OSError, RuntimeError) as exc:
            # What came before the break is still the caller's.
            rest = payload._read_nowait(-1)  # noqa: SLF001 - the public ways raise for a broken body
            if rest and self._connection is not None:
                return rest
            if isinstance(exc, HttpProcessingError):
                raise ProtocolError("the framing of the response's body is broken") from None
            raise BrokenBodyError("the connection was lost before the end of the response's body") from None
        if payload.at_eof():
            self._ended = True
            self._release()
        return data

    def close(self) -> None:
        """See `UpstreamResponse.close`."""
        if self._payload.is_eof() and self._payload.exception() is None:
            self._release()
        elif self._connection is not None:
            self._drop(self._connection)

    def _release(self) -> None:
        connection = self._connection
        transport = self._protocol.transport
        if connection is None:
            return
        if transport is not None and transport.get_write_buffer_size():
            # Answered before the request was sent whole, and its rest is still in the way.
            self._drop(connection)
            return
        self._connection = None
        connection.release()

    def _drop(self, connection: Connection) -> None:
        self._connection = None
        self._protocol.abort()
        connection.close()
