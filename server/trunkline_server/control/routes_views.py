"""Looking at the versions of the routes: one with its document, or all of them by pages."""

from __future__ import annotations

import asyncio
import re
from typing import Generic, TypeVar

from trunkline_server.control.routes_publisher import Publisher
from trunkline_server.control.routes_refusals import bad_request, damaged, version_not_found
from trunkline_server.control.store import Store, StoreError
from trunkline_server.control.types import CanaryState, RoutesView, RouteVersion, VersionPage

PreparedT = TypeVar("PreparedT")

DEFAULT_PAGE = 50
MAX_PAGE = 100

_PAGE_TOKEN = re.compile(r"before-([1-9][0-9]{0,18})")
_ETAG = re.compile(r"([1-9][0-9]{0,18})-[0-9a-f]{12}")


class RoutesViews(Generic[PreparedT]):
    """Answers what has no effect."""

    def __init__(self, publisher: Publisher[PreparedT], store: Store) -> None:
        self._publisher = publisher
        self._store = store

    @property
    def canary(self) -> CanaryState | None:
        """The canary that runs."""
        trial = self._publisher.trial
        return None if trial is None else trial.canary.state()

    async def get(self, version: int) -> RoutesView:
        """Return a version with its document; 0: the running one. Raises VERSION_NOT_FOUND."""
        publisher = self._publisher
        record = publisher.history.find(version) if version else publisher.running
        if record is None:
            raise version_not_found(version)
        raw = await self._document(record)
        return RoutesView(record, raw.decode(errors="replace"), publisher.rejected, self.canary)

    async def base(self, etag: str) -> tuple[RouteVersion, bytes]:
        """Return the version that an etag names, with its document; empty: the running one. VERSION_NOT_FOUND."""
        record = self._named(etag) if etag else self._publisher.running
        return record, await self._document(record)

    def page(self, page_size: int, page_token: str) -> VersionPage:
        """Return versions, the newest first; `page_size` 0: 50, at most 100. BAD_REQUEST for a token of nobody's."""
        known = list(reversed(self._publisher.history.versions))
        if page_token:
            token = _PAGE_TOKEN.fullmatch(page_token)
            if token is None:
                raise bad_request("page_token", "is none of this server's: take it from the response before")
            known = [record for record in known if record.version < int(token[1])]
        page = tuple(known[: min(page_size or DEFAULT_PAGE, MAX_PAGE)])
        return VersionPage(page, f"before-{page[-1].version}" if len(known) > len(page) else "")

    def _named(self, etag: str) -> RouteVersion:
        parts = _ETAG.fullmatch(etag)
        if parts is None:
            raise bad_request("base_etag", "is no etag of this server's: take it from GetRoutes or ListRouteVersions")
        record = self._publisher.history.find(int(parts[1]))
        if record is None or record.etag != etag:
            raise version_not_found(int(parts[1]))
        return record

    async def _document(self, record: RouteVersion) -> bytes:
        try:
            return await asyncio.to_thread(self._store.document, record.sha256)
        except StoreError as error:
            if self._store.history.find(record.version) is None:
                raise version_not_found(record.version) from error  # dropped in the meantime
            raise damaged(str(error)) from error
