"""Keys with limits, by example: requests and tokens a minute, caps, accounts, and an operator's word."""

from __future__ import annotations

import pytest
from tests.routing.key_house import REJECTED, blockage, limited, make, serve, until, view

from trunkline_server.routing.failures import FailureClass
from trunkline_server.routing.key_limited_lane import EXACT_KEYS, MAX_PACES, LimitedLane
from trunkline_server.routing.key_limits import MAX_LIMITED_MODELS
from trunkline_server.routing.key_pool import KeyPool, KeySpec
from trunkline_server.routing.key_state import KeyStatus
from trunkline_server.routing.lease import LeaseError
from trunkline_server.routing.types import Reason

PERIOD_S = 60 / 59.7
NOBODY: frozenset[str] = frozenset()


def spend(pool: KeyPool, tokens: int, model: str = "m", exclude: frozenset[str] = NOBODY) -> str | None:
    """Make one call of so many tokens that ends at once."""
    key = pool.take(model, exclude, tokens)
    if key is not None:
        pool.give_back(key, model)
    return key


# -- requests and tokens a minute


def test_a_key_waits_for_its_next_request() -> None:
    """A key at its limit serves again a period later, is not skipped till then, and says so as a limit of ours."""
    pool, clock = make(KeySpec("a", 1, requests_per_minute=60))
    assert pool.take("m") == "a"
    assert pool.take("m") is None
    assert not pool.usable_now("m")
    assert pool.earliest("m") == pytest.approx(clock() + PERIOD_S)
    refusal = blockage(pool)
    assert (refusal.failure_class, refusal.reason) == (FailureClass.SATURATED, Reason.RATE_LIMITED)
    assert refusal.retry_after_s == pytest.approx(PERIOD_S)
    assert not refusal.never
    clock.advance(PERIOD_S + 1e-9)
    assert pool.blockage("m") is None
    assert pool.take("m") == "a"


def test_limits_are_for_each_model_alone() -> None:
    """What one model used of a key is not taken from another's."""
    pool, _ = make(KeySpec("a", 1, requests_per_minute=60, tokens_per_minute=6000))
    assert spend(pool, 3000, "m1") == "a"
    assert pool.take("m1") is None
    assert spend(pool, 3000, "m2") == "a"


def test_the_time_depends_on_the_size_of_the_request() -> None:
    """A small request fits sooner than a large one, and each gets the time that is true for it."""
    pool, clock = make(KeySpec("a", 1, tokens_per_minute=60_000))
    assert spend(pool, 900) == "a"
    assert pool.usable_now("m", tokens=50)
    assert not pool.usable_now("m", tokens=500)
    told = {tokens: pool.earliest("m", tokens=tokens) for tokens in (50, 500, 995, 20_000)}
    unit_s = 60 / 59_700
    assert told[50] == clock()
    assert told[500] == pytest.approx(clock() + 900 * unit_s - (1.0 - 500 * unit_s))
    assert told[995] == told[20_000] == pytest.approx(clock() + 900 * unit_s)
    at = told[500]
    assert at is not None
    clock.advance(at - clock() - 1e-6)
    assert pool.take("m", tokens=500) is None
    clock.advance(2e-6)
    assert pool.take("m", tokens=500) == "a"


def test_a_large_request_finds_the_key_with_room() -> None:
    """Of keys with different limits the one that has room serves, though it is not its turn."""
    pool, _ = make(KeySpec("small", 100, tokens_per_minute=6000), KeySpec("large", 1, tokens_per_minute=600_000))
    assert [spend(pool, 20_000) for _ in range(2)] == ["large", None]
    assert spend(pool, 50) == "small"


