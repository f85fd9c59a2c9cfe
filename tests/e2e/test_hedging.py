"""A second attempt beside a slow one, over real connections: who answers, who is closed, and what it may cost."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from tests.e2e.conftest import ask
from tests.e2e.stream_books import check_books, read, settled, tasks, tasks_gone

from trunkline import failure_of
from trunkline.v1 import AttemptSummary, FailureClass, RoutingOptions
from trunkline_server.routing.circuit import CircuitState

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

    from tests.conftest import Sized
    from tests.e2e.conftest import Gateway, Gateways

pytestmark = pytest.mark.alone  # it measures times

ROUTES = """
version: 1
providers:
  one: {{protocol: openai, base_url: {base}, keys: [{{id: a, secret: env:ONE_A_API_KEY}}]}}
  two: {{protocol: openai, base_url: {base}, transport: httpx, keys: [{{id: c, secret: env:TWO_C_API_KEY}}]}}
aliases:
  default:
    tiers: [[{{target: one/primary}}, {{target: two/other}}]]
    hedge: {{enabled: true}}
  unhedged:
    tiers: [[{{target: one/primary}}, {{target: two/other}}]]
  tiered:
    tiers: [[one/primary], [two/other]]
    hedge: {{enabled: true}}
"""
"""Calls alternate between two targets, so that both have requests of their own to measure hedges by."""

FAST = {"default": {"first_byte_s": 0.01}}
SLOW_S = 30.0
LATE_S = 1.2
"""Far beyond the usual time, also on a machine that is busy."""
WARM_CALLS = 120
"""60 for each target: its usual time is known, and 2 % of them is one hedge."""
TEXT = "You said: hi"


@dataclass(slots=True)
class Made:
    """One call that was made."""

    text: str
    attempts: Sequence[AttemptSummary]
    first_at: float
    """When its caller had the first of it."""

    def told(self) -> list[tuple[str, str, str]]:
        """Return why each attempt was made, its class if it failed, and whether it counts."""
        return [
            (
                AttemptSummary.Why.Name(each.why).removeprefix("WHY_"),
                FailureClass.Name(each.error.failure_class).removeprefix("FAILURE_CLASS_")
                if each.HasField("error")
                else "",
                "discarded" if each.discarded else "",
            )
            for each in self.attempts
        ]

    @property
    def hedged(self) -> bool:
        """Whether a second attempt was made beside the first."""
        return any(each.why == AttemptSummary.WHY_HEDGE for each in self.attempts)


async def make(running: Gateway, *, streamed: bool, model: str = "default", **routing: Any) -> Made:
    """Make one call that has to succeed."""
    request = ask(model=model, routing=RoutingOptions(**routing))
    if not streamed:
        response = await running.stub.Complete(request, timeout=60)
        return Made("".join(part.text for part in response.message.parts), response.attempts, time.monotonic())
    call = running.stub.StreamComplete(request, timeout=60)
    await call.initial_metadata()
    first_at = time.monotonic()
    reading = await read(call)
    assert reading.error is None, reading.error
    check_books(reading.frames, 0)
    return Made(reading.answer.text, reading.answer.attempts, first_at)


async def warm(running: Gateway, *, streamed: bool, model: str = "default") -> None:
    """Make so many fast calls that the usual times are known."""
    for _ in range(WARM_CALLS // 8):
        made = await asyncio.gather(
            *(make(running, streamed=streamed, model=model, allow_hedge=False) for _ in range(8))
        )
        assert not any(each.hedged for each in made)


def slow(**winner: Any) -> dict[str, Any]:
    """Return a scenario whose primary takes its time, and whose other target answers as is said."""
    return {**FAST, "models": {"primary": {"first_byte_s": SLOW_S}, "other": {"first_byte_s": 0.01, **winner}}}


async def first_on_primary(running: Gateway, *, streamed: bool) -> Made:
    """Make calls until one goes to the primary first; it is every second one."""
    made = await make(running, streamed=streamed)
    if made.attempts[0].target.model != "primary":
        made = await make(running, streamed=streamed)
    assert made.attempts[0].target.model == "primary"
    return made


async def untouched(running: Gateway, before: int) -> None:
    """Assert that nothing is held and that no circuit moved."""
    await settled(running)
    await tasks_gone(before)
    for provider in running.live.snapshots.current.providers.values():
        assert {circuit.state for circuit in provider.circuits.values()} == {CircuitState.CLOSED}


@pytest.mark.parametrize("streamed", [True, False], ids=["stream", "unary"])
async def test_a_slow_primary_is_raced_by_an_idle_fallback(gateway: Gateways, *, streamed: bool) -> None:
    """The share of hedges is of the slow provider's calls: a fallback that had none may be hedged to."""
    async with gateway(FAST, routes=ROUTES) as running:
        before = len(tasks())
        await warm(running, streamed=streamed, model="tiered")
        running.simulator.configure(slow())
        made = await make(running, streamed=streamed, model="tiered")
        assert made.told() == [("FIRST", "CANCELLED", "discarded"), ("HEDGE", "", "")]
        assert made.attempts[1].target.provider == "two"
        await untouched(running, before)


