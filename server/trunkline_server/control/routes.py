"""The routes of a running server: reloads, rollbacks, canaries, versions and watches.

Which document wins at a start, and when the routes file is published: semantics.md, section 9.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from dataclasses import replace
from typing import Any, Generic, TypeVar

from trunkline_server.config.findings import Finding, InvalidRoutesError
from trunkline_server.config.routes import LoadedRoutes
from trunkline_server.config.secrets import SecretResolver
from trunkline_server.control.audit import Audit
from trunkline_server.control.canary import Action, Verdict
from trunkline_server.control.live import Live
from trunkline_server.control.routes_publisher import Publication, Publisher, Trial
from trunkline_server.control.routes_reading import Candidate, Fence, RoutesFile, RoutesReader, Source
from trunkline_server.control.routes_refusals import (
    JUDGED,
    bad_document,
    canary_running,
    refuse_bad_order,
    refuse_long_reason,
    stale_etag,
    version_not_found,
)
from trunkline_server.control.routes_start import Start, stored
from trunkline_server.control.routes_turns import Repeats, Turns
from trunkline_server.control.routes_views import RoutesViews
from trunkline_server.control.store import History, Store, StoreError
from trunkline_server.control.types import (
    Actor,
    CanaryState,
    Origin,
    Rejection,
    Reloaded,
    ReloadOrder,
    RollbackOrder,
    RolledBack,
    RoutesEvent,
    RoutesView,
    RouteVersion,
    VersionPage,
    VersionState,
)
from trunkline_server.engine.frames import CallFailedError
from trunkline_server.engine.outcome import CallOutcome
from trunkline_server.routing.types import Reason
from trunkline_server.telemetry.logs import Log

PreparedT = TypeVar("PreparedT")

GUARD = Actor("guard")

_FILE_UNCHANGED = Finding(
    "warning",
    "",
    None,
    "file_unchanged",
    "the routes file is as it was when it was last read, so what runs was kept; to go back to it, send it as source",
)


def _nobody_hears(_: RoutesEvent) -> None:
    """Let it pass."""


class RoutesControl(Generic[PreparedT]):
    """The half of control.api.Admin that is about routes. For the event loop; files and documents are read off it.

    `start` comes first. `aclose` waits for a change that is under way and ends the timers; the store is closed by
    whoever opened it.
    """

    def __init__(
        self,
        live: Live[PreparedT],
        store: Store,
        source: Source,
        resolver: SecretResolver,
        *,
        audit: Audit,
        log: Log,
        fence: Fence | None,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[Any]] = asyncio.sleep,
        on_event: Callable[[RoutesEvent], None] = _nobody_hears,
    ) -> None:
        """`fence` None: documents over the wire may name secrets and hosts as they like. `clock` gives Unix seconds."""
        self._store = store
        self._log = log
        self._sleep = sleep
        self._reader = RoutesReader(RoutesFile(source), resolver, fence, live.prepare)
        self._publisher = Publisher(live, store, audit, log, clock=clock, on_event=on_event)
        self._views = RoutesViews(self._publisher, store)
        self._turns = Turns()
        self._repeats: Repeats[Reloaded] = Repeats()
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.Task[None] | None = None
        self._judged: Trial[PreparedT] | None = None
        """Whose guard broke; it is about to be taken back."""
        self._file_sha256 = ""
        """Of the file when it was last read and not refused."""
        self._file_waits: Actor | None = None
        """Who wanted the file to be read while a canary ran."""

    @property
    def running(self) -> RouteVersion:
        """The version that runs."""
        return self._publisher.running

    @property
    def routes(self) -> LoadedRoutes:
        """The routes that run."""
        return self._candidate.routes

    @property
    def file(self) -> RoutesFile:
        """The routes file, as it was read last: shared, so that it is parsed once for reloads and plans."""
        return self._reader.file

    @property
    def document(self) -> bytes:
        """The document that runs, as it was given."""
        return self._candidate.raw

    @property
    def canary(self) -> CanaryState | None:
        """The canary that runs."""
        return self._views.canary

    @property
    def last_rejected(self) -> Rejection | None:
        """The last document that was refused since something was published."""
        return self._publisher.rejected

    async def start(self) -> RouteVersion:
        """Let routes run; return their version.

        Raises InvalidRoutesError if neither the file nor the version that ran last can be used, and StoreError if the
        data directory fails.
        """
        try:
            return await self._turns.run(self._start)
        except CallFailedError as error:
            raise StoreError(error.failure.message) from error

    async def aclose(self) -> None:
        """End the timers, and wait for what is under way."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self._turns.settle()

    def outcome(self, outcome: CallOutcome) -> None:
        """Hear of a call that has ended. Quick; may lead to the end of a canary."""
        trial = self._publisher.trial
        if trial is None or trial is self._judged:
            return
        verdict = trial.canary.feed(outcome)
        if verdict is not None:
            self._judged = trial
            self._spawn(self._conclude(trial, verdict))

    async def get_routes(self, version: int) -> RoutesView:
        """See control.api.Admin."""
        return await self._views.get(version)

    async def base(self, etag: str) -> tuple[RouteVersion, bytes]:
        """Return the version that a plan is compared with, and its document; empty: what runs. VERSION_NOT_FOUND."""
        return await self._views.base(etag)

    async def list_versions(self, page_size: int, page_token: str) -> VersionPage:
        """See control.api.Admin."""
        return self._views.page(page_size, page_token)

    def watch_routes(self, after_version: int) -> AsyncGenerator[RoutesEvent, None]:
        """See control.api.Admin."""
        return self._publisher.events.read(after_version)

    async def reload(self, order: ReloadOrder, actor: Actor) -> Reloaded:
        """See control.api.Admin. It is carried out even if whoever asked leaves in the middle."""
        refuse_bad_order(order)
        content = await asyncio.to_thread(_content, order) if order.request_id else order
        return await self._repeats.once(
            actor.id, order.request_id, content, lambda: self._turns.run(lambda: self._reload(order, actor))
        )

    async def rollback(self, order: RollbackOrder, actor: Actor) -> RolledBack:
        """See control.api.Admin. It is carried out even if whoever asked leaves in the middle."""
        refuse_long_reason(order.reason)
        return await self._turns.run(lambda: self._rollback(order, actor))

    async def reload_file(self, actor: Actor) -> Reloaded | None:
        """Read the routes file since it changed, or somebody said so. Never raises CallFailedError: None, and told.

        While a canary runs the file waits for its end, unless it is the canary's own document.
        """
        done = await self._try_file(actor)
        return done if isinstance(done, Reloaded) else None

    async def file_changed(self, actor: Actor) -> bool:
        """Do as `reload_file`; return whether the file was judged, or will be when a canary ends.

        False: it was not, for a reason that may pass, such as a full disk. Whoever heard of the change asks again.
        """
        done = await self._try_file(actor)
        return isinstance(done, Reloaded) or done in JUDGED

    async def _try_file(self, actor: Actor) -> Reloaded | Reason:
        try:
            return await self.reload(ReloadOrder(), actor)
        except CallFailedError as error:
            waits = error.failure.reason is Reason.CANARY_RUNNING
            if waits:
                self._file_waits = actor
            self._log.warning(
                "reload_failed",
                by=actor.id,
                reason=error.failure.reason.value,
                message=error.failure.message,
                tried_again="when the canary has ended" if waits else "",
            )
            return error.failure.reason

    @property
    def _candidate(self) -> Candidate[PreparedT]:
        candidate = self._publisher.candidate
        if candidate is None:
            raise RuntimeError("nothing was published yet")
        return candidate

    async def _start(self) -> RouteVersion:
        version, self._file_sha256 = await Start(self._publisher, self._reader, self._store).run()
        return version

    async def _reload(self, order: ReloadOrder, actor: Actor) -> Reloaded:
        self._check_etag(order.if_match_etag)
        raw, file_sha256 = order.source, self._file_sha256
        try:
            if raw is None:
                raw = await asyncio.to_thread(self._reader.file.read)
                file_sha256 = hashlib.sha256(raw).hexdigest()
            unchanged = order.source is None and file_sha256 == self._file_sha256
            if unchanged:
                # Nothing new to publish; but what runs may refer to secrets that were rotated.
                raw = self._candidate.raw
            sha256 = hashlib.sha256(raw).hexdigest()
            trial = self._trial_to_promote(order, sha256)
            candidate = await self._ready(raw, over_wire=order.source is not None)
        except InvalidRoutesError as error:
            if not order.dry_run:
                sha256 = "" if raw is None else hashlib.sha256(raw).hexdigest()
                await self._publisher.reject(actor, sha256, error.findings, order.reason)
            raise bad_document(error.findings) from error
        origin = Origin.FILE if actor.id in {"file", "signal"} and not actor.peer else Origin.RELOAD
        publication = Publication(actor, origin, order.reason, file_sha256)
        done = await self._carry_out(order, publication, candidate, trial)
        if not order.dry_run:
            self._file_sha256 = file_sha256
        if unchanged and file_sha256 != candidate.sha256:
            return replace(done, findings=(*done.findings, _FILE_UNCHANGED))
        return done

    async def _ready(self, raw: bytes, *, over_wire: bool) -> Candidate[PreparedT]:
        if over_wire:
            return await self._reader.from_wire(raw, self._candidate.routes.document)
        return await self._reader.trusted(raw, self._reader.file.name)

    def _trial_to_promote(self, order: ReloadOrder, sha256: str) -> Trial[PreparedT] | None:
        """Return the trial that an order ends well, None if none runs. Raises CANARY_RUNNING for all other orders."""
        trial = self._publisher.trial
        if trial is not None and (order.canary_fraction or trial.candidate.sha256 != sha256):
            raise canary_running(trial.canary.version)
        return trial

    async def _carry_out(
        self,
        order: ReloadOrder,
        publication: Publication,
        candidate: Candidate[PreparedT],
        trial: Trial[PreparedT] | None,
    ) -> Reloaded:
        publisher, findings = self._publisher, candidate.routes.findings
        if trial is None and candidate.same_as(self._candidate):
            return Reloaded(publisher.running, no_op=True, dry_run=order.dry_run, findings=findings)
        if order.dry_run:
            return Reloaded(publisher.running, dry_run=True, findings=findings)
        if trial is not None:
            version = await publisher.promote(trial, candidate, publication.actor, order.reason)
            self._trial_ended()
        elif order.canary_fraction:
            begun = await publisher.begin_trial(candidate, publication, order.canary_fraction, order.guard)
            self._timer = self._spawn(self._watch_over(begun))
            version = publisher.history.find(begun.canary.version) or publisher.running
        else:
            version = await publisher.publish(candidate, publication)
        return Reloaded(version, findings=findings, canary=self.canary)

    async def _rollback(self, order: RollbackOrder, actor: Actor) -> RolledBack:
        self._check_etag(order.if_match_etag)
        publisher = self._publisher
        if (trial := publisher.trial) is not None:
            version = trial.canary.version
            if order.to_version not in {0, publisher.running.version}:
                raise canary_running(version)
            if not order.dry_run:
                await publisher.take_back(trial, actor, order.reason)
                self._trial_ended()
            return RolledBack(publisher.running, ended_canary=version, dry_run=order.dry_run)
        record = _wanted(publisher.history, order.to_version)
        if record.version == publisher.running.version:
            return RolledBack(record, dry_run=order.dry_run)
        try:
            candidate = await stored(self._store, self._reader, record)
        except InvalidRoutesError as error:
            if not order.dry_run:
                await publisher.reject(actor, record.sha256, error.findings, order.reason)
            raise bad_document(error.findings) from error
        if order.dry_run or candidate.same_as(self._candidate):
            return RolledBack(publisher.running, dry_run=order.dry_run)
        publication = Publication(actor, Origin.ROLLBACK, order.reason, self._file_sha256, record.version)
        return RolledBack(await publisher.publish(candidate, publication))

    def _check_etag(self, etag: str) -> None:
        """Raise STALE_ETAG unless it is the running version's; while a canary runs, its own will do as well."""
        history = self._publisher.history
        trial = history.find(history.trial)
        if etag and etag != self.running.etag and (trial is None or trial.etag != etag):
            raise stale_etag(self.running)

    async def _watch_over(self, trial: Trial[PreparedT]) -> None:
        """Judge a trial when its window is over."""
        await self._sleep(trial.canary.guard.window_s)
        self._timer = None
        await self._conclude(trial, None)

    async def _conclude(self, trial: Trial[PreparedT], verdict: Verdict | None) -> None:
        """Do with a trial as its guard says. None: its window is over."""
        await self._turns.run(lambda: self._as_judged(trial, verdict), max_wait_s=None)

    async def _as_judged(self, trial: Trial[PreparedT], verdict: Verdict | None) -> None:
        publisher = self._publisher
        if publisher.trial is not trial:
            return  # somebody ended it in the meantime
        judged = trial.canary.at_end() if verdict is None else verdict
        why = judged.why
        if judged.action is Action.PROMOTE:
            try:
                await publisher.promote(trial, trial.candidate, GUARD, why)
            except CallFailedError as error:
                why = f"it could not be published for all traffic: {error.failure.message}"
        if publisher.trial is trial:
            await publisher.take_back(trial, GUARD, why)
        self._trial_ended()

    def _trial_ended(self) -> None:
        """Stop the clock, and read the file that had to wait."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        if self._file_waits is not None:
            actor, self._file_waits = self._file_waits, None
            self._spawn(self._reload_waiting_file(actor))

    async def _reload_waiting_file(self, actor: Actor) -> None:
        await self.reload_file(actor)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _content(order: ReloadOrder) -> ReloadOrder:
    """Return what makes an order the same as another one: a thousand are remembered, so its document only as a hash."""
    source = None if order.source is None else hashlib.sha256(order.source).digest()
    return replace(order, source=source, request_id="")


def _wanted(history: History, to_version: int) -> RouteVersion:
    """Return the version that a rollback goes to; 0: the one that ran before. Raises VERSION_NOT_FOUND."""
    if to_version:
        record = history.find(to_version)
    else:
        before = [
            known
            for known in history.versions
            if known.version < history.running and known.state is VersionState.SUPERSEDED
        ]
        record = before[-1] if before else None
    if record is None:
        raise version_not_found(to_version)
    return record
