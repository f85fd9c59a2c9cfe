"""Reloads: what is published, what is refused, and who is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.control.routes_house import ADMIN, BAD, SECRET, START_S, House, document, sha256, started, until

from trunkline_server.config.findings import Finding
from trunkline_server.config.load import ParseResult
from trunkline_server.config.model import RoutesDocument
from trunkline_server.control.store_disk import Disk
from trunkline_server.control.types import (
    Actor,
    Applied,
    Guard,
    Origin,
    Rejection,
    Reloaded,
    ReloadOrder,
    RollbackOrder,
    VersionState,
)
from trunkline_server.engine.frames import CallFailedError, CallFailure
from trunkline_server.routing.types import Reason

FILE = Actor("file")


@pytest.fixture
async def house() -> AsyncIterator[House]:
    house = await started()
    yield house
    await house.close()


async def refused(house: House, order: ReloadOrder) -> CallFailure:
    with pytest.raises(CallFailedError) as caught:
        await house.control.reload(order, ADMIN)
    return caught.value.failure


async def test_the_first_version_is_the_file(house: House) -> None:
    """At a start without a history the file is published as version 1."""
    running = house.control.running
    assert house.live.published == [(sha256(document(1)), 1)]
    assert (running.version, running.origin, running.state) == (1, Origin.START, VersionState.RUNNING)
    assert running.etag == f"1-{sha256(document(1))[:12]}"
    assert (running.published_by, running.published_at, running.file_sha256) == ("file", START_S, running.sha256)


async def test_a_document_is_published_as_the_next_version(house: House) -> None:
    """What an admin sends runs as the next version, with who, from where and why."""
    done = await house.control.reload(ReloadOrder(document(2), reason="more"), ADMIN)
    version = done.version
    assert house.live.running == (sha256(document(2)), 2)
    assert (version.version, version.origin, version.published_by) == (2, Origin.RELOAD, "alice")
    assert (version.peer, version.reason, version.file_sha256) == (ADMIN.peer, "more", sha256(document(1)))
    assert [finding.code for finding in done.findings] == ["no_callers"]
    states = [record.state for record in (await house.control.list_versions(0, "")).versions]
    assert states == [VersionState.RUNNING, VersionState.SUPERSEDED]


async def test_the_same_document_is_no_op(house: House) -> None:
    """The document that runs already makes no version."""
    done = await house.control.reload(ReloadOrder(document(1)), ADMIN)
    assert done.no_op
    assert done.version.version == 1
    assert len(house.live.published) == 1


async def test_a_rotated_secret_makes_a_version(house: House) -> None:
    """The same document with another secret behind its reference is news, also without a source."""
    house.environ["OPENAI_API_KEY"] = "sk-rotated"
    assert await house.send(document(1)) == 2
    house.environ["OPENAI_API_KEY"] = "sk-rotated-again"
    assert await house.send(None) == 3


async def test_a_dry_run_publishes_nothing(house: House) -> None:
    """A dry run says what is wrong, and changes nothing in either case."""
    done = await house.control.reload(ReloadOrder(document(2), dry_run=True), ADMIN)
    assert (done.dry_run, done.no_op, done.version.version) == (True, False, 1)
    failure = await refused(house, ReloadOrder(BAD, dry_run=True))
    assert failure.reason is Reason.BAD_REQUEST
    assert house.live.published == [(sha256(document(1)), 1)]
    assert house.control.last_rejected is None


async def test_a_bad_document_keeps_what_runs_and_is_loud(house: House) -> None:
    """It is refused with its errors, and told to watchers, the log, the audit and whoever asks."""
    watch = house.control.watch_routes(0)
    await anext(watch)
    failure = await refused(house, ReloadOrder(BAD))
    assert failure.reason is Reason.BAD_REQUEST
    assert {violation.path for violation in failure.violations} >= {"weihgt", "aliases.default.tiers[0][0]"}
    assert all(violation.message.startswith("line ") for violation in failure.violations)
    assert house.live.running == (sha256(document(1)), 1)
    rejected = house.control.last_rejected
    assert rejected is not None
    assert (rejected.by, rejected.sha256) == ("alice", sha256(BAD))
    assert await anext(watch) == rejected
    assert house.heard[-1] == rejected
    (line,) = house.lines.of("routes_rejected")
    assert line["errors"] == len(failure.violations)
    assert [entry["action"] for entry in house.lines.of("audit")] == ["start", "rejected"]
    await watch.aclose()


async def test_a_publication_ends_what_is_said_of_a_rejection(house: House) -> None:
    """The last rejection is told until something is published."""
    await refused(house, ReloadOrder(BAD))
    assert (await house.control.get_routes(0)).last_rejected is not None
    await house.send(document(2))
    assert (await house.control.get_routes(0)).last_rejected is None


async def test_many_errors_are_counted_and_few_are_kept(house: House) -> None:
    """A document of nothing but errors is told by its first ones, and by how many more there are."""
    wild = b"version: 1\n" + b"".join(b"x%d: 1\n" % number for number in range(200))
    failure = await refused(house, ReloadOrder(wild))
    total = len(failure.violations) + failure.violations_omitted
    assert total >= 200
    rejected = house.control.last_rejected
    assert rejected is not None
    assert (len(rejected.findings), rejected.omitted) == (20, total - 20)


async def test_a_stale_etag_is_told_what_runs(house: House) -> None:
    """An order that is based on another version is refused, with the version that runs."""
    etag = house.control.running.etag
    await house.send(document(2), if_match_etag=etag)
    failure = await refused(house, ReloadOrder(document(3), if_match_etag=etag))
    assert failure.reason is Reason.STALE_ETAG
    assert failure.metadata == {"current_version": "2", "current_etag": house.control.running.etag}


async def test_of_two_with_one_etag_one_wins(house: House) -> None:
    """Whoever comes second is refused, whichever it is."""
    etag = house.control.running.etag
    results = await asyncio.gather(
        *(house.control.reload(ReloadOrder(document(n), if_match_etag=etag), ADMIN) for n in range(2, 12)),
        return_exceptions=True,
    )
    lost = [one.failure.reason for one in results if isinstance(one, CallFailedError)]
    assert lost == [Reason.STALE_ETAG] * 9
    assert house.control.running.version == 2


@pytest.mark.parametrize(
    ("order", "path"),
    [
        (ReloadOrder(b"", reason="é" * 513), "reason"),
        (ReloadOrder(b"", request_id="x" * 129), "request_id"),
        (ReloadOrder(b"", canary_fraction=1.0), "canary_fraction"),
        (ReloadOrder(b"", canary_fraction=float("nan")), "canary_fraction"),
        (ReloadOrder(b"", guard=Guard(window_s=0.0)), "guard.window"),
        (ReloadOrder(b"", guard=Guard(error_ratio=1.5)), "guard.error_ratio"),
        (ReloadOrder(b"", guard=Guard(first_token_ratio=float("inf"))), "guard.first_token_ratio"),
    ],
)
async def test_a_bad_order_is_refused_before_its_document_is_read(house: House, order: ReloadOrder, path: str) -> None:
    """Bounds of an order are told by the path of the field, and nothing is rejected for it."""
    failure = await refused(house, order)
    assert [violation.path for violation in failure.violations] == [path]
    assert house.control.last_rejected is None


async def test_a_repeated_request_is_answered_alike(house: House) -> None:
    """The second order with an id does nothing and is answered as the first, also while that is under way."""
    order = ReloadOrder(document(2), request_id="one")
    first, second = await asyncio.gather(house.control.reload(order, ADMIN), house.control.reload(order, ADMIN))
    await house.send(document(3))
    third = await house.control.reload(order, ADMIN)
    assert first == second == third
    assert [version for _, version in house.live.published] == [1, 2, 3]


async def test_what_is_remembered_of_a_request_is_small(house: House) -> None:
    """A thousand requests are remembered without their documents."""
    padding = b"# " + b"x" * 100_000
    await house.send(document(2) + padding, request_id="one")
    await house.send(document(3), request_id="two")
    ((content, _), _) = house.control._repeats._orders.values()
    assert isinstance(content, ReloadOrder)
    assert len(content.source or b"") == 32


async def test_a_request_id_belongs_to_one_order(house: House) -> None:
    """Another content under a used id is refused; another admin's id is another id."""
    await house.send(document(2), request_id="one")
    failure = await refused(house, ReloadOrder(document(3), request_id="one"))
    assert (failure.reason, failure.violations[0].path) == (Reason.BAD_REQUEST, "request_id")
    done = await house.control.reload(ReloadOrder(document(3), request_id="one"), Actor("bob"))
    assert done.version.version == 3


