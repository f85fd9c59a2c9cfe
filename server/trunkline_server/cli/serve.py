"""`trunkline serve`: the server, with a routes file or with an embedded default to play with."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

from cyclopts import Parameter

from trunkline_server.cli import exits, later
from trunkline_server.cli.address import validate_listen
from trunkline_server.cli.routes_file import counted, resolver_for, say_findings
from trunkline_server.cli.upstream import announce

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from trunkline_server.config.findings import Finding
    from trunkline_server.config.secrets import SecretResolver
    from trunkline_server.control.routes_reading import Source
    from trunkline_server.rpc.tls import TlsFiles
    from trunkline_server.settings import ServeSettings


def serve(
    *,
    routes: Annotated[
        Path | None,
        Parameter(
            env_var="TRUNKLINE_ROUTES",
            help="The routes file. Default: an embedded one with a simulated provider and an alias `default`.",
        ),
    ] = None,
    listen: Annotated[
        str,
        Parameter(
            env_var="TRUNKLINE_LISTEN",
            validator=validate_listen,
            help="HOST:PORT for callers; port 0 picks a free one, here and below.",
        ),
    ] = "127.0.0.1:50051",
    admin_listen: Annotated[
        str,
        Parameter(
            env_var="TRUNKLINE_ADMIN_LISTEN",
            validator=validate_listen,
            help="HOST:PORT for operators: admin service, health, reflection, channelz.",
        ),
    ] = "127.0.0.1:50052",
    http_listen: Annotated[
        str,
        Parameter(
            env_var="TRUNKLINE_HTTP_LISTEN",
            validator=validate_listen,
            help="HOST:PORT for /metrics, /healthz and /readyz.",
        ),
    ] = "127.0.0.1:50053",
    secrets_dir: Annotated[
        Path | None,
        Parameter(
            env_var="TRUNKLINE_SECRETS_DIR",
            help="`file:` secrets are read below it only. Default: the directory of the routes file.",
        ),
    ] = None,
    secret_env: Annotated[
        tuple[str, ...],
        Parameter(
            env_var="TRUNKLINE_SECRET_ENV",
            help="Variable that `env:` may read whatever its name; repeat it, or put commas between names.",
        ),
    ] = (),
    remote_secrets: Annotated[
        bool,
        Parameter(
            env_var="TRUNKLINE_REMOTE_SECRETS",
            help="Documents that come over the wire may name any secret and any host, as the routes file may.",
        ),
    ] = False,
    data_dir: Annotated[
        Path | None,
        Parameter(
            env_var="TRUNKLINE_DATA_DIR",
            help="Directory where versions, the audit log and what callers spent outlast a restart. Default: nowhere.",
        ),
    ] = None,
    watch: Annotated[
        bool,
        Parameter(
            env_var="TRUNKLINE_WATCH",
            negative="--no-watch",
            help="Reload the routes file when its content changes. SIGHUP reads it in any case.",
        ),
    ] = True,
    tls_cert: Annotated[
        Path | None,
        Parameter(
            env_var="TRUNKLINE_TLS_CERT", help="Certificate (PEM) of both gRPC ports; read again when it changes."
        ),
    ] = None,
    tls_key: Annotated[
        Path | None, Parameter(env_var="TRUNKLINE_TLS_KEY", help="Its key (PEM, without a password).")
    ] = None,
    tls_client_ca: Annotated[
        Path | None,
        Parameter(
            env_var="TRUNKLINE_TLS_CLIENT_CA",
            help="Authority (PEM) of the clients' certificates: every connection then needs one.",
        ),
    ] = None,
    insecure_open: Annotated[
        bool,
        Parameter(
            env_var="TRUNKLINE_INSECURE_OPEN",
            help="Serve whoever reaches the port, beyond loopback too, although the routes name no callers.",
        ),
    ] = False,
    drain_grace_s: Annotated[
        float, Parameter(env_var="TRUNKLINE_DRAIN_GRACE_S", help="Seconds that calls may still run after SIGTERM.")
    ] = 30.0,
    lb_wait_s: Annotated[
        float,
        Parameter(
            env_var="TRUNKLINE_LB_WAIT_S",
            help="Seconds that a draining server goes on taking calls, so that load balancers see its health first.",
        ),
    ] = 0.0,
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"],
        Parameter(env_var="TRUNKLINE_LOG_LEVEL", help="Least level of the log lines on standard error."),
    ] = "info",
) -> int:
    """Run the server until SIGTERM or Ctrl-C.

    Then running calls may finish; a second signal stops at once. SIGHUP
    reads the routes file again.

    Prints one line `ready listen=HOST:PORT admin=HOST:PORT http=HOST:PORT`
    on standard output once it serves; all else goes to standard error.
    Flags win over variables.
    """
    # What grpc has to say on its own is said better by our messages.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")

    from trunkline_server.settings import ServeSettings

    if routes == Path():
        # Never taken for "no routes file": a variable lost on the way must not put a simulator into production.
        raise exits.UsageError("--routes (TRUNKLINE_ROUTES) is empty; leave it out for the embedded default")
    if drain_grace_s < 0 or lb_wait_s < 0:
        raise exits.UsageError("--drain-grace-s and --lb-wait-s are seconds: 0 or more")
    settings = ServeSettings(
        listen=listen,
        admin_listen=admin_listen,
        http_listen=http_listen,
        insecure_open=insecure_open,
        drain_grace_s=drain_grace_s,
        lb_wait_s=lb_wait_s,
        log_level=log_level,
        data_dir=_given("--data-dir", data_dir),
        tls=_tls_files(tls_cert, tls_key, tls_client_ca),
        remote_secrets=remote_secrets,
        watch=watch,
        process_ends=True,
    )
    if routes is None:
        return _run(_serve_embedded(settings))
    return _run(_serve_file(routes, resolver_for(routes, secrets_dir, secret_env), settings))


def _given(flag: str, path: Path | None) -> Path | None:
    """Return a path as it was given; an empty one is a variable lost on the way."""
    if path == Path():
        raise exits.UsageError(f"{flag} ({later.variable_of(flag)}) is empty")
    return path


def _tls_files(cert: Path | None, key: Path | None, client_ca: Path | None) -> TlsFiles | None:
    cert, key, client_ca = _given("--tls-cert", cert), _given("--tls-key", key), _given("--tls-client-ca", client_ca)
    if cert is None and key is None:
        if client_ca is not None:
            raise exits.UsageError("--tls-client-ca needs --tls-cert and --tls-key beside it")
        return None
    if cert is None or key is None:
        raise exits.UsageError("--tls-cert and --tls-key are given together or not at all")
    from trunkline_server.rpc.tls import TlsFiles

    return TlsFiles(cert, key, client_ca)


def _run(main: Coroutine[Any, Any, int]) -> int:
    """Run the server's coroutine: on uvloop where it is installed, which saves about a tenth of the CPU time."""
    import asyncio
    import importlib

    try:
        factory = importlib.import_module("uvloop").new_event_loop
    except ImportError:
        factory = None
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(main)


