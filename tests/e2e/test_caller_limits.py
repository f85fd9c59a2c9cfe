"""Callers' limits over the wire: each refusal with its details, and what gets through under load."""

from __future__ import annotations

import asyncio
import hashlib
import math
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from tests.e2e.conftest import ask

from trunkline import failure_of
from trunkline.v1 import ON_BREAK_RESTART, RoutingOptions, Sampling
from trunkline_server.routing.caller_limits import CallerLimits
from trunkline_server.routing.types import Caller

if TYPE_CHECKING:
    from tests.e2e.conftest import Gateway, Gateways

    from trunkline.v1 import CompleteRequest

pytestmark = pytest.mark.alone  # it measures times


def sha256(token: str) -> str:
    """Return what the routes file has of a token."""
    return hashlib.sha256(token.encode()).hexdigest()


CALLERS = (
    ("paced", "requests_per_minute: 60"),
    ("thrifty", "tokens_per_minute: 2000"),
    ("narrow", "max_in_flight: 1"),
    ("poor", "budget_usd_per_day: 0.1"),
    ("broke", "budget_usd_per_day: 0.000001"),
    ("busy", "requests_per_minute: 1200"),
    ("free", "criticality: CRITICAL"),
)
ROUTES = """
version: 1
providers:
  one: {{protocol: openai, base_url: {base}, keys: [{{id: a, secret: env:ONE_A_API_KEY}}]}}
  two: {{protocol: openai, base_url: {base}, keys: [{{id: c, secret: env:TWO_C_API_KEY}}]}}
models:
  one/primary: {{input_usd_per_million: 1000, output_usd_per_million: 1000}}
  two/fallback: {{input_usd_per_million: 1000, output_usd_per_million: 1000}}
aliases:
  default: {{tiers: [[one/primary], [two/fallback]]}}
callers:
""" + "".join(
    f'  - {{{{id: {name}, token_sha256: "{sha256(name)}", aliases: [default], {limits}}}}}\n'
    for name, limits in CALLERS
)
"""Each caller's token is its own name."""


def as_caller(name: str) -> dict[str, Any]:
    """Return the metadata of a call of this caller."""
    return {"metadata": (("authorization", f"Bearer {name}"),)}


def short(**fields: Any) -> CompleteRequest:
    """Return a request of few tokens, and a known number at most."""
    return ask(sampling=Sampling(max_output_tokens=10), **fields)


