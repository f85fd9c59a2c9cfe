"""Servers that others wrote, as child processes, with `trunkline serve` in front of them."""

from __future__ import annotations

import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import pytest
from tests.real.upstream import READY_S, STOP_S, Gateway

from trunkline.v1 import CompletionServiceStub

if TYPE_CHECKING:
    from trunkline.v1 import CompletionServiceAsyncStub

_CLEAN = {name: value for name, value in os.environ.items() if not name.upper().startswith(("TRUNKLINE_", "GRPC_"))}

Launch = Callable[..., str]


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave llama.cpp's server out unless it is asked for: it has to be built first. The run's header says so."""
    return True if collection_path.name == "test_llamacpp.py" and not config.getoption("--llamacpp") else None


@contextmanager
def running(words: list[str], **environ: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program for a block, and end it with all that it started; whoever stays is killed."""
    process = subprocess.Popen(
        words,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=_CLEAN | environ,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        for number in (signal.SIGTERM, signal.SIGKILL):
            # Some only start another program, which outlives them; the group is gone once all of it has ended.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, number)
            with suppress(subprocess.TimeoutExpired):
                process.wait(STOP_S)
        if process.stdout is not None:
            process.stdout.close()


def first_line(process: subprocess.Popen[bytes]) -> str:
    """Return the first line that a program prints, which it does when it serves."""
    assert process.stdout is not None
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        assert selector.select(READY_S), f"{process.args!r} printed nothing"
    return process.stdout.readline().decode()


def free_port() -> int:
    """Return a port that nobody listens on now, for programs that cannot choose one by themselves."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def until_it_listens(process: subprocess.Popen[bytes], port: int) -> None:
    """Wait until somebody accepts connections at the port; the program says nothing of it by itself."""
    deadline = time.monotonic() + READY_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            assert process.poll() is None, f"{process.args!r} ended"
            assert time.monotonic() < deadline, f"{process.args!r} does not listen"
            time.sleep(0.02)
        else:
            return


@pytest.fixture(scope="module")
def launch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launch]:
    """Return what serves routes for the rest of the module, and gives the address."""
    with ExitStack() as stack:

        def serve(routes: str, **secrets: str) -> str:
            file = Path(tmp_path_factory.mktemp("routes")) / "routes.yaml"
            file.write_text(routes, encoding="utf-8")
            ports = ["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0"]
            words = [sys.executable, "-m", "trunkline_server", "serve", "--routes", str(file), *ports]
            ready = first_line(stack.enter_context(running(words, **secrets)))
            assert ready.startswith("ready listen="), ready
            return ready.split()[1].removeprefix("listen=")

        yield serve


@pytest.fixture
async def gateway(address: str) -> AsyncIterator[Gateway]:
    """Return a client of the server at `address`, which the module provides."""
    async with grpc.aio.insecure_channel(address, options=[("grpc.enable_retries", 0)]) as channel:
        stub: CompletionServiceAsyncStub = CompletionServiceStub(channel)
        yield Gateway(stub)
