"""The table of failure classes over the wire, and what Explain and ListModels promise of it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from tests.e2e.conftest import ROUTES, ask

from trunkline import failure_of
from trunkline.v1 import AttemptSummary, End, FailureClass, ListModelsRequest, RoutingOptions
from trunkline_server.providers.openai import OpenAIAdapter, OpenAIStreamDecoder

if TYPE_CHECKING:
    from tests.e2e.conftest import Gateway, Gateways

FIRST, RETRY, KEY_WALK, FAILOVER = "FIRST", "RETRY", "KEY_WALK", "FAILOVER"
CODE = grpc.StatusCode


@dataclass(frozen=True)
class Row:
    """A class: how its attempts go with a healthy fallback, and how they end without one."""

    fault: dict[str, Any]
    failure_class: str
    with_fallback: tuple[str, ...]
    """Why each attempt was made; ends with FAILOVER where the fallback served."""
    alone: tuple[str, ...]
    """Likewise without a fallback; AGAIN stands for the same target, by whichever key."""
    ends_as: tuple[grpc.StatusCode, str]


AGAIN = "AGAIN"
EXHAUSTED = (CODE.UNAVAILABLE, "UPSTREAM_EXHAUSTED")
THRICE = (FIRST, AGAIN, AGAIN)
KEYS = (FIRST, KEY_WALK)
OVER = (FIRST, FAILOVER)
KEYS_OVER = (FIRST, KEY_WALK, FAILOVER)

TABLE = [
    Row({"error": "bad_request"}, "CALLER_INVALID", (FIRST,), (FIRST,), (CODE.INVALID_ARGUMENT, "BAD_REQUEST")),
    Row({"status": 422}, "CALLER_INVALID", (FIRST,), (FIRST,), (CODE.INVALID_ARGUMENT, "BAD_REQUEST")),
    Row(
        {"error": "context_length_exceeded"}, "CONTEXT_LENGTH", (FIRST,), (FIRST,),
        (CODE.INVALID_ARGUMENT, "CONTEXT_LENGTH"),
    ),
    Row(
        {"error": "content_filter"}, "CONTENT_FILTERED", (FIRST,), (FIRST,),
        (CODE.FAILED_PRECONDITION, "CONTENT_FILTERED"),
    ),
    Row({"status": 404}, "MODEL_UNAVAILABLE", KEYS_OVER, KEYS, (CODE.FAILED_PRECONDITION, "MODEL_UNAVAILABLE")),
    Row({"status": 401}, "KEY_REJECTED", KEYS, KEYS, (CODE.UNAVAILABLE, "UPSTREAM_CREDENTIALS")),
    Row({"status": 402}, "KEY_EXHAUSTED", KEYS_OVER, KEYS, (CODE.RESOURCE_EXHAUSTED, "UPSTREAM_QUOTA")),
    Row(
        {"error": "insufficient_quota"}, "KEY_EXHAUSTED", KEYS_OVER, KEYS, (CODE.RESOURCE_EXHAUSTED, "UPSTREAM_QUOTA")
    ),
    Row(
        {"status": 429, "retry_after_s": 30}, "RATE_LIMITED", KEYS_OVER, KEYS, (CODE.RESOURCE_EXHAUSTED, "RATE_LIMITED")
    ),
    Row({"status": 529}, "OVERLOADED", OVER, THRICE, EXHAUSTED),
    Row({"status": 500}, "SERVER_ERROR", OVER, THRICE, EXHAUSTED),
    Row({"status": 408}, "SERVER_ERROR", OVER, THRICE, EXHAUSTED),
    Row({"status": 425}, "SERVER_ERROR", OVER, THRICE, EXHAUSTED),
    Row({"reset_after_chunks": 0}, "CONNECT", OVER, THRICE, EXHAUSTED),
    Row({"cut_after_bytes": 10}, "TRUNCATED", OVER, THRICE, EXHAUSTED),
    Row({"status": 307, "headers": {"location": "http://127.0.0.1:9/"}, "body": ""}, "PROTOCOL", OVER, (FIRST,),
        EXHAUSTED),
    Row({"malformed_after_chunks": 0}, "PROTOCOL", OVER, (FIRST,), EXHAUSTED),
    Row({"empty": "choices"}, "PROTOCOL", OVER, (FIRST,), EXHAUSTED),
]  # fmt: skip


@dataclass
class Outcome:
    """What a caller saw, by either RPC."""

    attempts: list[AttemptSummary]
    served: str | None
    error: grpc.aio.AioRpcError | None


async def call(running: Gateway, *, stream: bool, **fields: Any) -> Outcome:
    """Make one call; check that a stream which failed before its first content sent no frame."""
    if stream:
        frames, error = await running.frames(ask(**fields))
        if error is None:
            end = frames[-1].end
            return Outcome(list(end.attempts), end.route.served_by.model, None)
        assert frames == []
    else:
        try:
            response = await running.stub.Complete(ask(**fields))
        except grpc.aio.AioRpcError as raised:
            error = raised
        else:
            return Outcome(list(response.attempts), response.route.served_by.model, None)
    told = failure_of(error).route_failure
    assert told is not None
    return Outcome(list(told.attempts), None, error)


def whys(outcome: Outcome) -> list[str]:
    return [AttemptSummary.Why.Name(attempt.why).removeprefix("WHY_") for attempt in outcome.attempts]


def classes(outcome: Outcome) -> list[str]:
    failed = [attempt for attempt in outcome.attempts if attempt.HasField("error")]
    return [FailureClass.Name(each.error.failure_class).removeprefix("FAILURE_CLASS_") for each in failed]


def check_end(outcome: Outcome, row: Row) -> None:
    """The status, its reason, its class, its times and its pushback are those of the row."""
    error = outcome.error
    assert error is not None
    code, reason = row.ends_as
    failure = failure_of(error)
    assert (error.code(), failure.reason) == (code, reason)
    assert failure.route_failure is not None
    assert FailureClass.Name(failure.route_failure.failure_class) == f"FAILURE_CLASS_{row.failure_class}"
    assert failure.route_failure.last_upstream_http_status == outcome.attempts[-1].error.upstream_http_status
    assert ("grpc-retry-pushback-ms", "-1") in tuple(error.trailing_metadata() or ())
    if code is CODE.RESOURCE_EXHAUSTED:
        assert failure.retry_after_s is not None


def label(row: Row) -> str:
    return ",".join(f"{name}={value}" for name, value in row.fault.items() if name != "headers")


@pytest.mark.parametrize("stream", [False, True], ids=["unary", "stream"])
@pytest.mark.parametrize("row", TABLE, ids=label)
async def test_each_class_with_a_healthy_fallback(gateway: Gateways, row: Row, *, stream: bool) -> None:
    """Which keys and targets are tried, why, and how it ends where the class forbids the next."""
    async with gateway({"models": {"primary": row.fault}}) as running:
        outcome = await call(running, stream=stream)
        assert whys(outcome) == list(row.with_fallback)
        assert set(classes(outcome)) == {row.failure_class}
        if row.with_fallback[-1] is FAILOVER:
            assert outcome.served == "fallback"
            assert len(classes(outcome)) == len(outcome.attempts) - 1
        else:
            check_end(outcome, row)
        await running.quiet()


@pytest.mark.parametrize("stream", [False, True], ids=["unary", "stream"])
@pytest.mark.parametrize("row", TABLE, ids=label)
async def test_each_class_without_a_fallback(gateway: Gateways, row: Row, *, stream: bool) -> None:
    """What is tried again, how often, and as what the call ends."""
    async with gateway({"models": {"primary": row.fault}}) as running:
        outcome = await call(running, stream=stream, routing=RoutingOptions(allow_fallback=False))
        seen = [AGAIN if expected is AGAIN and why in {RETRY, KEY_WALK} else why
                for why, expected in zip(whys(outcome), row.alone, strict=True)]  # fmt: skip
        assert seen == list(row.alone)
        assert set(classes(outcome)) == {row.failure_class}
        check_end(outcome, row)
        await running.quiet()


POLICIES = ROUTES + "    on_key_rejected: next_target\n    on_content_filtered: next_target\n"


@pytest.mark.parametrize("stream", [False, True], ids=["unary", "stream"])
@pytest.mark.parametrize(
    ("fault", "expected"), [({"status": 401}, KEYS_OVER), ({"error": "content_filter"}, OVER)], ids=str
)
async def test_an_alias_may_say_that_it_goes_on(
    gateway: Gateways, fault: dict[str, Any], expected: tuple[str, ...], *, stream: bool
) -> None:
    """on_key_rejected and on_content_filtered: next_target."""
    async with gateway({"models": {"primary": fault}}, routes=POLICIES) as running:
        outcome = await call(running, stream=stream)
        assert whys(outcome) == list(expected)
        assert outcome.served == "fallback"
        if expected is KEYS_OVER:
            # The keys stand rejected now: the target is out of the plan.
            assert whys(await call(running, stream=stream)) == [FIRST]


WINDOWS = """
version: 1
providers:
  one: {{protocol: openai, base_url: {base}, keys: [{{id: a, secret: env:ONE_A_API_KEY}}]}}