async def refused(gateway: Gateway, name: str, request: CompleteRequest) -> grpc.aio.AioRpcError:
    """Return the error of a unary call that has to fail."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await gateway.stub.Complete(request, **as_caller(name))
    return caught.value


async def refused_stream(gateway: Gateway, name: str, request: CompleteRequest) -> grpc.aio.AioRpcError:
    """Return the error of a stream that has to fail before its first frame."""
    frames, error = await gateway.frames(request, **as_caller(name))
    assert error is not None
    assert frames == []
    return error


def quota_of(error: grpc.aio.AioRpcError) -> tuple[str, str]:
    """Return the one violated quota: whose it is, and which."""
    raw = next(value for key, value in error.trailing_metadata() or () if key == "grpc-status-details-bin")
    assert isinstance(raw, bytes)
    for detail in status_pb2.Status.FromString(raw).details:
        quota = error_details_pb2.QuotaFailure()
        if detail.Unpack(quota):
            (violation,) = quota.violations
            return violation.subject, violation.description
    raise AssertionError("no QuotaFailure")


def check(error: grpc.aio.AioRpcError, reason: str, name: str, limit: str, *, never: bool = False) -> float:
    """Check all that a refusal carries; return the time to stay away, in seconds."""
    failure = failure_of(error)
    assert (error.code(), failure.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, reason)
    assert failure.metadata["limit"] == limit
    assert failure.metadata.get("never") == ("true" if never else None)
    subject, description = quota_of(error)
    assert subject == f"caller:{name}"
    assert limit in description
    assert failure.retry_after_s is not None
    assert failure.retry_after_s > 0
    if reason == "CALLER_QUOTA" and not never:
        assert failure.pushback_ms == math.ceil(failure.retry_after_s * 1000)
    else:
        assert failure.pushback_ms == -1
    return failure.retry_after_s


async def test_calls_above_the_limit_a_minute_are_told_when_to_come(gateway: Gateways) -> None:
    """CALLER_QUOTA with the moment at which the next one fits, for unary calls and streams; nothing goes upstream."""
    async with gateway(routes=ROUTES) as house:
        for _ in range(2):
            await house.stub.Complete(short(), **as_caller("paced"))
        for refuse in (refused, refused_stream):
            error = await refuse(house, "paced", short())
            assert check(error, "CALLER_QUOTA", "paced", "requests_per_minute") <= 1.01
        await house.quiet()
        assert house.simulator.stats.requests == 2


async def test_tokens_above_the_limit_a_minute_are_told(gateway: Gateways) -> None:
    """CALLER_QUOTA names the tokens; a request above the whole minute is told that it never fits."""
    async with gateway(routes=ROUTES) as house:
        error = await refused(house, "thrifty", ask("word " * 2500))
        check(error, "CALLER_QUOTA", "thrifty", "tokens_per_minute", never=True)
        large = ask("word " * 900, sampling=Sampling(max_output_tokens=500))
        await house.stub.Complete(large, **as_caller("thrifty"))
        error = await refused(house, "thrifty", large)
        assert 5 < check(error, "CALLER_QUOTA", "thrifty", "tokens_per_minute") < 60


async def test_calls_above_the_cap_in_flight_are_told(gateway: Gateways) -> None:
    """A stream holds its place until its end, and then the next one gets in."""
    async with gateway({"default": {"chunks": 3, "stall_after_chunks": 1}}, routes=ROUTES) as house:
        stream = house.stub.StreamComplete(short(), **as_caller("narrow"))
        await stream.read()
        error = await refused(house, "narrow", short())
        check(error, "CALLER_QUOTA", "narrow", "max_in_flight")
        stream.cancel()
        account = house.engine.callers.account("narrow")
        assert account is not None
        for _ in range(1000):
            if account.in_flight == 0:
                break
            await asyncio.sleep(0.005)
        again = house.stub.StreamComplete(short(), **as_caller("narrow"))
        await again.read()
        again.cancel()


async def test_a_spent_budget_is_told_with_the_next_midnight(gateway: Gateways) -> None:
    """CALLER_BUDGET: no library is asked to come again today; one that never fits is told so."""
    async with gateway({"default": {"content": "x" * 400}}, routes=ROUTES) as house:
        error = await refused(house, "broke", short())
        check(error, "CALLER_BUDGET", "broke", "budget_usd_per_day", never=True)
        account = None
        for _ in range(50):
            try:
                await house.stub.Complete(short(), **as_caller("poor"))
            except grpc.aio.AioRpcError as refusal:
                check(refusal, "CALLER_BUDGET", "poor", "budget_usd_per_day")
                account = house.engine.callers.account("poor")
                break
        assert account is not None, "50 calls were not enough to spend it"
        assert account.spent_nanousd > 0
        assert (account.in_flight, account.held_nanousd) == (0, 0)


async def test_a_failover_is_one_call_and_all_of_its_cost(gateway: Gateways) -> None:
    """Two attempts are one of the calls a minute; the answer's cost is what was spent."""
    scenario = {"models": {"primary": {"status": 500}}}
    async with gateway(scenario, routes=ROUTES) as house:
        for _ in range(2):
            answer = await house.stub.Complete(short(), **as_caller("paced"))
            assert len(answer.attempts) > 1
        check(await refused(house, "paced", short()), "CALLER_QUOTA", "paced", "requests_per_minute")
        account = house.engine.callers.account("paced")
        assert account is not None
        assert account.spent_nanousd == 2 * answer.usage.cost_nanousd


