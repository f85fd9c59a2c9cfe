"""The composition root: from the routes' source and process settings to a running server, and down again.

Owner of what it starts: the ports and the log sink are opened here and closed here, on every way out; what stands
behind the ports belongs to `house`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack

from trunkline_server.collector import settle
from trunkline_server.config.findings import Finding
from trunkline_server.config.secrets import SecretResolver
from trunkline_server.control.routes_reading import Source
from trunkline_server.house import House
from trunkline_server.http_port import HttpPort
from trunkline_server.lifecycle import Lifecycle
from trunkline_server.rpc.health import Status
from trunkline_server.rpc.listen import ListenError, join_address, split_address
from trunkline_server.rpc.server import GrpcServer, ServerOptions, admin_server, public_server
from trunkline_server.rpc.tls import ServerTls, TlsError
from trunkline_server.settings import ServeSettings, StartError
from trunkline_server.telemetry.logs import set_up_logs

_SWITCH_S = 0.0005

EXIT_DRAINED = 0
EXIT_CUT_SHORT = 1
"""A second signal ended the drain before its calls."""

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
        house = await House.open(stack, source, resolver, settings, log)
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
        http = HttpPort(lambda: lifecycle.ready, house.metrics.text)
        # After the servers, so that nobody reads any more: streams that outlived their readers end here.
        stack.push_async_callback(house.engine.aclose)
        stack.push_async_callback(admin.stop_now)
        stack.push_async_callback(public.stop_now)
        stack.push_async_callback(http.stop)
        ready = await _listen(public, admin, http, settings)
        stack.push_async_callback(house.stop_tasks)
        house.begin_tasks(source if settings.watch else None, tls)
        house.doors.say(house.control.routes.document, log)
        _settle()
        public.process_ends = admin.process_ends = settings.process_ends
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


def _settle() -> None:
    """Set the interpreter so that a reload, which reads documents in a thread, is not felt by the calls beside it.

    A thread that reads a document gives the interpreter back after half a millisecond, not after five.
    """
    settle()
    sys.setswitchinterval(_SWITCH_S)


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