def test_more_than_a_whole_minute_never_fits() -> None:
    """Such a request finds no key, is told to be so, and is no matter of waiting."""
    pool, _ = make(KeySpec("a", 1, tokens_per_minute=1000), KeySpec("b", 1, models=("big",)))
    assert pool.never_fits("m", 1001)
    assert not pool.never_fits("m", 1000)
    assert not pool.never_fits("big", 10**9)
    assert not pool.never_fits("big", 1000)
    assert pool.take("m", tokens=1001) is None
    assert pool.earliest("m", tokens=1001) is None
    refusal = pool.blockage("m", tokens=1001)
    assert refusal is not None
    assert refusal.never
    assert refusal.failure_class is FailureClass.MODEL_UNAVAILABLE
    assert "1001 tokens" in refusal.message
    assert pool.take("big", tokens=10**9) == "b"


def test_settling_brings_a_key_back_sooner_or_later() -> None:
    """What a call did not use is there again at once, what it used beyond its estimate is owed."""
    pool, clock = make(KeySpec("a", 1, tokens_per_minute=60_000))
    at = clock()
    assert spend(pool, 10_000) == "a"
    assert not pool.usable_now("m", tokens=100)
    pool.settle("a", "m", 10_000, 100, at=at)
    assert pool.usable_now("m", tokens=800)
    pool.settle("a", "m", 0, 5_000, at=at)
    assert pool.earliest("m", tokens=995) == pytest.approx(at + 5_100 * 60 / 59_700)
    before = pool.earliest("m", tokens=995)
    pool.settle("a", "m", 700, None, at=at)
    pool.settle("gone", "m", 700, 5, at=at)
    pool.settle("a", "other", 700, 5, at=at)
    assert pool.earliest("m", tokens=995) == before


def test_when_a_queue_has_gone() -> None:
    """The time for the last of a queue is that of its turn at the limits, and of the first one plainly the earliest."""
    pool, clock = make(KeySpec("a", 1, requests_per_minute=60), KeySpec("b", 1, requests_per_minute=30))
    assert pool.room_at("m", 1) == clock()
    for _ in range(2):
        assert pool.take("m")
    assert pool.room_at("m", 1) == pool.earliest("m")
    gone, at = 0, pool.room_at("m", 30)
    assert at is not None
    while gone < 30:
        next_at = pool.earliest("m")
        assert next_at is not None
        clock.advance(max(0.0, next_at - clock()) + 1e-9)
        gone += spend(pool, 0) is not None
    assert clock() - 1e-6 <= at <= clock() + PERIOD_S
    assert pool.room_at("m", 5, frozenset({"a", "b"})) is None
    plain, _ = make()
    assert plain.room_at("m", 10**6) == plain.earliest("m")
    assert plain.room_at("m", 3, frozenset({"a", "b"})) is None
    mixed, clock = make(KeySpec("a", 1, requests_per_minute=60), KeySpec("cap", 1, max_in_flight=2))
    assert mixed.room_at("m", 10**6) == clock()


def test_when_a_queue_before_many_keys_has_gone() -> None:
    """Of many keys it is not looked at each one every time; calls that went since are counted all the same."""
    keys = [KeySpec(f"k{number}", 1, requests_per_minute=60) for number in range(3 * EXACT_KEYS)]
    pool, clock = make(*keys)
    for _ in keys:
        clock.advance(1 / len(keys))
        assert spend(pool, 0)
    told: list[tuple[int, float]] = []
    for gone in range(4 * len(keys)):
        told = [(number, at) for number, at in told if number > gone]
        calls = 1 + gone % 500
        at = pool.room_at("m", calls)
        assert at is not None
        told.append((gone + calls, at))
        next_at = pool.earliest("m")
        assert next_at is not None
        clock.advance(max(0.0, next_at - clock()) + 1e-9)
        assert spend(pool, 0)
        assert all(clock() - 1e-6 <= at <= clock() + 2.1 for number, at in told if number == gone + 1)


def test_sizes_asked_for_do_not_pile_up() -> None:
    """What is known of the time of a queue's end is kept for a few sizes of requests."""
    pool, _ = make(KeySpec("a", 1, tokens_per_minute=60_000))
    for tokens in range(1, 100):
        pool.room_at("m", 5, tokens=tokens)
    lane = pool._lanes["m"]
    assert isinstance(lane, LimitedLane)
    assert len(lane._paces) <= MAX_PACES