async def test_a_refused_request_may_be_repeated(house: House) -> None:
    """An order that changed nothing is tried afresh under its id."""
    del house.environ["OPENAI_API_KEY"]
    order = ReloadOrder(document(2), request_id="one")
    assert (await refused(house, order)).reason is Reason.BAD_REQUEST
    house.environ["OPENAI_API_KEY"] = SECRET
    assert (await house.control.reload(order, ADMIN)).version.version == 2


async def test_whoever_leaves_in_the_middle_leaves_a_whole_change(house: House) -> None:
    """A caller that goes away while its order is carried out does not stop it half way."""
    call = asyncio.create_task(house.control.reload(ReloadOrder(document(2)), ADMIN))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await until(lambda: house.control.running.version == 2)
    assert house.live.running == (sha256(document(2)), 2)


async def test_a_fault_of_the_live_routes_leaves_the_history_as_it_was(house: House) -> None:
    """If the new routes can't be swapped in, what runs and what is kept still agree."""
    house.live.fails = True
    with pytest.raises(CallFailedError, match="could not be swapped"):
        await house.send(document(2))
    assert len(house.lines.of("routes_swap_failed")) == 1
    assert house.control.running.version == 1
    house.live.fails = False
    assert await house.send(document(3)) == 3


class Looking(Disk):
    """Looks at every step of the disk which version is shown and which one runs."""

    def __init__(self) -> None:
        self.house: House | None = None
        self.seen: list[tuple[int, int]] = []

    def sync_directory(self, path: Path) -> None:
        super().sync_directory(path)
        if self.house is not None:
            self.seen.append((self.house.control.running.version, self.house.live.running[1]))


