"""The key pool by example: choice, cool-downs, quarantine, probes, ramps and reload."""

from __future__ import annotations

from random import Random

import pytest

from trunkline_server.routing.clock import ManualClock
from trunkline_server.routing.failures import Failure, FailureClass
from trunkline_server.routing.key_pool import MAX_LANES, KeyPool, KeySpec, KeyView
from trunkline_server.routing.key_state import MAX_COOLING_MODELS, KeyStatus
from trunkline_server.routing.lease import LeaseError
from trunkline_server.routing.types import Reason, Refusal


def make(*keys: KeySpec, seed: int = 7) -> tuple[KeyPool, ManualClock]:
    clock = ManualClock(1000.0)
    return KeyPool("openai", keys or (KeySpec("a", 1), KeySpec("b", 1)), clock=clock, rng=Random(seed)), clock


def limited(retry_after_s: float | None = None) -> Failure:
    return Failure(FailureClass.RATE_LIMITED, "slow down", retry_after_s=retry_after_s)


REJECTED = Failure(FailureClass.KEY_REJECTED, "no such key")
EXHAUSTED = Failure(FailureClass.KEY_EXHAUSTED, "no credit")


def view(pool: KeyPool, key_id: str) -> KeyView:
    return next(each for each in pool.states() if each.id == key_id)


def until(pool: KeyPool, key_id: str) -> float:
    at = view(pool, key_id).until
    assert at is not None
    return at


def blockage(pool: KeyPool, model: str = "m", exclude: frozenset[str] = frozenset()) -> Refusal:
    refusal = pool.blockage(model, exclude)
    assert refusal is not None
    return refusal


def serve(pool: KeyPool, calls: int, model: str = "m", exclude: frozenset[str] = frozenset()) -> dict[str, int]:
    """Make so many calls one after the other, and count them by key."""
    counts: dict[str, int] = {}
    for _ in range(calls):
        key = pool.take(model, exclude)
        assert key is not None
        counts[key] = counts.get(key, 0) + 1
        pool.give_back(key, model)
    return counts


# -- which keys may serve


def test_models_and_blocked_models_decide_who_may_serve() -> None:
    """A key serves the models its patterns name, and none that its block list names."""
    pool, _ = make(
        KeySpec("mini", 1, models=("gpt-4o-mini",)),
        KeySpec("all-but-o", 1, models=("*",), block_models=("o*", "gpt-4o-mini")),
    )
    assert serve(pool, 4, "gpt-4o-mini") == {"mini": 4}
    assert serve(pool, 4, "gpt-4o") == {"all-but-o": 4}
    assert pool.may_serve("gpt-4o")
    assert not pool.may_serve("o3")
    assert pool.take("o3") is None
    assert not pool.usable_now("o3")
    assert pool.earliest("o3") is None
    assert blockage(pool, "o3").failure_class is FailureClass.MODEL_UNAVAILABLE
    assert blockage(pool, "o3").reason is Reason.MODEL_UNAVAILABLE


@pytest.mark.parametrize(
    ("patterns", "model", "allowed"),
    [
        (("gpt-4.1",), "gpt-4.1", True),
        (("gpt-4.1",), "gpt-4x1", False),
        (("gpt-*", "o3"), "o3", True),
        (("gpt-*",), "my-gpt-4", False),
        (("models/*",), "models/a/b", True),
        ((), "m", False),
        (("GPT-4",), "gpt-4", False),
    ],
)
def test_patterns_match_whole_names_as_they_are_written(
    patterns: tuple[str, ...], model: str, *, allowed: bool
) -> None:
    """A pattern stands for the whole name, in its own case; an empty list allows nothing."""
    pool, _ = make(KeySpec("a", 1, models=patterns))
    assert pool.may_serve(model) is allowed
    assert pool.usable_now(model) is allowed


def test_an_empty_pool_serves_nothing() -> None:
    """A pool without keys refuses every model."""
    pool = KeyPool("openai", [], clock=ManualClock(), rng=Random(1))
    assert not pool.may_serve("m")
    assert pool.take("m") is None


def test_excluded_keys_are_passed_over() -> None:
    """A request gets none of the keys that it excludes, and nothing when it excludes all."""
    pool, _ = make()
    assert serve(pool, 5, exclude=frozenset({"a"})) == {"b": 5}
    everyone = frozenset({"a", "b"})
    assert pool.take("m", everyone) is None
    assert pool.earliest("m", everyone) is None
    assert blockage(pool, "m", everyone).failure_class is FailureClass.MODEL_UNAVAILABLE
    pool.failed("a", "m", limited(20.0))
    pool.failed("b", "m", limited(30.0))
    assert blockage(pool, "m", everyone).failure_class is FailureClass.RATE_LIMITED
    assert blockage(pool, "m", everyone).retry_after_s == 20.0


def test_weight_zero_is_the_last_resort() -> None:
    """A key of weight 0 serves only while no other can, and several take turns."""
    pool, _ = make(KeySpec("a", 1), KeySpec("spare", 0), KeySpec("spare2", 0))
    assert serve(pool, 10) == {"a": 10}
    assert serve(pool, 2, exclude=frozenset({"a"})) == {"spare": 1, "spare2": 1}
    pool.failed("a", "m", limited(10.0))
    assert serve(pool, 10) == {"spare": 5, "spare2": 5}


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


# -- giving back


