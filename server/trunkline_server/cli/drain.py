"""`trunkline drain`: a server ends, and its calls first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from trunkline_server.cli import durations, exits
from trunkline_server.cli.admin_call import DEFAULT_ADMIN, Admin, ask

if TYPE_CHECKING:
    from trunkline.v1 import DrainResponse

_LONGEST_S = 24 * 3600


def drain(
    *,
    grace_s: Annotated[
        float | None, Parameter(help="Seconds that calls may still run. Default: as the server was started with.")
    ] = None,
    reason: Annotated[str, Parameter(help="Why; kept in the audit log.")] = "",
    admin: Admin = DEFAULT_ADMIN,
) -> int:
    """Let a server take no more calls, finish those that run, and end.

    Returns at once; calls that still run when the grace is over are cut.
    """
    from trunkline.v1 import DrainRequest

    request = DrainRequest(reason=reason)
    if grace_s is not None:
        if not 0 <= grace_s <= _LONGEST_S:
            raise exits.UsageError(f"--grace-s is in seconds: from 0 to {_LONGEST_S}")
        request.grace.FromNanoseconds(round(grace_s * 1e9))
    return ask(admin, lambda stub: stub.Drain, request, _show)


def _show(response: DrainResponse) -> None:
    from trunkline_server.cli.admin_wording import exact, when
    from trunkline_server.cli.routes_file import counted

    running = counted(response.in_flight, "call")
    print(f"draining: {running} in flight; what still runs is cut {when(response.ends, durations.now())}", end="")
    print(f" ({exact(response.ends)})")
