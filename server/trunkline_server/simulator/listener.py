"""The listening socket: opened, closed for a while so that connections are refused, opened again on the same port."""

from __future__ import annotations

import asyncio
import errno
import socket
from typing import TYPE_CHECKING, Any

from trunkline_server.simulator.errors import ListenError

if TYPE_CHECKING:
    from collections.abc import Callable

BACKLOG = 1024
REBIND_TRIES = 50
REBIND_PAUSE_S = 0.01


def _bound(family: int, address: Any) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setblocking(False)  # noqa: FBT003 - the standard library takes it by position
        sock.bind(address)
    except BaseException:
        sock.close()
        raise
    return sock


class Listener:
    """Owns the port from `open` to `close`, also while it refuses."""

    def __init__(self, protocol: Callable[[], asyncio.BaseProtocol]) -> None:
        self._protocol = protocol
        self._family = 0
        self._address: Any = ()
        """As the socket library gives it: host, port, and two more for IPv6."""
        self._server: asyncio.Server | None = None
        self._reserved: socket.socket | None = None

    @property
    def address(self) -> tuple[str, int]:
        """Host and port, port 0 resolved. Raises RuntimeError before `open`."""
        if not self._address:
            raise RuntimeError("the simulator is not started")
        host, port = self._address[:2]
        return str(host), int(port)

    @property
    def refusing(self) -> bool:
        """Whether connections are refused now."""
        return self._server is None

    async def open(self, host: str, port: int) -> None:
        """Listen. Raises ListenError with the address and the reason."""
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
            self._family, _, _, _, address = found[0]
            sock = _bound(self._family, address)
            self._address = sock.getsockname()
            await self._listen(sock)
        except OSError as failure:
            self._address = ()
            reason = "the port is in use" if failure.errno == errno.EADDRINUSE else failure.strerror or str(failure)
            raise ListenError(f"cannot listen on {host}:{port}: {reason}") from failure

    async def _listen(self, sock: socket.socket) -> None:
        try:
            self._server = await asyncio.get_running_loop().create_server(self._protocol, sock=sock, backlog=BACKLOG)
        except BaseException:
            sock.close()
            raise

    async def refuse(self) -> None:
        """Close the listening socket but keep the port: a bound socket that does not listen refuses connections."""
        if self._server is not None:
            self._server.close()
            self._server = None
            self._reserved = await self._rebound()

    async def accept(self) -> None:
        """Listen again on the same port."""
        if self._server is None and self._reserved is not None:
            sock, self._reserved = self._reserved, None
            await self._listen(sock)

    async def _rebound(self) -> socket.socket:
        # uvloop closes a listening socket an iteration later: until then the port is taken by ourselves.
        for _ in range(REBIND_TRIES):
            try:
                return _bound(self._family, self._address)
            except OSError as failure:
                if failure.errno != errno.EADDRINUSE:
                    raise
                await asyncio.sleep(REBIND_PAUSE_S)
        raise ListenError(f"port {self._address[1]} was taken by another program while connections were refused")

    def close(self) -> None:
        """Give the port back."""
        if self._server is not None:
            self._server.close()
            self._server = None
        if self._reserved is not None:
            self._reserved.close()
            self._reserved = None
