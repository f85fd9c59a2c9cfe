"""`trunkline status`: how a running server is, in tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trunkline_server.cli.admin_call import DEFAULT_ADMIN, Admin, ask

if TYPE_CHECKING:
    from trunkline.v1 import GetStatusResponse


def status(*, admin: Admin = DEFAULT_ADMIN) -> int:
    """Show how targets, keys, gates and processes are now."""
    from trunkline.v1 import GetStatusRequest

    return ask(admin, lambda stub: stub.GetStatus, GetStatusRequest(), _show)


def _show(response: GetStatusResponse) -> None:
    import textwrap

    from trunkline_server.cli.columns import plain
    from trunkline_server.cli.screen import WIDEST, print_table
    from trunkline_server.cli.status_tables import facts, tables

    for line in facts(response):
        print(textwrap.fill(plain(line), WIDEST, subsequent_indent="  "))
    for table in tables(response):
        print()
        print_table(table.columns, table.rows)
