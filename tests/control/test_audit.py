"""The audit log: its lines, their order, and what happens if it can't be written."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from tests.control.routes_house import ADMIN, BAD, HandTime, House, Lines, document, sha256, started

from trunkline_server.control.audit import FILE_NAME, Audit, AuditEntry
from trunkline_server.control.store_disk import Disk
from trunkline_server.control.types import ReloadOrder, RollbackOrder
from trunkline_server.engine.frames import CallFailedError
from trunkline_server.routing.types import Reason


class FullDisk(Disk):
    """Nothing can be added to files while it is full."""

    full = False

    def open_to_append(self, path: Path) -> int:
        if self.full:
            raise OSError(28, "No space left on device")
        return super().open_to_append(path)


def lines(directory: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (directory / FILE_NAME).read_bytes().splitlines()]


async def test_an_order_is_written_down_before_and_after(tmp_path: Path) -> None:
    """Its intent is on disk before it is carried out; what became of it follows."""
    audit = Audit(tmp_path, Lines(), clock=HandTime())
    async with audit.order("drain", ADMIN, reason="why", old_version=3, new_version=4, subject="x"):
        (intent,) = lines(tmp_path)
    done = lines(tmp_path)[1]
    assert intent == {
        "action": "drain",
        "actor": "alice",
        "peer": "127.0.0.1:1000",
        "reason": "why",
        "old_version": 3,
        "new_version": 4,
        "subject": "x",
        "outcome": "intent",
        "at": "2023-11-14T22:13:20+00:00",
    }
    assert done == intent | {"outcome": "done"}


async def test_an_order_that_fails_is_written_down_as_that(tmp_path: Path) -> None:
    """What goes wrong inside is told by its kind, never by its text, and goes on to whoever ordered it."""
    log = Lines()
    audit = Audit(tmp_path, log)

    async def fail() -> None:
        async with audit.order("drain", ADMIN):
            raise RuntimeError("sk-secret")

    with pytest.raises(RuntimeError):
        await fail()
    assert (lines(tmp_path)[1]["outcome"], lines(tmp_path)[1]["detail"]) == ("failed", "RuntimeError")
    assert log.of("audit") == [
        {"action": "drain", "actor": "alice", "peer": "127.0.0.1:1000", "outcome": "failed", "detail": "RuntimeError"}
    ]


async def test_lines_keep_their_order_and_are_whole(tmp_path: Path) -> None:
    """Many at once stand one behind the other, as they were given."""
    audit = Audit(tmp_path, Lines())
    await asyncio.gather(*(audit.record(AuditEntry("override", str(number))) for number in range(50)))
    assert [line["actor"] for line in lines(tmp_path)] == [str(number) for number in range(50)]


async def test_a_torn_line_spoils_no_other(tmp_path: Path) -> None:
    """What a kill has cut off is ended, and the next entry has a line of its own."""
    (tmp_path / FILE_NAME).write_bytes(b'{"action":"rel')
    await Audit(tmp_path, Lines()).record(AuditEntry("drain", "a"))
    torn, whole = (tmp_path / FILE_NAME).read_bytes().splitlines()
    assert torn == b'{"action":"rel'
    assert json.loads(whole)["action"] == "drain"


async def test_a_file_that_is_renamed_is_begun_anew(tmp_path: Path) -> None:
    """The log can be rotated while the process runs."""
    audit = Audit(tmp_path, Lines())
    await audit.record(AuditEntry("drain", "a"))
    (tmp_path / FILE_NAME).rename(tmp_path / "old")
    await audit.record(AuditEntry("drain", "b"))
    assert [line["actor"] for line in lines(tmp_path)] == ["b"]


async def test_without_a_directory_the_log_has_it() -> None:
    """In memory alone there is no file, and the line `audit` is written all the same."""
    log = Lines()
    async with Audit(None, log).order("drain", ADMIN):
        pass
    assert [line["outcome"] for line in log.of("audit")] == ["done"]


@pytest.fixture
async def house(tmp_path: Path) -> House:
    return await started(directory=tmp_path, disk=FullDisk())


def fill(house: House, *, full: bool = True) -> None:
    assert isinstance(house.disk, FullDisk)
    house.disk.full = full


async def test_an_order_that_cannot_be_written_down_is_refused(house: House) -> None:
    """Nothing is changed that nobody would find; afterwards orders are taken again."""
    await house.control.reload(ReloadOrder(document(2)), ADMIN)
    fill(house)
    orders = (
        house.control.reload(ReloadOrder(document(3)), ADMIN),
        house.control.reload(ReloadOrder(document(3), canary_fraction=0.5), ADMIN),
        house.control.rollback(RollbackOrder(), ADMIN),
    )
    for order in orders:
        with pytest.raises(CallFailedError, match="can't be written into the audit log") as caught:
            await order
        assert caught.value.failure.reason is Reason.INTERNAL
    assert house.store.history.running == 2
    assert house.live.running == (sha256(document(2)), 2)
    assert house.live.trial is None
    fill(house, full=False)
    assert await house.send(document(3)) == 3
    await house.close()


async def test_what_has_happened_is_not_undone_for_want_of_a_line(house: House) -> None:
    """A refused document is refused all the same, and the lost line is told in the log."""
    fill(house)
    with pytest.raises(CallFailedError) as caught:
        await house.control.reload(ReloadOrder(b"{"), ADMIN)
    assert caught.value.failure.reason is Reason.BAD_REQUEST
    assert [line["action"] for line in house.lines.of("audit_failed")] == ["rejected"]
    await house.close()


async def test_a_refused_document_is_written_down(house: House, tmp_path: Path) -> None:
    """Whose it was, why it came, its hash, and what was wrong by place and code, never by value."""
    with pytest.raises(CallFailedError):
        await house.control.reload(ReloadOrder(BAD, reason="try"), ADMIN)
    line = lines(tmp_path)[-1]
    assert (line["action"], line["actor"], line["reason"], line["old_version"]) == ("rejected", "alice", "try", 1)
    assert line["subject"] == sha256(BAD)
    assert "weihgt:4:unknown_field" in line["detail"]
    await house.close()


async def test_every_change_has_its_lines(house: House, tmp_path: Path) -> None:
    """Start, reload, rollback and trial are written down with both versions, by whom and why."""
    await house.control.reload(ReloadOrder(document(2), reason="r1"), ADMIN)
    await house.control.rollback(RollbackOrder(reason="r2"), ADMIN)
    await house.control.reload(ReloadOrder(document(4), canary_fraction=0.5), ADMIN)
    await house.control.reload(ReloadOrder(document(4), reason="r3"), ADMIN)
    told = [
        (line["action"], line["actor"], line.get("reason", ""), line.get("old_version", 0), line["new_version"])
        for line in lines(tmp_path)
        if line["outcome"] == "done"
    ]
    assert told == [
        ("start", "file", "", 0, 1),
        ("reload", "alice", "r1", 1, 2),
        ("rollback", "alice", "r2", 2, 3),
        ("canary_begin", "alice", "", 3, 4),
        ("canary_promote", "alice", "r3", 3, 4),
    ]
    assert [line["outcome"] for line in lines(tmp_path)] == ["intent", "done"] * 5
    await house.close()
