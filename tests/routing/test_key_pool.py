"""The key pool by example: which key may serve, giving back, reload, bounds."""

from __future__ import annotations

from random import Random

import pytest
from tests.routing.key_house import REJECTED, blockage, limited, make, serve, until, view

from trunkline_server.routing.clock import ManualClock
from trunkline_server.routing.failures import FailureClass
from trunkline_server.routing.key_pool import MAX_LANES, KeyPool, KeySpec
from trunkline_server.routing.key_state import MAX_COOLING_MODELS, KeyStatus
from trunkline_server.routing.lease import LeaseError
from trunkline_server.routing.types import Reason

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
