"""The control room's face to the boundary."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Protocol

from trunkline_server.control.types import (
    Actor,
    Override,
    OverrideOrder,
    Plan,
    Reloaded,
    ReloadOrder,
    RollbackOrder,
    RolledBack,
    RoutesEvent,
    RoutesView,
    Status,
    VersionPage,
)


class Admin(Protocol):
    """What the admin service may ask for. Every method raises CallFailedError for whatever an admin is to be told.

    Whether the admin may ask is found out before: nothing here looks at roles.
    """

    async def get_routes(self, version: int) -> RoutesView:
        """Return a version with its document; 0: the running one. Raises VERSION_NOT_FOUND."""
        ...

    async def plan(self, source: bytes | None, base_etag: str) -> Plan:
        """Return what a document, None: the routes file, would do. A bad document is no error. VERSION_NOT_FOUND."""
        ...

    async def reload(self, order: ReloadOrder, actor: Actor) -> Reloaded:
        """Publish a document. Raises BAD_REQUEST with the first findings, STALE_ETAG, CANARY_RUNNING."""
        ...

    async def rollback(self, order: RollbackOrder, actor: Actor) -> RolledBack:
        """Publish an older version's document again.

        Raises VERSION_NOT_FOUND, STALE_ETAG, BAD_REQUEST, CANARY_RUNNING.
        """
        ...

    async def list_versions(self, page_size: int, page_token: str) -> VersionPage:
        """Return the versions that are kept, the newest first. BAD_REQUEST for a token that is not ours."""
        ...

    def watch_routes(self, after_version: int) -> AsyncGenerator[RoutesEvent, None]:
        """Yield a bookmark, then what happens. Never ends by itself; a slow reader misses events and is told so."""
        ...

    def status(self) -> Status:
        """Return how everything is."""
        ...

    async def override_target(self, order: OverrideOrder, actor: Actor) -> Override | None:
        """Say something of a target; return what holds now. Raises TARGET_NOT_FOUND, BAD_REQUEST."""
        ...

    async def override_key(self, order: OverrideOrder, actor: Actor) -> Override | None:
        """Say something of a key; return what holds now. Raises KEY_NOT_FOUND, BAD_REQUEST."""
        ...

    async def drain(self, grace_s: float | None, reason: str, actor: Actor) -> tuple[int, float]:
        """Begin to go down; return the calls in flight and when those that still run are cut (Unix seconds)."""
        ...
