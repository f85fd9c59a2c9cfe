"""The engine's face to the boundary."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import Protocol

from trunkline_server.chat.request import ChatRequest
from trunkline_server.engine.frames import CompletedCall, Explanation, FieldViolation, Frame, ModelList
from trunkline_server.routing.types import Caller, Reason


@dataclass(slots=True)
class CallScope:
    """What belongs to one RPC besides its message."""

    caller: Caller
    deadline_at: float | None
    """Event-loop time (monotonic seconds) at which the caller gives up; None if it set no deadline."""
    aborted: Reason | None = None
    """Set by `abort`."""
    _listener: Callable[[Reason], None] | None = None

    def abort(self, reason: Reason) -> None:
        """End the call from the boundary's side (SERVER_DRAINING), only once.

        The engine closes what is in flight and ends as it does for any failure: `complete` raises CallFailedError,
        `stream` yields EndFrame(FAILED) if it had yielded a frame, and raises. The boundary just goes on pulling.
        """
        if self.aborted is None:
            self.aborted = reason
            if self._listener is not None:
                self._listener(reason)

    def on_abort(self, listener: Callable[[Reason], None] | None) -> None:
        """Register the engine's listener, or clear it with None."""
        self._listener = listener


class Engine(Protocol):
    """What the boundary may ask for. Every method raises CallFailedError for whatever a caller is to be told."""

    async def complete(self, request: ChatRequest, scope: CallScope) -> CompletedCall:
        """Return one whole answer."""
        ...

    def stream(self, request: ChatRequest, scope: CallScope) -> AsyncGenerator[Frame, None]:
        """Return the answer's frames, as they come.

        A failure before any frame raises CallFailedError, here or when the first one is asked for. One after it
        yields EndFrame(FAILED) as the last frame and then raises CallFailedError with the same failure. Closing the
        generator (aclose) cancels the call upstream at once. Frames that wait for their reader are merged, in bounded
        memory.
        """
        ...

    def explain(self, request: ChatRequest, scope: CallScope) -> Explanation:
        """Return the whole decision; nothing is sent."""
        ...

    def list_models(self, scope: CallScope) -> ModelList:
        """Return what this caller may use."""
        ...

    def check_options(self, request: ChatRequest, caller: Caller) -> list[FieldViolation]:
        """Return a violation for each provider option that this caller may not pass."""
        ...
