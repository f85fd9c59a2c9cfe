"""Calls of a library that blocks: made from its thread, on the event loop, bounded and ended with whoever waits."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import pytest

from trunkline_server.providers.transport.aiohttp_transport import AiohttpTransport
from trunkline_server.providers.transport.base import BodyTooLargeError, ConnectError, ProtocolError, UpstreamRequest
from trunkline_server.providers.transport.blocking import MAX_BYTES, BlockingAnswer, BlockingCalls, in_thread

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    Serving = Callable[["Upstream"], Awaitable[str]]


@pytest.fixture
async def transport() -> AsyncIterator[AiohttpTransport]:
    transport = AiohttpTransport()
    yield transport
    await transport.aclose()


class Upstream:
    """A server that answers each request with the same bytes, or not at all."""

    def __init__(self, answer: bytes | None) -> None:
        self.answer = answer
        self.asked = asyncio.Event()
        self.left = asyncio.Event()
        self.heads: list[bytes] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                self.heads.append(await reader.readuntil(b"\r\n\r\n"))
                self.asked.set()
                if self.answer is not None:
                    writer.write(self.answer)
        except asyncio.IncompleteReadError:
            self.left.set()
        finally:
            writer.close()


@pytest.fixture
async def serving() -> AsyncIterator[Serving]:
    servers: list[asyncio.Server] = []

    async def start(upstream: Upstream) -> str:
        server = await asyncio.start_server(upstream.serve, "127.0.0.1", 0)
        servers.append(server)
        return f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/token"

    yield start
    for server in servers:
        server.close()


def get(url: str) -> UpstreamRequest:
    return UpstreamRequest(url, {"x-asked": "yes"}, b"", "GET")


TOO_LARGE = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (MAX_BYTES + 1, b"x" * (MAX_BYTES + 1))
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nX-Told: yes\r\n\r\nhi"


async def test_a_thread_gets_whole_answers(transport: AiohttpTransport, serving: Serving) -> None:
    """Status, headers and body, as often as it asks; the work runs beside the loop."""
    upstream = Upstream(OK)
    url = await serving(upstream)

    def work(calls: BlockingCalls) -> tuple[list[BlockingAnswer], str]:
        return [calls.send(get(url)), calls.send(get(url))], threading.current_thread().name

    answers, thread = await in_thread(work, transport, call_s=5)
    assert answers == [BlockingAnswer(200, {"content-length": "2", "x-told": "yes"}, b"hi")] * 2
    assert thread != threading.current_thread().name
    assert b"x-asked: yes" in upstream.heads[0]
    assert b"hi" not in repr(answers[0]).encode()


async def test_what_the_work_raises_is_raised(transport: AiohttpTransport) -> None:
    """As it is."""

    def work(_: BlockingCalls) -> None:
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        await in_thread(work, transport, call_s=5)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b"nonsense\r\n\r\n", ProtocolError),
        (
            b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % (MAX_BYTES + 1) + b"x" * (MAX_BYTES + 1),
            BodyTooLargeError,
        ),
    ],
)
async def test_a_call_fails_as_the_transport_does(
    transport: AiohttpTransport, serving: Serving, answer: bytes, expected: type[Exception]
) -> None:
    """With its error, in the thread."""
    url = await serving(Upstream(answer))
    with pytest.raises(expected):
        await in_thread(lambda calls: calls.send(get(url)), transport, call_s=5)


async def test_a_call_has_an_end(transport: AiohttpTransport, serving: Serving) -> None:
    """An upstream that says nothing is a failed connection, which is closed."""
    upstream = Upstream(None)
    url = await serving(upstream)
    with pytest.raises(ConnectError, match=r"no answer within 0\.05 s"):
        await in_thread(lambda calls: calls.send(get(url)), transport, call_s=0.05)
    await asyncio.wait_for(upstream.left.wait(), 5)


async def test_who_leaves_ends_the_call_and_every_further_one(transport: AiohttpTransport, serving: Serving) -> None:
    """The connection is closed, and the work hears of it at once, again and again."""
    upstream = Upstream(None)
    url = await serving(upstream)
    told: list[str] = []
    ended = threading.Event()

    def work(calls: BlockingCalls) -> None:
        for _ in range(2):
            try:
                calls.send(get(url))
            except ConnectError as error:
                told.append(str(error))
        ended.set()

    waiting = asyncio.create_task(in_thread(work, transport, call_s=60))
    await upstream.asked.wait()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await asyncio.wait_for(upstream.left.wait(), 5)
    assert await asyncio.to_thread(ended.wait, 5)
    assert told == ["nobody waits for this call any more"] * 2
