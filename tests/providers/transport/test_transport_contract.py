"""What every transport does with calls that go well, or end well."""

from __future__ import annotations

import asyncio
import gzip
import zlib
from typing import TYPE_CHECKING

import pytest
from tests.providers.transport.conftest import PROMPT, SECRET, Peer, Upstream, answer, exchange

from trunkline_server.providers.transport.base import (
    BodyTooLargeError,
    ConnectError,
    ProtocolError,
    TransportError,
    UpstreamRequest,
)

if TYPE_CHECKING:
    from trunkline_server.providers.transport.base import Transport


def always(response: bytes) -> Upstream:
    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            peer.send(response)

    return Upstream(script)


async def test_request_arrives_as_made(transport: Transport) -> None:
    """The head holds the given headers, host, length and `accept-encoding: identity`, and the body is untouched."""
    seen: list[tuple[str, bytes]] = []

    async def script(peer: Peer) -> None:
        seen.append(await peer.request())
        peer.send(answer(status="201 Created", headers="X-Request-Id: 7\r\nVia: a\r\nvia: b\r\n"))

    async with Upstream(script) as upstream:
        async with exchange(transport, upstream.call("/v1/a%20b?x=%2F&y", content_type="text/x")) as response:
            assert response.status == 201
            assert response.headers["x-request-id"] == "7"
            assert response.headers["via"] == "a, b"
            assert await response.read(5) == b"hello"
        head, body = seen[0]
        start, *fields = head.split("\r\n")
        assert start == "POST /v1/a%20b?x=%2F&y HTTP/1.1"
        assert sorted(field.lower() for field in fields) == sorted(
            [
                f"host: 127.0.0.1:{upstream.port}",
                f"authorization: bearer {SECRET}",
                "content-type: text/x",
                "accept-encoding: identity",
                f"content-length: {len(PROMPT)}",
            ]
        )
        assert body == PROMPT


async def test_connection_is_kept_and_used_again(transport: Transport) -> None:
    """Calls one after another share a connection, whether the body is read, iterated over or empty."""
    async with always(answer()) as upstream:
        for _ in range(3):
            async with exchange(transport, upstream.call()) as response:
                assert await response.read(100) == b"hello"
            async with exchange(transport, upstream.call()) as response:
                assert b"".join([chunk async for chunk in response.chunks()]) == b"hello"
        assert len(upstream.peers) == 1
    async with always(answer(b"")) as upstream:
        for _ in range(3):
            async with exchange(transport, upstream.call()) as response:
                assert await response.read(0) == b""
        assert len(upstream.peers) == 1


async def test_connection_that_the_upstream_ends_is_not_used_again(transport: Transport) -> None:
    """`connection: close` is believed, also while the upstream leaves the connection open."""
    async with always(answer(headers="connection: close\r\n")) as upstream:
        for _ in range(2):
            async with exchange(transport, upstream.call()) as response:
                assert await response.read(100) == b"hello"
        assert len(upstream.peers) == 2


async def test_response_without_a_body(transport: Transport) -> None:
    """A 204 is read as an empty body, and a GET as well as a POST keeps its connection."""
    async with always(b"HTTP/1.1 204 No Content\r\n\r\n") as upstream:
        for method in ("GET", "POST", "GET"):
            request = UpstreamRequest(upstream.call().url, {}, b"", method)
            async with exchange(transport, request) as response:
                assert response.status == 204
                assert await response.read(0) == b""
        assert len(upstream.peers) == 1


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"])
async def test_redirect_is_returned_as_it_is(transport: Transport, status: str) -> None:
    """No redirect is followed: prompt and key would go to whomever the upstream names."""
    async with always(answer()) as other:
        moved = answer(status=status, headers=f"location: http://127.0.0.1:{other.port}/\r\n")
        async with always(moved) as upstream, exchange(transport, upstream.call()) as response:
            assert response.status == int(status[:3])
            assert response.headers["location"].endswith(f":{other.port}/")
        assert not other.peers


async def test_environment_has_no_say(transport: Transport, monkeypatch: pytest.MonkeyPatch) -> None:
    """Proxies and credentials of the environment are not used."""
    async with always(answer(b"proxied")) as proxy, always(answer()) as upstream:
        for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        async with exchange(transport, upstream.call()) as response:
            assert await response.read(100) == b"hello"
        assert not proxy.peers


