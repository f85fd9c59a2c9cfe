"""The load generator: so many calls, so many of them in flight, and how long each took. It decodes no answers."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import grpc
from scripts.benchmarks.workload import CALLER_TOKEN, request
from scripts.demo_processes import DemoError

from trunkline.v1 import AttemptSummary, StreamFrame

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

_PATH = "/trunkline.v1.CompletionService/"
_METADATA = (("authorization", f"Bearer {CALLER_TOKEN}"),)
CALL_TIMEOUT_S = 60.0
_OPTIONS = [("grpc.enable_retries", 0), ("grpc.use_local_subchannel_pool", 1)]


class LoadError(DemoError):
    """A call failed, so the figures would mean nothing."""


@dataclass(frozen=True, slots=True)
class Load:
    """One measured burst of calls."""

    calls: int
    wall_s: float
    latencies_s: tuple[float, ...]
    """From the start of each call to its last byte, sorted."""
    first_frames_s: tuple[float, ...]
    """Streams: to the first frame, sorted."""
    frames: int
    """Messages received in all."""

    def quantile_s(self, share: float) -> float:
        """Return the latency that `share` of the calls did not exceed."""
        return self.latencies_s[min(len(self.latencies_s) - 1, int(share * len(self.latencies_s)))]


class Generator:
    """Calls one server over one connection."""

    def __init__(self, address: str) -> None:
        self._channel = grpc.aio.insecure_channel(address, options=_OPTIONS)
        self._unary: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = self._channel.unary_unary(f"{_PATH}Complete")
        self._stream: grpc.aio.UnaryStreamMultiCallable[bytes, bytes] = self._channel.unary_stream(
            f"{_PATH}StreamComplete"
        )

    async def close(self) -> None:
        """Close the connection."""
        await self._channel.close()

    async def unary(self, model: str, calls: int, in_flight: int) -> Load:
        """Make `calls` unary calls. Raises LoadError if one of them fails."""
        message = request(model)
        firsts: list[float] = []

        async def one() -> int:
            await self._unary(message, metadata=_METADATA, timeout=CALL_TIMEOUT_S)
            return 1

        return await _burst(one, calls, in_flight, firsts)

    async def streams(self, model: str, calls: int, in_flight: int) -> Load:
        """Make `calls` streams and read each to its end. Raises LoadError if one of them fails."""
        message = request(model)
        firsts: list[float] = []

        async def one() -> int:
            began_at = time.perf_counter()
            frames = 0
            async for _ in self._stream(message, metadata=_METADATA, timeout=CALL_TIMEOUT_S):
                frames += 1
                if frames == 1:
                    firsts.append(time.perf_counter() - began_at)
            return frames

        return await _burst(one, calls, in_flight, firsts)

    async def failed_attempts_s(self, model: str, calls: int) -> list[float]:
        """Make streams one at a time, each of which has to fail over once; return the failed attempts' own times.

        Raises LoadError if a call fails, or goes any other way.
        """
        message = request(model)
        walks: list[Sequence[AttemptSummary]] = []

        async def one() -> int:
            frames = [frame async for frame in self._stream(message, metadata=_METADATA, timeout=CALL_TIMEOUT_S)]
            walks.append(StreamFrame.FromString(frames[-1]).end.attempts)
            return len(frames)

        await _burst(one, calls, 1, [])
        for attempts in walks:
            if [attempt.why for attempt in attempts] != [AttemptSummary.WHY_FIRST, AttemptSummary.WHY_FAILOVER]:
                raise LoadError(f"a call that was to fail over once went another way: {attempts}")
        return [attempts[0].total.ToTimedelta().total_seconds() for attempts in walks]


async def _burst(one: Callable[[], Awaitable[int]], calls: int, in_flight: int, firsts: list[float]) -> Load:
    latencies: list[float] = []
    frames = 0
    left = iter(range(calls))

    async def worker() -> None:
        nonlocal frames
        for _ in left:
            began_at = time.perf_counter()
            got = await one()  # on a line of its own: `+=` would read the sum before the wait
            frames += got
            latencies.append(time.perf_counter() - began_at)

    began_at = time.perf_counter()
    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(in_flight):
                group.create_task(worker())
    except* grpc.aio.AioRpcError as errors:
        failed = errors.exceptions[0]
        raise LoadError(f"{len(errors.exceptions)} calls failed, the first with: {failed}") from failed
    wall_s = time.perf_counter() - began_at
    return Load(calls, wall_s, tuple(sorted(latencies)), tuple(sorted(firsts)), frames)
