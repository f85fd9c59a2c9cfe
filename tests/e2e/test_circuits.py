"""Circuits all the way: a target that fails is left alone, probed, and let back in; no caller can bring that about."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from trunkline import failure_of
from trunkline.v1 import (
    FAILURE_CLASS_SERVER_ERROR,
    ROLE_USER,
    AttemptSummary,
    CompleteRequest,
    CompleteResponse,
    Message,
    Part,
    Sampling,
)
from trunkline_server.routing.circuit import Circuit, CircuitState

if TYPE_CHECKING:
    from tests.e2e.conftest import Gateway, Gateways

CLOSED, OPEN, HALF_OPEN, RAMPING = CircuitState

ROUTES = """
version: 1
providers:
  one:
    protocol: openai
    base_url: {base}
    keys: [{{id: a, secret: env:ONE_A_API_KEY}}]
    circuit: {{CIRCUIT}}
  two:
    protocol: openai
    base_url: {base}
    keys: [{{id: c, secret: env:TWO_C_API_KEY}}]
aliases:
  default:
    tiers: [[{{target: one/primary}}], [{{target: two/fallback}}]]
  alone:
    tiers: [[{{target: one/primary}}]]
"""
DEAD: dict[str, Any] = {"models": {"primary": {"status": 500}}}


def routes(circuit: str) -> str:
    return ROUTES.replace("CIRCUIT", circuit)


def ask(model: str = "default", **fields: Any) -> CompleteRequest:
    return CompleteRequest(model=model, messages=[Message(role=ROLE_USER, parts=[Part(text="hi")])], **fields)


def circuit_of(running: Gateway) -> Circuit:
    return running.live.snapshots.current.providers["one"].circuits["primary"]


def upstream(running: Gateway) -> dict[str, int]:
    """Return how many calls each model got since this was asked last."""
    counts = dict(running.simulator.stats.by_model)
    running.simulator.stats.reset()
    return counts


async def until(holds: Callable[[], bool], timeout_s: float = 10.0) -> None:
    """Wait for what the mere passing of time brings."""
    async with asyncio.timeout(timeout_s):
        while not holds():  # noqa: ASYNC110  time passes without an event
            await asyncio.sleep(0.005)


def served_by(response: CompleteResponse) -> str:
    return response.route.served_by.model


async def call(running: Gateway, *, stream: bool) -> str:
    """Make a call that has to succeed; return the model that served it."""
    if not stream:
        return served_by(await running.stub.Complete(ask()))
    frames, error = await running.frames(ask())
    assert error is None
    return frames[-1].end.route.served_by.model


@pytest.mark.parametrize("stream", [False, True], ids=["unary", "stream"])
async def test_an_outage_and_the_way_back(gateway: Gateways, *, stream: bool) -> None:
    """Five failures open it; nobody goes there; a probe fails; a probe succeeds; the ramp lets in a share; then all."""
    async with gateway(DEAD, routes=routes("open_s: 0.3, ramp_s: 3")) as running:
        circuit = circuit_of(running)
        assert [await call(running, stream=stream) for _ in range(5)] == ["fallback"] * 5
        assert circuit.state is OPEN
        assert upstream(running) == {"primary": 5, "fallback": 5}
        since = time.monotonic()
        while "primary" not in running.simulator.stats.by_model:
            assert await call(running, stream=stream) == "fallback", "the probe's caller, too"
        assert time.monotonic() - since > 0.25
        assert circuit.state is OPEN
        assert upstream(running)["primary"] == 1

        running.simulator.configure({})
        await until(lambda: circuit.state is HALF_OPEN)
        assert await call(running, stream=stream) == "primary"
        assert circuit.state is RAMPING
        served = [await call(running, stream=stream) for _ in range(20)]
        assert 2 <= served.count("primary") <= 10
        await until(lambda: circuit.state is CLOSED)
        assert [await call(running, stream=stream) for _ in range(5)] == ["primary"] * 5
        await running.quiet()


async def test_a_response_tells_who_was_left_out(gateway: Gateways) -> None:
    """The route names the target whose circuit is open; the call's only attempt is no failover."""
    async with gateway(DEAD, routes=routes("failures_in_row: 1, open_s: 60")) as running:
        first = await running.stub.Complete(ask())
        assert [attempt.target.model for attempt in first.attempts] == ["primary", "fallback"]
        assert not first.route.skipped
        second = await running.stub.Complete(ask())
        assert [(each.target.model, each.reason) for each in second.route.skipped] == [("primary", "CIRCUIT")]
        assert [(attempt.target.model, attempt.why) for attempt in second.attempts] == [
            ("fallback", AttemptSummary.WHY_FIRST)
        ]
        await running.quiet()


async def test_explain_tells_the_circuit_and_leaves_it_alone(gateway: Gateways) -> None:
    """Open, half-open and ramping are explained; explaining takes neither the probe's place nor a turn of the ramp."""
    async with gateway(DEAD, routes=routes("failures_in_row: 1, open_s: 0.5, ramp_s: 60")) as running:
        circuit = circuit_of(running)

        async def explained() -> list[tuple[str, int, bool, str]]:
            explanation = await running.stub.Explain(ask())
            return [
                (each.target.model, each.order, each.eligible, "; ".join(each.removed_because))
                for each in explanation.candidates
            ]

        plain = [("primary", 1, True, ""), ("fallback", 2, True, "")]
        assert await explained() == plain
        await running.stub.Complete(ask())
        fallback, primary = await explained()
        assert fallback == ("fallback", 1, True, "")
        assert primary[:3] == ("primary", 0, False)
        assert primary[3].startswith("circuit: open for another 0.")

        running.simulator.configure({})
        await until(lambda: circuit.state is HALF_OPEN)
        for _ in range(3):
            assert await explained() == plain
        assert served_by(await running.stub.Complete(ask())) == "primary"
        held = ("primary", 0, False, "circuit: coming back, with 10 % of its calls")
        for _ in range(12):
            assert await explained() == [("fallback", 1, True, ""), held]
        served = [served_by(await running.stub.Complete(ask())) for _ in range(10)]
        assert served == ["fallback"] * 9 + ["primary"]
        await running.quiet()


