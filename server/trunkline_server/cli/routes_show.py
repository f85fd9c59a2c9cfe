"""`trunkline routes show` and `routes history`: the running document, an older one, and all that are kept."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from trunkline_server.cli import durations, exits
from trunkline_server.cli.admin_call import DEFAULT_ADMIN, Admin, ask

if TYPE_CHECKING:
    from trunkline.v1 import GetRoutesResponse, ListRouteVersionsResponse, RouteVersion

_LARGEST_PAGE = 100


def show(
    version: Annotated[int | None, Parameter(help="Default: the version that runs.")] = None,
    /,
    *,
    admin: Admin = DEFAULT_ADMIN,
) -> int:
    """Print the document of a version, the running one by default.

    The document alone goes to standard output; its version, a canary that
    runs and the last refused document go to standard error.
    """
    from trunkline.v1 import GetRoutesRequest

    request = GetRoutesRequest(version=checked_version(version))
    return ask(admin, lambda stub: stub.GetRoutes, request, _show)


def history(
    *,
    page_size: Annotated[int, Parameter(help="At most so many versions, up to 100.")] = 20,
    after: Annotated[str, Parameter(help="Go on behind a page: the word that it ended with.")] = "",
    admin: Admin = DEFAULT_ADMIN,
) -> int:
    """List the versions that are kept, the newest first."""
    from trunkline.v1 import ListRouteVersionsRequest

    if not 1 <= page_size <= _LARGEST_PAGE:
        raise exits.UsageError(f"--page-size must be from 1 to {_LARGEST_PAGE}")
    request = ListRouteVersionsRequest(page_size=page_size, page_token=after)
    return ask(admin, lambda stub: stub.ListRouteVersions, request, _show_history)


def checked_version(version: int | None) -> int:
    """Return a version as requests have it, 0 for none; raise UsageError for what counts no version."""
    if version is None:
        return 0
    if not 0 < version < 1 << 64:
        raise exits.UsageError("VERSION counts from 1; `trunkline routes history` names those that are kept")
    return version


def _show(response: GetRoutesResponse) -> None:
    from trunkline_server.cli.admin_wording import canary_line, guard_text, rejected_line, version_line

    now_s = durations.now()
    sys.stdout.write(response.document)
    sys.stdout.flush()
    print(version_line(response.version, now_s), file=sys.stderr)
    if response.HasField("canary"):
        print(canary_line(response.canary, now_s), file=sys.stderr)
        if limits := guard_text(response.canary):
            print(f"  taken back {limits}", file=sys.stderr)
    if response.HasField("last_rejected"):
        print(rejected_line(response.last_rejected, now_s), file=sys.stderr)


def _show_history(response: ListRouteVersionsResponse) -> None:
    from trunkline_server.cli.columns import Columns, Row
    from trunkline_server.cli.screen import print_table

    columns = Columns(
        ("version", "state", "published", "by", "from", "etag", "reason"),
        right=frozenset({"version"}),
        cut=("reason", "by"),
    )
    now_s = durations.now()
    print_table(columns, [Row(_history_cells(version, now_s)) for version in response.versions])
    if response.next_page_token:
        print(f"older ones: trunkline routes history --after {response.next_page_token}", file=sys.stderr)


def _history_cells(version: RouteVersion, now_s: float) -> tuple[str, ...]:
    from trunkline_server.cli.admin_wording import origin_text, state_text, when

    return (
        str(version.version),
        state_text(version),
        when(version.published, now_s),
        version.published_by,
        origin_text(version),
        version.etag,
        version.reason,
    )
