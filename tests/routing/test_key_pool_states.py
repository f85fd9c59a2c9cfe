"""What is learnt of a key, by example: cool-downs, quarantine, probes, and what says nothing."""

from __future__ import annotations

import pytest
from tests.routing.key_house import EXHAUSTED, REJECTED, blockage, limited, make, serve, until, view

from trunkline_server.routing.failures import Failure, FailureClass
from trunkline_server.routing.key_pool import KeySpec, KeyView
from trunkline_server.routing.key_state import KeyStatus

# -- cool-downs


@pytest.mark.parametrize(
    ("asked_s", "kept_s"),
    [(0.0, 0.05), (-3.0, 0.05), (float("nan"), 0.05), (7.5, 7.5), (4000.0, 300.0), (float("inf"), 300.0)],
)
def test_retry_after_cools_within_bounds(asked_s: float, kept_s: float) -> None:
    """A key cools for as long as the provider asks, but for 0.05 s at least and 300 s at most."""
    pool, clock = make(KeySpec("a", 1))
    pool.failed("a", "m", limited(asked_s))
    assert until(pool, "a") == pytest.approx(clock() + kept_s)


def test_a_429_without_retry_after_cools_longer_each_time() -> None:
    """Without Retry-After the cool-down doubles from 1 s to 60 s, and a success begins it anew."""
    pool, clock = make(KeySpec("a", 1))
    spans = []
    for _ in range(8):
        pool.failed("a", "m", limited())
        spans.append(until(pool, "a") - clock())
        clock.advance(spans[-1])
    assert spans == pytest.approx([1, 2, 4, 8, 16, 32, 60, 60])
    pool.succeeded("a", "m")
    pool.failed("a", "m", limited())
    assert until(pool, "a") - clock() == pytest.approx(1)


def test_many_429s_of_one_moment_count_as_one() -> None:
    """Calls that were in flight together and are all refused do not lengthen the next cool-down; nor end this one."""
    pool, clock = make(KeySpec("a", 1))
    for _ in range(20):
        pool.failed("a", "m", limited())
    pool.succeeded("a", "m")
    assert until(pool, "a") - clock() == pytest.approx(1)
    clock.advance(1)
    pool.failed("a", "m", limited())
    assert until(pool, "a") - clock() == pytest.approx(2)


def test_a_long_quiet_forgets_earlier_429s() -> None:
    """Five minutes after a cool-down the next one starts at 1 s again."""
    pool, clock = make(KeySpec("a", 1))
    for _ in range(3):
        pool.failed("a", "m", limited())
        clock.advance(until(pool, "a") - clock())
    clock.advance(300)
    pool.failed("a", "m", limited())
    assert until(pool, "a") - clock() == pytest.approx(1)


def test_a_later_deadline_is_never_shortened() -> None:
    """A shorter Retry-After leaves a longer cool-down as it is."""
    pool, clock = make(KeySpec("a", 1))
    pool.failed("a", "m", limited(100.0))
    pool.failed("a", "m", limited(1.0))
    pool.failed("a", "m", limited())
    assert until(pool, "a") == clock() + 100
    pool.failed("a", "m", limited(200.0))
    assert until(pool, "a") == clock() + 200


def test_cooling_is_for_the_model_alone() -> None:
    """A key that cools for one model serves the others."""
    pool, clock = make(KeySpec("a", 1))
    pool.failed("a", "m", limited(9.0))
    assert not pool.usable_now("m")
    assert pool.take("other") == "a"
    assert pool.earliest("m") == clock() + 9
    refusal = blockage(pool)
    assert refusal.failure_class is FailureClass.RATE_LIMITED
    assert refusal.retry_after_s == 9
    clock.advance(9)
    assert pool.earliest("m") == clock()
    assert pool.take("m") == "a"
    assert pool.blockage("m") is None


def test_earliest_is_that_of_the_keys_left() -> None:
    """The earliest time looks at the keys that the request does not exclude, and follows a deadline that moved."""
    pool, clock = make()
    pool.failed("a", "m", limited(5.0))
    assert pool.earliest("m") == clock()
    pool.failed("b", "m", limited(8.0))
    assert pool.earliest("m") == clock() + 5
    assert pool.earliest("m", frozenset({"a"})) == clock() + 8
    pool.failed("a", "m", limited(20.0))
    assert pool.earliest("m") == clock() + 8


# -- quarantine


