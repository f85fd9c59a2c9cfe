"""Tables whose rows are one line each: figures to the right, and the least important column cut to fit."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from rich.cells import cell_len, set_cell_size

if TYPE_CHECKING:
    from collections.abc import Sequence

_GAP: Final = "  "
_NARROW: Final = 16
"""Rather than cut a column below that, others are left out, where some may be."""

_NARROWEST: Final = 6
"""No column is cut below that: less says nothing."""


@dataclass(frozen=True, slots=True)
class Row:
    """A row, and how much it asks to be looked at."""

    cells: tuple[str, ...]
    style: str = ""
    """Of the terminal library, for a terminal: `red`, `yellow`, `dim`."""


@dataclass(frozen=True, slots=True)
class Columns:
    """A table's columns, and what is cut first where they do not fit."""

    names: tuple[str, ...]
    right: frozenset[str] = frozenset()
    """Those that hold figures."""
    cut: tuple[str, ...] = ()
    """Those that may be cut, the least important first. Others are whole, and may make the table wider."""
    left_out: tuple[str, ...] = field(default=())
    """Those that are left out where cutting is not enough, the least important first."""

    def lay_out(self, rows: Sequence[Row], width: int) -> list[str]:
        """Return the table's lines, header first, none wider than `width` cells if cutting can do it."""
        cells = [self.names, *(tuple(map(plain, row.cells)) for row in rows)]
        whole = [max(cell_len(row[index]) for row in cells) for index in range(len(self.names))]
        for fewer in range(len(self.left_out) + 1):
            gone = {self.names.index(name) for name in self.left_out[:fewer]}
            kept = [index for index in range(len(self.names)) if index not in gone]
            widths = self._cut(whole, kept, width, _NARROW)
            if _total(widths, kept) <= width:
                break
        widths = self._cut(widths, kept, width, _NARROWEST)
        return [self._line(row, widths, kept) for row in cells]

    def _cut(self, whole: Sequence[int], kept: list[int], width: int, narrowest: int) -> list[int]:
        widths = list(whole)
        for name in self.cut:
            index = self.names.index(name)
            over = _total(widths, kept) - width
            if over > 0 and index in kept:
                widths[index] = min(widths[index], max(widths[index] - over, narrowest, cell_len(name)))
        return widths

    def _line(self, row: Sequence[str], widths: list[int], kept: list[int]) -> str:
        shown = [_fitted(row[index], widths[index], right=self.names[index] in self.right) for index in kept]
        return _GAP.join(shown).rstrip()


def plain(text: str) -> str:
    """Return text on one line that cannot move the cursor or colour the terminal: control characters are blanks."""
    return text if text.isprintable() else "".join(mark if mark.isprintable() else " " for mark in text)


def shortened(text: str, width: int) -> str:
    """Return text that takes at most `width` cells; what was cut ends in an ellipsis."""
    return text if cell_len(text) <= width else set_cell_size(text, width - 1).rstrip() + "…"


def _total(widths: list[int], kept: list[int]) -> int:
    return sum(widths[index] for index in kept) + len(_GAP) * (len(kept) - 1)


def _fitted(text: str, width: int, *, right: bool) -> str:
    short = shortened(text, width)
    blanks = " " * (width - cell_len(short))
    return blanks + short if right else short + blanks
