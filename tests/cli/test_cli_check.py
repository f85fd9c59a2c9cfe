from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.cli.conftest import Run


def test_a_sound_file_is_ok(run: Run, routes_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A valid file gives one short line on standard output and exit code 0."""
    monkeypatch.setenv("CLI_TEST_SECRET", "sk-1")
    ended = run("check", str(routes_file), "--secret-env", "OTHER,CLI_TEST_SECRET")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out == f"{routes_file}: ok\n"


def test_every_finding_is_told_with_its_line(run: Run, routes_file: Path) -> None:
    """A bad file ends with exit code 1 and all that is wrong with it, secrets included."""
    text = routes_file.read_text().replace("version: 1", "version: 2").replace("aliases: [default]", "aliases: [nope]")
    routes_file.write_text(text)
    ended = run("check", str(routes_file))
    assert ended.code == 1
    assert ended.out == ""
    for line in (1, 6, 10):
        assert f"{routes_file}:{line}: error: " in ended.err
    assert ended.err.endswith(f"{routes_file}: 3 errors\n")


def test_findings_as_json(run: Run, routes_file: Path) -> None:
    """`--json` gives a program one object on one line, whatever the outcome."""
    ended = run("check", "--json", str(routes_file))
    assert ended.code == 1
    found = json.loads(ended.out)
    assert (found["valid"], found["file"]) == (False, str(routes_file))
    assert [finding["code"] for finding in found["findings"]] == ["secret_not_allowed"]
    assert found["findings"][0]["line"] == 6


def test_a_missing_file_is_a_finding(run: Run, tmp_path: Path) -> None:
    """A file that is not there is told in a sentence."""
    ended = run("check", str(tmp_path / "none.yaml"))
    assert ended.code == 1
    assert "there is no such file" in ended.err


def test_secrets_dir_fences_files_in(run: Run, routes_file: Path, tmp_path: Path) -> None:
    """`file:` is read below --secrets-dir, by default the directory of the routes file."""
    routes_file.write_text(routes_file.read_text().replace("env:CLI_TEST_SECRET", "file:key"))
    (tmp_path / "key").write_text("sk-1\n")
    (tmp_path / "elsewhere").mkdir()
    assert run("check", str(routes_file)).code == 0
    assert run("check", str(routes_file), "--secrets-dir", str(tmp_path / "elsewhere")).code == 1
