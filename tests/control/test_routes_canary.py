"""Canaries among the routes: who ends them, when, and what runs then."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from tests.control.routes_house import ADMIN, House, document, outcome, sha256, started, until

from trunkline_server.control.types import Actor, Applied, Guard, ReloadOrder, RollbackOrder, TakenBack, VersionState
from trunkline_server.engine.frames import CallFailedError
from trunkline_server.routing.types import Reason

TRIAL = ReloadOrder(document(2), canary_fraction=0.25, guard=Guard(window_s=60.0))


@pytest.fixture
async def house() -> AsyncIterator[House]:
    house = await started()
    yield house
    await house.close()


async def states(house: House) -> dict[int, VersionState]:
    return {record.version: record.state for record in (await house.control.list_versions(0, "")).versions}


async def refused(house: House, order: ReloadOrder | RollbackOrder) -> Reason:
    control = house.control
    call = control.reload(order, ADMIN) if isinstance(order, ReloadOrder) else control.rollback(order, ADMIN)
    with pytest.raises(CallFailedError) as caught:
        await call
    return caught.value.failure.reason


async def test_a_canary_gets_its_share_and_nothing_else_changes(house: House) -> None:
    """The document is on trial as the next version while the old one runs on."""
    done = await house.control.reload(TRIAL, ADMIN)
    assert (done.version.version, done.version.state) == (2, VersionState.CANARY)
    assert done.canary is not None
    assert (done.canary.fraction, done.canary.ends_at) == (0.25, house.time() + 60.0)
    assert house.live.trial == (sha256(document(2)), 2, 0.25)
    assert house.control.running.version == 1
    assert await states(house) == {1: VersionState.RUNNING, 2: VersionState.CANARY}
    last = house.heard[-1]
    assert isinstance(last, Applied)
    assert last.fraction == 0.25


async def test_at_the_end_of_its_window_it_is_published(house: House) -> None:
    """A canary whose guard held runs for all traffic, under the same version."""
    await house.control.reload(TRIAL, ADMIN)
    house.control.outcome(outcome(2))
    house.time.advance(60.0)
    await until(lambda: house.control.running.version == 2)
    assert house.live.running == (sha256(document(2)), 2)
    assert house.live.trial is None
    assert house.control.canary is None
    assert await states(house) == {1: VersionState.SUPERSEDED, 2: VersionState.RUNNING}
    assert await house.send(document(3)) == 3


async def test_its_guard_takes_it_back(house: House) -> None:
    """A canary whose calls fail gets no more of them, at once, and that is told."""
    await house.control.reload(TRIAL, ADMIN)
    for _ in range(30):
        house.control.outcome(outcome(2, failed=True))
    await until(lambda: isinstance(house.heard[-1], TakenBack))
    event = house.heard[-1]
    assert isinstance(event, TakenBack)
    assert (event.version, event.to.version, event.by) == (2, 1, "guard")
    assert "20 of 20 calls failed" in event.reason
    assert house.live.trial is None
    assert await states(house) == {1: VersionState.RUNNING, 2: VersionState.ROLLED_BACK}
    house.time.advance(60.0)
    assert await house.send(document(3)) == 3
    assert [entry["action"] for entry in house.lines.of("audit")][-2:] == ["canary_roll_back", "reload"]


async def test_its_own_document_without_a_share_keeps_it(house: House) -> None:
    """An operator who sends the same document for all traffic ends the trial well."""
    await house.control.reload(TRIAL, ADMIN)
    assert house.control.canary is not None
    dry = await house.control.reload(ReloadOrder(document(2), dry_run=True), ADMIN)
    assert (dry.dry_run, dry.version.version) == (True, 1)
    done = await house.control.reload(ReloadOrder(document(2)), ADMIN)
    assert (done.version.version, done.version.state, done.canary) == (2, VersionState.RUNNING, None)
    assert house.live.running == (sha256(document(2)), 2)


@pytest.mark.parametrize(
    "order",
    [
        ReloadOrder(document(3)),
        ReloadOrder(document(1)),
        TRIAL,
        RollbackOrder(2),
    ],
)
async def test_nothing_else_is_taken_while_it_runs(house: House, order: ReloadOrder | RollbackOrder) -> None:
    """Whatever would change the routes without ending the trial is refused."""
    await house.control.reload(TRIAL, ADMIN)
    assert await refused(house, order) is Reason.CANARY_RUNNING
    assert house.live.trial is not None


@pytest.mark.parametrize("to_version", [0, 1])
async def test_a_rollback_ends_it(house: House, to_version: int) -> None:
    """Rolling back to nothing in particular, or to what runs, takes the canary back and changes nothing else."""
    etag = (await house.control.reload(TRIAL, ADMIN)).version.etag
    dry = await house.control.rollback(RollbackOrder(to_version, dry_run=True), ADMIN)
    assert (dry.ended_canary, house.control.canary is not None) == (2, True)
    done = await house.control.rollback(RollbackOrder(to_version, if_match_etag=etag, reason="no"), ADMIN)
    assert (done.version.version, done.ended_canary) == (1, 2)
    assert house.live.trial is None
    assert len(house.live.published) == 1
    event = house.heard[-1]
    assert isinstance(event, TakenBack)
    assert (event.by, event.reason) == ("alice", "no")


async def test_a_version_that_was_on_trial_is_not_the_one_before(house: House) -> None:
    """A rollback goes to what ran for all traffic, never to a canary that was taken back."""
    await house.control.reload(TRIAL, ADMIN)
    await house.control.rollback(RollbackOrder(), ADMIN)
    await house.send(document(3))
    assert (await house.control.rollback(RollbackOrder(), ADMIN)).version.rolled_back_to == 1


async def test_a_file_that_changes_meanwhile_is_read_at_the_end(house: House) -> None:
    """The file waits for the end of the trial, and is published then without another word."""
    await house.control.reload(TRIAL, ADMIN)
    house.source.raw = document(4)
    assert await house.control.reload_file(Actor("file")) is None
    (line,) = house.lines.of("reload_failed")
    assert line["tried_again"] == "when the canary has ended"
    await house.control.rollback(RollbackOrder(), ADMIN)
    await until(lambda: house.control.running.version == 3)
    assert house.live.running == (sha256(document(4)), 3)


async def test_a_file_with_its_document_keeps_it(house: House) -> None:
    """A canary whose document is put into the file is published for all traffic."""
    await house.control.reload(TRIAL, ADMIN)
    house.source.raw = document(2)
    done = await house.control.reload_file(Actor("file"))
    assert done is not None
    assert (done.version.version, done.version.state) == (2, VersionState.RUNNING)


async def test_the_end_of_the_window_after_its_end_means_nothing(house: House) -> None:
    """The timer of a trial that is over touches neither the routes nor the next trial."""
    await house.control.reload(TRIAL, ADMIN)
    await house.control.rollback(RollbackOrder(), ADMIN)
    house.time.advance(30.0)
    await house.control.reload(ReloadOrder(document(3), canary_fraction=0.5, guard=Guard(60.0)), ADMIN)
    house.time.advance(30.0)
    assert house.live.trial == (sha256(document(3)), 3, 0.5)
    house.time.advance(30.0)
    await until(lambda: house.control.running.version == 3)


async def test_a_canary_that_cannot_be_published_is_taken_back(house: House) -> None:
    """If the swap fails at the end of the window, the trial ends nevertheless, and why is told."""
    await house.control.reload(TRIAL, ADMIN)
    house.live.fails = True
    house.time.advance(60.0)
    await until(lambda: isinstance(house.heard[-1], TakenBack))
    event = house.heard[-1]
    assert isinstance(event, TakenBack)
    assert "could not be published for all traffic" in event.reason
    assert house.live.trial is None
    assert await states(house) == {1: VersionState.RUNNING, 2: VersionState.ROLLED_BACK}
