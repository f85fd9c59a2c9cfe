"""Draw the failover machine: its table in, the Mermaid diagram in the routing core's README out.

Start it through `scripts/generate`.
"""

from __future__ import annotations

import argparse
import difflib
import sys
from pathlib import Path

from trunkline_server.routing.failover import TABLE, State

README = Path(__file__).resolve().parent.parent / "server/trunkline_server/routing/README.md"
BEGIN = "<!-- failover: begin; written by scripts/generate -->\n"
END = "<!-- failover: end -->\n"


class DiagramError(Exception):
    """The diagram has no place to go to; the text says why."""


def diagram() -> str:
    """Return the machine's table as a state diagram, one arrow for each event and the state that it leads to."""
    arrows: dict[tuple[State, State, str], list[str]] = {}
    for (state, event), row in TABLE.items():
        for action, leads_to in row.leads.items():
            arrows.setdefault((state, leads_to, event.__name__), []).append(action.__name__)
    lines = [
        "```mermaid",
        "stateDiagram-v2",
        f"    [*] --> {State.NEW.value}",
        *(
            f"    {state.value} --> {leads_to.value}: {event} / {', '.join(actions)}"
            for (state, leads_to, event), actions in arrows.items()
        ),
        f"    {State.ENDED.value} --> [*]",
        "```",
    ]
    return "\n".join(lines) + "\n"


def drawn_into(text: str) -> str:
    """Return this text with the diagram between its markers; raise DiagramError unless each of them is there once."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end) or BEGIN in after or END in before + after:
        raise DiagramError(f"it needs one line {BEGIN.strip()!r}, and after it one line {END.strip()!r}")
    return before + BEGIN + diagram() + END + after


def main(arguments: list[str] | None = None, path: Path = README) -> int:
    """Run the command; return its exit code: 0, 1 if `--check` found drift, 2 if the markers are not there."""
    parser = argparse.ArgumentParser(prog="scripts/generate", description="Draw the failover machine's diagram.")
    parser.add_argument("--check", action="store_true", help="change nothing; fail if the diagram is stale")
    check = parser.parse_args(arguments).check
    old = path.read_text()
    try:
        new = drawn_into(old)
    except DiagramError as error:
        print(f"scripts/generate: {path}: {error}", file=sys.stderr)
        return 2
    if new == old:
        return 0
    if not check:
        path.write_text(new)
        print(f"wrote the diagram in {path.name}")
        return 0
    name = f"{path.parent.name}/{path.name}"
    print(
        "\n".join(difflib.unified_diff(old.splitlines(), new.splitlines(), f"{name} (checked in)", name, lineterm=""))
    )
    print(f"scripts/generate --check: the diagram in {name} is stale; run scripts/generate", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
