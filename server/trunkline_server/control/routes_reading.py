"""From bytes to routes that are ready to run: read, fenced in, completed, built. Off the event loop."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from trunkline_server.config.findings import Finding, InvalidRoutesError, in_order, why_unreadable
from trunkline_server.config.load import ParseResult, parse
from trunkline_server.config.model import RoutesDocument
from trunkline_server.config.pause import Pause, Rests
from trunkline_server.config.routes import LoadedRoutes, complete_routes
from trunkline_server.config.secrets import SecretResolver

PreparedT = TypeVar("PreparedT")


class Source(Protocol):
    """The routes file."""

    @property
    def name(self) -> str:
        """What messages call it, such as its path."""
        ...

    def read(self) -> bytes:
        """Return its bytes. Blocks. Raises OSError."""
        ...


Fence = Callable[[ParseResult, RoutesDocument, RoutesDocument | None], tuple[Finding, ...]]
"""What a document over the wire may not do, given the running document and the one on file (None: it can't be read)."""


@dataclass(frozen=True, slots=True)
class Candidate(Generic[PreparedT]):
    """Routes that are ready to run."""

    raw: bytes = field(repr=False)
    """The document as it was given."""
    routes: LoadedRoutes = field(repr=False)
    prepared: PreparedT = field(repr=False)

    @property
    def sha256(self) -> str:
        """Of the document's bytes, in hex."""
        return self.routes.sha256

    def same_as(self, other: Candidate[PreparedT]) -> bool:
        """Tell whether both have the same document and the same secrets: a rotated secret makes another candidate."""
        return self.sha256 == other.sha256 and _fingerprints(self.routes) == _fingerprints(other.routes)


def _fingerprints(routes: LoadedRoutes) -> dict[tuple[str, str], str]:
    return {key: secret.fingerprint for key, secret in routes.secrets.items()}


class RoutesFile:
    """The routes file as it was read last. Its methods block."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._known: tuple[str, RoutesDocument | None] = ("", None)

    @property
    def name(self) -> str:
        """What messages call it."""
        return self._source.name

    def read(self) -> bytes:
        """Return its bytes. Raises InvalidRoutesError with one finding if that is not possible."""
        try:
            return self._source.read()
        except OSError as error:
            message = f"can't be read: {why_unreadable(error)}"
            raise InvalidRoutesError([Finding("error", "", None, "unreadable_file", message)]) from error

    def document(self) -> RoutesDocument | None:
        """Return what the file says now; None if it can't be used. Parsed anew only if it has changed."""
        try:
            raw = self.read()
        except InvalidRoutesError:
            return None
        sha256 = hashlib.sha256(raw).hexdigest()
        if self._known[0] != sha256:
            self._known = sha256, parse(raw, name=self.name, pause=Rests()).document
        return self._known[1]


class RoutesReader(Generic[PreparedT]):
    """Makes candidates of documents."""

    def __init__(
        self,
        file: RoutesFile,
        resolver: SecretResolver,
        fence: Fence | None,
        prepare: Callable[[LoadedRoutes, Pause], PreparedT],
    ) -> None:
        """`fence` None: documents over the wire are as good as the file. `prepare` may raise InvalidRoutesError."""
        self.file = file
        self._resolver = resolver
        self._fence = fence
        self._prepare = prepare

    async def trusted(self, raw: bytes, name: str) -> Candidate[PreparedT]:
        """Make a candidate of a document that this server may trust. Raises InvalidRoutesError with all findings."""
        return await asyncio.to_thread(self._candidate, raw, name)

    async def from_wire(self, raw: bytes, running: RoutesDocument) -> Candidate[PreparedT]:
        """Make a candidate of a document that somebody sent; no secret is read that it may not have. As `trusted`."""
        return await asyncio.to_thread(self._fenced_candidate, raw, running)

    def _fenced_candidate(self, raw: bytes, running: RoutesDocument) -> Candidate[PreparedT]:
        rests = Rests()
        parsed = parse(raw, name="the document", pause=rests)
        if self._fence is not None:
            found = self._fence(parsed, running, self.file.document())
            if any(finding.severity == "error" for finding in found):
                raise InvalidRoutesError(in_order((*parsed.findings, *found)))
        return self._completed(raw, parsed, rests)

    def _candidate(self, raw: bytes, name: str) -> Candidate[PreparedT]:
        rests = Rests()
        return self._completed(raw, parse(raw, name=name, pause=rests), rests)

    def _completed(self, raw: bytes, parsed: ParseResult, pause: Pause) -> Candidate[PreparedT]:
        routes = complete_routes(parsed, self._resolver, pause)
        return Candidate(raw, routes, self._prepare(routes, pause))
