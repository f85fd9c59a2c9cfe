"""Routes as a request sees them: immutable, versioned, swapped whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from trunkline_server.engine.provider import LiveProvider
from trunkline_server.routing.aliases import AliasTable


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """Bounds that hold for every call, in seconds."""

    write_timeout_s: float = 30.0
    """How long one write to a slow reader may take."""
    deadline_reserve_s: float = 0.05
    """What is kept of a deadline to tell the caller how it ended; at most a tenth of the whole."""
    default_deadline_s: float = 120.0
    max_deadline_s: float = 3600.0
    detach_s: float = 60.0
    """How long a detachable stream goes on without a reader, and how long it is kept when it has ended."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One published version of the routes. A request keeps the one that it started with."""

    version: int
    table: AliasTable
    providers: Mapping[str, LiveProvider]
    limits: ServerLimits


class Snapshots:
    """Holds the running snapshot; publishing is one assignment."""

    __slots__ = ("current",)

    def __init__(self, first: Snapshot) -> None:
        self.current = first

    def publish(self, snapshot: Snapshot) -> None:
        """Make `snapshot` the one that new requests get; raise ValueError unless its version is newer."""
        if snapshot.version <= self.current.version:
            raise ValueError(f"version {snapshot.version} is not newer than {self.current.version}")
        self.current = snapshot