@pytest.mark.parametrize("streamed", [True, False], ids=["stream", "unary"])
async def test_a_slow_attempt_is_raced_by_one_elsewhere(gateway: Gateways, *, streamed: bool) -> None:
    """The faster one answers, the slow one is closed within 100 ms (asserted at five times that) and is told."""
    async with gateway(FAST, routes=ROUTES) as running:
        before = len(tasks())
        await warm(running, streamed=streamed)
        # So long an answer that the loser's end is not the answer's.
        running.simulator.configure(slow(chunks=75, chunk_gap_s=0.02))
        requests = running.simulator.stats.requests
        began_at = time.monotonic()
        made = await first_on_primary(running, streamed=streamed)
        assert made.first_at - began_at < SLOW_S / 3
        assert made.text.startswith(TEXT)
        assert made.told() == [("FIRST", "CANCELLED", "discarded"), ("HEDGE", "", "")]
        assert [each.target.model for each in made.attempts] == ["primary", "other"]
        await running.simulator.until(lambda stats: stats.cancelled == 1)
        (loser,) = running.simulator.stats.cancels
        assert loser.model == "primary"
        print(f"the loser was closed {(loser.at_monotonic_s - made.first_at) * 1000:.1f} ms after the winner's first")
        assert loser.at_monotonic_s - made.first_at < 0.5
        assert running.simulator.stats.requests - requests <= 3
        await untouched(running, before)


@pytest.mark.parametrize("streamed", [True, False], ids=["stream", "unary"])
async def test_without_leave_or_knowledge_nobody_races(gateway: Gateways, *, streamed: bool) -> None:
    """No hedge where the request or the alias does not want one, nor before 20 calls told the usual time."""
    calm = {**FAST, "models": {"primary": {"first_byte_s": 0.3}}}
    async with gateway(calm, routes=ROUTES) as running:
        for _ in range(4):
            assert not (await make(running, streamed=streamed)).hedged
        running.simulator.configure(FAST)
        await warm(running, streamed=streamed)
        running.simulator.configure(calm)
        requests = running.simulator.stats.requests
        for _ in range(4):
            assert not (await make(running, streamed=streamed, allow_hedge=False)).hedged
            assert not (await make(running, streamed=streamed, model="unhedged")).hedged
        assert running.simulator.stats.requests == requests + 8
        await settled(running)


@pytest.mark.parametrize("streamed", [True, False], ids=["stream", "unary"])
async def test_a_racer_that_fails_leaves_the_race_to_the_other(gateway: Gateways, *, streamed: bool) -> None:
    """Whichever it is, the other one answers, and nothing is tried again for it."""
    first_fails = {
        **FAST,
        "models": {"primary": {"first_byte_s": LATE_S, "status": 500}, "other": {"first_byte_s": LATE_S * 1.5}},
    }
    hedge_fails = {"models": {"primary": {"first_byte_s": LATE_S}, "other": {"status": 500}}}
    for scenario, told in (
        (first_fails, [("FIRST", "SERVER_ERROR", ""), ("HEDGE", "", "")]),
        (hedge_fails, [("FIRST", "", ""), ("HEDGE", "SERVER_ERROR", "")]),
    ):
        async with gateway(FAST, routes=ROUTES) as running:
            before = len(tasks())
            await warm(running, streamed=streamed)
            # The other target's turn, so that the next one is the primary's.
            while (await make(running, streamed=streamed, allow_hedge=False)).attempts[0].target.model == "primary":
                pass
            running.simulator.configure(scenario)
            made = await make(running, streamed=streamed)
            assert made.told() == told
            assert made.text == TEXT
            await untouched(running, before)


