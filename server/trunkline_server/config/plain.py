"""A document's plain values, for checks that must not stumble over what has the wrong shape."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final

from trunkline_server.config.catalogue import shipped_catalogue
from trunkline_server.config.findings import DocumentPath, Finding, format_path
from trunkline_server.config.presets import with_preset

if TYPE_CHECKING:
    from trunkline_server.config.near import NearNames
    from trunkline_server.config.tree import SourceTree, Value

Found = Iterator[Finding]
"""What a check yields."""
_NO_MAPPING: Final[Mapping[str, Value]] = {}


class PlainDocument:
    """Tolerant access to a document's values: what has another shape counts as absent."""

    def __init__(self, tree: SourceTree, near: NearNames) -> None:
        self._tree = tree
        self.near = near
        root = self.root = mapping(tree.value)
        self.providers = {name: with_preset(value) for name, value in mapping(root.get("providers")).items()}
        self.models = mapping(root.get("models"))
        self.aliases = mapping(root.get("aliases"))
        self.callers = listed(root.get("callers"))
        self.admins = listed(root.get("admins"))
        self.server = mapping(root.get("server"))

    def error(self, path: DocumentPath, code: str, message: str) -> Finding:
        """Return an error that speaks of this place."""
        return Finding("error", format_path(path), self._tree.line(path), code, message)

    def warning(self, path: DocumentPath, code: str, message: str) -> Finding:
        """Return a warning that speaks of this place."""
        return Finding("warning", format_path(path), self._tree.line(path), code, message)

    def line(self, path: DocumentPath) -> int:
        """Return the line of a place."""
        return self._tree.line(path)

    def alias_targets(self, alias: str) -> Iterator[tuple[DocumentPath, str]]:
        """Every target of an alias as text, in order, in whichever form it was written."""
        for index, tier in enumerate(listed(mapping(self.aliases[alias]).get("tiers"))):
            base: DocumentPath = ("aliases", alias, "tiers", index)
            if isinstance(tier, dict):
                base, tier = (*base, "targets"), tier.get("targets")  # noqa: PLW2901 - the short form
            for position, target in enumerate(listed(tier)):
                if isinstance(target, str):
                    yield (*base, position), target
                elif isinstance(name := mapping(target).get("target"), str):
                    yield (*base, position, "target"), name

    def fact(self, target: str, name: str) -> object:
        """Return a fact about a target's model: the document's, else the shipped catalogue's; None if it is unknown."""
        given = mapping(self.models.get(target))
        if name in given:
            return given[name]
        provider, _, model = target.partition("/")
        settings = mapping(self.providers.get(provider))
        protocol, base_url = settings.get("protocol"), settings.get("base_url")
        if not isinstance(protocol, str) or not isinstance(base_url, str):
            return None
        return getattr(shipped_catalogue().facts(protocol, base_url, model), name)

    def caller_names(self, setting: str) -> Iterator[tuple[DocumentPath, str]]:
        """Every text in the lists called `setting` of all callers."""
        for index, caller in enumerate(self.callers):
            for position, name in enumerate(listed(mapping(caller).get(setting))):
                if isinstance(name, str):
                    yield ("callers", index, setting, position), name


def mapping(value: Value) -> Mapping[str, Value]:
    """Return a mapping; an empty one for anything else."""
    return value if isinstance(value, dict) else _NO_MAPPING


def listed(value: Value) -> list[Value]:
    """Return a list; an empty one for anything else."""
    return value if isinstance(value, list) else []


def texts(value: Value, default: tuple[str, ...]) -> tuple[str, ...]:
    """Return the texts in a list; `default` for anything else."""
    return tuple(item for item in value if isinstance(item, str)) if isinstance(value, list) else default


def number(value: Value, default: float) -> float:
    """Return a number; `default` for anything else."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else default
