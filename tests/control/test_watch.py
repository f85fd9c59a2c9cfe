"""The broadcast of what happens to the routes."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline_server.control.types import Applied, Bookmark, RoutesEvent, RouteVersion
from trunkline_server.control.watch import Broadcast


class Told:
    """A broadcast of versions that count up."""

    def __init__(self, kept: int = 1_000, bookmark_s: float = 60.0) -> None:
        self.version = 0
        self.broadcast = Broadcast(
            lambda: Bookmark(0.0, self.version, f"{self.version}-x"), kept=kept, bookmark_s=bookmark_s
        )

    def apply(self, count: int = 1) -> None:
        for _ in range(count):
            self.version += 1
            self.broadcast.tell(Applied(0.0, RouteVersion(self.version, f"{self.version}-x", "", 0.0, "file")))


def shown(event: RoutesEvent) -> str:
    """`v3` for an application, `b3` for a bookmark, `b3!` for one that says that something is missing."""
    if isinstance(event, Applied):
        return f"v{event.version.version}"
    assert isinstance(event, Bookmark)
    return f"b{event.version}{'!' if event.missed else ''}"


async def take(told: Told, after_version: int, count: int) -> list[str]:
    reader = told.broadcast.read(after_version)
    events = [shown(await anext(reader)) for _ in range(count)]
    await reader.aclose()
    return events


async def test_a_watch_begins_with_a_bookmark_and_hears_what_comes() -> None:
    """Without a version, only what happens from now on is told."""
    told = Told()
    told.apply(2)
    reader = told.broadcast.read(0)
    assert shown(await anext(reader)) == "b2"
    waiting = asyncio.ensure_future(anext(reader))
    await asyncio.sleep(0)
    told.apply(2)
    async with asyncio.timeout(10):
        assert shown(await waiting) == "v3"
        assert shown(await anext(reader)) == "v4"
    await reader.aclose()


async def test_a_watch_goes_on_behind_a_version() -> None:
    """With a version, what followed it comes behind the bookmark."""
    told = Told()
    told.apply(4)
    assert await take(told, 2, 3) == ["b4", "v3", "v4"]


@pytest.mark.parametrize("after_version", [1, 99])
async def test_a_version_that_is_not_kept_is_a_gap(after_version: int) -> None:
    """From before all that is kept, or of another server: all there is comes, and that some is missing is said."""
    told = Told(kept=3)
    told.apply(6)
    assert await take(told, after_version, 4) == ["b6!", "v4", "v5", "v6"]


async def test_a_slow_reader_is_told_that_it_missed_something() -> None:
    """A reader whose place was run over goes on with what is kept; others are not held up."""
    told = Told(kept=3)
    slow, fast = told.broadcast.read(0), told.broadcast.read(0)
    assert [shown(await anext(slow)), shown(await anext(fast))] == ["b0", "b0"]
    for number in range(1, 11):
        told.apply()
        assert shown(await anext(fast)) == f"v{number}"
    assert [shown(await anext(slow)) for _ in range(4)] == ["b10!", "v8", "v9", "v10"]
    await slow.aclose()
    await fast.aclose()


async def test_silence_is_told() -> None:
    """While nothing happens a bookmark comes again and again."""
    told = Told(bookmark_s=0.01)
    assert await take(told, 0, 3) == ["b0", "b0", "b0"]


async def test_a_reader_can_be_cancelled_while_it_waits() -> None:
    """A reader that is cancelled ends, and the others still hear."""
    told = Told()
    reader, other = told.broadcast.read(0), told.broadcast.read(0)
    await anext(reader)
    await anext(other)
    waiting = asyncio.ensure_future(anext(reader))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    told.apply()
    assert shown(await anext(other)) == "v1"
    await other.aclose()


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(1, 6)), max_size=40), st.integers(1, 5))
def test_no_event_is_lost_unless_that_is_said(steps: list[tuple[int, int]], kept: int) -> None:
    """Any readers at any pace: each hears versions that count up by one, but for gaps that a bookmark announces."""
    asyncio.run(_readers(steps, kept))


async def _readers(steps: list[tuple[int, int]], kept: int) -> None:
    told = Told(kept=kept)
    readers = [told.broadcast.read(0) for _ in range(2)]
    heard = [[shown(await anext(reader))] for reader in readers]
    for who, count in steps:
        if who == 2:
            told.apply(count)
            continue
        for _ in range(count):
            if heard[who][-1].lstrip("vb").rstrip("!") == str(told.version) and not heard[who][-1].endswith("!"):
                break  # it has heard all: the next one would have to be waited for
            heard[who].append(shown(await anext(readers[who])))
    for reader, events in zip(readers, heard, strict=True):
        await reader.aclose()
        last = 0
        for before, event in pairwise(events):
            if event.startswith("v"):
                number = int(event[1:])
                assert number == last + 1 or (before.endswith("!") and number > last)
                last = number
