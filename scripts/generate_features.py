"""Write the tables of features into the README of `providers`: by protocol, from what the adapters state; by preset.

Start it through `scripts/generate`.
"""

from __future__ import annotations

import argparse
import difflib
import sys
from pathlib import Path

from trunkline_server.chat.features import FEATURES, Kind
from trunkline_server.compile import ADAPTERS, WIRES
from trunkline_server.config.catalogue import shipped_catalogue
from trunkline_server.config.presets import shipped_presets
from trunkline_server.providers.base import Adapter, AdapterTerms, FeaturesByModel
from trunkline_server.providers.quirks import read_quirks

README = Path(__file__).resolve().parent.parent / "server/trunkline_server/providers/README.md"
BEGIN = "<!-- features: begin; written by scripts/generate -->\n"
END = "<!-- features: end -->\n"
KINDS = {
    Kind.HARD: "Hard: a target that lacks it is no candidate",
    Kind.DROPPABLE: "Droppable: likewise, unless `routing.may_drop` names it",
    Kind.HINT: "Hints: what is lacking is told in a warning",
}
BY_ALL, BY_SOME = "●", "○"
UNKNOWN = "some-model"
"""One that nobody knows."""
MADE_BY_OTHERS = {
    "bedrock": (
        "anthropic.claude-3-5-sonnet-20241022-v2:0",
        "eu.anthropic.claude-sonnet-4-5-20250929-v1:0",
        "us.anthropic.claude-opus-4-7-20260201-v1:0",
        "amazon.nova-pro-v1:0",
        "amazon.nova-2-lite-v1:0",
        "meta.llama3-1-70b-instruct-v1:0",
        "mistral.mistral-large-2407-v1:0",
        "cohere.command-r-plus-v1:0",
        "ai21.jamba-1-5-large-v1:0",
        "openai.gpt-oss-120b-1:0",
        "deepseek.r1-v1:0",
    ),
}
"""Models of protocols that serve other vendors' too: one of each family that its adapter knows apart."""


class TableError(Exception):
    """The table has no place to go to; the text says why."""


def adapters() -> dict[str, Adapter]:
    """Return each protocol's adapter as it is for the vendor's own server, and those of further wires."""
    terms = {protocol: AdapterTerms(protocol, "https://api.example", region="eu-west-1") for protocol in ADAPTERS}
    found = {protocol: make(terms[protocol]) for protocol, make in ADAPTERS.items()}
    found |= {f"{protocol}, {wire}": make(terms[protocol]) for (protocol, wire), make in WIRES.items()}
    return dict(sorted(found.items()))


def models_of(protocol: str) -> set[str]:
    """Return the models that the catalogue knows of a protocol's own vendor, and those of others that we know."""
    return {
        name
        for vendor in shipped_catalogue().vendors.values()
        if vendor.protocol == protocol
        for name, model in vendor.models.items()
        if "embeddings" not in (model.capabilities or ())
    }.union(MADE_BY_OTHERS.get(protocol, ()))


def mark(protocol: str, adapter: Adapter, feature: str) -> str:
    """Return whether an adapter carries a feature, to all models or to some; embeddings are what it has, not states."""
    if feature == "embeddings":
        return BY_ALL if adapter.embeddings is not None else ""
    if not isinstance(adapter, FeaturesByModel):
        return BY_ALL if feature in adapter.features else ""
    carried = [feature in adapter.features_of(model) for model in (UNKNOWN, *models_of(protocol))]
    return BY_ALL if all(carried) else BY_SOME if any(carried) else ""


def table() -> str:
    """Return one table for each kind of feature: features down, protocols across."""
    columns = adapters()
    head = ["feature", *columns, "what it is"]
    lines: list[str] = []
    for kind, title in KINDS.items():
        lines += [f"**{title}**", "", _row(head), _row(["---", *[":-:"] * len(columns), "---"])]
        for feature in FEATURES:
            if feature.kind is kind:
                marks = [mark(name.partition(",")[0], adapter, feature.name) for name, adapter in columns.items()]
                lines.append(_row([f"`{feature.name}`", *marks, feature.what]))
        lines.append("")
    return "\n".join(lines)


def presets() -> str:
    """Return a table of the presets whose servers lack something of their protocol, or have something beyond it."""
    lines = [_row(["preset", "protocol", "lacks", "has beyond it"]), _row(["---"] * 4)]
    for name, preset in sorted(shipped_presets().items()):
        quirks = read_quirks(preset.quirks)
        if quirks.lacks or quirks.adds:
            lines.append(_row([f"`{name}`", preset.protocol, _names(quirks.lacks), _names(quirks.adds)]))
    return "\n".join(lines) + "\n"


def _names(features: frozenset[str]) -> str:
    return " ".join(f"`{feature.name}`" for feature in FEATURES if feature.name in features)


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def written_into(text: str) -> str:
    """Return this text with the tables between its markers; raise TableError unless each of them is there once."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end) or BEGIN in after or END in before + after:
        raise TableError(f"it needs one line {BEGIN.strip()!r}, and after it one line {END.strip()!r}")
    return before + BEGIN + table() + "\n" + presets() + END + after


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