@pytest.mark.parametrize("streamed", [True, False], ids=["stream", "unary"])
async def test_two_racers_that_fail_are_one_failure(gateway: Gateways, *, streamed: bool) -> None:
    """Neither answers: both are told, and the status is that of the first."""
    both = {
        "models": {
            "primary": {"first_byte_s": LATE_S, "status": 500},
            "other": {"first_byte_s": LATE_S, "status": 404},
        }
    }
    async with gateway(FAST, routes=ROUTES) as running:
        before = len(tasks())
        await warm(running, streamed=streamed)
        while (await make(running, streamed=streamed, allow_hedge=False)).attempts[0].target.model == "primary":
            pass
        running.simulator.configure(both)
        request = ask(routing=RoutingOptions(max_attempts=2))
        call: Any = (running.stub.StreamComplete if streamed else running.stub.Complete)(request, timeout=60)
        if streamed:
            reading = await read(call)
            assert reading.error is not None
            assert not reading.frames
            failure = reading.error.failure
        else:
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await call
            failure = failure_of(raised.value)
        assert failure.reason == "UPSTREAM_EXHAUSTED"
        assert failure.route_failure is not None
        whys = Made("", failure.route_failure.attempts, 0.0).told()
        assert whys == [("FIRST", "SERVER_ERROR", ""), ("HEDGE", "MODEL_UNAVAILABLE", "")]
        await untouched(running, before)


@pytest.mark.parametrize("streamed", [True, False], ids=["stream", "unary"])
async def test_a_caller_that_leaves_ends_both_racers(gateway: Gateways, *, streamed: bool) -> None:
    """Both upstream calls are closed at once, and nothing is blamed for it."""
    async with gateway(FAST, routes=ROUTES) as running:
        before = len(tasks())
        await warm(running, streamed=streamed)
        running.simulator.configure({"default": {"first_byte_s": SLOW_S}})
        call: Any = (running.stub.StreamComplete if streamed else running.stub.Complete)(ask(), timeout=60)
        await running.simulator.until(lambda stats: stats.in_flight == 2)
        left_at = time.monotonic()
        call.cancel()
        await running.simulator.until(lambda stats: stats.cancelled == 2)
        assert time.monotonic() - left_at < 0.5
        await untouched(running, before)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("streamed", [True, False], ids=["stream", "unary"])
async def test_hedges_stay_within_two_percent_of_the_calls(
    gateway: Gateways, rng: random.Random, sized: Sized, *, streamed: bool
) -> None:
    """With a slow tail of 5 % the extra calls stay within 2 %, and losers move no circuit."""
    calls = sized(full=5_000, gate=500)
    tail = {**FAST, "seed": rng.randrange(2**31), "rules": [{"probability": 0.05, "fault": {"first_byte_s": 0.5}}]}
    async with gateway(FAST, routes=ROUTES) as running:
        before = len(tasks())
        await warm(running, streamed=streamed)
        running.simulator.configure(tail)
        requests, cancelled = running.simulator.stats.requests, running.simulator.stats.cancelled
        made: list[Made] = []

        async def walk() -> None:
            for _ in range(calls // 16):
                made.append(await make(running, streamed=streamed))  # noqa: PERF401  each when the one before has ended

        began_at = time.monotonic()
        await asyncio.gather(*(walk() for _ in range(16)))
        took_s = time.monotonic() - began_at
        await untouched(running, before)
        assert all(each.text == TEXT for each in made)
        hedged = [each for each in made if each.hedged]
        extra = running.simulator.stats.requests - requests - len(made)
        won = sum(each.attempts[0].discarded for each in hedged)
        # Those that made the usual times known count too: a hedge is a share of all recent calls.
        share = extra / (len(made) + WARM_CALLS)
        print(
            f"{len(made)} calls in {took_s:.1f} s, {len(hedged)} hedged ({share:.2%} extra calls), "
            f"{won} of them answered by the hedge"
        )
        # A hedge that loses before its request was sent is none to the upstream.
        assert 0 < extra <= len(hedged) <= 0.02 * (len(made) + WARM_CALLS)
        assert running.simulator.stats.cancelled - cancelled <= len(hedged)
        assert all(len(each.attempts) == 2 for each in hedged)
        assert all(sum(attempt.discarded for attempt in each.attempts) == 1 for each in hedged)
