"""Routes that change under the calls that run: what goes on, what moves on, and what starts afresh."""

from __future__ import annotations

import asyncio

import pytest
from tests.app.live_house import SECRETS, House, document, held, key, provider, target
from tests.engine.scripted import until

from trunkline_server.engine.frames import CallFailedError
from trunkline_server.engine.provider import LiveProvider
from trunkline_server.routing.circuit import CircuitState
from trunkline_server.routing.failures import Failure, FailureClass
from trunkline_server.routing.key_state import KeyStatus
from trunkline_server.routing.types import Caller, Reason

SMALL = {"max_in_flight": 1, "queue": 5, "max_wait_s": 10}
WIDE = {"max_in_flight": 9, "queue": 5, "max_wait_s": 10}


async def test_a_stream_that_runs_goes_on_over_a_reload_of_everything() -> None:
    """Weights, keys, limits, timers and the version change: it ends whole, and tells of the version it began on."""
    house = House(document({"one": provider(key("a"), gate=SMALL)}))
    stream = house.stream()
    await house.sent(1)
    changed = provider(key("b", weight=3), gate=WIDE, timeouts={"stall_s": 1.0}, circuit={"open_s": 1.0})
    house.publish(document({"one": changed}, {"default": [[target("one/m", 7), target("one/n", 1)]]}))
    house.upstream.open.set()
    frames, error = await stream
    assert error is None
    assert frames[-1].route.route_version == 1  # type: ignore[union-attr]
    assert (await house.complete()).route.route_version == 2
    assert held(house.provider()) == 0


async def test_waiters_get_the_room_that_a_reload_makes() -> None:
    """A larger limit in flight is news to the queue at once: nobody waits for a slot to come back."""
    house = House(document({"one": provider(gate=SMALL)}))
    calls = [house.call() for _ in range(4)]
    await until(lambda: house.provider().desk.gate.waiting == 3)
    house.publish(document({"one": provider(gate=WIDE)}))
    await house.sent(4)
    house.upstream.open.set()
    assert len(await asyncio.gather(*calls)) == 4


async def test_waiters_go_by_the_keys_and_the_address_that_hold_when_their_turn_comes() -> None:
    """Who waited through the reload is sent with the new key; who was dispatched before keeps the old one."""
    house = House(document({"one": provider(key("a"), gate=SMALL)}))
    calls = [house.call() for _ in range(2)]
    await until(lambda: house.provider().desk.gate.waiting == 1)
    house.publish(document({"one": provider(key("b"), host="two", gate=SMALL)}))
    house.upstream.open.set()
    await asyncio.gather(*calls)
    assert house.used == [SECRETS["A_API_KEY"], SECRETS["B_API_KEY"]]
    assert house.hosts == ["one", "two"]


async def test_what_was_granted_is_sent_as_granted_though_its_key_is_gone() -> None:
    """A reload between the grant in the queue and the dispatch: the old secret goes to the old address, never a new."""
    house = House(document({"one": provider(key("a"), gate=SMALL)}))
    first, second = house.call(), house.call()
    await until(lambda: house.provider().desk.gate.waiting == 1)
    gate = house.provider().desk.gate
    first.cancel()  # its slot goes to the second inside this turn of the loop or a later one, before that one runs
    await until(lambda: not gate.waiting)
    sent = len(house.upstream.sent)
    house.publish(document({"one": provider(key("b"), host="two", gate=SMALL)}))
    house.upstream.open.set()
    await second
    assert sent == 1
    assert (house.used[1], house.hosts[1]) == (SECRETS["A_API_KEY"], "one")
    assert [view.id for view in house.provider().pool.states()] == ["b"]


async def test_a_removed_key_ends_its_calls_and_takes_no_new_one() -> None:
    """It stays REMOVED until its last call is over."""
    house = House(document({"one": provider(key("a"), key("b"))}))
    calls = [house.call() for _ in range(2)]
    await house.sent(2)
    house.publish(document({"one": provider(key("b"))}))
    states = {view.id: (view.status, view.in_flight) for view in house.provider().pool.states()}
    assert states == {"a": (KeyStatus.REMOVED, 1), "b": (KeyStatus.ACTIVE, 1)}
    house.upstream.open.set()
    await asyncio.gather(*calls)
    await house.complete()
    assert house.used[2] == SECRETS["B_API_KEY"]
    assert [view.id for view in house.provider().pool.states()] == ["b"]


async def test_keys_keep_their_state_by_id_and_secret() -> None:
    """A quarantine outlasts a reload with other weights and limits; a new secret under the same id starts ACTIVE."""
    house = House()
    house.provider().pool.failed("a", "m", Failure(FailureClass.KEY_REJECTED, "no"))
    house.publish(document({"one": provider(key("a", weight=5, requests_per_minute=60))}))
    assert house.provider().pool.states()[0].status is KeyStatus.QUARANTINED
    house.secrets["A_API_KEY"] = "sk-another-one"
    house.publish(document())
    assert house.provider().pool.states()[0].status is KeyStatus.ACTIVE
    house.upstream.open.set()
    await house.complete()
    assert house.used == ["sk-another-one"]