def test_the_last_resort_keeps_its_limits() -> None:
    """A key of weight 0 serves while the others wait for their limits, within its own."""
    pool, _ = make(KeySpec("a", 1, requests_per_minute=60), KeySpec("spare", 0, requests_per_minute=60))
    assert [spend(pool, 0) for _ in range(3)] == ["a", "spare", None]


def test_uses_of_invented_models_do_not_pile_up() -> None:
    """What was used is remembered for a bounded number of models; who would be full first is forgotten first."""
    pool, _ = make(KeySpec("a", 1, requests_per_minute=60, tokens_per_minute=60_000))
    assert spend(pool, 30_000) == "a"
    for number in range(3 * MAX_LIMITED_MODELS):
        assert spend(pool, 10, f"invented-{number}") == "a"
    limits = pool._keys["a"].limits
    assert limits is not None
    assert len(limits._books) == MAX_LIMITED_MODELS
    assert not pool.usable_now("m", tokens=10)


def test_full_buckets_are_forgotten_before_any_other() -> None:
    """Once models have what they may use again, forgetting them costs nothing."""
    pool, clock = make(KeySpec("a", 1, requests_per_minute=60))
    for number in range(MAX_LIMITED_MODELS):
        assert spend(pool, 10, f"invented-{number}") == "a"
    clock.advance(5)
    assert spend(pool, 10, "m") == "a"
    limits = pool._keys["a"].limits
    assert limits is not None
    assert len(limits._books) == 1


# -- what providers say


def test_headers_lower_and_never_raise() -> None:
    """What a response says is left may lower our count; that all is there in a while keeps nobody away."""
    pool, clock = make(KeySpec("a", 1, requests_per_minute=600))
    pool.observed("a", "m", remaining_requests=3, reset_requests_s=600.0)
    assert [spend(pool, 0) for _ in range(5)] == ["a", "a", "a", None, None]
    pool.observed("a", "m", remaining_requests=500)
    assert pool.take("m") is None
    assert view(pool, "a").status is KeyStatus.ACTIVE
    clock.advance(1.1)
    assert pool.take("m") == "a"


def test_an_answer_that_took_long_speaks_of_its_beginning() -> None:
    """That nothing was left when a call was made does not make its key wait again when the answer is there."""
    pool, clock = make(KeySpec("a", 1, requests_per_minute=60))
    at = clock()
    assert pool.take("m") == "a"
    clock.advance(1.02)
    pool.observed("a", "m", remaining_requests=0, at=at)
    assert pool.usable_now("m")


def test_full_again_ends_a_debt_if_the_provider_knows_all_calls() -> None:
    """A reset is believed of a call that is alone on its key; with others in flight it may not count them."""
    pool, clock = make(KeySpec("a", 1, tokens_per_minute=60_000))
    assert pool.take("m", tokens=30_000) == "a"
    pool.observed("a", "m", remaining_tokens=59_000, reset_tokens_s=2.0)
    assert pool.earliest("m", tokens=995) == pytest.approx(clock() + 2.0)
    clock.advance(2.0)
    assert pool.take("m", tokens=30_000) == "a"
    before = pool.earliest("m", tokens=995)
    pool.observed("a", "m", reset_tokens_s=0.0)
    assert pool.earliest("m", tokens=995) == before


@pytest.mark.parametrize("nonsense", [float("nan"), float("inf"), -5.0])
def test_headers_without_sense_do_no_harm(nonsense: float) -> None:
    """Whatever a provider sends, the key's times stay finite and within its own limits."""
    pool, clock = make(KeySpec("a", 1, requests_per_minute=60, tokens_per_minute=600), KeySpec("plain", 0))
    pool.observed("a", "m", remaining_requests=nonsense, remaining_tokens=nonsense, reset_requests_s=nonsense)
    pool.observed("plain", "m", remaining_requests=0)
    pool.observed("gone", "m", remaining_requests=0)
    pool.observed("a", "m", remaining_requests=0, fingerprint="another secret")
    at = pool.earliest("m", frozenset({"plain"}), 10)
    assert at is not None
    assert at <= clock() + 1.0051
    assert pool.usable_now("m", frozenset({"a"}))


