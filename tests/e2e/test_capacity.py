"""What a saturated provider is used for, over HTTP: key limits, accounts, neighbours, bursts, overload."""

from __future__ import annotations

import asyncio
import hashlib
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack
from itertools import pairwise
from random import Random
from typing import TYPE_CHECKING, Any, Final

import grpc
import pytest
from tests.conftest import Sized
from tests.e2e.capacity_load import Schedule, Timed, arrivals, evenly, one_provider, poisson, quantile, remember_all
from tests.e2e.conftest import RETRIES_OFF

from trunkline.v1 import CRITICALITY_CRITICAL, CRITICALITY_SHEDDABLE, CompletionServiceStub
from trunkline_server.routing.door import STAY_AWAY_MIN_S

if TYPE_CHECKING:
    from tests.e2e.conftest import Gateway, Gateways

pytestmark = pytest.mark.alone  # it measures times

QUICK: Final[dict[str, Any]] = {"first_byte_s": 0.02, "chunks": 1, "chunk_text": "word"}
WARM_UP_CALLS: Final = 5
"""So many calls must have ended before the gate knows how long one takes; connections are open then, too."""


async def warmed_up(running: Gateway, token: str = "") -> None:
    """Have a few calls made, so that the drill does not measure the start of things, and forget them."""
    schedule = Schedule(running.stub, [Timed(0, f"warm-up {number}", token=token) for number in range(WARM_UP_CALLS)])
    await schedule.offer()
    await schedule.rest()
    await running.quiet()
    running.simulator.stats.reset()


def weighted_keys(per_minute: int) -> list[dict[str, Any]]:
    """Return eight keys of weights 1 to 8, each with the same limit."""
    return [{"id": f"k{weight}", "weight": weight, "requests_per_minute": per_minute} for weight in range(1, 9)]


async def test_shares_follow_the_weights(gateway: Gateways, sized: Sized, rng: Random) -> None:
    """Keys that are offered 0.3 of what they may have get calls by weight, and no provider's limit is met."""
    calls, per_s = sized(full=5_000, gate=250), 150
    per_minute = round(per_s / 0.3 / 8 * 60)
    routes, environ = one_provider(weighted_keys(per_minute), {"max_in_flight": 200})
    scenario = {"default": QUICK, "capacity": {"requests_per_minute": per_minute, "limiter": "bucket"}}
    async with gateway(scenario, routes=routes, environ=environ) as running:
        times = poisson(rng, per_s, calls / per_s)
        schedule = Schedule(running.stub, [Timed(at, f"{at}", stream=n % 2 == 1) for n, at in enumerate(times)])
        await schedule.offer()
        await schedule.rest()
        await running.quiet()
        stats = running.simulator.stats
    off = [100 * (stats.by_key[f"sk-k{weight}"] / stats.requests - weight / 36) for weight in range(1, 9)]
    worst = max(map(abs, off))
    print(
        f"\nsaturated keys, 0.3 x: shares within {worst:.2f} points of the weights over {stats.requests} calls, "
        f"{stats.by_status[429]} upstream 429s; {schedule.lateness}"
    )
    assert all(call.served for call in schedule.calls)
    assert stats.by_status[429] == 0
    # A key is off by a call or two, which is the more the fewer the calls are.
    assert worst <= (1.0 if calls == 5_000 else 2.0)


PER_MINUTE: Final = 600
SUM_PER_S: Final = 8 * PER_MINUTE / 60
BURST_S: Final = 0.5
BURST_OVER_S: Final = 1.0
"""What the keys may send at once after a pause, one second's worth, is asked for first, and is used up by then."""
QUEUE: Final = 24
RETURNS_MOST: Final = 3
SETTLED_S: Final = 0.2
"""By then what was refused while the load stopped has reached its caller."""


