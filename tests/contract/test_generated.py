"""The protos are clean, and the checked-in code is what they generate."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from trunkline.v1 import completion_service_pb2_grpc

if TYPE_CHECKING:
    from types import ModuleType

ROOT = Path(__file__).resolve().parents[2]
BUF = Path(sys.executable).parent / "buf"


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    """Return scripts/generate_stubs.py as a module."""
    spec = importlib.util.spec_from_file_location("generate_stubs", ROOT / "scripts/generate_stubs.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    "arguments",
    [
        ["lint"],
        ["format", "--diff", "--exit-code"],
        ["breaking", "--against", "baseline.binpb"],
    ],
    ids=["lint", "format", "breaking"],
)
def test_buf_is_content(arguments: list[str]) -> None:
    """`buf lint`, `buf format` and `buf breaking` against the baseline have nothing to say."""
    done = subprocess.run([str(BUF), *arguments], cwd=ROOT / "protos", capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_breaking_change_is_noticed(tmp_path: Path) -> None:
    """A field that is renamed is refused by `buf breaking`: the baseline is a real one."""
    for path in sorted((ROOT / "protos").rglob("*")):
        if path.is_file():
            copy = tmp_path / path.relative_to(ROOT / "protos")
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
    stream = tmp_path / "trunkline/v1/stream.proto"
    stream.write_text(stream.read_text().replace("keep_through_seq", "keep_until_seq"))
    command = [str(BUF), "breaking", "--against", "baseline.binpb"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "keep_through_seq" in done.stdout


def test_checked_in_code_is_fresh() -> None:
    """`scripts/generate --check` finds no difference between the protos and the checked-in code."""
    command = [str(ROOT / "scripts/generate"), "--check"]
    done = subprocess.run(command, cwd="/", capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_drift_is_told_readably(generator: ModuleType) -> None:
    """Drift is a unified diff by file, with files that are missing or left over named, and long lines cut."""
    old = {"same.py": "a\n", "changed.py": "a\nb\n", "gone.py": "a\n"}
    new = {"same.py": "a\n", "changed.py": "a\n" + "c" * 5000 + "\n", "added.py": "a\n"}
    lines = generator.drift(old, new)
    where = "clients/python/trunkline/v1"
    assert f"{where}/added.py: generated, but not checked in" in lines
    assert f"{where}/gone.py: checked in, but no longer generated" in lines
    assert "-b" in lines
    assert [line for line in lines if "same.py" in line] == []
    assert max(map(len, lines)) < 200


def test_drift_of_nothing_is_empty(generator: ModuleType) -> None:
    """Equal sets of files have no drift."""
    assert generator.drift({"a.py": "a\n"}, {"a.py": "a\n"}) == []


def test_stale_code_is_told_and_replaced(
    generator: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The check of a stale directory fails and changes nothing; generating makes it fresh and removes leftovers."""
    out = tmp_path / "v1"
    out.mkdir()
    (out / "old_pb2.py").write_text("left over\n")
    monkeypatch.setattr(generator, "OUT", out)
    monkeypatch.setattr(sys, "argv", ["generate", "--check"])
    assert generator.main() == 1
    assert "old_pb2.py: checked in, but no longer generated" in capsys.readouterr().out
    assert [path.name for path in out.iterdir()] == ["old_pb2.py"]
    monkeypatch.setattr(sys, "argv", ["generate"])
    assert generator.main() == 0
    checked_in = ROOT / "clients/python/trunkline/v1"
    made = {path.name: path.read_text() for path in out.iterdir()}
    assert made == {path.name: path.read_text() for path in checked_in.iterdir() if path.is_file()}


def test_bad_proto_is_told(
    generator: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A proto that does not compile ends with protoc's own message and exit code 2."""
    broken = tmp_path / "trunkline/v1/broken.proto"
    broken.parent.mkdir(parents=True)
    broken.write_text('syntax = "proto3";\npackage trunkline.v1;\nmessage Broken { Nowhere a = 1; }\n')
    monkeypatch.setattr(generator, "PROTOS", tmp_path)
    monkeypatch.setattr(sys, "argv", ["generate", "--check"])
    assert generator.main() == 2
    assert '"Nowhere" is not defined' in capsys.readouterr().err


def test_other_generators_are_refused(generator: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """A generator of another version than the pinned one is refused, since its code would ask more of callers."""
    monkeypatch.setattr(generator.importlib.metadata, "version", lambda _name: "99.0.0")
    with pytest.raises(generator.GenerateError, match=r"grpcio-tools is 99\.0\.0, but pyproject\.toml pins"):
        generator.check_generators()


def test_client_asks_for_the_grpc_that_its_code_needs() -> None:
    """The client's lowest grpcio is the version that the generated code demands, no more and no less."""
    project = tomllib.loads((ROOT / "clients/python/pyproject.toml").read_text())["project"]
    floors = [re.sub(r"^grpcio>=", "", text) for text in project["dependencies"] if text.startswith("grpcio>")]
    assert floors == [completion_service_pb2_grpc.GRPC_GENERATED_VERSION]
