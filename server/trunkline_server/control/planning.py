"""What a document would do, found out without doing any of it.

A plan looks up no secret: what the document needs and the running routes do not have yet is told as a warning, and
found out by a reload, which the fence of control.fence stands before in the same way.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

from trunkline_server.config.findings import Finding, InvalidRoutesError, format_path, in_order
from trunkline_server.config.load import ParseResult, parse
from trunkline_server.config.model import RoutesDocument
from trunkline_server.config.pause import Rests
from trunkline_server.config.routes import LoadedRoutes, secret_references
from trunkline_server.control.diff import diff
from trunkline_server.control.routes_reading import Fence, RoutesFile
from trunkline_server.control.routes_refusals import version_not_found
from trunkline_server.control.traffic import RecentCalls, RecentTraffic, shifts
from trunkline_server.control.types import Plan, RouteVersion

_AT_ONCE = 2


class Published(Protocol):
    """What a plan asks of the routes that run."""

    @property
    def running(self) -> RouteVersion:
        """The version that runs."""
        ...

    @property
    def routes(self) -> LoadedRoutes:
        """The routes that run."""
        ...

    async def base(self, etag: str) -> tuple[RouteVersion, bytes]:
        """Return a version with its document; empty: what runs. Raises VERSION_NOT_FOUND."""
        ...


@dataclass(frozen=True, slots=True)
class _Asked:
    """All that a plan depends on, as it was when it was asked for."""

    source: bytes | None = field(repr=False)
    base: RouteVersion
    base_document: bytes = field(repr=False)
    running: LoadedRoutes = field(repr=False)
    recent: RecentCalls = field(repr=False)


class Planner:
    """Makes plans, off the event loop, a few at a time: a large document takes a second to read."""

    def __init__(self, published: Published, file: RoutesFile, traffic: RecentTraffic, *, fence: Fence | None) -> None:
        """`fence` None: documents over the wire may name secrets and hosts as they like."""
        self._published = published
        self._file = file
        self._traffic = traffic
        self._fence = fence
        self._turns = asyncio.Semaphore(_AT_ONCE)

    async def plan(self, source: bytes | None, base_etag: str) -> Plan:
        """Return what a document would do, None: the routes file. A bad document is no error.

        Raises VERSION_NOT_FOUND if the version to compare with is not kept, or can't be read any more.
        """
        async with self._turns:
            base, document = await self._published.base(base_etag)
            asked = _Asked(source, base, document, self._published.routes, self._traffic.calls())
            return await asyncio.to_thread(self._planned, asked)

    def _planned(self, asked: _Asked) -> Plan:
        raw = asked.source
        fenced: tuple[Finding, ...] = ()
        if raw is None:
            try:
                raw = self._file.read()
            except InvalidRoutesError as error:
                return Plan(valid=False, no_op=False, findings=error.findings, changes=(), traffic=(), base=asked.base)
            parsed = parse(raw, name=self._file.name, pause=Rests())
        else:
            parsed = parse(raw, name="the document", pause=Rests())
            if self._fence is not None:
                fenced = self._fence(parsed, asked.running.document, self._file.document())
        findings = in_order((*parsed.findings, *fenced, *_not_loaded(parsed, asked.running)))
        no_op = hashlib.sha256(raw).hexdigest() == asked.running.sha256
        if parsed.document is None or fenced:
            return Plan(valid=False, no_op=no_op, findings=findings, changes=(), traffic=(), base=asked.base)
        before = _base_document(asked)
        return Plan(
            valid=True,
            no_op=no_op,
            findings=findings,
            changes=diff(before, parsed.document),
            traffic=shifts(before, parsed.document, asked.recent),
            base=asked.base,
        )


def _base_document(asked: _Asked) -> RoutesDocument:
    if asked.base.sha256 == asked.running.sha256:
        return asked.running.document
    before = parse(asked.base_document, name="the base", pause=Rests()).document
    if before is None:
        # A later release may refuse what an earlier one published.
        raise version_not_found(asked.base.version)
    return before


def _not_loaded(parsed: ParseResult, running: LoadedRoutes) -> Iterator[Finding]:
    """Warn of secrets that a reload will look up for the first time."""
    loaded = {
        (provider, key.secret) for provider, settings in running.document.providers.items() for key in settings.keys
    }
    for at in secret_references(parsed.tree):
        if parsed.tree is not None and (at.provider, at.reference) not in loaded:
            message = "names a secret that is not in use yet: a plan looks nothing up, a reload will"
            yield Finding("warning", format_path(at.path), parsed.tree.line(at.path), "secret_not_loaded", message)
