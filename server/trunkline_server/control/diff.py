"""What differs between two routes documents, as typed changes.

Documents are compared by what they mean: a default that is written out is no change, and neither is a short form. The
entries of lists that have names (keys, callers, admins, the targets of a tier) are matched by them, so that one that
is put in between does not make changes of all behind it. What is secret, references and hashes of tokens, is told to
have changed, and never shown.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from trunkline_server.config.findings import shown
from trunkline_server.config.model import RoutesDocument
from trunkline_server.control.types import Change, ChangeOp

MAX_CHANGES: Final = 1_000
"""Changes told of two documents; one more says how many were left out."""
MAX_VALUE_CHARS: Final = 1_024
"""Longest value that is shown, as JSON."""

_SENSITIVE: Final = frozenset({"secret", "token_sha256"})
_NAMED_BY: Final[Mapping[str, str]] = {"keys": "id", "callers": "id", "admins": "id", "targets": "target"}


@dataclass(frozen=True, slots=True)
class _Value:
    """A value of a document. None in `full`: it is absent."""

    full: object
    """With all defaults: what is compared."""
    given: object
    """As it was written: what is shown."""

    def entry(self, name: str) -> _Value:
        """Return an entry of a mapping."""
        full = self.full.get(name) if isinstance(self.full, Mapping) else None
        return _Value(full, self.given.get(name) if isinstance(self.given, Mapping) else None)

    def items(self, naming: str | None) -> dict[str, _Value]:
        """Return the entries of a list, by name or by place."""
        full = self.full if isinstance(self.full, Sequence) else ()
        given = self.given if isinstance(self.given, Sequence) else ()
        entries = [_Value(item, given[index] if index < len(given) else None) for index, item in enumerate(full)]
        if naming is None:
            return {str(index): entry for index, entry in enumerate(entries)}
        return {str(entry.entry(naming).full): entry for entry in entries}


_ABSENT: Final = _Value(None, None)


def diff(before: RoutesDocument, after: RoutesDocument) -> tuple[Change, ...]:
    """Return what it takes to make `before` into `after`; nothing if both mean the same. Blocks for large documents.

    Ordered by section, then by name. At most MAX_CHANGES, and one that says how many more there are.
    """
    changes = list(_changes(_value(before), _value(after), ()))
    if (more := len(changes) - MAX_CHANGES) <= 0:
        return tuple(changes)
    last = Change(ChangeOp.REPLACE, "", "", json.dumps(f"{more} more changes are not shown"))
    return (*changes[:MAX_CHANGES], last)


def _value(document: RoutesDocument) -> _Value:
    return _Value(document.model_dump(), document.model_dump(exclude_unset=True))


def _changes(before: _Value, after: _Value, path: tuple[str, ...]) -> Iterator[Change]:
    if before.full == after.full:
        return
    if before.full is None or after.full is None:
        yield from _whole(before, after, path)
    elif isinstance(before.full, Mapping) and isinstance(after.full, Mapping):
        for name in _names(before.full, after.full, path):
            yield from _changes(before.entry(name), after.entry(name), (*path, shown(name)))
    elif _is_sensitive(path):
        yield Change(ChangeOp.REPLACE, _text(path), "", "", sensitive=True)
    elif path[-1] in _NAMED_BY or path[-1] == "tiers":
        yield from _list_changes(before, after, path)
    else:
        yield Change(ChangeOp.REPLACE, _text(path), _json(before.full), _json(after.full))


def _names(before: Mapping[str, object], after: Mapping[str, object], path: tuple[str, ...]) -> list[str]:
    """Return the names of two mappings: settings in the order of the model, others by the alphabet."""
    names = [*before, *(name for name in after if name not in before)]
    return sorted(names) if len(path) == 1 else names


def _list_changes(before: _Value, after: _Value, path: tuple[str, ...]) -> Iterator[Change]:
    naming = _NAMED_BY.get(path[-1])
    old, new = before.items(naming), after.items(naming)
    names = [*old, *(name for name in new if name not in old)]
    for name in sorted(names) if naming else names:
        label = shown(name)
        yield from _changes(old.get(name, _ABSENT), new.get(name, _ABSENT), (*path[:-1], f"{path[-1]}[{label}]"))
    kept, kept_now = [name for name in old if name in new], [name for name in new if name in old]
    if naming and kept != kept_now:
        was, now = (_json([shown(name) for name in order]) for order in (kept, kept_now))
        yield Change(ChangeOp.REPLACE, _text(path), was, now)


def _whole(before: _Value, after: _Value, path: tuple[str, ...]) -> Iterator[Change]:
    """Yield a value that came or went, and apart from it what is secret in it."""
    op = ChangeOp.ADD if before.full is None else ChangeOp.REMOVE
    value = after if before.full is None else before
    if _is_sensitive(path):
        yield Change(op, _text(path), "", "", sensitive=True)
        return
    # A default has nothing that was written; what a bare list says is all that is compared.
    text = _json(_open(value.full if value.given is None else value.given))
    before_text, after_text = ("", text) if op is ChangeOp.ADD else (text, "")
    yield Change(op, _text(path), before_text, after_text)
    for place in _secrets(value.full, path):
        yield Change(op, _text(place), "", "", sensitive=True)


def _open(value: object) -> object:
    """Return a value without what is secret in it."""
    if isinstance(value, Mapping):
        return {shown(str(name)): _open(item) for name, item in value.items() if name not in _SENSITIVE}
    return [_open(item) for item in value] if isinstance(value, list | tuple) else value


def _secrets(value: object, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Yield the place of everything secret in a value."""
    if isinstance(value, Mapping):
        for name, item in value.items():
            if name in _SENSITIVE and item is not None:
                yield (*path, name)
            yield from _secrets(item, (*path, shown(str(name))))
    elif isinstance(value, list | tuple) and (naming := _NAMED_BY.get(path[-1])):
        for item in value:
            if isinstance(item, Mapping):
                label = shown(str(item.get(naming)))
                yield from _secrets(item, (*path[:-1], f"{path[-1]}[{label}]"))


def _is_sensitive(path: tuple[str, ...]) -> bool:
    # Only in an entry of a list: an alias may be called "secret".
    return path[-1] in _SENSITIVE and path[-2].endswith("]")


def _text(path: tuple[str, ...]) -> str:
    return ".".join(path)


def _json(value: object) -> str:
    text = json.dumps(_plain(value), ensure_ascii=False, separators=(",", ":"))
    return text if len(text) <= MAX_VALUE_CHARS else json.dumps(f"too long to show: {len(text)} characters")


def _plain(value: object) -> object:
    """Return a value as people write it: 3 rather than 3.0."""
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
