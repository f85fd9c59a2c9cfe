"""Tool calls where a stream breaks, in every dialect: an open call is taken back, one that is done never runs twice."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from tests.e2e.conftest import ask
from tests.e2e.protocols import WIRES, Wire, environment, routes
from tests.e2e.stream_books import check_books, read

from trunkline.v1 import ON_BREAK_FAIL, ON_BREAK_RESTART, CompleteRequest, FunctionTool, RoutingOptions, Tool

if TYPE_CHECKING:
    from tests.e2e.conftest import Gateway, Gateways
    from tests.e2e.stream_books import Reading

TEXT = "Let me look. "
ARGUMENTS = [{"city": "Brno"}, {"zone": "CET"}]
ANSWER: dict[str, Any] = {
    "content": TEXT,
    "tool_calls": [
        {"name": "weather", "id": "call-1", "arguments": ARGUMENTS[0]},
        {"name": "clock", "id": "call-2", "arguments": ARGUMENTS[1]},
    ],
}
"""Three chunks of text, then four of each call's arguments, or one for each call where calls come whole."""

WHOLE_CALLS = {"gemini"}
IN_PIECES = [pytest.param(wire, id=name) for name, wire in WIRES.items() if name not in WHOLE_CALLS]
EVERY = [pytest.param(wire, id=name) for name, wire in WIRES.items()]
HEALTHY = Wire("healthy", "openai", "gpt-4o", "sk-healthy")


def request() -> CompleteRequest:
    """Return a request with two tools that restarts where it may."""
    schema = '{"type": "object", "properties": {"city": {"type": "string"}, "zone": {"type": "string"}}}'
    tools = [Tool(function=FunctionTool(name=name, parameters_json_schema=schema)) for name in ("weather", "clock")]
    return ask("How is the weather?", "both", tools=tools, routing=RoutingOptions(on_break=ON_BREAK_RESTART))


async def broken(gateway: Gateways, wire: Wire, after: int) -> Reading:
    """Return what a caller has of an answer that breaks after so many chunks, with a healthy provider behind."""
    wires = [wire, HEALTHY]
    scenario = {"default": ANSWER, "keys": {wire.key: {"cut_after_chunks": after}}}
    aliases = {"both": {"tiers": [[wire.target], [HEALTHY.target]]}}
    running: Gateway
    async with gateway(scenario, routes=routes(wires, aliases), environ=environment(wires)) as running:
        reading = await read(running.stub.StreamComplete(request(), timeout=30))
        check_books(reading.frames, 0 if reading.error is None else reading.error.failure.code.value[0])
        await running.quiet()
        return reading


def arguments(reading: Reading) -> list[Any]:
    """Return the arguments of the calls that the caller may run."""
    return [json.loads(call.arguments_json) for call in reading.answer.tool_calls]


@pytest.mark.parametrize("wire", IN_PIECES)
async def test_an_open_call_is_taken_back_everywhere(gateway: Gateways, wire: Wire) -> None:
    """Half a call is told as open, and the answer that starts anew has whole calls."""
    reading = await broken(gateway, wire, after=5)
    assert reading.error is None
    (told,) = reading.all_of("attempt_failed")
    assert (len(told.tool_calls_done), len(told.tool_calls_open)) == (0, 1)
    assert len(reading.all_of("reset")) == 1
    assert arguments(reading) == ARGUMENTS
    assert reading.answer.text == TEXT


@pytest.mark.parametrize("wire", EVERY)
async def test_a_call_that_is_done_is_never_restarted(gateway: Gateways, wire: Wire) -> None:
    """The caller may be running it: the stream ends as broken, whatever was asked for, and says which call is done."""
    reading = await broken(gateway, wire, after=4 if wire.name in WHOLE_CALLS else 8)
    assert reading.status == ("ABORTED", "STREAM_BROKEN")
    (told,) = reading.all_of("attempt_failed")
    assert (told.on_break_asked, told.on_break_applied) == (ON_BREAK_RESTART, ON_BREAK_FAIL)
    assert len(told.tool_calls_done) == 1
    assert len(told.tool_calls_open) == (wire.name not in WHOLE_CALLS)
    assert arguments(reading) == ARGUMENTS[:1]
    assert [call.id for call in reading.answer.tool_calls] == list(told.tool_calls_done)
