"""Access tokens that are there when a call needs one: kept, and fetched anew before they expire.

Only the policy stands here; how a token is fetched is handed in. There is at most one fetch at a time. It belongs to
nobody who waits for it: a waiter that leaves takes nothing along, and the token still comes for the next one.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

from trunkline_server.providers.base import AttemptError
from trunkline_server.providers.transport.base import Transport
from trunkline_server.routing.clock import Clock
from trunkline_server.routing.failures import Failure, FailureClass

FETCH_S: Final = 10.0
"""The longest that one fetch may take, and so the longest that anybody waits for one."""

REFRESH_AHEAD_S: Final = 300.0
"""How long before its end a token is replaced in the background; a tenth of its life if that is shorter."""

PAUSE_MIN_S: Final = 1.0
PAUSE_MAX_S: Final = 30.0
"""How long nothing is fetched after a failure: doubled from one failure to the next, between these two."""

_AHEAD_SHARE: Final = 0.1
_LAST_S: Final = 10.0
_LAST_SHARE: Final = 0.05
"""A token is not used in its last seconds (a twentieth of its life, if that is shorter): a call takes a while."""

_NEVER: Final = float("-inf")
_NO_TOKEN: Final = Failure(FailureClass.CONNECT, "the credential has no access token, and none is fetched any more")
_EXPIRED: Final = Failure(FailureClass.PROTOCOL, "the access token had expired when it came")


@dataclass(frozen=True, slots=True)
class AccessToken:
    """A token as its endpoint gave it."""

    text: str = field(repr=False)
    lifetime_s: float
    """From the moment at which the fetch was begun: what the way here took is not counted twice."""


Fetch = Callable[[Transport], Awaitable[AccessToken]]
"""Fetches a token; raises AttemptError, classified. It may be cancelled at any await."""


class TokenSource:
    """The tokens of one credential. Made in any thread, used on one event loop; `close` it when it is no longer used.

    A usable token is returned without waiting, also while the next one is fetched or that fetch has failed. Only who
    finds none waits, at most `fetch_s`.
    """

    __slots__ = ("_clock", "_closed", "_failure", "_failures", "_fetch", "_fetch_s", "_old", "_pause_until_s",
                 "_refresh_at_s", "_task", "_token", "_usable_until_s")  # fmt: skip

    def __init__(self, fetch: Fetch, *, clock: Clock = time.monotonic, fetch_s: float = FETCH_S) -> None:
        self._fetch = fetch
        self._clock = clock
        self._fetch_s = fetch_s
        self._token = ""
        self._old = ""
        self._refresh_at_s = _NEVER
        self._usable_until_s = _NEVER
        self._task: asyncio.Task[None] | None = None
        self._failure: Failure | None = None
        self._failures = 0
        self._pause_until_s = _NEVER
        self._closed = False

    def __repr__(self) -> str:
        left_s = self._usable_until_s - self._clock()
        state = f"usable for {left_s:.0f} s" if left_s > 0 else "none"
        fetching = ", fetching" if self._task is not None else ""
        return f"<TokenSource: {state}{fetching}>"

    @property
    def hidden(self) -> tuple[str, ...]:
        """The tokens that a call under way may carry: the present one and the one before."""
        return tuple(text for text in (self._token, self._old) if text)

    async def token(self, transport: Transport) -> str:
        """Return a token that may be used now; `transport` carries the fetch, if there is one.

        Raise AttemptError if there is none: the failure of the fetch, also for who asks in the pause after it.
        """
        now_s = self._clock()
        if now_s < self._refresh_at_s:
            return self._token
        if self._task is None and now_s >= self._pause_until_s and not self._closed:
            self._task = asyncio.create_task(self._refresh(transport), name="fetch of an access token")
        if now_s < self._usable_until_s:
            return self._token
        if self._task is not None:
            # `wait` leaves the task alone when this waiter is cancelled.
            await asyncio.wait({self._task})
            if self._clock() < self._usable_until_s:
                return self._token
        raise AttemptError(self._failure or _NO_TOKEN)

    def forget(self, token: str) -> None:
        """Use `token` no more, if it is still the present one: whoever it was shown to rejects it."""
        if token == self._token:
            self._refresh_at_s = self._usable_until_s = _NEVER

    def close(self) -> None:
        """Fetch nothing any more; a fetch under way is cancelled, and who waits for it is told. Idempotent.

        A token that is there stays usable: calls that were granted its key before may still be sent.
        """
        self._closed = True
        if self._task is not None:
            self._task.cancel()

    async def _refresh(self, transport: Transport) -> None:
        """Fetch one token and keep it, or the failure; raises nothing but a cancellation."""
        begun_s = self._clock()
        try:
            async with asyncio.timeout(self._fetch_s):
                token = await self._fetch(transport)
            self._keep(token, begun_s)
        except AttemptError as error:
            self._fail(error.failure)
        except TimeoutError:
            self._fail(Failure(FailureClass.CONNECT, f"no access token came within {self._fetch_s:g} s"))
        except Exception:
            # A defect of the fetch; whoever waits is told, and the loop's handler hears of the rest.
            self._fail(Failure(FailureClass.PROTOCOL, "the access token could not be fetched"))
            raise
        finally:
            self._task = None

    def _keep(self, token: AccessToken, begun_s: float) -> None:
        life_s = token.lifetime_s
        usable_until_s = begun_s + life_s - min(_LAST_S, life_s * _LAST_SHARE)
        if self._clock() >= usable_until_s:
            self._fail(_EXPIRED)
            return
        self._old, self._token = self._token, token.text
        self._refresh_at_s = begun_s + life_s - min(REFRESH_AHEAD_S, life_s * _AHEAD_SHARE)
        self._usable_until_s = usable_until_s
        self._failure = None
        self._failures = 0

    def _fail(self, failure: Failure) -> None:
        pause_s = min(PAUSE_MAX_S, PAUSE_MIN_S * 2.0**self._failures)
        self._failures = min(self._failures + 1, 16)
        self._pause_until_s = self._clock() + pause_s
        self._failure = failure
