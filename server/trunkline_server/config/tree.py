"""YAML as plain values that remember their lines.

The parser's events are taken one by one, so depth, size and the growth by anchors are bounded before anything
is built of them, and every duplicate key is found. Plain scalars are read by YAML 1.2's rules: ``no`` and
``on`` are text, and so are dates; only ``true`` and ``false`` are flags.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias, cast

import yaml

from trunkline_server.config.findings import DocumentPath, Finding, format_path
from trunkline_server.config.pause import Pause, no_pause

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_BYTES = 4 * 1024 * 1024
"""Largest document."""
MAX_DEPTH = 32
"""Deepest nesting, aliases expanded; a routes file needs nine levels."""
MAX_NODES = 100_000
"""Most values, aliases expanded: about 20,000 targets."""

Value: TypeAlias = "dict[str, Value] | list[Value] | str | int | float | bool | None"
"""A value of a document."""

_Lines: TypeAlias = "dict[str, int] | list[int]"

# The C parser is ten times as fast; a PyYAML that was built without it still works.
_LOADER: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_STR_TAGS = (None, "!", "tag:yaml.org,2002:str")
_MAP_TAGS = (None, "!", "tag:yaml.org,2002:map")
_SEQ_TAGS = (None, "!", "tag:yaml.org,2002:seq")
_WORDS: dict[str, bool | None] = {
    "": None,
    "~": None,
    "null": None,
    "Null": None,
    "NULL": None,
    "true": True,
    "True": True,
    "TRUE": True,
    "false": False,
    "False": False,
    "FALSE": False,
}
_NUMBER_START = frozenset("+-.0123456789")
_HINTS = {
    "found character that cannot start any token": " (a tab? Indent with blanks; quote text that begins with @ or `)",
    "mapping values are not allowed in this context": " (quote text that holds a colon and a blank; indent alike)",
}
_EVENTS_A_PIECE = 15
# Longer digits are a hash or an id, not a quantity.
_MAX_NUMBER_LENGTH = 32
_INT = re.compile(r"[-+]?[0-9]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_NOT_FINITE = {".inf": "inf", "+.inf": "inf", "-.inf": "-inf", ".nan": "nan"}


@dataclass(frozen=True, slots=True)
class SourceTree:
    """A document's values and where they stand."""

    value: Value
    lines: dict[int, _Lines] = field(repr=False)
    """By the identity of each mapping and list in `value`: the lines of its entries."""
    first_line: int

    def line(self, path: DocumentPath) -> int:
        """Return the line, from 1, of the entry at `path`, or of the nearest one above that exists."""
        node, line = self.value, self.first_line
        for step in path:
            if isinstance(node, dict) and isinstance(step, str) and step in node:
                line = cast("dict[str, int]", self.lines[id(node)])[step]
                node = node[step]
            elif isinstance(node, list) and isinstance(step, int) and step < len(node):
                line = cast("list[int]", self.lines[id(node)])[step]
                node = node[step]
            else:
                break
        return line


def read_tree(text: bytes, pause: Pause = no_pause) -> tuple[SourceTree | None, list[Finding]]:
    """Read one YAML document; the tree is None if it can't be read to its end. `pause` is called every 16 events."""
    builder = _Builder()
    try:
        for number, event in enumerate(_events(_decoded(text))):
            builder.take(event)
            if not number & _EVENTS_A_PIECE:
                pause()
    except _UnreadableError as error:
        return None, [*builder.findings, error.finding]
    if builder.root is None:
        return None, [*builder.findings, _fatal("empty_document", "holds no settings", None)]
    return SourceTree(builder.root, builder.lines, builder.root_line), builder.findings


def _decoded(text: bytes) -> str:
    if len(text) > MAX_BYTES:
        raise _UnreadableError(_fatal("too_large", f"is larger than {MAX_BYTES // 1024 // 1024} MiB", None))
    try:
        return text.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = text.count(b"\n", 0, error.start) + 1
        message = "is not encoded in UTF-8: save it as UTF-8"
        raise _UnreadableError(_fatal("not_utf8", message, line)) from None


