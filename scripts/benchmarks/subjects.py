"""What scripts/bench measures: servers in processes of their own, each pinned to the server's core."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import sys
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from scripts.benchmarks.load import Generator
from scripts.benchmarks.storm_routes import ENVIRONMENT as STORM_ENVIRONMENT
from scripts.benchmarks.workload import CALLER_TOKEN, SCENARIO, routes
from scripts.demo_processes import Running

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_MODULE = [sys.executable, "-m"]
_RUN_MODULE = "runpy.run_module(sys.argv.pop(1), None, '__main__', True)"
_MODULE_ON_UVLOOP = [sys.executable, "-c", f"import runpy, sys, uvloop; uvloop.install(); {_RUN_MODULE}"]
_MODULE_WITHOUT_UVLOOP = [sys.executable, "-c", f"import runpy, sys; sys.modules['uvloop'] = None; {_RUN_MODULE}"]
_HAVE_UVLOOP = importlib.util.find_spec("uvloop") is not None
_TRUNKLINE = "trunkline_server"
_REFERENCE = "scripts.benchmarks.reference"


@dataclass(frozen=True, slots=True)
class Kind:
    """One row of the table. `client`: what a reference server calls its upstream with; empty for the echo."""

    name: str
    what: str
    client: str | None = None
    merged: bool = False
    asyncio: bool = False
    """On asyncio's own loop, although uvloop is installed and `trunkline serve` takes it."""


TRUNKLINE = Kind("trunkline", "this server")
ON_ASYNCIO = (
    Kind("trunkline+asyncio", "this server on asyncio's own loop", asyncio=True),
    Kind("grpc.aio+own+asyncio", "the same reference on asyncio's own loop", "own", asyncio=True),
)
ECHO = Kind("echo", "(a) bare grpc.aio, no upstream call", client="")


def forwards(*, merged: bool) -> list[Kind]:
    """Return the candidates of reference (b) that are installed; say which are not."""
    kinds = []
    for client, what in (
        ("own", "this project's default transport"),
        ("aiohttp", "aiohttp, used plainly"),
        ("pyqwest", "pyqwest, used plainly"),
        ("httpx", "httpx, used plainly"),
    ):
        if client != "own" and importlib.util.find_spec(client) is None:
            print(f"skipped: {client} is not installed")
            continue
        kinds.append(Kind(f"grpc.aio+{client}", f"bare grpc.aio + {what}", client))
        if merged and client in {"own", "aiohttp"}:
            kinds.append(Kind(f"grpc.aio+{client} merged", "the same, one frame a read", client, merged=True))
    return kinds


def asyncio_kinds() -> list[Kind]:
    """Return the rows on asyncio's own loop beside those on uvloop; none if uvloop is not installed."""
    if not _HAVE_UVLOOP:
        print("uvloop is not installed: all rows are on asyncio's own loop")
        return []
    return list(ON_ASYNCIO)


@dataclass(frozen=True, slots=True)
class Cores:
    """Which core the measured server has to itself, and which is everybody else's."""

    server: int
    rest: int

    @classmethod
    def pick(cls) -> Cores:
        """Take the last core for the server; with one core alone it is shared, and the figures are worse for it."""
        have = sorted(os.sched_getaffinity(0))
        return cls(have[-1], have[0])


@contextmanager
def pinned(core: int) -> Iterator[None]:
    """Keep this thread, and processes that it starts meanwhile, on one core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def cpu_s(pid: int) -> float:
    """Return the CPU time that a process has used so far: user and system, all threads, by the kernel's own account.

    This is the clock of clock_getcpuclockid(3), in nanoseconds where /proc counts in hundredths of a second.
    """
    return time.clock_gettime((~pid << 3) | 2)


@dataclass(slots=True)
class Subject:
    """A running server that is measured."""

    kind: Kind
    pid: int
    generator: Generator


class Bench:
    """Starts the simulator and the servers, and ends them all: `with Bench(scratch) as bench:`."""

    def __init__(self, scratch: Path) -> None:
        self.cores = Cores.pick()
        self.scratch = scratch
        self._stack = ExitStack()
        self.upstream = ""
        self._environment = {**os.environ, "TRUNKLINE_SECRET_BENCH": "sk-bench", "PYTHONUNBUFFERED": "1"}
        self._environment |= STORM_ENVIRONMENT

    def __enter__(self) -> Self:
        """Start the simulator; this process stays on its core from here on."""
        self._stack.enter_context(pinned(self.cores.rest))
        scenario = self.scratch / "scenario.json"
        scenario.write_text(json.dumps(SCENARIO))
        command = [*_MODULE, _TRUNKLINE, "upstream", "--listen", "127.0.0.1:0", "--scenario", str(scenario)]
        simulator = self._stack.enter_context(Running("simulator", command, self._environment, self.scratch))
        self.upstream = simulator.ready(r"ready upstream=(\S+)")
        return self

    def __exit__(self, *_: object) -> None:
        """End every process."""
        self._stack.close()

    @contextmanager
    def servers(self, kinds: Sequence[Kind]) -> Iterator[list[Subject]]:
        """Run these servers on their core for the length of a block, inside the event loop that measures them."""
        with ExitStack() as stack:
            with pinned(self.cores.server):
                started = [
                    stack.enter_context(
                        Running(kind.name.replace(" ", "-"), self._command(kind), self._environment, self.scratch)
                    )
                    for kind in kinds
                ]
            addresses = [running.ready(r"ready listen=(\S+)") for running in started]
            yield [
                Subject(kind, running.pid, Generator(address))
                for kind, running, address in zip(kinds, started, addresses, strict=True)
            ]

    @contextmanager
    def serve(self, name: str, flags: Sequence[str]) -> Iterator[Running]:
        """Run this server with flags of one's own on its core for the length of a block."""
        ports = ["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0"]
        command = [*_MODULE, _TRUNKLINE, "serve", *flags, *ports]
        with ExitStack() as stack:
            with pinned(self.cores.server):
                running = stack.enter_context(Running(name, command, self._environment, self.scratch))
            yield running

    def _command(self, kind: Kind) -> list[str]:
        # References run on the loop that the server takes, or the ratio would be one of loops.
        on_uvloop = _HAVE_UVLOOP and not kind.asyncio and kind.client is not None
        module = _MODULE_WITHOUT_UVLOOP if kind.asyncio else _MODULE_ON_UVLOOP if on_uvloop else _MODULE
        if kind.client is None:
            ports = ["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0"]
            return [*module, _TRUNKLINE, "serve", "--routes", str(self._routes_file()), *ports]
        if not kind.client:
            return [*module, _REFERENCE, "echo"]
        command = [*module, _REFERENCE, kind.client, "--upstream", self.upstream]
        return [*command, "--merged"] if kind.merged else command

    def _routes_file(self) -> Path:
        file = self.scratch / "routes.yaml"
        digest = hashlib.sha256(CALLER_TOKEN.encode()).hexdigest()
        file.write_text(json.dumps(routes(self.upstream, digest)))
        return file