async def test_late_words_of_an_old_secret_do_not_touch_the_new_one() -> None:
    """A call that was sent with the old secret succeeds: the new one's quarantine stands."""
    house = House()
    call = house.call()
    await house.sent(1)
    house.secrets["A_API_KEY"] = "sk-another-one"
    house.publish(document())
    pool = house.provider().pool
    pool.failed("a", "m", Failure(FailureClass.KEY_REJECTED, "no"))
    house.upstream.open.set()
    await call
    assert pool.states()[0].status is KeyStatus.QUARANTINED
    assert held(house.provider()) == 0


async def test_health_stays_with_target_and_address() -> None:
    """The same objects under other limits; another base_url, or a model that comes back, starts with nothing known."""
    house = House(document(aliases={"default": [["one/m", "one/n"]]}))
    live, permit = house.provider(), house.provider().circuits["m"].enter()
    circuit, latency, load, budget = live.circuits["m"], live.latencies["m"], live.loads["m"], live.budget
    gone = live.circuits["n"]
    house.publish(document({"one": provider(circuit={"failures_in_row": 1}, retry_budget={"ratio": 0.5})}))
    assert house.provider() is live
    assert (live.circuits["m"], live.latencies["m"], live.loads["m"]) == (circuit, latency, load)
    assert (set(live.circuits), live.budget, live.budget.limits.ratio) == ({"m"}, budget, 0.5)
    permit.failed()
    assert circuit.state is CircuitState.OPEN
    house.publish(document({"one": provider(host="two")}, {"default": [["one/m", "one/n"]]}))
    assert live.circuits["m"] is not circuit
    assert live.circuits["m"].calm
    assert live.circuits["n"] is not gone
    assert live.health_of("m").circuit is live.circuits["m"]
    assert live.health_of("m").budget is budget


async def test_a_removed_provider_ends_its_calls_and_its_waiters_move_on() -> None:
    """Waiters of its gate go to the next target; one that comes back later is another one."""
    both = document(
        {"one": provider(gate=SMALL), "two": provider(key("b"), host="two")}, {"default": [["one/m"], ["two/m"]]}
    )
    house = House(both)
    old = house.provider()
    running = house.call("one/m")
    await house.sent(1)
    waiting = house.call()
    await until(lambda: old.desk.gate.waiting == 1)
    house.publish(document({"two": provider(key("b"), host="two")}, {"default": [["two/m"]]}))
    await house.sent(2)
    assert held(old) == 2  # one slot, one key
    house.upstream.open.set()
    await asyncio.gather(running, waiting)
    assert house.hosts == ["one", "two"]
    assert held(old) == 0
    house.publish(both)
    assert house.provider() is not old
    await house.complete("one/m")


async def test_an_older_request_goes_to_no_target_that_was_removed_meanwhile() -> None:
    """It waits for its first target; when its turn comes, no alias names that any more, so it goes to the next."""
    providers = {"one": provider(gate=SMALL), "two": provider(key("b"), host="two", gate=SMALL)}
    house = House(document(providers, {"default": [["one/m"], ["two/m"]]}))
    blocking = [house.call("one/m"), house.call("two/x")]
    await house.sent(2)
    call = house.call()
    await until(lambda: house.provider().desk.gate.waiting == 1)
    house.publish(document(providers, {"default": [["two/m"]]}))
    house.upstream.open.set()
    await asyncio.gather(*blocking)
    done = await call
    assert done.route.served_by is not None
    assert str(done.route.served_by.target) == "two/m"
    assert done.route.route_version == 1
    assert held(house.provider("one")) == held(house.provider("two")) == 0


async def test_a_removed_target_may_still_be_named_directly() -> None:
    """By requests of the new routes, and by older ones that named it themselves."""
    house = House(document(aliases={"default": [["one/m"]]}))
    older = house.live.snapshots.current
    house.publish(document(aliases={"default": [["one/n"]]}))
    house.upstream.open.set()
    done = await house.complete("one/m")
    assert done.route.served_by is not None
    assert str(done.route.served_by.target) == "one/m"
    named = older.table.resolve("one/other", Caller("anybody")).tiers[0].members[0].target
    assert older.refusal(named) is None


