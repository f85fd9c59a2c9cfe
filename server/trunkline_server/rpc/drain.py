"""The server is going down: who is still being served, until when, and what they are told."""

from __future__ import annotations

import asyncio
from typing import Protocol

from trunkline_server.engine.frames import CallFailure
from trunkline_server.routing.types import Reason

RETRY_AFTER_S = 1.0
"""What refused callers are told to wait: enough for their balancer to have found another server."""


class LiveCall(Protocol):
    """A call that is being served, as the drain sees it."""

    def tell_draining(self, ends_at: float) -> None:
        """Let the caller know that the server goes down, and that the call is cut at `ends_at` (event-loop time)."""
        ...

    def cut(self, *, at_once: bool) -> None:
        """End the call as SERVER_DRAINING: by the engine with its last frames, or `at_once` without it."""
        ...


class Drain:
    """Knows every call that is being served, and whether new ones are taken."""

    def __init__(self) -> None:
        self._calls: set[LiveCall] = set()
        self._idle = asyncio.Event()
        self._idle.set()
        self._ends_at: float | None = None

    @property
    def draining(self) -> bool:
        """Whether new calls are refused."""
        return self._ends_at is not None

    @property
    def in_flight(self) -> int:
        """How many calls are being served."""
        return len(self._calls)

    def enter(self, call: LiveCall) -> None:
        """Count a call in. One that was let in just before the drain began is told of it here."""
        self._calls.add(call)
        self._idle.clear()
        if self._ends_at is not None:
            call.tell_draining(self._ends_at)

    def leave(self, call: LiveCall) -> None:
        """Count a call out."""
        self._calls.discard(call)
        if not self._calls:
            self._idle.set()

    def begin(self, grace_s: float) -> None:
        """Refuse new calls from now on, and tell the running streams that they have `grace_s` left."""
        self._ends_at = ends_at = asyncio.get_running_loop().time() + grace_s
        for call in tuple(self._calls):
            call.tell_draining(ends_at)

    def close(self) -> None:
        """Refuse new calls from now on, and leave nothing to those that run."""
        self._ends_at = asyncio.get_running_loop().time()

    async def wait_idle(self, timeout_s: float) -> bool:
        """Wait until no call is being served, at most `timeout_s`; False if some still are."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._idle.wait()
        except TimeoutError:
            return False
        return True

    def cut(self, *, at_once: bool) -> None:
        """End every call that is being served."""
        for call in tuple(self._calls):
            call.cut(at_once=at_once)


def draining_failure() -> CallFailure:
    """Return what is told to a caller that comes too late, or whose call the drain ended."""
    return CallFailure(Reason.SERVER_DRAINING, "the server is going down", retry_after_s=RETRY_AFTER_S)
