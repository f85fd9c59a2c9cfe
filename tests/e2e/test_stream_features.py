"""What a request can ask of its stream, over real connections: early starts, signs of life, timers."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from tests.e2e.stream_books import Tap, check_books, narrow_channel, read, settled
from tests.e2e.stream_wishes import ROUTES, request, stream

from trunkline.v1 import ON_BREAK_FAIL, ON_BREAK_RESTART, AttemptFailed, Usage
from trunkline_server.routing.circuit import CircuitState

if TYPE_CHECKING:
    from tests.e2e.conftest import Gateway, Gateways

SILENT = {"stall_after_chunks": 0, "after_role": True}
"""The upstream answers, and says its role, and nothing after that."""


# Early starts.


async def test_an_announced_stream_starts_while_the_upstream_is_silent(gateway: Gateways) -> None:
    """`started` comes before the upstream said anything, and what it cannot know yet comes with `attempt_started`."""
    async with gateway({"default": {"first_byte_s": 0.5}}, routes=ROUTES) as running:
        call = Tap(running.stub.StreamComplete(request(announce_early=True), timeout=30))
        frame = await call.next()
        assert not running.simulator.stats.by_status
        assert frame.seq == 1
        assert not frame.started.HasField("queued")
        assert not frame.started.route.HasField("served_by")
        assert frame.started.stream_id
        began = (await call.next()).attempt_started
        assert (began.target.provider, began.target.model, began.target.key_id) == ("one", "primary", "a")
        assert began.HasField("queued")
        assert running.simulator.stats.by_status == {200: 1}
        rest = await read(call)
        assert rest.kinds()[-1] == "end"
        await settled(running)


REFUSALS: dict[str, tuple[dict[str, Any], str, str]] = {
    "an outage": ({"status": 500}, "UNAVAILABLE", "UPSTREAM_EXHAUSTED"),
    "rate limits": ({"status": 429, "retry_after_s": 60}, "RESOURCE_EXHAUSTED", "RATE_LIMITED"),
    "a bad request": ({"status": 400}, "INVALID_ARGUMENT", "BAD_REQUEST"),
    "a stream cut before its content": ({"cut_after_chunks": 0}, "UNAVAILABLE", "UPSTREAM_EXHAUSTED"),
    "an error as the first event": (
        {"error_after_chunks": 0, "error": "server_error"},
        "UNAVAILABLE",
        "UPSTREAM_EXHAUSTED",
    ),
}


@pytest.mark.parametrize("name", REFUSALS)
@pytest.mark.parametrize("announced", [True, False])
async def test_a_failure_before_the_first_content_is_no_break(gateway: Gateways, name: str, announced: bool) -> None:  # noqa: FBT001  pytest passes it by name
    """Announced: `started`, `end` and the failure's own status. Otherwise that status alone, without any frame."""
    fault, code, reason = REFUSALS[name]
    async with gateway({"default": fault}, routes=ROUTES) as running:
        reading = await stream(running, request("alone", announce_early=announced))
        assert reading.kinds() == (["started", "end"] if announced else [])
        assert reading.status == (code, reason)
        assert len(reading.attempts()) == 1
        assert not reading.answer.breaks


async def test_no_header_is_sent_before_the_first_content(gateway: Gateways) -> None:
    """The upstream's head, role and comments move nothing; the headers come with the first content."""
    silent = {**SILENT, "stall_s": 0.5, "heartbeat_s": 0.01}
    async with gateway({"default": silent}, routes=ROUTES) as running:
        call = running.stub.StreamComplete(request(), timeout=30)
        headers = asyncio.ensure_future(call.initial_metadata())
        await running.simulator.until(lambda stats: stats.in_flight == 1)
        early, _ = await asyncio.wait([headers], timeout=0.2)
        assert not early
        assert running.simulator.stats.by_status == {200: 1}
        reading = await read(call)
        assert reading.error is None
        assert headers.done() or await headers is not None
        assert reading.answer.text == "You said: How is the weather?"
        await settled(running)


