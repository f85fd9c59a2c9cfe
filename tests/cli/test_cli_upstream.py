from __future__ import annotations

import re
import signal
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.cli.conftest import Run


def test_upstream_says_its_base_url(start: Any, tmp_path: Path) -> None:
    """The simulator prints the base URL for a routes file, port 0 resolved, and ends well on a signal."""
    scenario = tmp_path / "scenario.yaml"
    scenario.write_text("default: {status: 503}\n")
    with start("upstream", "--listen", "127.0.0.1:0", "--scenario", str(scenario), "--seed", "7") as running:
        ended = running.end(signal.SIGINT)
    assert re.fullmatch(r"ready upstream=http://127\.0\.0\.1:[1-9]\d*/v1\n", ended.out)
    assert (ended.code, ended.err) == (0, "")


def test_upstream_explains_a_bad_scenario(run: Run, tmp_path: Path) -> None:
    """A scenario that cannot be used is told with its file and field."""
    scenario = tmp_path / "scenario.yaml"
    scenario.write_text("default: {statsu: 503}\n")
    ended = run("upstream", "--listen", "127.0.0.1:0", "--scenario", str(scenario))
    assert ended.code == 1
    assert str(scenario) in ended.err
    assert "statsu" in ended.err


def test_upstream_explains_a_missing_scenario_and_a_port_in_use(run: Run, tmp_path: Path) -> None:
    """A missing file and a taken port are told in a sentence each."""
    ended = run("upstream", "--listen", "127.0.0.1:0", "--scenario", str(tmp_path / "none"))
    assert ended.code == 1
    assert "No such file" in ended.err
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ended = run("upstream", "--listen", f"127.0.0.1:{taken.getsockname()[1]}")
    assert ended.code == 1
    assert "in use" in ended.err
