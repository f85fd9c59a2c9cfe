"""An operator's word on targets and keys: what it does, how it ends, and what it outlasts."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.control.override_house import ROUTES, UNIX_S, House, called, until

from trunkline_server.control import overrides
from trunkline_server.control.types import Override, OverrideMode
from trunkline_server.engine.frames import CallFailedError
from trunkline_server.engine.outcome import AttemptOutcome
from trunkline_server.routing.circuit import CircuitState
from trunkline_server.routing.key_spec import KeyStatus
from trunkline_server.routing.types import Reason, Refusal, TargetId

DRAIN, DISABLE, OPEN, CLOSED, CLEAR = OverrideMode


@pytest.fixture
async def house(tmp_path: Path) -> House:
    return House(tmp_path)


@pytest.fixture(autouse=True)
async def _no_timer_is_left(house: House) -> AsyncIterator[None]:
    yield
    house.overrides.close()


def statuses(house: House, provider: str = "one") -> dict[str, KeyStatus]:
    return {view.id: view.status for view in house.provider(provider).pool.states()}


@pytest.mark.parametrize("mode", [DRAIN, DISABLE])
async def test_a_target_that_is_held_takes_nothing_until_it_is_cleared(house: House, mode: OverrideMode) -> None:
    """Drained or disabled, a target takes no call; its neighbour does, and so does it once it is cleared."""
    told = await house.target("one/m", mode)
    assert told == Override(mode, UNIX_S + house.clock() + 60.0, "alice", "because")
    gate = house.provider("one").desk.gate
    assert gate.try_take("m") is None
    assert gate.try_take("small") is not None
    assert await house.target("one/m", CLEAR, None) is None
    assert gate.try_take("m") is not None


@pytest.mark.parametrize(("mode", "state"), [(OPEN, CircuitState.OPEN), (CLOSED, CircuitState.CLOSED)])
async def test_a_circuit_can_be_forced(house: House, mode: OverrideMode, state: CircuitState) -> None:
    """Forced open or closed, a circuit is so, and is let go when that is cleared."""
    await house.target("one/m", mode)
    circuit = house.provider("one").circuits["m"]
    assert circuit.forced
    assert circuit.state is state
    await house.target("one/m", CLEAR, None)
    assert not circuit.forced


@pytest.mark.parametrize(("mode", "status"), [(DRAIN, KeyStatus.DRAINING), (DISABLE, KeyStatus.DISABLED)])
async def test_a_key_can_be_held(house: House, mode: OverrideMode, status: KeyStatus) -> None:
    """A key that is held is so by its word, and the others go on."""
    await house.key("one/a", mode)
    assert statuses(house) == {"a": status, "b": KeyStatus.ACTIVE}
    await house.key("one/a", CLEAR, None)
    assert statuses(house)["a"] is KeyStatus.ACTIVE


async def test_the_last_word_replaces_the_one_before(house: House) -> None:
    """A target that was forced open and is then drained is no longer forced."""
    await house.target("one/m", OPEN)
    await house.target("one/m", DRAIN)
    assert not house.provider("one").circuits["m"].forced
    assert house.provider("one").desk.gate.try_take("m") is None
    assert len(house.overrides) == 1


async def test_who_waits_for_a_target_moves_on_when_it_is_drained(house: House) -> None:
    """A call in the queue of a drained target is refused at once, though no slot came free."""
    desk = house.provider("one").desk
    running = [desk.gate.try_take("small") for _ in range(2)]
    waiting = asyncio.ensure_future(desk.queue("m", frozenset(), house.clock() + 60.0))
    await until(lambda: desk.gate.waiting > 0)
    await house.target("one/m", DRAIN)
    async with asyncio.timeout(5):
        refusal = await waiting
    assert isinstance(refusal, Refusal)
    assert refusal.by_operator
    assert desk.gate.in_flight == len(running)


async def test_a_cleared_key_serves_who_waits_for_it(house: House) -> None:
    """Whoever waits for a key is told at once that it is back."""
    desk = house.provider("two").desk
    house.provider("two").pool.hold_model("other", KeyStatus.DRAINING)  # a neighbour's hold changes nothing
    key = house.provider("two").pool.states()[0].id
    await house.key(f"two/{key}", DRAIN)
    assert desk.gate.try_take("m") is None
    await house.key(f"two/{key}", CLEAR, None)
    assert desk.gate.try_take("m") is not None


# Its end.


async def test_a_word_ends_by_itself(house: House) -> None:
    """At its ttl a word is taken back, and the log says so; a longer one stays."""
    await house.target("one/m", DRAIN, 10.0)
    await house.key("one/a", DISABLE, 20.0)
    house.clock.advance(10.0)
    house.overrides.expire()
    assert house.overrides.of(TargetId("one", "m")) is None
    assert house.provider("one").desk.gate.try_take("m") is not None
    assert statuses(house)["a"] is KeyStatus.DISABLED
    assert ("override_ended", {"subject": "one/m", "mode": "DRAIN", "by": "alice"}) in house.log.lines


async def test_the_timer_ends_a_word(house: House) -> None:
    """Nobody has to call for it: a word of a few milliseconds is gone soon."""
    await house.target("one/m", DRAIN, 0.01)
    house.clock.advance(0.02)
    await until(lambda: len(house.overrides) == 0)
    assert house.provider("one").desk.gate.try_take("m") is not None


# Reloads.


async def test_words_outlast_a_reload(house: House) -> None:
    """New weights, a new secret and another address free neither target, key nor circuit from an operator's word."""
    await house.target("one/m", OPEN)
    await house.target("one/small", DRAIN)
    await house.key("one/a", DISABLE)
    house.publish(ROUTES.replace("weight: 3", "weight: 4").replace("9/v1", "10/v1"), A_API_KEY="sk-canary-another-one")
    await asyncio.sleep(0)
    provider = house.provider("one")
    assert provider.circuits["m"].state is CircuitState.OPEN
    assert provider.desk.gate.try_take("small") is None
    assert statuses(house)["a"] is KeyStatus.DISABLED


