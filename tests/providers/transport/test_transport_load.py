"""What transports do with many calls, cancelled calls, and upstreams that are slow or not listened to."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

import pytest
from tests.providers.transport.conftest import Peer, Upstream, answer, exchange

from trunkline_server.providers.transport.base import BrokenBodyError

if TYPE_CHECKING:
    from trunkline_server.providers.transport.base import Transport, UpstreamResponse

CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
SEEN_S = 0.1
"""How soon an upstream sees that a call was given up, in seconds."""


async def call(transport: Transport, upstream: Upstream) -> bytes:
    async with exchange(transport, upstream.call()) as response:
        return await response.read(100)


async def unused(upstream: Upstream) -> None:
    """Wait until no connection stands any more."""
    async with asyncio.timeout(2):
        for peer in upstream.peers:
            await peer.gone.wait()


async def test_300_calls_at_once(transport: Transport) -> None:
    """No call waits for another: 300 are in flight before the first is answered."""
    all_there = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        if len(upstream.peers) == 300:
            all_there.set()
        await all_there.wait()
        peer.send(answer())

    async with Upstream(script) as upstream, asyncio.timeout(10):
        bodies = await asyncio.gather(*(call(transport, upstream) for _ in range(300)))
    assert bodies == [b"hello"] * 300


@pytest.mark.parametrize("read", [0, 1, 3], ids=["head", "chunk", "backlog"])
async def test_close_in_a_stream_is_seen_at_once(transport: Transport, read: int) -> None:
    """Closing an unfinished response, any number of times, closes its connection within 100 ms."""

    async def script(peer: Peer) -> None:
        await peer.request()
        peer.send(CHUNKED + b"4\r\npart\r\n")
        await peer.gone.wait()

    async with Upstream(script) as upstream:
        response = await transport.send(upstream.call(), connect_timeout_s=5)
        chunks = response.chunks()
        for _ in range(read):
            upstream.peers[0].send(b"4\r\npart\r\n")
            assert (await anext(chunks)).startswith(b"part")
        response.close()
        response.close()
        await asyncio.wait_for(upstream.peers[0].gone.wait(), SEEN_S)


async def test_close_wakes_the_reader(transport: Transport) -> None:
    """Whoever waits for the next piece of a body hears that it was closed."""

    async def script(peer: Peer) -> None:
        await peer.request()
        peer.send(CHUNKED + b"4\r\npart\r\n")
        await peer.gone.wait()

    async def read(response: UpstreamResponse) -> None:
        async for _ in response.chunks():
            reading.set()

    reading = asyncio.Event()
    async with Upstream(script) as upstream:
        response = await transport.send(upstream.call(), connect_timeout_s=5)
        reader = asyncio.create_task(read(response))
        await reading.wait()
        response.close()
        with pytest.raises(BrokenBodyError):
            await asyncio.wait_for(reader, 1)


@pytest.mark.parametrize("stage", ["connecting", "head", "body"])
async def test_cancelled_call_closes_its_connection(transport: Transport, stage: str) -> None:
    """A call that is cancelled while it waits for anything is gone upstream within 100 ms."""
    reached = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        if stage == "body":
            peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\npart")
        reached.set()
        await peer.gone.wait()

    async with Upstream(script) as upstream:
        task = asyncio.create_task(call(transport, upstream))
        if stage == "connecting":
            await asyncio.sleep(0)
        else:
            await reached.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        for peer in upstream.peers:
            await asyncio.wait_for(peer.gone.wait(), SEEN_S)
        assert stage == "connecting" or len(upstream.peers) == 1


async def test_upstream_is_held_back_when_nobody_reads(transport: Transport) -> None:
    """What nobody iterates over stays with the upstream, apart from bounded buffers; then it all comes."""
    total = 64 * 1024 * 1024
    stalled = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % total)
        for _ in range(total // 65536):
            peer.send(bytes(65536))
            sent[0] += 65536
            if peer.transport.get_write_buffer_size() > 65536:
                stalled.set()
            await peer.drained()

    sent = [0]
    async with Upstream(script) as upstream, exchange(transport, upstream.call()) as response:
        await asyncio.wait_for(stalled.wait(), 5)
        while True:
            before = sent[0]
            # A round trip on another connection gives the stalled one every chance to go on.
            async with Upstream(quick) as other:
                assert await call(transport, other) == b"hello"
            if sent[0] == before:
                break
        assert sent[0] < total // 2
        received = 0
        async for chunk in response.chunks():
            received += len(chunk)
        assert received == total


async def quick(peer: Peer) -> None:
    while True:
        await peer.request()
        peer.send(answer())


async def test_cancel_churn_leaves_nothing(transport: Transport) -> None:
    """After 500 calls were cancelled in all stages, 20 of 20 new ones succeed and no connection or task is left."""
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    before = asyncio.all_tasks()

    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            await asyncio.sleep(chance.random() * 0.02)
            peer.send(CHUNKED + b"5\r\nhello\r\n")
            await asyncio.sleep(chance.random() * 0.02)
            peer.send(b"0\r\n\r\n")

    async def cancelled(upstream: Upstream) -> None:
        task = asyncio.create_task(call(transport, upstream))
        await asyncio.sleep(chance.random() * 0.04)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled() or task.result() == b"hello"

    async with Upstream(script) as upstream:
        for _ in range(5):
            await asyncio.gather(*(cancelled(upstream) for _ in range(100)))
        async with asyncio.timeout(5):
            assert await asyncio.gather(*(call(transport, upstream) for _ in range(20))) == [b"hello"] * 20
        await transport.aclose()
        await unused(upstream)
        scripts = set(upstream.scripts)
        left = asyncio.all_tasks() - before - scripts
        if left:
            _, left = await asyncio.wait(left, timeout=1)
        assert not left
