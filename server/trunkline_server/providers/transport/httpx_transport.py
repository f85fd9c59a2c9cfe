"""The transport for those who want httpx: its `AsyncClient`, on a pool and sockets of our own."""

from __future__ import annotations

import asyncio
import ssl
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import TYPE_CHECKING, Final, cast

import httpcore
import httpx

from trunkline_server.providers.transport.base import (
    MAX_HEADERS_BYTES,
    BrokenBodyError,
    ConnectError,
    ProtocolError,
)
from trunkline_server.providers.transport.bodies import BodyResponse
from trunkline_server.providers.transport.heads import (
    check_target,
    fold_headers,
    header_lines,
    headers_size,
)
from trunkline_server.providers.transport.httpx_pool import CONNECT_TIMEOUT_S, Pool

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import AsyncGeneratorType

    from trunkline_server.providers.transport.base import UpstreamRequest
    from trunkline_server.providers.transport.httpx_network import NetworkStream

_SWITCHING_PROTOCOLS: Final = 101
_UNBOUNDED: Final = httpx.Timeout(None)
"""Connecting is bounded where it is done, everything else by the callers."""


class HttpxTransport:
    """See `Transport`. It makes its clients at the first call.

    `tls` says what upstreams are verified with; without it that is the system's store of authorities.
    """

    def __init__(self, *, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls or ssl.create_default_context()
        self._client: httpx.AsyncClient | None = None
        self._closing: set[asyncio.Task[None]] = set()
        self._closed = False

    async def send(self, request: UpstreamRequest, *, connect_timeout_s: float) -> HttpxResponse:
        """See `Transport.send`."""
        check_target(request.method, request.url)
        fields = [line.split(": ", 1) for line in header_lines(request).split("\r\n")[:-1]]
        if self._closed:
            raise ConnectError("cannot connect: this side is shut down", phase="tcp")
        client = self._client = self._client or _client(self._tls)
        made = httpx.Request(
            request.method,
            request.url,
            headers=[(name.encode(), value.encode("latin-1")) for name, value in fields],
            content=request.body,
            extensions={CONNECT_TIMEOUT_S: connect_timeout_s},
        )
        response = HttpxResponse(self, await client.send(made, stream=True, auth=None, follow_redirects=False))
        if response.status == _SWITCHING_PROTOCOLS or headers_size(response.raw_headers) > MAX_HEADERS_BYTES:
            response.close()
            raise ProtocolError(f"the upstream switched protocols, or its head is above {MAX_HEADERS_BYTES} bytes")
        return response

    async def aclose(self) -> None:
        """See `Transport.aclose`."""
        self._closed = True
        if self._client is not None:
            await self._client.aclose()
        if self._closing:
            await asyncio.wait(self._closing)

    def close_soon(self, response: httpx.Response, body: AsyncGeneratorType[bytes, None]) -> None:
        """Let the pool forget a response whose connection is gone."""
        task = asyncio.get_running_loop().create_task(_close(response, body))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


def _client(tls: ssl.SSLContext) -> httpx.AsyncClient:
    no_cookies = CookieJar(DefaultCookiePolicy(allowed_domains=()))
    return httpx.AsyncClient(transport=Pool(tls), trust_env=False, timeout=_UNBOUNDED, cookies=no_cookies)


async def _close(response: httpx.Response, body: AsyncGeneratorType[bytes, None]) -> None:
    await response.aclose()
    if not body.ag_running:
        await body.aclose()


class HttpxResponse(BodyResponse):
    """See `UpstreamResponse`."""

    __slots__ = ("_body", "_closed", "_headers", "_owner", "_response", "_stream", "status")

    def __init__(self, owner: HttpxTransport, response: httpx.Response) -> None:
        self._owner = owner
        self._response = response
        self._body = cast("AsyncGeneratorType[bytes, None]", response.aiter_raw())
        self._stream: NetworkStream = response.extensions["network_stream"]
        self._headers: dict[str, str] | None = None
        self._closed = False
        self.status = response.status_code
        """See `UpstreamResponse.status`."""

    @property
    def headers(self) -> Mapping[str, str]:
        """See `UpstreamResponse.headers`."""
        if self._headers is None:
            self._headers = fold_headers(self.raw_headers)
        return self._headers

    @property
    def raw_headers(self) -> list[tuple[bytes, bytes]]:
        """The header fields as they came."""
        return self._response.headers.raw

    async def pull(self) -> bytes:
        """Return the next raw bytes, empty at the end."""
        if self._closed:
            raise BrokenBodyError("the response was closed by this side")
        try:
            return await anext(self._body, b"")
        except (httpcore.NetworkError, httpcore.ProtocolError, httpx.StreamError) as exc:
            if isinstance(exc, httpcore.RemoteProtocolError) and not self._stream.lost:
                raise ProtocolError("the framing of the response's body is broken") from None
            raise BrokenBodyError("the connection was lost before the end of the response's body") from None

    def close(self) -> None:
        """See `UpstreamResponse.close`."""
        if self._closed or self._response.is_closed:
            return
        self._closed = True
        self._stream.abort()
        self._owner.close_soon(self._response, self._body)
