"""A routes document on its way to the server: from a file, from standard input, or the server's own."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

from cyclopts import Parameter

from trunkline_server.cli import exits

if TYPE_CHECKING:
    from collections.abc import Iterable

    from trunkline.v1 import RouteFinding

File = Annotated[
    Path | None, Parameter(help="A routes file; `-` reads standard input. Default: the server reads its own file.")
]

_STDIN: Final = Path("-")
_LARGEST_BYTES: Final = 16 << 20
"""More than any server takes: what is larger is no routes file but a mistake."""


def read_document(file: Path | None) -> str | None:
    """Return the text of a document, None for the server's own file; raise CommandError if it cannot be read."""
    if file is None:
        return None
    name = source_name(file)
    try:
        content = sys.stdin.buffer.read(_LARGEST_BYTES + 1) if file == _STDIN else _read(file)
    except OSError as error:
        raise exits.CommandError(f"{name}: {error.strerror or error}") from None
    if len(content) > _LARGEST_BYTES:
        raise exits.CommandError(f"{name}: larger than {_LARGEST_BYTES >> 20} MiB: no routes file")
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise exits.CommandError(f"{name} is no UTF-8 text") from None


def source_name(file: Path | None) -> str:
    """Return what a document is called in findings."""
    if file is None:
        return "the server's file"
    return "standard input" if file == _STDIN else str(file)


def say_findings_of(findings: Iterable[RouteFinding], file: Path | None) -> None:
    """Print findings on standard error, as `trunkline check` does."""
    from trunkline_server.cli.admin_wording import finding_line

    for finding in findings:
        print(finding_line(finding, source_name(file)), file=sys.stderr)


def _read(file: Path) -> bytes:
    with file.open("rb") as opened:
        return opened.read(_LARGEST_BYTES + 1)
