"""HTTP calls for a library that blocks: it runs in a thread, and its calls run on the event loop.

Vendors' libraries for tokens are written for threads. Given a client of their own they would bring proxies from the
environment, redirects, and waits that nobody can cancel. Here they get the one `Transport` that everything else is sent
by, and when whoever waits for them leaves, their call is closed and every further one fails at once.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import functools
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeVar

from trunkline_server.providers.transport.base import ConnectError, Transport, UpstreamRequest

THREADS: Final = "blocking-calls"
"""What the names of all these threads begin with."""

MAX_BYTES: Final = 1024 * 1024
"""The largest body of a response, in bytes after decoding."""

_CONNECT_S: Final = 3.0
_LOOP_S: Final = 1.0
"""What a thread waits longer than its call may take, should the loop be busy or gone."""

_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class BlockingAnswer:
    """A whole response."""

    status: int
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes = field(repr=False)


class BlockingCalls:
    """Calls that a thread may make and wait for. Belongs to one run of `in_thread`."""

    def __init__(self, transport: Transport, loop: asyncio.AbstractEventLoop, call_s: float) -> None:
        self._transport = transport
        self._loop = loop
        self._call_s = call_s
        self._lock = threading.Lock()
        self._ended = False
        self._under_way: concurrent.futures.Future[BlockingAnswer] | None = None

    def send(self, request: UpstreamRequest) -> BlockingAnswer:
        """Send, and return the whole response. For the thread; never from the loop, which it would stop.

        Raise TransportError: ConnectError if nothing came back in time, or the run was given up.
        """
        with self._lock:
            if self._ended:
                raise _given_up()
            self._under_way = asyncio.run_coroutine_threadsafe(self._exchange(request), self._loop)
        try:
            return self._under_way.result(self._call_s + _LOOP_S)
        except concurrent.futures.CancelledError:
            raise _given_up() from None
        except TimeoutError:
            self._under_way.cancel()
            raise ConnectError(f"no answer within {self._call_s:g} s", phase="timeout") from None

    def end(self) -> None:
        """Close the call under way, and let no further one begin."""
        with self._lock:
            self._ended = True
            if self._under_way is not None:
                self._under_way.cancel()

    async def _exchange(self, request: UpstreamRequest) -> BlockingAnswer:
        async with asyncio.timeout(self._call_s):
            response = await self._transport.send(request, connect_timeout_s=_CONNECT_S)
            try:
                return BlockingAnswer(response.status, dict(response.headers), await response.read(MAX_BYTES))
            finally:
                response.close()


async def in_thread(work: Callable[[BlockingCalls], _Result], transport: Transport, *, call_s: float) -> _Result:
    """Run `work` in a thread and return what it returns; its HTTP calls take at most `call_s` each.

    When this is cancelled, the calls are, and `work` is left to fail at its next one.
    """
    calls = BlockingCalls(transport, asyncio.get_running_loop(), call_s)
    try:
        return await in_own_thread(functools.partial(work, calls))
    finally:
        calls.end()


async def in_own_thread(work: Callable[[], _Result]) -> _Result:
    """Run what may block for seconds in a thread that ends with it, and return what it returns.

    The event loop's own threads are few, and names of hosts are resolved in them: with as many fetches waiting there
    for their calls, no call could ever begin. When this is cancelled, `work` goes on to its end.
    """
    executor = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix=THREADS)
    try:
        return await asyncio.get_running_loop().run_in_executor(executor, work)
    finally:
        executor.shutdown(wait=False)


def _given_up() -> ConnectError:
    return ConnectError("nobody waits for this call any more", phase="response")