# Heartbeats.


async def test_heartbeats_tell_the_place_in_the_queue(gateway: Gateways) -> None:
    """Who waits hears where; who moves up hears that; and it is served in the end."""
    async with gateway({"default": {**SILENT, "heartbeat_s": 0.05}}, routes=ROUTES) as running:
        first = Tap(running.stub.StreamComplete(request("alone", announce_early=True), timeout=30))
        await first.next()
        await running.simulator.until(lambda stats: stats.in_flight == 1)
        second = Tap(running.stub.StreamComplete(request("alone", heartbeat=0.05), timeout=30))
        assert not (await second.next()).started.route.HasField("served_by")
        assert (await second.next()).heartbeat.queue_position == 1
        third = Tap(running.stub.StreamComplete(request("alone", heartbeat=0.05), timeout=30))
        assert (await third.next()).HasField("started")
        beats = [(await third.next()).heartbeat for _ in range(3)]
        assert [beat.queue_position for beat in beats] == [2, 2, 2]
        waited = [beat.waited.ToTimedelta().total_seconds() for beat in beats]
        assert waited[0] >= 0.05
        assert all(later - earlier >= 0.049 for earlier, later in pairwise(waited))
        running.simulator.configure({})
        second.cancel()
        moved = (await third.next()).heartbeat
        while moved.queue_position == 2:
            moved = (await third.next()).heartbeat
        assert moved.queue_position == 1
        first.cancel()
        rest = await read(third)
        assert rest.kinds()[-1] == "end"
        await settled(running)


async def test_heartbeats_come_while_the_upstream_is_silent(gateway: Gateways) -> None:
    """Before the first content and in a pause between content; `waited` counts from the last content."""
    paused = {**SILENT, "stall_s": 0.3}
    async with gateway({"default": paused}, routes=ROUTES) as running:
        reading = await stream(running, request(heartbeat=0.05))
        kinds = reading.kinds()
        assert kinds[:3] == ["started", "heartbeat", "heartbeat"]
        assert kinds.index("attempt_started") > kinds.index("heartbeat")
        assert not any(beat.HasField("queue_position") for beat in reading.all_of("heartbeat"))
        running.simulator.configure({"default": {"first_byte_s": 0.2, "stall_after_chunks": 2, "stall_s": 0.25}})
        reading = await stream(running, request(heartbeat=0.06))
        assert reading.error is None
        kinds = reading.kinds()
        at = kinds.index("deltas")
        assert "heartbeat" in kinds[:at]
        assert "heartbeat" in kinds[at:]
        later = [frame.heartbeat for frame in reading.frames[at:] if frame.HasField("heartbeat")]
        assert 0.06 <= later[0].waited.ToTimedelta().total_seconds() < 0.2
        assert reading.answer.text == "You said: How is the weather?"


async def test_no_heartbeat_comes_while_content_flows(gateway: Gateways) -> None:
    """Content is sign of life enough, however long it flows."""
    async with gateway({"default": {"chunks": 60, "chunk_gap_s": 0.02}}, routes=ROUTES) as running:
        reading = await stream(running, request(heartbeat=0.5))
        assert reading.answer.attempts[-1].total.ToTimedelta().total_seconds() > 0.5
        assert not reading.all_of("heartbeat")


async def test_intervals_that_are_too_short_are_raised_and_told(gateway: Gateways) -> None:
    """A heartbeat or usage frame every millisecond becomes one every 0.05 s, with a warning for each."""
    async with gateway({"default": {"first_byte_s": 0.3, "chunks": 10, "chunk_gap_s": 0.02}}, routes=ROUTES) as running:
        reading = await stream(running, request(heartbeat=0.001, usage_every=0.001))
        (started,) = reading.all_of("started")
        warned = {warning.code: warning.field for warning in started.warnings}
        assert warned == {"HEARTBEAT_RAISED": "routing.heartbeat", "USAGE_EVERY_RAISED": "routing.usage_every"}
        waited = [beat.waited.ToTimedelta().total_seconds() for beat in reading.all_of("heartbeat")]
        assert all(later - earlier >= 0.049 for earlier, later in pairwise(waited))
        assert len(waited) <= 0.3 / 0.05 + 5
        exact = await stream(running, request(heartbeat=0.05, usage_every=0.05))
        assert not exact.all_of("started")[0].warnings


