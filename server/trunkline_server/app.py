"""The composition root: from the routes' source and process settings to a running server, and down again.

Owner of what it starts: the data directory, the ports, the transports, the watchers and the log sink are opened here
and closed here, on every way out.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

from trunkline_server.compile import NOTHING, Blueprint
from trunkline_server.config.findings import Finding
from trunkline_server.config.routes import LoadedRoutes
from trunkline_server.config.secrets import SecretResolver
from trunkline_server.control.audit import Audit
from trunkline_server.control.fence import check_wire
from trunkline_server.control.file_watch import FileWatch
from trunkline_server.control.overrides import Overrides
from trunkline_server.control.planning import Planner
from trunkline_server.control.room import ControlRoom
from trunkline_server.control.routes import RoutesControl
from trunkline_server.control.routes_reading import RoutesFile, Source
from trunkline_server.control.running import Running
from trunkline_server.control.source import RoutesSource
from trunkline_server.control.status import Sources
from trunkline_server.control.status_books import StatusBooks
from trunkline_server.control.store import Store, StoreError
from trunkline_server.control.traffic import RecentTraffic
from trunkline_server.control.types import Actor
from trunkline_server.doors import Doors
from trunkline_server.engine.outcome import CallOutcome
from trunkline_server.engine.router import RoutingEngine
from trunkline_server.http_port import HttpPort
from trunkline_server.lifecycle import Lifecycle
from trunkline_server.live import LiveRoutes
from trunkline_server.people import admin_table, caller_table
from trunkline_server.rpc.auth import OPEN_ADMINS, OPEN_TABLE, AdminTable, CallerTable
from trunkline_server.rpc.health import Status
from trunkline_server.rpc.listen import ListenError, join_address, split_address
from trunkline_server.rpc.server import GrpcServer, ServerOptions, admin_server, public_server
from trunkline_server.rpc.tls import ServerTls, TlsError
from trunkline_server.settings import ServeSettings, StartError
from trunkline_server.telemetry.logs import Log, set_up_logs
from trunkline_server.telemetry.stack import stack_of

EXIT_DRAINED = 0
EXIT_CUT_SHORT = 1
"""A second signal ended the drain before its calls."""

_BY_FILE = Actor("file")
_BY_SIGNAL = Actor("signal")

Told = Callable[[Sequence[Finding]], None]


async def serve(
    source: Source,
    resolver: SecretResolver,
    settings: ServeSettings,
    *,
    announce: Callable[[str], None],
    told: Told = lambda _: None,
) -> int:
    """Serve until a signal; return the exit code. Announce one line once all ports take calls.

    The line is `ready listen=HOST:PORT admin=HOST:PORT http=HOST:PORT`. `told` gets the warnings of the routes.
    Raises StartError, and InvalidRoutesError if there are no routes to run.
    """
    async with AsyncExitStack() as stack:
        log, sink = set_up_logs(settings.log_level)
        stack.callback(sink.close)
        house = await _House.open(stack, source, resolver, settings, log)
        told(house.control.routes.findings)
        lifecycle = stack.enter_context(Lifecycle(house.hang_up))
        tls = _tls(settings)
        public = public_server(
            house.engine,
            lambda: house.callers,
            log,
            ServerOptions(
                write_timeout_s=lambda: house.live.snapshots.current.limits.write_timeout_s,
                lb_wait_s=settings.lb_wait_s,
                tls=tls,
            ),
        )
        room = house.room(lifecycle, public, settings)
        admin = admin_server(room, lambda: house.admins, log, ServerOptions(tls=tls))
        http = HttpPort(lambda: lifecycle.ready)
        # After the servers, so that nobody reads any more: streams that outlived their readers end here.
        stack.push_async_callback(house.engine.aclose)
        stack.push_async_callback(admin.stop_now)
        stack.push_async_callback(public.stop_now)
        stack.push_async_callback(http.stop)
        ready = await _listen(public, admin, http, settings)
        stack.push_async_callback(house.stop_tasks)
        house.begin_tasks(source if settings.watch else None, tls)
        house.doors.say(house.control.routes.document, log)
        announce(ready)

        async def drain() -> None:
            # The admin port serves to the end, but a probe that asks it asks about the process.
            admin.health.set_all(Status.NOT_SERVING)
            await public.drain(settings.drain_grace_s if lifecycle.grace_s is None else lifecycle.grace_s)
            await admin.drain(0.0)

        async def stop_now() -> None:
            await public.stop_now()
            await admin.stop_now()

        whole = await lifecycle.run(drain, stop_now)
        return EXIT_DRAINED if whole else EXIT_CUT_SHORT


@dataclass(frozen=True, slots=True)
class _Guarded:
    """The live routes behind the doors: a document that would open one is refused like any other that is wrong."""

    live: LiveRoutes
    doors: Doors

    def prepare(self, routes: LoadedRoutes) -> Blueprint:
        self.doors.check(routes.document)
        return self.live.prepare(routes)

    def publish(self, prepared: Blueprint, version: int) -> None:
        self.live.publish(prepared, version)

    def begin_trial(self, prepared: Blueprint, version: int, fraction: float) -> None:
        self.live.begin_trial(prepared, version, fraction)

    def end_trial(self) -> None:
        self.live.end_trial()


class _House:
    """Everything behind the ports, and the tasks beside them."""

    def __init__(
        self, source: Source, resolver: SecretResolver, settings: ServeSettings, *, store: Store, log: Log
    ) -> None:
        self.doors = _doors(settings)
        self.callers: CallerTable = OPEN_TABLE
        self.admins: AdminTable = OPEN_ADMINS
        self.live = LiveRoutes(NOTHING, 0, clock=time.monotonic, rng=random.Random())  # noqa: S311  spreads load
        self.live.listeners.append(self._published)
        self.audit = Audit(store.directory, log)
        fence = None if settings.remote_secrets else check_wire
        self.control = RoutesControl(
            _Guarded(self.live, self.doors), store, source, resolver, audit=self.audit, log=log, fence=fence
        )
        self._traffic = RecentTraffic()
        self._books = StatusBooks()
        self._running = Running(self.live.snapshots)
        self._overrides = Overrides(self._running, self.audit, log, seen=self._books.seen)
        self._planner = Planner(self.control, RoutesFile(source), self._traffic, fence=fence)
        self.engine = RoutingEngine(
            self.live.snapshots,
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
    ) -> _House:
        """Let the routes run that are to run first. Raises StartError and InvalidRoutesError."""
        _doors(settings)
        try:
            store = await asyncio.to_thread(Store, settings.data_dir)
        except StoreError as error:
            raise StartError(f"--data-dir: {error}") from error
        stack.callback(store.close)
        house = cls(source, resolver, settings, store=store, log=log)
        stack.push_async_callback(house.live.aclose)
        stack.callback(house._overrides.close)
        stack.push_async_callback(house.control.aclose)
        try:
            await house.control.start()
        except StoreError as error:
            raise StartError(f"--data-dir: {error}") from error
        return house

    def room(self, lifecycle: Lifecycle, public: GrpcServer, settings: ServeSettings) -> ControlRoom[Blueprint]:
        """Return what the admin service asks."""

        def begin_drain(grace_s: float | None) -> tuple[int, float]:
            lifecycle.drain(grace_s)
            grace = settings.drain_grace_s if lifecycle.grace_s is None else lifecycle.grace_s
            return public.in_flight, time.time() + settings.lb_wait_s + grace

        sources = Sources(
            self._running,
            self._books,
            self._overrides,
            routes=lambda: self.control.running,
            canary=lambda: self.control.canary,
            last_rejected=lambda: self.control.last_rejected,
            phase=lambda: lifecycle.phase.value,
            in_flight=lambda: public.in_flight,
            started_at=time.time(),
        )
        return ControlRoom(
            self.control, self._planner, self._overrides, sources, audit=self.audit, begin_drain=begin_drain
        )

    def begin_tasks(self, watched: Source | None, tls: ServerTls | None) -> None:
        """Watch the routes file, where there is one, and the certificates."""
        self._tls = tls
        if isinstance(watched, RoutesSource):
            watch = FileWatch(watched, lambda: self.control.reload_file(_BY_FILE), self._log)
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
        self._overrides.reapply()

    def _ended(self, outcome: CallOutcome) -> None:
        self.control.outcome(outcome)
        self._traffic.take(outcome)
        self._books.book(outcome)

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


def _tls(settings: ServeSettings) -> ServerTls | None:
    if settings.tls is None:
        return None
    try:
        return ServerTls(settings.tls)
    except TlsError as error:
        raise StartError(str(error)) from error


async def _listen(public: GrpcServer, admin: GrpcServer, http: HttpPort, settings: ServeSettings) -> str:
    """Open all ports; return the line that says where. Nothing is served before each has its port."""
    try:
        http_host, http_port = split_address(settings.http_listen)
        http_bound = join_address(http_host, await http.start(http_host, http_port))
    except (ListenError, OSError) as error:
        raise StartError(f"--http-listen: {_why(error, settings.http_listen)}") from error
    try:
        admin_bound = await admin.start(settings.admin_listen)
    except ListenError as error:
        raise StartError(f"--admin-listen: {error}") from error
    try:
        bound = await public.start(settings.listen)
    except ListenError as error:
        raise StartError(f"--listen: {error}") from error
    return f"ready listen={bound} admin={admin_bound} http={http_bound}"


def _why(error: Exception, listen: str) -> str:
    if isinstance(error, OSError):
        # asyncio puts words of its own around the system's, so they are looked up by number.
        what = os.strerror(error.errno) if error.errno else "the address is refused"
        return f"cannot listen on {listen}: {what.lower()}"
    return str(error)
