"""Watches the routes file, and tells when its content has changed.

The directory is watched, not the file: editors put a new file in the place of the old one, and a Kubernetes ConfigMap
swaps a link beside it. What an event says is not believed: the file is read when the directory has been quiet for a
moment, and only another hash counts. Events can be missed as well, on network file systems, behind links, or when the
directory itself is replaced; therefore the file's stamp is looked at every few seconds besides.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Final

from watchfiles import awatch

from trunkline_server.config.findings import why_unreadable
from trunkline_server.control.source import RoutesSource, Stamp
from trunkline_server.telemetry.logs import Log

QUIET_S: Final = 0.2
"""How long nothing may happen in the directory before the file is read."""
LONGEST_S: Final = 2.0
"""If it is never quiet, the file is read so often."""
LOOK_S: Final = 5.0
"""How often the file's stamp is looked at while nothing is heard."""
POLL_S: Final = 1.0
"""Likewise where events can't be had."""

Events = Callable[[Path, float], AsyncGenerator[object, None]]
"""Yields once when it listens, then whenever a directory has changed and is quiet again, and at least once in so many
seconds; falsy: nothing was heard. Raises OSError where that can't be had."""


async def directory_events(directory: Path, look_s: float) -> AsyncGenerator[object, None]:
    """Yield the events of a directory, as the operating system tells them; see Events."""
    found = awatch(
        directory,
        watch_filter=None,
        debounce=round(LONGEST_S * 1000),
        step=round(QUIET_S * 1000),
        rust_timeout=round(look_s * 1000),
        yield_on_timeout=True,
        recursive=False,
        ignore_permission_denied=True,
    )
    first = asyncio.ensure_future(anext(found))
    try:
        # The first step of the task sets the watch up; what happened before makes no event.
        await asyncio.sleep(0)
        yield None
        yield await first
        async for event in found:
            yield event
    except (RuntimeError, ExceptionGroup) as error:
        # What fails in its thread comes as a group; none of its own errors says more than that it can't go on.
        raise OSError(0, "its events ended") from error
    finally:
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        await found.aclose()


class FileWatch:
    """Watches one routes file."""

    def __init__(
        self,
        source: RoutesSource,
        changed: Callable[[], Awaitable[bool]],
        log: Log,
        *,
        events: Events = directory_events,
        look_s: float = LOOK_S,
        poll_s: float = POLL_S,
    ) -> None:
        """Begin with nothing. `changed` is called when the file has another content, one call at a time.

        It returns whether the content was dealt with; if not it is called again at the next look.
        """
        self._source = source
        self._changed = changed
        self._log = log
        self._events = events
        self._look_s = look_s
        self._poll_s = poll_s
        self._told = ""
        self._stamp: Stamp = ()
        self._warned_of_polling = False
        self._unreadable = False

    async def run(self, sha256: str) -> None:
        """Watch until cancelled. `sha256`: of the content that is known already, in hex.

        An exception of `changed` ends it.
        """
        self._told = sha256
        while True:
            watched = await asyncio.to_thread(self._source.directory_stamp)
            if watched:
                await self._listen(watched)
            # Only where there are no events, or the directory is another one now.
            await asyncio.sleep(self._poll_s)
            await self._look(sure=False)

    async def _listen(self, watched: Stamp) -> None:
        """Follow the events of the directory, for as long as it stays the same one."""
        try:
            async with aclosing(self._events(self._source.path.parent, self._look_s)) as events:
                async for event in events:
                    await self._look(sure=bool(event))
                    if await asyncio.to_thread(self._source.directory_stamp) != watched:
                        return
        except OSError as error:
            if not self._warned_of_polling:
                self._warned_of_polling = True
                self._log.warning(
                    "routes_file_polled",
                    file=self._source.name,
                    error=why_unreadable(error),
                    meaning=f"its directory can't be watched: the file is looked at every {self._poll_s:g} s",
                )

    async def _look(self, *, sure: bool) -> None:
        """Read the file if it may have changed, and tell if it has. `sure`: something has happened beside it."""
        stamp = await asyncio.to_thread(self._source.stamp)
        if stamp == self._stamp and not sure:
            return
        sha256 = await asyncio.to_thread(self._hash)
        # The stamp from before the read: a write in between is seen at the next look.
        self._stamp = stamp if sha256 else ()
        if sha256 and sha256 != self._told:
            self._told = sha256
            if not await self._changed():
                self._told, self._stamp = "", ()

    def _hash(self) -> str:
        """Return the hash of the content; empty if it can't be read, which is told once."""
        try:
            content = self._source.read()
        except OSError as error:
            if not self._unreadable:
                self._unreadable = True
                self._log.warning(
                    "routes_file_unreadable",
                    file=self._source.name,
                    error=why_unreadable(error),
                    meaning="the running routes are kept; the file is watched for",
                )
            return ""
        self._unreadable = False
        return hashlib.sha256(content).hexdigest()
