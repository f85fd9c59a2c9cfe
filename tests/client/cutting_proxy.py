"""A line to a server that a test can cut: what is under way is lost, and the next connection is a new one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class CuttingProxy:
    """Passes bytes on, both ways, until it is told to drop them."""

    def __init__(self, server: str) -> None:
        """Take the server's address, `HOST:PORT`."""
        self._host, _, self._port = server.rpartition(":")
        self._writers: set[asyncio.StreamWriter] = set()
        self.address = ""

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[CuttingProxy]:
        """Listen on a free port for the length of a block."""
        listener = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        host, port = listener.sockets[0].getsockname()
        self.address = f"{host}:{port}"
        try:
            yield self
        finally:
            listener.close()
            self.cut()
            await listener.wait_closed()

    def cut(self) -> None:
        """Reset every connection."""
        for writer in self._writers:
            writer.transport.abort()

    async def _serve(self, near: asyncio.StreamReader, near_out: asyncio.StreamWriter) -> None:
        far, far_out = await asyncio.open_connection(self._host, int(self._port))
        self._writers |= {near_out, far_out}
        try:
            await asyncio.gather(_pass_on(near, far_out), _pass_on(far, near_out))
        finally:
            self._writers -= {near_out, far_out}


async def _pass_on(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    """Pass bytes on until either end is gone; then close the other one."""
    try:
        while data := await source.read(65_536):
            sink.write(data)
            await sink.drain()
    except ConnectionError:
        return  # cut: what was under way is lost, as it should be
    finally:
        sink.transport.abort()
