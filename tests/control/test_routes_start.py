"""Which routes run after a restart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.control.routes_house import ADMIN, BAD, FakeSource, House, document, sha256, started, until

from trunkline_server.config.findings import InvalidRoutesError
from trunkline_server.control.store import StoreError
from trunkline_server.control.store_disk import Disk
from trunkline_server.control.types import Origin, ReloadOrder, VersionState
from trunkline_server.engine.frames import CallFailedError
from trunkline_server.routing.types import Reason


class Failing(Disk):
    """Nothing gets its name while it fails."""

    fails = False

    def rename(self, old: Path, new: Path) -> None:
        if self.fails:
            raise OSError(5, "Input/output error")
        super().rename(old, new)


async def after(directory: Path, sent: bytes | None = None) -> None:
    """Leave a history behind: the file `document(1)` as version 1, and perhaps what an admin sent as version 2."""
    house = await started(directory=directory)
    if sent is not None:
        await house.send(sent)
    await house.close()


async def again(directory: Path, raw: bytes | None, **settings: Any) -> House:
    house = House(FakeSource(raw), directory=directory, **settings)
    await house.control.start()
    return house


async def test_what_was_published_outlasts_a_restart(tmp_path: Path) -> None:
    """With the file as it was, the version that ran runs again under its number, and is told to watchers."""
    await after(tmp_path, document(2))
    house = await again(tmp_path, document(1))
    assert house.live.published == [(sha256(document(2)), 2)]
    assert house.control.running.origin is Origin.RELOAD
    watch = house.control.watch_routes(2)
    assert getattr(await anext(watch), "missed", None) is False
    await watch.aclose()
    assert await house.send(None) == 2  # the file is still the one that was known
    assert await house.send(document(3)) == 3
    await house.close()


async def test_a_file_that_changed_meanwhile_wins(tmp_path: Path) -> None:
    """A file that was edited while the process was down is published as a new version."""
    await after(tmp_path, document(2))
    house = await again(tmp_path, document(3))
    assert house.live.published == [(sha256(document(3)), 3)]
    assert (house.control.running.origin, house.control.running.version) == (Origin.START, 3)
    await house.close()


@pytest.mark.parametrize("raw", [BAD, None])
async def test_a_file_that_was_spoiled_does_not_keep_a_process_down(tmp_path: Path, raw: bytes | None) -> None:
    """The version that ran runs on, the file is refused loudly, and is tried again when somebody asks."""
    await after(tmp_path, document(2))
    house = await again(tmp_path, raw)
    assert house.live.running == (sha256(document(2)), 2)
    rejected = house.control.last_rejected
    assert rejected is not None
    assert (rejected.by, rejected.sha256) == ("file", "" if raw is None else sha256(raw))
    assert len(house.lines.of("routes_rejected")) == 1
    with pytest.raises(CallFailedError) as caught:
        await house.send(None)
    assert caught.value.failure.reason is Reason.BAD_REQUEST
    house.source.raw = document(4)
    assert await house.send(None) == 3
    await house.close()


async def test_a_version_that_cannot_run_any_more_yields_to_the_file(tmp_path: Path) -> None:
    """If its document is damaged the file is published, and why is told."""
    await after(tmp_path, document(2))
    (tmp_path / "documents" / sha256(document(2))).write_bytes(b"")
    house = await again(tmp_path, document(1))
    assert house.live.running == (sha256(document(1)), 3)
    assert house.control.running.reason == "version 2 can't be used any more"
    rejected = house.control.last_rejected
    assert rejected is not None
    assert rejected.findings[0].code == "unreadable_version"
    await house.close()


async def test_without_anything_that_can_run_there_is_no_start(tmp_path: Path) -> None:
    """A bad file alone is told with its findings; so is one whose history can't be used either."""
    with pytest.raises(InvalidRoutesError) as caught:
        await again(tmp_path / "new", BAD)
    assert {finding.code for finding in caught.value.findings} >= {"unknown_field"}
    await after(tmp_path / "old")
    with pytest.raises(InvalidRoutesError):
        await again(tmp_path / "old", document(1), environ={})


async def test_a_canary_does_not_outlast_its_process(tmp_path: Path) -> None:
    """A process that dies while a canary runs starts on the version that ran, and the canary counts as taken back."""
    house = await started(directory=tmp_path)
    await house.control.reload(ReloadOrder(document(2), canary_fraction=0.5), ADMIN)
    await house.close()
    house = await again(tmp_path, document(1))
    assert house.live.published == [(sha256(document(1)), 1)]
    assert house.live.trial is None
    states = [record.state for record in (await house.control.list_versions(0, "")).versions]
    assert states == [VersionState.ROLLED_BACK, VersionState.RUNNING]
    assert "canary_roll_back" in [entry["action"] for entry in house.lines.of("audit")]
    await house.close()


async def test_a_disk_that_fails_at_the_start_is_told(tmp_path: Path) -> None:
    """A first version that can't be kept is an error of the data directory."""

    class Full(Disk):
        def write(self, fd: int, data: bytes) -> None:
            raise OSError(28, f"No space left for {len(data)} bytes on {fd}")

    with pytest.raises(StoreError, match="no space left"):
        await again(tmp_path, document(1), disk=Full())


async def test_a_version_that_cannot_be_kept_is_not_published(tmp_path: Path) -> None:
    """If the disk fails under the history, the order is refused and what ran runs on."""
    disk = Failing()
    house = await started(directory=tmp_path, disk=disk)
    disk.fails = True
    with pytest.raises(CallFailedError, match="nothing was changed") as caught:
        await house.send(document(2))
    assert caught.value.failure.reason is Reason.INTERNAL
    assert house.live.published == [(sha256(document(1)), 1)]
    disk.fails = False
    assert await house.send(document(2)) == 2
    await house.close()


async def test_a_canary_ends_even_if_the_disk_fails(tmp_path: Path) -> None:
    """Taking a canary back needs no disk: it gets no more calls, and the next change that is kept says so."""
    disk = Failing()
    house = await started(directory=tmp_path, disk=disk)
    await house.control.reload(ReloadOrder(document(2), canary_fraction=0.5), ADMIN)
    disk.fails = True
    house.time.advance(60.0)
    await until(lambda: house.control.canary is None)
    assert house.live.trial is None
    assert house.live.running[1] == 1
    disk.fails = False
    assert await house.send(document(3)) == 3
    states = [record.state for record in (await house.control.list_versions(0, "")).versions]
    assert states == [VersionState.RUNNING, VersionState.ROLLED_BACK, VersionState.SUPERSEDED]
    await house.close()
