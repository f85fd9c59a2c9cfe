"""Which routes run when the process starts: semantics.md, section 9."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Generic, TypeVar

from trunkline_server.config.findings import Finding, InvalidRoutesError
from trunkline_server.control.routes_publisher import Publication, Publisher
from trunkline_server.control.routes_reading import Candidate, RoutesReader
from trunkline_server.control.store import Store, StoreError
from trunkline_server.control.types import Actor, Origin, RouteVersion

PreparedT = TypeVar("PreparedT")

START = Actor("file")


class Start(Generic[PreparedT]):
    """Chooses between the routes file and the version that ran last."""

    def __init__(self, publisher: Publisher[PreparedT], reader: RoutesReader[PreparedT], store: Store) -> None:
        self._publisher = publisher
        self._reader = reader
        self._store = store

    async def run(self) -> tuple[RouteVersion, str]:
        """Let routes run; return their version, and the hash of the file that was used or known.

        The version that ran last is used if the file is the one that it was based on, else the file, as a new version.
        If the one of the two can't be used the other is, and the refusal is told like any other: a file that was
        spoiled does not keep a process that restarts from serving. Raises InvalidRoutesError if neither can be used,
        INTERNAL if a new version can't be kept.
        """
        known = self._store.history.find(self._store.history.running)
        raw, sha256, unreadable = await self._file()
        if known is None:
            if raw is None:
                raise unreadable
            return await self._publish(await self._candidate_of_file(raw), sha256, ""), sha256
        if raw is None:
            return await self._resume_in_spite(known, sha256, unreadable)
        if known.file_sha256 == sha256:
            return await self._resume_or_publish(known, raw)
        try:
            candidate = await self._candidate_of_file(raw)
        except InvalidRoutesError as error:
            return await self._resume_in_spite(known, sha256, error)
        return await self._publish(candidate, sha256, ""), sha256

    async def _resume_in_spite(
        self, known: RouteVersion, sha256: str, refused: InvalidRoutesError
    ) -> tuple[RouteVersion, str]:
        """Go on with the version that ran, since the file can't be used."""
        try:
            candidate = await self._stored(known)
        except InvalidRoutesError:
            raise refused from None  # the file is what its author can mend
        version = await self._publisher.resume(candidate)
        await self._publisher.reject(START, sha256, refused.findings)
        return version, known.file_sha256

    async def _resume_or_publish(self, known: RouteVersion, raw: bytes) -> tuple[RouteVersion, str]:
        """Go on with the version that ran; if that can't be used any more, take the file that it was based on."""
        try:
            candidate = await self._stored(known)
        except InvalidRoutesError as error:
            refused = error
        else:
            return await self._publisher.resume(candidate), known.file_sha256
        of_file = await self._candidate_of_file(raw)
        reason = f"version {known.version} can't be used any more"
        version = await self._publish(of_file, known.file_sha256, reason)
        await self._publisher.reject(START, known.sha256, refused.findings)
        return version, known.file_sha256

    async def _publish(self, candidate: Candidate[PreparedT], sha256: str, reason: str) -> RouteVersion:
        return await self._publisher.publish(candidate, Publication(START, Origin.START, reason, sha256))

    async def _file(self) -> tuple[bytes | None, str, InvalidRoutesError]:
        try:
            raw = await asyncio.to_thread(self._reader.file.read)
        except InvalidRoutesError as error:
            return None, "", error
        return raw, hashlib.sha256(raw).hexdigest(), InvalidRoutesError(())

    async def _candidate_of_file(self, raw: bytes) -> Candidate[PreparedT]:
        return await self._reader.trusted(raw, self._reader.file.name)

    async def _stored(self, record: RouteVersion) -> Candidate[PreparedT]:
        return await stored(self._store, self._reader, record)


async def stored(store: Store, reader: RoutesReader[PreparedT], record: RouteVersion) -> Candidate[PreparedT]:
    """Make a version ready to run again. Raises InvalidRoutesError, also if its document is damaged."""
    try:
        raw = await asyncio.to_thread(store.document, record.sha256)
    except StoreError as error:
        raise InvalidRoutesError([Finding("error", "", None, "unreadable_version", str(error))]) from error
    return await reader.trusted(raw, f"version {record.version}")
