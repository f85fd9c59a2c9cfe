"""The engine's face to the boundary."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import Protocol

from trunkline_server.chat.embedding import EmbedRequest
from trunkline_server.chat.request import ChatRequest
from trunkline_server.engine.frames import CompletedCall, EmbeddedCall, Explanation, FieldViolation, Frame, ModelList
from trunkline_server.routing.types import Caller, Reason


@dataclass(slots=True)
class CallScope:
    """What belongs to one RPC besides its message."""

    caller: Caller
    deadline_at: float | None
    """Event-loop time (monotonic seconds) at which the caller gives up; None if it set no deadline."""
    previous_attempts: int = 0
    """How often the caller's own library had sent this RPC before (`grpc-previous-rpc-attempts`)."""
    aborted: Reason | None = None
    """Set by `abort`."""
    drain_ends_at: float | None = None
    """Event-loop time at which a draining server cuts what still runs; set by `tell_draining`."""
    _listener: Callable[[Reason], None] | None = None
    _drain_listener: Callable[[], None] | None = None

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

    def tell_draining(self, ends_at: float) -> None:
        """Say that the server is going down, and when it cuts what still runs (event-loop time).

        A stream that has begun yields a DrainingFrame, as soon as it can; one that begins later does so after
        its first frame.
        """
        self.drain_ends_at = ends_at
        if self._drain_listener is not None:
            self._drain_listener()

    def on_draining(self, listener: Callable[[], None] | None) -> None:
        """Register the engine's listener, or clear it with None."""
        self._drain_listener = listener


class Engine(Protocol):
    """What the boundary may ask for. Every method raises CallFailedError for whatever a caller is to be told."""

    async def complete(self, request: ChatRequest, scope: CallScope) -> CompletedCall:
        """Return one whole answer."""
        ...

    async def embed(self, request: EmbedRequest, scope: CallScope) -> EmbeddedCall:
        """Return one vector for each input."""
        ...

    def stream(self, request: ChatRequest, scope: CallScope) -> AsyncGenerator[Frame, None]:
        """Return the answer's frames, as they come.

        A failure before any frame raises CallFailedError, here or when the first one is asked for. One after it
        yields EndFrame(FAILED) as the last frame and then raises CallFailedError with the same failure. Closing the
        generator (aclose) cancels the call upstream at once, unless the stream is detachable. Frames are numbered from
        1 without gaps. Those that wait for their reader are merged, in bounded memory.
        """
        ...

    def resume(self, stream_id: str, after_seq: int, scope: CallScope) -> AsyncGenerator[Frame, None]:
        """Return the frames of a detachable stream whose `seq` is higher than `after_seq`, and those that still come.

        Another reader of the stream ends with STREAM_TAKEN_OVER. Closing the generator leaves the stream detached.
        Raises CallFailedError: STREAM_NOT_FOUND, STREAM_NOT_DETACHABLE, STREAM_TOO_OLD, BAD_REQUEST (no such frame
        was sent yet), SERVER_DRAINING; and what the stream itself ends with.
        """
        ...

    async def cancel_stream(self, stream_id: str, scope: CallScope) -> None:
        """End a detachable stream of this caller's as CANCELLED; its upstream is closed when this returns.

        Raises CallFailedError: STREAM_NOT_FOUND, STREAM_NOT_DETACHABLE. One that has ended already is let be.
        """
        ...

    def explain(self, request: ChatRequest, scope: CallScope) -> Explanation:
        """Return the whole decision; nothing is sent."""
        ...

    def list_models(self, scope: CallScope) -> ModelList:
        """Return what this caller may use."""
        ...

    def check_options(self, request: ChatRequest | EmbedRequest, caller: Caller) -> list[FieldViolation]:
        """Return a violation for each provider option that this caller may not pass."""
        ...
