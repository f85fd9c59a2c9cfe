"""How long a target took lately: by example, and by property against the samples themselves."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trunkline_server.routing.clock import ManualClock
from trunkline_server.routing.latency import MAX_S, MIN_S, Latency, LatencyWindow

PERCENTS = (0.1, 50.0, 90.0, 95.0, 99.9, 100.0)


def window_of(*seconds: float) -> LatencyWindow:
    window = LatencyWindow(clock=ManualClock())
    for sample in seconds:
        window.book(sample)
    return window


def near(seconds: float) -> object:
    return pytest.approx(seconds, rel=0.05)


def exact(samples: list[float], percent: float) -> float:
    """The smallest sample that `percent` of them do not exceed."""
    rank = math.ceil(len(samples) * Fraction(str(percent)) / 100)
    return sorted(samples)[rank - 1]


def test_quantiles_are_those_of_the_samples() -> None:
    """Half of the calls kept the median, 95 of 100 the p95, and all of them the last."""
    window = window_of(*(number / 100 for number in range(1, 101)))
    assert window.quantile(50) == near(0.5)
    assert window.quantile(95) == near(0.95)
    assert window.quantile(100) == near(1.0)
    assert window.quantile(0.1) == near(0.01)


def test_one_slow_call_in_a_hundred_is_seen_by_the_p99_point_9_alone() -> None:
    """The tail does not leak into the middle."""
    window = window_of(*([0.2] * 99), 30.0)
    assert window.quantile(99) == near(0.2)
    assert window.quantile(99.9) == near(30)


def test_a_rank_is_not_moved_by_rounding() -> None:
    """64.4 % of 250 samples are 161 of them; in floats they are a little more."""
    window = window_of(*[0.1] * 161, *[10.0] * 89)
    assert window.quantile(64.4) == near(0.1)


def test_few_samples_tell_nothing() -> None:
    """Fewer than five by default, or than were asked for; none at all never."""
    assert window_of(1, 1, 1, 1).quantile(50) is None
    assert window_of(1, 1, 1, 1, 1).quantile(50) == near(1)
    assert window_of(1).quantile(50, at_least=1) == near(1)
    assert window_of(*[1] * 19).quantile(50, at_least=20) is None
    assert window_of().quantile(50, at_least=0) is None


def test_samples_count_for_a_minute() -> None:
    """None is older than 60 s, and each counts for at least 55 of them."""
    clock = ManualClock(1000.0)
    window = LatencyWindow(clock=clock)
    clock.advance(4.9)
    window.book(8.0)
    clock.advance(55.0)
    assert window.quantile(50, at_least=1) == near(8)
    window.book(1.0)
    clock.advance(5.0)
    assert window.quantile(100, at_least=1) == near(1)
    assert window.quantile(50, at_least=2) is None
    clock.advance(3600.0)
    assert window.quantile(50, at_least=1) is None
    window.book(2.0)
    assert window.quantile(50, at_least=1) == near(2)


def test_another_window_may_be_shorter() -> None:
    """The length of the window is the owner's to say."""
    clock = ManualClock()
    window = LatencyWindow(clock=clock, window_s=1.0)
    window.book(0.5)
    clock.advance(0.9)
    assert window.quantile(50, at_least=1) == near(0.5)
    clock.advance(0.1)
    assert window.quantile(50, at_least=1) is None


def test_times_beyond_the_scale_count_as_its_ends() -> None:
    """No time at all is a tenth of a millisecond, and an endless one is a day."""
    window = window_of(0.0, 0.0, math.inf)
    assert window.quantile(50, at_least=1) == near(MIN_S)
    assert window.quantile(100, at_least=1) == near(MAX_S)


@pytest.mark.parametrize("seconds", [-0.001, math.nan])
def test_what_is_no_time_is_refused(seconds: float) -> None:
    """A clock that went back is a defect, and not a fast answer."""
    with pytest.raises(ValueError, match="nothing takes"):
        window_of(seconds)


@pytest.mark.parametrize("percent", [0.0, -1.0, 100.1, math.nan])
def test_what_is_no_quantile_is_refused(percent: float) -> None:
    """Above 0 and at most 100."""
    with pytest.raises(ValueError, match="no quantile"):
        window_of(1.0).quantile(percent)


@pytest.mark.parametrize("window_s", [0.0, -1.0, math.inf, math.nan])
def test_a_window_has_a_length(window_s: float) -> None:
    """None is refused, and so is an endless one."""
    with pytest.raises(ValueError, match="no window"):
        LatencyWindow(clock=ManualClock(), window_s=window_s)


def test_streams_and_whole_answers_are_kept_apart() -> None:
    """The first content of a stream comes sooner than a whole answer: one says nothing of the other."""
    latency = Latency.unknown(clock=ManualClock())
    latency.first_content.book(1.0)
    assert latency.first_content.quantile(50, at_least=1) == near(1)
    assert latency.response.quantile(50, at_least=1) is None
    assert repr(latency.first_content) == "<LatencyWindow: 1 samples>"


@given(st.lists(st.floats(MIN_S, MAX_S), min_size=5, max_size=200), st.sampled_from(PERCENTS))
def test_any_quantile_is_within_five_per_cent(samples: list[float], percent: float) -> None:
    """Whatever the samples, from a tenth of a millisecond to a day."""
    assert window_of(*samples).quantile(percent) == near(exact(samples, percent))


@given(st.lists(st.floats(0, 100), min_size=5, max_size=50))
def test_a_larger_share_never_took_less(samples: list[float]) -> None:
    """Quantiles grow with their percentage."""
    told = [window_of(*samples).quantile(percent) or 0.0 for percent in PERCENTS]
    assert all(less <= more for less, more in pairwise(told))


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 300), st.sampled_from([0.01, 0.1, 1.0, 10.0])), min_size=1, max_size=60))
def test_only_the_last_minute_counts(steps: list[tuple[int, float]]) -> None:
    """Whatever the gaps between samples, the answer is that of the present minute's, in steps of 5 s."""
    clock = ManualClock()
    window = LatencyWindow(clock=clock)
    booked: list[tuple[float, float]] = []
    for tenths, sample in steps:
        clock.advance(tenths / 4)
        window.book(sample)
        booked.append((clock(), sample))
        start = clock() // 5 * 5 - 55
        recent = [seconds for at, seconds in booked if at >= start]
        assert window.quantile(90, at_least=1) == near(exact(recent, 90))
        assert window.quantile(90, at_least=len(recent) + 1) is None


def test_asking_twice_is_asking_anew_when_anything_changed() -> None:
    """What was told once is not told again after another sample came, or the old ones left."""
    clock = ManualClock()
    window = LatencyWindow(clock=clock)
    for _ in range(5):
        window.book(1.0)
    clock.advance(30.0)
    assert [window.quantile(50), window.quantile(50)] == [near(1.0), near(1.0)]
    for _ in range(6):
        window.book(2.0)
    assert [window.quantile(50), window.quantile(100)] == [near(2.0), near(2.0)]
    clock.advance(31.0)
    window.book(4.0)
    assert window.quantile(10) == near(2.0)
    assert window.quantile(100) == near(4.0)
    clock.advance(61.0)
    assert window.quantile(50) is None
