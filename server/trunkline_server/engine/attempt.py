"""One upstream call: sent, read, classified, and closed on every way out.

An attempt holds no slot, asks no key and decides nothing; it turns what a provider does into deltas, an answer, or
an AttemptError with its class. Cancelling it closes the upstream connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from typing import TypeVar

from trunkline_server.chat.answer import Delta, Finished, Usage, Warning_
from trunkline_server.engine.endpoint import Endpoint, Timeouts
from trunkline_server.providers.base import Adapter, AttemptError, RateLimitHeaders, StreamDecoder, WireCall
from trunkline_server.providers.transport.base import (
    MAX_BODY_BYTES,
    MAX_ERROR_BODY_BYTES,
    BodyTooLargeError,
    BrokenBodyError,
    ConnectError,
    ProtocolError,
    TransportError,
    UpstreamResponse,
)
from trunkline_server.routing.failures import Failure, FailureClass
from trunkline_server.routing.record import record

_Answer = TypeVar("_Answer")

_OK = range(200, 300)

ERROR_BODY_S = 2.0
"""How long the body of an error may take: its status alone can classify it, and a fallback may be waiting."""


@record
class Dispatched:
    """What an attempt is made of."""

    endpoint: Endpoint
    call: WireCall
    key_id: str
    timeouts: Timeouts
    adapter: Adapter
    """What wrote the call, and reads what comes back."""
    heard: Callable[[RateLimitHeaders], None] | None = None
    """Told what a response says of its key's limits; None: the key has none that matter."""


async def ask(
    sent: Dispatched,
    read: Callable[[int, Mapping[str, str], bytes], _Answer],
    *,
    max_bytes: int = MAX_BODY_BYTES,
    heavy_bytes: int = MAX_BODY_BYTES,
    too_large: FailureClass = FailureClass.PROTOCOL,
) -> _Answer:
    """Make the call without a stream and return what `read` makes of its answer; raise AttemptError.

    A body above `heavy_bytes` is read beside the event loop; one above `max_bytes` is a failure of class `too_large`.
    """
    response = await _open(sent)
    try:
        body = await _read(response, max_bytes, too_large)
        if len(body) > heavy_bytes:
            return await asyncio.to_thread(read, response.status, response.headers, body)
        return read(response.status, response.headers, body)
    finally:
        response.close()


async def _open(sent: Dispatched) -> UpstreamResponse:
    """Send, and return a response with a 2xx head; anything else is classified and raised."""
    request = sent.endpoint.request(sent.call, sent.key_id)
    if sent.endpoint.signers:
        request = await sent.endpoint.signed(request, sent.key_id)
    try:
        response = await sent.endpoint.transport.send(request, connect_timeout_s=sent.timeouts.connect_s)
    except ConnectError as error:
        raise AttemptError(Failure(FailureClass.CONNECT, f"no response ({error.phase})")) from error
    except ProtocolError as error:
        raise AttemptError(Failure(FailureClass.PROTOCOL, "the response was not HTTP as we know it")) from error
    except TransportError as error:
        raise AttemptError(Failure(FailureClass.PROTOCOL, "the request cannot be sent as HTTP")) from error
    if sent.heard is not None and (limits := sent.adapter.limits(response.headers)) is not None:
        sent.heard(limits)
    if response.status in _OK:
        return response
    try:
        failure = sent.adapter.classify(response.status, response.headers, await _read_error(response))
        if failure.failure_class is FailureClass.KEY_REJECTED:
            sent.endpoint.rejected(request, sent.key_id)
        raise AttemptError(failure)
    finally:
        response.close()


async def _read(response: UpstreamResponse, max_bytes: int, too_large: FailureClass) -> bytes:
    try:
        return await response.read(max_bytes)
    except BrokenBodyError as error:
        failure = Failure(FailureClass.TRUNCATED, "the body ended early", http_status=response.status)
        raise AttemptError(failure) from error
    except BodyTooLargeError as error:
        told = f"the answer is larger than {error.max_bytes} bytes"
        failure = Failure(too_large, told, http_status=response.status)
        raise AttemptError(failure) from error
    except ProtocolError as error:
        failure = Failure(FailureClass.PROTOCOL, "the body could not be decoded", http_status=response.status)
        raise AttemptError(failure) from error


async def _read_error(response: UpstreamResponse) -> bytes:
    """Read the start of an error's body, as far as it comes: its status alone can classify it."""
    body = bytearray()
    try:
        async with asyncio.timeout(ERROR_BODY_S):
            async for chunk in response.chunks():
                body += chunk
                if len(body) >= MAX_ERROR_BODY_BYTES:
                    break
    except (TransportError, TimeoutError):
        # What came before the break is all there will be, and may still hold the error's code.
        return bytes(body)
    return bytes(body[:MAX_ERROR_BODY_BYTES])


class OpenStream:
    """A streamed attempt under way. `open` it, `read` it to its end, and `close` it on every way out."""

    __slots__ = ("_chunks", "_decoder", "_ended", "_response", "_sent")

    def __init__(self, sent: Dispatched, decoder: StreamDecoder) -> None:
        self._sent = sent
        self._decoder = decoder
        self._response: UpstreamResponse | None = None
        self._chunks: AsyncIterator[bytes] | None = None
        self._ended = False

    @property
    def finished(self) -> Finished | None:
        """The terminal event, once it came."""
        return self._decoder.finished

    @property
    def usage(self) -> Usage | None:
        """What the provider counted so far."""
        return self._decoder.usage

    @property
    def warnings(self) -> tuple[Warning_, ...]:
        """What of the answer could not be carried over so far."""
        return self._decoder.warnings

    async def open(self) -> None:
        """Send, and wait for a 2xx head; raise AttemptError."""
        self._response = await _open(self._sent)
        self._chunks = self._response.chunks()

    async def read(self) -> list[Delta] | None:
        """Return the deltas of the next piece, maybe none of them content; None at the end of the stream.

        Raise AttemptError when it breaks; deltas that came in front of a failure are returned before it is raised.
        """
        chunks, response, decoder = self._chunks, self._response, self._decoder
        if chunks is None or response is None:
            raise RuntimeError("read() before open()")
        if self._ended:
            return None
        if decoder.failure is not None:
            raise AttemptError(decoder.failure)
        try:
            return decoder.feed(await chunks.__anext__())
        except StopAsyncIteration:
            self._ended = True
            return decoder.close()
        except BrokenBodyError as error:
            failure = Failure(
                FailureClass.TRUNCATED, "the stream was cut before its terminal event", http_status=response.status
            )
            raise AttemptError(failure) from error
        except ProtocolError as error:
            failure = Failure(FailureClass.PROTOCOL, "the stream could not be decoded", http_status=response.status)
            raise AttemptError(failure) from error

    def close(self) -> None:
        """Let go of the connection: given back if the stream was read to its end, closed at once if not."""
        if self._response is not None:
            self._response.close()
