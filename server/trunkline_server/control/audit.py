"""Who changed what, when, from where and why: one append-only file of JSON lines, and a line `audit` of the log.

An order is written down before it is carried out, as an intent, and again with what became of it. If the first line
can't be written the order is refused, so nothing is changed that nobody would find; an intent without a second line
is one in whose middle the process died. The file is opened anew for each line: it may be rotated by renaming it.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from trunkline_server.config.findings import why_unreadable
from trunkline_server.control.store_disk import Disk
from trunkline_server.control.types import Actor
from trunkline_server.engine.frames import CallFailedError, CallFailure
from trunkline_server.routing.types import Reason
from trunkline_server.telemetry.logs import Log

FILE_NAME = "audit.jsonl"


class AuditEntry(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line. What does not apply is left out of it."""

    action: str
    """reload, rollback, canary_begin, canary_promote, canary_roll_back, override, drain, rejected, or start."""
    actor: str
    peer: str = ""
    reason: str = ""
    old_version: int = 0
    new_version: int = 0
    subject: str = ""
    """What it is done to, where that is no version: a target, a key; of a refused document its hash."""
    outcome: str = ""
    """`intent`; then `done` or `failed`."""
    detail: str = ""
    """More of the outcome, such as what was found in a refused document: paths and codes, never values."""
    at: str = ""
    """UTC, ISO 8601; filled in when it is written."""


class Audit:
    """Writes entries in their order. One for a data directory; None: the log alone has them."""

    def __init__(
        self, directory: Path | None, log: Log, *, clock: Callable[[], float] = time.time, disk: Disk | None = None
    ) -> None:
        """`clock` gives Unix seconds."""
        self._path = None if directory is None else directory / FILE_NAME
        self._log = log
        self._clock = clock
        self._disk = disk if disk is not None else Disk()
        self._turn = asyncio.Lock()

    @asynccontextmanager
    async def order(
        self,
        action: str,
        actor: Actor,
        *,
        reason: str = "",
        old_version: int = 0,
        new_version: int = 0,
        subject: str = "",
    ) -> AsyncIterator[None]:
        """Carry an order out inside of this: it is written down before, and what became of it after.

        Raises CallFailedError, INTERNAL, before the body runs, if it can't be written down.
        """
        entry = AuditEntry(action, actor.id, actor.peer, reason, old_version, new_version, subject)
        try:
            await self._append(msgspec.structs.replace(entry, outcome="intent"))
        except OSError as error:
            self._log.error("audit_failed", action=action, actor=actor.id, error=why_unreadable(error))
            raise CallFailedError(
                CallFailure(
                    Reason.INTERNAL,
                    f"refused: it can't be written into the audit log: {why_unreadable(error)}; see to the disk of "
                    "--data-dir and try again",
                )
            ) from error
        try:
            yield
        except BaseException as error:
            await self.record(msgspec.structs.replace(entry, outcome="failed", detail=_told(error)))
            raise
        await self.record(msgspec.structs.replace(entry, outcome="done"))

    async def record(self, entry: AuditEntry) -> None:
        """Write down what has happened. Never raises: it can't be undone; a line that is lost is told in the log."""
        self._log.info("audit", **{name: value for name, value in msgspec.structs.asdict(entry).items() if value})
        try:
            await self._append(entry)
        except OSError as error:
            self._log.error("audit_failed", action=entry.action, actor=entry.actor, error=why_unreadable(error))

    async def _append(self, entry: AuditEntry) -> None:
        """Add a line to the file, off the event loop, behind those that were given before."""
        if self._path is None:
            return
        at = datetime.fromtimestamp(self._clock(), UTC).isoformat()
        line = msgspec.json.encode(msgspec.structs.replace(entry, at=at)) + b"\n"
        async with self._turn:
            await asyncio.to_thread(_append_line, self._disk, self._path, line)


def _append_line(disk: Disk, path: Path, line: bytes) -> None:
    fd = disk.open_to_append(path)
    try:
        size = os.fstat(fd).st_size
        torn = size > 0 and os.pread(fd, 1, size - 1) != b"\n"
        # A line that a full disk or a kill cut off is ended first, so that it spoils no other.
        disk.write(fd, b"\n" + line if torn else line)
        disk.sync(fd)
        if size == 0:
            disk.sync_directory(path.parent)
    finally:
        os.close(fd)


def _told(error: BaseException) -> str:
    return error.failure.reason.value if isinstance(error, CallFailedError) else type(error).__name__
