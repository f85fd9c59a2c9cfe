"""Keys offered less, and more, than they may have: shares, use of their limits, refusals, and times to stay away."""

from __future__ import annotations

from itertools import pairwise
from random import Random

import pytest
from tests.conftest import Sized
from tests.routing.saturation_house import MODEL, House, Limiter, OneSecondBucket, SlidingWindow

from trunkline_server.routing.clock import ManualClock
from trunkline_server.routing.failures import Failure, FailureClass
from trunkline_server.routing.key_pool import KeyPool, KeySpec

KEYS = [KeySpec(f"k{weight}", weight, requests_per_minute=60) for weight in range(1, 9)]
SUM_PER_S = 8.0
LIMITERS = [SlidingWindow, OneSecondBucket]
ROUNDING_S = 1e-6


def test_shares_follow_the_weights_below_the_limits(rng: Random, sized: Sized) -> None:
    """Offered 0.3 of what the keys may have, at random moments, each gets its share within one percentage point."""
    worst = 0.0
    for _ in range(sized(full=10, gate=1)):
        house = House(KEYS, SlidingWindow, rng)
        end = house.clock() + 5000 / (0.3 * SUM_PER_S)
        house.offer(0.3 * SUM_PER_S, end)
        house.run(end)
        calls = sum(house.served.values())
        off = {key.id: 100 * (house.served[key.id] / calls - key.weight / 36) for key in KEYS}
        worst = max(worst, *(abs(points) for points in off.values()))
        assert 4700 < calls < 5300
        assert not house.upstream_refusals
    print(f"saturated keys, 0.3 x: shares within {worst:.2f} percentage points of the weights over 5,000 calls")
    assert worst <= 1.0


@pytest.mark.parametrize("limiter", LIMITERS)
def test_keys_are_used_up_to_their_limits_and_not_beyond(limiter: type[Limiter], rng: Random, sized: Sized) -> None:
    """Offered 1.5 of it, every key works at its limit, hardly a call is refused upstream, and times told are kept."""
    house = House(KEYS, limiter, rng)
    began, span_s = house.clock(), sized(full=7200, gate=900)
    end = began + span_s
    house.offer(1.5 * SUM_PER_S, end)
    house.run(end)
    used = {key: calls / span_s for key, calls in sorted(house.served.items())}
    refused = house.upstream_refusals / len(house.dispatches)
    total = sum(used.values()) / SUM_PER_S
    print(
        f"saturated keys, 1.5 x for {span_s} s, {limiter.__name__}: {100 * total:.2f} % used, "
        f"keys {100 * min(used.values()):.2f}-{100 * max(used.values()):.2f} %, {100 * refused:.2f} % upstream 429s"
    )
    assert total >= 0.99
    assert len(used) == len(KEYS)
    assert min(used.values()) >= 0.99
    assert refused <= 0.005
    assert house.stays, "nobody was refused, although half as much again was offered"
    for stay in house.stays:
        assert stay.back_at >= _first_moment(stay.at, stay.waiting, stay.last_calls) - ROUNDING_S

    # The load stops. Those whose time has not come yet come back at it; the queue that stood then still has to go.
    late = [stay for stay in house.stays if stay.back_at >= end]
    served, waiting, refusals = house.ends["served"], house.gate.waiting, len(house.stays)
    gone_at = house.pool.room_at(MODEL, waiting + 1)
    assert late
    assert gone_at is not None
    house.come_back = True
    for stay in late:
        house.come_back_at(stay)
    house.run(end + 120)
    assert house.ends["served"] == served + waiting + len(late)
    assert house.pool.in_flight == 0
    again = house.stays[refusals:]
    print(f"{len(late)} callers came back at their time, {len(again)} of them once more, all were served")
    assert all(stay.at < gone_at for stay in again)
    assert len(house.returns) <= len(late) + len(again)
    assert len(again) <= len(late) // 2


def _first_moment(now: float, waiting: int, last_calls: dict[str, float]) -> float:
    """Return when a key can serve the one behind so many waiters, by the plain reading of a minute's limit."""
    moments = sorted(
        max(now, last_calls[key.id] + 60 / 59.7) + turn * 60 / 59.7 for key in KEYS for turn in range(waiting + 1)
    )
    return moments[waiting]


@pytest.mark.parametrize("retry_after_s", [20.0, None])
def test_one_429_keeps_us_from_the_whole_account(retry_after_s: float | None, rng: Random) -> None:
    """A 429 of one key of an account is followed by no further call to any of its keys before its time."""
    clock = ManualClock(1000.0)
    keys = [KeySpec(f"{account}{number}", 1, quota_group=account) for account in "xy" for number in range(4)]
    pool = KeyPool("p", keys, clock=clock, rng=rng)
    calls: list[float] = []
    for _ in range(4000):
        clock.advance(rng.expovariate(20.0))
        key = pool.take(MODEL)
        assert key is not None
        if key.startswith("x"):
            calls.append(clock())
            pool.failed(key, MODEL, Failure(FailureClass.RATE_LIMITED, "429", retry_after_s=retry_after_s))
        else:
            pool.succeeded(key, MODEL)
        pool.give_back(key, MODEL)
    assert len(calls) >= 4
    for number, (earlier, later) in enumerate(pairwise(calls)):
        assert later - earlier >= (20.0 if retry_after_s else min(2.0**number, 60.0)) - ROUNDING_S
