"""Calls from the shell: where the server is, who calls, and how a failed call becomes a record.

The command line knows the contract through the client distribution only; gRPC's own names stay in there.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from trunkline_server.cli import exits
from trunkline_server.cli.address import validate_server

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trunkline import CallFailure
    from trunkline.v1 import CompletionServiceStub


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class Server:
    """Which server is called, and as whom."""

    server: Annotated[
        str, Parameter(env_var="TRUNKLINE_SERVER", validator=validate_server, help="HOST:PORT of the server.")
    ] = "127.0.0.1:50051"
    token: Annotated[
        str | None,
        Parameter(env_var="TRUNKLINE_TOKEN", help="The caller's token; better given as the variable than typed."),
    ] = None
    plaintext_token: Annotated[
        bool, Parameter(help="Send the token unencrypted to another machine, where something else protects the way.")
    ] = False


DEFAULT_SERVER = Server()


class CallFailedError(Exception):
    """A call ended with a status; `failure` says which and why."""

    def __init__(self, failure: CallFailure) -> None:
        super().__init__(failure.message)
        self.failure = failure


@contextmanager
def calls(server: Server) -> Iterator[CompletionServiceStub]:
    """Open a channel and yield the stub on it. Raise CallFailedError for a call in the block that failed."""
    # Else grpc writes its own lines between ours.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from trunkline import CallError, connect, failure_of
    from trunkline.v1 import CompletionServiceStub

    options = {
        # People see what the server says; a repeated call would hide a refusal behind a longer wait.
        "grpc.enable_retries": 0,
        # `http_proxy` is about the web, not about a server that was named by its address.
        "grpc.enable_http_proxy": 0,
    }
    # An empty variable is how compose files say "none".
    token = server.token or None
    try:
        channel = connect(server.server, token=token, plaintext_token=server.plaintext_token, options=options)
    except ValueError as error:
        raise exits.UsageError(_token_refused(server, str(error))) from None
    with channel:
        try:
            yield CompletionServiceStub(channel)
        except CallError as error:
            raise CallFailedError(failure_of(error)) from None


def _token_refused(server: Server, why: str) -> str:
    if "encryption" in why:
        return (
            f"--token: it would go to {server.server} without encryption; say --plaintext-token if something else "
            "protects the way"
        )
    return f"--token: {why}"
