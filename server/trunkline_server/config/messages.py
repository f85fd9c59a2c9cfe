"""What pydantic found, told to people: plain sentences, the document's own paths, never a value that may be secret."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from trunkline_server.config.built import SETTINGS, STANDS_FOR, VALUES
from trunkline_server.config.findings import DocumentPath, Finding, format_path

if TYPE_CHECKING:
    from pydantic import ValidationError
    from pydantic_core import ErrorDetails

    from trunkline_server.config.near import NearNames
    from trunkline_server.config.tree import SourceTree, Value

_KEY_MARK: Final = "[key]"
_FREE_NAMES: Final = frozenset({"providers", "models", "aliases"})


def explain(error: ValidationError, tree: SourceTree, near: NearNames) -> list[Finding]:
    """Turn pydantic's errors into findings with the document's own paths and lines."""
    translator = _Translator(tree, near)
    found = (
        translator.finding(detail)
        for detail in error.errors(include_url=False, include_context=True, include_input=False)
    )
    return [finding for finding in found if finding is not None]


def describe(value: object) -> str:
    """Name the kind of a YAML value, without the value."""
    match value:
        case None:
            return "nothing"
        case bool():
            return "true or false"
        case int() | float():
            return "a number"
        case str():
            return "text"
        case list():
            return "a list"
        case _:
            return "a mapping"


class _Translator:
    """Translates the errors of one document."""

    def __init__(self, tree: SourceTree, near: NearNames) -> None:
        self._tree = tree
        self._near = near

    def finding(self, detail: ErrorDetails) -> Finding | None:
        """Return the finding for one of pydantic's errors; None if another finding says it already."""
        loc = tuple(step for step in detail["loc"] if step != _KEY_MARK)
        path, value = self._locate(loc)
        if detail["type"] == "missing" and self._is_replaced(path, loc):
            return None
        code, message = self._told(detail, loc, path, value)
        return Finding("error", format_path(path), self._tree.line(path), code, message)

    def _locate(self, loc: DocumentPath) -> tuple[DocumentPath, Value]:
        """Find the document's own path: its short forms lack a step that the long forms have."""
        node: Value = self._tree.value
        path: list[str | int] = []
        for step in loc:
            if step == "targets" and isinstance(node, list):
                continue
            if step == "target" and isinstance(node, str):
                continue
            path.append(step)
            if isinstance(node, dict) and isinstance(step, str):
                node = node.get(step)
            elif isinstance(node, list) and isinstance(step, int) and step < len(node):
                node = node[step]
            else:
                node = None
        return tuple(path), node

    def _is_replaced(self, path: DocumentPath, loc: DocumentPath) -> bool:
        _, parent = self._locate(path[:-1])
        place = _pattern(loc[:-1])
        return isinstance(parent, dict) and any(
            loc[-1] in replaced and setting.rpartition(".")[0] == place and setting.rpartition(".")[2] in parent
            for setting, replaced in STANDS_FOR.items()
        )

    def _told(self, detail: ErrorDetails, loc: DocumentPath, path: DocumentPath, value: Value) -> tuple[str, str]:
        kind = detail["type"]
        if kind == "extra_forbidden":
            return self._unexpected(loc, path)
        if kind == "literal_error":
            return self._wrong_word(loc, path, value)
        context: Mapping[str, Any] = detail.get("ctx", {})
        if kind in _TYPES:
            return "wrong_type", _wrong_type(_expected(kind, context), value)
        if kind in _PLAIN:
            code, write = _PLAIN[kind]
            return code, write(context)
        # What is left are the codes of our own validators, whose messages never hold the value.
        return kind, detail["msg"]

    def _unexpected(self, loc: DocumentPath, path: DocumentPath) -> tuple[str, str]:
        place, name = _pattern(loc[:-1]), str(loc[-1])
        names = SETTINGS[place]
        if name in names.later:
            return "not_built", f"not built yet: {format_path(path)}"
        homes = [home or "the top level" for home, others in SETTINGS.items() if name in others.known]
        if len(homes) == 1:
            return "unknown_field", f"is no setting of this place: it belongs to {homes[0]}"
        return "unknown_field", f"is no known setting{self._near.hint(name, names.known)}"

    def _wrong_word(self, loc: DocumentPath, path: DocumentPath, value: Value) -> tuple[str, str]:
        words = VALUES[_pattern(loc)]
        if not isinstance(value, str):
            return "wrong_type", _wrong_type("text", value)
        if value in words.later:
            return "not_built", f"not built yet: {format_path(path)}: {value}"
        return "bad_value", f"must be {_one_of(words.built)}{self._near.hint(value, words.known)}"


def _pattern(loc: DocumentPath) -> str:
    """Write a path as the table of what is built has it: ``providers.*.keys[].id``."""
    text = ""
    for index, step in enumerate(loc):
        if isinstance(step, int):
            text += "[]"
        elif index == 1 and loc[0] in _FREE_NAMES:
            text += ".*"
        else:
            text += f".{step}" if text else step
    return text


def _one_of(words: tuple[str, ...]) -> str:
    return words[0] if len(words) == 1 else f"one of {', '.join(words)}"


_TYPES: Final[Mapping[str, str]] = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "model_type": "a mapping of settings",
    "dict_type": "a mapping",
    "mapping_type": "a mapping",
    "tuple_type": "a list",
    "list_type": "a list",
}

_SHAPES: Final[Mapping[str, str]] = {
    "TierSettings": "a list of targets, or a mapping with strategy and targets,",
    "TargetSettings": "provider/model, or a mapping with target, weight and variant,",
}


def _expected(kind: str, context: Mapping[str, Any]) -> str:
    return _SHAPES.get(str(context.get("class_name")), _TYPES[kind])


def _wrong_type(expected: str, value: Value) -> str:
    if value is None:
        return f"has no value: write {expected.rstrip(',')}, or leave the setting out"
    message = f"must be {expected} not {describe(value)}" if expected.endswith(",") else ""
    message = message or f"must be {expected}, not {describe(value)}"
    if expected == "text" and isinstance(value, bool | int | float):
        return f"{message}: put it in quotes"
    if expected.endswith("number") and isinstance(value, str):
        return f"{message}: write digits only, without quotes, units and separators"
    if expected == "a whole number" and isinstance(value, float):
        return "must be a whole number, without a decimal point"
    return message


_PLAIN: Final[Mapping[str, tuple[str, Callable[[Mapping[str, Any]], str]]]] = {
    "missing": ("missing_field", lambda _: "is missing: this setting is required"),
    "greater_than": ("out_of_range", lambda bound: f"must be above {bound['gt']:g}"),
    "greater_than_equal": ("out_of_range", lambda bound: f"must be at least {bound['ge']:g}"),
    "less_than": ("out_of_range", lambda bound: f"must be below {bound['lt']:g}"),
    "less_than_equal": ("out_of_range", lambda bound: f"must be at most {bound['le']:.12g}"),
    "finite_number": ("out_of_range", lambda _: "must be a finite number"),
}
