"""Where tables are printed: how wide, and with colours only on a terminal."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

from rich.console import Console
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trunkline_server.cli.columns import Columns, Row

WIDEST: Final = 100


def output() -> Console:
    """Return standard output as it is now."""
    return Console(file=sys.stdout, highlight=False, markup=False, soft_wrap=True)


def print_table(columns: Columns, rows: Sequence[Row]) -> None:
    """Print a table at most 100 columns wide, or as wide as the terminal; nothing but its header without rows."""
    console = output()
    width = min(WIDEST, console.width) if console.is_terminal else WIDEST
    console.print(Text("\n").join(table_text(columns, rows, width)))


def table_text(columns: Columns, rows: Sequence[Row], width: int) -> list[Text]:
    """Return a table's lines for a terminal, the header first."""
    header, *lines = columns.lay_out(rows, width)
    return [Text(header, style="bold"), *(Text(line, style=row.style) for line, row in zip(lines, rows, strict=True))]