# -- calls in flight


def test_a_key_at_its_cap_is_back_when_a_call_ends() -> None:
    """No more calls are in flight than a key may have, over all models; the end of one lets the next go."""
    pool, clock = make(KeySpec("a", 1, max_in_flight=2))
    assert [pool.take("m"), pool.take("other"), pool.take("m"), pool.take("other")] == ["a", "a", None, None]
    refusal = blockage(pool)
    assert (refusal.failure_class, refusal.reason) == (FailureClass.SATURATED, Reason.RATE_LIMITED)
    assert pool.earliest("m") == pytest.approx(clock() + 0.05)
    pool.give_back("a", "other")
    assert pool.usable_now("m")
    assert pool.take("other") == "a"


def test_calls_of_one_model_make_room_one_by_one() -> None:
    """Each end of a call of a model lets the next one of it go, while others of it are still in flight."""
    pool, _ = make(KeySpec("a", 1, max_in_flight=3))
    assert [pool.take("m") for _ in range(4)] == ["a", "a", "a", None]
    for _ in range(3):
        pool.give_back("a", "m")
        assert pool.take("m") == "a"
        assert pool.take("m") is None


def test_a_cap_and_a_cool_down_both_hold() -> None:
    """A key at its cap that cools besides is away until the end of its cool-down, and both must be over."""
    pool, clock = make(KeySpec("a", 1, max_in_flight=1))
    assert pool.take("m") == "a"
    assert pool.take("m") is None
    pool.failed("a", "m", limited(30.0))
    assert pool.earliest("m") == clock() + 30
    pool.give_back("a", "m")
    assert pool.earliest("m") == clock() + 30
    assert blockage(pool).failure_class is FailureClass.RATE_LIMITED
    assert spend(pool, 0, "other") == "a"


# -- accounts


def test_what_cools_one_cools_its_account() -> None:
    """Keys of one quota group cool together, for the same model and time, and ramp together."""
    pool, clock = make(
        KeySpec("a", 1, quota_group="org"), KeySpec("b", 1, quota_group="org"), KeySpec("c", 1, quota_group="other")
    )
    pool.failed("a", "m", limited(20.0))
    assert serve(pool, 5) == {"c": 5}
    assert until(pool, "a") == until(pool, "b") == clock() + 20
    assert set(serve(pool, 9, "other")) == {"a", "b", "c"}
    clock.advance(21)
    assert view(pool, "b").status is KeyStatus.RAMPING
    pool.failed("b", "m", limited())
    assert until(pool, "a") - clock() == pytest.approx(1)
    clock.advance(1)
    pool.failed("a", "m", limited())
    assert until(pool, "b") - clock() == pytest.approx(2)
    clock.advance(600)
    assert set(serve(pool, 9)) == {"a", "b", "c"}
    assert view(pool, "b").status is KeyStatus.ACTIVE


def test_a_rejected_key_says_nothing_of_its_account() -> None:
    """Quarantine is for the key alone."""
    pool, _ = make(KeySpec("a", 1, quota_group="org"), KeySpec("b", 1, quota_group="org"))
    pool.failed("a", "m", REJECTED)
    assert serve(pool, 3) == {"b": 3}


def test_accounts_over_reloads() -> None:
    """A key that joins an account brings and gets its cool-downs; one that leaves takes them along, as its own."""
    pool, clock = make(KeySpec("a", 1), KeySpec("b", 1, quota_group="org"), KeySpec("c", 1))
    pool.failed("a", "m", limited(20.0))
    pool.failed("b", "m", limited(9.0))
    pool.reconfigure([KeySpec("a", 1, quota_group="org"), KeySpec("b", 1, quota_group="org"), KeySpec("c", 1)])
    assert until(pool, "b") == clock() + 20
    assert view(pool, "c").status is KeyStatus.ACTIVE
    pool.reconfigure([KeySpec("a", 1, quota_group="org"), KeySpec("b", 1), KeySpec("c", 1)])
    pool.failed("a", "m", limited(60.0))
    assert until(pool, "a") == clock() + 60
    assert until(pool, "b") == clock() + 20


