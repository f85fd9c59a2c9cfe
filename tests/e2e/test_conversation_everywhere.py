"""One conversation through every wire, over the real server: the provider hears what the caller meant, and back."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from tests.e2e.conversation import (
    ANSWER,
    MOST,
    ROUNDS,
    SCHEMA,
    STOP,
    SYSTEM,
    TEMPERATURE,
    THOUGHTS,
    TOOLS,
    TOP_P,
    request,
    scenario,
    thoughts,
    turns,
    without_thoughts,
)
from tests.e2e.heard import READERS, Heard
from tests.e2e.protocols import WIRES, Wire, environment, routes
from tests.e2e.stream_books import read

from trunkline.v1 import FINISH_REASON_STOP, FINISH_REASON_TOOL_CALLS
from trunkline_server.simulator.answer import DEFAULT_TOOL_PIECES as PIECES
from trunkline_server.simulator.answer import JSON_PIECE_CHARACTERS

if TYPE_CHECKING:
    from tests.e2e.conftest import Gateway, Gateways

    from trunkline.v1 import CompleteRequest, FinishReason, Message, Usage


async def answered(
    running: Gateway, asked: CompleteRequest, *, stream: bool
) -> tuple[Message, FinishReason.ValueType, Usage | None]:
    """Return message, finish reason and usage of a call that goes well; it warns of what may be dropped, no more."""
    if stream:
        reading = await read(running.stub.StreamComplete(asked, timeout=30))
        assert reading.error is None
        answer = reading.answer
        warnings, found = list(answer.warnings), (answer.message, answer.finish_reason, answer.usage)
    else:
        response = await running.stub.Complete(asked, timeout=30)
        warnings, found = list(response.warnings), (response.message, response.finish_reason, response.usage)
    assert [warning.field for warning in warnings] == [f"sampling.{name}" for name in asked.routing.may_drop]
    return found


def heard_last(running: Gateway, wire: Wire) -> Heard:
    """Return what the simulator heard last."""
    record = running.simulator.stats.last_requests[-1]
    assert (record.status, record.protocol, record.key) == (200, wire.dialect or wire.protocol, wire.key)
    return READERS[wire.name](record.path, record.json)


def check_heard(heard: Heard, wire: Wire, turn: int, *, stream: bool) -> None:
    """Assert that turn `turn` of the conversation was heard as it was meant."""
    last = turn == len(ROUNDS)
    assert (heard.model, heard.stream, heard.system) == (wire.model, stream, SYSTEM)
    assert without_thoughts(heard) == turns(turn)
    assert heard.tools == (TOOLS if wire.output_with_tools or not last else {})
    assert heard.schema == (SCHEMA if last else None)
    assert (heard.temperature, heard.top_p, heard.max_output_tokens) == (TEMPERATURE, TOP_P, MOST)
    assert heard.stop == (STOP if wire.stops else [])
    back = thoughts(heard)
    assert [thought.text for thought in back] == (list(THOUGHTS[:turn]) if wire.thinks_back else [])
    assert all(thought.seal for thought in back) or not wire.seals


@pytest.mark.parametrize("stream", [False, True], ids=["unary", "streamed"])
@pytest.mark.parametrize("wire", WIRES.values(), ids=WIRES)
async def test_a_conversation_means_the_same_everywhere(gateway: Gateways, wire: Wire, *, stream: bool) -> None:
    """System, pictures, two rounds of parallel calls, thinking, schema and sampling arrive whole, both ways."""
    async with gateway(scenario(think=True), routes=routes([wire]), environ=environment([wire])) as running:
        answers: list[Message] = []
        for turn in range(len(ROUNDS) + 1):
            asked = request(
                wire.name, answers, output_with_tools=wire.output_with_tools, may_drop=[] if wire.stops else ["stop"]
            )
            message, finish, usage = await answered(running, asked, stream=stream)
            check_heard(heard_last(running, wire), wire, turn, stream=stream)
            shown = [part.thinking for part in message.parts if part.HasField("thinking")]
            assert "".join(thinking.text for thinking in shown) == THOUGHTS[turn]
            assert {thinking.provider for thinking in shown} == {wire.name}
            calls = [part.tool_call for part in message.parts if part.HasField("tool_call")]
            text = "".join(part.text for part in message.parts)
            if turn < len(ROUNDS):
                assert (finish, text) == (FINISH_REASON_TOOL_CALLS, "")
                assert [(call.name, json.loads(call.arguments_json)) for call in calls] == ROUNDS[turn]
                assert len({call.id for call in calls} - {""}) == len(calls)
            else:
                assert (finish, json.loads(text), calls) == (FINISH_REASON_STOP, ANSWER, [])
            assert usage is not None
            assert usage.input_tokens > 0
            said = PIECES * len(calls) if calls else -(-len(text) // JSON_PIECE_CHARACTERS)
            assert usage.output_tokens == len(THOUGHTS[turn].split()) + said
            answers.append(message)
        await running.quiet()
