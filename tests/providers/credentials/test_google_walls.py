"""The one file that may import of `google`, and what of it: the import linter sees the whole namespace as one."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import trunkline_server

SERVER = Path(trunkline_server.__file__).parent
ROOMS = ("chat", "config", "control", "engine", "providers", "routing", "simulator", "telemetry")
ALLOWED = ("google.auth", "google.oauth2")
THE_FILE = SERVER / "providers" / "credentials" / "google_token.py"


def google_imports(source: str) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module is not None and not node.level:
            of_namespace = {f"google.{alias.name}" for alias in node.names}
            found |= of_namespace if node.module == "google" else {node.module}
    return {name for name in found if name == "google" or name.startswith("google.")}


def test_the_file_of_google_s_tokens_imports_its_tokens_alone() -> None:
    """No protobuf, no grpc, no client of any Google service, and no HTTP client of google-auth's."""
    names = google_imports(THE_FILE.read_text())
    assert names
    for name in names:
        assert name.startswith(ALLOWED), name
        assert not name.startswith("google.auth.transport."), name


@pytest.mark.parametrize("room", ROOMS)
def test_nobody_else_behind_the_wall_imports_of_google(room: str) -> None:
    """Where grpc and protobuf may not be, nothing of their namespace is."""
    for path in (SERVER / room).glob("**/*.py"):
        if path != THE_FILE:
            assert google_imports(path.read_text()) == set(), path


def test_the_checker_sees_a_breach() -> None:
    """Each way of importing would be found."""
    source = "import google.protobuf.message\nfrom google import rpc\nfrom google.auth import aws\nimport googleapis"
    assert google_imports(source) == {"google.protobuf.message", "google.rpc", "google.auth"}
