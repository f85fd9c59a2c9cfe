"""Limits a minute: the formula by example, and one number against a bucket that is filled and emptied by hand."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline_server.routing.rate import Bucket, Rate

# -- by example


def test_requests_go_a_period_apart() -> None:
    """60 a minute and a burst of a second let one request through every 60 / (0.995 x 60) seconds."""
    bucket = Bucket(Rate(60, 1.0))
    moments = []
    now = 100.0
    for _ in range(4):
        now = max(now, bucket.ready_at(1))
        moments.append(now - 100.0)
        bucket.reserve(1, now)
    assert moments == pytest.approx([0.0, 1.00503, 2.0101, 3.0151], abs=1e-4)


def test_a_pause_earns_a_burst_and_no_more() -> None:
    """After an hour, 600 a minute with a burst of 2 s let 19 requests go at once, and then one each period."""
    bucket = Bucket(Rate(600, 2.0))
    bucket.reserve(1, 0.0)
    calls = 0
    while bucket.ready_at(1) <= 3600.0:
        bucket.reserve(1, 3600.0)
        calls += 1
    assert calls == 19
    assert bucket.ready_at(1) - 3600.0 <= 60 / (0.995 * 600)


def test_what_is_larger_than_the_burst_goes_when_the_bucket_is_full() -> None:
    """It leaves the bucket in debt, for as long as its units take to come in again."""
    bucket = Bucket(Rate(60_000, 1.0))
    bucket.reserve(100, 10.0)
    full_at = bucket.full_at
    assert full_at == pytest.approx(10.0 + 0.1 / 0.995)
    assert bucket.ready_at(20_000) == full_at
    bucket.reserve(20_000, full_at)
    assert bucket.ready_at(1) == pytest.approx(full_at + 20 / 0.995 - 1.0, abs=0.01)
    assert bucket.ready_at(5_000) == pytest.approx(full_at + 20 / 0.995)


def test_only_more_than_a_whole_minute_never_fits() -> None:
    """A request of exactly the limit goes, one above it never does."""
    rate = Rate(1000, 1.0)
    assert not rate.never_fits(1000)
    assert rate.never_fits(1001)


@pytest.mark.parametrize(
    ("per_minute", "burst_s"), [(0, 1.0), (-5, 1.0), (math.inf, 1.0), (math.nan, 1.0), (60, -1.0), (60, math.nan)]
)
def test_what_is_no_limit_is_refused(per_minute: float, burst_s: float) -> None:
    """A limit is a finite number above 0, a burst one from 0."""
    with pytest.raises(ValueError, match="is no limit"):
        Rate(per_minute, burst_s)


def test_a_refund_of_what_has_long_come_in_again_is_none() -> None:
    """What was reserved before the bucket was last full is paid: its refund must not serve later debts."""
    bucket = Bucket(Rate(60_000, 1.0))
    bucket.reserve(5_000, 0.0)
    bucket.reserve(30_000, 100.0)
    full_at = bucket.full_at
    bucket.settle(5_000, 0, 0.0)
    assert bucket.full_at == full_at
    bucket.settle(30_000, 10_000, 100.0)
    assert bucket.full_at == pytest.approx(100.0 + 10 / 0.995)


def test_a_provider_may_lower_what_is_left_and_never_raise_it() -> None:
    """`remaining` speaks of the time of the call; what is above our own count, or of long ago, changes nothing."""
    bucket = Bucket(Rate(600, 1.0))
    bucket.lower_to(3, 50.0, 50.0)
    assert bucket.ready_at(1) <= 50.0
    assert bucket.ready_at(4) > 50.0
    before = bucket.full_at
    bucket.lower_to(9, 50.0, 50.0)
    bucket.lower_to(0, 20.0, 50.0)
    assert bucket.full_at == before
    bucket.lower_to(-7, 50.0, 50.0)
    assert bucket.full_at == pytest.approx(51.0)


def test_full_again_is_taken_at_its_word() -> None:
    """A time of being full shortens a debt and never lengthens one, and no refund comes on top."""
    bucket = Bucket(Rate(60_000, 1.0))
    bucket.reserve(30_000, 0.0)
    bucket.full_by(5.0, 2.0)
    assert bucket.full_at == 5.0
    bucket.full_by(50.0, 2.0)
    bucket.settle(30_000, 0, 0.0)
    assert bucket.full_at == 5.0


# -- against a bucket kept by hand


@dataclass(slots=True)
class ByHand:
    """A bucket with a level: it is filled as time passes, up to what it holds, and may be in debt."""

    per_s: float
    holds: float
    level: float
    now: float = 0.0
    full_since: float = 0.0
    """While it is full: since when."""
    last_full: float = 0.0

    def pass_time(self, seconds: float) -> None:
        """Let what comes in come in."""
        missing = self.holds - self.level
        if missing > 0:
            gained = seconds * self.per_s
            if gained >= missing:
                self.full_since = self.now + missing / self.per_s
            self.level = min(self.holds, self.level + gained)
        self.now += seconds

    def fits(self, units: float) -> float:
        """Return by how much a request fits, or does not."""
        return self.level - min(units, self.holds)

    def take(self, units: float) -> None:
        """Take so much."""
        if self.level >= self.holds:
            self.last_full = self.now
        self.level -= units

    def settle(self, reserved: float, used: float, at: float) -> None:
        """Take what was owed, since when it was owed; give back what was not used, unless it has come in since."""
        owed = used - reserved
        if owed > 0:
            idle = (self.now - self.full_since) * self.per_s if self.level >= self.holds else 0.0
            self.level -= max(0.0, owed - idle)
            if owed < idle:
                self.full_since += owed / self.per_s
        elif at >= self.last_full and self.level < self.holds:
            self.level = min(self.holds, self.level - owed)
            if self.level >= self.holds:
                self.full_since = self.now


steps = st.lists(
    st.tuples(
        st.sampled_from(["pass", "pass", "take", "take", "settle"]),
        st.floats(0.0, 5.0),
        st.integers(1, 400),
        st.integers(0, 500),
    ),
    max_size=40,
)


@given(st.sampled_from([60, 600, 6000]), st.sampled_from([0.0, 0.5, 1.0, 3.0]), steps)
def test_one_number_is_as_good_as_a_bucket(
    per_minute: int, burst_s: float, played: list[tuple[str, float, int, int]]
) -> None:
    """Whatever is reserved, settled and waited for, `full_at` lets through what a bucket with a level would."""
    rate = Rate(per_minute, burst_s)
    bucket, per_s = Bucket(rate), 0.995 * per_minute / 60
    holds = max(burst_s * per_s, 1.0)
    by_hand = ByHand(per_s, holds, holds)
    open_calls: list[tuple[int, float]] = []
    for step, seconds, units, used in played:
        now = by_hand.now
        if step == "pass":
            by_hand.pass_time(seconds)
        elif step == "take":
            fits = by_hand.fits(units)
            if abs(fits) > 1e-6:
                assert (bucket.ready_at(units) <= now) == (fits > 0)
            if fits > 1e-6:
                bucket.reserve(units, now)
                by_hand.take(units)
                open_calls.append((units, now))
        elif open_calls and by_hand.level < by_hand.holds - 1e-6:
            reserved, at = open_calls.pop(0)
            bucket.settle(reserved, used, at)
            by_hand.settle(reserved, used, at)
        shortage_s = max(0.0, by_hand.holds - by_hand.level) / per_s
        assert max(0.0, bucket.full_at - by_hand.now) == pytest.approx(shortage_s, abs=1e-5)


@given(
    st.integers(1, 2000),
    st.floats(0.0, 5.0),
    st.lists(st.tuples(st.floats(0.0, 3.0), st.integers(1, 300)), min_size=1, max_size=80),
)
def test_no_stretch_of_time_gets_more_than_its_share(
    per_minute: int, burst_s: float, calls: list[tuple[float, int]]
) -> None:
    """Within any stretch go at most the stretch's units, a burst's, and what the first one took beyond it."""
    rate = Rate(per_minute, burst_s)
    bucket, now = Bucket(rate), 0.0
    gone: list[tuple[float, int]] = []
    for pause_s, units in calls:
        now = max(now + pause_s, bucket.ready_at(units))
        bucket.reserve(units, now)
        gone.append((now, units))
    for first, (began, _) in enumerate(gone):
        total = 0
        for at, units in gone[first:]:
            total += units
            # The last of a stretch may be larger than the burst: it goes when the bucket is full.
            beyond = max(units, rate.burst_s / rate.unit_s)
            assert total <= (at - began) / rate.unit_s + beyond + 1e-6
