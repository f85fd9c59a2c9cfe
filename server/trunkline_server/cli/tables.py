"""Tables for people, at most 100 columns wide, so that they are whole in a report and in a narrow window."""

from __future__ import annotations

import sys
from typing import Final

from rich.console import Console
from rich.table import Table

WIDEST: Final = 100


def make_table(*columns: str, right: frozenset[str] = frozenset()) -> Table:
    """Return an empty table; long words are folded, never cut off. Columns in `right` hold figures."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", overflow="fold")
    return table


def show(table: Table) -> None:
    """Print a table on standard output; colours only on a terminal."""
    terminal = Console(file=sys.stdout, highlight=False)
    width = min(WIDEST, terminal.width) if terminal.is_terminal else WIDEST
    Console(file=sys.stdout, highlight=False, width=width).print(table)
