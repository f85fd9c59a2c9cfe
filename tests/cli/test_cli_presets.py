"""`trunkline presets`: the list, one of them, and JSON of both."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from trunkline_server.config.presets import shipped_presets

if TYPE_CHECKING:
    from pathlib import Path

    import pytest
    from tests.cli.conftest import Run


def test_all_presets_are_listed(run: Run) -> None:
    """A line names each with its URL and the usual variable of its key."""
    ended = run("presets")
    assert (ended.code, ended.err) == (0, "")
    lines = ended.out.splitlines()
    assert all(any(line.startswith(f"{name} ") for line in lines) for name in shipped_presets())
    (groq,) = (line for line in lines if line.startswith("groq "))
    assert groq.split() == ["groq", "Groq", "openai", "https://api.groq.com/openai/v1", "GROQ_API_KEY"]
    assert max(map(len, lines)) <= 100


def test_one_preset_is_shown_whole(run: Run) -> None:
    """With a name: its limits, its quirks, and where they were read."""
    ended = run("presets", "mistral")
    assert ended.code == 0
    for words in ("https://docs.mistral.ai", "2026-11-23", "random_seed", "nine_alphanumerics", "req-minute", "false"):
        assert words in ended.out


def test_presets_as_json(run: Run) -> None:
    """`--json` is one object on one line, by name."""
    everything = json.loads(run("presets", "--json").out)
    assert everything.keys() == shipped_presets().keys()
    assert everything["ollama"]["gate"] == {"max_in_flight": 4}
    assert json.loads(run("presets", "groq", "--json").out) == {"groq": everything["groq"]}


def test_an_unknown_preset_is_a_wrong_word(run: Run) -> None:
    """The nearest name is told, and the exit code is that of a wrong command line."""
    ended = run("presets", "grok")
    assert ended.code == 2
    assert "did you mean groq?" in ended.err


def test_a_routes_file_of_a_preset_is_checked(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`trunkline check` takes the shortest file there is."""
    file = tmp_path / "routes.yaml"
    file.write_text(
        "version: 1\nproviders:\n  fast: {preset: groq, keys: [{id: a, secret: env:GROQ_API_KEY}]}\n"
        "aliases: {default: {tiers: [[fast/llama-3.3-70b-versatile]]}}\n"
    )
    monkeypatch.setenv("GROQ_API_KEY", "gsk-1")
    ended = run("check", str(file))
    assert ended.code == 0
    assert ended.out == f"{file}: ok, 1 warning\n"  # nobody stands under callers
    file.write_text(file.read_text().replace("groq,", "grok,"))
    ended = run("check", str(file))
    assert ended.code == 1
    assert f"{file}:3: error: providers.fast.preset: is no preset: did you mean groq?" in ended.err
