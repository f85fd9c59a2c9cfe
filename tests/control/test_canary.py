"""The books of a canary and the verdicts on it."""

from __future__ import annotations

import statistics

from hypothesis import given
from hypothesis import strategies as st
from tests.control.routes_house import outcome

from trunkline_server.control.canary import Action, Canary, Verdict
from trunkline_server.control.types import Guard


def canary(guard: Guard | None = None) -> Canary:
    return Canary(2, 1, 0.1, guard or Guard(), ends_at=60.0)


def feed(trial: Canary, version: int, count: int, *, failed: int = 0, first_s: float | None = None) -> Verdict | None:
    """Feed calls, the failed ones first; return the last verdict."""
    verdict = None
    for index in range(count):
        verdict = trial.feed(outcome(version, failed=index < failed, first_content_s=first_s))
    return verdict


def test_it_is_not_judged_by_few_calls() -> None:
    """Up to 19 calls may all fail; the 20th decides."""
    trial = canary()
    assert feed(trial, 2, 19, failed=19) is None
    verdict = feed(trial, 2, 1)
    assert verdict is not None
    assert verdict == Verdict(Action.ROLL_BACK, "19 of 20 calls failed (95.0%), 5.0% are allowed")


def test_as_many_failures_as_are_allowed_are_allowed() -> None:
    """The ratio itself does not break the guard, more does."""
    trial = canary()
    assert feed(trial, 2, 20, failed=1) is None
    assert feed(trial, 2, 1, failed=1) is not None


def test_what_the_running_version_fails_is_allowed() -> None:
    """An outage that hits both is not the canary's fault."""
    trial = canary()
    feed(trial, 1, 40, failed=20)
    assert feed(trial, 2, 40, failed=20) is None


def test_a_single_failure_of_an_idle_version_excuses_little() -> None:
    """A running version with few calls counts as if the missing ones had succeeded."""
    trial = canary(Guard(error_ratio=0.0))
    feed(trial, 1, 1, failed=1)
    assert feed(trial, 2, 20, failed=1) is None
    assert feed(trial, 2, 1, failed=1) is not None


def test_the_first_token_is_compared_from_twenty_streams_on() -> None:
    """Three times the running version's median breaks the guard as soon as 20 streams of each are there."""
    trial = canary()
    feed(trial, 1, 19, first_s=0.1)
    assert feed(trial, 2, 30, first_s=0.3) is None
    feed(trial, 1, 1, first_s=0.1)
    verdict = feed(trial, 2, 1, first_s=0.3)
    assert verdict is not None
    assert verdict.action is Action.ROLL_BACK
    assert "0.300 s" in verdict.why


def test_calls_without_a_stream_say_nothing_of_the_first_token() -> None:
    """Only streams with content are compared."""
    trial = canary()
    feed(trial, 1, 40)
    assert feed(trial, 2, 40) is None
    assert trial.at_end().action is Action.PROMOTE


def test_calls_of_other_versions_do_not_count() -> None:
    """A call that began before the running version did is nobody's."""
    trial = canary()
    feed(trial, 7, 100, failed=100)
    state = trial.state()
    assert (state.calls, state.failed, state.base_calls, state.base_failed) == (0, 0, 0, 0)


def test_too_few_calls_are_told_at_the_end() -> None:
    """A trial that nobody used is kept, and its verdict says by how little."""
    trial = canary()
    feed(trial, 2, 3)
    assert trial.at_end() == Verdict(Action.PROMOTE, "its window is over, with too few calls to judge: 3 of 20")


def test_it_is_judged_once_more_at_the_end() -> None:
    """What the running version's calls have shown since the canary's last one counts."""
    trial = canary()
    feed(trial, 2, 20, first_s=0.3)
    feed(trial, 1, 20, first_s=0.1)
    assert trial.at_end().action is Action.ROLL_BACK


@given(st.lists(st.tuples(st.booleans(), st.booleans()), max_size=200), st.floats(0.0, 1.0))
def test_it_is_taken_back_exactly_when_its_ratio_is_above_what_is_allowed(
    calls: list[tuple[bool, bool]], error_ratio: float
) -> None:
    """Over any history of calls the verdict follows the definition."""
    trial = canary(Guard(error_ratio=error_ratio))
    own: list[bool] = []
    base: list[bool] = []
    for of_canary, failed in calls:
        (own if of_canary else base).append(failed)
        verdict = trial.feed(outcome(2 if of_canary else 1, failed=failed))
        if of_canary:
            allowed = max(error_ratio, sum(base) / max(len(base), 20))
            assert (verdict is not None) == (len(own) >= 20 and sum(own) / len(own) > allowed)


@given(st.lists(st.floats(0.001, 10.0), min_size=20, max_size=700), st.floats(0.001, 10.0))
def test_the_median_is_that_of_the_latest(times: list[float], base_s: float) -> None:
    """The lower median of the latest 512 streams decides, in whatever order they came."""
    trial = canary(Guard(error_ratio=1.0, first_token_ratio=1.0))
    feed(trial, 1, 20, first_s=base_s)
    verdict = None
    for time_s in times:
        verdict = trial.feed(outcome(2, first_content_s=time_s))
    assert (verdict is not None) == (statistics.median_low(times[-512:]) > base_s)
