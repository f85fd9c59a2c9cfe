"""From the text of a routes file to its types, or to everything that is wrong with it at once."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from trunkline_server.config.checks import cross_check
from trunkline_server.config.findings import Finding, in_order, why_unreadable
from trunkline_server.config.messages import explain
from trunkline_server.config.model import RoutesDocument
from trunkline_server.config.near import NearNames
from trunkline_server.config.pause import Pause, no_pause
from trunkline_server.config.tree import MAX_BYTES, SourceTree, read_tree


@dataclass(frozen=True, slots=True)
class ParseResult:
    """A document that was read, as far as that was possible."""

    name: str
    """What the document is called in messages, such as its file's name."""
    document: RoutesDocument | None
    """None if any finding is an error."""
    findings: tuple[Finding, ...]
    """Every error and warning, in the order of their lines."""
    tree: SourceTree | None
    """The plain values with their lines; None if the text is no YAML."""
    sha256: str
    """SHA-256 in hex of the document's bytes; empty if they could not be read."""


def parse(text: bytes | str, *, name: str, pause: Pause = no_pause) -> ParseResult:
    """Read a routes document. Never raises: what is wrong with it comes back as findings.

    Blocks for the time of parsing (about 10 µs a line, and the rests of `pause`): call it off the event loop.
    """
    # A lone surrogate can't be encoded; passed on as it is, the reader refuses it as no UTF-8.
    raw = text.encode(errors="surrogatepass") if isinstance(text, str) else text
    sha256 = hashlib.sha256(raw).hexdigest()
    tree, found = read_tree(raw, pause)
    if tree is None:
        return ParseResult(name, None, in_order(found), None, sha256)
    near = NearNames()
    document: RoutesDocument | None = None
    try:
        document = RoutesDocument.model_validate(tree.value)
    except ValidationError as error:
        found += explain(error, tree, near)
    pause()
    found += cross_check(tree, near)
    pause()
    if any(finding.severity == "error" for finding in found):
        document = None
    return ParseResult(name, document, in_order(found), tree, sha256)


def load_file(path: Path) -> ParseResult:
    """Read the routes file at `path`; a file that can't be read is a finding too, one without a line."""
    try:
        with path.open("rb") as file:
            text = file.read(MAX_BYTES + 1)
    except OSError as error:
        finding = Finding("error", "", None, "unreadable_file", f"can't be read: {why_unreadable(error)}")
        return ParseResult(str(path), None, (finding,), None, "")
    return parse(text, name=str(path))
