"""The sockets under the httpx transport.

httpx's own go through another I/O library, ask the kernel about every idle connection at every request, and
resolve a name for every connection. These are asyncio alone, know what they received, resolve through a brief
cache, and can be closed at once without awaiting anything.
"""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

import httpcore

from trunkline_server.providers.transport.base import ConnectError

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from trunkline_server.providers.transport.base import ConnectPhase

_DNS_CACHE_S: Final = 10.0
_HIGH_WATER_BYTES: Final = 256 * 1024
_STEPS: Final = {"dns": "cannot resolve", "tcp": "cannot connect to", "tls": "no TLS with"}


class Origin(NamedTuple):
    """Where connections go, and which of them are alike."""

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


class Resolver:
    """Name resolution in the event loop's threads, cached briefly, one lookup a name at a time."""

    def __init__(self) -> None:
        self._lookups: dict[tuple[str, int], tuple[float, asyncio.Task[list[Any]]]] = {}

    async def addresses(self, host: str, port: int) -> list[str]:
        """Return the addresses of `host`, best first, none twice; raise OSError if there are none."""
        loop = asyncio.get_running_loop()
        expires_s, lookup = self._lookups.get((host, port), (0.0, None))
        if lookup is None or loop.time() >= expires_s or (lookup.done() and lookup.exception()):
            lookup = loop.create_task(loop.getaddrinfo(host, port, type=socket.SOCK_STREAM))
            self._lookups[host, port] = (loop.time() + _DNS_CACHE_S, lookup)
        infos = await asyncio.shield(lookup)
        return list(dict.fromkeys(cast("str", info[4][0]) for info in infos))


class NetworkStream(asyncio.Protocol, httpcore.AsyncNetworkStream):
    """One connection. What nobody reads is buffered up to 256 KiB, then the peer is held back."""

    def __init__(self) -> None:
        self.ended = False
        """Whether the connection is gone: lost, or closed by either side."""
        self.lost = False
        """Whether it was the other side, or the network, that ended it."""
        self.answered = False
        """Whether a byte was read; who sends the next request sets it back."""
        self.on_end: Callable[[], None] | None = None
        """Called once, when the connection has ended."""
        self._transport: asyncio.Transport | None = None
        self._received = bytearray()
        self._error: Exception | None = None
        self._reader: asyncio.Future[None] | None = None
        self._reading_paused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport; asyncio has set TCP_NODELAY on it."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Keep bytes for the reader."""
        self._received += data
        if len(self._received) >= _HIGH_WATER_BYTES and not self._reading_paused and self._transport is not None:
            self._reading_paused = True
            self._transport.pause_reading()
        _wake(self._reader)

    def connection_lost(self, exc: Exception | None) -> None:
        """Take the end of the connection."""
        if not self.ended:
            self.lost = True
            self._end(exc)

    def _end(self, exc: Exception | None) -> None:
        self.ended = True
        self._error = exc
        _wake(self._reader)
        if self.on_end is not None:
            self.on_end()

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109 - httpcore's signature
        """Return what came, up to `max_bytes`; empty at the end; raise ReadError after a reset."""
        while not self._received and not self.ended:
            self._reader = asyncio.get_running_loop().create_future()
            try:
                async with asyncio.timeout(timeout):
                    await self._reader
            except TimeoutError:
                raise httpcore.ReadTimeout("nothing came in time") from None
            finally:
                self._reader = None
        if not self._received and self._error is not None:
            raise httpcore.ReadError("the connection was reset")
        data = bytes(self._received[:max_bytes])
        del self._received[:max_bytes]
        if self._reading_paused and len(self._received) < _HIGH_WATER_BYTES // 2 and self._transport is not None:
            self._reading_paused = False
            self._transport.resume_reading()
        self.answered = self.answered or bool(data)
        return data

    async def write(
        self,
        buffer: bytes,
        timeout: float | None = None,  # noqa: ARG002, ASYNC109 - httpcore's signature
    ) -> None:
        """Hand bytes over and return: an upstream may answer before it has read a request, or instead of it.

        What is unsent is part of a request that the caller holds anyway. Raise WriteError if the connection is lost.
        """
        if self.ended or self._transport is None:
            raise httpcore.WriteError("the connection is lost")
        self._transport.write(buffer)

    @property
    def unsent(self) -> bool:
        """Whether bytes of a request are still waiting to be sent."""
        return self._transport is not None and self._transport.get_write_buffer_size() > 0

    def abort(self) -> None:
        """Close at once. Idempotent. Whoever waits for bytes is told."""
        if self._transport is not None and not self.ended:
            self._received.clear()
            self._transport.abort()
            self._end(ConnectionAbortedError("closed by this side"))

    async def aclose(self) -> None:
        """Close at once. Idempotent."""
        self.abort()

    async def speak_tls(self, tls: ssl.SSLContext, host: str) -> None:
        """Speak TLS on this connection from now on; raise OSError, ssl.SSLError included. Not cancellation-safe."""
        self._transport = await asyncio.get_running_loop().start_tls(
            cast("asyncio.Transport", self._transport), self, tls, server_hostname=host
        )

    def get_extra_info(self, info: str) -> Any:
        """Answer what httpcore asks; `is_readable` on an idle connection means that it is of no use any more."""
        if info == "is_readable":
            return self.ended or bool(self._received)
        return None if self._transport is None else self._transport.get_extra_info(info)


async def dial(origin: Origin, tls: ssl.SSLContext, resolver: Resolver, connect_timeout_s: float) -> NetworkStream:
    """Return a connection to `origin`; raise ConnectError. Addresses are tried in order, each for its share of time."""
    loop = asyncio.get_running_loop()
    phase: ConnectPhase = "dns"
    stream: NetworkStream | None = None
    try:
        async with asyncio.timeout(connect_timeout_s) as bound:
            addresses = await resolver.addresses(origin.host, origin.port)
            phase = "tcp"
            for tried, address in enumerate(addresses, start=1):
                left_s = cast("float", bound.when()) - loop.time()
                try:
                    async with asyncio.timeout(left_s / (len(addresses) - tried + 1)):
                        _, stream = await loop.create_connection(NetworkStream, address, origin.port)
                    break
                except OSError:  # TimeoutError included
                    if tried == len(addresses):
                        raise
            phase = "tls"
            if origin.scheme == "https" and stream is not None:
                await stream.speak_tls(tls, origin.host)
    except TimeoutError as exc:
        _abort(stream)
        raise ConnectError(f"no connection to {origin} within {connect_timeout_s} s", phase="timeout") from exc
    except OSError as exc:
        _abort(stream)
        raise ConnectError(f"{_STEPS[phase]} {origin}: {exc.strerror or exc}", phase=phase) from exc
    except BaseException:
        _abort(stream)
        raise
    return cast("NetworkStream", stream)


def _abort(stream: NetworkStream | None) -> None:
    if stream is not None:
        stream.abort()


def _wake(waiter: asyncio.Future[None] | None) -> None:
    if waiter is not None and not waiter.done():
        waiter.set_result(None)
