"""The life of the process: starting, ready, draining, stopped, and the signals that move it on.

The first SIGTERM or SIGINT drains, and so does an operator's order: what runs may finish within the grace. A signal
after that stops at once. SIGHUP asks for the routes file to be read again.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable
from enum import Enum
from types import TracebackType
from typing import Self


class Phase(Enum):
    """Where the process stands."""

    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    STOPPED = "stopped"


class Lifecycle:
    """Turns signals into phases. Use it as a context: the handlers are there inside and gone after."""

    def __init__(self, hang_up: Callable[[], None] = lambda: None) -> None:
        """Take what is called for a SIGHUP, in the event loop."""
        self.phase = Phase.STARTING
        self.grace_s: float | None = None
        """How long calls may still run, if whoever asked for the drain said so."""
        self._hang_up = hang_up
        self._asked = asyncio.Event()
        self._at_once = asyncio.Event()
        self._before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}

    def __enter__(self) -> Self:
        """Take the signals over."""
        loop = asyncio.get_running_loop()
        for number in self._before:
            loop.add_signal_handler(number, self._hang_up if number == signal.SIGHUP else self.stop)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the signals back to whoever had them: the loop itself would leave Python's defaults."""
        self.phase = Phase.STOPPED
        loop = asyncio.get_running_loop()
        for number, handler in self._before.items():
            loop.remove_signal_handler(number)
            if handler is not None:  # None: it was not Python's to begin with
                signal.signal(number, handler)

    @property
    def ready(self) -> bool:
        """Whether new calls are taken."""
        return self.phase is Phase.READY

    def stop(self) -> None:
        """Ask for a drain; asked again, for a stop at once."""
        if self._asked.is_set():
            self._at_once.set()
        self._asked.set()

    def drain(self, grace_s: float | None) -> None:
        """Ask for a drain with a grace of its own; one that goes on already goes on as it began."""
        if not self._asked.is_set():
            self.grace_s = grace_s
            self._asked.set()

    async def run(self, drain: Callable[[], Awaitable[None]], stop_now: Callable[[], Awaitable[None]]) -> bool:
        """Be ready until asked to stop, then drain; return False if the drain was cut short."""
        self.phase = Phase.READY
        await self._asked.wait()
        self.phase = Phase.DRAINING
        draining = asyncio.ensure_future(drain())
        cut = asyncio.ensure_future(self._at_once.wait())
        try:
            await asyncio.wait((draining, cut), return_when=asyncio.FIRST_COMPLETED)
        finally:
            cut.cancel()
            whole = draining.done()
            if not whole:
                draining.cancel()
                await asyncio.wait((draining,))
                await stop_now()
        if whole:
            draining.result()
        return whole
