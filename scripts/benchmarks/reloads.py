"""What a storm of reloads does to calls: how long 99 of 100 take without one and in one, side by side."""

from __future__ import annotations

import asyncio
import random
import statistics
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
from scripts.benchmarks.load import LoadError
from scripts.benchmarks.storm_routes import BROKEN, document
from scripts.benchmarks.workload import FAST, SLOW, SLOW_STREAM_S, request

from trunkline.v1 import AdminServiceStub, ReloadRoutesRequest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scripts.benchmarks.subjects import Bench

    from trunkline.v1 import AdminServiceAsyncStub

CALLS_PER_S = 200
STREAMS = 100
RELOADS_PER_S = 10
CALL_TIMEOUT_S = 20.0
_PATH = "/trunkline.v1.CompletionService/"
_OPTIONS = [("grpc.enable_retries", 0), ("grpc.use_local_subchannel_pool", 1)]
_MILLI = 1000.0


@dataclass(frozen=True, slots=True)
class Length:
    """How often, and how long each phase lasts, in seconds."""

    rounds: int
    phase_s: float
    streams: int = STREAMS


LENGTHS = (Length(3, 20.0), Length(1, 8.0), Length(1, 0.5, streams=10))
"""Full, quick, smallest."""


@dataclass(slots=True)
class _Phase:
    """The load of one phase: calls at an even pace beside streams that never end before it does."""

    channel: grpc.aio.Channel
    seconds: float
    streams: int
    took_s: list[float] = field(default_factory=list)
    over: bool = False

    @property
    def begins_s(self) -> float:
        """How long it takes until all streams live and the calls begin."""
        return self.streams * SLOW_STREAM_S / STREAMS

    async def run(self) -> float:
        """Return how long 99 of 100 calls took at most, in seconds. Raises LoadError if a call failed."""
        unary: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = self.channel.unary_unary(f"{_PATH}Complete")
        stream: grpc.aio.UnaryStreamMultiCallable[bytes, bytes] = self.channel.unary_stream(f"{_PATH}StreamComplete")
        try:
            async with asyncio.TaskGroup() as group:
                for number in range(self.streams):
                    group.create_task(self._streams(stream, number * SLOW_STREAM_S / STREAMS))
                await asyncio.sleep(self.begins_s)
                began_at = time.perf_counter()
                for number in range(round(self.seconds * CALLS_PER_S)):
                    await asyncio.sleep(began_at + number / CALLS_PER_S - time.perf_counter())
                    group.create_task(self._call(unary))
                self.over = True
        except* grpc.aio.AioRpcError as errors:
            raise LoadError(f"{len(errors.exceptions)} calls failed: {errors.exceptions[0]}") from errors.exceptions[0]
        took_s = sorted(self.took_s)
        return took_s[-(-len(took_s) * 99 // 100) - 1]

    async def _call(self, unary: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]) -> None:
        began_at = time.perf_counter()
        await unary(request(FAST), timeout=CALL_TIMEOUT_S)
        self.took_s.append(time.perf_counter() - began_at)

    async def _streams(self, stream: grpc.aio.UnaryStreamMultiCallable[bytes, bytes], begin_s: float) -> None:
        await asyncio.sleep(begin_s)  # one after the other, else all would begin and end at once
        while not self.over:
            async for _ in stream(request(SLOW), timeout=CALL_TIMEOUT_S):
                pass


async def _storm(admin: AdminServiceAsyncStub, sources: list[tuple[str, bool]]) -> list[float]:
    """Send one document after the other at an even pace; return how long the reloads took that were to pass."""
    took_s = []
    began_at = time.perf_counter()
    for number, (source, sound) in enumerate(sources):
        await asyncio.sleep(began_at + number / RELOADS_PER_S - time.perf_counter())
        asked_at = time.perf_counter()
        try:
            await admin.ReloadRoutes(ReloadRoutesRequest(source=source, reason="bench"), timeout=CALL_TIMEOUT_S)
            took_s.append(time.perf_counter() - asked_at)
        except grpc.aio.AioRpcError as error:
            if sound:
                raise LoadError(f"a reload failed: {error}") from error
    return took_s


def _sources(upstream: str, count: int, rng: random.Random) -> list[tuple[str, bool]]:
    """Return so many documents, every fourth of them broken, and whether each is sound."""
    broken = list(BROKEN.values())
    return [
        (rng.choice(broken), False) if number % 4 == 3 else (document(upstream, rng), True)  # noqa: PLR2004  of four
        for number in range(count)
    ]


async def measure_reloads(bench: Bench, length: Length, seed: int = 1) -> dict[str, Any]:
    """Measure phases without and with reloads in turns, at a server with 10 providers of 20 keys."""
    rng = random.Random(seed)  # noqa: S311  documents are drawn, not secrets
    calm_ms, storm_ms, reload_ms = [], [], []
    with _server(bench, rng) as (address, admin_address):
        async with (
            grpc.aio.insecure_channel(address, options=_OPTIONS) as channel,
            grpc.aio.insecure_channel(admin_address, options=_OPTIONS) as admin_channel,
        ):
            admin: AdminServiceAsyncStub = AdminServiceStub(admin_channel)
            await _Phase(channel, 0.5, length.streams).run()  # connections, circuits, latencies
            for _ in range(length.rounds):
                calm_ms.append(await _Phase(channel, length.phase_s, length.streams).run() * _MILLI)
                sources = _sources(bench.upstream, round(length.phase_s * RELOADS_PER_S), rng)
                storm = _Phase(channel, length.phase_s, length.streams)
                calls = asyncio.create_task(storm.run())
                await asyncio.sleep(storm.begins_s)
                reload_ms += [took_s * _MILLI for took_s in await _storm(admin, sources)]
                storm_ms.append(await calls * _MILLI)
    _print(calm_ms, storm_ms, reload_ms)
    return {"calm_p99_ms": calm_ms, "reload_storm_p99_ms": storm_ms, "reload_ms": sorted(reload_ms)}


def _print(calm_ms: list[float], storm_ms: list[float], reload_ms: list[float]) -> None:
    calm, storm = statistics.median(calm_ms), statistics.median(storm_ms)
    print(
        f"\nreload storm ({RELOADS_PER_S} documents of 1,000 lines a second, {CALLS_PER_S} calls a second, "
        f"{STREAMS} live streams): p99 {calm:.1f} ms without, {storm:.1f} ms with reloads   "
        f"bar {max(1.5 * calm, calm + 10):.1f}; a reload takes {statistics.median(reload_ms):.0f} ms (p50)"
    )


@contextmanager
def _server(bench: Bench, rng: random.Random) -> Iterator[tuple[str, str]]:
    """Run a server whose routes file has every key, on its core; yield its two addresses."""
    directory = Path(bench.scratch) / "storm"
    directory.mkdir()
    file = directory / "routes.yaml"
    file.write_text(document(bench.upstream, rng, fewest_keys=20))
    flags = ["--routes", str(file), "--data-dir", str(directory / "data"), "--log-level", "error"]
    with bench.serve("reloads", flags) as running:
        yield running.ready(r"ready listen=(\S+)"), running.ready(r"ready listen=\S+ admin=(\S+)")