async def test_a_version_is_shown_when_it_runs_and_not_before(tmp_path: Path) -> None:
    """While it is being kept, and if it cannot be swapped in, the version before is the one that runs."""
    disk = Looking()
    disk.house = await started(directory=tmp_path, disk=disk)
    house = disk.house
    await house.send(document(2))
    await house.send(document(3), canary_fraction=0.5)
    await house.send(document(3))
    assert {shown == runs for shown, runs in disk.seen} == {True}
    assert {shown for shown, _ in disk.seen} == {1, 2}
    await house.close()


async def test_the_file_is_published_when_it_changed(house: House) -> None:
    """The watcher's word publishes a file with another hash, and nothing otherwise."""
    assert (await house.control.reload_file(FILE)) == Reloaded(
        house.control.running, no_op=True, findings=house.control.routes.findings
    )
    house.source.raw = document(2)
    done = await house.control.reload_file(FILE)
    assert done is not None
    assert (done.version.version, done.version.origin, done.version.published_by) == (2, Origin.FILE, "file")


async def test_an_unchanged_file_does_not_undo_what_was_sent(house: House) -> None:
    """A reload without a source keeps what came by another way, and says so."""
    await house.send(document(2))
    done = await house.control.reload(ReloadOrder(), ADMIN)
    assert (done.no_op, done.version.version) == (True, 2)
    assert "file_unchanged" in {finding.code for finding in done.findings}


async def test_a_dry_run_does_not_count_as_reading_the_file(house: House) -> None:
    """What was only looked at is still news to the watcher."""
    house.source.raw = document(2)
    assert await house.send(None, dry_run=True) == 1
    done = await house.control.reload_file(FILE)
    assert done is not None
    assert done.version.version == 2


async def test_a_secret_that_was_rotated_is_read_though_the_file_did_not_change(house: House) -> None:
    """The watcher's or a signal's word reads the secrets of what runs again, whichever way it came."""
    await house.send(document(2))
    house.environ["OPENAI_API_KEY"] = "sk-rotated"
    done = await house.control.reload_file(Actor("signal"))
    assert done is not None
    assert (done.version.version, done.version.published_by) == (3, "signal")
    assert house.live.running == (sha256(document(2)), 3)


async def test_a_bad_file_is_tried_again_when_asked(house: House) -> None:
    """A file that was refused counts as not read: the next word reads it again."""
    house.source.raw = BAD
    assert await house.control.reload_file(FILE) is None
    assert await house.control.reload_file(Actor("signal")) is None
    assert [event.by for event in house.heard if isinstance(event, Rejection)] == ["file", "signal"]
    house.source.raw = None
    assert await house.control.reload_file(FILE) is None
    rejected = house.control.last_rejected
    assert rejected is not None
    assert (rejected.sha256, rejected.findings[0].code) == ("", "unreadable_file")
    assert house.live.running == (sha256(document(1)), 1)


async def test_a_document_over_the_wire_is_fenced_in_before_its_secrets_are_read(tmp_path: Path) -> None:
    """What the fence finds is told, no reference is looked up; what the file says passes without it."""
    asked: list[tuple[bool, bool]] = []

    def fence(parsed: ParseResult, running: RoutesDocument, on_file: RoutesDocument | None) -> tuple[Finding, ...]:
        asked.append((parsed.document is not None and running.version == 1, on_file is not None))
        return (Finding("error", "providers.openai", 3, "fenced", "no"),)

    house = await started(fence=fence, directory=tmp_path)
    text = document(2).replace(b"OPENAI_API_KEY", b"OTHER_API_KEY")
    failure = await refused(house, ReloadOrder(text))
    assert [violation.message for violation in failure.violations] == ["line 3: no"]
    assert asked == [(True, True)]
    house.source.raw = document(2)
    assert await house.send(None) == 2
    assert len(asked) == 1
    await house.close()