# Usage.


async def test_usage_is_estimated_until_the_provider_has_counted(gateway: Gateways) -> None:
    """Every `usage_every` a frame says what came so far, by its bytes; the end has the provider's own figures."""
    async with gateway({"default": {"chunks": 40, "chunk_gap_s": 0.01}}, routes=ROUTES) as running:
        reading = await stream(running, request(usage_every=0.05))
        assert len(reading.all_of("usage")) >= 2
        delivered = 0
        for frame in reading.frames:
            delivered += sum(len(item.text.encode()) for item in frame.deltas.items)
            if frame.HasField("usage"):
                assert frame.attempt == 1
                assert frame.usage.attempt == frame.usage.total
                assert frame.usage.attempt.source == Usage.SOURCE_ESTIMATED
                assert frame.usage.attempt.output_tokens == -(-delivered // 4)
        assert reading.answer.usage is not None
        assert reading.answer.usage.source == Usage.SOURCE_PROVIDER
        assert reading.answer.usage.output_tokens == 40
        assert not (await stream(running, request())).all_of("usage")


async def test_the_total_counts_broken_attempts_too(gateway: Gateways) -> None:
    """What a broken attempt delivered is in the total, by estimate, where its provider never counted it."""
    broken = {"chunks": 40, "cut_after_chunks": 20}
    scenario = {"default": {"chunks": 40, "chunk_gap_s": 0.01}, "models": {"primary": broken}}
    async with gateway(scenario, routes=ROUTES) as running:
        reading = await stream(running, request(usage_every=0.05, on_break=ON_BREAK_RESTART))
        (failed,) = reading.all_of("attempt_failed")
        after = [frame.usage for frame in reading.frames if frame.HasField("usage") and frame.attempt == 2]
        assert after
        for usage in after:
            spent = -(-failed.bytes_emitted // 4)
            assert usage.total.output_tokens == usage.attempt.output_tokens + spent > usage.attempt.output_tokens


# Timers.


def circuit_of(running: Gateway, provider: str = "one", model: str = "primary") -> CircuitState:
    return running.live.snapshots.current.providers[provider].circuits[model].state


async def test_a_shorter_first_token_moves_on_and_moves_no_circuit(gateway: Gateways) -> None:
    """The request's own timer is its caller's doing, however often it runs out; the provider's own counts."""
    slow = {"models": {"primary": {**SILENT, "heartbeat_s": 0.01}}}
    async with gateway(slow, routes=ROUTES) as running:
        reading = await stream(running, request(max_first_token=0.3))
        assert reading.error is None
        assert reading.attempts() == [("FIRST", "FIRST_TOKEN_TIMEOUT"), ("FAILOVER", "")]
        assert 0.3 <= reading.answer.attempts[0].total.ToTimedelta().total_seconds() < 3
        for _ in range(10):
            # So short that no upstream can keep it.
            reading = await stream(running, request(max_first_token=0.000_1))
            assert reading.status == ("UNAVAILABLE", "UPSTREAM_EXHAUSTED")
            assert {told for _, told in reading.attempts()} == {"FIRST_TOKEN_TIMEOUT"}
        for provider, model in (("one", "primary"), ("two", "fallback")):
            assert circuit_of(running, provider, model) is CircuitState.CLOSED
            assert " 0 charged" in repr(running.live.snapshots.current.providers[provider].budget)
    impatient = ROUTES.replace("first_token_s: 20", "first_token_s: 0.05")
    async with gateway(slow, routes=impatient) as running:
        for _ in range(5):
            assert (await stream(running, request())).error is None
        assert circuit_of(running) is CircuitState.OPEN


async def test_a_shorter_token_gap_breaks_the_stream_and_moves_no_circuit(gateway: Gateways) -> None:
    """Content, then silence longer than the request bears: STALLED, told as a break; nothing shared is counted."""
    async with gateway({"default": {"stall_after_chunks": 2}}, routes=ROUTES.replace("0.4", "20")) as running:
        for limit_s in (0.1, *[0.01] * 7):
            reading = await stream(running, request(max_token_gap=limit_s, on_break=ON_BREAK_FAIL))
            assert reading.status == ("ABORTED", "STREAM_BROKEN")
            assert reading.attempts() == [("FIRST", "STALLED")]
            assert reading.answer.text == "You said: "
            assert reading.answer.breaks[0].failed.next == AttemptFailed.NEXT_GIVING_UP
        assert circuit_of(running) is CircuitState.CLOSED


@pytest.mark.parametrize(("chunks", "told"), [(0, "FIRST_TOKEN_TIMEOUT"), (2, "STALLED")])
async def test_a_provider_s_comments_are_no_progress(gateway: Gateways, chunks: int, told: str) -> None:
    """A stream of comments alone runs into the timer that silence runs into."""
    silent = {"stall_after_chunks": chunks, "heartbeat_s": 0.01}
    routes = ROUTES.replace("first_token_s: 20", "first_token_s: 0.3")
    async with gateway({"models": {"primary": silent}}, routes=routes) as running:
        reading = await stream(running, request(on_break=ON_BREAK_RESTART))
        assert reading.error is None
        assert reading.attempts()[0] == ("FIRST", told)
        assert len(reading.attempts()) == 2
        assert reading.answer.text == "You said: How is the weather?"


LARGE = {"chunk_text": "0123456789abcdef" * 1024, "chunks": 800}
"""12.8 MB: more than what lies between the upstream and a reader that does not read."""


async def test_timers_pause_while_the_reader_is_slow(gateway: Gateways) -> None:
    """A pause of the reader beyond `stall_s` is no stall: the upstream is not read meanwhile, nor blamed."""
    async with gateway({"default": LARGE}, routes=ROUTES) as running, narrow_channel(running.address) as stub:
        call = Tap(stub.StreamComplete(request(), timeout=60))
        await call.first("deltas")
        await asyncio.sleep(1.2)  # the pause itself, three times what counts as a stall
        (record,) = running.simulator.stats.last_requests
        assert record.ended is None
        assert record.chunks_sent < LARGE["chunks"]  # type: ignore[operator]  # a dict of both
        frames = (await read(call)).frames
        check_books(frames, 0)
        assert frames[-1].end.content_bytes == 16384 * 800
        assert not frames[-1].end.attempts[0].HasField("error")
        await settled(running)


async def test_a_break_after_a_long_pause_of_the_reader_is_told_and_not_counted(gateway: Gateways) -> None:
    """What held up our read longer than `stall_s` may have broken the stream: the circuit does not move."""
    routes = ROUTES.replace("keys: [{{id: a,", "circuit: {{failures_in_row: 1}}\n    keys: [{{id: a,", 1)
    large = {"default": {**LARGE, "cut_after_chunks": 799}}
    async with gateway(large, routes=routes) as running, narrow_channel(running.address) as stub:
        call = Tap(stub.StreamComplete(request("alone"), timeout=60))
        await call.first("deltas")
        await asyncio.sleep(1.0)  # the pause itself
        reading = await read(call)
        assert reading.status == ("ABORTED", "STREAM_BROKEN")
        assert reading.attempts() == [("FIRST", "TRUNCATED")]
        await settled(running)
        assert circuit_of(running) is CircuitState.CLOSED
        assert (await stream(running, request("alone"))).attempts() == [("FIRST", "TRUNCATED")]
        assert circuit_of(running) is CircuitState.OPEN
