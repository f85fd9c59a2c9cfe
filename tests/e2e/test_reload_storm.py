"""Reloads under load: no call fails or is made twice for one, and each is served by a version that was published."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from scripts.benchmarks.storm_routes import BROKEN, ENVIRONMENT, document, on_file
from tests.e2e.conftest import ask
from tests.e2e.serving import Served, serve

from trunkline import failure_of
from trunkline.v1 import (
    AdminServiceStub,
    CompletionServiceStub,
    ListRouteVersionsRequest,
    ReloadRoutesRequest,
)

if TYPE_CHECKING:
    from trunkline.v1 import AdminServiceAsyncStub, CompletionServiceAsyncStub

pytestmark = pytest.mark.alone  # it measures times

Sized = Callable[..., int]

UNARY_PER_S = 200
STREAMS = 100
RELOADS_PER_S = 10
SCENARIO: dict[str, Any] = {
    "default": {"chunks": 3, "chunk_text": "word "},
    # Callers and upstreams share a process: at a faster pace it is their own time that would be measured.
    "models": {"slow": {"chunks": 8, "chunk_text": "tok ", "chunk_gap_s": 0.4}},
}
STREAM_S = 8 * 0.4
SLOW_TEXT = "tok " * 8


@dataclass(slots=True)
class Books:
    """What the callers saw."""

    took_s: list[float] = field(default_factory=list)
    versions: set[int] = field(default_factory=set)
    failures: list[str] = field(default_factory=list)
    attempts: int = 0
    streams: int = 0
    late_s: float = 0.0

    def p99_ms(self) -> float:
        """Return how long 99 of 100 unary calls took at most."""
        took_s = sorted(self.took_s)
        return took_s[-(-len(took_s) * 99 // 100) - 1] * 1000


@dataclass(slots=True)
class Storm:
    """The load of one phase."""

    running: Served
    stubs: list[CompletionServiceAsyncStub]
    books: Books = field(default_factory=Books)
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when all streams live and the calls begin."""
    over: asyncio.Event = field(default_factory=asyncio.Event)

    async def last(self, seconds: float) -> Books:
        """Offer 200 unary calls a second and keep 100 streams alive; return the books when all of them have ended."""
        streams = []
        for number in range(STREAMS):  # one after the other, else they would all end and begin at once
            streams.append(asyncio.ensure_future(self._streams(number)))
            await asyncio.sleep(STREAM_S / STREAMS)
        calls = []
        self.begun.set()
        began_at = time.monotonic()
        for number in range(round(seconds * UNARY_PER_S)):
            due_at = began_at + number / UNARY_PER_S
            await asyncio.sleep(due_at - time.monotonic())
            self.books.late_s = max(self.books.late_s, time.monotonic() - due_at)
            calls.append(asyncio.ensure_future(self._unary(number)))
        self.over.set()
        await asyncio.gather(*calls, *streams)
        return self.books

    async def _unary(self, number: int) -> None:
        began_at = time.monotonic()
        try:
            answer = await self.stubs[number % len(self.stubs)].Complete(
                ask(f"call {number}", model="fast"), timeout=20
            )
        except grpc.aio.AioRpcError as error:
            self.books.failures.append(str(failure_of(error)))
            return
        self.books.took_s.append(time.monotonic() - began_at)
        self.books.versions.add(answer.route.route_version)
        self.books.attempts += len(answer.attempts)

    async def _streams(self, number: int) -> None:
        """Keep one stream alive to the end of the phase; the last one is read to its end."""
        stub = self.stubs[number % len(self.stubs)]
        while not self.over.is_set():
            text = ""
            try:
                async for frame in stub.StreamComplete(ask("a stream", model="slow"), timeout=60):
                    text += "".join(item.text for item in frame.deltas.items)
                    if frame.HasField("started"):
                        self.books.versions.add(frame.started.route.route_version)
                    if frame.HasField("end"):
                        self.books.attempts += len(frame.end.attempts)
            except grpc.aio.AioRpcError as error:
                self.books.failures.append(str(failure_of(error)))
                return
            self.books.streams += 1
            if text != SLOW_TEXT:
                self.books.failures.append(f"a stream said {text!r}")


def orders(base_url: str, count: int, rng: random.Random) -> list[tuple[str, bool]]:
    """Return so many documents, every fourth of them broken, and whether each is sound.

    They are made before the storm: writing one takes longer than the server takes to read it.
    """
    return [
        (rng.choice(list(BROKEN.values())), False) if number % 4 == 3 else (document(base_url, rng), True)
        for number in range(count)
    ]