@pytest.mark.parametrize("limiter", ["sliding", "bucket"])
async def test_keys_are_used_up_to_their_limits(gateway: Gateways, sized: Sized, rng: Random, limiter: str) -> None:
    """Offered 1.5 of it, all of it is used, hardly a call is refused upstream, and who is refused is told when."""
    # The sliding window comes round after 60 s: at the gate's size it is there, but has nothing to refuse yet.
    full = sized(full=66 if limiter == "sliding" else 15, gate=3)
    big = full > 3
    routes, environ = one_provider(weighted_keys(PER_MINUTE), {"max_in_flight": 200, "queue": QUEUE, "max_wait_s": 2})
    scenario = {"default": QUICK, "capacity": {"requests_per_minute": PER_MINUTE, "limiter": limiter}}
    async with gateway(scenario, routes=routes, environ=environ) as running:
        records = remember_all(running.simulator)
        first = evenly(3 * SUM_PER_S, round(3 * SUM_PER_S * BURST_S))
        times = [*first, *(BURST_S + at for at in poisson(rng, 1.5 * SUM_PER_S, full))]
        schedule = Schedule(running.stub, [Timed(at, f"{at}", stream=n % 2 == 1) for n, at in enumerate(times)])
        stopped_at = await schedule.offer()
        back = asyncio.ensure_future(come_back(running, schedule.calls, stopped_at))
        await schedule.rest()
        returned = await back
        await running.quiet()
    from_at, sent = (
        schedule.began_at + BURST_OVER_S,
        [record for record in records if record.at_monotonic_s < stopped_at],
    )
    span_s = stopped_at - from_at
    served = Counter(record.key for record in sent if record.at_monotonic_s >= from_at and record.status == 200)
    used = {key: count / (PER_MINUTE / 60 * span_s) for key, count in served.items()}
    total = sum(served.values()) / (SUM_PER_S * span_s)
    refused_upstream = sum(record.status == 429 for record in sent) / len(sent)
    refused = [call for call in schedule.calls if not call.served]
    told = [call.back_at - call.ended_at for call in refused]
    after_429 = [call.back_at - call.ended_at for call in refused if call.attempts]
    too_long = [call for call in refused if call.ended_at > stopped_at + SETTLED_S]
    print(
        f"\nsaturated keys, 1.5 x for {full} s, {limiter}: {total:.1%} used, keys {min(used.values()):.1%} to "
        f"{max(used.values()):.1%}, {refused_upstream:.2%} of {len(sent)} refused upstream; {len(refused)} callers "
        f"refused ({dict(Counter(call.reason for call in refused))}, told "
        f"{min(told):.2f} to {max(told):.2f} s, {len(after_429)} after "
        f"attempts and {min(after_429, default=0):.3f} s), "
        f"{len(returned)} came back in the silence, {sum(tries[0].served for tries in returned)} served at once, "
        f"{sum(tries[-1].served for tries in returned)} in the end; {schedule.lateness}"
    )
    assert len(used) == len(environ)
    # What one second earns comes on top of the first minute, so each key is stopped for the last of that: of 66 s it
    # weighs 1 %.
    assert total >= {"bucket": 0.99, "sliding": 0.98}[limiter] if big else 0.97
    assert min(used.values()) >= (0.975 if big else 0.93)
    assert refused_upstream <= 0.005
    assert refused
    assert {call.code for call in refused} == {grpc.StatusCode.RESOURCE_EXHAUSTED}
    assert min(told) >= STAY_AWAY_MIN_S, "nobody is asked to come back at once while others wait"
    assert not too_long, "who was let in before the load stopped is served"
    assert returned
    assert all(tries[-1].served for tries in returned)
    # Who was told a time just after the end finds the queue as it stood then: others had come in the meantime.
    again = [tries[0] for tries in returned if not tries[0].served]
    assert all(call.began_at < stopped_at + QUEUE / SUM_PER_S + SETTLED_S for call in again)


async def come_back(running: Gateway, calls: Sequence[Timed], stopped_at: float) -> list[list[Timed]]:
    """Have those return, each at the time it was told, whose time had not come when the load stopped: until served."""

    async def returns(call: Timed) -> list[Timed]:
        tries = [call]
        while not tries[-1].served and len(tries) <= RETURNS_MOST:
            schedule = Schedule(running.stub, [Timed(max(0.0, tries[-1].back_at - time.monotonic()), call.text)])
            await schedule.offer()
            await schedule.rest()
            tries += schedule.calls
        return tries[1:]

    late = [call for call in calls if call.code not in {None, grpc.StatusCode.OK} and call.back_at >= stopped_at]
    return list(await asyncio.gather(*map(returns, late)))


