"""`trunkline routes plan`: what a document would do, with an exit code for scripts."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from trunkline_server.cli import exits
from trunkline_server.cli.admin_call import DEFAULT_ADMIN, Admin, ask
from trunkline_server.cli.routes_document import File, read_document, say_findings_of
from trunkline_server.cli.routes_file import counted

if TYPE_CHECKING:
    from pathlib import Path

    from trunkline.v1 import PlanRoutesResponse, RouteChange

CHANGES = 2
"""The exit code of a plan that would change something."""

_LONGEST_VALUE = 32
"""Of a value before or after, so that a long one leaves room for the other; whole with --json."""


def plan(
    file: File = None,
    /,
    *,
    base_etag: Annotated[str, Parameter(help="Compare with this version. Default: the running one.")] = "",
    admin: Admin = DEFAULT_ADMIN,
) -> int:
    """Show what a routes file would change; nothing is changed.

    Exit code 0 if there is nothing to do, 2 with changes, 1 with findings
    that stand against it, which go to standard error.
    """
    from trunkline.v1 import PlanRoutesRequest

    request = PlanRoutesRequest(source=read_document(file), base_etag=base_etag)
    return ask(admin, lambda stub: stub.PlanRoutes, request, lambda response: _show(response, file), _code)


def _code(response: PlanRoutesResponse) -> int:
    if not response.valid:
        return exits.FAILED
    return exits.OK if response.no_op else CHANGES


def _show(response: PlanRoutesResponse, file: Path | None) -> None:
    from trunkline.v1 import RouteFinding

    say_findings_of(response.findings, file)
    base = f"version {response.base_version} (etag {response.base_etag})"
    if not response.valid:
        errors = sum(finding.severity == RouteFinding.SEVERITY_ERROR for finding in response.findings)
        print(f"not to be published: {counted(errors, 'error')}; compared with {base}", file=sys.stderr)
        return
    if response.no_op:
        print(f"nothing to do: it is {base}")
        return
    if response.changes:
        _show_changes(response)
        print()
    if response.traffic:
        _show_traffic(response)
        print()
    print(_summary(response, base))


def _summary(response: PlanRoutesResponse, base: str) -> str:
    if not response.changes:
        return f"no setting differs from {base}, only the text; a reload would publish it as a new version"
    return f"{counted(len(response.changes), 'change')} from {base}"


def _show_changes(response: PlanRoutesResponse) -> None:
    from trunkline.v1 import RouteChange
    from trunkline_server.cli.columns import Columns, Row
    from trunkline_server.cli.screen import print_table

    styles = {RouteChange.OP_ADD: "green", RouteChange.OP_REMOVE: "red"}
    columns = Columns(("change", "path", "before", "after"), cut=("before", "after", "path"))
    print_table(columns, [Row(_change_cells(change), styles.get(change.op, "")) for change in response.changes])


def _change_cells(change: RouteChange) -> tuple[str, ...]:
    from trunkline.v1 import RouteChange
    from trunkline_server.cli.columns import shortened

    hidden = "(hidden)" if change.sensitive else ""
    before = "" if change.op == RouteChange.OP_ADD else hidden or shortened(change.before, _LONGEST_VALUE)
    after = "" if change.op == RouteChange.OP_REMOVE else hidden or shortened(change.after, _LONGEST_VALUE)
    return (RouteChange.Op.Name(change.op).removeprefix("OP_").lower(), change.path, before, after)


def _show_traffic(response: PlanRoutesResponse) -> None:
    from trunkline_server.cli.admin_wording import percent
    from trunkline_server.cli.columns import Columns, Row
    from trunkline_server.cli.screen import print_table

    columns = Columns(
        ("alias", "moves", "calls in 5 min", "of all calls"),
        right=frozenset({"moves", "calls in 5 min", "of all calls"}),
        cut=("alias",),
    )
    rows = [
        Row((shift.alias, percent(shift.share), str(shift.recent_calls), percent(shift.share_of_all)))
        for shift in response.traffic
    ]
    print_table(columns, rows)
