"""Calls all the way: from a generated stub through the gateway to the simulator and back."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import google_crc32c
import grpc
import pytest

from trunkline import failure_of
from trunkline.v1 import (
    FAILURE_CLASS_KEY_REJECTED,
    FAILURE_CLASS_RATE_LIMITED,
    FAILURE_CLASS_SERVER_ERROR,
    FAILURE_CLASS_STALLED,
    FAILURE_CLASS_TRUNCATED,
    FINISH_REASON_BROKEN,
    FINISH_REASON_LENGTH,
    FINISH_REASON_STOP,
    AttemptFailed,
    AttemptSummary,
    End,
    ListModelsRequest,
    RoutingOptions,
    Sampling,
)

if TYPE_CHECKING:
    from tests.e2e.conftest import Gateways


def ask(text: str = "hi", model: str = "default", **fields: Any) -> Any:
    from trunkline.v1 import ROLE_USER, CompleteRequest, Message, Part

    return CompleteRequest(model=model, messages=[Message(role=ROLE_USER, parts=[Part(text=text)])], **fields)


def pushback_ms(error: grpc.aio.AioRpcError) -> str:
    return next(str(value) for key, value in error.trailing_metadata() if key == "grpc-retry-pushback-ms")


async def test_a_call_by_alias(gateway: Gateways) -> None:
    """The answer comes with its text, finish reason, usage and route."""
    async with gateway() as running:
        response = await running.stub.Complete(ask("hello"))
        assert response.message.parts[0].text == "You said: hello"
        assert response.finish_reason == FINISH_REASON_STOP
        assert response.usage.output_tokens > 0
        assert response.route.alias == "default"
        assert response.route.route_version == 7
        assert (response.route.served_by.provider, response.route.served_by.model) == ("one", "primary")
        assert [attempt.why for attempt in response.attempts] == [AttemptSummary.WHY_FIRST]
        await running.quiet()


async def test_a_stream_can_be_verified_by_its_reader(gateway: Gateways) -> None:
    """Frames count from 1 without gaps, offsets follow the bytes, and the end's checksum is that of the content."""
    async with gateway({"default": {"chunks": 30, "chunk_text": "wörld "}}) as running:
        frames, error = await running.frames(ask())
        assert error is None
        assert [frame.seq for frame in frames] == list(range(1, len(frames) + 1))
        assert [frame.WhichOneof("frame") for frame in frames[:2]] == ["started", "attempt_started"]
        content = b""
        for frame in frames:
            for item in frame.deltas.items:
                assert item.offset == len(content)
                content += item.text.encode()
        end = frames[-1].end
        assert end.outcome == End.OUTCOME_COMPLETE
        assert content == "wörld ".encode() * 30
        assert end.content_bytes == len(content)
        assert end.content_crc32c == google_crc32c.value(content)
        await running.quiet()


async def test_a_rate_limited_key_is_walked_past_and_left_alone_while_it_cools(gateway: Gateways) -> None:
    """A 429 on one key is served by the other, and for Retry-After nobody asks the first one again."""
    async with gateway({"keys": {"sk-a": {"status": 429, "retry_after_s": 60}}}) as running:
        whys = []
        for _ in range(6):
            response = await running.stub.Complete(ask())
            assert response.route.served_by.key_id == "b"
            whys.append([attempt.why for attempt in response.attempts])
        walked = [AttemptSummary.WHY_FIRST, AttemptSummary.WHY_KEY_WALK]
        assert whys.count(walked) == 1
        assert running.simulator.stats.by_key["sk-a"] == 1
        await running.quiet()


async def test_an_outage_is_served_by_the_next_target(gateway: Gateways) -> None:
    """A 500 of the primary costs one attempt and the fallback answers; the response tells both."""
    async with gateway({"models": {"primary": {"status": 500}}}) as running:
        response = await running.stub.Complete(ask())
        assert response.route.served_by.model == "fallback"
        first, second = response.attempts
        assert first.error.failure_class == FAILURE_CLASS_SERVER_ERROR
        assert second.why == AttemptSummary.WHY_FAILOVER
        frames, error = await running.frames(ask())
        assert error is None
        assert frames[0].started.route.served_by.model == "fallback"
        assert frames[1].attempt == 2


