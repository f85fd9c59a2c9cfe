"""What happens to the routes, told to everybody who watches.

One ring of the latest events for all readers; each reads it from a place of its own. So a reader that is slow costs
nothing: when the ring has run over its place, it is told that it missed something, and goes on from there.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable
from dataclasses import replace

from trunkline_server.control.types import Applied, Bookmark, RoutesEvent

RING_EVENTS = 1_000
"""How many events are kept."""
BOOKMARK_S = 15.0
"""How long nothing happens until that is said."""


class Broadcast:
    """The ring and its readers. For the event loop alone."""

    def __init__(
        self, bookmark: Callable[[], Bookmark], *, kept: int = RING_EVENTS, bookmark_s: float = BOOKMARK_S
    ) -> None:
        """`bookmark` says what runs now."""
        self._bookmark = bookmark
        self._bookmark_s = bookmark_s
        self._ring: deque[RoutesEvent] = deque(maxlen=kept)
        self._told = 0
        self._news = asyncio.Event()

    def tell(self, event: RoutesEvent) -> None:
        """Let all readers have an event. Never waits."""
        self._ring.append(event)
        self._told += 1
        # Every reader waits for the event that was there when it looked; the next one is for later readers.
        news, self._news = self._news, asyncio.Event()
        news.set()

    async def read(self, after_version: int) -> AsyncGenerator[RoutesEvent, None]:
        """Yield a bookmark, then what happens; see control.api.Admin.watch_routes."""
        place, missed = self._place(after_version)
        yield replace(self._bookmark(), missed=missed)
        while True:
            if place < self._oldest:
                place = self._oldest
                yield replace(self._bookmark(), missed=True)
            elif place < self._told:
                event = self._ring[place - self._oldest]
                place += 1
                yield event
            elif not await self._something_comes():
                yield self._bookmark()

    async def _something_comes(self) -> bool:
        """Wait for an event; return False if none came for a while."""
        try:
            async with asyncio.timeout(self._bookmark_s):
                await self._news.wait()
        except TimeoutError:
            return False
        return True

    @property
    def _oldest(self) -> int:
        """The number of the oldest event that is kept; events count from 0."""
        return self._told - len(self._ring)

    def _place(self, after_version: int) -> tuple[int, bool]:
        """Return where a reader begins that knows of all up to a version, and whether it missed something."""
        if after_version == 0:
            return self._told, False
        for index, event in enumerate(self._ring):
            if isinstance(event, Applied) and event.version.version == after_version:
                return self._oldest + index + 1, False
        # Before all that is kept, or not of this server at all: what is kept is the best there is.
        return self._oldest, True
