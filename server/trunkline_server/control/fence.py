"""What a document that somebody sends may do with the secrets of this process: use them as they are used already.

A key's secret is a right to spend money; who may change routes may not thereby read it, by having it sent to a host of
their own, nor use secrets that nobody gave to these routes. So a document over the wire is held against documents that
are trusted: the running one and the routes file. Each key of it must stand in one of them

- at the same provider, by its name,
- with the same reference, letter by letter, and
- with the same destination: every setting of the provider that is not known to be harmless.

All three in one document: a reference out of one and a destination out of the other were never meant for each other.
A running document that came over the wire has passed the same fence, so that no sequence of small steps leads further
than one big step. References are compared as text, and URLs too: what only means the same is refused, since two
readers of a URL may disagree about its host.

The fence stands between parsing and secrets: what it refuses is never looked up, so that nobody learns whether it
exists.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from trunkline_server.config.findings import DocumentPath, Finding, format_path, in_order, shown
from trunkline_server.config.load import ParseResult
from trunkline_server.config.model import ProviderSettings, RoutesDocument
from trunkline_server.config.plain import mapping
from trunkline_server.config.presets import with_preset
from trunkline_server.config.tree import SourceTree, Value

HARMLESS: Final = frozenset({"keys", "gate", "timeouts", "circuit", "retry_budget", "transport"})
"""Settings of a provider that decide nothing about where its secrets go; a new one is fenced in until it stands here.
`keys` are looked at one by one. Both transports send a call to the same place."""

_REMEDY: Final = "make this change in the routes file, or start the server with --remote-secrets"


def check_wire(parsed: ParseResult, running: RoutesDocument, on_file: RoutesDocument | None) -> tuple[Finding, ...]:
    """Return what a document over the wire may not do; nothing if it may be completed with its secrets.

    `on_file` None: there is no routes file, or it is not valid. Looks at the plain values, so that a document with
    other errors is fenced in too. Findings are errors, and repeat neither references nor URLs.
    """
    if parsed.tree is None:
        return ()
    trusted = (running,) if on_file is None else (running, on_file)
    root = parsed.tree.value
    providers = root.get("providers") if isinstance(root, dict) else None
    found: list[Finding] = []
    for name, settings in providers.items() if isinstance(providers, dict) else ():
        if isinstance(settings, dict):
            known = [document.providers[name] for document in trusted if name in document.providers]
            found += _Provider(parsed.tree, name, settings, known).findings()
    return in_order(found)


@dataclass(frozen=True, slots=True)
class _Provider:
    """A provider of the document, and what trusted documents say of it."""

    tree: SourceTree = field(repr=False)
    name: str
    written: dict[str, Value] = field(repr=False)
    known: list[ProviderSettings] = field(repr=False)

    def findings(self) -> Iterator[Finding]:
        """Yield what it may not do."""
        keys = self.written.get("keys")
        given = mapping(with_preset(self.written))
        destinations = [
            (frozenset(key.secret for key in settings.keys), _differing(given, settings)) for settings in self.known
        ]
        moved: list[str] | None = None
        for index, key in enumerate(keys if isinstance(keys, list) else ()):
            reference = key.get("secret") if isinstance(key, dict) else None
            if not isinstance(reference, str):
                continue
            having = [differing for references, differing in destinations if reference in references]
            if not having:
                yield self._unknown_reference(("providers", self.name, "keys", index, "secret"))
            elif all(having):
                moved = having[0]
        if moved is None and any(settings.keys for settings in self.known):
            # It keeps none of its keys; calls with prompts of its callers would still go somewhere else.
            differing = [differing for _, differing in destinations]
            moved = differing[0] if all(differing) else None
        for setting in dict.fromkeys(map(self._place, moved or ())):
            yield self._moved(setting)

    def _place(self, setting: str) -> str:
        """Return where the document says a setting: itself, or the preset that brings it."""
        return "preset" if setting not in self.written and "preset" in self.written else setting

    def _unknown_reference(self, path: DocumentPath) -> Finding:
        message = (
            f"names a secret that provider {shown(self.name)} has neither in the running routes nor in the routes"
            f" file, and over the wire no other may be used: {_REMEDY}"
        )
        return self._error(path, "remote_secret", message)

    def _moved(self, setting: str) -> Finding:
        message = (
            f"is not what the keys of provider {shown(self.name)} were given for, and over the wire it may not be"
            f" changed: {_REMEDY}"
        )
        return self._error(("providers", self.name, setting), "remote_destination", message)

    def _error(self, path: DocumentPath, code: str, message: str) -> Finding:
        return Finding("error", format_path(path), self.tree.line(path), code, message)


def _differing(given: Mapping[str, Value], trusted: ProviderSettings) -> list[str]:
    """Return the settings by which `given` would send secrets elsewhere than `trusted` does."""
    names = (name for name in ProviderSettings.model_fields if name not in HARMLESS)
    return [name for name in names if not _same(name, given, trusted)]


def _same(name: str, given: Mapping[str, Value], trusted: ProviderSettings) -> bool:
    setting = ProviderSettings.model_fields[name]
    if name not in given and setting.is_required():
        return True  # told as missing already: nothing is sent anywhere
    value: object = given.get(name, setting.default)
    if name == "base_url" and isinstance(value, str):
        value = value.rstrip("/")
    if name == "allow_plaintext" and value is False:
        return True  # narrower than whatever was trusted
    held: object = getattr(trusted, name)
    return type(value) is type(held) and value == held