@pytest.mark.parametrize(
    ("fault", "failure_class"),
    [
        ({"cut_after_chunks": 3}, FAILURE_CLASS_TRUNCATED),
        ({"reset_after_chunks": 3}, FAILURE_CLASS_TRUNCATED),
        ({"cut_after_chunks": 1, "same_segment": True}, FAILURE_CLASS_TRUNCATED),
        ({"no_finish_reason": True, "no_done": True}, FAILURE_CLASS_TRUNCATED),
        ({"error_after_chunks": 2, "error": "server_error"}, FAILURE_CLASS_SERVER_ERROR),
        ({"error_after_chunks": 1, "error": "server_error", "same_segment": True}, FAILURE_CLASS_SERVER_ERROR),
    ],
)
async def test_a_broken_stream_tells_what_it_delivered(
    gateway: Gateways, fault: dict[str, Any], failure_class: int
) -> None:
    """After the first content: the partial-stream error frame, end{FAILED}, ABORTED, and they agree with each other."""
    async with gateway({"default": {"chunks": 8, "chunk_text": "word "}, "models": {"primary": fault}}) as running:
        frames, error = await running.frames(ask())
        assert error is not None
        assert error.code() is grpc.StatusCode.ABORTED
        failure = failure_of(error)
        assert failure.reason == "STREAM_BROKEN"
        broken, end = frames[-2].attempt_failed, frames[-1].end
        delivered = sum(len(item.text) for frame in frames for item in frame.deltas.items)
        assert delivered > 0
        assert broken.error.failure_class == failure_class
        assert broken.bytes_emitted == delivered == end.content_bytes
        assert broken.next == AttemptFailed.NEXT_GIVING_UP
        assert (end.outcome, end.finish_reason) == (End.OUTCOME_FAILED, FINISH_REASON_BROKEN)
        assert end.error.code == grpc.StatusCode.ABORTED.value[0]
        assert pushback_ms(error) == "-1"
        await running.quiet()


@pytest.mark.parametrize(
    "fault",
    [
        {"status": 503},
        {"reset_after_chunks": 0},
        {"cut_after_chunks": 0},
        {"error_after_chunks": 0, "error": "server_error"},
        {"malformed_after_chunks": 0},
        {"empty": "choices"},
    ],
)
async def test_a_failure_before_the_first_content_is_invisible(gateway: Gateways, fault: dict[str, Any]) -> None:
    """Whatever goes wrong before the commit point, the caller sees one clean stream of the fallback."""
    async with gateway({"models": {"primary": fault}}) as running:
        frames, error = await running.frames(ask())
        assert error is None
        kinds = [frame.WhichOneof("frame") for frame in frames]
        assert kinds[0] == "started"
        assert "attempt_failed" not in kinds
        assert frames[-1].end.route.served_by.model == "fallback"
        assert frames[-1].end.attempts[0].HasField("error")
        await running.quiet()


SHORT_TIMERS = """
version: 1
providers:
  one:
    protocol: openai
    base_url: {base}
    keys: [{{id: a, secret: env:ONE_A_API_KEY}}]
    timeouts: {{first_token_s: 0.15, stall_s: 0.15, response_s: 0.15}}
aliases:
  default: {{tiers: [[{{target: one/primary}}], [{{target: one/fallback}}]]}}
"""


async def test_the_timers_of_a_silent_provider(gateway: Gateways) -> None:
    """Silence before the first content moves the call on; silence after it breaks the stream as STALLED."""
    scenario = {"default": {"chunks": 5, "chunk_text": "w "}, "models": {"primary": {"stall_after_chunks": 0}}}
    async with gateway(scenario, routes=SHORT_TIMERS) as running:
        assert (await running.stub.Complete(ask())).route.served_by.model == "fallback"
        frames, error = await running.frames(ask())
        assert error is None
        assert frames[-1].end.route.served_by.model == "fallback"
        running.simulator.configure({"models": {"primary": {"stall_after_chunks": 2, "heartbeat_s": 0.02}}})
        frames, error = await running.frames(ask("one two three four"))
        assert error is not None
        assert frames[-2].attempt_failed.error.failure_class == FAILURE_CLASS_STALLED
        await running.quiet()