models:
  one/small: {{context_tokens: 8000, input_usd_per_million: 0.15, output_usd_per_million: 0.6, capabilities: [tools]}}
  one/same: {{context_tokens: 8000}}
  one/large: {{context_tokens: 128000, max_output_tokens: 4096}}
aliases:
  default: {{tiers: [[one/small], [one/same], [one/large]]}}
  shared: {{tiers: [[{{target: one/small, weight: 3}}, {{target: one/large, weight: 1}}]]}}
"""


@pytest.mark.parametrize("stream", [False, True], ids=["unary", "stream"])
async def test_a_prompt_too_long_moves_to_a_larger_window(gateway: Gateways, *, stream: bool) -> None:
    """The target with the same window is left out; the larger one serves."""
    async with gateway({"models": {"small": {"error": "context_length_exceeded"}}}, routes=WINDOWS) as running:
        outcome = await call(running, stream=stream)
        assert (whys(outcome), outcome.served) == ([FIRST, FAILOVER], "large")
        assert "same" not in running.simulator.stats.by_model


async def test_explain_shows_the_order_that_is_then_taken(gateway: Gateways) -> None:
    """For every turn of a weighted tier: what Explain puts first serves next, and asking takes no turn."""
    async with gateway(routes=WINDOWS) as running:
        served = []
        for _ in range(8):
            explained = [await running.stub.Explain(ask(model="shared")) for _ in range(3)]
            firsts = {one.candidates[0].target.model for one in explained}
            assert [candidate.order for candidate in explained[0].candidates] == [1, 2]
            scores = [candidate.score for candidate in explained[0].candidates]
            assert scores == sorted(scores, reverse=True)
            assert {candidate.ordered_by for candidate in explained[0].candidates} == {"weighted"}
            assert {one.target.model: one.weight for one in explained[0].candidates} == {"small": 3, "large": 1}
            response = await running.stub.Complete(ask(model="shared"))
            assert firsts == {response.route.served_by.model}
            served.append(response.route.served_by.model)
        assert served.count("small") == 6
        assert explained[0].route.alias == "shared"


async def test_models_are_listed_with_what_is_known_of_them(gateway: Gateways) -> None:
    """Prices in nano-USD a million, windows, capabilities; what is unknown is unset; an alias promises the least."""
    async with gateway(routes=WINDOWS) as running:
        listed = {model.name: model for model in (await running.stub.ListModels(ListModelsRequest())).models}
        assert list(listed) == ["default", "shared", "one/large", "one/same", "one/small"]
        small = listed["one/small"]
        assert (small.input_nanousd_per_million, small.output_nanousd_per_million) == (150_000_000, 600_000_000)
        assert list(small.capabilities) == ["tools"]
        assert not small.HasField("max_output_tokens")
        assert listed["shared"].context_tokens == 8000
        assert not listed["shared"].HasField("max_output_tokens")
        assert listed["shared"].is_alias
        assert [target.model for target in listed["default"].targets] == ["small", "same", "large"]


async def test_near_names_help(gateway: Gateways) -> None:
    """NOT_FOUND says what was asked for and what is near."""
    async with gateway(routes=WINDOWS) as running:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await running.stub.Complete(ask(model="defaut"))
        failure = failure_of(raised.value)
        assert (raised.value.code(), failure.reason) == (CODE.NOT_FOUND, "UNKNOWN_MODEL")
        assert failure.metadata["near"] == "default"


QUEUE = """
version: 1
providers:
  one:
    protocol: openai
    base_url: {base}
    keys: [{{id: a, secret: env:ONE_A_API_KEY}}]
    gate: {{max_in_flight: 1, queue: 5, max_wait_s: 30}}