async def test_cookies_are_not_kept(transport: Transport) -> None:
    """What an upstream sets as a cookie is not sent back."""
    heads: list[str] = []

    async def script(peer: Peer) -> None:
        while True:
            heads.append((await peer.request())[0].lower())
            peer.send(answer(headers="set-cookie: session=1; Path=/\r\n"))

    async with Upstream(script) as upstream:
        for _ in range(2):
            async with exchange(transport, upstream.call()) as response:
                await response.read(100)
        assert len(heads) == 2
        assert not any("cookie:" in head for head in heads)


async def test_interim_responses_are_passed_over(transport: Transport) -> None:
    """A 103 before the response is not the response."""
    async with (
        always(b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n" + answer()) as upstream,
        exchange(transport, upstream.call()) as response,
    ):
        assert response.status == 200
        assert await response.read(100) == b"hello"


async def test_chunks_come_as_they_are_sent(transport: Transport) -> None:
    """Each piece of a chunked body is there before the next one is sent."""
    more = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        peer.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n")
        await more.wait()
        peer.send(b"6\r\nsecond\r\n0\r\n\r\n")
        await peer.request()
        peer.send(answer())

    async with Upstream(script) as upstream:
        async with exchange(transport, upstream.call()) as response:
            chunks = response.chunks()
            assert await anext(chunks) == b"first"
            more.set()
            assert await anext(chunks) == b"second"
            with pytest.raises(StopAsyncIteration):
                await anext(chunks)
            with pytest.raises(StopAsyncIteration):
                await anext(chunks)
        async with exchange(transport, upstream.call()) as response:
            assert await response.read(100) == b"hello"
        assert len(upstream.peers) == 1


async def test_body_may_end_with_the_connection(transport: Transport) -> None:
    """Without a length the body ends with a FIN."""

    async def script(peer: Peer) -> None:
        await peer.request()
        peer.send(b"HTTP/1.1 200 OK\r\n\r\nall of it")
        peer.finish()

    async with Upstream(script) as upstream, exchange(transport, upstream.call()) as response:
        assert await response.read(100) == b"all of it"


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
async def test_body_above_the_bound_is_refused(transport: Transport, *, chunked: bool) -> None:
    """Reading stops at the bound, and the connection that holds the rest is closed."""
    body = b"x" * 100_000
    framed = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n186a0\r\n" + body + b"\r\n0\r\n\r\n"
    async with always(framed if chunked else answer(body)) as upstream:
        response = await transport.send(upstream.call(), connect_timeout_s=5)
        with pytest.raises(BodyTooLargeError):
            await response.read(99_999)
        async with exchange(transport, upstream.call()) as response:
            assert await response.read(100_000) == body


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "GZIP", "x-gzip"])
async def test_encoded_bodies_are_decoded(transport: Transport, encoding: str) -> None:
    """Whoever asks for an encoding gets the decoded body, read whole or in pieces."""
    plain = b"hello " * 50_000
    packed = zlib.compress(plain) if encoding == "deflate" else gzip.compress(plain[:7]) + gzip.compress(plain[7:])
    async with always(answer(packed, headers=f"content-encoding: {encoding}\r\n")) as upstream:
        async with exchange(transport, upstream.call(accept_encoding=encoding)) as response:
            assert await response.read(len(plain)) == plain
        async with exchange(transport, upstream.call(accept_encoding=encoding)) as response:
            chunks = [chunk async for chunk in response.chunks()]
            assert b"".join(chunks) == plain
            assert max(map(len, chunks)) <= 64 * 1024


async def test_compressed_bomb_is_bounded(transport: Transport) -> None:
    """A body is bounded after decoding: 64 MiB in 64 KiB are refused at the bound."""
    packed = gzip.compress(bytes(64 * 1024 * 1024))
    async with always(answer(packed, headers="content-encoding: gzip\r\n")) as upstream:
        response = await transport.send(upstream.call(), connect_timeout_s=5)
        with pytest.raises(BodyTooLargeError):
            await response.read(1024 * 1024)