async def test_one_429_spares_the_whole_account(gateway: Gateways, sized: Sized) -> None:
    """A 429 of one key of an account is followed by at most one call to that account before its time."""
    seconds, per_s, retry_after_s = sized(full=6, gate=2), 80, 0.5
    keys = [{"id": f"{account}{number}", "quota_group": account} for account in "xy" for number in range(4)]
    routes, environ = one_provider(keys, {"max_in_flight": 200})
    dry = {f"sk-x{number}": {"fresh": True, "status": 429, "retry_after_s": retry_after_s} for number in range(4)}
    async with gateway({"default": QUICK}, routes=routes, environ=environ) as running:
        await warmed_up(running)
        running.simulator.configure({"default": QUICK, "keys": dry})
        records = remember_all(running.simulator)
        schedule = Schedule(running.stub, [Timed(at, f"{at}") for at in evenly(per_s, seconds * per_s)])
        await schedule.offer()
        await schedule.rest()
        await running.quiet()
    at = [record.at_monotonic_s for record in records if record.key.startswith("sk-x")]
    # The first of each group of calls is the 429 that counts; those within its time follow it.
    followers = [bisect_left(at, first + retry_after_s) - place - 1 for place, first in enumerate(at)]
    print(
        f"\nshared account: {len(at)} calls in {seconds} s to an account that answers 429 with {retry_after_s} s, "
        f"followed before its time by at most {max(followers)}, shortest pause "
        f"{min(later - earlier for earlier, later in pairwise(at)):.3f} s; {schedule.lateness}"
    )
    assert all(call.served for call in schedule.calls)
    assert len(at) >= 2
    assert max(followers) <= 1


NOISY: Final = "noisy"


def neighbours() -> tuple[list[dict[str, Any]], list[str]]:
    """Return ten callers as routes name them, and their tokens, the noisy one's first."""
    names = [NOISY, *(f"quiet-{number}" for number in range(9))]
    tokens = [f"token-of-{name}" for name in names]
    hashes = [hashlib.sha256(token.encode()).hexdigest() for token in tokens]
    return [
        {"id": name, "token_sha256": sha256, "aliases": ["default"]} for name, sha256 in zip(names, hashes, strict=True)
    ], tokens


async def test_a_noisy_neighbour(gateway: Gateways, sized: Sized, rng: Random) -> None:
    """One caller at 50 times its share takes nothing from nine at half of theirs, nor much of their time."""
    seconds, limit, slot_s = sized(full=30, gate=3), 10, 0.3
    share_per_s, fair_turn_s = limit / slot_s / 10, 10 * slot_s / limit
    callers, tokens = neighbours()
    gate = {"max_in_flight": limit, "queue": 100, "max_wait_s": 5}
    routes, environ = one_provider([{"id": "a"}], gate, callers)
    scenario = {"default": {**QUICK, "first_byte_s": slot_s}, "capacity": {"max_in_flight": limit}}
    async with gateway(scenario, routes=routes, environ=environ) as running:
        await warmed_up(running, tokens[0])
        calls = [
            Timed(at, f"{token} {at}", token=token, deadline_s=10)
            for token in tokens
            for at in poisson(rng, share_per_s * (50 if token == tokens[0] else 0.5), seconds)
        ]
        noise = Schedule(running.stub, [call for call in calls if call.token == tokens[0]])
        quiet = Schedule(running.stub, [call for call in calls if call.token != tokens[0]])
        records = remember_all(running.simulator)
        noise_ends = asyncio.ensure_future(noise.offer())
        await quiet.offer()
        await noise_ends
        await quiet.rest()
        stopped_at = noise.began_at + seconds
        await noise.give_up()
        await running.quiet()
        refused_upstream = running.simulator.stats.by_status[429]
    lost = [call for call in quiet.calls if not call.served]
    p95_s = quantile((call.queued_s for call in quiet.calls if call.served), 0.95)
    from_at = noise.began_at + slot_s
    held_s = (min(at + slot_s, stopped_at) - max(at, from_at) for at in arrivals(records).values())
    used = sum(held for held in held_s if held > 0) / (limit * (stopped_at - from_at))
    print(
        f"\nnoisy neighbour for {seconds} s: the quiet lost {len(lost)} of {len(quiet.calls)}, "
        f"p95 wait {p95_s:.3f} s = {p95_s / fair_turn_s:.2f} fair turns; "
        f"{sum(call.served for call in noise.calls)} of {len(noise.calls)} calls of the noisy one served, "
        f"{used:.1%} of the slots used, {refused_upstream} refused upstream; {quiet.lateness}"
    )
    assert not lost
    # That there was load at all; what it meant for the quiet ones is asserted below. A busy machine loses slot time.
    assert used >= (0.9 if seconds == 30 else 0.75), "the provider was not saturated"
    assert refused_upstream == 0
    # p95 of 45 calls is the third longest of all: three fair turns for the gate.
    assert p95_s <= (2 if seconds == 30 else 3) * fair_turn_s


