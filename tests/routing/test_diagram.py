"""The diagram of the failover machine in the routing core's README is the one that its table makes."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from trunkline_server.routing.failover import TABLE, Row, State

if TYPE_CHECKING:
    from types import ModuleType

ROOT = Path(__file__).resolve().parents[2]


def _load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate_diagram", ROOT / "scripts/generate_diagram.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


generate_diagram = _load()


def test_the_checked_in_diagram_is_current() -> None:
    """`--check` finds no drift, and says nothing."""
    command = [sys.executable, str(ROOT / "scripts/generate_diagram.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_every_way_of_the_table_is_drawn() -> None:
    """Each row's actions stand at an arrow from its state to the one that they lead to, and nothing else is drawn."""
    lines = generate_diagram.diagram().splitlines()
    arrows = [line.strip() for line in lines if " / " in line]
    drawn = set()
    for arrow in arrows:
        ends, _, label = arrow.partition(": ")
        event, _, actions = label.partition(" / ")
        drawn |= {(*ends.split(" --> "), event, action) for action in actions.split(", ")}
    assert drawn == {
        (state.value, leads_to.value, event.__name__, action.__name__)
        for (state, event), row in TABLE.items()
        for action, leads_to in row.leads.items()
    }
    assert len(lines) == len(arrows) + 5


def test_a_changed_table_is_drift_until_it_is_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A row that is taken out makes `--check` fail and tell the arrow; without it the diagram is written anew."""
    readme = tmp_path / "README.md"
    readme.write_text(generate_diagram.README.read_text())
    monkeypatch.setattr(generate_diagram, "TABLE", _without_hedging())
    assert generate_diagram.main(["--check"], readme) == 1
    told = capsys.readouterr()
    assert "-    IN_FLIGHT --> HEDGING: Slow / TryNow" in told.out
    assert "is stale; run scripts/generate" in told.err
    assert readme.read_text() == generate_diagram.README.read_text(), "it was only looked at"
    assert generate_diagram.main([], readme) == 0
    assert generate_diagram.main(["--check"], readme) == 0
    assert "HEDGING: Slow" not in readme.read_text()


def _without_hedging() -> dict[object, Row]:
    return {(state, event): row for (state, event), row in TABLE.items() if event.__name__ != "Slow"}


@pytest.mark.parametrize("text", ["", generate_diagram.BEGIN, generate_diagram.END + generate_diagram.BEGIN])
def test_a_readme_without_its_markers_is_told(tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    """There is no place for the diagram: exit code 2, and the file stays as it is."""
    readme = tmp_path / "README.md"
    readme.write_text(text)
    assert generate_diagram.main([], readme) == 2
    assert "it needs one line" in capsys.readouterr().err
    assert readme.read_text() == text


def test_all_states_are_drawn() -> None:
    """From the beginning to the end."""
    drawn = generate_diagram.diagram()
    assert all(f" {state.value}" in drawn for state in State)
    assert drawn == generate_diagram.diagram()
