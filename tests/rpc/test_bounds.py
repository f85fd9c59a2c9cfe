"""What peers can cost that nobody knows yet."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from grpc import aio
from tests.rpc.conftest import FakeEngine, MemoryLog, chat

from trunkline import v1 as pb
from trunkline_server.rpc.auth import OPEN_TABLE
from trunkline_server.rpc.listen import split_address
from trunkline_server.rpc.server import (
    HANDSHAKE_S,
    IDLE_S,
    MAX_CONNECTIONS,
    ServerOptions,
    channel_options,
    public_server,
)

HANDSHAKE_IN_TEST_S = 0.5
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
JUNK = [b"GET / HTTP/1.1\r\nhost: x\r\n\r\n", b"\x16\x03\x01\x00\x05hello", b"\0" * 4096, PREFACE + b"\xff" * 64]


@asynccontextmanager
async def bounded(*, max_connections: int = MAX_CONNECTIONS) -> AsyncIterator[str]:
    """Serve with a short handshake; yields the address."""
    options = ServerOptions(handshake_s=HANDSHAKE_IN_TEST_S, max_connections=max_connections)
    server = public_server(FakeEngine(), lambda: OPEN_TABLE, MemoryLog(), options)
    try:
        yield await server.start("127.0.0.1:0")
    finally:
        await server.stop_now()


async def until_closed(address: str, sent: bytes) -> float:
    """Connect, send something, and return after how many seconds the server has closed the connection."""
    loop = asyncio.get_running_loop()
    reader, writer = await asyncio.open_connection(*split_address(address))
    began_at = loop.time()
    writer.write(sent)
    try:
        async with asyncio.timeout(10):
            while await reader.read(4096):
                pass
    except ConnectionError:
        pass  # a reset is a close too
    finally:
        writer.close()
    return loop.time() - began_at


async def answers(address: str) -> bool:
    """Make a call over a connection of its own."""
    async with aio.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        response: pb.CompleteResponse = await pb.CompletionServiceStub(channel).Complete(chat(), timeout=10)
    return response.request_id == "r-1"


@pytest.mark.parametrize("sent", [b"", PREFACE[:5], PREFACE], ids=["nothing", "half a preface", "no settings"])
async def test_a_peer_that_does_not_shake_hands_is_closed(sent: bytes) -> None:
    """Whoever connects and then says nothing, or not enough, is closed when the time for a handshake is over."""
    async with bounded() as address:
        took_s = await until_closed(address, sent)
        assert await answers(address)
    assert took_s >= HANDSHAKE_IN_TEST_S / 2


@pytest.mark.parametrize("junk", JUNK)
async def test_a_peer_that_sends_junk_is_closed(junk: bytes) -> None:
    """Bytes that are no HTTP/2 end the connection, and the server answers others."""
    async with bounded() as address:
        await until_closed(address, junk)
        assert await answers(address)


async def test_a_thousand_idle_connections_stop_nobody() -> None:
    """While a thousand peers hold connections open and say nothing, calls of others are answered."""
    async with bounded() as address:
        idle = [asyncio.create_task(until_closed(address, PREFACE[:1])) for _ in range(1000)]
        assert await answers(address)
        await asyncio.gather(*idle)
        assert await answers(address)


async def test_connections_beyond_the_bound_are_closed_at_once() -> None:
    """A port holds so many connections, closes further ones as they come, and has room again once some are gone."""
    async with bounded(max_connections=5) as address:
        tasks = [asyncio.create_task(until_closed(address, b"")) for _ in range(10)]
        took_s = sorted(await asyncio.gather(*tasks))
        assert took_s[4] < HANDSHAKE_IN_TEST_S / 2
        assert took_s[5] >= HANDSHAKE_IN_TEST_S / 2
        assert await answers(address)


def test_the_bounds_are_set_on_every_server() -> None:
    """Handshake, idle time and number of connections are bounded by default."""
    settings = dict(channel_options(ServerOptions()))
    assert settings["grpc.server_handshake_timeout_ms"] == HANDSHAKE_S * 1000
    assert settings["grpc.max_connection_idle_ms"] == IDLE_S * 1000
    assert settings["grpc.max_allowed_incoming_connections"] == MAX_CONNECTIONS
