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

    def tell_draining(self) -> None:
        """Let the caller know, if its stream has begun."""
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
        self._deadline_at: float | None = None

    @property
    def draining(self) -> bool:
        """Whether new calls are refused."""
        return self._deadline_at is not None

    @property
    def time_left_s(self) -> float:
        """How long the calls that are being served may still go on, in seconds; 0 before the drain began."""
        if self._deadline_at is None:
            return 0.0
        return max(0.0, self._deadline_at - asyncio.get_running_loop().time())

    @property
    def in_flight(self) -> int:
        """How many calls are being served."""
        return len(self._calls)

    def enter(self, call: LiveCall) -> None:
        """Count a call in."""
        self._calls.add(call)
        self._idle.clear()

    def leave(self, call: LiveCall) -> None:
        """Count a call out."""
        self._calls.discard(call)
        if not self._calls:
            self._idle.set()

    def begin(self, grace_s: float) -> None:
        """Refuse new calls from now on, and tell the running streams that they have `grace_s` left."""
        self._deadline_at = asyncio.get_running_loop().time() + grace_s
        for call in tuple(self._calls):
            call.tell_draining()

    def close(self) -> None:
        """Refuse new calls from now on, and leave nothing to those that run."""
        self._deadline_at = asyncio.get_running_loop().time()

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
