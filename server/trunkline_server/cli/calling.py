"""Calls from the shell: where the server is, who calls, and how a failed call becomes a record.

The command line knows the contract through the client distribution only; gRPC's own names stay in there.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from cyclopts import Parameter

from trunkline_server.cli import exits
from trunkline_server.cli.address import validate_server

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trunkline import CallFailure
    from trunkline.v1 import AdminServiceStub, CompletionServiceStub

LONGEST_TIMEOUT_S = 24 * 3600


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """How a server is reached, and as whom."""

    port: ClassVar[str] = ""
    """Who the port is for."""
    word: ClassVar[str] = ""
    """What the port's address is called in the server's `ready` line."""
    variable: ClassVar[str] = ""
    """Where its token is looked for."""

    server: str
    token: str | None
    plaintext_token: Annotated[
        bool, Parameter(help="Send the token unencrypted to another machine, where something else protects the way.")
    ] = False
    tls: Annotated[
        bool, Parameter(env_var="TRUNKLINE_TLS", help="Encrypt, and trust the system's authorities or --ca's.")
    ] = False
    ca: Annotated[
        Path | None,
        Parameter(env_var="TRUNKLINE_CA", help="PEM file of the authorities that are trusted; implies --tls."),
    ] = None
    cert: Annotated[
        Path | None,
        Parameter(env_var="TRUNKLINE_CERT", help="PEM file of our certificate, where the server asks for one."),
    ] = None
    key: Annotated[Path | None, Parameter(env_var="TRUNKLINE_KEY", help="PEM file of its private key.")] = None
    server_name: Annotated[
        str | None,
        Parameter(env_var="TRUNKLINE_SERVER_NAME", help="The name in the server's certificate, if it is another."),
    ] = None


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class Server(Way):
    """Which server is called, and as which caller."""

    port: ClassVar[str] = "callers"
    word: ClassVar[str] = "listen="
    variable: ClassVar[str] = "TRUNKLINE_TOKEN"

    server: Annotated[
        str, Parameter(env_var="TRUNKLINE_SERVER", validator=validate_server, help="HOST:PORT of the server.")
    ] = "127.0.0.1:50051"
    token: Annotated[
        str | None,
        Parameter(env_var="TRUNKLINE_TOKEN", help="The caller's token; better given as the variable than typed."),
    ] = None


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class AdminServer(Way):
    """Which server's admin port is called, and as which admin."""

    port: ClassVar[str] = "operators"
    word: ClassVar[str] = "admin="
    variable: ClassVar[str] = "TRUNKLINE_ADMIN_TOKEN"

    server: Annotated[
        str,
        Parameter(
            env_var="TRUNKLINE_ADMIN_SERVER", validator=validate_server, help="HOST:PORT of the server's admin port."
        ),
    ] = "127.0.0.1:50052"
    token: Annotated[
        str | None,
        Parameter(env_var="TRUNKLINE_ADMIN_TOKEN", help="The admin's token; better given as the variable than typed."),
    ] = None


DEFAULT_SERVER = Server()
DEFAULT_ADMIN_SERVER = AdminServer()


class CallFailedError(Exception):
    """A call ended with a status; `failure` says which and why."""

    def __init__(self, failure: CallFailure) -> None:
        super().__init__(failure.message)
        self.failure = failure


@contextmanager
def calls(server: Server) -> Iterator[CompletionServiceStub]:
    """Open a channel and yield the callers' stub on it. Raise CallFailedError for a call in the block that failed."""
    with _channel(server) as channel:
        from trunkline.v1 import CompletionServiceStub

        yield CompletionServiceStub(channel)


@contextmanager
def admin_calls(server: AdminServer) -> Iterator[AdminServiceStub]:
    """Open a channel and yield the admins' stub on it. Raise CallFailedError for a call in the block that failed."""
    with _channel(server) as channel:
        from trunkline.v1 import AdminServiceStub

        yield AdminServiceStub(channel)


def checked_timeout(timeout_s: float) -> float:
    """Return a deadline in seconds; raise UsageError if it is none."""
    if not 0 < timeout_s <= LONGEST_TIMEOUT_S:
        raise exits.UsageError(f"--timeout-s is in seconds: above 0, at most {LONGEST_TIMEOUT_S}")
    return timeout_s


@contextmanager
def _channel(server: Way) -> Iterator[Any]:
    # Else grpc writes its own lines between ours.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from trunkline import CallError, failure_of
    from trunkline_server.cli.interrupts import cancelled_by_ctrl_c

    channel = _connect(server)
    with channel, cancelled_by_ctrl_c(channel.close):
        try:
            yield channel
        except CallError as error:
            raise CallFailedError(failure_of(error)) from None


def _connect(server: Way) -> Any:
    from trunkline import connect

    options = {
        # People see what the server says; a repeated call would hide a refusal behind a longer wait.
        "grpc.enable_retries": 0,
        # `http_proxy` is about the web, not about a server that was named by its address.
        "grpc.enable_http_proxy": 0,
    }
    ca, cert, key = map(_given, (server.ca, server.cert, server.key))
    encrypted = server.tls or ca is not None or cert is not None
    if (cert is None) != (key is None):
        raise exits.UsageError("--cert and --key belong together: give both or none")
    if server.server_name and not encrypted:
        raise exits.UsageError("--server-name is checked with TLS only: give --tls or --ca")
    try:
        return connect(
            server.server,
            token=server.token or None,
            tls=encrypted or None,
            ca=ca,
            cert=cert,
            key=key,
            server_name=server.server_name or None,
            plaintext_token=server.plaintext_token,
            options=options,
        )
    except ValueError as error:
        raise _refused(server, str(error)) from None


def _given(file: Path | None) -> Path | None:
    """Return the name of a file; an empty one, as compose files leave variables that say "none", is none."""
    return None if file == Path() else file


def _refused(server: Way, why: str) -> exits.UsageError | exits.CommandError:
    """Return what is wrong with what a channel was to be opened with: the token as typed, or a file."""
    if "encryption" in why:
        return exits.UsageError(
            f"--token: it would go to {server.server} without encryption; give --tls, or say --plaintext-token if "
            "something else protects the way"
        )
    return exits.UsageError(f"--token: {why}") if "token" in why else exits.CommandError(why)
