"""The table of features in the README of `providers` is the one that the adapters make."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from trunkline_server.chat.features import FEATURES
from trunkline_server.config.presets import shipped_presets
from trunkline_server.providers.base import Adapter, FeaturesByModel

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
    """A full mark stands where an adapter carries a feature to every model, an empty one where to some."""
    adapters = generate_features.adapters()
    rows = [line.strip("| ").split("|") for line in generate_features.table().splitlines() if line.startswith("| `")]
    shown = {
        (row[0].strip().strip("`"), name, cell.strip())
        for row in rows
        for name, cell in zip(adapters, row[1:], strict=False)
        if cell.strip()
    }
    assert {name for name in adapters if (name, "○") in {mark[1:] for mark in shown}} == {
        name for name, adapter in adapters.items() if isinstance(adapter, FeaturesByModel)
    }
    for feature, name, mark in shown | {(each.name, name, "") for each in FEATURES for name in adapters}:
        if mark or not any((feature, name, other) in shown for other in "●○"):
            assert mark == _marked(adapters[name], name, feature)
    assert [row[0].strip().strip("`") for row in rows] == [
        feature.name for kind in generate_features.KINDS for feature in FEATURES if feature.kind is kind
    ]


def _marked(adapter: Adapter, name: str, feature: str) -> str:
    if feature == "embeddings":
        return "●" if adapter.embeddings is not None else ""
    if not isinstance(adapter, FeaturesByModel):
        return "●" if feature in adapter.features else ""
    by_model = [adapter.features_of(model) for model in ["x", *generate_features.models_of(name.partition(",")[0])]]
    if feature in frozenset.intersection(*by_model):
        return "●"
    return "○" if feature in frozenset().union(*by_model) else ""


def test_presets_are_shown_with_what_they_change() -> None:
    """Those that change nothing are not shown."""
    rows = [line for line in generate_features.presets().splitlines() if line.startswith("| `")]
    changing = {name for name, preset in shipped_presets().items() if {"lacks", "adds"} & set(preset.quirks)}
    assert {row.split("`")[1] for row in rows} == changing
    groq = next(row for row in rows if row.startswith("| `groq`"))
    assert "`message_name`" in groq


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