async def test_a_deadline_is_told_before_it_strikes(gateway: Gateways) -> None:
    """The caller gets DEADLINE_EXCEEDED with our details, not grpc's bare status, within its own deadline."""
    async with gateway({"default": {"first_byte_s": 5}}) as running:
        started = time.monotonic()
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await running.stub.Complete(ask(), timeout=0.4)
        assert time.monotonic() - started < 0.4 * 5
        assert raised.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert failure_of(raised.value).reason == "DEADLINE"
        running.simulator.configure({"default": {"chunks": 50, "chunk_gap_s": 0.02, "chunk_text": "w "}})
        frames, error = await running.frames(ask(), timeout=0.4)
        assert error is not None
        assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert frames[-1].end.outcome == End.OUTCOME_FAILED
        assert frames[-2].HasField("attempt_failed")
        await running.quiet()


async def test_a_caller_that_leaves_closes_its_upstream_connection(gateway: Gateways) -> None:
    """Within 100 ms of a cancel (asserted at five times that) the simulator sees its client gone."""
    async with gateway({"default": {"chunks": 1000, "chunk_gap_s": 0.01, "chunk_text": "w "}}) as running:
        call = running.stub.StreamComplete(ask())
        await call.read()
        await call.read()
        call.cancel()
        cancelled_at = time.monotonic()
        await running.simulator.until(lambda stats: stats.cancelled == 1)
        assert time.monotonic() - cancelled_at < 0.5
        await running.quiet()


ONE_SLOT = """
version: 1
providers:
  one:
    protocol: openai
    base_url: {base}
    keys: [{{id: a, secret: env:ONE_A_API_KEY}}]
    gate: {{max_in_flight: 1, queue: 1, max_wait_s: 0.2}}
aliases:
  default: {{tiers: [[{{target: one/primary}}]]}}
"""


async def test_a_full_queue_refuses_at_once_and_says_for_how_long(gateway: Gateways) -> None:
    """One runs, one waits, the third is refused with QUEUE_FULL, RetryInfo and pushback; the waiter times out."""
    async with gateway({"default": {"chunks": 1000, "chunk_gap_s": 0.01}}, routes=ONE_SLOT) as running:
        running_call = running.stub.StreamComplete(ask())
        await running_call.read()
        waiting = asyncio.ensure_future(running.stub.Complete(ask()))
        gate = running.live.snapshots.current.providers["one"].desk.gate
        async with asyncio.timeout(5):
            while not gate.waiting:  # noqa: ASYNC110  the gate has no event for tests, and the wait is bounded
                await asyncio.sleep(0.001)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await running.stub.Complete(ask())
        failure = failure_of(refused.value)
        assert (refused.value.code(), failure.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "QUEUE_FULL")
        assert failure.retry_after_s is not None
        pushback = pushback_ms(refused.value)
        assert int(pushback) == pytest.approx(failure.retry_after_s * 1000, abs=1)
        with pytest.raises(grpc.aio.AioRpcError) as timed_out:
            await waiting
        assert failure_of(timed_out.value).reason == "QUEUE_TIMEOUT"
        running_call.cancel()
        await running.quiet()


async def test_rejected_credentials_fail_fast_each_time_alike(gateway: Gateways) -> None:
    """An upstream 401 is UNAVAILABLE, never UNAUTHENTICATED; once all keys stand rejected nothing is asked any more."""
    scenario = {"keys": {"sk-a": {"status": 401}, "sk-b": {"status": 401}}}
    async with gateway(scenario) as running:
        for attempts in (2, 0, 0):
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await running.stub.Complete(ask())
            failure = failure_of(raised.value)
            assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
            assert failure.reason == "UPSTREAM_CREDENTIALS"
            assert failure.route_failure is not None
            assert failure.route_failure.failure_class == FAILURE_CLASS_KEY_REJECTED
            assert len(failure.route_failure.attempts) == attempts
        assert running.simulator.stats.by_key["sk-a"] == 1


