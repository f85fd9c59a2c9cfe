"""From the name in the configuration to a transport. Libraries are imported when they are chosen."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from trunkline_server.providers.transport.base import Transport, TransportName


def transport_class(name: TransportName) -> Callable[[], Transport]:
    """Return what makes transports of the library called `name`, imported. That takes time: do it off the loop."""
    if name == "httpx":
        from trunkline_server.providers.transport.httpx_transport import HttpxTransport

        return HttpxTransport
    from trunkline_server.providers.transport.aiohttp_transport import AiohttpTransport

    return AiohttpTransport


def make_transport(name: TransportName) -> Transport:
    """Return a new transport of the library called `name`. It connects to nothing before its first call."""
    return transport_class(name)()
