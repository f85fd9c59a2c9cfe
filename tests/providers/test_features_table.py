"""The table of features in the README of `providers` is the one that the adapters make."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from trunkline_server.chat.features import FEATURES

if TYPE_CHECKING:
    from types import ModuleType

ROOT = Path(__file__).resolve().parents[2]


def _load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate_features", ROOT / "scripts/generate_features.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


generate_features = _load()


def test_the_checked_in_table_is_current() -> None:
    """`--check` finds no drift, and says nothing."""
    command = [sys.executable, str(ROOT / "scripts/generate_features.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_the_table_is_what_the_adapters_state() -> None:
    """A mark stands where an adapter carries a feature, an open one where for some models, and none elsewhere."""
    adapters = generate_features.adapters()
    rows = [line.strip("| ").split("|") for line in generate_features.table().splitlines() if line.startswith("| `")]
    shown = {
        (row[0].strip().strip("`"), name)
        for row in rows
        for name, cell in zip(adapters, row[1:], strict=False)
        if cell.strip() == "●"
    }
    assert ("top_k", "bedrock") not in shown
    assert any("`top_k`" in line and "○" in line for line in generate_features.table().splitlines())
    stated = {(feature, name) for name, adapter in adapters.items() for feature in adapter.features}
    stated |= {("embeddings", name) for name, adapter in adapters.items() if adapter.embeddings is not None}
    assert shown == stated
    assert [row[0].strip().strip("`") for row in rows] == [
        feature.name for kind in generate_features.KINDS for feature in FEATURES if feature.kind is kind
    ]


def test_a_changed_adapter_is_drift_until_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A protocol that is gone makes `--check` fail and tell the rows; without it the table is written anew."""
    readme = tmp_path / "README.md"
    readme.write_text(generate_features.written_into(generate_features.README.read_text()))
    before = readme.read_text()
    monkeypatch.setattr(generate_features, "ADAPTERS", {})
    monkeypatch.setattr(generate_features, "WIRES", {})
    assert generate_features.main(["--check"], readme) == 1
    told = capsys.readouterr()
    assert "+| `tools` | functions that the model may call" in told.out
    assert "is stale; run scripts/generate" in told.err
    assert readme.read_text() == before, "it was only looked at"
    assert generate_features.main([], readme) == 0
    assert generate_features.main(["--check"], readme) == 0


@pytest.mark.parametrize("text", ["", generate_features.BEGIN, generate_features.END + generate_features.BEGIN])
def test_a_readme_without_the_table_s_markers_is_told(
    tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """There is no place for the table: exit code 2, and the file stays as it is."""
    readme = tmp_path / "README.md"
    readme.write_text(text)
    assert generate_features.main([], readme) == 2
    assert "it needs one line" in capsys.readouterr().err
    assert readme.read_text() == text