async def _serve(
    source: Source, resolver: SecretResolver, settings: ServeSettings, say_ready: Callable[[str], None]
) -> int:
    """Serve; say the warnings of the routes, or every finding and end."""
    from trunkline_server.app import serve as run
    from trunkline_server.config.findings import InvalidRoutesError
    from trunkline_server.config.report import format_findings
    from trunkline_server.settings import StartError

    def say(findings: Sequence[Finding]) -> None:
        say_findings(format_findings(tuple(findings), source.name))

    try:
        code = await run(source, resolver, settings, announce=say_ready, told=say)
    except StartError as error:
        raise exits.CommandError(str(error)) from None
    except InvalidRoutesError as error:
        say(error.findings)
        errors = sum(finding.severity == "error" for finding in error.findings)
        raise exits.CommandError(f"{source.name}: {counted(errors, 'error')}; not started") from None
    _leave(code)


def _leave(code: int) -> NoReturn:
    """End the process here: all that is ours is closed, and grpc's own way down is not safe, see GrpcServer."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


async def _serve_embedded(settings: ServeSettings) -> int:
    from trunkline_server.cli.embedded import embedded_default

    async with embedded_default() as (source, resolver, explanation):

        def say_ready(line: str) -> None:
            print(explanation, file=sys.stderr, flush=True)
            announce(line)

        return await _serve(source, resolver, settings, say_ready)


async def _serve_file(path: Path, resolver: SecretResolver, settings: ServeSettings) -> int:
    from trunkline_server.control.source import RoutesSource

    return await _serve(RoutesSource(path), resolver, settings, announce)
