"""One picture of `trunkline top`: what is in trouble first, and no more than the terminal holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich.text import Text

from trunkline_server.cli.admin_wording import exact
from trunkline_server.cli.columns import plain, shortened
from trunkline_server.cli.screen import table_text
from trunkline_server.cli.status_tables import StatusTable, facts, failovers, gates, keys, targets

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trunkline.v1 import GetStatusResponse

_TROUBLE_FIRST: Final = {"red": 0, "yellow": 1, "cyan": 2, "dim": 3}
_FEWEST_ROWS: Final = 2
_AROUND_A_TABLE: Final = 2
"""Lines: its header, and the blank before it."""


def frame(status: GetStatusResponse, server: str, remark: str, *, width: int, height: int | None) -> Text:
    """Return one picture, at most `width` cells wide and `height` lines high; None: as high as it is.

    remark: what is to be said of the connection; empty: nothing.
    """
    lines = _head(status, server, remark, width)
    shown = [_trouble_first(table) for table in (targets(status), gates(status), keys(status))]
    shown += [failovers(status)] if status.failovers else []
    room = None if height is None else height - len(lines) - _AROUND_A_TABLE * len(shown)
    for table, rows in zip(shown, _shares([len(table.rows) for table in shown], room), strict=True):
        lines.append(Text(""))
        lines += _table(table, rows, width)
    return Text("\n", no_wrap=True, overflow="crop").join(lines if height is None else lines[:height])


def _head(status: GetStatusResponse, server: str, remark: str, width: int) -> list[Text]:
    phases = {worker.phase for worker in status.workers}
    in_flight = sum(worker.in_flight for worker in status.workers)
    phase = "draining" if "draining" in phases else "ready" if phases else "no process"
    first = f"trunkline {server}  {phase}  {in_flight} in flight  {exact(status.at)}"
    lines = [Text(shortened(plain(first), width), style="bold")]
    if remark:
        lines.append(Text(shortened(plain(remark), width), style="bold red" if "gone" in remark else "bold yellow"))
    return [*lines, *(Text(shortened(plain(fact), width)) for fact in facts(status))]


def _trouble_first(table: StatusTable) -> StatusTable:
    rows = sorted(table.rows, key=lambda row: _TROUBLE_FIRST.get(row.style, len(_TROUBLE_FIRST)))
    return StatusTable(table.name, table.columns, tuple(rows))


def _shares(wanted: Sequence[int], room: int | None) -> list[int]:
    """Return how many lines each table gets: all it wants, or the room shared out, small tables first served."""
    if room is None or sum(wanted) <= room:
        return list(wanted)
    shares = [0] * len(wanted)
    left = max(room, _FEWEST_ROWS * len(wanted))
    order = sorted(range(len(wanted)), key=lambda index: wanted[index])
    for place, index in enumerate(order):
        shares[index] = min(wanted[index], left // (len(order) - place))
        left -= shares[index]
    return shares


def _table(table: StatusTable, lines: int, width: int) -> list[Text]:
    """Return a table in so many lines below its header; where rows are left out the last line counts them."""
    if lines >= len(table.rows):
        return table_text(table.columns, table.rows, width)
    shown = max(lines - 1, 0)
    more = f"… and {len(table.rows) - shown} more"
    return [*table_text(table.columns, table.rows[:shown], width), Text(more, style="dim")]