async def test_panic_when_there_is_nobody_else(gateway: Gateways) -> None:
    """An alias with one target keeps calling it, retries included, and hears of its recovery at once."""
    async with gateway(DEAD, routes=routes("failures_in_row: 1, open_s: 60")) as running:
        for _ in range(2):
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await running.stub.Complete(ask("alone"))
            failure = failure_of(raised.value)
            assert failure is not None
            assert failure.reason == "UPSTREAM_EXHAUSTED"
            assert failure.route_failure is not None
            assert failure.route_failure.failure_class == FAILURE_CLASS_SERVER_ERROR
            assert len(failure.route_failure.attempts) == 3
            assert circuit_of(running).state is OPEN
        running.simulator.configure({})
        assert served_by(await running.stub.Complete(ask("alone"))) == "primary"
        assert circuit_of(running).state is OPEN, "its time is not over"
        assert served_by(await running.stub.Complete(ask())) == "fallback"
        await running.quiet()


async def test_an_open_circuit_refuses_a_retry_of_a_request_on_its_way(gateway: Gateways) -> None:
    """The failure that opens the circuit is not followed by a retry there, though attempts are left."""
    scenario = {"models": {"primary": {"status": 500}, "fallback": {"status": 500}}}
    async with gateway(scenario, routes=routes("failures_in_row: 1, open_s: 60")) as running:
        with pytest.raises(grpc.aio.AioRpcError):
            await running.stub.Complete(ask())
        assert upstream(running) == {"primary": 1, "fallback": 2}
        await running.quiet()


async def test_a_break_after_the_first_content_counts(gateway: Gateways) -> None:
    """Streams that begin well and break are half failures, half successes."""
    scenario = {"models": {"primary": {"chunks": 5, "cut_after_chunks": 2}}}
    async with gateway(scenario, routes=routes("failures_in_row: 20, open_s: 60")) as running:
        for number in range(10):
            assert circuit_of(running).state is CLOSED, number
            _, error = await running.frames(ask())
            assert error is not None
        assert circuit_of(running).state is OPEN
        await running.quiet()


async def test_no_caller_opens_a_circuit(gateway: Gateways) -> None:
    """Deadlines of a millisecond, cancels, invalid requests, filtered and empty answers move nothing."""
    scenario = {"default": {"first_byte_s": 0.05, "chunk_gap_s": 0.01, "chunks": 5}}
    async with gateway(scenario, routes=routes("failures_in_row: 1, min_calls: 1000, open_s: 60")) as running:
        circuit = circuit_of(running)
        for _ in range(10):
            with pytest.raises(grpc.aio.AioRpcError):
                await running.stub.Complete(ask(), timeout=0.001)
            with pytest.raises(grpc.aio.AioRpcError):
                await running.stub.Complete(ask(), timeout=0.02)
            streaming = running.stub.StreamComplete(ask())
            await streaming.read()
            streaming.cancel()
            await running.stub.Complete(ask(sampling=Sampling(max_output_tokens=1)))
        await running.quiet()
        for fault in (
            {"error": "bad_request"},
            {"error": "context_length_exceeded"},
            {"error": "content_policy_violation"},
            {"status": 429, "retry_after_s": 0.05},
            {"finish_reason": "content_filter"},
        ):
            running.simulator.configure({"models": {"primary": fault}})
            try:
                await running.stub.Complete(ask(), timeout=5)
            except grpc.aio.AioRpcError as error:
                assert error.code() is not grpc.StatusCode.DEADLINE_EXCEEDED, fault  # noqa: PT017  some are answers
        assert circuit.calm
        running.simulator.configure(DEAD)
        await until(lambda: running.live.snapshots.current.providers["one"].pool.usable_now("primary"))
        assert served_by(await running.stub.Complete(ask())) == "fallback"
        assert circuit.state is OPEN, "one failure that counts is enough"
        await running.quiet()


async def test_a_probe_that_its_caller_cancels_gives_its_place_to_the_next(gateway: Gateways) -> None:
    """While the probe is under way others go past it; when it is cancelled the next call probes."""
    async with gateway(DEAD, routes=routes("failures_in_row: 1, open_s: 0.2, ramp_s: 60")) as running:
        circuit = circuit_of(running)
        await running.stub.Complete(ask())
        running.simulator.configure({"models": {"primary": {"first_byte_s": 60}}})
        await until(lambda: circuit.state is HALF_OPEN)
        upstream(running)
        probe = running.stub.StreamComplete(ask())
        reading = asyncio.ensure_future(probe.read())
        await running.simulator.until(lambda stats: stats.in_flight == 1)
        for _ in range(3):
            response = await running.stub.Complete(ask())
            assert [(each.target.model, each.reason) for each in response.route.skipped] == [("primary", "CIRCUIT")]
        probe.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        await running.quiet()
        assert circuit.state is HALF_OPEN
        running.simulator.configure({})
        assert served_by(await running.stub.Complete(ask())) == "primary"
        assert circuit.state is RAMPING
        await running.quiet()
