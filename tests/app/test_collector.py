"""The garbage collector as a server sets it."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Iterator

import pytest

from trunkline_server.collector import collect_regularly, settle


class Circle:
    """Holds itself."""

    def __init__(self) -> None:
        self.me = self


@pytest.fixture
def thresholds() -> Iterator[None]:
    """Put the collector back as it was."""
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)
    gc.unfreeze()
    gc.enable()


@pytest.mark.usefixtures("thresholds")
async def test_what_nobody_else_finds_is_found_now_and_then() -> None:
    """A circle that grew old is gone after the next look at everything, whatever the thresholds are."""
    settle()
    gc.disable()
    circle = weakref.ref(Circle())
    assert circle() is not None
    looking = asyncio.create_task(collect_regularly(0.01))
    async with asyncio.timeout(10):
        while circle() is not None:  # noqa: ASYNC110  the collector sets no event
            await asyncio.sleep(0.01)
    looking.cancel()
    await asyncio.wait([looking])


@pytest.mark.usefixtures("thresholds")
def test_what_lives_as_long_as_the_process_is_not_looked_at_again() -> None:
    """All that was made before is out of the collector's sight."""
    settle()
    assert gc.get_freeze_count() > 0
    assert gc.get_threshold()[2] > gc.get_threshold()[1]
