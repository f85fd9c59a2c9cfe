"""The HTTP port over the wire: health, readiness and metrics, and nothing else."""

from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp
import pytest

from trunkline_server.http_port import HttpPort

Ask = tuple[int, str, str]
"""Status, content type and body."""


class House:
    """A port on loopback, ready or not."""

    def __init__(self) -> None:
        self.ready = False
        self.port = HttpPort(lambda: self.ready, lambda: b"trunkline_up 1\n")
        self.bare = HttpPort(lambda: True)
        self.where: dict[HttpPort, int] = {}

    async def ask(self, path: str, method: str = "GET", *, bare: bool = False) -> Ask:
        number = self.where[self.bare if bare else self.port]
        async with (
            aiohttp.ClientSession() as client,
            client.request(method, f"http://127.0.0.1:{number}{path}") as answer,
        ):
            return answer.status, answer.headers["content-type"], await answer.text()


@pytest.fixture
async def house() -> AsyncIterator[House]:
    house = House()
    ports = (house.port, house.bare)
    try:
        for port in ports:
            house.where[port] = await port.start("127.0.0.1", 0)
        yield house
    finally:
        for port in ports:
            await port.stop()


async def test_it_lives_before_it_is_ready(house: House) -> None:
    """`/healthz` says ok from the start, `/readyz` only while calls are taken."""
    assert (await house.ask("/healthz"))[::2] == (200, "ok\n")
    assert (await house.ask("/readyz"))[0] == 503
    house.ready = True
    assert (await house.ask("/readyz"))[::2] == (200, "ready\n")


async def test_metrics_come_as_prometheus_reads_them(house: House) -> None:
    """The text comes with the content type of its format."""
    assert await house.ask("/metrics") == (200, "text/plain; version=0.0.4; charset=utf-8", "trunkline_up 1\n")


async def test_without_metrics_there_is_no_such_path(house: House) -> None:
    """A port that was given none answers 404."""
    assert (await house.ask("/metrics", bare=True))[0] == 404


async def test_nothing_can_be_sent(house: House) -> None:
    """Only reading is served."""
    assert (await house.ask("/metrics", "POST"))[0] == 405
    assert (await house.ask("/other"))[0] == 404
