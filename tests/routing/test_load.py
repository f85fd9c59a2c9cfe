"""How loaded a target is."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline_server.routing.clock import ManualClock
from trunkline_server.routing.load import UNMEASURED_S, Load


def measured(clock: ManualClock, seconds: float) -> Load:
    load = Load(clock=clock)
    load.began()
    load.ended(seconds)
    return load


def test_a_slow_call_counts_at_once_and_fades() -> None:
    """The average jumps up to a peak, and comes down by the age of what was known."""
    clock = ManualClock()
    load = measured(clock, 1.0)
    load.began()
    load.ended(8.0)
    assert load.latency_s == 8.0
    clock.advance(10.0)
    load.began()
    load.ended(1.0)
    assert load.latency_s == pytest.approx(1.0 + 7.0 / math.e)


def test_calls_in_flight_multiply_and_weight_divides() -> None:
    """The call to come counts too, so that idle targets differ by how long they take."""
    load = measured(ManualClock(), 2.0)
    assert load.per_weight(1.0) == 2.0
    load.began()
    load.began()
    assert load.per_weight(1.0) == 6.0
    assert load.per_weight(3.0) == 2.0
    assert load.per_weight(0.0) == math.inf


def test_a_new_target_gets_one_call_to_be_measured_by() -> None:
    """Idle and unknown is the least load there is; busy and unknown is more than any that is known."""
    load = Load(clock=ManualClock())
    assert load.per_weight(1.0) == 0.0
    load.began()
    assert load.per_weight(1.0) == 2 * UNMEASURED_S
    load.ended(None)
    assert load.latency_s is None
    assert load.per_weight(1.0) == 0.0


def test_a_target_that_was_slow_is_asked_again_by_one_call() -> None:
    """Idling lets it off; with a call in flight its past counts in full, so a burst does not fall on it."""
    clock = ManualClock()
    slow, fast = measured(clock, 60.0), measured(clock, 1.0)
    clock.advance(50.0)
    fast.began()
    fast.ended(1.0)
    assert slow.per_weight(1.0) < fast.per_weight(1.0)
    slow.began()
    assert slow.per_weight(1.0) == 120.0


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0, 1000)), min_size=1, max_size=30))
def test_the_average_stays_between_the_shortest_and_the_longest(samples: list[tuple[float, float]]) -> None:
    """Whatever comes when, the average is one of the range that was seen, and nothing stays in flight."""
    clock = ManualClock()
    load = Load(clock=clock)
    for gap, seconds in samples:
        clock.advance(gap)
        load.began()
        load.ended(seconds)
    times = [seconds for _, seconds in samples]
    assert load.in_flight == 0
    assert load.latency_s is not None
    assert min(times) - 1e-9 <= load.latency_s <= max(times) + 1e-9


def test_mistakes_are_told() -> None:
    """An end without a beginning, and times that are none, are refused and change nothing."""
    load = Load(clock=ManualClock())
    with pytest.raises(ValueError, match="had not begun"):
        load.ended(1.0)
    load.began()
    for seconds in (-1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="nothing takes"):
            load.ended(seconds)
    assert load.in_flight == 1
    with pytest.raises(ValueError, match="says nothing"):
        Load(clock=ManualClock(), tau_s=0)
