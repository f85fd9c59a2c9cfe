"""What the control room needs of the running server: to build routes and to swap them. `app` brings it."""

from __future__ import annotations

from typing import Generic, Protocol, TypeVar

from trunkline_server.config.pause import Pause
from trunkline_server.config.routes import LoadedRoutes

PreparedT = TypeVar("PreparedT")


class Live(Protocol, Generic[PreparedT]):
    """The routes as they run. `prepare` is for any thread; the rest belongs to the event loop and takes no time."""

    def prepare(self, routes: LoadedRoutes, pause: Pause) -> PreparedT:
        """Build all of a document that needs no live state. Pure; may take some time, and calls `pause` meanwhile."""
        ...

    def publish(self, prepared: PreparedT, version: int) -> None:
        """Let all new requests run on these routes. A trial ends with it. Never fails half-way."""
        ...

    def begin_trial(self, prepared: PreparedT, version: int, fraction: float) -> None:
        """Let a share of the new requests run on these routes, above 0 and below 1."""
        ...

    def end_trial(self) -> None:
        """Take the trial back: new requests run on the published routes alone."""
        ...
