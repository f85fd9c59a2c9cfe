"""What is wrong with a routes file: findings with a path and a line, and the error that carries them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable

DocumentPath: TypeAlias = "tuple[str | int, ...]"
"""Where something stands in a document: names of settings and indexes of lists."""

MAX_FINDINGS = 1_000
"""Findings told of one document; a file that is wholly something else would bring hundreds of thousands."""

_HIDDEN = "?"
_PRINTABLE = re.compile(r"[!-~]{1,128}")
# A key pasted in the place of a name has a long run of letters and digits; names that people give have not.
_SECRET_LIKE = re.compile(r"(?=[A-Za-z]*[0-9])[A-Za-z0-9]{20,}")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, or doubtful, in a routes file."""

    severity: Literal["error", "warning"]
    path: str
    """Such as ``callers[0].aliases[1]``; empty for the document as a whole."""
    line: int | None
    """Counts from 1; None where no line is to blame, as for a missing file."""
    code: str
    """Stable, for programs, such as ``unknown_field``."""
    message: str
    """For people: what is wrong and what to do. Never holds a secret or the hash of a token."""


class InvalidRoutesError(Exception):
    """The routes file can't be used. Its author's fault; `findings` says every reason."""

    def __init__(self, findings: Iterable[Finding]) -> None:
        self.findings: tuple[Finding, ...] = tuple(findings)
        """Every error and warning, in the order of the document."""
        errors = [finding for finding in self.findings if finding.severity == "error"]
        first = f": {errors[0].path or 'document'}: {errors[0].message}" if errors else ""
        super().__init__(f"{len(errors)} error(s) in the routes file{first}")


def shown(name: str) -> str:
    """Return `name` as it may be printed: itself, or ``?`` if it is unprintable, too long or like a secret."""
    if _PRINTABLE.fullmatch(name) is None or _SECRET_LIKE.search(name):
        return _HIDDEN
    return name


def format_path(path: DocumentPath) -> str:
    """Write a path with dots and indexes: ``providers.openai.keys[0].secret``."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            text += f".{shown(step)}" if text else shown(step)
    return text


def in_order(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Sort findings by line, each once, and say how many were left out if there are too many."""
    ordered = sorted(dict.fromkeys(findings), key=lambda finding: (finding.line or 0, finding.path))
    if len(ordered) <= MAX_FINDINGS:
        return tuple(ordered)
    # Errors first, so that cutting never turns a bad document into a good one.
    ordered.sort(key=lambda finding: finding.severity != "error")
    omitted = len(ordered) - MAX_FINDINGS
    last = Finding(ordered[0].severity, "", None, "too_many_findings", f"{omitted} more findings are not shown")
    return (*ordered[:MAX_FINDINGS], last)


def why_unreadable(error: OSError) -> str:
    """Say in plain words why a file can't be read, without its path."""
    match error:
        case FileNotFoundError() | NotADirectoryError():
            return "there is no such file"
        case PermissionError():
            return "this user may not read it"
        case IsADirectoryError():
            return "it is a directory"
        case _:
            return (error.strerror or str(error)).lower()