async def test_words_hold_for_a_trial_too(house: House) -> None:
    """A provider that a canary builds anew knows the words from its first call on."""
    await house.target("one/m", DRAIN)
    await house.target("one/small", OPEN)
    trial = ROUTES.replace("weight: 3", "weight: 4")
    house.live.begin_trial(house.live.prepare(house.loaded(trial)), 2, 0.5)
    await asyncio.sleep(0)
    published, on_trial = house.running.every("one")
    assert published is not on_trial
    assert on_trial.desk.gate.try_take("m") is None
    assert on_trial.circuits["small"].forced
    await house.target("one/m", CLEAR, None)
    assert on_trial.desk.gate.try_take("m") is not None


async def test_what_is_gone_can_be_cleared(house: House) -> None:
    """A word on a target that newer routes no longer have holds until its ttl, and can be taken back."""
    await house.target("two/m", DRAIN)
    house.publish(ROUTES.replace("one/m, two/m", "one/m").replace("  two:", "  three:"))
    assert house.overrides.of(TargetId("two", "m")) is not None
    assert await house.target("two/m", CLEAR, None) is None
    assert len(house.overrides) == 0


# What is refused.


async def failure(
    house: House, kind: str, name: str, mode: OverrideMode, ttl_s: float | None = 60.0
) -> CallFailedError:
    with pytest.raises(CallFailedError) as raised:
        await (house.key if kind == "key" else house.target)(name, mode, ttl_s)
    return raised.value


@pytest.mark.parametrize(
    ("kind", "name", "reason", "near"),
    [
        ("target", "one/smal", Reason.TARGET_NOT_FOUND, "one/small"),
        ("target", "three/m", Reason.TARGET_NOT_FOUND, ""),
        ("key", "one/c", Reason.KEY_NOT_FOUND, "one/"),
        ("key", "tow/a", Reason.KEY_NOT_FOUND, "one/a"),
    ],
)
async def test_a_name_that_is_not_there_is_told_with_near_ones(
    house: House, kind: str, name: str, reason: Reason, near: str
) -> None:
    """A misspelt target or key changes nothing, and its sender hears what it may have meant."""
    error = await failure(house, kind, name, DRAIN)
    assert error.failure.reason is reason
    assert near in error.failure.message
    assert len(house.overrides) == 0


@pytest.mark.parametrize("ttl_s", [None, 0.0, -1.0, 7 * 86_400.0 + 1, float("nan"), float("inf")])
async def test_a_word_needs_an_end(house: House, ttl_s: float | None) -> None:
    """Without a ttl above 0 and of 7 days at most, nothing is said."""
    error = await failure(house, "target", "one/m", DRAIN, ttl_s)
    assert error.failure.reason is Reason.BAD_REQUEST
    assert [violation.path for violation in error.failure.violations] == ["ttl"]


@pytest.mark.parametrize(("kind", "name"), [("key", "one/a"), ("target", "one/bare")])
async def test_what_has_no_circuit_cannot_be_forced(house: House, kind: str, name: str) -> None:
    """A key, and a target that no alias names, have no circuit."""
    error = await failure(house, kind, name, OPEN)
    assert [violation.path for violation in error.failure.violations] == ["mode"]


async def test_a_target_without_a_circuit_can_be_drained(house: House) -> None:
    """What is only named directly is drained by its facts, or because it was called lately."""
    await house.target("one/bare", DRAIN)
    assert house.provider("one").desk.gate.try_take("bare") is None
    await failure(house, "target", "one/unheard", DRAIN)
    unheard = AttemptOutcome(TargetId("one", "unheard"), None)
    house.books.book(called(unheard))
    assert await house.target("one/unheard", DRAIN) is not None


async def test_there_is_an_end_to_them(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond their number no new word is taken; one that replaces another is."""
    monkeypatch.setattr(overrides, "MAX_OVERRIDES", 2)
    await house.target("one/m", DRAIN)
    await house.key("one/a", DRAIN)
    error = await failure(house, "key", "one/b", DRAIN)
    assert error.failure.reason is Reason.BAD_REQUEST
    assert await house.key("one/a", DISABLE) is not None


# What is written down.


async def test_every_order_is_audited(house: House) -> None:
    """Intent and outcome, by whom and why; what was refused at once is no order."""
    await house.target("one/m", OPEN)
    await house.key("one/a", CLEAR, None)
    await failure(house, "key", "one/c", DRAIN)
    told = [(line["subject"], line["outcome"], line["actor"], line["reason"]) for line in house.audit_lines()]
    subjects = [f"target one/m: {OPEN.value} for 60 s", "key one/a: CLEAR"]
    outcomes = ["intent", "done"]
    assert told == [(*each, "alice", "because") for each in itertools.product(subjects, outcomes)]