aliases:
  default: {{tiers: [[one/primary]]}}
"""


async def test_a_deadline_that_ends_in_the_queue_is_a_deadline(gateway: Gateways) -> None:
    """DEADLINE_EXCEEDED with details, not a refusal of the queue, and the place is given up."""
    async with gateway({"default": {"chunks": 1000, "chunk_gap_s": 0.01}}, routes=QUEUE) as running:
        first = running.stub.StreamComplete(ask())
        await first.read()
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await running.stub.Complete(ask(), timeout=0.3)
        failure = failure_of(raised.value)
        assert (raised.value.code(), failure.reason) == (CODE.DEADLINE_EXCEEDED, "DEADLINE")
        assert failure.route_failure is not None
        assert list(failure.route_failure.attempts) == []
        first.cancel()
        await running.quiet()


async def test_waiting_shows_in_the_figures(gateway: Gateways) -> None:
    """`queued` is what was waited for slot and key: in started, attempt_started and the summary alike."""
    async with gateway({"default": {"chunks": 10, "chunk_gap_s": 0.03}}, routes=QUEUE) as running:
        first = asyncio.ensure_future(running.frames(ask()))
        await running.simulator.until(lambda stats: stats.in_flight == 1)
        frames, error = await running.frames(ask())
        assert error is None
        queued = [
            frames[0].started.queued,
            frames[1].attempt_started.queued,
            frames[-1].end.attempts[0].queued,
        ]
        assert all(each.ToMilliseconds() > 100 for each in queued)
        summary = frames[-1].end.attempts[0]
        assert 0 < summary.first_token.ToNanoseconds() <= summary.total.ToNanoseconds()
        await first
        await running.quiet()


class DefectError(RuntimeError):
    """Nothing that anybody should read."""


class FaultyDecoder(OpenAIStreamDecoder):
    """Breaks at the third piece that it is fed."""

    def __init__(self) -> None:
        super().__init__()
        self.left = 3

    def feed(self, chunk: bytes) -> Any:
        self.left -= 1
        if not self.left:
            raise DefectError("the secret of the house")
        return super().feed(chunk)


class FaultyAdapter(OpenAIAdapter):
    """An adapter with a defect in each direction."""

    def stream_decoder(self, request: object) -> OpenAIStreamDecoder:  # noqa: ARG002  the interface has it
        return FaultyDecoder()

    def decode_answer(self, status: int, headers: Any, body: bytes) -> Any:  # noqa: ARG002  likewise
        raise DefectError("the secret of the house")


async def test_a_defect_of_ours_is_internal_and_says_nothing(gateway: Gateways) -> None:
    """INTERNAL without a word of the exception, by either RPC; a stream ends in order; nothing is leaked."""
    async with gateway({"default": {"chunks": 50, "chunk_gap_s": 0.01}}) as running:
        provider = running.live.snapshots.current.providers["one"]
        provider.use(replace(provider.endpoint, adapter=FaultyAdapter()))
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await running.stub.Complete(ask())
        frames, error = await running.frames(ask())
        assert error is not None
        for each in (raised.value, error):
            assert each.code() is CODE.INTERNAL
            assert "house" not in f"{each!r}{each.trailing_metadata()}"
        assert frames[-2].HasField("attempt_failed")
        assert (frames[-1].end.outcome, frames[-1].end.error.code) == (End.OUTCOME_FAILED, CODE.INTERNAL.value[0])
        await running.quiet()
