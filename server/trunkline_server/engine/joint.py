"""Where a continuation meets what was shown: its first words are held back until it is known what they repeat."""

from __future__ import annotations

from trunkline_server.chat.answer import Delta, TextDelta
from trunkline_server.engine.frames import ContinuationMethod, Seam
from trunkline_server.engine.seam import OverlapCutter

HELD_MAX = 256
"""Pieces of other content that may wait for the first text; more of them, and nothing is cut any more."""


class Joint:
    """Takes the deltas of an attempt that goes on from a text, and gives those that may be shown."""

    def __init__(self, cutter: OverlapCutter, method: ContinuationMethod) -> None:
        self._cutter = cutter
        self._method = method
        self._held: list[Delta] = []
        """What came before the first text that may be shown."""
        self._part = 0
        self._began = False
        """Whether text has come: what comes after it ends the holding back."""

    @property
    def seam(self) -> Seam:
        """How the continuation joins; known once something may be shown."""
        return Seam(self._method, self._cutter.overlap_bytes)

    def feed(self, deltas: list[Delta]) -> list[Delta]:
        """Return what may be shown now, in order."""
        out: list[Delta] = []
        for delta in deltas:
            if isinstance(delta, TextDelta):
                self._part, self._began = delta.part, True
                self._text(self._cutter.feed(delta.text), out)
            elif not (self._began or self._cutter.decided) and len(self._held) < HELD_MAX:
                self._held.append(delta)
            else:
                out += self.flush()
                out.append(delta)
        return out

    def flush(self) -> list[Delta]:
        """Return what is still held back: the text has ended, or will not come."""
        out: list[Delta] = []
        self._text(self._cutter.flush(), out)
        return out + self._released()

    def _text(self, text: str, out: list[Delta]) -> None:
        if text:
            out += self._released()
            out.append(TextDelta(self._part, text))

    def _released(self) -> list[Delta]:
        held, self._held = self._held, []
        return held