def test_giving_back_what_was_not_taken_raises() -> None:
    """A key is given back once for each call, under the model it was taken for."""
    pool, _ = make(KeySpec("a", 1))
    with pytest.raises(LeaseError, match="nobody"):
        pool.give_back("nobody", "m")
    assert pool.take("m") == "a"
    with pytest.raises(LeaseError, match="no call of other in flight"):
        pool.give_back("a", "other")
    pool.give_back("a", "m")
    with pytest.raises(LeaseError):
        pool.give_back("a", "m")
    assert pool.in_flight == 0


# -- reload


def test_state_carries_over_by_id_and_fingerprint() -> None:
    """A reload keeps what was learnt of a key unless its secret changed, and takes over weights and models."""
    pool, clock = make(KeySpec("a", 1, fingerprint="1"), KeySpec("b", 1, fingerprint="1"))
    pool.failed("a", "m", limited(50.0))
    pool.failed("b", "m", REJECTED)
    pool.reconfigure([KeySpec("a", 5, fingerprint="1"), KeySpec("b", 1, fingerprint="2")])
    assert until(pool, "a") == clock() + 50
    assert view(pool, "b").status is KeyStatus.ACTIVE
    pool.reconfigure([KeySpec("a", 5, ("x",), fingerprint="1")])
    assert not pool.may_serve("m")
    assert pool.take("x") == "a"


def test_a_removed_key_ends_its_calls_and_takes_no_new_one() -> None:
    """A removed key is shown until its last call has ended, and may come back with what it had."""
    pool, _ = make(KeySpec("a", 1), KeySpec("b", 1))
    held = [pool.take("m"), pool.take("m"), pool.take("m")]
    count = held.count("a")
    pool.reconfigure([KeySpec("b", 1)])
    assert serve(pool, 5) == {"b": 5}
    assert view(pool, "a").status is KeyStatus.REMOVED
    pool.failed("a", "m", REJECTED)
    pool.reconfigure([KeySpec("b", 1), KeySpec("a", 1)])
    assert view(pool, "a").in_flight == count
    assert view(pool, "a").status is KeyStatus.QUARANTINED
    pool.reconfigure([KeySpec("b", 1)])
    for key in held:
        assert key is not None
        pool.give_back(key, "m")
    assert [each.id for each in pool.states()] == ["b"]


def test_a_late_word_about_a_former_secret_is_dropped() -> None:
    """A rejection of a call that used the old secret does not quarantine the new one, if the report says which."""
    pool, _ = make(KeySpec("a", 1, fingerprint="old"))
    assert pool.take("m") == "a"
    used = pool.fingerprint("a")
    pool.reconfigure([KeySpec("a", 1, fingerprint="new")])
    assert view(pool, "a").in_flight == 1
    pool.failed("a", "m", REJECTED, fingerprint=used)
    pool.give_back("a", "m")
    assert view(pool, "a").status is KeyStatus.ACTIVE
    pool.failed("a", "m", REJECTED, fingerprint="new")
    assert view(pool, "a").status is KeyStatus.QUARANTINED


def test_a_key_that_stands_there_twice_is_refused() -> None:
    """A configuration that names an id twice changes nothing."""
    pool, _ = make()
    with pytest.raises(ValueError, match="twice: c"):
        pool.reconfigure([KeySpec("c", 1), KeySpec("c", 2)])
    assert [each.id for each in pool.states()] == ["a", "b"]


@pytest.mark.parametrize("weight", [-1.0, float("nan"), float("inf")])
def test_a_weight_without_a_share_is_refused(weight: float) -> None:
    """A weight is a finite number from 0."""
    with pytest.raises(ValueError, match="the weight of key a"):
        KeySpec("a", weight)


# -- bounds and telling


def test_models_that_callers_invent_do_not_pile_up() -> None:
    """Turns are remembered for a bounded number of models."""
    pool, _ = make()
    for number in range(3 * MAX_LANES):
        serve(pool, 1, f"invented-{number}")
    assert len(pool._lanes) == MAX_LANES
    pool.failed("a", "m", limited(10.0))
    for number in range(MAX_LANES):
        serve(pool, 1, f"invented-{number}")
    assert serve(pool, 5, "m") == {"b": 5}


def test_cool_downs_of_invented_models_do_not_pile_up() -> None:
    """Cool-downs are remembered for a bounded number of models; the ones that end first go first."""
    pool, _ = make()
    pool.failed("a", "m", limited(200.0))
    for number in range(3 * MAX_COOLING_MODELS):
        pool.failed("a", f"invented-{number}", limited(5.0))
    cooling = dict(view(pool, "a").cooling)
    assert len(cooling) == MAX_COOLING_MODELS
    assert "m" in cooling


def test_the_pool_tells_its_state_readably() -> None:
    """The repr of pool and key say in words what each key is doing."""
    pool, clock = make(KeySpec("a", 2.5), KeySpec("b", 1), KeySpec("c", 1))
    pool.failed("a", "m", limited(5.0))
    pool.failed("b", "m", REJECTED)
    assert pool.take("m") == "c"
    assert repr(pool) == ("<KeyPool openai: a COOLING, 0 in flight; b QUARANTINED, 0 in flight; c ACTIVE, 1 in flight>")
    assert repr(pool._keys["a"]) == "<KeyState a weight 2.5, 0 in flight, m cool until 1005.000>"
    assert repr(pool._keys["c"]) == "<KeyState c weight 1, 1 in flight>"
    clock.advance(70)
    pool.reconfigure([KeySpec("b", 1)])
    assert pool.take("m") == "b"
    assert repr(pool._keys["b"]) == "<KeyState b weight 1, 1 in flight, KEY_REJECTED probing>"
    pool.succeeded("b", "m")
    assert repr(pool._keys["b"]) == "<KeyState b weight 1, 1 in flight, ramping from 1070.000>"
