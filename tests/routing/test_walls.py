"""The wall around the routing core that the import linter cannot draw: nothing but the standard library and itself."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

import trunkline_server

ROOM = Path(trunkline_server.__file__).parent / "routing"
WAITING = {"asyncio", "threading", "socket", "select", "selectors", "subprocess", "signal", "ssl"}
"""Of the standard library, what waits or does I/O."""


def imports_of(source: str) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add("." * node.level + (node.module or ""))
    return found


@pytest.mark.parametrize("path", sorted(ROOM.glob("**/*.py")), ids=lambda path: path.name)
def test_a_file_of_the_core_imports_only_the_standard_library_and_the_core(path: Path) -> None:
    """No import leads out of the core, and none of the standard library's waits or does I/O."""
    for name in imports_of(path.read_text()):
        top = name.split(".")[0]
        if top == "trunkline_server":
            assert name.startswith("trunkline_server.routing."), name
        else:
            assert top in sys.stdlib_module_names, name
            assert top not in WAITING, name


@pytest.mark.parametrize("path", sorted(ROOM.glob("**/*.py")), ids=lambda path: path.name)
def test_a_file_of_the_core_never_asks_the_wall_clock_or_the_shared_random_source(path: Path) -> None:
    """Time and randomness are handed in: nothing of `time`, and of `random` only the class."""
    tree = ast.parse(path.read_text())
    assert "time" not in imports_of(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "random":
            assert node.attr == "Random", ast.unparse(node)


def test_the_checker_sees_a_breach() -> None:
    """An import of another room, or of something that waits, would be found."""
    assert imports_of("import asyncio\nfrom trunkline_server.engine import call") == {
        "asyncio",
        "trunkline_server.engine",
    }