DISPATCHES_PER_S: Final = 100
WINDOW_S: Final = 0.1
WINDOW_MOST: Final = 12 + 2
"""Of a paced gate (10 and a burst of 2), and 2 more that arrive together although they were not sent so."""
DOOR_MARGIN_S: Final = 0.3
"""What the door cannot know: it says what will be, and callers, gateway and provider share one loop."""
LAG_OF_PACE: Final = 0.05
CONNECTIONS: Final = 4
"""A connection carries a thousand calls at a time."""
ANSWER_MARGIN_S: Final = 0.2
"""For an answer of 20 ms and the 50 ms that the gateway keeps to say how it ended."""


async def test_a_burst_is_spread(gateway: Gateways, sized: Sized, rng: Random) -> None:
    """Calls that come all at once go evenly spaced; who fits its deadline is let in, who does not is told at once."""
    calls = sized(full=2_000, gate=200)
    last_turn_s = calls / DISPATCHES_PER_S
    gate = {
        "max_in_flight": 200,
        "queue": calls,
        "max_wait_s": 1.25 * last_turn_s,
        "dispatches_per_s": DISPATCHES_PER_S,
        "burst": 2,
    }
    routes, environ = one_provider([{"id": "a"}], gate)
    async with gateway({"default": QUICK}, routes=routes, environ=environ) as running:
        await warmed_up(running)
        records = remember_all(running.simulator)
        patience = [rng.choice([60.0, rng.uniform(0.2, 1.25) * last_turn_s]) for _ in range(calls)]
        every = [Timed(0, f"{n}", deadline_s) for n, deadline_s in enumerate(patience)]
        lines = [every[first::CONNECTIONS] for first in range(CONNECTIONS)]
        await burst(running.address, lines)
        await running.quiet()
    seen = arrivals(records)
    at = sorted(seen.values())
    widest = max(bisect_left(at, first + WINDOW_S) - place for place, first in enumerate(at))
    door = [call for call in every if call.reason == "DEADLINE_IN_QUEUE"]
    in_vain = [call for call in every if call not in door and call.text not in seen]
    late = [call for call in every if seen.get(call.text, 0) > call.deadline_at]
    lost = [call for call in every if call.text in seen and not call.served]
    turns = {text: at for line in lines for text, at in turns_of(line, seen).items()}
    wrong = [call for call in door if turns[call.text][1] + DOOR_MARGIN_S < call.deadline_at]
    took_s = max((call.ended_at - call.began_at for call in door), default=0.0)
    print(
        f"\nburst of {calls}: {len(at)} sent in {at[-1] - at[0]:.2f} s "
        f"({(len(at) - 1) / (at[-1] - at[0]):.1f} a second), at most {widest} in 100 ms, "
        f"{len(door)} refused at the door within {took_s:.2f} s, "
        f"{len(late)} sent after their deadline, {len(in_vain)} kept in vain, "
        f"{len(lost)} sent too late for an answer, {len(wrong)} refused that did"
    )
    assert widest <= WINDOW_MOST
    assert not late
    # The door judges the wait: what is sent in time may still have too little time left for its answer.
    assert all(call.deadline_at - seen[call.text] < ANSWER_MARGIN_S for call in lost)
    assert door
    assert not wrong
    # The door reckons with the pace as it is set, and what a busy loop lets pass of that is lost.
    lag_s = DOOR_MARGIN_S + LAG_OF_PACE * last_turn_s
    assert len(in_vain) <= 0.01 * calls
    assert all(turns[call.text][0] - call.deadline_at < lag_s for call in in_vain)


