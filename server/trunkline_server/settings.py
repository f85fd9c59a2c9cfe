"""How the process runs, as the command line says it; what it routes stands in the routes file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from trunkline_server.rpc.tls import TlsFiles


class StartError(Exception):
    """The server cannot start as it was told to; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class ServeSettings:
    """The flags of `trunkline serve`."""

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
    data_dir: Path | None = None
    """Where versions, the audit log and what callers spent are kept. None: in memory alone."""
    tls: TlsFiles | None = None
    """The certificate of both gRPC ports. None: they are not encrypted."""
    remote_secrets: bool = False
    """Whether documents over the wire may name secrets and hosts as they like."""
    watch: bool = True
    """Whether the routes file is watched."""
    process_ends: bool = False
    """Whether the process ends with the server: see GrpcServer.process_ends."""
