"""Findings as text for people and as plain values for programs: what ``trunkline check`` prints."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from trunkline_server.config.findings import Finding


def format_findings(findings: Iterable[Finding], source: str) -> str:
    """Write one line a finding, as compilers do: ``routes.yaml:12: error: callers[0].id: … [code]``.

    `source` is the document's name. Without findings the text is empty.
    """
    return "\n".join(_line(finding, source) for finding in findings)


def findings_as_json(findings: Iterable[Finding]) -> list[dict[str, str | int | None]]:
    """Return findings as values that any JSON encoder takes: severity, path, line, code and message."""
    return [
        {
            "severity": finding.severity,
            "path": finding.path,
            "line": finding.line,
            "code": finding.code,
            "message": finding.message,
        }
        for finding in findings
    ]


def _line(finding: Finding, source: str) -> str:
    place = source if finding.line is None else f"{source}:{finding.line}"
    # "not built yet: callers[0].…" names its path itself.
    said = not finding.path or finding.code == "not_built"
    path = "" if said else f"{finding.path}: "
    return f"{place}: {finding.severity}: {path}{finding.message} [{finding.code}]"
