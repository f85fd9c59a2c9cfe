"""How transports fail, and that a dead kept connection is no failure."""

from __future__ import annotations

import asyncio
import socket
import ssl
import subprocess
from typing import TYPE_CHECKING, Literal

import pytest
from tests.providers.transport.conftest import PROMPT, SECRET, Peer, Upstream, answer, exchange

from trunkline_server.providers.transport.aiohttp_transport import AiohttpTransport
from trunkline_server.providers.transport.base import (
    BrokenBodyError,
    ConnectError,
    ProtocolError,
    TransportError,
    UpstreamRequest,
)
from trunkline_server.providers.transport.httpx_transport import HttpxTransport

if TYPE_CHECKING:
    from pathlib import Path

    from trunkline_server.providers.transport.base import Transport

STARTED = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


async def refused(transport: Transport, url: str, connect_timeout_s: float = 5.0) -> ConnectError:
    with pytest.raises(ConnectError) as caught:
        await transport.send(
            UpstreamRequest(url, {"authorization": SECRET}, PROMPT), connect_timeout_s=connect_timeout_s
        )
    assert SECRET not in str(caught.value)
    assert "nobody" not in str(caught.value)
    return caught.value


async def test_refused_connection(transport: Transport) -> None:
    """A port where nobody listens is a ConnectError of phase `tcp`."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        error = await refused(transport, f"http://127.0.0.1:{unused.getsockname()[1]}/v1?key={SECRET}")
    assert error.phase == "tcp"


async def test_unknown_name(transport: Transport) -> None:
    """A name that does not resolve is a ConnectError of phase `dns`."""
    error = await refused(transport, "http://unknown-name.invalid/")
    assert error.phase == "dns"


async def test_connect_timeout(transport: Transport) -> None:
    """Connecting is bounded: a listener whose queue is full never answers, and the phase is `timeout`."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = listener.getsockname()
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)  # noqa: FBT003 - the socket's signature
            filler.connect_ex(address)
        error = await refused(transport, f"http://127.0.0.1:{address[1]}/", connect_timeout_s=0.2)
        for filler in fillers:
            filler.close()
    assert error.phase == "timeout"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a self-signed certificate for 127.0.0.1; key and certificate in one file."""
    folder = tmp_path_factory.mktemp("tls")
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost"
    subprocess.run(
        [
            *command.split(),
            *("-addext", "subjectAltName=IP:127.0.0.1"),
            *("-keyout", folder / "key.pem", "-out", folder / "certificate.pem"),
        ],
        check=True,
        capture_output=True,
    )
    both = folder / "both.pem"
    both.write_bytes((folder / "key.pem").read_bytes() + (folder / "certificate.pem").read_bytes())
    return both


def server_tls(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


async def answers(peer: Peer) -> None:
    while True:
        await peer.request()
        peer.send(answer())


async def test_untrusted_certificate(transport: Transport, certificate: Path) -> None:
    """A certificate that nobody vouches for is a ConnectError of phase `tls`, and no request is sent."""
    async with Upstream(answers, server_tls(certificate)) as upstream:
        error = await refused(transport, f"https://127.0.0.1:{upstream.port}/")
    assert error.phase == "tls"


async def test_upstream_without_tls(transport: Transport) -> None:
    """An upstream that speaks no TLS on an https URL is a ConnectError of phase `tls`."""

    async def script(peer: Peer) -> None:
        peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await peer.gone.wait()

    async with Upstream(script) as upstream:
        error = await refused(transport, f"https://127.0.0.1:{upstream.port}/")
    assert error.phase == "tls"


async def test_tls_handshake_is_inside_the_connect_timeout(transport: Transport) -> None:
    """An upstream that accepts and says nothing in the handshake is a timeout, and its connection is closed."""

    async def script(peer: Peer) -> None:
        await peer.gone.wait()

    async with Upstream(script) as upstream:
        error = await refused(transport, f"https://127.0.0.1:{upstream.port}/", connect_timeout_s=0.2)
        await asyncio.wait_for(upstream.peers[0].gone.wait(), 1)
    assert error.phase == "timeout"


async def test_trusted_certificate(transport_name: Literal["aiohttp", "httpx"], certificate: Path) -> None:
    """With its authority trusted, an upstream is spoken to in TLS over a kept connection."""
    tls = ssl.create_default_context(cafile=str(certificate))
    transport = AiohttpTransport(tls=tls) if transport_name == "aiohttp" else HttpxTransport(tls=tls)
    async with Upstream(answers, server_tls(certificate)) as upstream:
        for _ in range(2):
            async with exchange(transport, upstream.call()) as response:
                assert await response.read(100) == b"hello"
        response = await transport.send(upstream.call(), connect_timeout_s=5)
        response.close()
        assert len(upstream.peers) == 1
        await transport.aclose()
        await asyncio.wait_for(upstream.peers[0].gone.wait(), 1)


@pytest.mark.parametrize("end", ["finish", "reset"])
async def test_connection_lost_before_the_head(transport: Transport, end: str) -> None:
    """A new connection that ends before a byte of the response is a ConnectError, and is not dialled again."""

    async def script(peer: Peer) -> None:
        await peer.request()
        getattr(peer, end)()

    async with Upstream(script) as upstream:
        error = await refused(transport, f"http://127.0.0.1:{upstream.port}/")
        assert error.phase == "response"
        assert len(upstream.peers) == 1


@pytest.mark.parametrize("end", ["finish", "reset"])
async def test_dead_kept_connection_is_dialled_afresh(transport: Transport, end: str) -> None:
    """A kept connection that ends before a byte of the response is replaced by a new one, unseen by the caller."""

    async def script(peer: Peer) -> None:
        await peer.request()
        peer.send(answer())
        _, body = await peer.request()
        assert body == PROMPT
        if peer.number == 1:
            getattr(peer, end)()
        peer.send(answer(b"again"))

    async with Upstream(script) as upstream:
        async with exchange(transport, upstream.call()) as response:
            await response.read(100)
        async with exchange(transport, upstream.call()) as response:
            assert await response.read(100) == b"hello"
        assert len(upstream.peers) == 2


async def test_dead_kept_connections_are_dialled_afresh_once(transport: Transport) -> None:
    """The new connection is no kept one, however many there are, and its failure is final."""
    down = asyncio.Event()
    ready = asyncio.Barrier(3)

    async def script(peer: Peer) -> None:
        await peer.request()
        if not down.is_set():
            await ready.wait()
            peer.send(answer())
            await peer.request()
        peer.reset()

    async def call(upstream: Upstream) -> bytes:
        async with exchange(transport, upstream.call()) as response:
            return await response.read(100)

    async with Upstream(script) as upstream:
        await asyncio.gather(*(call(upstream) for _ in range(3)))
        down.set()
        error = await refused(transport, upstream.call().url)
        assert error.phase == "response"
        assert len(upstream.peers) == 4
        assert upstream.connected == 2


async def test_half_answered_kept_connection_is_not_dialled_afresh(transport: Transport) -> None:
    """Once a byte of the response came, the request is not sent again."""

    async def script(peer: Peer) -> None:
        await peer.request()
        peer.send(answer())
        await peer.request()
        peer.send(b"HTTP/1.1 2")
        peer.finish()

    async with Upstream(script) as upstream:
        async with exchange(transport, upstream.call()) as response:
            await response.read(100)
        with pytest.raises(ProtocolError):
            await transport.send(upstream.call(), connect_timeout_s=5)
        assert len(upstream.peers) == 1


async def test_answer_nobody_asked_for_is_not_used(transport: Transport) -> None:
    """Bytes on an idle connection are not the answer to the next request: the connection is given up."""
    said = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        peer.send(answer())
        if peer.number == 1:
            await said.wait()
            peer.send(answer(status="408 Request Timeout"))
            await peer.drained()
        await peer.request()

    async with Upstream(script) as upstream:
        async with exchange(transport, upstream.call()) as response:
            await response.read(100)
        said.set()
        async with asyncio.timeout(2):
            # The probe takes the same way as the stray bytes, after them.
            async with Upstream(answers) as probe, exchange(transport, probe.call()) as response:
                await response.read(100)
        async with exchange(transport, upstream.call()) as response:
            assert response.status == 200
        assert len(upstream.peers) == 2


@pytest.mark.parametrize(
    "noise",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
        b"\x00\x01\x02\x03\r\n\r\n",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"<html>hello</html>\r\n\r\n",
    ],
)
async def test_noise_instead_of_http(transport: Transport, noise: bytes) -> None:
    """What is not HTTP is a ProtocolError."""

    async def script(peer: Peer) -> None:
        await peer.request()
        peer.send(noise)
        await peer.gone.wait()

    async with Upstream(script) as upstream:
        with pytest.raises(ProtocolError):
            await transport.send(upstream.call(), connect_timeout_s=5)
        await asyncio.wait_for(upstream.peers[0].gone.wait(), 1)


@pytest.mark.parametrize("end", ["finish", "reset"])
@pytest.mark.parametrize(
    "begun",
    [STARTED + b"part", CHUNKED + b"4\r\npart\r\n", CHUNKED + b"9\r\npart", b"HTTP/1.1 200 OK\r\n\r\npart"],
    ids=["length", "between chunks", "inside a chunk", "until the end"],
)
async def test_connection_lost_inside_the_body(transport: Transport, begun: bytes, end: str) -> None:
    """A body that is cut off gives what came of it, then BrokenBodyError; nothing is sent again."""
    cut = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        peer.send(begun)
        await cut.wait()
        getattr(peer, end)()

    async with Upstream(script) as upstream, exchange(transport, upstream.call()) as response:
        chunks = response.chunks()
        assert await anext(chunks) == b"part"
        cut.set()
        if b"length" in begun or b"chunked" in begun or end == "reset":
            with pytest.raises(BrokenBodyError):
                await anext(chunks)
        else:
            with pytest.raises(StopAsyncIteration):
                await anext(chunks)
        assert len(upstream.peers) == 1


async def test_what_came_before_the_end_is_not_lost(transport: Transport) -> None:
    """Bytes that arrived together with the end of a cut body are given before the error."""

    async def script(peer: Peer) -> None:
        await peer.request()
        peer.send(CHUNKED + b"c\r\ndata: [DONE]\r\n")
        peer.finish()

    async with Upstream(script) as upstream, exchange(transport, upstream.call()) as response:
        await asyncio.wait_for(upstream.peers[0].gone.wait(), 2)
        chunks = response.chunks()
        assert await anext(chunks) == b"data: [DONE]"
        with pytest.raises(BrokenBodyError):
            await anext(chunks)


async def test_broken_framing(transport: Transport) -> None:
    """A chunk without a size is a ProtocolError, read whole or in pieces."""
    answered = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        peer.send(CHUNKED + b"4\r\npart\r\n")
        await answered.wait()
        peer.send(b"nonsense\r\n")
        await peer.gone.wait()

    async with Upstream(script) as upstream:
        async with exchange(transport, upstream.call()) as response:
            chunks = response.chunks()
            assert await anext(chunks) == b"part"
            answered.set()
            with pytest.raises(ProtocolError):
                await anext(chunks)
        with pytest.raises(ProtocolError):
            async with exchange(transport, upstream.call()) as response:
                await response.read(100)


async def test_early_answer_to_an_unread_request(transport: Transport) -> None:
    """An upstream may answer and close before it has read a large request."""

    class Deaf(asyncio.Protocol):
        def connection_made(self, connection: asyncio.BaseTransport) -> None:
            assert isinstance(connection, asyncio.Transport)
            connection.pause_reading()
            connection.write(answer(b"too long", status="413 Too Large", headers="connection: close\r\n"))
            connections.append(connection)

    connections: list[asyncio.Transport] = []
    server = await asyncio.get_running_loop().create_server(Deaf, "127.0.0.1", 0)
    async with server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        request = UpstreamRequest(url, {}, bytes(8 * 1024 * 1024))
        async with asyncio.timeout(5), exchange(transport, request) as response:
            assert response.status == 413
            assert await response.read(100) == b"too long"
        connections[0].abort()


@pytest.mark.parametrize("answered", [b"HTTP/1.1 200 OK\r\nx-echo: %s\r\n", b"%s\r\n\r\n", STARTED + b"%s"])
async def test_errors_hold_nothing_of_the_exchange(transport: Transport, answered: bytes) -> None:
    """No error, nor what caused it, tells a header value or a body, of the request or the response."""

    async def script(peer: Peer) -> None:
        await peer.request()
        peer.send(answered.replace(b"%s", SECRET.encode()))
        peer.finish()

    async with Upstream(script) as upstream:
        with pytest.raises(TransportError) as caught:
            async with exchange(transport, upstream.call()) as response:
                await response.read(100)
        error: BaseException | None = caught.value
        while error is not None:
            assert SECRET not in str(error)
            assert "nobody" not in str(error)
            error = error.__cause__
