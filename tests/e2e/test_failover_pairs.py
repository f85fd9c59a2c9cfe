"""From any wire to any other in the middle of a tool conversation, and back with the next turn."""

from __future__ import annotations

from itertools import permutations
from typing import TYPE_CHECKING, Any

import pytest
from tests.e2e.conversation import ROUNDS, SYSTEM, THOUGHTS, TOOLS, request, scenario, thoughts, turns, without_thoughts
from tests.e2e.heard import READERS, Heard
from tests.e2e.protocols import WIRES, Wire, environment, routes
from tests.e2e.stream_books import read

from trunkline.v1 import ON_BREAK_RESTART

if TYPE_CHECKING:
    from tests.e2e.conftest import Gateway, Gateways
    from tests.e2e.stream_books import Reading

PAIRS = [pytest.param(WIRES[first], WIRES[second], id=f"{first}-{second}") for first, second in permutations(WIRES, 2)]

ODD_IDS = ("functions.weather:0", "chatcmpl-tool/" + 9 * "0123456789")
"""Ids that some servers make, with signs and of a length that others refuse."""

BREAKS: dict[str, dict[str, Any]] = {"before": {"status": 500}, "after": {"cut_after_chunks": 2}}
"""Before any content, and in the middle of it."""


def told(first: Wire, fault: dict[str, Any]) -> dict[str, Any]:
    """Return the scenario: a round of odd ids, a round that `first` breaks off, the answer."""
    said = scenario(think=True)
    for call, odd in zip(said["rules"][0]["fault"]["tool_calls"], ODD_IDS, strict=True):
        call["id"] = odd
    second_round = said["rules"][1]["fault"]
    broken = {"key": first.key, "times": 1, "fault": {**second_round, **fault}}
    return {**said, "rules": [said["rules"][0], broken, {"times": 1, "fault": second_round}]}


def heard_by(running: Gateway, wire: Wire) -> Heard:
    """Return what a wire's provider heard last; its dialect found nothing wrong with it."""
    record = next(record for record in reversed(running.simulator.stats.last_requests) if record.key == wire.key)
    assert record.status == 200
    return READERS[wire.name](record.path, record.json)


async def streamed(running: Gateway, *asked: Any, **options: Any) -> Reading:
    """Return what a caller has of a stream that ends well; whatever is droppable may be dropped."""
    reading = await read(running.stub.StreamComplete(request(*asked, may_drop=["*"], **options), timeout=30))
    assert reading.error is None
    return reading


@pytest.mark.parametrize("reasoning", [False, True], ids=["", "thinking"])
@pytest.mark.parametrize("place", BREAKS)
@pytest.mark.parametrize(("first", "second"), PAIRS)
async def test_a_tool_conversation_moves_and_comes_back(
    gateway: Gateways, first: Wire, second: Wire, place: str, *, reasoning: bool
) -> None:
    """The second gets a valid request with the first's ids and without its thinking; the first gets its own back."""
    both = [first, second]
    aliases = {"both": {"tiers": [[first.target], [second.target]]}}
    started = gateway(told(first, BREAKS[place]), routes=routes(both, aliases), environ=environment(both))
    async with started as running:
        opening = await streamed(running, first.name, [], reasoning=reasoning)
        assert [call.id for call in opening.answer.tool_calls] == list(ODD_IDS)

        moved = await streamed(
            running, "both", [opening.answer.message], on_break=ON_BREAK_RESTART, reasoning=reasoning
        )
        assert [attempt.target.provider for attempt in moved.answer.attempts] == [first.name, second.name]
        assert len(moved.all_of("reset")) == (place == "after")
        heard = heard_by(running, second)
        assert (heard.model, heard.system, heard.tools) == (second.model, SYSTEM, TOOLS)
        assert without_thoughts(heard) == turns(1)
        assert thoughts(heard) == []
        assert moved.answer.thinking == THOUGHTS[1]
        assert [call.name for call in moved.answer.tool_calls] == [name for name, _ in ROUNDS[1]]

        answers = [opening.answer.message, moved.answer.message]
        await streamed(running, first.name, answers, output_with_tools=first.output_with_tools, reasoning=reasoning)
        heard = heard_by(running, first)
        assert without_thoughts(heard) == turns(2)
        back = thoughts(heard)
        assert [thought.text for thought in back] == ([THOUGHTS[0]] if first.thinks_back else [])
        assert all(thought.seal for thought in back) or not first.seals
        await running.quiet()