def _events(text: str) -> Iterator[yaml.Event]:
    try:
        yield from yaml.parse(text, Loader=_LOADER)
    except yaml.MarkedYAMLError as error:
        raise _UnreadableError(_syntax_finding(error)) from None
    except yaml.YAMLError:
        # The reader's own error names the character only by its offset.
        message = "holds a control character that YAML does not allow"
        raise _UnreadableError(_fatal("yaml_syntax", message, _line_of_control_character(text))) from None


class _UnreadableError(Exception):
    """Reading can't go on."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding.message)
        self.finding = finding


def _fatal(code: str, message: str, line: int | None) -> Finding:
    return Finding("error", "", line, code, message)


def _syntax_finding(error: yaml.MarkedYAMLError) -> Finding:
    mark = error.problem_mark or error.context_mark
    problem = error.problem or "it cannot be read"
    message = f"is no valid YAML: {problem}{_HINTS.get(problem, '')}"
    if error.context and error.context_mark:
        message += f" ({error.context}, from line {error.context_mark.line + 1})"
    return _fatal("yaml_syntax", message, mark.line + 1 if mark else None)


def _line_of_control_character(text: str) -> int | None:
    found = re.search(r"[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", text)
    return None if found is None else text.count("\n", 0, found.start()) + 1


def _plain(text: str) -> Value:
    """Read a scalar without quotes."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] in _NUMBER_START and len(text) <= _MAX_NUMBER_LENGTH:
        if _INT.fullmatch(text):
            return int(text)
        if _FLOAT.fullmatch(text):
            return float(text)
        if text.lower() in _NOT_FINITE:
            return float(_NOT_FINITE[text.lower()])
    return text


@dataclass(slots=True)
class _Frame:
    """A mapping or list that is being read."""

    value: dict[str, Value] | list[Value]
    lines: _Lines
    anchor: str | None
    line: int
    key: str | None = None
    key_line: int = 0
    repeated: bool = False
    nodes: int = 1
    height: int = 1


@dataclass(slots=True)
class _Subtree:
    """A value that was read to its end, and what each further use of it adds."""

    value: Value
    nodes: int
    height: int


