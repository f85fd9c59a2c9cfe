"""The control room: everything that the admin service may ask for, each from the part that knows it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from typing import Generic, TypeVar

from trunkline_server.control.audit import Audit
from trunkline_server.control.overrides import Overrides
from trunkline_server.control.planning import Planner
from trunkline_server.control.routes import RoutesControl
from trunkline_server.control.status import Sources, collect
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

PreparedT = TypeVar("PreparedT")

BeginDrain = Callable[[float | None], tuple[int, float]]
"""Begins to go down, with a grace in seconds or the process's own; returns calls in flight, and when they are cut."""


class ControlRoom(Generic[PreparedT]):
    """Implements control.api.Admin; see there for what each method does and raises."""

    def __init__(
        self,
        routes: RoutesControl[PreparedT],
        planner: Planner,
        overrides: Overrides,
        sources: Sources,
        *,
        audit: Audit,
        begin_drain: BeginDrain,
    ) -> None:
        self._routes = routes
        self._planner = planner
        self._overrides = overrides
        self._sources = sources
        self._audit = audit
        self._begin_drain = begin_drain

    async def get_routes(self, version: int) -> RoutesView:
        """Return a version with its document."""
        return await self._routes.get_routes(version)

    async def plan(self, source: bytes | None, base_etag: str) -> Plan:
        """Return what a document would do."""
        return await self._planner.plan(source, base_etag)

    async def reload(self, order: ReloadOrder, actor: Actor) -> Reloaded:
        """Publish a document."""
        return await self._routes.reload(order, actor)

    async def rollback(self, order: RollbackOrder, actor: Actor) -> RolledBack:
        """Publish an older version's document again."""
        return await self._routes.rollback(order, actor)

    async def list_versions(self, page_size: int, page_token: str) -> VersionPage:
        """Return the versions that are kept."""
        return await self._routes.list_versions(page_size, page_token)

    def watch_routes(self, after_version: int) -> AsyncGenerator[RoutesEvent, None]:
        """Yield what happens to the routes."""
        return self._routes.watch_routes(after_version)

    def status(self) -> Status:
        """Return how everything is."""
        return collect(self._sources)

    async def override_target(self, order: OverrideOrder, actor: Actor) -> Override | None:
        """Say something of a target."""
        return await self._overrides.override_target(order, actor)

    async def override_key(self, order: OverrideOrder, actor: Actor) -> Override | None:
        """Say something of a key."""
        return await self._overrides.override_key(order, actor)

    async def drain(self, grace_s: float | None, reason: str, actor: Actor) -> tuple[int, float]:
        """Begin to go down."""
        async with self._audit.order("drain", actor, reason=reason):
            return self._begin_drain(grace_s)
