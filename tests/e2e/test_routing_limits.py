"""What keys, accounts and gates refuse, over the wire: each with its reason, an honest time, and Explain's word."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from tests.e2e.conftest import ask
from tests.e2e.routed import explain, name_of, order_of, refused, until

from trunkline import failure_of
from trunkline.v1 import CRITICALITY_CRITICAL, CRITICALITY_SHEDDABLE, CompleteRequest, RoutingOptions, Sampling

if TYPE_CHECKING:
    from tests.e2e.conftest import Gateway, Gateways

    from trunkline import CallFailure

pytestmark = pytest.mark.alone  # it measures times

CODE = grpc.StatusCode

ROUTES = """
version: 1
providers:
  one:
    protocol: openai
    base_url: {base}
    keys: [KEYS]
    gate: {{GATE}}
aliases:
  default: {{tiers: [[one/primary]]}}
"""
KEY_A = "{{id: a, secret: env:ONE_A_API_KEY}}"


def routes(*, gate: str = "max_in_flight: 10", keys: str = KEY_A) -> str:
    return ROUTES.replace("GATE", gate).replace("KEYS", keys)


def important(criticality: Any) -> CompleteRequest:
    return ask(routing=RoutingOptions(criticality=criticality))


def waiting(running: Gateway) -> int:
    return running.live.snapshots.current.providers["one"].desk.gate.waiting


def check_saturated(failure: CallFailure, reason: str) -> None:
    """A refusal of ours: when to come back is told to people and libraries alike."""
    assert (failure.code, failure.reason) == (CODE.RESOURCE_EXHAUSTED, reason)
    assert failure.retry_after_s is not None
    assert failure.retry_after_s > 0
    assert failure.pushback_ms == pytest.approx(failure.retry_after_s * 1000, abs=2)


STALLS = {"default": {"stall_after_chunks": 1}}


async def test_the_less_important_is_shed_for_the_more_important(gateway: Gateways) -> None:
    """A SHEDDABLE waiter is pushed out of a full queue by a CRITICAL call, which is served; the next is not let in."""
    full = routes(gate="max_in_flight: 1, queue: 1, max_wait_s: 30")
    async with gateway(STALLS, routes=full) as running:
        holder = running.stub.StreamComplete(ask())
        await holder.read()
        running.simulator.configure({})
        sheddable = asyncio.ensure_future(refused(running, important(CRITICALITY_SHEDDABLE)))
        await until(lambda: waiting(running) == 1)
        critical = asyncio.ensure_future(running.stub.Complete(important(CRITICALITY_CRITICAL)))
        check_saturated(await sheddable, "SHED")
        assert waiting(running) == 1
        check_saturated(await refused(running, important(CRITICALITY_SHEDDABLE)), "SHED")
        check_saturated(await refused(running, important(CRITICALITY_CRITICAL)), "QUEUE_FULL")
        holder.cancel()
        assert name_of((await critical).route.served_by) == "one/primary"
        await running.quiet()


@pytest.mark.parametrize(
    ("gate", "reason"),
    [
        ("max_in_flight: 1, queue: 0", "QUEUE_FULL"),
        ("max_in_flight: 1, queue: 5, max_wait_s: 0.05", "QUEUE_TIMEOUT"),
    ],
)
async def test_a_full_gate_has_its_reasons(gateway: Gateways, gate: str, reason: str) -> None:
    """No place, or no slot within the longest wait; the target stays in the plan, since a full gate is no filter."""
    async with gateway(STALLS, routes=routes(gate=gate)) as running:
        holder = running.stub.StreamComplete(ask())
        await holder.read()
        assert (await explain(running, ask()))["one/primary"].in_flight == 1
        assert order_of(await explain(running, ask())) == ["one/primary"]
        check_saturated(await refused(running, ask()), reason)
        holder.cancel()
        await running.quiet()


async def test_a_wait_that_cannot_fit_the_deadline_is_refused_at_the_door(gateway: Gateways) -> None:
    """DEADLINE_IN_QUEUE, once it is known how long slots are held; with a longer deadline it waits, to its end."""
    slow = {"default": {"first_byte_s": 0.4}}
    async with gateway(slow, routes=routes(gate="max_in_flight: 1, queue: 5, max_wait_s: 30")) as running:
        for _ in range(5):
            await running.stub.Complete(ask())
        running.simulator.configure(STALLS)
        holder = running.stub.StreamComplete(ask())
        await holder.read()
        failure = await refused(running, ask(), timeout=0.35)
        check_saturated(failure, "DEADLINE_IN_QUEUE")
        assert failure.retry_after_s is not None
        assert failure.retry_after_s >= 0.4
        assert "the deadline" in failure.message
        longer = asyncio.ensure_future(refused(running, ask(), timeout=1))
        await until(lambda: waiting(running) == 1)
        assert (await longer).reason == "DEADLINE"
        holder.cancel()
        await running.quiet()


async def test_a_turn_that_comes_after_the_deadline_is_refused_at_the_door(gateway: Gateways) -> None:
    """Where dispatches are paced the wait is known to the dispatch; who can wait for the turn is served."""
    async with gateway(routes=routes(gate="max_in_flight: 50, dispatches_per_s: 1, burst: 1")) as running:
        await running.stub.Complete(ask())
        failure = await refused(running, ask(), timeout=0.5)
        check_saturated(failure, "DEADLINE_IN_QUEUE")
        assert failure.retry_after_s is not None
        assert failure.retry_after_s > 0.5
        await running.stub.Complete(ask(), timeout=5)
        first, second = (request.at_monotonic_s for request in running.simulator.stats.last_requests)
        assert second - first > 0.9


async def test_dispatches_are_paced(gateway: Gateways) -> None:
    """However many come at once, no more than the burst and the rate arrive in any time; nobody is refused."""
    async with gateway(routes=routes(gate="max_in_flight: 50, dispatches_per_s: 20, burst: 2")) as running:
        await asyncio.gather(*(running.stub.Complete(ask()) for _ in range(12)))
        arrived = sorted(request.at_monotonic_s for request in running.simulator.stats.last_requests)
        assert len(arrived) == 12
        # A busy machine brings the earlier one of two late, never the later one early.
        late_s = 0.1
        for first in range(12):
            for last in range(first + 2, 12):
                assert arrived[last] - arrived[first] >= (last - first - 1) / 20 - late_s


LIMITED = "{{id: a, secret: env:ONE_A_API_KEY, requests_per_minute: 300, burst_s: 0.2}}"


async def test_a_keys_limit_refuses_with_an_honest_time(gateway: Gateways) -> None:
    """RATE_LIMITED before anything is sent; who comes back at the time that was told is served; no upstream 429."""
    keys, capacity = LIMITED, {"requests_per_minute": 300, "limiter": "bucket"}
    async with gateway({"capacity": capacity}, routes=routes(keys=keys, gate="max_wait_s: 0.05")) as running:
        refusals = 0
        for _ in range(8):
            asked_at = time.monotonic()
            try:
                await running.stub.Complete(ask())
            except grpc.aio.AioRpcError as error:
                failure = failure_of(error)
                refusals += 1
                assert (failure.code, failure.reason) == (CODE.RESOURCE_EXHAUSTED, "RATE_LIMITED")
                assert failure.pushback_ms == -1
                assert failure.retry_after_s is not None
                assert 0 < failure.retry_after_s <= 0.205
                explained = (await explain(running, ask()))["one/primary"]
                assert explained.eligible
                if time.monotonic() < asked_at + failure.retry_after_s:
                    assert explained.keys
                # Not to wait for anything: the promise is about this very time.
                await asyncio.sleep(failure.retry_after_s)
                assert not (await explain(running, ask()))["one/primary"].keys
                await running.stub.Complete(ask())
        assert refusals >= 3
        assert set(running.simulator.stats.by_status) == {200}


async def test_a_keys_limit_is_waited_for_within_the_bound(gateway: Gateways) -> None:
    """With a longer wait the same calls all go, one after the other, at the key's pace."""
    async with gateway(routes=routes(keys=LIMITED, gate="max_wait_s: 5")) as running:
        since = time.monotonic()
        await asyncio.gather(*(running.stub.Complete(ask()) for _ in range(5)))
        assert time.monotonic() - since >= 4 * 0.2
        assert running.simulator.stats.requests == 5


