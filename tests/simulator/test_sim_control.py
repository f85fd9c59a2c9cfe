"""The control call, the counters, cancellations and capacity."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from openai import APIConnectionError, AsyncOpenAI, InternalServerError, RateLimitError

from trunkline_server.simulator.capacity import BucketMeter, SlidingMeter, duration
from trunkline_server.simulator.errors import ScenarioError
from trunkline_server.simulator.server import Simulator

if TYPE_CHECKING:
    from openai.types.chat import ChatCompletionMessageParam

HELLO: list[ChatCompletionMessageParam] = [{"role": "user", "content": "hi"}]


async def _ask(client: AsyncOpenAI) -> None:
    await client.chat.completions.create(model="m", messages=HELLO)


async def test_control_call_tells_what_was_counted(simulator: Simulator, client: AsyncOpenAI) -> None:
    """`GET /_control` tells the counters and the last requests, and counts itself nowhere."""
    await _ask(client)
    async with httpx.AsyncClient() as http:
        told = (await http.get(f"{simulator.root_url}/_control")).json()
    assert told["requests"] == told["peak_in_flight"] == 1
    assert (told["by_model"], told["by_key"], told["by_status"]) == ({"m": 1}, {"sk-a": 1}, {"200": 1})
    assert told["in_flight"] == 0
    assert told["connections"] == 2
    [request] = told["last_requests"]
    assert request["json"] == {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
    assert (request["method"], request["path"]) == ("POST", "/v1/chat/completions")
    assert request["headers"]["authorization"] == "Bearer sk-a"
    assert request["protocol"] == "openai"
    assert told["urls"]["openai"] == simulator.base_url


async def test_control_call_changes_the_scenario(simulator: Simulator, client: AsyncOpenAI) -> None:
    """`POST /_control` replaces and patches the scenario and resets the counters."""
    async with httpx.AsyncClient(base_url=simulator.root_url) as http:

        async def order(**body: Any) -> dict[str, Any]:
            answer = await http.post("/_control", json=body)
            assert answer.status_code == 200
            told: dict[str, Any] = answer.json()
            return told

        await order(scenario={"default": {"status": 500}, "known_models": ["m"]})
        with pytest.raises(InternalServerError):
            await _ask(client)
        told = await order(patch={"default": {"status": None, "chunks": 2}}, seed=9, reset=True)
        assert told["scenario"] == {"seed": 9, "known_models": ["m"], "default": {"chunks": 2}}
        assert told["requests"] == 0
        await _ask(client)


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"zip": 1}', b'{"scenario": {"zip": 1}}', b'{"refuse_for_s": 0}'])
async def test_bad_control_call_changes_nothing(simulator: Simulator, body: bytes) -> None:
    """A wrong control call is a 400 with its reason."""
    async with httpx.AsyncClient() as http:
        answer = await http.post(f"{simulator.root_url}/_control", content=body)
    assert answer.status_code == 400
    assert "_control" in answer.json()["error"]["message"]


async def test_refusal_by_control_call_ends_by_itself(simulator: Simulator, client: AsyncOpenAI) -> None:
    """`refuse_for_s` refuses connections for a bounded time, and the caller still gets its answer."""
    await _ask(client)
    async with httpx.AsyncClient(base_url=simulator.root_url) as http:
        assert (await http.post("/_control", json={"refuse_for_s": 0.2})).status_code == 200
        began_s = time.monotonic()
        with pytest.raises(APIConnectionError):
            await _ask(client)
        while True:
            try:
                await _ask(client)
                break
            except APIConnectionError:
                assert time.monotonic() - began_s < 5
        assert time.monotonic() - began_s >= 0.1


async def test_wrong_scenario_is_refused_and_the_old_one_stays(simulator: Simulator) -> None:
    """`configure` checks before it changes anything."""
    before = simulator.scenario
    with pytest.raises(ScenarioError):
        simulator.configure({"rules": [{"fault": {"status": 1}}]})
    assert simulator.scenario is before


@pytest.mark.parametrize(
    ("fault", "chunks"),
    [("first_byte_s=60", 0), ("chunk_gap_s=60", 1), ("stall_after_chunks=1, heartbeat_s=0.01", 1)],
)
async def test_cancellation_is_counted_at_once(
    simulator: Simulator, client: AsyncOpenAI, fault: str, chunks: int
) -> None:
    """A client that goes away is counted within milliseconds, whatever the answer was waiting for."""
    got_content = asyncio.Event()

    async def ask() -> None:
        stream = await client.chat.completions.create(
            model="m", messages=HELLO, stream=True, extra_headers={"x-sim-fault": fault}
        )
        async for chunk in stream:
            if chunk.choices[0].delta.content:
                got_content.set()

    asking = asyncio.create_task(ask())
    await simulator.until(lambda stats: stats.in_flight == 1)
    if chunks:
        await got_content.wait()
    asking.cancel()
    await asyncio.wait([asking])
    left_s = time.monotonic()
    await simulator.until(lambda stats: stats.cancelled == 1)
    assert simulator.stats.last_cancel_monotonic_s is not None
    assert simulator.stats.last_cancel_monotonic_s - left_s < 0.1
    assert simulator.stats.in_flight == 0
    assert simulator.stats.last_requests[0].ended == "cancelled"
    assert simulator.stats.cancels[0].chunks_sent == chunks


async def test_endless_stream_stops_for_a_reader_that_stalls(simulator: Simulator) -> None:
    """A stream as fast as it goes waits for a slow reader instead of filling memory, and its end is seen."""
    simulator.configure({"default": {"chunks": 1_000_000, "chunk_text": "x" * 100}})
    reader, writer = await asyncio.open_connection("127.0.0.1", simulator.port, limit=1024)
    body = b'{"model":"m","stream":true,"messages":[{"role":"user","content":"hi"}]}'
    writer.write(
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer k\r\nContent-Length: %d\r\n\r\n%b"
        % (len(body), body)
    )
    await reader.readuntil(b"\r\n\r\n")
    assert simulator._web is not None
    [connection] = simulator._web.connections
    async with asyncio.timeout(10):
        while not connection.writing_paused:  # noqa: ASYNC110 - aiohttp has no event for it
            await asyncio.sleep(0)
    assert 0 < simulator.stats.last_requests[0].chunks_sent < 500_000
    writer.transport.abort()
    await simulator.until(lambda stats: stats.cancelled == 1)


async def test_concurrency_is_bounded_for_each_key(simulator: Simulator, client: AsyncOpenAI) -> None:
    """A key beyond its `max_in_flight` gets OpenAI's 429; another key does not; the slot comes back."""
    simulator.configure({"capacity": {"max_in_flight": 1}, "default": {"first_byte_s": 0, "stall_after_chunks": 0}})
    holding = asyncio.create_task(_ask(client))
    await simulator.until(lambda stats: stats.in_flight == 1)
    with pytest.raises(RateLimitError) as refused:
        await _ask(client)
    assert refused.value.code == "rate_limit_exceeded"
    holding.cancel()
    await asyncio.wait([holding])
    await simulator.until(lambda stats: stats.in_flight == 0)
    simulator.scenario = {"capacity": {"max_in_flight": 1}}
    await asyncio.gather(_ask(client), _ask(client.with_options(api_key="sk-b")))
    await _ask(client)