class _Builder:
    """Takes the parser's events in order."""

    def __init__(self) -> None:
        self.findings: list[Finding] = []
        self.lines: dict[int, _Lines] = {}
        self.root: Value = None
        self.root_line = 1
        self._stack: list[_Frame] = []
        self._anchors: dict[str, _Subtree] = {}
        self._nodes = 0
        self._documents = 0

    def take(self, event: yaml.Event) -> None:
        """Handle one event; raise _UnreadableError where reading can't go on."""
        match event:
            case yaml.ScalarEvent():
                self._scalar(event)
            case yaml.MappingStartEvent():
                self._check_tag(event, _MAP_TAGS)
                self._start(_Frame({}, {}, event.anchor, _line(event)))
            case yaml.SequenceStartEvent():
                self._check_tag(event, _SEQ_TAGS)
                self._start(_Frame([], [], event.anchor, _line(event)))
            case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                self._end()
            case yaml.AliasEvent():
                self._alias(event)
            case yaml.DocumentStartEvent():
                self._documents += 1
                if self._documents > 1:
                    self._give_up("many_documents", 'holds more than one document: leave out "---"', _line(event))
            case _:
                pass  # the stream's start and end and the document's end say nothing

    def _path(self) -> DocumentPath:
        steps: list[str | int] = []
        for frame in self._stack:
            if isinstance(frame.value, list):
                steps.append(len(frame.value))
            elif frame.key is not None:
                steps.append(frame.key)
        return tuple(steps)

    def _error(self, code: str, message: str, line: int) -> None:
        self.findings.append(Finding("error", format_path(self._path()), line, code, message))

    def _give_up(self, code: str, message: str, line: int) -> None:
        raise _UnreadableError(Finding("error", format_path(self._path()), line, code, message))

    def _check_tag(self, event: yaml.ScalarEvent | yaml.CollectionStartEvent, allowed: tuple[str | None, ...]) -> None:
        if event.tag not in allowed:
            self._error("yaml_tag", "has a YAML tag (!…): leave it out, none is needed here", _line(event))

    def _expects_key(self) -> bool:
        return bool(self._stack) and isinstance(self._stack[-1].value, dict) and self._stack[-1].key is None

    def _scalar(self, event: yaml.ScalarEvent) -> None:
        plain = event.tag is None and not event.style
        if event.tag is not None:
            self._check_tag(event, _STR_TAGS)
        value = _plain(event.value) if plain else event.value
        if self._expects_key():
            self._key(event, value)
            return
        self._count(1, 0, _line(event))
        done = _Subtree(value, 1, 0)
        if event.anchor:
            self._anchors[event.anchor] = done
        self._place(done, _line(event))

    def _key(self, event: yaml.ScalarEvent, value: Value) -> None:
        frame, line = self._stack[-1], _line(event)
        frame.key, frame.key_line = event.value, line
        frame.repeated = event.value in frame.value
        if not isinstance(value, str):
            self._error("key_not_text", "is a name that is not text: put it in quotes", line)
        elif value == "<<" and not event.style:
            self._error("merge_key", "merging (<<) is not supported: write the settings out", line)
        elif frame.repeated:
            first = cast("dict[str, int]", frame.lines)[event.value]
            self._error("duplicate_key", f"is given twice, first in line {first}: remove one", line)

    def _start(self, frame: _Frame) -> None:
        if self._expects_key():
            self._give_up("key_not_text", "a list or a mapping stands where a name is expected", frame.line)
        self._count(1, 1, frame.line)
        self._stack.append(frame)

    def _end(self) -> None:
        frame = self._stack.pop()
        self.lines[id(frame.value)] = frame.lines
        done = _Subtree(frame.value, frame.nodes, frame.height)
        if frame.anchor:
            self._anchors[frame.anchor] = done
        self._place(done, frame.line)

    def _alias(self, event: yaml.AliasEvent) -> None:
        line = _line(event)
        if self._expects_key():
            self._give_up("key_not_text", "an alias (*…) stands where a name is expected", line)
        found = self._anchors.get(event.anchor or "")
        if found is None:
            # Its name is not repeated: a secret without quotes may begin with an asterisk.
            self._give_up("unknown_alias", "an alias (*…) names no anchor (&…) that ended above it", line)
            return
        self._count(found.nodes, found.height, line)
        self._place(found, line)

    def _count(self, nodes: int, height: int, line: int) -> None:
        self._nodes += nodes
        if self._nodes > MAX_NODES:
            self._give_up("too_many_values", f"the document holds more than {MAX_NODES} values", line)
        if len(self._stack) + height > MAX_DEPTH:
            self._give_up("too_deep", f"is nested more than {MAX_DEPTH} levels deep", line)

    def _place(self, done: _Subtree, line: int) -> None:
        if not self._stack:
            self.root, self.root_line = done.value, line
            return
        frame = self._stack[-1]
        frame.nodes += done.nodes
        frame.height = max(frame.height, done.height + 1)
        if isinstance(frame.value, list):
            frame.value.append(done.value)
            cast("list[int]", frame.lines).append(line)
        elif frame.key is not None:
            if not frame.repeated:
                frame.value[frame.key] = done.value
                cast("dict[str, int]", frame.lines)[frame.key] = frame.key_line
            frame.key = None


def _line(event: yaml.Event) -> int:
    return event.start_mark.line + 1 if event.start_mark else 1
