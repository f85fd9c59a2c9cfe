"""What a call leaves behind: nothing that only a garbage collector could find, which would stop every other call."""

from __future__ import annotations

import asyncio
import gc
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator

import pytest
from tests.engine.scripted import Said, World, event

_PIECE = {"index": 0, "id": "a", "function": {"name": "f", "arguments": "{}"}}
CALL = event(choices=[{"index": 0, "delta": {"tool_calls": [_PIECE]}}])


@pytest.fixture
def found() -> Iterator[Callable[[], Counter[str]]]:
    """Collect what was left since the test began, by type, instead of throwing it away."""

    def collected() -> Counter[str]:
        gc.collect()
        return Counter(type(each).__qualname__ for each in gc.garbage)

    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    yield collected
    gc.set_debug(0)
    gc.garbage.clear()
    gc.enable()


async def _stream(world: World) -> None:
    _, failure = await world.frames()
    assert failure is None


async def _complete(world: World) -> None:
    await world.engine.complete(world.request(), world.scope())


@pytest.mark.parametrize("make", [_stream, _complete])
async def test_a_call_leaves_no_circle(
    make: Callable[[World], Awaitable[None]], found: Callable[[], Counter[str]]
) -> None:
    """All that a call was made of is gone with it, by counting references alone."""
    world = World()
    pieces = (Said.ROLE, Said.text("hel"), Said.text("lo"), CALL, Said.STOP, Said.USAGE, Said.DONE)
    world.upstream.answers(*(pieces if make is _stream else (Said.WHOLE,)))
    await make(world)  # what is made once
    found()
    gc.garbage.clear()
    await make(world)
    await asyncio.sleep(0)
    assert found() == Counter()