async def test_one_callers_limits_are_nobody_elses(gateway: Gateways) -> None:
    """While one is refused others are served."""
    async with gateway(routes=ROUTES) as house:
        for _ in range(2):
            await house.stub.Complete(short(), **as_caller("paced"))
        await refused(house, "paced", short())
        for _ in range(20):
            await house.stub.Complete(short(), **as_caller("free"))


async def test_a_caller_removed_in_mid_stream_gets_no_second_attempt(gateway: Gateways) -> None:
    """Its stream breaks as it would, and nothing more is sent for it: PERMISSION_DENIED."""
    scenario = {"models": {"primary": {"chunks": 4, "chunk_gap_s": 0.2, "cut_after_chunks": 2}}}
    async with gateway(scenario, routes=ROUTES) as house:
        request = short(routing=RoutingOptions(on_break=ON_BREAK_RESTART))
        stream = house.stub.StreamComplete(request, **as_caller("free"))
        seen: list[Any] = [await stream.read() for _ in range(3)]
        house.engine.callers.retune([Caller("somebody")])
        error = await read_to_end(stream, seen)
        assert error.code() is grpc.StatusCode.PERMISSION_DENIED
        assert seen[-1].WhichOneof("frame") == "end"
        assert seen[-1].end.error.reason == "PERMISSION_DENIED"
        await house.quiet()
        assert house.simulator.stats.requests == 1


async def read_to_end(stream: Any, seen: list[Any]) -> grpc.aio.AioRpcError:
    """Read what is left of a stream that has to fail; return its error."""
    try:
        while (frame := await stream.read()) is not grpc.aio.EOF:
            seen.append(frame)
    except grpc.aio.AioRpcError as error:
        return error
    raise AssertionError("it ended well")


async def test_callers_of_new_routes_go_on_with_their_accounts(gateway: Gateways) -> None:
    """A reload that raises a limit lets in at once who had been refused, and what was used stays used."""
    async with gateway(routes=ROUTES) as house:
        for _ in range(2):
            await house.stub.Complete(short(), **as_caller("paced"))
        await refused(house, "paced", short())
        faster = Caller("paced", limits=CallerLimits(requests_per_minute=60_000, max_in_flight=1))
        house.engine.callers.retune([faster])
        await asyncio.sleep(0.01)
        await house.stub.Complete(short(), **as_caller("paced"))
        account = house.engine.callers.account("paced")
        assert account is not None
        assert (account.limits, account.in_flight) == (faster.limits, 0)


async def test_one_and_a_half_times_the_limit_gets_the_limit(gateway: Gateways) -> None:
    """Of calls that come evenly, half as many again as are allowed, those that are allowed get through."""
    limit_per_s, seconds = 20.0, 6.0
    async with gateway({"default": {"first_byte_s": 0.0}}, routes=ROUTES) as house:
        loop = asyncio.get_running_loop()
        began = loop.time()
        let_in_at: list[float] = []
        refusals: list[float] = []

        async def one() -> None:
            try:
                await house.stub.Complete(short(), **as_caller("busy"))
                let_in_at.append(loop.time() - began)
            except grpc.aio.AioRpcError as error:
                refusals.append(check(error, "CALLER_QUOTA", "busy", "requests_per_minute"))

        calls = []
        for index in range(int(1.5 * limit_per_s * seconds)):
            await asyncio.sleep(max(0.0, began + index / (1.5 * limit_per_s) - loop.time()))
            calls.append(asyncio.create_task(one()))
        took_s = loop.time() - began
        await asyncio.gather(*calls)
        burst = limit_per_s
        assert 0.99 * limit_per_s * took_s <= len(let_in_at) <= 0.995 * limit_per_s * (took_s + 0.5) + burst
        assert refusals
        await house.quiet()
