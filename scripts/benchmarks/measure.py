"""Interleaved rounds: A B C A B C …, so that a machine whose speed drifts treats all rows alike."""

from __future__ import annotations

import statistics
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from scripts.benchmarks.load import Generator, Load
from scripts.benchmarks.subjects import Subject, cpu_s

Burst = Callable[[Generator, int], Awaitable[Load]]
"""Makes so many calls through a generator."""


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured: `calls` a round and subject, after `warm_up` calls that are not counted."""

    rounds: int
    calls: int
    warm_up: int


@dataclass(slots=True)
class Row:
    """What was measured of one subject: an entry of each list for each round."""

    name: str
    what: str
    cpu_us: list[float] = field(default_factory=list)
    """CPU microseconds of the server for each call."""
    per_second: list[float] = field(default_factory=list)
    p50_ms: list[float] = field(default_factory=list)
    p99_ms: list[float] = field(default_factory=list)
    frames: list[float] = field(default_factory=list)
    """Messages for each call."""

    @property
    def median_us(self) -> float:
        """The median of the rounds."""
        return statistics.median(self.cpu_us)

    def add(self, used_s: float, load: Load) -> None:
        """Take in one round."""
        self.cpu_us.append(used_s / load.calls * 1e6)
        self.per_second.append(load.calls / load.wall_s)
        self.p50_ms.append(load.quantile_s(0.5) * 1e3)
        self.p99_ms.append(load.quantile_s(0.99) * 1e3)
        self.frames.append(load.frames / load.calls)


async def interleaved(subjects: Sequence[Subject], burst: Burst, size: Size) -> list[Row]:
    """Measure all subjects in turn, round by round."""
    rows = [Row(subject.kind.name, subject.kind.what) for subject in subjects]
    for subject in subjects:
        await burst(subject.generator, size.warm_up)
    for _ in range(size.rounds):
        for subject, row in zip(subjects, rows, strict=True):
            before_s = cpu_s(subject.pid)
            load = await burst(subject.generator, size.calls)
            row.add(cpu_s(subject.pid) - before_s, load)
    return rows
