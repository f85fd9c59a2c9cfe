"""How calls spread over keys: shares by weight, ramps, nobody starves, and what a choice costs."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from random import Random
from types import FrameType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trunkline_server.routing.clock import ManualClock
from trunkline_server.routing.failures import Failure, FailureClass
from trunkline_server.routing.key_limited_lane import CATCH_UP_TURNS
from trunkline_server.routing.key_pool import KeyPool, KeySpec


def make(*weights: float, seed: int = 3) -> tuple[KeyPool, ManualClock]:
    clock = ManualClock()
    keys = [KeySpec(f"k{number}", weight) for number, weight in enumerate(weights)]
    return KeyPool("openai", keys, clock=clock, rng=Random(seed)), clock


def serve(pool: KeyPool, calls: int, model: str = "m", exclude: frozenset[str] = frozenset()) -> list[str]:
    taken = []
    for _ in range(calls):
        key = pool.take(model, exclude)
        assert key is not None
        taken.append(key)
        pool.give_back(key, model)
    return taken


@given(st.lists(st.floats(0.05, 50), min_size=1, max_size=12), st.integers(0, 2**32), st.integers(1, 600))
def test_shares_follow_weights_at_every_moment(weights: list[float], seed: int, calls: int) -> None:
    """At any time two keys differ, in calls by weight, by at most one call of each: the law of virtual time."""
    pool, _ = make(*weights, seed=seed)
    counts = dict.fromkeys((f"k{number}" for number in range(len(weights))), 0)
    for key in serve(pool, calls):
        counts[key] += 1
    work = {f"k{number}": counts[f"k{number}"] / weight for number, weight in enumerate(weights)}
    for one, weight in enumerate(weights):
        for other, other_weight in enumerate(weights):
            assert abs(work[f"k{one}"] - work[f"k{other}"]) <= 1 / weight + 1 / other_weight + 1e-6


@pytest.mark.parametrize("weights", [(1, 1), (3, 1), (0.5, 0.01), (5, 3, 2)])
def test_long_runs_are_exact_to_one_call(weights: tuple[float, ...]) -> None:
    """Over 10,000 calls each key has its share by weight, give or take one call."""
    pool, _ = make(*weights)
    taken = serve(pool, 10_000)
    for number, weight in enumerate(weights):
        assert abs(taken.count(f"k{number}") - 10_000 * weight / sum(weights)) <= 1


def test_traffic_that_alternates_between_models_spreads_each_of_them() -> None:
    """Two models in turn do not give each of two keys one model only."""
    pool, _ = make(1, 1)
    seen: dict[str, list[str]] = {"m1": [], "m2": []}
    for number in range(100):
        model = f"m{number % 2 + 1}"
        seen[model] += serve(pool, 1, model)
    assert {model: keys.count("k0") for model, keys in seen.items()} == {"m1": 25, "m2": 25}


def test_first_turns_are_spread_over_processes() -> None:
    """Pools of different seeds do not all begin with the same key."""
    firsts = [serve(make(1, 1, 1, 1, seed=seed)[0], 1)[0] for seed in range(200)]
    assert all(firsts.count(f"k{number}") > 20 for number in range(4))


def test_models_pushed_out_of_memory_keep_their_shares_on_average() -> None:
    """Calls that each name another model still spread over the keys by weight, roughly."""
    pool, _ = make(1, 1)
    taken = [serve(pool, 1, f"invented-{number}")[0] for number in range(1000)]
    assert 400 < taken.count("k0") < 600


@given(st.lists(st.floats(0.01, 100), min_size=2, max_size=8), st.integers(0, 2**32))
def test_a_weight_above_zero_never_starves(weights: list[float], seed: int) -> None:
    """Every key gets its next call within the number that the weights foresee, rounded up for each key."""
    pool, _ = make(*weights, seed=seed)
    bound = math.ceil(sum(weight / min(weights) + 1 for weight in weights))
    assert set(serve(pool, min(bound, 20_000))) == {f"k{number}" for number in range(len(weights))} or bound > 20_000


@given(
    st.lists(st.tuples(st.floats(0.05, 20), st.sampled_from([30, 60, 600, None])), min_size=2, max_size=8),
    st.sampled_from([0.1, 0.5, 1.0, 2.0]),
    st.sampled_from([0, 400, 900]),
    st.integers(0, 2**32),
)
@settings(deadline=None)
def test_no_limited_key_starves_either(
    keys: list[tuple[float, int | None]], load: float, tokens: int, seed: int
) -> None:
    """Whatever limits the others have, and however much is offered, each key gets its next call within its share."""
    specs = [
        KeySpec(f"k{number}", weight, requests_per_minute=limit, tokens_per_minute=60_000)
        for number, (weight, limit) in enumerate(keys)
    ]
    clock = ManualClock()
    pool = KeyPool("openai", specs, clock=clock, rng=Random(seed))
    weights = [weight for weight, _ in keys]
    bound = math.ceil(sum(weight / min(weights) + 1 + CATCH_UP_TURNS for weight in weights))
    waited = dict.fromkeys((spec.id for spec in specs), 0)
    for _ in range(min(3 * bound, 1500)):
        clock.advance(1 / load / len(keys))
        able = {key.id for key in pool._keys.values() if key.free_at("m", clock(), tokens) <= clock()}
        key_id = pool.take("m", tokens=tokens)
        assert (key_id is None) == (not able)
        if key_id is None:
            continue
        pool.give_back(key_id, "m")
        waited = {key: 0 if key == key_id else waited[key] + (key in able) for key in waited}
        assert max(waited.values()) <= bound


def test_a_key_that_returns_does_not_catch_up() -> None:
    """A key that was away gets its ordinary share again, and none of what it missed."""
    pool, clock = make(1, 1)
    pool.failed("k0", "m", Failure(FailureClass.RATE_LIMITED, "x", retry_after_s=100))
    serve(pool, 1000)
    clock.advance(100 + 30)
    taken = serve(pool, 100)
    assert abs(taken.count("k0") - 50) <= 1
    assert "k0k0k0" not in "".join(taken)


def test_a_reserve_key_that_returns_does_not_wait_for_the_others_past() -> None:
    """Keys of weight 0 take turns by a time of their own."""
    pool, clock = make(1, 0, 0)
    serve(pool, 1000)
    pool.failed("k1", "m", Failure(FailureClass.RATE_LIMITED, "x", retry_after_s=1))
    serve(pool, 10, exclude=frozenset({"k0"}))
    clock.advance(60)
    taken = serve(pool, 20, exclude=frozenset({"k0"}))
    assert abs(taken.count("k1") - 10) <= 1


def test_a_key_ramps_after_a_cool_down() -> None:
    """Its share goes from a tenth of its weight to the whole in 30 s."""
    pool, clock = make(1, 1)
    serve(pool, 100)
    pool.failed("k0", "m", Failure(FailureClass.RATE_LIMITED, "x", retry_after_s=10))
    clock.advance(10)
    shares = []
    for _ in range(4):
        shares.append(serve(pool, 1100).count("k0"))
        clock.advance(10)
    for share, ramp in zip(shares, (0.1, 0.4, 0.7, 1.0), strict=True):
        assert abs(share - 1100 * ramp / (1 + ramp)) <= 12


def test_a_key_ramps_after_a_quarantine() -> None:
    """Its share begins at a tenth of its weight when its probe succeeds, for every model."""
    pool, clock = make(1, 1)
    pool.failed("k0", "m", Failure(FailureClass.KEY_REJECTED, "x"))
    serve(pool, 100)
    clock.advance(70)
    assert pool.take("m") == "k0"
    pool.succeeded("k0", "m")
    pool.give_back("k0", "m")
    for model in ("m", "other"):
        assert abs(serve(pool, 1100, model).count("k0") - 100) <= 12
    clock.advance(30)
    assert abs(serve(pool, 1000).count("k0") - 500) <= 12


def test_a_turn_out_of_order_costs_the_others_nothing() -> None:
    """Calls that a light key got because a request excluded the heavy one are made good, even after a cool-down."""
    pool, clock = make(100, 1)
    serve(pool, 101)
    serve(pool, 3, exclude=frozenset({"k0"}))
    pool.failed("k0", "m", Failure(FailureClass.RATE_LIMITED, "x", retry_after_s=1))
    assert pool.take("m") == "k1"
    clock.advance(60)
    assert serve(pool, 200).count("k1") == 0


def test_virtual_time_starts_anew_before_it_loses_digits() -> None:
    """A tiny weight that serves alone for long does not freeze the turns of heavy ones."""
    pool, clock = make(1e-6, 1e6, 1e6)
    for key in ("k1", "k2"):
        pool.failed(key, "m", Failure(FailureClass.RATE_LIMITED, "x", retry_after_s=10))
    serve(pool, 20_000)
    clock.advance(60)
    assert abs(serve(pool, 100).count("k1") - 50) <= 2


class CountedFloat(float):
    """A virtual time that counts how often it is compared."""

    compared = 0

    def __add__(self, other: float) -> CountedFloat:
        return CountedFloat(float(self) + float(other))

    __radd__ = __add__

    def __lt__(self, other: float) -> bool:
        CountedFloat.compared += 1
        return float(self) < float(other)

    def __eq__(self, other: object) -> bool:
        return float(self) == other

    __hash__ = float.__hash__


def comparisons(keys: int, calls: int = 400) -> float:
    pool, _ = make(*[1 + number % 3 for number in range(keys)])
    for key in pool._keys.values():
        key.step = CountedFloat(key.step)
    serve(pool, 3 * keys)
    CountedFloat.compared = 0
    serve(pool, calls)
    return CountedFloat.compared / calls


def test_a_choice_costs_the_logarithm_of_the_keys() -> None:
    """A thousand keys need at most three times the comparisons of ten keys, and a few."""
    few, many = comparisons(10), comparisons(1000)
    print(f"comparisons for each choice: {few:.1f} of 10 keys, {many:.1f} of 1,000")
    assert 0 < few <= 10
    assert many <= 3 * few + 3


SIZES = (100, 400, 900, 2600)
LIMITS = {
    "requests": KeySpec("k", 1, requests_per_minute=60),
    "tokens": KeySpec("k", 1, tokens_per_minute=60_000),
    "both": KeySpec("k", 1, requests_per_minute=60, tokens_per_minute=60_000),
    "calls in flight": KeySpec("k", 1, max_in_flight=2),
}


def choose(pool: KeyPool, clock: ManualClock, calls: int, pause_s: float) -> None:
    """Make calls of mixed sizes; who finds no key asks when there will be one."""
    for number in range(calls):
        clock.advance(pause_s)
        size = SIZES[number * 7 % len(SIZES)]
        key_id = pool.take("m", tokens=size)
        if key_id is None:
            pool.earliest("m", tokens=size)
        else:
            pool.give_back(key_id, "m")
            pool.settle(key_id, "m", size, size // 2, at=clock())


def lines_of(work: Callable[[], None]) -> int:
    """Return how many lines of Python it runs: its time, but for the noise of a clock."""
    lines = 0

    def trace(_frame: FrameType, event: str, _arg: object) -> Any:
        nonlocal lines
        lines += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return lines


@pytest.mark.parametrize("load", [0.3, 0.9, 1.5])
@pytest.mark.parametrize("limit", LIMITS)
def test_a_choice_among_limited_keys_does_too(limit: str, load: float) -> None:
    """So it is for keys with limits, below them, at them and above, for requests of mixed sizes."""
    mean_s = 1.0 if LIMITS[limit].requests_per_minute else sum(SIZES) / len(SIZES) / 1000 / 2
    cost: dict[int, float] = {}
    for keys in (10, 1000):
        specs = [replace(LIMITS[limit], id=f"k{number}", weight=1 + number % 3) for number in range(keys)]
        clock = ManualClock()
        pool = KeyPool("openai", specs, clock=clock, rng=Random(3))
        pause_s = mean_s / load / keys
        choose(pool, clock, 3 * keys, pause_s)
        cost[keys] = lines_of(partial(choose, pool, clock, 500, pause_s)) / 500
    print(f"{limit}, {load} x: {cost[10]:.0f} lines for each choice of 10 keys, {cost[1000]:.0f} of 1,000")
    assert cost[1000] <= 3 * cost[10]
