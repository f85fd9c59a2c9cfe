"""Everything behind the ports: the live routes, the control room, the engine, and the tasks that watch files.

Owner of what it opens: the data directory, the transports and the tasks are closed here, on every way out.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

from trunkline_server.collector import collect_regularly
from trunkline_server.compile import NOTHING, Blueprint
from trunkline_server.config.pause import Pause
from trunkline_server.config.routes import LoadedRoutes
from trunkline_server.config.secrets import SecretResolver
from trunkline_server.control.audit import Audit
from trunkline_server.control.fence import check_wire
from trunkline_server.control.file_watch import FileWatch
from trunkline_server.control.overrides import Overrides
from trunkline_server.control.planning import Planner
from trunkline_server.control.room import ControlRoom
from trunkline_server.control.routes import RoutesControl
from trunkline_server.control.routes_reading import Source
from trunkline_server.control.running import Running
from trunkline_server.control.source import RoutesSource
from trunkline_server.control.spending import SpendingKeeper
from trunkline_server.control.status import Sources, collect
from trunkline_server.control.status_books import StatusBooks
from trunkline_server.control.store import Store, StoreError
from trunkline_server.control.traffic import RecentTraffic
from trunkline_server.control.types import Actor
from trunkline_server.doors import Doors
from trunkline_server.engine.callers import CallerAccounts
from trunkline_server.engine.outcome import CallOutcome
from trunkline_server.engine.router import RoutingEngine
from trunkline_server.lifecycle import Lifecycle, Phase
from trunkline_server.live import LiveRoutes
from trunkline_server.people import admin_table, caller_table, callers_of
from trunkline_server.rpc.auth import OPEN_ADMINS, OPEN_TABLE, AdminTable, CallerTable
from trunkline_server.rpc.listen import ListenError
from trunkline_server.rpc.server import GrpcServer
from trunkline_server.rpc.tls import ServerTls, TlsError
from trunkline_server.settings import ServeSettings, StartError
from trunkline_server.telemetry.logs import Log
from trunkline_server.telemetry.metrics import Metrics
from trunkline_server.telemetry.stack import stack_of

_BY_FILE = Actor("file")
_BY_SIGNAL = Actor("signal")


@dataclass(frozen=True, slots=True)
class _Guarded:
    """The live routes behind the doors: a document that would open one is refused like any other that is wrong."""

    live: LiveRoutes
    doors: Doors

    def prepare(self, routes: LoadedRoutes, pause: Pause) -> Blueprint:
        self.doors.check(routes.document)
        return self.live.prepare(routes, pause)

    def publish(self, prepared: Blueprint, version: int) -> None:
        self.live.publish(prepared, version)

    def begin_trial(self, prepared: Blueprint, version: int, fraction: float) -> None:
        self.live.begin_trial(prepared, version, fraction)

    def end_trial(self) -> None:
        self.live.end_trial()


class House:
    """Everything behind the ports, and the tasks beside them."""

    def __init__(
        self,
        source: Source,
        resolver: SecretResolver,
        *,
        remote_secrets: bool,
        doors: Doors,
        store: Store,
        log: Log,
    ) -> None:
        self.doors = doors
        self.callers: CallerTable = OPEN_TABLE
        self.admins: AdminTable = OPEN_ADMINS
        self._accounts = CallerAccounts()
        self.live = LiveRoutes(NOTHING, 0, clock=time.monotonic, rng=random.Random())  # noqa: S311  spreads load
        self.live.listeners.append(self._published)
        self.audit = Audit(store.directory, log)
        fence = None if remote_secrets else check_wire
        self.metrics = Metrics(lambda: collect(self._sources))
        self.control = RoutesControl(
            _Guarded(self.live, self.doors),
            store,
            source,
            resolver,
            audit=self.audit,
            log=log,
            fence=fence,
            on_event=self.metrics.take_event,
        )
        self._traffic = RecentTraffic()
        self._books = StatusBooks()
        self._running = Running(self.live.snapshots)
        self._overrides = Overrides(self._running, self.audit, log, seen=self._books.seen)
        # Before a call is granted a key that was built anew, it must be held if an operator said so.
        self.live.provider_listeners.append(self._overrides.provider_changed)
        self._lifecycle: Lifecycle | None = None
        self._public: GrpcServer | None = None
        self._sources = Sources(
            self._running,
            self._books,
            self._overrides,
            routes=lambda: self.control.running,
            canary=lambda: self.control.canary,
            last_rejected=lambda: self.control.last_rejected,
            phase=self._phase,
            in_flight=self._in_flight,
            started_at=time.time(),
        )
        self._planner = Planner(self.control, self.control.file, self._traffic, fence=fence)
        self.spending = SpendingKeeper(self._accounts, store, log)
        self.engine = RoutingEngine(
            self.live.snapshots,
            callers=self._accounts,
            rng=random.Random(),  # noqa: S311  jitter, nothing secret
            ended=self._ended,
        )
        self._log = log
        self._tls: ServerTls | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @classmethod
    async def open(
        cls,
        stack: AsyncExitStack,
        source: Source,
        resolver: SecretResolver,
        settings: ServeSettings,
        log: Log,
    ) -> House:
        """Let the routes run that are to run first. Raises StartError and InvalidRoutesError."""
        doors = _doors(settings)
        try:
            store = await asyncio.to_thread(Store, settings.data_dir)
        except StoreError as error:
            raise StartError(f"--data-dir: {error}") from error
        stack.callback(store.close)
        house = cls(source, resolver, remote_secrets=settings.remote_secrets, doors=doors, store=store, log=log)
        stack.push_async_callback(house.live.aclose)
        stack.callback(house._overrides.close)
        stack.push_async_callback(house.spending.write)
        stack.push_async_callback(house.control.aclose)
        try:
            await house.control.start()
        except StoreError as error:
            raise StartError(f"--data-dir: {error}") from error
        await house.spending.restore()
        return house

    def room(self, lifecycle: Lifecycle, public: GrpcServer, settings: ServeSettings) -> ControlRoom[Blueprint]:
        """Return what the admin service asks."""
        self._lifecycle, self._public = lifecycle, public

        def begin_drain(grace_s: float | None) -> tuple[int, float]:
            lifecycle.drain(grace_s)
            grace = settings.drain_grace_s if lifecycle.grace_s is None else lifecycle.grace_s
            return public.in_flight, time.time() + settings.lb_wait_s + grace

        return ControlRoom(
            self.control, self._planner, self._overrides, self._sources, audit=self.audit, begin_drain=begin_drain
        )

    def _phase(self) -> str:
        return (Phase.STARTING if self._lifecycle is None else self._lifecycle.phase).value

    def _in_flight(self) -> int:
        return 0 if self._public is None else self._public.in_flight

    def begin_tasks(self, watched: Source | None, tls: ServerTls | None) -> None:
        """Watch the routes file, where there is one, and the certificates; keep what callers spend."""
        self._tls = tls
        self._spawn(self.spending.run())
        self._spawn(collect_regularly())
        if isinstance(watched, RoutesSource):
            watch = FileWatch(watched, lambda: self.control.file_changed(_BY_FILE), self._log)
            self._spawn(watch.run(self.control.running.file_sha256))
        if tls is not None:
            self._spawn(tls.watch(self._log))

    async def stop_tasks(self) -> None:
        """End what runs beside the ports."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def hang_up(self) -> None:
        """Read the routes file and the certificates again."""
        self._spawn(self._read_again())

    async def _read_again(self) -> None:
        await self.control.reload_file(_BY_SIGNAL)
        if self._tls is not None:
            try:
                await asyncio.to_thread(self._tls.reload)
            except TlsError as error:
                self._log.error("tls_rejected", meaning=f"{error}; the certificate before goes on being shown")

    def _published(self, blueprint: Blueprint) -> None:
        self.callers, self.admins = caller_table(blueprint.document), admin_table(blueprint.document)
        self._accounts.retune(callers_of(blueprint.document))
        self._overrides.reapply()

    def _ended(self, outcome: CallOutcome) -> None:
        self.control.outcome(outcome)
        self._traffic.take(outcome)
        self._books.book(outcome)
        self.metrics.take_call(outcome)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended_task)

    def _ended_task(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._log.error("exception", method="watching", error=stack_of(error))


def _doors(settings: ServeSettings) -> Doors:
    doors = Doors(
        settings.listen,
        settings.admin_listen,
        settings.insecure_open,
        tls=settings.tls is not None,
        client_ca=settings.tls is not None and settings.tls.client_ca is not None,
    )
    try:
        doors.check_addresses()
    except ListenError as error:
        raise StartError(str(error)) from error
    return doors
