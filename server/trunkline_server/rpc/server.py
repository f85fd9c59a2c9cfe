"""The gRPC servers: what is mounted on them, how they are set, started, drained and stopped."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import grpc
from grpc import aio

from trunkline_server.control.api import Admin
from trunkline_server.engine.api import Engine
from trunkline_server.rpc import admin, completion
from trunkline_server.rpc import health as health_service
from trunkline_server.rpc.admin import AdminService
from trunkline_server.rpc.boundary import Boundary
from trunkline_server.rpc.channelz import SERVICE as CHANNELZ_SERVICE
from trunkline_server.rpc.channelz import channelz_handlers
from trunkline_server.rpc.completion import CompletionService
from trunkline_server.rpc.drain import Drain
from trunkline_server.rpc.handler import AdminHandler, Admins, CallerHandler, Callers, GuardedHandler
from trunkline_server.rpc.health import Health, Status
from trunkline_server.rpc.listen import open_port
from trunkline_server.rpc.reflection import reflection_handlers
from trunkline_server.rpc.tls import ServerTls
from trunkline_server.telemetry.logs import Log

MAX_RECEIVE_BYTES = 32 * 1024 * 1024
"""Largest request. A larger one is refused by grpc itself, as RESOURCE_EXHAUSTED without details."""

MAX_CONNECTIONS = 10_000
"""Connections that a port holds at a time; further ones are closed as they come."""

HANDSHAKE_S = 10.0
"""How long a peer may take from its connection to its first HTTP/2 settings, TLS included."""

IDLE_S = 300
"""A connection without calls is closed after so long; a client library opens another for its next call."""

MAX_METADATA_BYTES = 16 * 1024
"""Largest metadata. Both of grpc's limits are set to it: between a soft and a hard one it refuses at random."""

CUT_S = 1.0
"""How long calls that the drain ends may take for their last frames, before they are ended in the middle of one."""

_STOP_S = 1.0
_LAST_WORDS_S = 0.1


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """How a server is set; the defaults suit a port that services call."""

    write_timeout_s: Callable[[], float] = lambda: 30.0
    """Longest time a reader may take for a frame; asked at the start of each stream."""
    reuse_port: bool = False
    """Whether several processes share the port. Connections are spread over them, not calls."""
    lb_wait_s: float = 0.0
    """How long a draining server goes on taking calls after its health says NOT_SERVING."""
    tls: ServerTls | None = None
    """The certificate of the port. None: it is not encrypted."""
    max_connections: int = MAX_CONNECTIONS
    handshake_s: float = HANDSHAKE_S


class GrpcServer:
    """One grpc.aio server with its health and its drain. Its methods belong to the loop that it was made in."""

    def __init__(
        self, handlers: Sequence[grpc.GenericRpcHandler], health: Health, drain: Drain, options: ServerOptions
    ) -> None:
        self._server = aio.server(handlers=(*handlers, health), options=channel_options(options))
        self._tls = options.tls
        self.process_ends = False
        """Whether the process ends once this has drained: sockets are then left to the system. grpc's own stop crashes
        now and then while a connection is open that has said nothing yet, such as a load balancer's probe."""
        self._lb_wait_s = options.lb_wait_s
        self._drain = drain
        self.health = health

    @property
    def in_flight(self) -> int:
        """How many calls of our services are being served."""
        return self._drain.in_flight

    async def start(self, listen: str) -> str:
        """Listen on `HOST:PORT` and serve; returns the address with port 0 resolved. Raises ListenError."""
        address = open_port(self._server, listen, None if self._tls is None else self._tls.credentials())
        await self._server.start()
        self.health.set_all(Status.SERVING)
        return address

    async def drain(self, grace_s: float) -> None:
        """Stop taking calls, let those that run finish, and stop.

        Health says NOT_SERVING at once; new calls are served for `lb_wait_s` more, then refused as SERVER_DRAINING,
        and running streams are told. What is left after `grace_s` from then on is ended as SERVER_DRAINING. Takes at
        most `lb_wait_s + grace_s` and about three seconds. To stop sooner, cancel it and call `stop_now`.
        """
        self.health.set_all(Status.NOT_SERVING)
        await asyncio.sleep(self._lb_wait_s)
        self._drain.begin(grace_s)
        if not await self._drain.wait_idle(grace_s):
            self._drain.cut(at_once=False)
            if not await self._drain.wait_idle(CUT_S):
                self._drain.cut(at_once=True)
                await self._drain.wait_idle(CUT_S)
        await self.health.end_watches(_STOP_S / 2)
        await self._stop(_STOP_S)

    async def stop_now(self) -> None:
        """Stop at once. May be called after a cancelled `drain`, and again.

        Calls that run are ended as SERVER_DRAINING as far as that takes no time; the others without a word.
        """
        self.health.set_all(Status.NOT_SERVING)
        self._drain.close()
        self._drain.cut(at_once=True)
        await self._drain.wait_idle(_LAST_WORDS_S)
        # Statuses are on their way: a stop without any time would overtake them.
        await self._stop(_LAST_WORDS_S)

    async def _stop(self, grace_s: float) -> None:
        if self.process_ends:
            # Long enough for what was written last to leave the process.
            await asyncio.sleep(_LAST_WORDS_S)
        else:
            await self._server.stop(grace_s)

    async def wait_stopped(self) -> None:
        """Wait until the server has stopped."""
        await self._server.wait_for_termination()