async def burst(address: str, lines: Sequence[Sequence[Timed]]) -> None:
    """Make all calls at once, each line of them on a connection of its own, and wait for their ends."""
    options = [*RETRIES_OFF, ("grpc.use_local_subchannel_pool", 1)]
    async with AsyncExitStack() as stack:
        schedules = []
        for line in lines:
            channel = await stack.enter_async_context(grpc.aio.insecure_channel(address, options=options))
            await asyncio.wait_for(channel.channel_ready(), 5)
            schedules.append(Schedule(CompletionServiceStub(channel), line))
        await asyncio.gather(*(schedule.offer() for schedule in schedules))
        await asyncio.gather(*(schedule.rest() for schedule in schedules))


def turns_of(line: Sequence[Timed], seen: dict[str, float]) -> dict[str, tuple[float, float]]:
    """Return between what times each call of a connection had its turn, or would have had it.

    Not before all those ahead of it, nor after the next: but some of the last may have gone sooner than those ahead,
    as the fresher ones, while it takes a second to take all of them in.
    """
    after, next_at = dict[str, float](), max(seen.values())
    for call in reversed(line):
        next_at = after[call.text] = seen.get(call.text, next_at)
    turns, ahead_at = dict[str, tuple[float, float]](), min(seen.values())
    for call in line:
        ahead_at = max(ahead_at, seen.get(call.text, ahead_at))
        turns[call.text] = (ahead_at, max(ahead_at, after[call.text]))
    return turns


async def test_twice_the_load(gateway: Gateways, sized: Sized, rng: Random) -> None:
    """What is important loses nothing, the capacity is used, nothing is sent upstream in vain or too late."""
    seconds, limit, slot_s, max_wait_s = sized(full=40, gate=4), 20, 0.4, 2.0
    capacity_per_s = limit / slot_s
    gate = {"max_in_flight": limit, "queue": 50, "max_wait_s": max_wait_s}
    routes, environ = one_provider([{"id": "a"}], gate)
    first_byte_s = {"dist": "uniform", "low_s": 0.75 * slot_s, "high_s": 1.25 * slot_s}
    scenario = {"default": {**QUICK, "first_byte_s": first_byte_s}, "capacity": {"max_in_flight": limit}}
    async with gateway(scenario, routes=routes, environ=environ) as running:
        await warmed_up(running)
        records = remember_all(running.simulator)
        calls = [
            Timed(at, f"{level} {at}", 2 * max_wait_s, criticality=level)
            for level, share in ((CRITICALITY_CRITICAL, 0.8), (CRITICALITY_SHEDDABLE, 1.2))
            for at in poisson(rng, share * capacity_per_s, seconds)
        ]
        schedule = Schedule(running.stub, calls)
        stopped_at = await schedule.offer()
        await schedule.rest()
        await running.quiet()
        refused_upstream = running.simulator.stats.by_status[429]
    # In the first second the slots fill.
    from_at, seen = schedule.began_at + 1, arrivals(records)
    in_time = sum(call.served and from_at <= call.ended_at < min(stopped_at, call.deadline_at) for call in calls)
    share = in_time / (capacity_per_s * (stopped_at - from_at))
    median_s = quantile((call.queued_s for call in calls if call.served), 0.5)
    lost = [call for call in calls if call.criticality == CRITICALITY_CRITICAL and not call.served]
    late = [call for call in calls if seen.get(call.text, 0) > call.deadline_at]
    reasons = Counter(call.reason for call in calls if not call.served)
    print(
        f"\noverload at 2 x for {seconds} s: {share:.1%} of the capacity met its deadline, "
        f"median wait {median_s:.3f} s = {median_s / max_wait_s:.3f} of max_wait_s, "
        f"CRITICAL lost {len(lost)}, {refused_upstream} refused upstream, "
        f"{len(late)} sent too late, refused {dict(reasons)}; {schedule.lateness}"
    )
    assert not lost
    assert share >= (0.95 if seconds == 40 else 0.9)
    assert median_s <= max_wait_s / 4
    assert refused_upstream == 0
    assert not late
