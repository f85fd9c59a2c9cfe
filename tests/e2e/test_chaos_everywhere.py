"""Random faults in every dialect at once, and callers that leave: every call ends, and nothing is left of any."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from typing import TYPE_CHECKING, Any

import grpc
from tests.e2e.conftest import ask
from tests.e2e.protocols import WIRES, environment, routes
from tests.e2e.stream_books import check_books, read

from trunkline.v1 import ON_BREAK_RESTART, End, FunctionTool, RoutingOptions, Tool

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.e2e.conftest import Gateway, Gateways

    from trunkline.v1 import CompleteRequest

AT_ONCE = 24
TIMER_S = 1.0
LEAVING = 0.15
"""This share of the callers leaves while it waits."""

FAULTS: list[dict[str, Any]] = [
    {"error": "server_error"},
    {"error": "overloaded"},
    {"error": "rate_limit_exceeded", "retry_after_s": 0},
    {"error": "content_filter"},
    {"reset_after_chunks": 0},
    {"reset_after_chunks": 3},
    {"cut_after_chunks": 2},
    {"cut_after_bytes": 70},
    {"malformed_after_chunks": 2},
    {"error_after_chunks": 0, "error": "overloaded"},
    {"error_after_chunks": 3, "error": "server_error", "same_segment": True},
    {"stall_after_chunks": 1, "stall_s": 0.05, "heartbeat_s": 0.01},
    {"no_finish_reason": True, "no_done": True},
    {"empty": "content"},
    {"empty": "choices"},
    {"first_byte_s": 0.1},
    {"tool_calls": 2},
    {"reasoning": "let me think about it", "chunk_gap_s": 0.002},
]


def chaos(seed: int) -> dict[str, Any]:
    """Return a scenario in which about every second request meets a fault."""
    return {
        "seed": seed,
        "default": {"chunks": 6, "chunk_text": "word "},
        "rules": [{"probability": 0.04, "fault": fault} for fault in FAULTS],
    }


def request(rng: random.Random) -> CompleteRequest:
    """Return a request to a random alias."""
    tools = [Tool(function=FunctionTool(name="look", parameters_json_schema='{"type": "object"}'))]
    routing = RoutingOptions(on_break=ON_BREAK_RESTART)
    return ask("one two three", f"from-{rng.choice([*WIRES])}", tools=tools, routing=routing)


async def call(running: Gateway, rng: random.Random) -> str:
    """Make one call and return how it ended; whatever a stream tells is in its books."""
    asked = request(rng)
    if rng.random() < LEAVING:
        leaving = asyncio.ensure_future(read(running.stub.StreamComplete(asked, timeout=30)))
        await asyncio.wait([leaving], timeout=rng.random() * 0.03)
        leaving.cancel()
        await asyncio.wait([leaving])
        return "left"
    if rng.random() < 0.3:
        try:
            await running.stub.Complete(asked, timeout=30)
        except grpc.aio.AioRpcError as error:
            return error.code().name
        return "OK"
    reading = await read(running.stub.StreamComplete(asked, timeout=30))
    check_books(reading.frames, 0 if reading.error is None else reading.error.failure.code.value[0])
    if reading.error is None:
        assert reading.answer.outcome in {End.OUTCOME_COMPLETE, End.OUTCOME_INCOMPLETE}
    return reading.status[0]


async def test_nothing_is_left_of_any_call(gateway: Gateways, rng: random.Random, sized: Callable[..., int]) -> None:
    """Each of many calls over all wires ends as it says, and no slot, key, connection or request outlives it."""
    calls = sized(full=10_000, gate=400)
    names = [*WIRES]
    aliases = {
        f"from-{name}": {
            "tiers": [[WIRES[names[(at + step) % len(names)]].target] for step in range(3)],
            "on_content_filtered": "next_target",
        }
        for at, name in enumerate(names)
    }
    timeouts = {"first_token_s": TIMER_S, "stall_s": TIMER_S, "response_s": TIMER_S}
    document = routes(WIRES.values(), aliases, timeouts=timeouts, gate={"max_in_flight": 8})
    free = asyncio.Semaphore(AT_ONCE)
    async with gateway(chaos(rng.randrange(2**31)), routes=document, environ=environment(WIRES.values())) as running:

        async def one(seed: int) -> str:
            async with free:
                return await call(running, random.Random(seed))

        ended = Counter(await asyncio.gather(*(one(rng.randrange(2**32)) for _ in range(calls))))
        await running.quiet(30)
        stats = running.simulator.stats
        print(f" {dict(ended)}, upstream {dict(stats.by_status)}, broken {stats.broken}, left {stats.cancelled}")
        assert ended["OK"] > calls / 2
        assert not {"UNKNOWN", "INTERNAL"} & ended.keys()
        assert all(record.ended != "failed" for record in stats.last_requests)