@pytest.mark.parametrize(("failure", "base_s"), [(REJECTED, 60.0), (EXHAUSTED, 300.0)])
def test_quarantine_doubles_up_to_an_hour(failure: Failure, base_s: float) -> None:
    """Each failed probe doubles the time to the next, jittered by a tenth, up to an hour."""
    pool, clock = make(KeySpec("a", 1))
    pool.failed("a", "m", failure)
    for n in range(8):
        span_s = until(pool, "a") - clock()
        middle_s = base_s * 2**n
        assert min(0.9 * middle_s, 3240) <= span_s <= min(1.1 * middle_s, 3600) + 1e-6
        clock.advance(span_s - 1e-6)
        assert pool.take("m") is None
        clock.advance(2e-6)
        assert pool.take("m") == "a"
        pool.failed("a", "m", failure)
        pool.give_back("a", "m")


def test_quarantine_is_for_all_models() -> None:
    """A rejected key serves no model until its probe."""
    pool, _ = make()
    pool.failed("a", "m", REJECTED)
    assert serve(pool, 3, "m") == {"b": 3}
    assert serve(pool, 3, "other") == {"b": 3}
    assert view(pool, "a").reason is FailureClass.KEY_REJECTED


def test_one_probe_at_a_time() -> None:
    """From its probe's time on a key gets one call, of whatever model, and no second one while that is in flight."""
    pool, clock = make(KeySpec("a", 1))
    pool.failed("a", "m", REJECTED)
    clock.advance(70)
    assert pool.take("m") == "a"
    assert pool.take("m") is None
    assert pool.take("other") is None
    assert pool.earliest("m") is None
    assert blockage(pool).failure_class is FailureClass.KEY_REJECTED
    assert blockage(pool).retry_after_s == 1.0
    pool.failed("a", "m", Failure(FailureClass.SERVER_ERROR, "500"))
    assert pool.take("other") is None
    pool.give_back("a", "m")
    assert view(pool, "a").status is KeyStatus.QUARANTINED
    assert pool.take("other") == "a"


def test_only_the_probe_itself_ends_a_quarantine() -> None:
    """Words and ends of older calls of another model are not taken for the probe's."""
    pool, clock = make(KeySpec("a", 1))
    assert pool.take("other") == "a"
    pool.failed("a", "other", REJECTED)
    clock.advance(70)
    assert pool.take("m") == "a"
    pool.succeeded("a", "other")
    pool.give_back("a", "other")
    assert view(pool, "a").status is KeyStatus.QUARANTINED
    assert pool.take("m") is None


def test_a_failed_probe_keeps_the_key_from_no_model_for_ever() -> None:
    """Models that found the key probing get it again at its next probe."""
    pool, clock = make(KeySpec("a", 1))
    pool.failed("a", "m", REJECTED)
    clock.advance(70)
    assert pool.take("m") == "a"
    assert pool.take("other") is None
    pool.failed("a", "m", REJECTED)
    pool.give_back("a", "m")
    assert pool.take("other") is None
    clock.advance(140)
    assert pool.take("other") == "a"


def test_a_cool_down_beside_a_probe_is_no_time_to_wait_for() -> None:
    """A key whose probe is under way comes back by that probe's end, whatever else it waits for."""
    pool, clock = make(KeySpec("a", 1))
    pool.failed("a", "m", REJECTED)
    clock.advance(70)
    pool.failed("a", "m", limited(5.0))
    assert pool.earliest("m") == clock() + 5
    assert pool.take("other") == "a"
    assert pool.earliest("m") is None
    pool.succeeded("a", "other")
    assert pool.earliest("m") == clock() + 5


def test_a_probe_that_succeeds_ends_the_quarantine() -> None:
    """After a successful probe the key ramps, and the next quarantine starts at its base again."""
    pool, clock = make(KeySpec("a", 1))
    for _ in range(3):
        pool.failed("a", "m", REJECTED)
        clock.advance(until(pool, "a") - clock() + 1e-6)
        assert pool.take("m") == "a"
        pool.failed("a", "m", REJECTED)
        pool.give_back("a", "m")
    clock.advance(until(pool, "a") - clock() + 1e-6)
    assert pool.take("m") == "a"
    assert pool.take("other") is None
    pool.succeeded("a", "m")
    assert view(pool, "a") == KeyView("a", KeyStatus.RAMPING, clock() + 30, 1)
    assert pool.take("other") == "a"
    pool.failed("a", "m", REJECTED)
    assert until(pool, "a") - clock() <= 66


def test_words_of_calls_from_before_change_little() -> None:
    """Rejections and successes of calls that were in flight at the quarantine neither lengthen nor end it."""
    pool, clock = make(KeySpec("a", 1))
    for _ in range(3):
        assert pool.take("m") == "a"
    pool.failed("a", "m", REJECTED)
    pool.failed("a", "m", REJECTED)
    pool.succeeded("a", "m")
    assert until(pool, "a") - clock() <= 66
    pool.failed("a", "m", EXHAUSTED)
    assert until(pool, "a") - clock() >= 270
    assert view(pool, "a").reason is FailureClass.KEY_EXHAUSTED
    pool.failed("a", "m", REJECTED)
    assert until(pool, "a") - clock() >= 270


