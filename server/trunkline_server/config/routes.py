"""A routes file ready for use: its document and every secret that it refers to."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

from trunkline_server.config.findings import (
    DocumentPath,
    Finding,
    InvalidRoutesError,
    format_path,
    in_order,
)
from trunkline_server.config.load import ParseResult, load_file, parse
from trunkline_server.config.pause import Pause, no_pause
from trunkline_server.config.secrets import SecretError, SecretResolver

if TYPE_CHECKING:
    from pathlib import Path

    from trunkline_server.config.model import RoutesDocument
    from trunkline_server.config.secret import Secret
    from trunkline_server.config.tree import SourceTree


_REFERENCE = re.compile(r"(?:env|file):.")


@dataclass(frozen=True, slots=True)
class LoadedRoutes:
    """A valid routes document with its secrets."""

    document: RoutesDocument
    secrets: Mapping[tuple[str, str], Secret]
    """By provider and key id: one for every key of the document."""
    sha256: str
    """SHA-256 in hex of the document's bytes."""
    findings: tuple[Finding, ...]
    """Warnings only."""


@dataclass(frozen=True, slots=True)
class ReferenceAt:
    """A secret reference, and where it stands."""

    path: DocumentPath
    provider: str
    key_id: str
    reference: str = field(repr=False)
    """May be the secret itself, pasted in the wrong place."""


def load_routes(path: Path, resolver: SecretResolver) -> LoadedRoutes:
    """Load the routes file at `path`. Blocks: call it off the event loop.

    Raises InvalidRoutesError with every finding, also if the file can't be read.
    """
    return complete_routes(load_file(path), resolver)


def parse_routes(text: bytes | str, resolver: SecretResolver, *, name: str) -> LoadedRoutes:
    """Load a document that is no file, such as the embedded default; `name` is what messages call it.

    Raises InvalidRoutesError with every finding.
    """
    return complete_routes(parse(text, name=name), resolver)


def complete_routes(parsed: ParseResult, resolver: SecretResolver, pause: Pause = no_pause) -> LoadedRoutes:
    """Add the secrets, also to a document with errors, so that all findings come at once. Blocks.

    Every reference of the document is followed: one that came over the wire is fenced in before. Raises
    InvalidRoutesError.
    """
    found = list(parsed.findings)
    secrets: dict[tuple[str, str], Secret] = {}
    for at in secret_references(parsed.tree):
        pause()
        try:
            secrets[at.provider, at.key_id] = resolver.resolve(at.reference)
        except SecretError as error:
            line = parsed.tree.line(at.path) if parsed.tree else None
            found.append(Finding("error", format_path(at.path), line, error.code, error.message))
    if parsed.document is None or any(finding.severity == "error" for finding in found):
        raise InvalidRoutesError(in_order(found))
    return LoadedRoutes(parsed.document, MappingProxyType(secrets), parsed.sha256, parsed.findings)


def secret_references(tree: SourceTree | None) -> Iterator[ReferenceAt]:
    """Yield every secret reference of the plain values; what has another shape was told already."""
    root = tree.value if tree else None
    providers = root.get("providers") if isinstance(root, dict) else None
    for provider, settings in providers.items() if isinstance(providers, dict) else ():
        keys = settings.get("keys") if isinstance(settings, dict) else None
        for index, key in enumerate(keys if isinstance(keys, list) else ()):
            reference = key.get("secret") if isinstance(key, dict) else None
            if isinstance(key, dict) and isinstance(reference, str) and _REFERENCE.match(reference):
                path = ("providers", provider, "keys", index, "secret")
                yield ReferenceAt(path, provider, str(key.get("id")), reference)
