"""Addresses as they are typed: `HOST:PORT` to listen on, and what grpc can connect to."""

from __future__ import annotations

_LAST_PORT = 65535
_GRPC_SCHEMES = ("dns:", "unix:", "unix-abstract:", "ipv4:", "ipv6:")


def split_address(text: str) -> tuple[str, int]:
    """Return host and port of `HOST:PORT` or `[IPV6]:PORT`; raise ValueError saying what an address looks like."""
    host, colon, port = text.rpartition(":")
    bare = host.removeprefix("[").removesuffix("]")
    bracketed = host.startswith("[") and host.endswith("]")
    usable = colon and bare and (bracketed or ":" not in host)
    if not usable or not (port.isascii() and port.isdecimal()) or int(port) > _LAST_PORT:
        raise ValueError("it must be HOST:PORT, such as 127.0.0.1:50051 or [::1]:50051, with a port from 0 to 65535")
    return bare, int(port)


def validate_listen(_: object, value: str) -> None:
    """Refuse what is no address to listen on; called while the command line is read."""
    split_address(value)


def validate_server(_: object, value: str) -> None:
    """Refuse what is no address to connect to; names with one of grpc's own schemes pass as they are."""
    if value.startswith(_GRPC_SCHEMES):
        return
    _, port = split_address(value)
    if port == 0:
        raise ValueError("port 0 is for listening only; give the port from the server's `ready` line")