@pytest.mark.parametrize(
    ("encoding", "body"),
    [("gzip", b"no gzip"), ("gzip", gzip.compress(b"hello", mtime=0)[:-4]), ("br", b"hello"), ("gzip, gzip", b"hello")],
)
async def test_wrong_encoding_is_a_protocol_error(transport: Transport, encoding: str, body: bytes) -> None:
    """A body that is not in the encoding its head names, or in one that we do not know, is refused."""
    async with (
        always(answer(body, headers=f"content-encoding: {encoding}\r\n")) as upstream,
        exchange(transport, upstream.call()) as response,
    ):
        assert response.status == 200
        with pytest.raises(ProtocolError):
            await response.read(100)


async def test_headers_are_bounded(transport: Transport) -> None:
    """A head of 60 KiB is fine; one of 70 KiB, or one that does not end, is refused."""
    fine = "".join(f"x-{n}: {'v' * 6000}\r\n" for n in range(10))
    async with always(answer(headers=fine)) as upstream, exchange(transport, upstream.call()) as response:
        assert len(response.headers) == 11
        assert await response.read(100) == b"hello"
    many = "".join(f"x-{n}: {'v' * 50}\r\n" for n in range(1300))
    for headers in (fine + f"y: {'v' * 9000}\r\n", f"y: {'v' * 70_000}\r\n", many):
        async with always(answer(headers=headers)) as upstream:
            with pytest.raises(ProtocolError):
                await transport.send(upstream.call(), connect_timeout_s=5)

    async def endless(peer: Peer) -> None:
        await peer.request()
        peer.send(b"HTTP/1.1 200 OK\r\n")
        while not peer.gone.is_set():
            peer.send(b"x-more: 1\r\n" * 100)
            await peer.drained()
            await asyncio.sleep(0)

    async with Upstream(endless) as upstream:
        with pytest.raises(ProtocolError):
            await transport.send(upstream.call(), connect_timeout_s=5)


@pytest.mark.parametrize(
    ("url", "headers"),
    [
        ("http://127.0.0.1:1/a b", {}),
        ("http://127.0.0.1:1/\r\nx: y", {}),
        ("http://user:word@127.0.0.1:1/", {}),
        ("http://127.0.0.1:99999/", {}),
        ("ftp://127.0.0.1:1/", {}),
        ("/v1/chat", {}),
        ("http://127.0.0.1:1/", {"x-a": f"{SECRET}\r\nx-b: 1"}),
        ("http://127.0.0.1:1/", {"x-a": f"{SECRET}\n"}),
        ("http://127.0.0.1:1/", {"x-a": f"{SECRET}\N{SNOWMAN}"}),
        ("http://127.0.0.1:1/", {"x a": SECRET}),
        ("http://127.0.0.1:1/", {"": SECRET}),
        ("http://127.0.0.1:1/", {"Content-Length": "5"}),
        ("http://127.0.0.1:1/", {"Transfer-Encoding": "chunked"}),
    ],
)
async def test_unfit_request_is_refused(transport: Transport, url: str, headers: dict[str, str]) -> None:
    """What cannot be written as one HTTP request is refused before anything is dialled, without telling values."""
    with pytest.raises(TransportError) as refused:
        await transport.send(UpstreamRequest(url, headers, b""), connect_timeout_s=1)
    assert type(refused.value) is TransportError
    assert SECRET not in str(refused.value)


async def test_closed_transport_refuses(transport: Transport) -> None:
    """After `aclose` connections are gone and no new ones are made."""
    async with always(answer()) as upstream:
        async with exchange(transport, upstream.call()) as response:
            await response.read(100)
        await transport.aclose()
        await asyncio.wait_for(upstream.peers[0].gone.wait(), 1)
        with pytest.raises(ConnectError):
            await transport.send(upstream.call(), connect_timeout_s=1)
        assert len(upstream.peers) == 1


def test_request_prints_without_secrets() -> None:
    """Neither headers nor body show in the `repr` of a request."""
    printed = repr(UpstreamRequest("http://a/", {"authorization": SECRET}, PROMPT))
    assert SECRET not in printed
    assert "nobody" not in printed
