"""What of an answer stands, as its producer has put it: parts, tool calls, and what a reset takes back.

An answer is a row of runs, each a stretch of content that went into one part without a break. Taking back everything
from a part's first piece on is walking the runs backwards to it. So an attempt that keeps to one part at a time, as
nearly all do, costs one run a part, and nothing is counted twice.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from trunkline_server.engine.frames import DeltaKind


@dataclass(frozen=True, slots=True)
class Standing:
    """What stands of an answer, over all of its attempts."""

    text: str
    """All text parts, joined in the order of their parts; empty unless the outbox keeps text. Likewise below."""
    tool_calls_done: tuple[str, ...]
    """Ids, in the order in which the calls began."""
    tool_calls_open: tuple[str, ...]
    has_refusal: bool
    first_open_part: int | None
    """The part of the open tool call that began first, as the caller knows it."""
    text_before_open: str
    """The text that is left once everything from that call's first piece on is taken back."""


@dataclass(slots=True, eq=False)
class PartRecord:
    """One part, under the number by which the caller knows it."""

    number: int
    kind: DeltaKind
    first_run: int
    """Index of the run that it began with."""
    size_bytes: int = 0
    call_id: str = ""
    done: bool = False
    """Whether it is a tool call that is whole."""


@dataclass(slots=True, eq=False)
class Run:
    """A stretch of content of one part and kind. The rest is how things stood before it."""

    part: PartRecord
    kind: DeltaKind
    part_bytes: int
    part_done: bool
    content_bytes: int
    """Of the whole answer."""
    kept: list[str] | None
    """Its pieces, if it is text that is kept."""


@dataclass(slots=True)
class Ledger:
    """The parts of one answer, and the numbers under which its attempts' parts go out."""

    keep_text: bool = False
    """Whether text is remembered; to be set before the first of it comes."""
    _parts: dict[int, PartRecord] = field(default_factory=dict)
    _runs: list[Run] = field(default_factory=list)
    _of_attempt: dict[int, PartRecord] = field(default_factory=dict)
    """The parts of the attempt that goes on, by its own numbers."""
    _goes_on: PartRecord | None = None
    """The text part in which the attempt's first text goes on."""
    _fresh_number: int | None = None
    """What the attempt's next part is called; None: as the attempt calls it."""

    def begin_attempt(self, *, continues: bool) -> None:
        """Let an attempt begin, whose parts count from 0; RuntimeError if it begins anew beside what stands."""
        if self._parts and not continues:
            raise RuntimeError("an attempt begins anew, and nothing took back what stands")
        self._of_attempt = {}
        self._goes_on = None
        self._fresh_number = None
        if continues:
            texts = [number for number, part in self._parts.items() if part.kind is DeltaKind.TEXT]
            self._goes_on = self._parts[max(texts)] if texts else None
            self._fresh_number = max(self._parts, default=-1) + 1

    def run(self, attempts_part: int, kind: DeltaKind, content_bytes: int) -> Run:
        """Return the run to which the next piece belongs: the present one, or a new one if that goes elsewhere."""
        part = self._of_attempt.get(attempts_part)
        if part is None:
            part = self._of_attempt[attempts_part] = self._part_for(attempts_part, kind)
        last = self._runs[-1] if self._runs else None
        if last is not None and last.part is part and last.kind is kind:
            return last
        kept: list[str] | None = [] if self.keep_text and kind is DeltaKind.TEXT else None
        run = Run(part, kind, part.size_bytes, part.done, content_bytes, kept)
        self._runs.append(run)
        return run

    def _part_for(self, attempts_part: int, kind: DeltaKind) -> PartRecord:
        if kind is DeltaKind.TEXT and self._goes_on is not None:
            part, self._goes_on = self._goes_on, None
            return part
        number = attempts_part
        if self._fresh_number is not None:
            number = self._fresh_number
            self._fresh_number += 1
        part = self._parts[number] = PartRecord(number, kind, len(self._runs))
        return part

    def take_back(self, before_part: int | None) -> int:
        """Take everything back from the first piece of a part on, None: all; return how many bytes of content stand.

        KeyError if no such part stands.
        """
        first = 0 if before_part is None else self._parts[before_part].first_run
        content_bytes = self._runs[first].content_bytes if first < len(self._runs) else 0
        for run in reversed(self._runs[first:]):
            run.part.size_bytes, run.part.done = run.part_bytes, run.part_done
        del self._runs[first:]
        self._parts = {number: part for number, part in self._parts.items() if part.first_run < first}
        gone = [own for own, part in self._of_attempt.items() if part.number not in self._parts]
        for own in gone:
            del self._of_attempt[own]
        return content_bytes

    def attempts_tool_calls(self, *, done: bool) -> tuple[str, ...]:
        """Return the ids of the calls of the attempt that goes on."""
        return _calls(self._of_attempt.values(), done=done)

    def standing(self) -> Standing:
        """Return what stands now."""
        parts = self._parts.values()
        opened = [part for part in parts if part.kind is DeltaKind.TOOL_CALL and not part.done]
        # Parts are remembered in the order in which they began.
        first_open = opened[0] if opened else None
        text = _text(self._runs)
        return Standing(
            text,
            _calls(parts, done=True),
            _calls(parts, done=False),
            any(run.kind is DeltaKind.REFUSAL for run in self._runs),
            None if first_open is None else first_open.number,
            text if first_open is None else _text(self._runs[: first_open.first_run]),
        )


def _calls(parts: Iterable[PartRecord], *, done: bool) -> tuple[str, ...]:
    return tuple(part.call_id for part in parts if part.kind is DeltaKind.TOOL_CALL and part.done is done)


def _text(runs: Iterable[Run]) -> str:
    """Join what was kept, part by part."""
    kept = [run for run in runs if run.kept is not None]
    kept.sort(key=lambda run: run.part.number)
    return "".join("".join(run.kept or ()) for run in kept)
