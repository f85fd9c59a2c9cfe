"""Runs the real command: in this process where it ends by itself, as a process where it serves."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pytest
from tests.cli.fake_admin import FakeAdmin, served

from trunkline_server.cli.main import main

START_WITHIN_S = 60.0
ANY_PORTS = ("--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0")


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str


class Run(Protocol):
    """Runs a command in this process."""

    def __call__(self, *arguments: str) -> Ended: ...


@dataclass
class Started:
    """A command that runs in the background and has printed its first line."""

    process: subprocess.Popen[str]
    ready: str

    def end(self, number: signal.Signals = signal.SIGTERM) -> Ended:
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=START_WITHIN_S)
        return Ended(self.process.returncode, self.ready + out, err)


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    for name in [name for name in os.environ if name.startswith("TRUNKLINE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("GRPC_VERBOSITY", "NONE")

    def run_command(*arguments: str) -> Ended:
        code = main(arguments)
        captured = capfd.readouterr()
        return Ended(code, captured.out, captured.err)

    return run_command


@contextmanager
def started(*arguments: str, environment: Mapping[str, str] | None = None) -> Iterator[Started]:
    """Run `trunkline` with these arguments until the block ends; it must print a line within bounds."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("TRUNKLINE_")}
    process = subprocess.Popen(
        [sys.executable, "-m", "trunkline_server", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**clean, **(environment or {})},
    )
    try:
        assert process.stdout is not None
        assert process.stderr is not None
        # Ends with the line, or with the process: it has no third way, and pytest's own timeout bounds both.
        ready = process.stdout.readline()
        assert ready, process.stderr.read()
        yield Started(process, ready)
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.fixture
def start() -> Any:
    return started


@dataclass(frozen=True)
class Embedded:
    """A running `trunkline serve` without a routes file."""

    listen: str
    admin: str
    simulator: str

    def control(self, order: Mapping[str, Any]) -> None:
        """Change what the simulated provider does."""
        url = f"{self.simulator}/_control"
        request = urllib.request.Request(url, json.dumps(order).encode())  # noqa: S310 - always http, to loopback
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=10) as answer:
            answer.read()


@pytest.fixture(scope="session")
def one_server() -> Iterator[Embedded]:
    with started("serve", *ANY_PORTS) as running:
        ports = dict(word.split("=", 1) for word in running.ready.split()[1:])
        assert running.process.stderr is not None
        control = ""
        while not control:
            found = re.search(r"(http://\S+)/_control", running.process.stderr.readline())
            control = found[1] if found else ""
        yield Embedded(ports["listen"], ports["admin"], control)


@pytest.fixture
def embedded(one_server: Embedded, monkeypatch: pytest.MonkeyPatch, run: Run) -> Iterator[Embedded]:
    """The server of the session with a healthy, quick provider; commands of the test find it by the variable."""
    _ = run  # clears the variables first
    monkeypatch.setenv("TRUNKLINE_SERVER", one_server.listen)
    one_server.control({"scenario": {}, "reset": True})
    yield one_server
    one_server.control({"scenario": {}})


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, run: Run) -> Iterator[FakeAdmin]:
    """An admin port that answers what the test tells it; commands of the test find it by the variable."""
    _ = run  # clears the variables first
    with served(FakeAdmin()) as running:
        monkeypatch.setenv("TRUNKLINE_ADMIN_SERVER", running.address)
        yield running


@pytest.fixture
def routes_file(tmp_path: Path) -> Path:
    """A sound routes file with one caller, whose provider is nowhere."""
    path = tmp_path / "routes.yaml"
    path.write_text(
        """\
version: 1
providers:
  acme:
    protocol: openai
    base_url: http://127.0.0.1:9/v1
    keys: [{id: a, secret: env:CLI_TEST_SECRET}]
aliases:
  default: {tiers: [[{target: acme/one}]]}
callers:
  - {id: shop, token_sha256: 3c469e9d6c5875d37a43f353d4f88e61fcf812c66eee3457465a40b0da4153e0, aliases: [default]}
"""
    )
    return path
