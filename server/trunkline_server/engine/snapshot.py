"""Routes as a request sees them: immutable, versioned, swapped whole.

A request keeps its snapshot for every decision. Only where it is about to send something to a target does it ask, by
`Snapshot.refusal`, whether newer routes have taken that target out of all aliases.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field

from trunkline_server.engine.provider import LiveProvider
from trunkline_server.routing.aliases import AliasTable
from trunkline_server.routing.failures import FailureClass
from trunkline_server.routing.types import Reason, Refusal, TargetId


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


_STAY_AWAY_S = 0.05


@dataclass(slots=True)
class Named:
    """The targets that aliases name in the routes that new requests get."""

    targets: frozenset[TargetId] = frozenset()


@dataclass(slots=True)
class Fate:
    """What became of a snapshot. While new requests still get it: nothing."""

    named_now: Named | None = None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One version of the routes. A request keeps the one that it started with."""

    version: int
    table: AliasTable
    providers: Mapping[str, LiveProvider]
    limits: ServerLimits
    named: frozenset[TargetId] = frozenset()
    """The targets that its aliases name."""
    fate: Fate = field(default_factory=Fate, compare=False, repr=False)
    """Told by `Snapshots`."""

    def refusal(self, target: TargetId) -> Refusal | None:
        """Return why nothing may be sent to a target any more: it was removed from all aliases since; None if it may.

        A target that no alias of this snapshot named was named by the request itself, and stays.
        """
        now = self.fate.named_now
        if now is None or target in now.targets or target not in self.named:
            return None
        told = f"{target} takes no more calls: newer routes name it no more"
        return Refusal(FailureClass.SATURATED, Reason.QUEUE_FULL, told, _STAY_AWAY_S, never=True)


class Snapshots:
    """Holds the published snapshot, and the one on trial if there is one; publishing is one assignment."""

    __slots__ = ("_fraction", "_named", "_trial", "current")

    def __init__(self, first: Snapshot) -> None:
        self.current = first
        """The published one: what everything goes by that is no routed request."""
        self._trial: Snapshot | None = None
        self._fraction = 0.0
        self._named = Named(first.named)

    @property
    def trial(self) -> Snapshot | None:
        """The one on trial."""
        return self._trial

    def pick(self, rng: random.Random) -> Snapshot:
        """Return the snapshot of one request, which asks once."""
        if self._trial is None:
            return self.current
        return self._trial if rng.random() < self._fraction else self.current

    def publish(self, snapshot: Snapshot) -> None:
        """Make `snapshot` the one that new requests get, and end a trial.

        Raises ValueError, and changes nothing, unless its version is newer than the published one.
        """
        self.check(snapshot.version)
        self.end_trial()
        older, self.current = self.current, snapshot
        self._named.targets = snapshot.named
        older.fate.named_now = self._named

    def begin_trial(self, snapshot: Snapshot, fraction: float) -> None:
        """Let a share of the new requests get `snapshot`, drawn for each. Raises ValueError as `check_trial` does."""
        self.check_trial(snapshot.version, fraction)
        self._trial, self._fraction = snapshot, fraction
        self._named.targets = self.current.named | snapshot.named

    def end_trial(self) -> Snapshot | None:
        """Let all new requests get the published snapshot; return the one that was on trial, if one was."""
        trial, self._trial = self._trial, None
        if trial is not None:
            self._named.targets = self.current.named
            trial.fate.named_now = self._named
        return trial

    def check(self, version: int) -> None:
        """Raise ValueError unless a version is newer than the published one."""
        if version <= self.current.version:
            raise ValueError(f"version {version} is not newer than {self.current.version}")

    def check_trial(self, version: int, fraction: float) -> None:
        """Raise ValueError unless a version is newer, its share is between 0 and 1, and no other trial runs."""
        self.check(version)
        if not 0.0 < fraction < 1.0:
            raise ValueError(f"a trial is for a share between 0 and 1, not for {fraction}")
        if self._trial is not None:
            raise ValueError(f"version {self._trial.version} is still on trial")
