"""The pace of dispatches: evenly spaced, a small burst after a pause, and honest about turns to come."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trunkline_server.routing.pacing import Pacer


def test_after_a_pause_a_burst_goes_and_then_one_an_interval() -> None:
    """Ten a second with a burst of two: two at once, then one every 100 ms."""
    pacer = Pacer(10.0, 2)
    times, now = [], 5.0
    for _ in range(5):
        now = max(now, pacer.free_at())
        pacer.dispatched(now)
        times.append(now)
    assert times == pytest.approx([5.0, 5.0, 5.1, 5.2, 5.3])


def test_another_pace_keeps_what_was_dispatched() -> None:
    """Who was just dispatched keeps the next one waiting, at the new pace's burst."""
    pacer = Pacer(10.0, 1)
    pacer.dispatched(5.0)
    pacer.retune(100.0, 1)
    assert pacer.free_at() == pytest.approx(5.1)
    pacer.dispatched(5.1)
    assert pacer.free_at() == pytest.approx(5.11)
    assert repr(pacer) == "<Pacer 100 a second, next from 5.110>"


@settings(deadline=None)
@given(
    st.lists(st.floats(0.0, 0.5), max_size=20),
    st.integers(1, 4),
    st.integers(1, 20),
)
def test_turns_are_foretold_to_the_dispatch(gaps_s: list[float], burst: int, place: int) -> None:
    """Whatever went before, the one at a place goes exactly when it was told, if all before it go as they may."""
    pacer, now = Pacer(10.0, burst), 0.0
    for gap_s in gaps_s:
        now = max(now + gap_s, pacer.free_at())
        pacer.dispatched(now)
    told_at = pacer.turn_at(place, now)
    at = now
    for _ in range(place):
        at = max(at, pacer.free_at())
        pacer.dispatched(at)
    assert at == pytest.approx(told_at)


@settings(deadline=None)
@given(st.lists(st.floats(0.0, 0.3), min_size=1, max_size=60), st.integers(1, 4))
def test_no_window_has_more_than_its_rate_and_the_burst(gaps_s: list[float], burst: int) -> None:
    """However calls arrive, a window of n intervals sees at most n + burst dispatches."""
    pacer, now, times = Pacer(10.0, burst), 0.0, list[float]()
    for gap_s in gaps_s:
        now = max(now + gap_s, pacer.free_at())
        pacer.dispatched(now)
        times.append(now)
    for first, began_at in enumerate(times):
        for last in range(first, len(times)):
            assert last - first + 1 <= (times[last] - began_at) * 10.0 + burst + 1e-6
