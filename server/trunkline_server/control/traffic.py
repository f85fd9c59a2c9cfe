"""How much traffic a document moves: from the weights that it gives, and from the calls of the last minutes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from trunkline_server.config.model import AliasSettings, RoutesDocument
from trunkline_server.control.types import TrafficShift
from trunkline_server.engine.outcome import CallOutcome

WINDOW_S: Final = 300.0
"""How long a call counts as recent."""

_BUCKETS: Final = 30
_BUCKET_S: Final = WINDOW_S / _BUCKETS
_MAX_NAMES: Final = 10_000


@dataclass(frozen=True, slots=True)
class RecentCalls:
    """The calls of the last minutes."""

    total: int = 0
    """Of all, also those that named a target directly."""
    by_alias: Mapping[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class _Bucket:
    """The calls of one part of the window."""

    period: int = -1
    total: int = 0
    by_alias: dict[str, int] = field(default_factory=dict)


class RecentTraffic:
    """Counts calls by alias, for the last five minutes. A call costs the same however many there were."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._buckets = [_Bucket() for _ in range(_BUCKETS)]

    def take(self, outcome: CallOutcome) -> None:
        """Count a call that has ended."""
        period = int(self._clock() // _BUCKET_S)
        place = period % _BUCKETS
        bucket = self._buckets[place]
        if bucket.period != period:
            bucket = self._buckets[place] = _Bucket(period)
        bucket.total += 1
        alias, counts = outcome.alias, bucket.by_alias
        # Aliases are those of a document; only a storm of reloads that rename them could make them many.
        if alias and (alias in counts or len(counts) < _MAX_NAMES):
            counts[alias] = counts.get(alias, 0) + 1

    def calls(self) -> RecentCalls:
        """Return what was counted in the last five minutes, the current ten seconds included as far as they went."""
        oldest = int(self._clock() // _BUCKET_S) - _BUCKETS + 1
        recent = [bucket for bucket in self._buckets if bucket.period >= oldest]
        by_alias: dict[str, int] = {}
        for bucket in recent:
            for alias, calls in bucket.by_alias.items():
                by_alias[alias] = by_alias.get(alias, 0) + calls
        return RecentCalls(sum(bucket.total for bucket in recent), by_alias)


def shifts(before: RoutesDocument, after: RoutesDocument, recent: RecentCalls) -> tuple[TrafficShift, ...]:
    """Return for each alias of either document, by name, what share of its calls goes to another target first.

    It is the total variation distance between the shares that the targets of its first tier have by weight. All
    strategies are taken for `weighted`: where load, price or latency decide, weights only tell who takes part, and
    what moves depends on the moment. Of an alias that came or went all calls move.
    """
    names = sorted(before.aliases.keys() | after.aliases.keys())
    return tuple(_shift(name, before.aliases.get(name), after.aliases.get(name), recent) for name in names)


def _shift(name: str, before: AliasSettings | None, after: AliasSettings | None, recent: RecentCalls) -> TrafficShift:
    share = 1.0 if before is None or after is None else _distance(_shares(before), _shares(after))
    calls = recent.by_alias.get(name, 0)
    return TrafficShift(name, share, calls, share * calls / recent.total if recent.total else 0.0)


def _shares(alias: AliasSettings) -> dict[str, float]:
    targets = alias.tiers[0].targets
    total = sum(target.weight for target in targets)
    if not total:
        # Standbys alone: the first one is asked first.
        return {targets[0].target: 1.0}
    return {target.target: target.weight / total for target in targets if target.weight}


def _distance(before: Mapping[str, float], after: Mapping[str, float]) -> float:
    moved = sum(abs(before.get(target, 0.0) - after.get(target, 0.0)) for target in before.keys() | after.keys()) / 2
    # Sums of shares are off by a rounding: weights that were only scaled move nothing.
    return min(1.0, round(moved, 9))
