"""Opening a port: what was asked for, where it ended up, and why it could not be had."""

from __future__ import annotations

import socket

import grpc
from grpc import aio


class ListenError(Exception):
    """The address cannot be listened on; the message says which and why, for whoever starts the server."""


def split_address(listen: str) -> tuple[str, int]:
    """Return host and port of `HOST:PORT` or `[IPV6]:PORT`. Raises ListenError."""
    host, colon, port = listen.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not port.isascii() or not port.isdecimal() or int(port) > 65535:  # noqa: PLR2004  TCP's last port
        raise ListenError(f"cannot listen on {listen!r}: it must be HOST:PORT, with a port from 0 to 65535")
    return host, int(port)


def join_address(host: str, port: int) -> str:
    """Return `HOST:PORT`, with brackets around an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def open_port(server: aio.Server, listen: str, credentials: grpc.ServerCredentials | None = None) -> str:
    """Let the server listen, and return the address that it has; port 0 becomes the port it got. Raises ListenError.

    Without credentials the port is not encrypted.
    """
    host, port = split_address(listen)
    address = join_address(host, port)
    try:
        if credentials is None:
            bound = server.add_insecure_port(address)
        else:
            bound = server.add_secure_port(address, credentials)
    except RuntimeError:
        raise ListenError(f"cannot listen on {listen}: {_why_not(host, port)}") from None
    return join_address(host, bound)


def _why_not(host: str, port: int) -> str:
    """Return the system's reason for refusing an address, which grpc does not tell."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, kind, protocol, _, address in found:
            with socket.socket(family, kind, protocol) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(address)
                probe.listen(1)
    except OSError as error:
        return (error.strerror or "the address is refused").lower()
    return "grpc refused the address"
