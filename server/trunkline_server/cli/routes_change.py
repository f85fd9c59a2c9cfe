"""`trunkline routes reload` and `routes rollback`: another document for a running server."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from trunkline_server.cli import durations, exits
from trunkline_server.cli.admin_call import DEFAULT_ADMIN, Admin, ask
from trunkline_server.cli.routes_document import File, read_document, say_findings_of
from trunkline_server.cli.routes_show import checked_version

if TYPE_CHECKING:
    from trunkline.v1 import CanaryGuard, ReloadRoutesResponse, RollbackRoutesResponse


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What both ways to change the routes take."""

    if_match: Annotated[str, Parameter(help="Only if the version with this etag runs.")] = ""
    dry_run: Annotated[bool, Parameter(help="Do everything but publish.")] = False
    reason: Annotated[str, Parameter(help="Why; kept with the version and in the audit log.")] = ""


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class Canary:
    """Whether a document gets a share of the calls first, and when it is taken back."""

    canary: Annotated[
        float | None, Parameter(help="The share of the calls that it gets at first, such as 0.05. Default: all.")
    ] = None
    canary_window_s: Annotated[
        float | None, Parameter(help="Seconds until it is published for all calls; the server's default is 60.")
    ] = None
    max_error_ratio: Annotated[
        float | None, Parameter(help="It is taken back when more of its calls fail; the server's default is 0.05.")
    ] = None
    max_first_token_ratio: Annotated[
        float | None,
        Parameter(help="Or when its first tokens take so many times as long; the server's default is 2."),
    ] = None


_NO_CHANGE = Change()
_NO_CANARY = Canary()


def reload(
    file: File = None,
    /,
    *,
    change: Change = _NO_CHANGE,
    canary: Canary = _NO_CANARY,
    request_id: Annotated[
        str, Parameter(help="Makes the call safe to repeat: a second one with the same id changes nothing more.")
    ] = "",
    admin: Admin = DEFAULT_ADMIN,
) -> int:
    """Publish a routes file, for all calls or first for a share of them.

    Without FILE the server reads its own file again. Exit code 0 if the
    document runs, also if it ran already; 1 if it was refused, with what
    is wrong or which version runs now.
    """
    from trunkline.v1 import ReloadRoutesRequest

    guard = _guard(canary)
    request = ReloadRoutesRequest(
        source=read_document(file),
        if_match_etag=change.if_match,
        dry_run=change.dry_run,
        reason=change.reason,
        request_id=request_id,
        canary_fraction=canary.canary or 0.0,
        guard=guard,
    )
    return ask(admin, lambda stub: stub.ReloadRoutes, request, lambda response: _show_reload(response, file))


def rollback(
    version: Annotated[
        int | None, Parameter(help="Whose document is to run. Default: end the canary, or else the version before.")
    ] = None,
    /,
    *,
    change: Change = _NO_CHANGE,
    admin: Admin = DEFAULT_ADMIN,
) -> int:
    """Publish the document of an older version again, or end a canary."""
    from trunkline.v1 import RollbackRoutesRequest

    request = RollbackRoutesRequest(
        to_version=checked_version(version),
        if_match_etag=change.if_match,
        reason=change.reason,
        dry_run=change.dry_run,
    )
    return ask(admin, lambda stub: stub.RollbackRoutes, request, _show_rollback)


def _guard(canary: Canary) -> CanaryGuard | None:
    """Return the guard that was asked for, None for the server's; raise UsageError for what cannot be one."""
    given = {
        "--canary-window-s": canary.canary_window_s,
        "--max-error-ratio": canary.max_error_ratio,
        "--max-first-token-ratio": canary.max_first_token_ratio,
    }
    named = [flag for flag, value in given.items() if value is not None]
    if canary.canary is None:
        if named:
            raise exits.UsageError(f"{', '.join(named)}: only with --canary")
        return None
    if not 0 < canary.canary < 1:
        raise exits.UsageError("--canary is a share of the calls: above 0, below 1")
    if canary.canary_window_s is not None and not 0 < canary.canary_window_s <= 24 * 3600:
        raise exits.UsageError("--canary-window-s is in seconds: above 0, at most 86400")
    if canary.max_error_ratio is not None and not 0 <= canary.max_error_ratio <= 1:
        raise exits.UsageError("--max-error-ratio is a share of the calls: from 0 to 1")
    if canary.max_first_token_ratio is not None and not 0 < canary.max_first_token_ratio < float("inf"):
        raise exits.UsageError("--max-first-token-ratio must be above 0")
    return _guard_message(canary) if named else None


def _guard_message(canary: Canary) -> CanaryGuard:
    from trunkline.v1 import CanaryGuard

    guard = CanaryGuard(error_ratio=canary.max_error_ratio, first_token_ratio=canary.max_first_token_ratio)
    if canary.canary_window_s is not None:
        guard.window.FromNanoseconds(round(canary.canary_window_s * 1e9))
    return guard


def _show_reload(response: ReloadRoutesResponse, file: Path | None) -> None:
    from trunkline_server.cli.admin_wording import canary_line, guard_text, version_line

    say_findings_of(response.findings, file)
    version = version_line(response.version, durations.now())
    if response.no_op:
        print(f"nothing to do, it runs already: {version}")
    elif response.dry_run:
        print(f"dry run, it could be published; running: {version}")
    else:
        print(f"{'on trial' if response.HasField('canary') else 'published'}: {version}")
    if response.HasField("canary"):
        print(canary_line(response.canary, durations.now()))
        if limits := guard_text(response.canary):
            print(f"  taken back {limits}")


def _show_rollback(response: RollbackRoutesResponse) -> None:
    from trunkline_server.cli.admin_wording import version_line

    if response.ended_canary:
        ended = "would be ended" if response.dry_run else "ended"
        print(f"canary {ended}: version {response.ended_canary}")
    dry = "dry run, nothing was done; " if response.dry_run else ""
    print(f"{dry}running: {version_line(response.version, durations.now())}")