async def test_a_request_larger_than_a_minute_never_fits(gateway: Gateways) -> None:
    """Its target is out, with the keys' word; one that fits goes."""
    keys = "{{id: a, secret: env:ONE_A_API_KEY, tokens_per_minute: 500}}"
    async with gateway(routes=routes(keys=keys)) as running:
        large = ask(sampling=Sampling(max_output_tokens=600))
        explained = (await explain(running, large))["one/primary"]
        assert not explained.eligible
        assert explained.removed_because[0].startswith("keys: ")
        assert "more than a key of one may use in a minute" in explained.removed_because[0]
        failure = await refused(running, large)
        assert (failure.code, failure.reason) == (CODE.FAILED_PRECONDITION, "MODEL_UNAVAILABLE")
        assert running.simulator.stats.requests == 0
        small = ask(sampling=Sampling(max_output_tokens=100))
        assert (await running.stub.Complete(small)).route.served_by.key_id == "a"


async def test_one_429_cools_the_whole_account(gateway: Gateways) -> None:
    """The other key of the quota group is not tried, now or later; a key of another account is."""
    grouped = (
        "{{id: a, secret: env:ONE_A_API_KEY, quota_group: org}}, {{id: b, secret: env:ONE_B_API_KEY, quota_group: org}}"
    )
    limited = {"default": {"status": 429, "retry_after_s": 20}}
    async with gateway(limited, routes=routes(keys=grouped)) as running:
        for _ in range(3):
            failure = await refused(running, ask())
            assert (failure.code, failure.reason) == (CODE.RESOURCE_EXHAUSTED, "RATE_LIMITED")
            assert failure.retry_after_s == pytest.approx(20, abs=1)
            assert failure.pushback_ms == -1
        assert running.simulator.stats.requests == 1
        explained = (await explain(running, ask()))["one/primary"]
        assert explained.eligible, "a pool that cools is no filter"
        assert explained.keys

    apart = grouped + ", {{id: c, secret: env:TWO_C_API_KEY}}"
    cooling = {"keys": {key: {"status": 429, "retry_after_s": 20} for key in ("sk-a", "sk-b")}}
    async with gateway(cooling, routes=routes(keys=apart)) as running:
        served = [(await running.stub.Complete(ask())).route.served_by.key_id for _ in range(6)]
        assert set(served) == {"c"}
        assert running.simulator.stats.by_status[429] == 1