# -- an operator's word


@pytest.mark.parametrize("status", [KeyStatus.DRAINING, KeyStatus.DISABLED])
def test_an_operator_takes_a_key_out_until_it_is_cleared(status: KeyStatus) -> None:
    """A held key takes no new call of any model, its calls end as ever, and a reload does not bring it back."""
    pool, clock = make(KeySpec("a", 1), KeySpec("b", 1, requests_per_minute=60))
    held = pool.take("m", frozenset({"b"}))
    hold = pool.drain if status is KeyStatus.DRAINING else pool.disable
    hold("a")
    hold("b")
    assert pool.take("m") is None
    assert pool.earliest("m") is None
    assert view(pool, "a").status is status
    assert (view(pool, "a").until, view(pool, "a").in_flight) == (None, 1)
    refusal = blockage(pool)
    assert refusal.failure_class is FailureClass.MODEL_UNAVAILABLE
    assert refusal.never
    assert status.value.lower() in repr(pool._keys["a"])
    pool.failed("a", "m", limited(5.0))
    pool.reconfigure([KeySpec("a", 2), KeySpec("b", 1, requests_per_minute=60)])
    assert view(pool, "b").status is status
    clock.advance(10)
    assert pool.take("m") is None
    pool.clear("a")
    assert pool.take("m") == held == "a"
    pool.give_back("a", "m")
    pool.give_back("a", "m")
    with pytest.raises(LeaseError):
        pool.give_back("a", "m")
    assert view(pool, "a").status is KeyStatus.RAMPING
    with pytest.raises(KeyError):
        pool.drain("nobody")


def test_a_word_about_keys_in_order_is_told_before_the_operators() -> None:
    """Held keys do not hide what the others wait for."""
    pool, _ = make(KeySpec("a", 1), KeySpec("b", 1))
    pool.disable("a")
    pool.failed("b", "m", REJECTED)
    assert blockage(pool).failure_class is FailureClass.KEY_REJECTED
    assert pool.earliest("m") == until(pool, "b")


# -- reload


def test_a_reload_keeps_what_was_used() -> None:
    """A key goes on where it was, under its new limits too; one with a new secret starts afresh."""
    pool, clock = make(KeySpec("a", 1, tokens_per_minute=60_000), KeySpec("b", 1, tokens_per_minute=60_000))
    for key in ("a", "b"):
        assert spend(pool, 30_000, exclude=frozenset({"ab".replace(key, "")})) == key
    at = pool.earliest("m", tokens=995)
    pool.reconfigure([KeySpec("a", 1, tokens_per_minute=60_000), KeySpec("b", 1, ("x",), tokens_per_minute=60_000)])
    assert pool.earliest("m", tokens=995) == at
    pool.reconfigure([KeySpec("a", 1, requests_per_minute=60)])
    assert pool.take("m", tokens=10**9) == "a"
    pool.reconfigure([KeySpec("a", 1, requests_per_minute=60, fingerprint="new")])
    assert pool.take("m") == "a"
    assert pool.earliest("m") == pytest.approx(clock() + PERIOD_S)


@pytest.mark.parametrize("wrong", [0.0, -1.0, float("nan"), float("inf")])
def test_limits_that_let_nothing_through_are_refused(wrong: float) -> None:
    """A limit lets something through and has an end: who wants none says so otherwise."""
    with pytest.raises(ValueError, match=r"key a: .* is no limit"):
        KeySpec("a", 1, requests_per_minute=wrong)
    with pytest.raises(ValueError, match=r"key a: .* is no limit"):
        KeySpec("a", 1, tokens_per_minute=wrong)
    with pytest.raises(ValueError, match="key a may have 0 calls"):
        KeySpec("a", 1, max_in_flight=0)