async def test_with_no_target_left_an_older_request_is_refused_as_saturated() -> None:
    """With a time to come back, when it gets the new routes."""
    house = House(document({"one": provider(gate=SMALL)}))
    blocking = house.call()
    await house.sent(1)
    call = house.call()
    await until(lambda: house.provider().desk.gate.waiting == 1)
    house.publish(document({"one": provider(gate=SMALL)}, {"default": [["one/n"]]}))
    house.upstream.open.set()
    await blocking
    with pytest.raises(CallFailedError) as raised:
        await call
    assert raised.value.failure.reason is Reason.QUEUE_FULL
    assert raised.value.failure.retry_after_s is not None
    assert len(house.upstream.sent) == 1
    assert held(house.provider()) == 0


async def test_a_version_that_is_not_newer_changes_nothing() -> None:
    """Neither published nor tried: the same objects run, with the same settings, and nobody is told."""
    house = House()
    told: list[object] = []
    house.live.listeners.append(told.append)
    house.live.provider_listeners.append(told.append)
    before, live = house.live.snapshots.current, house.provider()
    other = house.blueprint(document({"one": provider(gate=SMALL), "two": provider(key("b"))}))
    with pytest.raises(ValueError, match="not newer"):
        house.live.publish(other, 1)
    for version, fraction in ((1, 0.5), (2, 1.0), (2, 0.0)):
        with pytest.raises(ValueError, match=r"not newer|share"):
            house.live.begin_trial(other, version, fraction)
    assert house.live.snapshots.current is before
    assert house.live.providers == (live,)
    assert live.desk.gate.limits.max_in_flight == 200
    assert not told


async def test_tiers_that_stay_go_on_where_their_turns_stand() -> None:
    """A reload before each call: the target with a tenth of the weight still gets a tenth of the calls."""
    shares = document(aliases={"default": [[target("one/m", 9), target("one/n", 1)]]})
    house = House(shares)
    house.upstream.open.set()
    for _ in range(20):
        await house.complete()
        house.publish(shares)
    models = [request.body.count(b'"model":"n"') for request in house.upstream.sent]
    assert sum(models) == 2


async def test_tiers_that_changed_begin_anew() -> None:
    """Other weights have turns of their own: the heavier one goes first."""
    house = House(document(aliases={"default": [[target("one/m", 2), target("one/n", 1)]]}))
    house.upstream.open.set()
    await house.complete()
    house.publish(document(aliases={"default": [[target("one/m", 3), target("one/n", 1)]]}))
    await house.complete()
    assert [request.body.count(b'"model":"m"') for request in house.upstream.sent] == [1, 1]


async def test_who_hears_of_a_provider_comes_before_anybody_who_waits() -> None:
    """A key that a listener disables at once is granted to no waiter, and the circuits are there to be looked at."""
    house = House(document({"one": provider(gate=SMALL)}))
    calls = [house.call() for _ in range(3)]
    await until(lambda: house.provider().desk.gate.waiting == 2)
    named: list[set[str]] = []

    def disable(live: LiveProvider) -> None:
        named.append(set(live.circuits))
        live.pool.disable("a")

    house.live.provider_listeners.append(disable)
    changed = provider(key("a"), key("b"), host="two", gate=WIDE)
    house.publish(document({"one": changed}, {"default": [["one/m", "one/n"]]}))
    house.upstream.open.set()
    await asyncio.gather(*calls)
    assert named == [{"m", "n"}]
    assert house.used == [SECRETS["A_API_KEY"], SECRETS["B_API_KEY"], SECRETS["B_API_KEY"]]


async def test_listeners_hear_of_each_publish_and_each_provider_that_changed() -> None:
    """One that fails keeps nobody else from hearing of it, nor the routes from running."""
    house = House()
    told: list[object] = []
    defects: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: defects.append(context["message"]))

    def fails(_: object) -> None:
        raise RuntimeError("sk-secret")

    house.live.listeners += [fails, lambda blueprint: told.append(blueprint.sha256)]
    house.live.provider_listeners.append(lambda live: told.append(live.name))
    house.publish(document({"one": provider(), "two": provider(key("b"))}))
    house.publish(document({"one": provider(gate=SMALL), "two": provider(key("b"))}))
    assert told == ["two", told[1], "one", told[3]]
    assert house.live.blueprint.sha256 == told[3] != told[1]
    assert len(defects) == 2
    assert "sk-secret" not in str(defects)


async def test_transports_are_shared_and_closed_at_the_end() -> None:
    """One of a kind, however many providers and reloads."""
    house = House()
    house.publish(document({"one": provider(host="two"), "two": provider(key("b"))}))
    assert len(house.live.transports) == 1
    assert house.upstream.closed == 0
    await house.live.aclose()
    assert house.upstream.closed == 1


async def test_no_secret_shows_in_what_lives() -> None:
    """Not in a blueprint, a provider or a snapshot."""
    house = House()
    shown = f"{house.live.blueprint!r} {house.provider()!r} {house.live.snapshots.current!r}"
    assert "sk-" not in shown
