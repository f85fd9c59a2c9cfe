"""A real admin server on loopback over a control room that does what a test tells it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from grpc import aio
from tests.rpc.conftest import MemoryLog

from trunkline import v1 as pb
from trunkline_server.config.findings import Finding
from trunkline_server.control.types import (
    Actor,
    Applied,
    Bookmark,
    CanaryState,
    Change,
    ChangeOp,
    Failover,
    GateState,
    Guard,
    KeyState,
    Origin,
    Override,
    OverrideMode,
    OverrideOrder,
    Plan,
    Rejection,
    Reloaded,
    ReloadOrder,
    RollbackOrder,
    RolledBack,
    RoutesEvent,
    RoutesView,
    RouteVersion,
    Status,
    TakenBack,
    TargetState,
    TrafficShift,
    VersionPage,
    VersionState,
    WorkerState,
)
from trunkline_server.rpc.auth import OPEN_ADMINS, AdminTable
from trunkline_server.rpc.server import GrpcServer, ServerOptions, admin_server

VERSION = RouteVersion(
    version=7,
    etag="e-7",
    sha256="ab" * 32,
    published_at=1_700_000_000.5,
    published_by="oncall",
    peer="127.0.0.1:9",
    reason="more weight",
    origin=Origin.ROLLBACK,
    state=VersionState.RUNNING,
    rolled_back_to=3,
)
FINDINGS = (
    Finding("warning", "models", 9, "unused_model", "nobody uses it"),
    Finding("error", "aliases.default", None, "unknown_target", "there is no such target"),
)
REJECTION = Rejection(1_700_000_001.0, "file", "cd" * 32, FINDINGS)
CANARY = CanaryState(8, 0.25, Guard(30.0, 0.1, 3.0), 1_700_000_030.0, 40, 2, 160, 4)
OVERRIDE = Override(OverrideMode.DRAIN, 1_700_000_600.0, "oncall", "it is slow")
STATUS = Status(
    at=1_700_000_002.0,
    routes=VERSION,
    targets=(
        TargetState("openai", "gpt", ("default",), "CLOSED", 3, 50, 0.98, 0.25, 1.5, OVERRIDE),
        TargetState("openai", "idle", (), "", 0, 0, None, None, None),
    ),
    keys=(
        KeyState("openai", "team-a", "COOLING", 1_700_000_009.0, 1, 5, 0, 12, "org-1", 3.0, OVERRIDE),
        KeyState("openai", "team-b", "ACTIVE", None, 0, None, None, None, "", 1.0),
    ),
    gates=(GateState("openai", 3, 200, 1, 500),),
    workers=(WorkerState(0, 4711, "ready", 3, 7, 1_699_999_999.0),),
    failovers=(Failover(1_700_000_001.5, "default", "openai/gpt", "openai/idle", "SERVER_ERROR"),),
    canary=CANARY,
    last_rejected=REJECTION,
)
EVENTS: tuple[RoutesEvent, ...] = (
    Bookmark(1.0, 7, "e-7"),
    Applied(2.0, VERSION, 0.25),
    REJECTION,
    TakenBack(3.0, 8, VERSION, "guard", "too many errors"),
    Bookmark(4.0, 7, "e-7", missed=True),
)


@dataclass
class FakeRoom:
    """A control room that remembers what it was asked. `failure`, where set, is what it raises."""

    failure: Exception | None = None
    asked: list[tuple[Any, ...]] = field(default_factory=list)
    events: Callable[[int], AsyncGenerator[RoutesEvent, None]] | None = None
    statuses: int = 0
    closed: asyncio.Event = field(default_factory=asyncio.Event)
    hold: asyncio.Event | None = None

    def _ask(self, *what: Any) -> None:
        self.asked.append(what)
        if self.failure is not None:
            raise self.failure

    async def get_routes(self, version: int) -> RoutesView:
        self._ask("get_routes", version)
        return RoutesView(VERSION, "version: 1\n", REJECTION, CANARY)

    async def plan(self, source: bytes | None, base_etag: str) -> Plan:
        self._ask("plan", source, base_etag)
        changes = (
            Change(ChangeOp.REPLACE, "providers.openai.keys[team-a].weight", "3", "5"),
            Change(ChangeOp.ADD, "callers[a].token_sha256", "planted", "planted", sensitive=True),
        )
        return Plan(
            valid=True,
            no_op=False,
            findings=FINDINGS,
            changes=changes,
            traffic=(TrafficShift("default", 0.1, 20, 0.05),),
            base=VERSION,
        )

    async def reload(self, order: ReloadOrder, actor: Actor) -> Reloaded:
        self._ask("reload", order, actor)
        if self.hold is not None:
            try:
                await self.hold.wait()
            finally:
                self.closed.set()
        return Reloaded(VERSION, no_op=True, dry_run=order.dry_run, findings=FINDINGS[:1], canary=CANARY)

    async def rollback(self, order: RollbackOrder, actor: Actor) -> RolledBack:
        self._ask("rollback", order, actor)
        return RolledBack(VERSION, 8, dry_run=order.dry_run)

    async def list_versions(self, page_size: int, page_token: str) -> VersionPage:
        self._ask("list_versions", page_size, page_token)
        return VersionPage((VERSION,), "next")

    async def watch_routes(self, after_version: int) -> AsyncGenerator[RoutesEvent, None]:
        self._ask("watch_routes", after_version)
        try:
            if self.events is not None:
                async for event in self.events(after_version):
                    yield event
                return
            for event in EVENTS:
                yield event
            await asyncio.Event().wait()
        finally:
            self.closed.set()

    def status(self) -> Status:
        self.statuses += 1
        self._ask("status")
        return STATUS

    async def override_target(self, order: OverrideOrder, actor: Actor) -> Override | None:
        self._ask("override_target", order, actor)
        return None if order.mode is OverrideMode.CLEAR else OVERRIDE

    async def override_key(self, order: OverrideOrder, actor: Actor) -> Override | None:
        self._ask("override_key", order, actor)
        return None if order.mode is OverrideMode.CLEAR else OVERRIDE

    async def drain(self, grace_s: float | None, reason: str, actor: Actor) -> tuple[int, float]:
        self._ask("drain", grace_s, reason, actor)
        return 5, 1_700_000_100.0


@dataclass
class AdminServed:
    """An admin server that runs, and a channel to it."""

    server: GrpcServer
    address: str
    channel: Any
    stub: Any
    room: FakeRoom
    log: MemoryLog


@asynccontextmanager
async def serving_admin(
    room: FakeRoom | None = None, *, admins: AdminTable = OPEN_ADMINS, write_timeout_s: float = 30.0
) -> AsyncIterator[AdminServed]:
    """Serve a fake control room on a free port of loopback."""
    room = room or FakeRoom()
    log = MemoryLog()
    server = admin_server(room, lambda: admins, log, ServerOptions(write_timeout_s=lambda: write_timeout_s))
    address = await server.start("127.0.0.1:0")
    try:
        async with aio.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
            untyped: Any = channel
            yield AdminServed(server, address, untyped, pb.AdminServiceStub(channel), room, log)
    finally:
        await server.stop_now()
