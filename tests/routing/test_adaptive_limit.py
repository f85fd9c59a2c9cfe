"""The limit that moves by itself: a step up for a success in use, a tenth down for an overload."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.routing.gate_house import House

from trunkline_server.routing.adaptive import AdaptiveLimit
from trunkline_server.routing.gate import AdaptiveLimits, GateLimits


def test_it_grows_by_one_for_as_many_successes_as_the_limit() -> None:
    """Each success adds 1 / limit, as long as at least half of the limit is in use."""
    limit = AdaptiveLimit(AdaptiveLimits(2, 40), 20)
    for _ in range(21):
        limit.succeeded(10)
    assert limit.value == 21
    for _ in range(100):
        limit.succeeded(10)
    assert limit.value == 21, "less than half in use"
    for _ in range(5000):
        limit.succeeded(40)
    assert limit.value == 40


def test_it_shrinks_once_for_the_calls_of_one_time() -> None:
    """Failures of calls dispatched before the last shrink change nothing, nor do any within a second of it."""
    limit = AdaptiveLimit(AdaptiveLimits(2, 40), 20)
    limit.overloaded(9.0, 10.0)
    assert limit.value == 18
    for _ in range(10):
        limit.overloaded(9.5, 12.0)
        limit.overloaded(10.0, 12.0)
        limit.overloaded(10.5, 10.9)
    assert limit.value == 18
    limit.overloaded(10.5, 11.0)
    assert limit.value == 16
    for second in range(12, 60):
        limit.overloaded(second - 0.5, float(second))
    assert limit.value == 2
    assert repr(limit) == "<AdaptiveLimit 2.00 of 2 to 40>"


def test_the_gate_hands_out_what_the_limit_allows() -> None:
    """After an overload fewer slots are handed out; successes bring them back; the figures say so."""
    house = House(max_in_flight=4, adaptive=AdaptiveLimits(1, 8))
    leases = [house.take() for _ in range(4)]
    house.clock.advance(1.0)
    house.gate.overloaded(leases[0])
    assert (house.gate.limit, house.gate.limits.max_in_flight) == (3, 4)
    assert repr(house.gate) == "<Gate openai: 4 of 3 in flight, 0 of 10 waiting>"
    leases.pop().release()
    assert house.gate.try_take("m") is None
    house.join("waiter")
    for _ in range(2):
        house.gate.succeeded(leases[0])
    leases.pop(0).release()
    assert (house.gate.limit, house.order) == (4, ["waiter"])


def test_a_resize_keeps_the_present_value_within_the_new_bounds() -> None:
    """What was learnt survives a reload; without `adaptive` the configured limit holds again."""
    house = House(max_in_flight=10, adaptive=AdaptiveLimits(1, 20))
    lease = house.take()
    house.clock.advance(1.0)
    house.gate.overloaded(lease)
    assert house.gate.limit == 9
    house.gate.resize(GateLimits(20, adaptive=AdaptiveLimits(1, 30)))
    assert house.gate.limit == 9
    house.gate.resize(GateLimits(20, adaptive=AdaptiveLimits(12, 30)))
    assert house.gate.limit == 12
    house.gate.resize(GateLimits(20))
    assert house.gate.limit == 20
    house.gate.succeeded(lease)
    house.gate.overloaded(lease)
    assert house.gate.limit == 20
    lease.release()


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["up", "down"]), st.integers(0, 60), st.floats(0.0, 3.0)), max_size=80))
def test_it_stays_within_its_bounds(steps: list[tuple[str, int, float]]) -> None:
    """Whatever is reported in whatever order, the limit is never outside its bounds."""
    limit, now = AdaptiveLimit(AdaptiveLimits(3, 12), 50), 0.0
    assert limit.value == 12
    for word, in_use, seconds in steps:
        now += seconds
        if word == "up":
            limit.succeeded(in_use)
        else:
            limit.overloaded(now - in_use / 20, now)
        assert 3 <= limit.value <= 12


@pytest.mark.parametrize(("low", "high"), [(0, 10), (5, 4)])
def test_bounds_that_mean_nothing_are_refused(low: int, high: int) -> None:
    """At least one call goes, and the bounds stand the right way round."""
    with pytest.raises(ValueError, match="no bounds of an adaptive limit"):
        AdaptiveLimits(low, high)
