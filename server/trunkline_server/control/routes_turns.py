"""One change of the routes at a time, each carried out whole, and each request id once."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

from trunkline_server.control.routes_refusals import bad_request, changes_pile_up

T = TypeVar("T")

MAX_WAIT_S = 10.0
"""How long an order waits for those before it."""
REMEMBERED = 1_000
"""How many request ids are remembered."""

Work = Callable[[], Coroutine[Any, Any, T]]


class Turns:
    """Lets changes happen one after the other.

    Whoever waits for its turn may leave. A change that has begun goes on to its end without whoever ordered it: its
    middle, between what is on disk and what runs, is nowhere to stop.
    """

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._tasks: set[asyncio.Task[Any]] = set()

    async def run(self, work: Work[T], *, max_wait_s: float | None = MAX_WAIT_S) -> T:
        """Do the work when its turn comes. Raises QUEUE_TIMEOUT if it does not come in time. None: wait for ever."""
        try:
            async with asyncio.timeout(max_wait_s):
                await self._lock.acquire()
        except TimeoutError:
            raise changes_pile_up(max_wait_s or 0.0) from None
        task = asyncio.create_task(work())
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return await asyncio.shield(task)

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        self._lock.release()

    async def settle(self) -> None:
        """Wait for the change that is under way."""
        if self._tasks:
            await asyncio.wait(self._tasks)


class Repeats(Generic[T]):
    """Answers a repeated order as it was answered first.

    A repeat that comes while the first is under way waits for it. An order that was refused has changed nothing, so
    its repeat is tried afresh. What is remembered ends with the process; an order that is repeated after that finds
    its document running, or its etag stale.
    """

    def __init__(self, remembered: int = REMEMBERED) -> None:
        self._remembered = remembered
        self._orders: OrderedDict[tuple[str, str], tuple[object, asyncio.Task[T]]] = OrderedDict()

    async def once(self, actor_id: str, request_id: str, content: object, work: Work[T]) -> T:
        """Do the work, or return what it returned before; an empty id is always a new order.

        Raises BAD_REQUEST if the id belongs to an order with another content.
        """
        if not request_id:
            return await work()
        key = actor_id, request_id
        known = self._orders.get(key)
        if known is not None:
            if known[0] != content:
                raise bad_request("request_id", "was used for another order already: take a new one")
            self._orders.move_to_end(key)
            return await asyncio.shield(known[1])
        task = asyncio.create_task(work())
        self._orders[key] = content, task
        task.add_done_callback(lambda done: self._done(key, done))
        while len(self._orders) > self._remembered:
            self._orders.popitem(last=False)
        return await asyncio.shield(task)

    def _done(self, key: tuple[str, str], task: asyncio.Task[T]) -> None:
        if (task.cancelled() or task.exception() is not None) and self._orders.get(key, (None, None))[1] is task:
            del self._orders[key]
