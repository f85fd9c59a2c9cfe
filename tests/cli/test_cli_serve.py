from __future__ import annotations

import re
import signal
import socket
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.cli.conftest import Embedded, Run

ANY_PORTS = ("--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0")
READY = r"ready listen=127\.0\.0\.1:(\d+) admin=127\.0\.0\.1:(\d+) http=127\.0\.0\.1:(\d+)\n"


def test_without_routes_it_serves_the_embedded_default(start: Any) -> None:
    """Without --routes it brings a provider along and says so on standard error; the ready line stands alone."""
    with start("serve", *ANY_PORTS) as running:
        ended = running.end()
    assert re.fullmatch(READY, ended.out)
    assert ended.code == 0
    assert "no --routes: this is the embedded default" in ended.err
    assert "alias `default`" in ended.err


def test_routes_and_ports_from_the_environment(start: Any, routes_file: Path) -> None:
    """Every flag is a variable too, and a flag wins over its variable."""
    environment = {
        "CLI_TEST_SECRET": "sk-1",
        "TRUNKLINE_ROUTES": str(routes_file),
        "TRUNKLINE_LISTEN": "127.0.0.1:0",
        "TRUNKLINE_ADMIN_LISTEN": "127.0.0.1:0",
        "TRUNKLINE_HTTP_LISTEN": "256.0.0.1:70000",
        "TRUNKLINE_SECRET_ENV": "CLI_TEST_SECRET",
        "TRUNKLINE_LOG_LEVEL": "error",
    }
    with start("serve", "--http-listen", "127.0.0.1:0", environment=environment) as running:
        found = re.fullmatch(READY, running.ready)
        assert found is not None
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"http://127.0.0.1:{found[3]}/readyz", timeout=10) as answer:
            assert answer.status == 200
        ended = running.end(signal.SIGINT)
    assert (ended.code, ended.err) == (0, "")


def test_a_port_in_use_is_named_with_its_flag(run: Run) -> None:
    """A taken port ends the start with exit code 1, the flag and the address."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        for flag in ("--listen", "--admin-listen", "--http-listen"):
            ports = dict(zip(ANY_PORTS[::2], ANY_PORTS[1::2], strict=True)) | {flag: address}
            ended = run("serve", *(word for pair in ports.items() for word in pair))
            assert ended.code == 1
            assert f"{flag}: cannot listen on {address}: " in ended.err
            assert "address already in use" in ended.err
            assert ended.out == ""
            assert "Traceback" not in ended.err


def test_bad_routes_are_told_whole(run: Run, tmp_path: Path) -> None:
    """A routes file with errors is not served; every finding is told."""
    bad = tmp_path / "bad.yaml"
    bad.write_text("version: 1\nnonsense: 1\n")
    ended = run("serve", "--routes", str(bad), *ANY_PORTS)
    assert ended.code == 1
    assert f"{bad}:2: error: " in ended.err
    assert "not started" in ended.err


def test_a_missing_routes_file_is_told(run: Run, tmp_path: Path) -> None:
    """A routes file that is not there is told in a sentence, and nothing else is served in its place."""
    ended = run("serve", "--routes", str(tmp_path / "none.yaml"), *ANY_PORTS)
    assert ended.code == 1
    assert "there is no such file" in ended.err


def test_an_empty_variable_is_no_missing_one(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A routes variable that was lost on the way is told; the simulator is never served in its place."""
    monkeypatch.setenv("TRUNKLINE_ROUTES", "")
    ended = run("serve", *ANY_PORTS)
    assert ended.code == 2
    assert "TRUNKLINE_ROUTES" in ended.err


def test_open_to_everybody_needs_a_word(run: Run) -> None:
    """Without callers it refuses to listen beyond loopback unless --insecure-open is given."""
    ended = run("serve", "--listen", "0.0.0.0:0", "--admin-listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0")
    assert ended.code == 1
    assert "--insecure-open" in ended.err


def test_the_embedded_alias_falls_over(run: Run, embedded: Embedded) -> None:
    """The embedded default is worth playing with: its second target serves when the first one fails."""
    embedded.control({"patch": {"models": {"small": {"status": 503}}}})
    ended = run("complete", "hello")
    assert ended.code == 0
    assert ended.out == "You said: hello\n"
    assert re.search(r"attempt 1: simulated/small key key-[ab] FIRST: OVERLOADED \(HTTP 503\)", ended.err)
    assert "simulated/large" in ended.err
