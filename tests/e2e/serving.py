"""`trunkline serve` as the process that it is in production, in front of a simulator in this one."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import grpc

from trunkline.v1 import CompletionServiceStub
from trunkline_server.simulator.server import Simulator

if TYPE_CHECKING:
    from trunkline.v1 import CompleteRequest, CompletionServiceAsyncStub, StreamFrame

READY = re.compile(r"ready listen=(127\.0\.0\.1:\d+) admin=(127\.0\.0\.1:\d+) http=(127\.0\.0\.1:\d+)\n")
ANY_PORTS = ("--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0")
START_S = 30.0
STOP_S = 30.0

# The environment's proxies and settings of ours must not reach a test's server.
_CLEAN = {name: value for name, value in os.environ.items() if not name.upper().startswith(("TRUNKLINE_", "GRPC_"))}


@dataclass(slots=True)
class Served:
    """A running `trunkline serve`."""

    process: asyncio.subprocess.Process
    simulator: Simulator
    listen: str
    admin: str
    http: str
    channel: grpc.aio.Channel
    admin_channel: grpc.aio.Channel
    stub: CompletionServiceAsyncStub
    log: list[str] = field(default_factory=list)
    """Lines of standard error so far; all of them once it has ended."""
    out: list[str] = field(default_factory=list)
    """Lines of standard output after the first."""

    def signal(self, number: int = signal.SIGTERM) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    async def ended(self, timeout_s: float = STOP_S) -> int:
        """Wait for the end; return the exit code."""
        return await asyncio.wait_for(self.process.wait(), timeout_s)

    async def get(self, path: str) -> tuple[int, str]:
        """Return status and text of a page of the HTTP port."""
        async with aiohttp.ClientSession() as session, session.get(f"http://{self.http}{path}") as response:
            return response.status, await response.text()

    async def frames(self, request: CompleteRequest) -> tuple[list[StreamFrame], grpc.aio.AioRpcError | None]:
        """Return all frames of a stream, and the error that it ended with."""
        return await rest_of(self.stub.StreamComplete(request, timeout=60))


async def rest_of(call: Any) -> tuple[list[StreamFrame], grpc.aio.AioRpcError | None]:
    """Return what is left of a stream, and the error that it ends with."""
    frames: list[StreamFrame] = []
    try:
        async for frame in call:
            frames.append(frame)  # noqa: PERF401  what came before an error counts
    except grpc.aio.AioRpcError as error:
        return frames, error
    return frames, None


@asynccontextmanager
async def serve(
    tmp_path: Path,
    routes: str | None,
    *flags: str,
    scenario: dict[str, Any] | None = None,
    environ: dict[str, str] | None = None,
) -> AsyncIterator[Served]:
    """Run the server on free ports for a block; `{base}` in the routes is the simulator. It is killed if it stays."""
    async with AsyncExitStack() as stack:
        simulator = await stack.enter_async_context(Simulator(scenario or {}))
        words: tuple[str, ...] = ()
        if routes is not None:
            file = tmp_path / "routes.yaml"
            file.write_text(routes.format(base=simulator.base_url), encoding="utf-8")
            words = ("--routes", str(file))
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "trunkline_server", "serve", *words, *ANY_PORTS, *flags,
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            env=_CLEAN | (environ or {}),
        )  # fmt: skip
        stack.push_async_callback(_end, process)
        assert process.stdout is not None
        assert process.stderr is not None
        log: list[str] = []
        out: list[str] = []
        stack.push_async_callback(_finish, asyncio.ensure_future(_collect(process.stderr, log)))
        first = (await asyncio.wait_for(process.stdout.readline(), START_S)).decode()
        ready = READY.fullmatch(first)
        assert ready is not None, (first, log)
        stack.push_async_callback(_finish, asyncio.ensure_future(_collect(process.stdout, out)))
        listen, admin, http = ready.groups()
        options = [("grpc.enable_retries", 0)]
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(listen, options=options))
        admin_channel = await stack.enter_async_context(grpc.aio.insecure_channel(admin, options=options))
        stub: CompletionServiceAsyncStub = CompletionServiceStub(channel)
        yield Served(process, simulator, listen, admin, http, channel, admin_channel, stub, log, out)


async def _collect(stream: asyncio.StreamReader, lines: list[str]) -> None:
    while line := await stream.readline():
        lines.append(line.decode())


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.kill()
    await process.wait()


async def _finish(collecting: asyncio.Future[None]) -> None:
    collecting.cancel()
    await asyncio.gather(collecting, return_exceptions=True)
