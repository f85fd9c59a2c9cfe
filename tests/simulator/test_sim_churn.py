"""Many requests with random faults and clients that leave: the simulator's own books stay right."""

from __future__ import annotations

import asyncio
from random import Random
from typing import TYPE_CHECKING

import httpx
from openai import OpenAIError

if TYPE_CHECKING:
    import pytest
    from openai import AsyncOpenAI

    from trunkline_server.simulator.server import Simulator

FAULTS = (
    "",
    "status=500",
    "reset_after_chunks=0",
    "reset_after_chunks=2",
    "cut_after_chunks=1",
    "cut_after_bytes=300",
    "stall_after_chunks=1",
    "error_after_chunks=1, same_segment",
    "malformed_after_chunks=1",
    "chunk_gap_s=0.01, heartbeat_s=0.002",
    "first_byte_s=0.05",
)


async def test_churn_leaves_nothing_in_flight(
    simulator: Simulator, client: AsyncOpenAI, capsys: pytest.CaptureFixture[str]
) -> None:
    """After 300 requests with random faults, half of them given up, every request has ended exactly once."""
    seed = 20
    with capsys.disabled():
        print(f" seed={seed}", end="")
    random = Random(seed)
    simulator.configure({"capacity": {"max_in_flight": 40}})

    async def ask(fault: str, *, stream: bool) -> None:
        answer = await client.chat.completions.create(
            model="m",
            messages=[{"role": "user", "content": "one two three"}],
            stream=stream,
            extra_headers={"x-sim-fault": fault},
        )
        if stream:
            async for _ in answer:  # type: ignore[union-attr]  # it is a stream
                pass

    async def asked_and_perhaps_left(fault: str, patience_s: float, *, stream: bool) -> None:
        try:
            async with asyncio.timeout(patience_s):
                await ask(fault, stream=stream)
        except (OpenAIError, httpx.TransportError, TimeoutError, ValueError):
            return

    async with asyncio.TaskGroup() as group:
        for _ in range(300):
            fault = random.choice(FAULTS)
            patience_s = random.choice([0.01, 0.03, 0.3])
            group.create_task(asked_and_perhaps_left(fault, patience_s, stream=random.random() < 0.5))
            await asyncio.sleep(0)
    stats = simulator.stats
    await simulator.until(lambda now: now.in_flight == 0)
    ended = [record.ended for record in stats.last_requests]
    assert set(ended) <= {"answered", "broken", "cancelled"}
    assert stats.peak_in_flight > 1
    assert simulator._in_flight == {}
    limits = simulator._state.limits("sk-a")
    assert limits is not None
    assert limits._in_flight == 0
