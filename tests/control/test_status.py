"""The status: every figure arrives where it is told, none costs much, and no secret is near it."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.control.override_house import ROUTES, UNIX_S, House, called

from trunkline_server.compile import prepare
from trunkline_server.control.overrides import Overrides
from trunkline_server.control.running import Running
from trunkline_server.control.status import Sources, collect
from trunkline_server.control.status_books import MAX_TARGETS, StatusBooks
from trunkline_server.control.types import (
    CanaryState,
    Guard,
    OverrideMode,
    Rejection,
    RouteVersion,
    Status,
    TargetState,
)
from trunkline_server.engine.outcome import AttemptOutcome
from trunkline_server.live import LiveRoutes
from trunkline_server.routing.clock import ManualClock
from trunkline_server.routing.failures import Failure, FailureClass
from trunkline_server.routing.types import TargetId

ROUTE = RouteVersion(1, "etag", "sha", UNIX_S, "start")
CANARY = CanaryState(2, 0.1, Guard(), UNIX_S + 60)
REJECTED = Rejection(UNIX_S, "file", "", ())
ONE, TWO = TargetId("one", "m"), TargetId("two", "m")
OVERLOADED = FailureClass.OVERLOADED


@pytest.fixture
async def house(tmp_path: Path) -> House:
    return House(tmp_path)


def sources(house: House) -> Sources:
    return Sources(
        house.running,
        house.books,
        house.overrides,
        routes=lambda: ROUTE,
        canary=lambda: CANARY,
        last_rejected=lambda: REJECTED,
        phase=lambda: "ready",
        in_flight=lambda: 7,
        started_at=UNIX_S,
        clock=house.clock,
        unix_clock=house.unix,
    )


def status(house: House) -> Status:
    return collect(sources(house))


def target(house: House, name: str) -> TargetState:
    return next(each for each in status(house).targets if f"{each.provider}/{each.model}" == name)


async def test_targets_are_those_of_the_aliases_with_their_names(house: House) -> None:
    """Each target stands there once, with all aliases that name it; facts alone make none."""
    told = {f"{each.provider}/{each.model}": each.aliases for each in status(house).targets}
    assert told == {"one/m": ("cheap", "default"), "one/small": ("cheap",), "two/m": ("default",)}


async def test_a_target_tells_its_circuit_its_calls_and_its_times(house: House) -> None:
    """State, calls in flight and the quantiles of the first content come from the live target."""
    provider = house.provider("one")
    provider.circuits["m"].force_open()
    provider.loads["m"].began()
    for seconds in (0.1, 0.1, 0.1, 0.1, 2.0):
        provider.latencies["m"].first_content.book(seconds)
    told = target(house, "one/m")
    assert (told.circuit, told.in_flight) == ("OPEN", 1)
    assert told.first_token_p50_s == pytest.approx(0.1, rel=0.06)
    assert told.first_token_p95_s == pytest.approx(2.0, rel=0.06)
    assert target(house, "two/m").first_token_p50_s is None


async def test_a_target_tells_what_became_of_its_attempts(house: House) -> None:
    """Attempts of the last minute are counted, and the share that succeeded of those that say something."""
    assert (target(house, "one/m").attempts, target(house, "one/m").success_ratio) == (0, None)
    stopped = AttemptOutcome(ONE, FailureClass.CANCELLED, says_nothing=True)
    house.books.book(called(AttemptOutcome(ONE, OVERLOADED), AttemptOutcome(TWO, None)))
    for _ in range(3):
        house.books.book(called(AttemptOutcome(ONE, None)))
    house.books.book(called(stopped))
    assert (target(house, "one/m").attempts, target(house, "one/m").success_ratio) == (5, 0.75)
    assert (target(house, "two/m").attempts, target(house, "two/m").success_ratio) == (1, 1.0)
    house.clock.advance(61.0)
    assert (target(house, "one/m").attempts, target(house, "one/m").success_ratio) == (0, None)


async def test_keys_tell_state_room_and_bounds(house: House) -> None:
    """Ids and figures, with the end of a cool-down as a time that others can read."""
    pool = house.provider("one").pool
    assert pool.take("m", frozenset({"b"}), tokens=50) == "a"
    pool.failed("a", "m", Failure(FailureClass.RATE_LIMITED, "slow down", retry_after_s=30.0))
    a, b, _ = status(house).keys
    assert (a.provider, a.key_id, a.state, a.in_flight, a.quota_group) == ("one", "a", "COOLING", 1, "org")
    assert a.until == pytest.approx(UNIX_S + house.clock() + 30.0)
    assert a.headroom_requests is not None
    assert a.headroom_tokens is not None
    assert a.headroom_requests <= 10
    assert a.headroom_tokens < 100
    assert (b.state, b.until, b.max_in_flight, b.weight) == ("ACTIVE", None, 4, 3.0)
    assert (b.headroom_requests, b.headroom_tokens) == (None, None)


async def test_gates_and_the_process_tell_how_full_they_are(house: House) -> None:
    """What a gate holds and may hold, and this process as worker 0."""
    assert house.provider("one").desk.gate.try_take("m") is not None
    told = status(house)
    assert [(gate.provider, gate.in_flight, gate.limit, gate.queued, gate.queue) for gate in told.gates] == [
        ("one", 1, 2, 0, 8),
        ("two", 0, 200, 0, 500),
    ]
    (worker,) = told.workers
    assert (worker.worker, worker.pid, worker.phase, worker.in_flight) == (0, os.getpid(), "ready", 7)
    assert (worker.route_version, worker.started_at) == (1, UNIX_S)


async def test_the_words_of_operators_and_of_the_publisher_are_told(house: House) -> None:
    """Overrides stand at their targets and keys, also at one that no alias names; so do canary and rejection."""
    held = await house.target("one/bare", OverrideMode.DRAIN)
    key = await house.key("one/a", OverrideMode.DISABLE)
    told = status(house)
    assert target(house, "one/bare").override == held
    assert (told.keys[0].override, told.keys[0].state) == (key, "DISABLED")
    assert (told.routes, told.canary, told.last_rejected) == (ROUTE, CANARY, REJECTED)
    house.overrides.close()


async def test_no_secret_is_in_a_status(house: House) -> None:
    """Neither a key nor its fingerprint is told."""
    told = repr(status(house))
    assert "canary-" not in told
    assert all(key.fingerprint not in told for key in house.live.blueprint.providers["one"].keys)


async def test_a_reload_is_seen_at_once(house: House) -> None:
    """What the status lists follows what is published."""
    house.publish(ROUTES.replace("one/small", "one/tiny"))
    assert {each.model for each in status(house).targets} == {"m", "tiny"}
    assert status(house).workers[0].route_version == 2


# The books.


def test_a_call_that_went_elsewhere_is_a_failover() -> None:
    """Who failed, who took over and why; another key of the same target is none."""
    books = StatusBooks(clock=ManualClock(), unix_clock=lambda: UNIX_S)
    failed = AttemptOutcome(ONE, OVERLOADED)
    books.book(called(failed, failed, AttemptOutcome(TWO, None)))
    books.book(called(AttemptOutcome(TWO, FailureClass.CONNECT)))
    books.book(called(AttemptOutcome(TWO, FailureClass.CALLER_INVALID)))
    books.book(called(AttemptOutcome(TWO, FailureClass.CANCELLED, says_nothing=True)))
    assert [(each.from_target, each.to, each.failure_class) for each in books.failovers()] == [
        ("two/m", "", "CONNECT"),
        ("one/m", "two/m", "OVERLOADED"),
    ]
    assert books.failovers()[0].at == UNIX_S


def test_the_books_are_bounded() -> None:
    """However many models callers make up, so many are counted, the latest; and 20 failovers are kept."""
    books = StatusBooks(clock=ManualClock())
    for number in range(MAX_TARGETS + 50):
        books.book(called(AttemptOutcome(TargetId("one", str(number)), OVERLOADED)))
    assert len(books.seen()) == MAX_TARGETS
    assert books.of(TargetId("one", "49")) == (0, None)
    assert books.of(TargetId("one", "50")) == (1, 0.0)
    assert len(books.failovers()) == 20


@given(
    steps=st.lists(
        st.one_of(st.floats(0.0, 40.0), st.sampled_from([None, OVERLOADED, FailureClass.CANCELLED])), max_size=80
    )
)
def test_a_minute_counts_what_came_within_it(steps: list[float | FailureClass | None]) -> None:
    """Nothing of the last 55 s is left out and nothing older than 60 s counts, whatever came when."""
    clock = ManualClock(1e6)
    books = StatusBooks(clock=clock)
    booked: list[float] = []
    for step in steps:
        if isinstance(step, float):
            clock.advance(step)
        else:
            books.book(called(AttemptOutcome(ONE, step, says_nothing=step is FailureClass.CANCELLED)))
            booked.append(clock())
        attempts, ratio = books.of(ONE)
        ages = [clock() - at for at in booked]
        assert sum(age <= 55.0 for age in ages) <= attempts <= sum(age <= 60.0 for age in ages)
        assert ratio is None or 0.0 <= ratio <= 1.0


# What it costs.


async def test_a_large_house_is_told_within_milliseconds(tmp_path: Path) -> None:
    """10 providers with 20 limited keys each are collected in 5 ms of CPU, the best of many tries."""
    providers = "".join(
        f"  p{number}:\n    protocol: openai\n    base_url: http://127.0.0.1:9\n    keys:\n"
        + "".join(
            f"      - {{id: k{key}, secret: env:A_API_KEY, requests_per_minute: 600, tokens_per_minute: 60000}}\n"
            for key in range(20)
        )
        for number in range(10)
    )
    targets = ", ".join(f"p{number}/m{model}" for number in range(10) for model in range(3))
    text = f"version: 1\nproviders:\n{providers}aliases:\n  default: {{tiers: [{{targets: [{targets}]}}]}}\n"
    house = House(tmp_path)
    house.live = LiveRoutes(prepare(house.loaded(text)), 1, clock=house.clock, rng=random.Random(1))
    house.running = Running(house.live.snapshots)
    house.overrides = Overrides(house.running, house.audit, house.log, clock=house.clock)
    for provider in house.running.providers.values():
        for _ in range(200):
            for model in ("m0", "m1", "m2"):
                provider.pool.take(model, tokens=10)
    everything = sources(house)
    spent_s: list[float] = []
    for _ in range(50):
        before_s = time.process_time()
        told = collect(everything)
        spent_s.append(time.process_time() - before_s)
    assert (len(told.keys), len(told.targets)) == (200, 30)
    print(
        f"status of 200 keys and 30 targets: {min(spent_s) * 1e3:.2f} ms at best, {max(spent_s) * 1e3:.2f} ms at worst"
    )
    assert min(spent_s) <= 0.005