async def test_requests_a_minute_are_bounded_and_told(simulator: Simulator, client: AsyncOpenAI) -> None:
    """Beyond the requests a minute a key gets 429 with retry-after; every answer tells the rate-limit headers."""
    simulator.configure({"capacity": {"requests_per_minute": 2}, "key_capacity": {"sk-b": {"tokens_per_minute": 30}}})
    told = await client.chat.completions.with_raw_response.create(model="m", messages=HELLO)
    assert told.headers["x-ratelimit-limit-requests"] == "2"
    assert told.headers["x-ratelimit-remaining-requests"] == "1"
    assert told.headers["x-ratelimit-reset-requests"] == "1m0s"
    await _ask(client)
    with pytest.raises(RateLimitError) as refused:
        await _ask(client)
    assert refused.value.type == "requests"
    assert 55 <= int(refused.value.response.headers["retry-after"]) <= 60
    other = client.with_options(api_key="sk-b")
    await _ask(other)
    with pytest.raises(RateLimitError) as tokens:
        await other.chat.completions.create(model="m", messages=HELLO, max_tokens=25)
    assert (tokens.value.type, tokens.value.code) == ("tokens", "rate_limit_exceeded")


def test_sliding_meter_forgets_after_a_minute() -> None:
    """What was taken counts for exactly 60 s, and the wait told is enough."""
    meter = SlidingMeter(3)
    for at_s in (0.0, 10.0, 20.0):
        assert meter.wait_s(1, at_s) == 0
        meter.take(1, at_s)
    assert meter.wait_s(1, 30.0) == 30.0
    assert meter.wait_s(2, 30.0) == 40.0
    assert meter.wait_s(1, 60.0) == 0
    assert meter.remaining(60.0) == 1


def test_bucket_meter_refills_evenly() -> None:
    """A bucket of one second's worth lets a burst of that size through, then its rate; a debt is waited for."""
    meter = BucketMeter(120)
    meter.take(2, 0.0)
    assert meter.wait_s(1, 0.0) == pytest.approx(0.5)
    assert meter.wait_s(1, 0.5) == 0
    meter.take(1, 0.5)
    assert meter.wait_s(100, 1.5) == 0
    meter.take(100, 1.5)
    assert meter.wait_s(1, 1.5) == pytest.approx(49.5)


def test_durations_are_written_as_openai_does() -> None:
    """Milliseconds below a second, then seconds, then minutes and seconds."""
    assert [duration(s) for s in (0, 0.0121, 8.64, 59.9996, 60, 360, 3723)] == [
        "0ms",
        "13ms",
        "8.64s",
        "60s",
        "1m0s",
        "6m0s",
        "1h2m3s",
    ]


async def test_stop_leaves_nothing(client: AsyncOpenAI, simulator: Simulator) -> None:
    """`stop` ends requests in flight at once, leaves no task and no port, and counts no cancellation."""
    simulator.configure({"default": {"stall_after_chunks": 0}})
    asking = asyncio.create_task(_ask(client))
    await simulator.until(lambda stats: stats.in_flight == 1)
    port = simulator.port
    await simulator.stop()
    await simulator.stop()
    assert (simulator.stats.in_flight, simulator.stats.connections, simulator.stats.cancelled) == (0, 0, 0)
    with pytest.raises(APIConnectionError):
        await asking
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port)


async def test_until_ends_with_its_timeout(simulator: Simulator) -> None:
    """Waiting for counters that never come is bounded."""
    with pytest.raises(TimeoutError):
        await simulator.until(lambda stats: stats.requests == 1, timeout_s=0.01)
