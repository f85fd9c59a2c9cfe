"""What a protocol adapter may ask of an HTTP client, and how such a client fails.

Adapters see this file only. Which library does the work is a line of configuration (`transport: aiohttp`),
and both libraries pass the same contract tests.

A transport carries one call: no redirects, cookies or environment proxies, no queue of its own, and no
time limit besides the one for connecting. Gates and timers above it bound the rest; they end a wait by
cancelling it, which closes the connection.
"""

from __future__ import annotations

from dataclasses import field
from typing import TYPE_CHECKING, Final, Literal, Protocol

from trunkline_server.routing.record import record

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

MAX_BODY_BYTES: Final = 32 * 1024 * 1024
"""The largest body of a response that anybody may ask for, in bytes after decoding."""

MAX_ERROR_BODY_BYTES: Final = 64 * 1024
"""What callers pass as `max_bytes` for the body of an error response, in bytes after decoding."""

MAX_HEADERS_BYTES: Final = 64 * 1024
"""The largest head of a response, in bytes: names and values of all header fields together."""

TransportName = Literal["aiohttp", "httpx"]
"""The transports that can be configured. `aiohttp` is the default: a call costs a tenth of the CPU time."""

ConnectPhase = Literal["dns", "tcp", "tls", "timeout", "response"]
"""Where a call ended before its first response byte.

`dns`, `tcp` and `tls` name the step of connecting that failed, `timeout` says that `connect_timeout_s`
passed before they were done. Nothing of the request was sent in these four. `response` says that the
connection stood and was lost before a byte of the response: the upstream may have seen the request.
"""


class TransportError(Exception):
    """A call failed at the level of HTTP or below.

    The message is fit for logs: it never holds a header value, a body, or a query of the URL.
    """


class ConnectError(TransportError):
    """There was no response: not one byte of it came. `phase` says how far the call got."""

    def __init__(self, message: str, *, phase: ConnectPhase) -> None:
        super().__init__(message)
        self.phase: Final = phase


class BrokenBodyError(TransportError):
    """The connection was lost after the response's head and before the end of its body."""


class BodyTooLargeError(TransportError):
    """The body is larger, after decoding, than the caller allowed. `max_bytes` is what was allowed."""

    def __init__(self, max_bytes: int) -> None:
        super().__init__(f"the body of the response is larger than {max_bytes} bytes")
        self.max_bytes: Final = max_bytes


class ProtocolError(TransportError):
    """The upstream answered with something that is not HTTP/1.1, or that is beyond our bounds.

    This includes a head that is cut off or above `MAX_HEADERS_BYTES`, broken chunked framing, and a
    body that is not in the encoding that its head names.
    """


@record
class UpstreamRequest:
    """One call, fully made: nothing is added to it but framing and `accept-encoding: identity`.

    `url` is absolute and already percent-encoded. `headers` hold the credentials, so neither they nor the
    body show in the `repr`. The body is sent as it is, with its length.
    """

    url: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    method: str = "POST"


class UpstreamResponse(Protocol):
    """A response whose head is there. Whoever got it calls `close` on every way out.

    The body is taken once: by `read` or by `chunks`, not by both.
    """

    @property
    def status(self) -> int:
        """The HTTP status code, a redirect included."""
        ...

    @property
    def headers(self) -> Mapping[str, str]:
        """The header fields by lower-case name. Values of a repeated field are joined by `", "`."""
        ...

    async def read(self, max_bytes: int) -> bytes:
        """Return the whole body, decoded.

        Raise BodyTooLargeError as soon as more than `max_bytes` are there, BrokenBodyError if the
        connection is lost before its end, and ProtocolError if it is malformed. Every one of these, and a
        cancellation, closes the connection.
        """
        ...

    def chunks(self) -> AsyncIterator[bytes]:
        """Iterate over the decoded body as it comes, in pieces that are never empty.

        What nobody iterates over is not read from the network, apart from a bounded buffer. It ends at the
        end of the body and raises BrokenBodyError or ProtocolError as `read` does; the size of the whole is
        not bounded here. An error or a cancellation closes the connection. After stopping early, call
        `close`.
        """
        ...

    def close(self) -> None:
        """Let go of the response. Idempotent, synchronous, never raises.

        An unfinished response closes its connection at once, so that the upstream sees it within
        milliseconds; a finished one has given its connection back already.
        """
        ...


class Transport(Protocol):
    """An HTTP client for upstream calls. One serves all providers; calls run concurrently, without a queue."""

    async def send(self, request: UpstreamRequest, *, connect_timeout_s: float) -> UpstreamResponse:
        """Send `request` and return as soon as the head of the response is there.

        `connect_timeout_s` bounds name resolution, TCP and TLS together, in seconds; waiting for the head
        is not bounded here. Raise ConnectError if no byte of a response came and ProtocolError if what came
        is no HTTP response. A kept connection that fails before a byte of the response is dialled afresh
        once. A cancellation closes the connection.
        """
        ...

    async def aclose(self) -> None:
        """Close every connection. Idempotent; after it `send` raises ConnectError."""
        ...