async def test_every_key_limited_ends_with_the_time_to_stay_away(gateway: Gateways) -> None:
    """When all keys of all targets cool beyond any wait: RATE_LIMITED with RetryInfo, and no retry by the library."""
    async with gateway({"default": {"status": 429, "retry_after_s": 30}}) as running:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await running.stub.Complete(ask())
        failure = failure_of(raised.value)
        assert failure.reason == "RATE_LIMITED"
        assert failure.retry_after_s is not None
        assert 25 < failure.retry_after_s <= 30
        assert failure.route_failure is not None
        assert failure.route_failure.failure_class == FAILURE_CLASS_RATE_LIMITED
        assert pushback_ms(raised.value) == "-1"


async def test_the_request_can_only_tighten(gateway: Gateways) -> None:
    """max_attempts, allow_fallback and exclude_targets narrow what the alias allows."""
    async with gateway({"models": {"primary": {"status": 500}}}) as running:
        for routing in (RoutingOptions(max_attempts=1), RoutingOptions(allow_fallback=False, max_attempts=2)):
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await running.stub.Complete(ask(routing=routing))
            assert failure_of(raised.value).reason == "UPSTREAM_EXHAUSTED"
        response = await running.stub.Complete(ask(routing=RoutingOptions(exclude_targets=["one"])))
        assert len(response.attempts) == 1
        with pytest.raises(grpc.aio.AioRpcError) as nobody:
            await running.stub.Complete(ask(routing=RoutingOptions(exclude_targets=["one", "two/fallback"])))
        assert nobody.value.code() is grpc.StatusCode.FAILED_PRECONDITION
        assert failure_of(nobody.value).metadata["exclude_targets"] == "one/primary, two/fallback"


async def test_a_length_stop_is_an_answer(gateway: Gateways) -> None:
    """An answer cut by the caller's own limit ends INCOMPLETE with status OK."""
    async with gateway() as running:
        limited = ask("one two three four five six", sampling=Sampling(max_output_tokens=2))
        assert (await running.stub.Complete(limited)).finish_reason == FINISH_REASON_LENGTH
        frames, error = await running.frames(limited)
        assert error is None
        assert frames[-1].end.outcome == End.OUTCOME_INCOMPLETE


CALLERS = (
    ONE_SLOT
    + """
callers:
  - {{id: checkout, token_sha256: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08, aliases: [default]}}
"""
)


async def test_callers_see_and_use_what_is_theirs(gateway: Gateways) -> None:
    """Without a token UNAUTHENTICATED; with it the caller's alias works and everything else is as if not there."""
    token = (("authorization", "Bearer test"),)
    async with gateway(routes=CALLERS) as running:
        with pytest.raises(grpc.aio.AioRpcError) as stranger:
            await running.stub.Complete(ask())
        assert stranger.value.code() is grpc.StatusCode.UNAUTHENTICATED
        assert (await running.stub.Complete(ask(), metadata=token)).finish_reason == FINISH_REASON_STOP
        listed = await running.stub.ListModels(ListModelsRequest(), metadata=token)
        assert [model.name for model in listed.models] == ["default"]
        with pytest.raises(grpc.aio.AioRpcError) as direct:
            await running.stub.Complete(ask(model="one/primary"), metadata=token)
        assert failure_of(direct.value).reason == "UNKNOWN_MODEL"


async def test_explain_decides_without_asking_anybody(gateway: Gateways) -> None:
    """Explain shows order and removals by the code that routes, sends nothing and takes no turn."""
    async with gateway() as running:
        explained = await running.stub.Explain(ask(routing=RoutingOptions(exclude_targets=["two"])))
        first, second = explained.candidates
        assert (first.target.model, first.order, first.eligible) == ("primary", 1, True)
        assert (second.target.model, second.order, second.eligible) == ("fallback", 0, False)
        assert "exclude_targets" in second.removed_because[0]
        assert running.simulator.stats.requests == 0
