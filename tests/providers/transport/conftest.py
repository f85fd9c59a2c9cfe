"""A scripted upstream on loopback, in which every byte and every TCP event is the test's own."""

from __future__ import annotations

import asyncio
import re
import socket
import struct
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Literal, Self, cast

import pytest

from trunkline_server.providers.transport.base import UpstreamRequest
from trunkline_server.providers.transport.choose import make_transport

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Awaitable, Callable
    from types import TracebackType

    from trunkline_server.providers.transport.base import Transport, UpstreamResponse

SECRET = "sk-very-secret-key"  # noqa: S105 - nobody's key: tests look for it where it must not be
PROMPT = b'{"prompt": "nobody may read this"}'


def answer(body: bytes = b"hello", *, status: str = "200 OK", headers: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\ncontent-length: {len(body)}\r\n{headers}\r\n".encode("latin-1") + body


class Peer(asyncio.Protocol):
    """One accepted connection; `number` counts from 1."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self._received = bytearray()
        self._news = asyncio.Event()
        self._drained = asyncio.Event()
        self._drained.set()
        self.gone = asyncio.Event()
        self.number = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the script."""
        self.transport = cast("asyncio.Transport", transport)
        self.address: object = transport.get_extra_info("peername")
        self._upstream.adopt(self)

    def data_received(self, data: bytes) -> None:
        """Keep what the client sent."""
        self._received += data
        self._news.set()

    def eof_received(self) -> None:
        """Note that the client has closed its side."""
        self.gone.set()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """Note that the connection is gone."""
        self.gone.set()
        self._news.set()
        self._drained.set()

    def pause_writing(self) -> None:
        """Note that the client does not read."""
        self._drained.clear()

    def resume_writing(self) -> None:
        """Note that the client reads again."""
        self._drained.set()

    async def request(self) -> tuple[str, bytes]:
        """Return head and body of the next request."""
        while (found := re.search(rb"\r\n\r\n", self._received)) is None:
            await self._more()
        head = self._received[: found.start()].decode("latin-1")
        length = re.search(r"(?i)\r\ncontent-length: *(\d+)", head)
        end = found.end() + (int(length.group(1)) if length else 0)
        while len(self._received) < end:
            await self._more()
        body = bytes(self._received[found.end() : end])
        del self._received[:end]
        return head, body

    async def _more(self) -> None:
        if self.gone.is_set():
            raise ConnectionError("the client left")
        self._news.clear()
        await self._news.wait()

    def send(self, data: bytes) -> None:
        """Send bytes."""
        self.transport.write(data)

    async def drained(self) -> None:
        """Wait until the client has taken all but a little."""
        await self._drained.wait()

    def finish(self) -> None:
        """Close in order: the client sees a FIN."""
        self.transport.close()

    def reset(self) -> None:
        """Break the connection: the client sees a RST."""
        sock = cast("socket.socket", self.transport.get_extra_info("socket"))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()


class Upstream:
    """A server that runs `script` for every connection. A client that leaves ends the script in silence."""

    def __init__(self, script: Callable[[Peer], Awaitable[None]], tls: ssl.SSLContext | None = None) -> None:
        self._script = script
        self._tls = tls
        self.scripts: set[asyncio.Task[None]] = set()
        self.peers: list[Peer] = []
        self._adopted = asyncio.Event()

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: Peer(self), "127.0.0.1", 0, ssl=self._tls, backlog=1024)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._accept_all()
        self._server.close()
        for peer in self.peers:
            peer.transport.abort()
        for task in self.scripts:
            task.cancel()
        for result in await asyncio.gather(*self.scripts, return_exceptions=True):
            if isinstance(result, Exception) and not isinstance(result, ConnectionError):
                raise result

    async def _accept_all(self) -> None:
        """Wait until every connection made so far is adopted, also one that its client has left already."""
        if self._tls is not None:
            return
        _, last = await asyncio.open_connection("127.0.0.1", self.port)
        address = last.get_extra_info("sockname")
        while all(peer.address != address for peer in self.peers):
            self._adopted.clear()
            await self._adopted.wait()
        last.close()
        await last.wait_closed()

    def adopt(self, peer: Peer) -> None:
        """Run the script for a new connection."""
        self.peers.append(peer)
        peer.number = len(self.peers)
        self._adopted.set()
        self.scripts.add(asyncio.ensure_future(self._script(peer)))

    def call(self, path: str = "/v1/chat", **headers: str) -> UpstreamRequest:
        """Return a request to this upstream."""
        fields = {"authorization": f"Bearer {SECRET}"} | {k.replace("_", "-"): v for k, v in headers.items()}
        scheme = "https" if self._tls else "http"
        return UpstreamRequest(f"{scheme}://127.0.0.1:{self.port}{path}", fields, PROMPT)

    @property
    def connected(self) -> int:
        """Count the connections that stand."""
        return sum(not peer.gone.is_set() for peer in self.peers)


@pytest.fixture(params=["aiohttp", "httpx"])
def transport_name(request: pytest.FixtureRequest) -> Literal["aiohttp", "httpx"]:
    return cast("Literal['aiohttp', 'httpx']", request.param)


@pytest.fixture
async def transport(transport_name: Literal["aiohttp", "httpx"]) -> AsyncIterator[Transport]:
    """Give a transport that must leave no task behind once it is closed."""
    before = asyncio.all_tasks()
    transport = make_transport(transport_name)
    yield transport
    await transport.aclose()
    await transport.aclose()
    left = asyncio.all_tasks() - before - {cast("asyncio.Task[None]", asyncio.current_task())}
    if left:
        _, left = await asyncio.wait(left, timeout=2)
    assert not left


@asynccontextmanager
async def exchange(
    transport: Transport, request: UpstreamRequest, connect_timeout_s: float = 5.0
) -> AsyncIterator[UpstreamResponse]:
    response = await transport.send(request, connect_timeout_s=connect_timeout_s)
    try:
        yield response
    finally:
        response.close()