async def test_rollback_publishes_an_older_document_again(house: House) -> None:
    """The version before, or the one that is named, runs again as a new version."""
    await house.send(document(2))
    done = await house.control.rollback(RollbackOrder(reason="oops"), ADMIN)
    assert (done.version.version, done.version.rolled_back_to) == (3, 1)
    assert (done.version.origin, done.version.reason) == (Origin.ROLLBACK, "oops")
    assert house.live.running == (sha256(document(1)), 3)
    assert (await house.control.rollback(RollbackOrder(2), ADMIN)).version.rolled_back_to == 2


async def test_rollback_to_what_runs_changes_nothing(house: House) -> None:
    """Neither the running version itself nor a version with its document makes a new one; nor does a dry run."""
    await house.send(document(2))
    assert (await house.control.rollback(RollbackOrder(2), ADMIN)).version.version == 2
    dry = await house.control.rollback(RollbackOrder(1, dry_run=True), ADMIN)
    assert (dry.dry_run, dry.version.version) == (True, 2)
    assert len(house.live.published) == 2


@pytest.mark.parametrize("to_version", [0, 7])
async def test_rollback_needs_a_version(house: House, to_version: int) -> None:
    """Without a version before, or with one that is not kept, there is nothing to go back to."""
    with pytest.raises(CallFailedError) as caught:
        await house.control.rollback(RollbackOrder(to_version), ADMIN)
    assert caught.value.failure.reason is Reason.VERSION_NOT_FOUND


async def test_versions_are_listed_by_pages(house: House) -> None:
    """Pages go from the newest to the oldest, each version once; a token of nobody's is refused."""
    for weight in range(2, 8):
        await house.send(document(weight))
    token, seen = "", []
    while True:
        page = await house.control.list_versions(3, token)
        seen += [record.version for record in page.versions]
        token = page.next_page_token
        if not token:
            break
    assert seen == [7, 6, 5, 4, 3, 2, 1]
    with pytest.raises(CallFailedError) as caught:
        await house.control.list_versions(3, "before-x")
    assert caught.value.failure.violations[0].path == "page_token"


async def test_an_older_version_is_shown_with_its_document(house: House) -> None:
    """Every kept version has its document; others are not found."""
    await house.send(document(2))
    view = await house.control.get_routes(1)
    assert (view.document, view.version.version) == (document(1).decode(), 1)
    assert await house.control.base(view.version.etag) == (view.version, document(1))
    for etag in ("1-000000000000", "9-000000000000"):
        with pytest.raises(CallFailedError) as caught:
            await house.control.base(etag)
        assert caught.value.failure.reason is Reason.VERSION_NOT_FOUND
    with pytest.raises(CallFailedError) as caught:
        await house.control.get_routes(9)
    assert caught.value.failure.reason is Reason.VERSION_NOT_FOUND


def contents(directory: Path) -> list[bytes]:
    return [path.read_bytes() for path in directory.rglob("*") if path.is_file()]


async def test_no_secret_is_told_anywhere(tmp_path: Path) -> None:
    """Neither the log nor the data directory has a secret, whether orders succeed or fail."""
    house = await started(directory=tmp_path)
    await house.send(document(2))
    await refused(house, ReloadOrder(document(3).replace(b'"env:OPENAI_API_KEY"', SECRET.encode())))
    assert SECRET not in repr(house.lines.said) + repr(house.heard)
    kept = contents(tmp_path)
    assert len(kept) >= 4
    assert not any(SECRET.encode() in content for content in kept)
    assert [event.version.version for event in house.heard if isinstance(event, Applied)] == [1, 2]
    await house.close()


async def test_a_file_that_could_not_be_published_is_not_judged(house: House) -> None:
    """The watcher hears that it has to come again, and then the file is published; a bad file is judged at once."""
    house.source.raw = document(2)
    house.live.fails = True
    assert not await house.control.file_changed(FILE)
    house.live.fails = False
    assert await house.control.file_changed(FILE)
    assert house.control.running.origin is Origin.FILE
    assert house.live.running[0] == sha256(document(2))
    house.source.raw = BAD
    assert await house.control.file_changed(FILE)