def public_server(engine: Engine, callers: Callers, log: Log, options: ServerOptions) -> GrpcServer:
    """Return the server for callers: completion service, health, and reflection (with a token if calls need one)."""
    drain = Drain()
    boundary = Boundary(drain, log, options.write_timeout_s)
    health = Health((completion.SERVICE,))
    reflection = reflection_handlers((completion.SERVICE, health_service.SERVICE))
    handlers = (
        CallerHandler(boundary, CompletionService(engine).methods(), callers, drain),
        GuardedHandler(boundary, reflection, callers),
    )
    return GrpcServer(handlers, health, drain, options)


def admin_server(room: Admin | None, admins: Admins, log: Log, options: ServerOptions) -> GrpcServer:
    """Return the server for operators: admin service, health; reflection and channelz for every admin.

    Without a control room there is no admin service.
    """
    drain = Drain()
    boundary = Boundary(drain, log, options.write_timeout_s)
    methods = () if room is None else AdminService(room).methods()
    services = () if room is None else (admin.SERVICE,)
    health = Health(services)
    reflection = reflection_handlers((*services, CHANNELZ_SERVICE, health_service.SERVICE))
    handlers = (
        AdminHandler(boundary, methods, admins, drain),
        GuardedHandler(boundary, {**reflection, **channelz_handlers()}, admins),
    )
    return GrpcServer(handlers, health, drain, options)


def channel_options(options: ServerOptions) -> list[tuple[str, int]]:
    """Return the settings of a server, each of them on purpose."""
    return [
        ("grpc.max_receive_message_length", MAX_RECEIVE_BYTES),  # pictures in prompts
        ("grpc.max_send_message_length", -1),
        ("grpc.max_metadata_size", MAX_METADATA_BYTES),
        ("grpc.absolute_max_metadata_size", MAX_METADATA_BYTES),
        ("grpc.max_concurrent_streams", 1000),
        # What a peer costs that nobody knows yet: by default it may be silent for 2 min, then idle for ever, and open
        # as many connections as there are file descriptors.
        ("grpc.server_handshake_timeout_ms", int(options.handshake_s * 1000)),
        ("grpc.max_connection_idle_ms", IDLE_S * 1000),
        ("grpc.max_allowed_incoming_connections", options.max_connections),
        # The probe lets a stream's window grow to 8 MiB, filled before anybody asked who calls; without it a call
        # holds 64 KiB until it is read, and a message that is being read still gets the window it needs.
        ("grpc.http2.bdp_probe", 0),
        # A caller that vanished gives its slot back after 40 s, not at its deadline.
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 1),
        # By default a client that pings more often than every 5 min is cut off during a long silence.
        ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
        # On by default: two servers on one port would split the traffic in silence.
        ("grpc.so_reuseport", int(options.reuse_port)),
        ("grpc.enable_channelz", 1),
    ]
