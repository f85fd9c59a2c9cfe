"""Two attempts that race: who counts, what is told of the other, and that both have ended when the race is over."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import pytest

from trunkline_server.engine.frames import ServedBy
from trunkline_server.engine.race import Outcome, Race
from trunkline_server.engine.record import AttemptRecord
from trunkline_server.routing.events import AttemptFailed, Completed, Why
from trunkline_server.routing.failures import Failure, FailureClass
from trunkline_server.routing.types import TargetId

FAILED = Failure(FailureClass.SERVER_ERROR, "test")
Act = Callable[["Course", AttemptRecord], Awaitable[Outcome[str]]]


def record(attempt: int) -> AttemptRecord:
    return AttemptRecord(attempt, ServedBy(TargetId("p", "m"), "k"), Why.FIRST, 0.0, 0.0)


@dataclass
class Course:
    """A race whose racers do what the test says."""

    acts: list[Act]
    may_second: bool = True
    running: set[int] = field(default_factory=set)
    told: list[AttemptFailed] = field(default_factory=list)
    seconds: int = 0
    both_run: asyncio.Event = field(default_factory=asyncio.Event)
    one_failed: asyncio.Event = field(default_factory=asyncio.Event)
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    made: list[int] = field(default_factory=list)
    gone: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.race: Race[str] = Race(
            self.make, self.second, self.racing, self.tell, lambda entry: self.gone.append(entry.attempt)
        )

    def racing(self) -> bool:
        return self.both_run.is_set() and not self.told

    def tell(self, event: AttemptFailed) -> None:
        self.told.append(event)
        self.one_failed.set()

    async def make(self, entry: AttemptRecord) -> Outcome[str]:
        self.made.append(entry.attempt)
        self.running.add(entry.attempt)
        if len(self.running) == 2:
            self.both_run.set()
        try:
            return await self.acts[entry.attempt - 1](self, entry)
        finally:
            self.running.discard(entry.attempt)

    def second(self) -> AttemptRecord | None:
        self.seconds += 1
        self.asked.set()
        return record(2) if self.may_second else None


async def wins(course: Course, entry: AttemptRecord) -> Outcome[str]:
    course.race.win(entry)
    await asyncio.sleep(0)
    return f"answer {entry.attempt}", Completed(entry.attempt)


async def waits(_: Course, entry: AttemptRecord) -> Outcome[str]:
    await asyncio.sleep(60)
    raise AssertionError(entry)


async def fails(course: Course, entry: AttemptRecord) -> Outcome[str]:
    if course.may_second:
        await course.both_run.wait()
    return None, AttemptFailed(FAILED, entry.attempt)


async def test_a_first_attempt_that_is_fast_runs_alone() -> None:
    """No second one is asked for."""
    course = Course([wins])
    assert await course.race.run(record(1), 5.0) == ("answer 1", Completed(1))
    assert course.seconds == 0


async def test_the_second_one_wins_and_the_first_is_closed() -> None:
    """The loser is cancelled and marked, and has ended when the race is over."""
    course = Course([waits, wins])
    first = record(1)
    assert await course.race.run(first, 0.001) == ("answer 2", Completed(2))
    assert first.discarded
    assert not course.running


async def test_no_second_one_may_be_made() -> None:
    """The first attempt goes on alone, and its failure is the call's."""
    course = Course([fails], may_second=False)
    assert await course.race.run(record(1), 0.0) == (None, AttemptFailed(FAILED, 1))
    assert not course.told


async def test_one_racer_fails_and_the_other_serves() -> None:
    """Its failure is told while the other goes on; the answer is the other's."""

    async def wins_later(course: Course, entry: AttemptRecord) -> Outcome[str]:
        await course.one_failed.wait()
        return await wins(course, entry)

    course = Course([wins_later, fails])
    assert await course.race.run(record(1), 0.0) == ("answer 1", Completed(1))
    assert course.told == [AttemptFailed(FAILED, 2)]
    assert not course.running


async def test_a_race_that_is_cancelled_ends_both() -> None:
    """Whoever ends the call ends both attempts, and waits for them."""
    course = Course([waits, waits])
    task = asyncio.create_task(course.race.run(record(1), 0.0))
    await course.both_run.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not course.running


async def test_a_defect_of_a_racer_comes_out() -> None:
    """It is raised, and the other one has ended."""

    async def breaks(_: Course, entry: AttemptRecord) -> Outcome[str]:
        raise RuntimeError(f"attempt {entry.attempt}")

    course = Course([waits, breaks])
    with pytest.raises(RuntimeError, match="attempt 2"):
        await course.race.run(record(1), 0.0)
    assert not course.running


async def test_one_that_is_cancelled_before_its_first_step_is_told_as_gone() -> None:
    """It never ran, so it gave back nothing of what it was handed: its owner hears of it, as of everyone's end."""

    async def wins_when_the_other_is_asked_for(course: Course, entry: AttemptRecord) -> Outcome[str]:
        await course.asked.wait()
        return await wins(course, entry)

    course = Course([wins_when_the_other_is_asked_for, waits])
    assert await course.race.run(record(1), 0.01) == ("answer 1", Completed(1))
    assert course.made == [1]
    assert sorted(course.gone) == [1, 2]
