"""What runs: the providers and the targets of the published routes, and of those on trial."""

from __future__ import annotations

from collections.abc import Mapping

from trunkline_server.engine.provider import LiveProvider
from trunkline_server.engine.snapshot import Snapshot, Snapshots
from trunkline_server.routing.types import Caller, TargetId

_ANYBODY = Caller("")


class Running:
    """A view of the running snapshots, which is put together once for each of them. For the event loop alone."""

    def __init__(self, snapshots: Snapshots) -> None:
        self._snapshots = snapshots
        self._seen: tuple[Snapshot, Snapshot | None] | None = None
        self._providers: dict[str, LiveProvider] = {}
        self._every: dict[str, tuple[LiveProvider, ...]] = {}
        self._targets: dict[TargetId, tuple[str, ...]] = {}

    @property
    def version(self) -> int:
        """The published version."""
        return self._snapshots.current.version

    @property
    def providers(self) -> Mapping[str, LiveProvider]:
        """All providers, by name: where one on trial is another one than the published one, the latter."""
        self._look()
        return self._providers

    def every(self, name: str) -> tuple[LiveProvider, ...]:
        """Return the published provider of a name, and the one on trial if that is another; empty: there is none."""
        self._look()
        return self._every.get(name, ())

    @property
    def targets(self) -> Mapping[TargetId, tuple[str, ...]]:
        """The targets that aliases name or that facts are known of, each with its aliases, in order."""
        self._look()
        return self._targets

    def _look(self) -> None:
        current, trial = self._snapshots.current, self._snapshots.trial
        if self._seen is not None and self._seen[0] is current and self._seen[1] is trial:
            return
        self._seen = current, trial
        trials = {} if trial is None else trial.providers
        self._providers = {**trials, **current.providers}
        self._every = {
            name: (provider,) if trials.get(name, provider) is provider else (provider, trials[name])
            for name, provider in self._providers.items()
        }
        aliases: dict[TargetId, dict[str, None]] = {}
        for snapshot in (current,) if trial is None else (current, trial):
            for name, target in _named(snapshot):
                known = aliases.setdefault(target, {})
                if name:
                    known[name] = None
        self._targets = {target: tuple(aliases[target]) for target in sorted(aliases, key=str)}


def _named(snapshot: Snapshot) -> list[tuple[str, TargetId]]:
    """Return each alias with each of its targets, and the models that facts are known of with no name."""
    resolved = (snapshot.table.resolve(name, _ANYBODY) for name in snapshot.table.names_for(_ANYBODY))
    return [(alias.name, member.target) for alias in resolved for tier in alias.tiers for member in tier.members]
