"""The steps by which routes begin and cease to run, each told to whoever must know.

The order of a step is always the same: the audit log has the intent, the version is on disk, the new routes run,
watchers are told. A process that is killed in between starts with the old version or with the new one. Steps are
taken one at a time: see routes_turns.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from trunkline_server.config.findings import Finding
from trunkline_server.control.audit import Audit, AuditEntry
from trunkline_server.control.canary import Canary
from trunkline_server.control.live import Live
from trunkline_server.control.routes_reading import Candidate
from trunkline_server.control.routes_refusals import not_kept, not_swapped
from trunkline_server.control.store import History, Store, StoreError
from trunkline_server.control.types import (
    Actor,
    Applied,
    Bookmark,
    Guard,
    Origin,
    Rejection,
    RoutesEvent,
    RouteVersion,
    TakenBack,
    VersionState,
)
from trunkline_server.control.watch import Broadcast
from trunkline_server.telemetry.logs import Log
from trunkline_server.telemetry.stack import stack_of

PreparedT = TypeVar("PreparedT")

_ACTIONS = {Origin.START: "start", Origin.ROLLBACK: "rollback"}

MAX_REJECTED_FINDINGS = 20
"""How many findings of a refused document are kept and told; a plan tells them all."""


@dataclass(frozen=True, slots=True)
class Trial(Generic[PreparedT]):
    """A canary with its routes."""

    candidate: Candidate[PreparedT]
    canary: Canary
    actor: Actor
    reason: str


@dataclass(frozen=True, slots=True)
class Publication:
    """All about a publication but its document."""

    actor: Actor
    origin: Origin
    reason: str = ""
    file_sha256: str = ""
    rolled_back_to: int = 0


class Publisher(Generic[PreparedT]):
    """Knows what runs and what is on trial, and changes it."""

    def __init__(
        self,
        live: Live[PreparedT],
        store: Store,
        audit: Audit,
        log: Log,
        *,
        clock: Callable[[], float],
        on_event: Callable[[RoutesEvent], None],
    ) -> None:
        """`clock` gives Unix seconds; `on_event` is told what watchers are told, but for bookmarks."""
        self._live = live
        self._store = store
        self._shown = store.history
        self._audit = audit
        self._log = log
        self._clock = clock
        self._on_event = on_event
        self.candidate: Candidate[PreparedT] | None = None
        """What runs. None: nothing yet."""
        self.trial: Trial[PreparedT] | None = None
        self.rejected: Rejection | None = None
        self.events = Broadcast(self._bookmark)

    @property
    def history(self) -> History:
        """All versions as they run: what is on disk may be a step ahead, or not know yet that a canary has ended."""
        if self._shown.trial and self.trial is None:
            return _without_trial(self._shown)
        return self._shown

    @property
    def running(self) -> RouteVersion:
        """The record of the version that runs."""
        record = self._shown.find(self._shown.running)
        if record is None:
            raise RuntimeError("nothing was published yet")
        return record

    async def resume(self, candidate: Candidate[PreparedT]) -> RouteVersion:
        """Let the version run that ran when the process ended. Raises INTERNAL.

        A canary that ran then was not judged: it is taken back.
        """
        if self._shown.trial:
            version, why = self._shown.trial, "the process ended while it ran"
            self._shown = await self._commit(self.history)
            await self._audit.record(AuditEntry("canary_roll_back", "guard", reason=why, old_version=version))
        self._run(candidate, self.running.version)
        return self._applied(self.running)

    async def publish(self, candidate: Candidate[PreparedT], publication: Publication) -> RouteVersion:
        """Let all new requests run on these routes, as a new version. Raises INTERNAL with nothing changed."""
        record = self._record(candidate, publication, VersionState.RUNNING)
        old = self._shown.running
        history = _superseded(self.history).with_record(record)
        actor = publication.actor
        async with self._audit.order(
            _ACTIONS.get(publication.origin, "reload"),
            actor,
            reason=publication.reason,
            old_version=old,
            new_version=record.version,
        ):
            await self._switch(replace(history, running=record.version), candidate)
        return self._applied(record)

    async def begin_trial(
        self, candidate: Candidate[PreparedT], publication: Publication, fraction: float, guard: Guard
    ) -> Trial[PreparedT]:
        """Let a share of the new requests run on these routes, as a new version. Raises INTERNAL."""
        record = self._record(candidate, publication, VersionState.CANARY)
        base = self.running.version
        canary = Canary(record.version, base, fraction, guard, ends_at=self._clock() + guard.window_s)
        trial = Trial(candidate, canary, publication.actor, publication.reason)
        history = replace(self.history.with_record(record), trial=record.version)
        async with self._audit.order(
            "canary_begin",
            publication.actor,
            reason=publication.reason,
            old_version=base,
            new_version=record.version,
        ):
            kept = await self._commit(history, candidate.raw)
            self._live.begin_trial(candidate.prepared, record.version, fraction)
            self.trial, self._shown = trial, kept
        self._applied(record, fraction)
        return trial

    async def promote(
        self, trial: Trial[PreparedT], candidate: Candidate[PreparedT], actor: Actor, reason: str
    ) -> RouteVersion:
        """Let all new requests run on the canary's routes; it keeps its version. Raises INTERNAL."""
        history = self._shown
        record = history.find(trial.canary.version)
        if record is None:
            raise RuntimeError("the history has no record of the canary")
        record = replace(record, state=VersionState.RUNNING)
        new = replace(_superseded(history).with_record(record), running=record.version, trial=0)
        async with self._audit.order(
            "canary_promote", actor, reason=reason, old_version=history.running, new_version=record.version
        ):
            await self._switch(new, candidate)
        return self._applied(record)

    async def take_back(self, trial: Trial[PreparedT], actor: Actor, reason: str) -> None:
        """End a trial. An operator's order that can't be written into the audit log is refused, INTERNAL.

        Whatever else fails, the canary gets no new request: a restart would end it too.
        """
        version, running = trial.canary.version, self.running
        if actor.id == "guard":
            self._end_trial()
            entry = AuditEntry("canary_roll_back", "guard", "", reason, version, running.version, outcome="done")
            await self._audit.record(entry)
            await self._commit_if_possible()
        else:
            order = self._audit.order(
                "canary_roll_back", actor, reason=reason, old_version=version, new_version=running.version
            )
            async with order:
                self._end_trial()
                await self._commit_if_possible()
        self._log.warning("routes_taken_back", version=version, to=running.version, by=actor.id, reason=reason)
        self.tell(TakenBack(self._clock(), version, running, actor.id, reason))

    async def reject(self, actor: Actor, sha256: str, findings: tuple[Finding, ...], reason: str = "") -> None:
        """Say loudly that a document was refused; what runs runs on. `reason`: of the order that brought it."""
        errors = tuple(finding for finding in findings if finding.severity == "error")
        told = errors[:MAX_REJECTED_FINDINGS]
        self.rejected = Rejection(self._clock(), actor.id, sha256, told, len(errors) - len(told))
        places = [f"{finding.path}:{finding.line or 0}:{finding.code}" for finding in told]
        self._log.error("routes_rejected", by=actor.id, sha256=sha256, errors=len(errors), findings=places)
        self.tell(self.rejected)
        detail = f"{len(errors)} error(s): {' '.join(places)}"
        running = self._shown.running
        await self._audit.record(
            AuditEntry("rejected", actor.id, actor.peer, reason, running, 0, sha256, outcome="done", detail=detail)
        )

    def tell(self, event: RoutesEvent) -> None:
        """Let watchers and metrics know."""
        self.events.tell(event)
        self._on_event(event)

    async def _switch(self, history: History, candidate: Candidate[PreparedT]) -> None:
        """Keep a history, and let its running version run; a fault of ours in between leaves both as they were."""
        before = self._shown
        kept = await self._commit(history, candidate.raw)
        try:
            self._run(candidate, history.running)
        except Exception as error:
            self._log.error("routes_swap_failed", version=history.running, error=stack_of(error))
            await self._commit(replace(before, next_version=history.next_version))
            raise not_swapped() from error
        self._shown = kept

    def _run(self, candidate: Candidate[PreparedT], version: int) -> None:
        self._live.publish(candidate.prepared, version)
        self.candidate, self.trial, self.rejected = candidate, None, None

    def _end_trial(self) -> None:
        self._live.end_trial()
        self.trial = None

    def _record(self, candidate: Candidate[PreparedT], publication: Publication, state: VersionState) -> RouteVersion:
        number, sha256 = self._store.history.next_version, candidate.sha256
        return RouteVersion(
            number,
            f"{number}-{sha256[:12]}",
            sha256,
            self._clock(),
            publication.actor.id,
            publication.actor.peer,
            publication.reason,
            publication.origin,
            state,
            publication.rolled_back_to,
            publication.file_sha256,
        )

    def _applied(self, record: RouteVersion, fraction: float = 1.0) -> RouteVersion:
        self._log.info(
            "routes_published",
            version=record.version,
            etag=record.etag,
            origin=record.origin.value,
            by=record.published_by,
            fraction=fraction,
        )
        self.tell(Applied(self._clock(), record, fraction))
        return record

    async def _commit(self, history: History, *documents: bytes) -> History:
        try:
            return await asyncio.to_thread(self._store.commit, history, *documents)
        except StoreError as error:
            self._log.error("store_failed", error=str(error))
            raise not_kept(str(error)) from error

    async def _commit_if_possible(self) -> None:
        """Keep that the trial has ended. If the disk fails, the next commit says it, or the next start finds it out."""
        self._shown = self.history
        try:
            self._shown = await asyncio.to_thread(self._store.commit, self._shown)
        except StoreError as error:
            self._log.error("store_failed", error=str(error))

    def _bookmark(self) -> Bookmark:
        return Bookmark(self._clock(), self.running.version, self.running.etag)


def _superseded(history: History) -> History:
    """Mark the running version as one that a later one replaces."""
    record = history.find(history.running)
    return history if record is None else history.with_record(replace(record, state=VersionState.SUPERSEDED))


def _without_trial(history: History) -> History:
    """Mark the canary as taken back."""
    record = history.find(history.trial)
    if record is not None:
        history = history.with_record(replace(record, state=VersionState.ROLLED_BACK))
    return replace(history, trial=0)