async def reload_all_the_time(admin: AdminServiceAsyncStub, sources: list[tuple[str, bool]]) -> tuple[set[int], int]:
    """Send one document after the other, ten a second; return the versions published and the refusals."""
    published, refused = set(), 0
    began_at = time.monotonic()
    for number, (source, sound) in enumerate(sources):
        await asyncio.sleep(began_at + number / RELOADS_PER_S - time.monotonic())
        order = ReloadRoutesRequest(source=source, reason="storm")
        if sound:
            published.add((await admin.ReloadRoutes(order, timeout=20)).version.version)
            continue
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await admin.ReloadRoutes(order, timeout=20)
        assert failure_of(raised.value).reason == "BAD_REQUEST", failure_of(raised.value)
        refused += 1
    return published, refused


@dataclass(slots=True)
class Measured:
    """One phase without reloads, and one with them right after it."""

    calm: Books
    storm: Books
    published: set[int]
    refused: int

    def keeps(self, room: int) -> bool:
        """Return whether calls hardly felt the reloads; `room`: how often the bar's allowance is given."""
        calm_ms = self.calm.p99_ms()
        return self.storm.p99_ms() <= max(1.5 * room * calm_ms, calm_ms + 10 * room)


async def measure(
    running: Served, stubs: list[CompletionServiceAsyncStub], reloads: int, rng: random.Random
) -> Measured:
    """Offer the load without and with reloads; assert all but the times."""
    admin: AdminServiceAsyncStub = AdminServiceStub(running.admin_channel)
    sources = orders(running.simulator.base_url, reloads, rng)
    seconds = reloads / RELOADS_PER_S
    calm = await Storm(running, stubs).last(seconds)
    before = running.simulator.stats.requests
    storm_of_calls = Storm(running, stubs)
    calls = asyncio.ensure_future(storm_of_calls.last(seconds))
    await storm_of_calls.begun.wait()
    published, refused = await reload_all_the_time(admin, sources)
    storm = await calls
    upstream = running.simulator.stats.requests - before
    page = await admin.ListRouteVersions(ListRouteVersionsRequest(page_size=100), timeout=20)
    print(
        f"\nreload storm: {reloads} reloads in {seconds:.0f} s ({len(published)} published, {refused} refused), "
        f"{len(storm.took_s)} calls, {storm.streams} streams, {len(storm.failures)} failed; "
        f"p99 {calm.p99_ms():.1f} ms without, {storm.p99_ms():.1f} ms with reloads "
        f"(begun {calm.late_s * 1000:.0f} and {storm.late_s * 1000:.0f} ms late at most)"
    )
    assert calm.failures == storm.failures == []
    assert refused == reloads // 4
    assert len(published) == reloads - refused
    assert page.versions[0].version == max(published)
    assert storm.versions <= published | {min(published) - 1}
    assert len(storm.versions) > len(published) // 2, "calls ran on most of the versions"
    assert storm.attempts == upstream == len(storm.took_s) + storm.streams, "each call was sent upstream once"
    return Measured(calm, storm, published, refused)


@pytest.mark.timeout(900)
async def test_a_reload_storm(tmp_path: Path, sized: Sized, rng: random.Random, request: pytest.FixtureRequest) -> None:
    """200 reloads in 20 s under 100 live streams and 200 calls a second: nobody notices."""
    reloads = sized(full=200, gate=30)
    full = request.config.getoption("--full")
    routes = on_file("BASE", rng).replace("BASE", "{base}")
    flags = ("--data-dir", str(tmp_path / "data"), "--log-level", "error")
    async with serve(tmp_path, routes, *flags, scenario=SCENARIO, environ=ENVIRONMENT) as running:
        channels = [
            grpc.aio.insecure_channel(
                running.listen, options=[("grpc.enable_retries", 0), ("grpc.use_local_subchannel_pool", 1)]
            )
            for _ in range(4)
        ]
        stubs: list[CompletionServiceAsyncStub] = [CompletionServiceStub(channel) for channel in channels]
        try:
            await Storm(running, stubs).last(1.0)  # connections, circuits, latencies
            measured = await measure(running, stubs, reloads, rng)
        finally:
            for channel in channels:
                await channel.close()
    assert measured.keeps(1 if full else 5)
