"""`run_upstream`: what the command line starts."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from typing import TYPE_CHECKING

import httpx
import pytest

from trunkline_server.simulator.command import run_upstream
from trunkline_server.simulator.errors import ListenError, ScenarioError

if TYPE_CHECKING:
    from pathlib import Path


async def test_it_announces_serves_and_ends_with_sigterm(tmp_path: Path) -> None:
    """One ready line with the resolved port; the scenario and the seed hold; SIGTERM ends it cleanly."""
    file = tmp_path / "s.yaml"
    file.write_text("{seed: 1, default: {status: 503}}")
    lines: asyncio.Queue[str] = asyncio.Queue()
    running = asyncio.create_task(run_upstream("127.0.0.1", 0, str(file), seed=5, announce=lines.put_nowait))
    async with asyncio.timeout(10):
        line = await lines.get()
    assert line.startswith("ready upstream=http://127.0.0.1:")
    url = line.removeprefix("ready upstream=").removesuffix("/v1")
    async with httpx.AsyncClient() as http:
        assert (await http.get(f"{url}/_control")).json()["scenario"]["seed"] == 5
    os.kill(os.getpid(), signal.SIGTERM)
    async with asyncio.timeout(10):
        await running
    assert lines.empty()


async def test_busy_port_is_named() -> None:
    """A port in use is a ListenError that says so."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ListenError, match=f"cannot listen on 127.0.0.1:{port}: the port is in use"):
            await run_upstream("127.0.0.1", port, None, seed=None, announce=print)


async def test_bad_scenario_is_named(tmp_path: Path) -> None:
    """A scenario that cannot be used is told before anything listens."""
    with pytest.raises(ScenarioError, match=r"none\.yaml"):
        await run_upstream("127.0.0.1", 0, str(tmp_path / "none.yaml"), seed=None, announce=print)
