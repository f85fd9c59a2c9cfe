"""`trunkline serve`: the server, with a routes file or with an embedded default to play with."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from trunkline_server.cli import exits
from trunkline_server.cli.address import validate_listen
from trunkline_server.cli.routes_file import counted, resolver_for, say_findings
from trunkline_server.cli.upstream import announce

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from trunkline_server.app import ServeSettings
    from trunkline_server.config.routes import LoadedRoutes


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
            help="HOST:PORT for operators: health, reflection, channelz.",
        ),
    ] = "127.0.0.1:50052",
    http_listen: Annotated[
        str,
        Parameter(
            env_var="TRUNKLINE_HTTP_LISTEN", validator=validate_listen, help="HOST:PORT for /healthz and /readyz."
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

    Then running calls may finish; a second signal stops at once.

    Prints one line `ready listen=HOST:PORT admin=HOST:PORT http=HOST:PORT`
    on standard output once it serves; all else goes to standard error.
    Flags win over variables.
    """
    # What grpc has to say on its own is said better by our messages.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")

    from trunkline_server.app import ServeSettings

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
    )
    if routes is None:
        return _run(_serve_embedded(settings))
    return _run(_serve(_loaded(routes, secrets_dir, secret_env), settings, announce))


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


async def _serve(routes: LoadedRoutes, settings: ServeSettings, say_ready: Callable[[str], None]) -> int:
    from trunkline_server.app import StartError
    from trunkline_server.app import serve as run

    try:
        return await run(routes, settings, announce=say_ready)
    except StartError as error:
        raise exits.CommandError(str(error)) from None


async def _serve_embedded(settings: ServeSettings) -> int:
    from trunkline_server.cli.embedded import embedded_default

    async with embedded_default() as (routes, explanation):

        def say_ready(line: str) -> None:
            print(explanation, file=sys.stderr, flush=True)
            announce(line)

        return await _serve(routes, settings, say_ready)


def _loaded(path: Path, secrets_dir: Path | None, secret_env: tuple[str, ...]) -> LoadedRoutes:
    """Load the routes file; say its warnings, or every finding and end."""
    from trunkline_server.config.findings import InvalidRoutesError
    from trunkline_server.config.report import format_findings
    from trunkline_server.config.routes import load_routes

    try:
        routes = load_routes(path, resolver_for(path, secrets_dir, secret_env))
    except InvalidRoutesError as error:
        say_findings(format_findings(error.findings, str(path)))
        errors = sum(finding.severity == "error" for finding in error.findings)
        raise exits.CommandError(f"{path}: {counted(errors, 'error')}; not started") from None
    say_findings(format_findings(routes.findings, str(path)))
    return routes
