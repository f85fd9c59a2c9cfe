"""The composition root: from loaded routes and process settings to a running server, and down again.

Owner of what it starts: the three ports, the transports and the log sink are opened here and closed here, on every
way out.
"""

from __future__ import annotations

import ipaddress
import os
import random
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass

from trunkline_server.compile import Compiled, compile_routes
from trunkline_server.config.routes import LoadedRoutes
from trunkline_server.engine.router import RoutingEngine
from trunkline_server.engine.snapshot import Snapshots
from trunkline_server.http_port import HttpPort
from trunkline_server.lifecycle import Lifecycle
from trunkline_server.rpc.auth import OPEN_ADMINS, OPEN_TABLE, CallerTable
from trunkline_server.rpc.health import Status
from trunkline_server.rpc.listen import ListenError, join_address, split_address
from trunkline_server.rpc.server import GrpcServer, ServerOptions, admin_server, public_server
from trunkline_server.telemetry.logs import Log, set_up_logs

EXIT_DRAINED = 0
EXIT_CUT_SHORT = 1
"""A second signal ended the drain before its calls."""


class StartError(Exception):
    """The server cannot start as it was told to; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class ServeSettings:
    """How the process runs; what it routes stands in the routes file."""

    listen: str
    """`HOST:PORT` for callers; port 0 picks a free one. Likewise the next two."""
    admin_listen: str
    http_listen: str
    insecure_open: bool = False
    """Serve everybody beyond loopback although no callers are configured."""
    drain_grace_s: float = 30.0
    """How long running calls may go on after a SIGTERM."""
    lb_wait_s: float = 0.0
    """How long a draining server goes on taking calls, so that load balancers see its health first."""
    log_level: str = "info"


async def serve(routes: LoadedRoutes, settings: ServeSettings, *, announce: Callable[[str], None]) -> int:
    """Serve until a signal; return the exit code. Announce one line once all ports take calls. Raise StartError.

    The line is `ready listen=HOST:PORT admin=HOST:PORT http=HOST:PORT`.
    """
    open_to_all = not routes.document.callers
    _refuse_open_doors(settings, open_to_all=open_to_all)
    async with AsyncExitStack() as stack:
        log, sink = set_up_logs(settings.log_level)
        stack.callback(sink.close)
        compiled = compile_routes(routes, version=1, clock=time.monotonic, rng=random.Random())  # noqa: S311  spreads load
        for transport in compiled.transports:
            stack.push_async_callback(transport.aclose)
        lifecycle = stack.enter_context(Lifecycle())
        engine, public, admin = _servers(compiled, settings, log)
        # After the servers, so that nobody reads any more: streams that outlived their readers end here.
        stack.push_async_callback(engine.aclose)
        http = HttpPort(lambda: lifecycle.ready)
        stack.push_async_callback(admin.stop_now)
        stack.push_async_callback(public.stop_now)
        stack.push_async_callback(http.stop)
        ready = await _listen(public, admin, http, settings)
        _say_how_open(log, open_to_all=open_to_all)
        announce(ready)

        async def drain() -> None:
            # The admin port serves to the end, but a probe that asks it asks about the process.
            admin.health.set_all(Status.NOT_SERVING)
            await public.drain(settings.drain_grace_s)
            await admin.drain(0.0)

        async def stop_now() -> None:
            await public.stop_now()
            await admin.stop_now()

        whole = await lifecycle.run(drain, stop_now)
        return EXIT_DRAINED if whole else EXIT_CUT_SHORT


def _servers(compiled: Compiled, settings: ServeSettings, log: Log) -> tuple[RoutingEngine, GrpcServer, GrpcServer]:
    snapshots = Snapshots(compiled.snapshot)
    engine = RoutingEngine(snapshots, rng=random.Random())  # noqa: S311  jitter, nothing secret
    callers = caller_table(compiled)
    options = ServerOptions(
        write_timeout_s=lambda: snapshots.current.limits.write_timeout_s, lb_wait_s=settings.lb_wait_s
    )
    public = public_server(engine, lambda: callers, log, options)
    return engine, public, admin_server(None, lambda: OPEN_ADMINS, log, ServerOptions())


def caller_table(compiled: Compiled) -> CallerTable:
    """Return who may call, by token; open to everybody if no callers are configured."""
    if not compiled.callers:
        return OPEN_TABLE
    return CallerTable({digest.hex(): caller for digest, caller in compiled.callers})


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
        told = os.strerror(error.errno) if error.errno else "the address is refused"
        return f"cannot listen on {listen}: {told.lower()}"
    return str(error)


def _refuse_open_doors(settings: ServeSettings, *, open_to_all: bool) -> None:
    """Refuse to serve beyond loopback without knowing whom, unless told to; the admin port in any case."""
    try:
        host, _ = split_address(settings.listen)
        admin_host, _ = split_address(settings.admin_listen)
    except ListenError as error:
        raise StartError(str(error)) from error
    if open_to_all and not settings.insecure_open and not is_loopback(host):
        raise StartError(
            f"--listen {settings.listen}: the routes name no callers, so whoever reaches the port could use the keys. "
            "Add `callers`, listen on loopback (127.0.0.1), or say --insecure-open"
        )
    if not is_loopback(admin_host):
        raise StartError(
            f"--admin-listen {settings.admin_listen}: without `admins` in the routes the admin port answers on "
            "loopback only; listen on 127.0.0.1"
        )


def is_loopback(host: str) -> bool:
    """Tell whether an address can be reached from this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _say_how_open(log: Log, *, open_to_all: bool) -> None:
    if open_to_all:
        log.warning("open", port="listen", meaning="no callers in the routes: whoever reaches the port may call")
    log.warning("open", port="admin", meaning="no admins in the routes: the admin port answers on loopback only")