def test_a_probe_goes_to_a_request_with_another_key_behind_it() -> None:
    """A key that is due for its probe takes its turn among the others; the rest goes on elsewhere meanwhile."""
    pool, clock = make()
    pool.failed("a", "m", REJECTED)
    serve(pool, 50)
    clock.advance(70)
    taken = [pool.take("m") for _ in range(10)]
    assert sorted(taken, key=str) == ["a"] + ["b"] * 9


@pytest.mark.parametrize(
    ("first", "second", "told"),
    [
        (REJECTED, REJECTED, FailureClass.KEY_REJECTED),
        (REJECTED, EXHAUSTED, FailureClass.KEY_EXHAUSTED),
        (EXHAUSTED, EXHAUSTED, FailureClass.KEY_EXHAUSTED),
        (REJECTED, limited(5.0), FailureClass.RATE_LIMITED),
    ],
)
def test_the_blockage_tells_what_waiting_would_help(first: Failure, second: Failure, told: FailureClass) -> None:
    """It is a rejection only if every key was rejected, and a rate limit if any key merely cools."""
    pool, clock = make()
    pool.failed("a", "m", first)
    pool.failed("b", "m", second)
    refusal = blockage(pool)
    assert refusal.failure_class is told
    assert refusal.retry_after_s == pytest.approx(min(until(pool, "a"), until(pool, "b")) - clock())


@pytest.mark.parametrize(
    "failure_class", [c for c in FailureClass if c.value not in {"RATE_LIMITED", "KEY_REJECTED", "KEY_EXHAUSTED"}]
)
def test_other_classes_say_nothing_of_a_key(failure_class: FailureClass) -> None:
    """A failure that is not the key's leaves the key as it is."""
    pool, _ = make(KeySpec("a", 1))
    pool.failed("a", "m", Failure(failure_class, "x", retry_after_s=10))
    assert view(pool, "a").status is KeyStatus.ACTIVE


@pytest.mark.parametrize("failure_class", [FailureClass.RATE_LIMITED, FailureClass.KEY_REJECTED])
def test_what_a_caller_brought_about_counts_nothing(failure_class: FailureClass) -> None:
    """A failure that a caller caused alone leaves the key as it is."""
    pool, _ = make(KeySpec("a", 1))
    pool.failed("a", "m", Failure(failure_class, "x", caused_by_caller=True))
    assert view(pool, "a").status is KeyStatus.ACTIVE


def test_reports_of_unknown_keys_are_dropped() -> None:
    """A report about a key that was removed meanwhile changes nothing."""
    pool, _ = make()
    pool.failed("gone", "m", REJECTED)
    pool.succeeded("gone", "m")
    assert [each.status for each in pool.states()] == [KeyStatus.ACTIVE] * 2


def test_a_moving_cap_shrinks_when_its_key_is_limited_in_rate_and_grows_with_use() -> None:
    """By a tenth at most once a second and once for the calls since then; by one call in time while half is in use."""
    pool, clock = make(KeySpec("a", 1, max_in_flight=20, adaptive=True))
    taken = [pool.take("m") for _ in range(25)]
    assert taken.count("a") == 20
    for _ in range(3):
        pool.failed("a", "m", limited(0.05), dispatched_at=clock())
    clock.advance(0.2)
    for _ in range(3):
        pool.give_back("a", "m")
    assert [pool.take("m") for _ in range(2)] == ["a", None], "18 of 20 may be in flight now"
    for _ in range(40):
        pool.succeeded("a", "m")
    clock.advance(0.1)
    assert [pool.take("m") for _ in range(3)] == ["a", "a", None], "and 20 again, but never more"


def test_a_cap_that_was_not_said_to_move_stands() -> None:
    """Being limited in rate cools the key, and leaves its cap alone."""
    pool, clock = make(KeySpec("a", 1, max_in_flight=2))
    assert [pool.take("m") for _ in range(3)] == ["a", "a", None]
    pool.failed("a", "m", limited(0.05))
    pool.give_back("a", "m")
    clock.advance(0.1)
    assert [pool.take("m") for _ in range(2)] == ["a", None]


def test_a_bucket_does_not_fill_while_its_key_cools() -> None:
    """What the provider stopped earns nothing meanwhile: after the cool-down one call goes, then one at a time."""
    pool, clock = make(KeySpec("a", 1, requests_per_minute=600, burst_s=1))
    assert [pool.take("m") for _ in range(11)].count("a") == 9, "0.995 of ten"
    pool.failed("a", "m", limited(2.0))
    clock.advance(2.01)
    assert [pool.take("m") for _ in range(3)] == ["a", None, None]
    clock.advance(0.11)
    assert [pool.take("m") for _ in range(2)] == ["a", None]
