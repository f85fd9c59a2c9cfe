"""Routes on trial: whom they are for, what they share with the published ones, and how they end."""

from __future__ import annotations

import asyncio
import random

import pytest
from tests.app.live_house import SECRETS, House, document, held, key, provider
from tests.engine.scripted import until

from trunkline_server.engine.frames import CallFailedError
from trunkline_server.routing.failures import Failure, FailureClass
from trunkline_server.routing.key_state import KeyStatus
from trunkline_server.routing.types import Reason

SMALL = {"max_in_flight": 1, "queue": 5, "max_wait_s": 10}
TWO = {"one": provider(), "two": provider(key("b"), host="two")}


@pytest.mark.parametrize("fraction", [0.01, 0.25, 0.9])
async def test_a_trial_gets_its_share_of_the_requests(fraction: float) -> None:
    """Of 10,000 picks as many as a fair draw gives, within five standard deviations."""
    house, rng = House(), random.Random(7)
    house.begin_trial(document(aliases={"default": [["one/n"]]}), fraction)
    versions = [house.live.snapshots.pick(rng).version for _ in range(10_000)]
    assert abs(versions.count(2) - 10_000 * fraction) < 5 * (10_000 * fraction * (1 - fraction)) ** 0.5
    house.live.end_trial()
    assert {house.live.snapshots.pick(rng).version for _ in range(100)} == {1}


async def test_a_trial_shares_what_is_set_alike_and_has_its_own_of_all_else() -> None:
    """Down to the secret: the same document after a rotated secret has another provider."""
    house = House(document(TWO))
    changed = document({"one": provider(gate=SMALL), "two": TWO["two"]})
    published = dict(house.live.snapshots.current.providers)
    house.begin_trial(changed)
    trial = house.live.snapshots.trial
    assert trial is not None
    assert trial.providers["two"] is published["two"]
    assert trial.providers["one"] is not published["one"]
    assert trial.providers["one"].circuits["m"] is not published["one"].circuits["m"]
    assert house.live.providers == (*published.values(), trial.providers["one"])
    assert published["one"].desk.gate.limits.max_in_flight == 200
    house.live.end_trial()
    house.secrets["B_API_KEY"] = "sk-another-one"
    house.begin_trial(document(TWO))
    trial = house.live.snapshots.trial
    assert trial is not None
    assert trial.providers["one"] is published["one"]
    assert trial.providers["two"] is not published["two"]


async def test_what_a_trial_breaks_stays_with_it() -> None:
    """A key that is rejected on trial is ACTIVE for everybody else, and after the trial."""
    house = House()
    house.begin_trial(document({"one": provider(gate=SMALL)}))
    trial = house.live.snapshots.trial
    assert trial is not None
    trial.providers["one"].pool.failed("a", "m", Failure(FailureClass.KEY_REJECTED, "no"))
    assert house.provider().pool.states()[0].status is KeyStatus.ACTIVE
    house.live.end_trial()
    assert house.live.providers == (house.provider(),)


async def test_a_trial_taken_back_ends_its_calls_and_refuses_its_waiters() -> None:
    """What it had of its own takes nothing new; the published routes serve as before."""
    house = House()
    house.begin_trial(document({"one": provider(key("b"), host="two", gate=SMALL)}), 0.999999)
    trial = house.live.snapshots.trial
    assert trial is not None
    own = trial.providers["one"]
    running, waiting = house.call(), house.call()
    await until(lambda: own.desk.gate.waiting == 1)
    house.live.end_trial()
    with pytest.raises(CallFailedError) as raised:
        await waiting
    assert raised.value.failure.reason is Reason.QUEUE_FULL
    house.upstream.open.set()
    assert (await running).route.route_version == 2
    assert (await house.complete()).route.route_version == 1
    assert house.used == [SECRETS["B_API_KEY"], SECRETS["A_API_KEY"]]
    assert (held(own), held(house.provider())) == (0, 0)


async def test_a_request_of_a_trial_taken_back_goes_to_no_target_that_only_the_trial_named() -> None:
    """Its provider is shared and open, but no alias of the published routes names the model."""
    house = House(document({"one": provider(gate=SMALL)}))
    blocking = house.call("one/x")
    await house.sent(1)
    house.begin_trial(document({"one": provider(gate=SMALL)}, {"default": [["one/trial"]]}), 0.999999)
    assert set(house.provider().circuits) == {"m", "trial"}
    waiting = house.call()
    await until(lambda: house.provider().desk.gate.waiting == 1)
    house.live.end_trial()
    house.upstream.open.set()
    await blocking
    with pytest.raises(CallFailedError):
        await waiting
    assert len(house.upstream.sent) == 1
    assert set(house.provider().circuits) == {"m"}


async def test_publishing_what_was_on_trial_merges_it_in_place() -> None:
    """The provider that runs takes the settings over; who waits at the trial's own is still served."""
    house = House()
    live = house.provider()
    made = document({"one": provider(key("a"), key("b"), gate=SMALL)})
    house.begin_trial(made, 0.999999)
    trial = house.live.snapshots.trial
    assert trial is not None
    own = trial.providers["one"]
    calls = [house.call() for _ in range(3)]
    await until(lambda: own.desk.gate.waiting == 2)
    house.live.publish(house.blueprint(made), house.version)
    assert house.provider() is live
    assert live.desk.gate.limits.max_in_flight == 1
    assert [view.id for view in live.pool.states()] == ["a", "b"]
    house.upstream.open.set()
    assert {done.route.route_version for done in await asyncio.gather(*calls)} == {2}
    assert held(own) == 0
    house.publish(document())
    assert own.desk.gate.try_take("m") is None


async def test_another_publish_ends_a_trial() -> None:
    """Its own providers close; a second trial is refused while one runs, and changes nothing."""
    house = House()
    house.begin_trial(document({"one": provider(gate=SMALL)}))
    running = house.live.providers
    with pytest.raises(ValueError, match="still on trial"):
        house.begin_trial(document(TWO))
    assert house.live.providers == running
    house.publish(document())
    assert house.live.providers == running[:1]
    assert running[1].desk.gate.try_take("m") is None
    house.live.end_trial()


async def test_what_is_no_routed_request_goes_by_the_published_routes() -> None:
    """Explain and the list of models, however large the trial's share."""
    house = House()
    house.begin_trial(document(aliases={"default": [["one/m"]], "new": [["one/m"]]}), 0.999999)
    listed = house.engine.list_models(house.scope())
    assert listed.route_version == 1
    assert "new" not in {model.name for model in listed.models}
