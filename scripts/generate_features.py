"""Write the table of features and protocols into the README of `providers`, from what the adapters state.

Start it through `scripts/generate`.
"""

from __future__ import annotations

import argparse
import difflib
import sys
from pathlib import Path
from typing import Protocol, runtime_checkable

from trunkline_server.chat.features import FEATURES, Kind
from trunkline_server.compile import ADAPTERS, WIRES
from trunkline_server.providers.base import Adapter, AdapterTerms

README = Path(__file__).resolve().parent.parent / "server/trunkline_server/providers/README.md"
BEGIN = "<!-- features: begin; written by scripts/generate -->\n"
END = "<!-- features: end -->\n"
KINDS = {
    Kind.HARD: "Hard: a target that lacks it is no candidate",
    Kind.DROPPABLE: "Droppable: likewise, unless `routing.may_drop` names it",
    Kind.HINT: "Hints: what is lacking is told in a warning",
}


@runtime_checkable
class OfSomeModels(Protocol):
    """An adapter that carries more for some models than for all."""

    @property
    def of_some_models(self) -> frozenset[str]:
        """What it carries for some models and not for all."""
        ...


class TableError(Exception):
    """The table has no place to go to; the text says why."""


def adapters() -> dict[str, Adapter]:
    """Return each protocol's adapter as it is for the vendor's own server, and those of further wires."""
    terms = {protocol: AdapterTerms(protocol, "https://api.example", region="eu-west-1") for protocol in ADAPTERS}
    found = {protocol: make(terms[protocol]) for protocol, make in ADAPTERS.items()}
    found |= {f"{protocol}, {wire}": make(terms[protocol]) for (protocol, wire), make in WIRES.items()}
    return dict(sorted(found.items()))


def mark(adapter: Adapter, feature: str) -> str:
    """Return how far an adapter carries a feature; embeddings are what it has, not what it states."""
    if feature in adapter.features or (feature == "embeddings" and adapter.embeddings is not None):
        return "●"
    return "○" if isinstance(adapter, OfSomeModels) and feature in adapter.of_some_models else ""


def table() -> str:
    """Return one table for each kind of feature: features down, protocols across."""
    columns = adapters()
    head = ["feature", *columns, "what it is"]
    lines: list[str] = []
    for kind, title in KINDS.items():
        lines += [f"**{title}**", "", _row(head), _row(["---", *[":-:"] * len(columns), "---"])]
        for feature in FEATURES:
            if feature.kind is kind:
                marks = [mark(adapter, feature.name) for adapter in columns.values()]
                lines.append(_row([f"`{feature.name}`", *marks, feature.what]))
        lines.append("")
    return "\n".join(lines)


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def written_into(text: str) -> str:
    """Return this text with the tables between its markers; raise TableError unless each of them is there once."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end) or BEGIN in after or END in before + after:
        raise TableError(f"it needs one line {BEGIN.strip()!r}, and after it one line {END.strip()!r}")
    return before + BEGIN + table() + END + after


def main(arguments: list[str] | None = None, path: Path = README) -> int:
    """Run the command; return its exit code: 0, 1 if `--check` found drift, 2 if the markers are not there."""
    parser = argparse.ArgumentParser(prog="scripts/generate", description="Write the table of features.")
    parser.add_argument("--check", action="store_true", help="change nothing; fail if the table is stale")
    check = parser.parse_args(arguments).check
    old = path.read_text()
    try:
        new = written_into(old)
    except TableError as error:
        print(f"scripts/generate: {path}: {error}", file=sys.stderr)
        return 2
    if new == old:
        return 0
    if not check:
        path.write_text(new)
        print(f"wrote the table of features in {path.parent.name}/{path.name}")
        return 0
    name = f"{path.parent.name}/{path.name}"
    print(
        "\n".join(difflib.unified_diff(old.splitlines(), new.splitlines(), f"{name} (checked in)", name, lineterm=""))
    )
    print(f"scripts/generate --check: the table in {name} is stale; run scripts/generate", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
