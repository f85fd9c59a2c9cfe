"""The composition root in this process: it opens all or nothing, and closes what it opened."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from pathlib import Path

import aiohttp
import pytest

from trunkline_server.app import EXIT_DRAINED, serve
from trunkline_server.config.fields import is_loopback
from trunkline_server.config.findings import InvalidRoutesError
from trunkline_server.config.secrets import SecretResolver
from trunkline_server.control.source import RoutesSource
from trunkline_server.settings import ServeSettings, StartError

ROUTES = """
version: 1
providers:
  one: {protocol: openai, base_url: "http://127.0.0.1:9/v1", keys: [{id: a, secret: env:ONE_API_KEY}]}
aliases: {default: {tiers: [[one/m]]}}
"""
ANY = "127.0.0.1:0"


Routes = tuple[RoutesSource, SecretResolver]


@pytest.fixture
def routes(tmp_path: Path) -> Routes:
    path = tmp_path / "routes.yaml"
    path.write_text(ROUTES, encoding="utf-8")
    return RoutesSource(path), SecretResolver(tmp_path, frozenset(), {"ONE_API_KEY": "sk-one"})


def free_address() -> str:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return f"127.0.0.1:{taken.getsockname()[1]}"


def is_free(address: str) -> bool:
    host, _, port = address.rpartition(":")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, int(port)))
        except OSError:
            return False
    return True


@pytest.mark.parametrize("flag", ["listen", "admin_listen", "http_listen"])
async def test_a_port_that_cannot_be_had_leaves_the_others_free(routes: Routes, flag: str) -> None:
    """The start fails with the flag's name; no port stays open, no task, no signal handler, nothing is announced."""
    said: list[str] = []
    before = asyncio.all_tasks()
    handlers = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    addresses = {name: free_address() for name in ("listen", "admin_listen", "http_listen")}
    with socket.create_server(("127.0.0.1", 0)) as taken:
        addresses[flag] = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(StartError, match=f"--{flag.replace('_', '-')}: .*already in use"):
            await serve(
                *routes,
                ServeSettings(addresses["listen"], addresses["admin_listen"], addresses["http_listen"]),
                announce=said.append,
            )
    assert said == []
    assert all(is_free(address) for name, address in addresses.items() if name != flag)
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == handlers


async def test_it_announces_itself_ready_and_is_not_ready_while_it_drains(routes: Routes) -> None:
    """/readyz is 200 from the ready line to the signal and 503 while it drains; /healthz is 200 all the time."""
    ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    settings = ServeSettings(ANY, ANY, ANY, lb_wait_s=0.5)
    running = asyncio.ensure_future(serve(*routes, settings, announce=ready.set_result))
    line = await asyncio.wait_for(ready, 10)
    where = dict(word.split("=") for word in line.removeprefix("ready ").split())
    assert list(where) == ["listen", "admin", "http"]
    async with aiohttp.ClientSession() as client:

        async def status(path: str) -> int:
            async with client.get(f"http://{where['http']}{path}") as answer:
                return answer.status

        assert (await status("/readyz"), await status("/healthz")) == (200, 200)
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.sleep(0.1)
        assert (await status("/readyz"), await status("/healthz")) == (503, 200)
    assert await asyncio.wait_for(running, 20) == EXIT_DRAINED
    assert all(is_free(address) for address in where.values())


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (ServeSettings("0.0.0.0:0", ANY, ANY), "--insecure-open"),
        (ServeSettings("[::]:0", ANY, ANY), "--insecure-open"),
        (ServeSettings("gateway.example:0", ANY, ANY), "--insecure-open"),
        (ServeSettings(ANY, "0.0.0.0:0", ANY), "--admin-listen"),
        (ServeSettings(ANY, "0.0.0.0:0", ANY, insecure_open=True), "--admin-listen"),
    ],
)
async def test_it_refuses_to_serve_openly(routes: Routes, settings: ServeSettings, told: str) -> None:
    """Without callers beyond loopback, or with an admin port that others reach: it says why and does not start."""
    with pytest.raises(InvalidRoutesError, match=told):
        await serve(*routes, settings, announce=pytest.fail)


async def test_an_address_that_is_none_is_told(routes: Routes) -> None:
    """It comes before everything else."""
    with pytest.raises(StartError, match="HOST:PORT"):
        await serve(*routes, ServeSettings("nonsense", ANY, ANY), announce=pytest.fail)


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("127.8.8.8", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("::", False),
     ("10.0.0.1", False), ("localhost.example", False), ("", False)],
)  # fmt: skip
def test_what_is_loopback(host: str, *, expected: bool) -> None:
    """Only what this machine alone can reach."""
    assert is_loopback(host) is expected
