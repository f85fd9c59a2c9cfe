"""The HTTP clients that the reference servers of scripts/bench call their upstream with, each used plainly.

All make the same call: a POST of a finished body with a key. What they give back is the raw body, whole or in pieces.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from contextlib import AbstractAsyncContextManager

CONNECT_TIMEOUT_S = 3.0
HEADERS = {"content-type": "application/json", "authorization": "Bearer sk-bench"}


class Client(Protocol):
    """One way of calling the upstream. An answer other than 2xx raises."""

    async def ask(self, url: str, body: bytes) -> bytes:
        """Return the whole answer."""
        ...

    def stream(self, url: str, body: bytes) -> AsyncIterator[bytes]:
        """Yield the answer in the pieces that come."""
        ...


class UpstreamError(Exception):
    """The upstream did not answer with 200: the figures would mean nothing."""


@asynccontextmanager
async def _aiohttp() -> AsyncIterator[Client]:
    import aiohttp

    class Plain:
        def __init__(self, session: aiohttp.ClientSession) -> None:
            self._session = session

        async def ask(self, url: str, body: bytes) -> bytes:
            async with self._session.post(url, data=body, headers=HEADERS) as response:
                _check(response.status)
                return await response.read()

        async def stream(self, url: str, body: bytes) -> AsyncIterator[bytes]:
            async with self._session.post(url, data=body, headers=HEADERS) as response:
                _check(response.status)
                async for piece in response.content.iter_any():
                    yield piece

    # The one setting that a gateway needs: its own limit of 100 connections would be a hidden queue.
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        yield Plain(session)


@asynccontextmanager
async def _httpx() -> AsyncIterator[Client]:
    import httpx

    class Plain:
        def __init__(self, client: httpx.AsyncClient) -> None:
            self._client = client

        async def ask(self, url: str, body: bytes) -> bytes:
            response = await self._client.post(url, content=body, headers=HEADERS)
            _check(response.status_code)
            return response.content

        async def stream(self, url: str, body: bytes) -> AsyncIterator[bytes]:
            async with self._client.stream("POST", url, content=body, headers=HEADERS) as response:
                _check(response.status_code)
                async for piece in response.aiter_bytes():
                    yield piece

    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    async with httpx.AsyncClient(limits=limits, trust_env=False) as client:
        yield Plain(client)


@asynccontextmanager
async def _pyqwest() -> AsyncIterator[Client]:
    import pyqwest  # type: ignore[import-not-found,unused-ignore]  # optional: measured where it is installed

    class Plain:
        def __init__(self, client: pyqwest.Client) -> None:
            self._client = client

        async def ask(self, url: str, body: bytes) -> bytes:
            response = await self._client.post(url, HEADERS, body)
            _check(response.status)
            return bytes(response.content)

        async def stream(self, url: str, body: bytes) -> AsyncIterator[bytes]:
            async with self._client.stream("POST", url, HEADERS, body) as response:
                _check(response.status)
                async for piece in response.content:
                    yield bytes(piece)

    yield Plain(pyqwest.Client(pyqwest.HTTPTransport(enable_otel=False)))


@asynccontextmanager
async def _own() -> AsyncIterator[Client]:
    from trunkline_server.providers.transport.base import MAX_BODY_BYTES, UpstreamRequest
    from trunkline_server.providers.transport.choose import make_transport

    transport = make_transport("aiohttp")

    class Plain:
        async def ask(self, url: str, body: bytes) -> bytes:
            response = await transport.send(UpstreamRequest(url, HEADERS, body), connect_timeout_s=CONNECT_TIMEOUT_S)
            try:
                _check(response.status)
                return await response.read(MAX_BODY_BYTES)
            finally:
                response.close()

        async def stream(self, url: str, body: bytes) -> AsyncIterator[bytes]:
            response = await transport.send(UpstreamRequest(url, HEADERS, body), connect_timeout_s=CONNECT_TIMEOUT_S)
            try:
                _check(response.status)
                async for piece in response.chunks():
                    yield piece
            finally:
                response.close()

    try:
        yield Plain()
    finally:
        await transport.aclose()


def _check(status: int) -> None:
    if status != 200:  # noqa: PLR2004  the one status that these answers have
        raise UpstreamError(f"the upstream answered {status}")


CLIENTS = {"aiohttp": _aiohttp, "httpx": _httpx, "pyqwest": _pyqwest, "own": _own}
"""By the name that the bench's table shows; `own` is this project's default transport without anything around it."""


def open_client(name: str) -> AbstractAsyncContextManager[Client]:
    """Return the client of that name, to be entered in the event loop that uses it. Raises KeyError."""
    return CLIENTS[name]()
