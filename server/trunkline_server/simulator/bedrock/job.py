"""A conversation: its request in neutral words, its answer in the service's."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from trunkline_server.simulator.ask import Ask, Tool, Turn
from trunkline_server.simulator.bedrock import wire
from trunkline_server.simulator.bedrock.frames import STREAM_TYPE
from trunkline_server.simulator.bedrock.request import read_request
from trunkline_server.simulator.bedrock.settings import check_settings
from trunkline_server.simulator.bedrock.turns import check_turns

if TYPE_CHECKING:
    from trunkline_server.simulator.answer import Answer
    from trunkline_server.simulator.bedrock.request import ConverseRequest, Message
    from trunkline_server.simulator.dialect import Mark
    from trunkline_server.simulator.scenario import Scenario

_PROMPT_FRAME_TOKENS = 3
_SIGNING = "anthropic."


class ConverseJob:
    """One request to Converse or ConverseStream."""

    stream_type = STREAM_TYPE

    def __init__(self, request: ConverseRequest, model: str, *, stream: bool) -> None:
        self._request = request
        self._model = model
        self.ask = ask_of(request, model, stream=stream)

    def body(self, answer: Answer, mark: Mark) -> bytes:
        """See Job."""
        del mark
        return wire.unary_body(answer, self._envelope(answer))

    def events(self, answer: Answer, mark: Mark) -> wire.StreamEvents:
        """See Job."""
        del mark
        return wire.StreamEvents(answer, self._envelope(answer))

    def _envelope(self, answer: Answer) -> wire.Envelope:
        # All but the frame of the prompt, since nobody remembers what was cached before.
        cached = answer.prompt_tokens - _PROMPT_FRAME_TOKENS if _is_marked(self._request) else 0
        return wire.Envelope(signs=_SIGNING in self._model, cached_tokens=cached)


def read_converse(body: bytes, scenario: Scenario, model: str, *, stream: bool) -> ConverseJob:
    """Read and check a request. Raises RefusedError."""
    request = read_request(body, strict=scenario.strict_parameters)
    check_turns(request, model)
    check_settings(request, model)
    return ConverseJob(request, model, stream=stream)


def ask_of(request: ConverseRequest, model: str, *, stream: bool) -> Ask:
    """Return what a checked request asks for."""
    config, tools, output = request.inference_config, request.tool_config, request.output_config
    choice = None if tools is None else tools.tool_choice
    text_format = None if output is None else output.text_format
    system = "".join(block.text or "" for block in request.system or ())
    return Ask(
        model=model,
        stream=stream,
        turns=[*([Turn("system", system)] if system else ()), *map(_turn, request.messages)],
        tools=[
            Tool(None) if tool.tool_spec is None else Tool(tool.tool_spec.name, tool.tool_spec.input_schema.json)
            for tool in (() if tools is None else tools.tools)
        ],
        must_call=choice is not None and choice.any is not None,
        only_tool=None if choice is None or choice.tool is None else choice.tool.name,
        call_ids="tooluse_sim",
        most_tokens=None if config is None else config.max_tokens,
        stops=() if config is None else config.stop_sequences or (),
        wants_json=text_format is not None,
        schema=None if text_format is None else _schema(text_format.structure.json_schema.schema),
    )


def _schema(text: str) -> dict[str, Any]:
    schema: dict[str, Any] = json.loads(text)
    return schema


def _turn(message: Message) -> Turn:
    blocks = message.content
    said = "".join(block.text or "" for block in blocks)
    results = [block.tool_result for block in blocks if block.tool_result is not None]
    if results and len(results) == sum(block.cache_point is None for block in blocks):
        # What the user says beside results is what the model answers to.
        return Turn("tool", "".join(inner.text or "" for result in results for inner in result.content))
    return Turn(message.role, said, sum(block.image is not None for block in blocks))


def _is_marked(request: ConverseRequest) -> bool:
    blocks = [block for message in request.messages for block in message.content]
    return any(block.cache_point is not None for block in (*blocks, *(request.system or ())))
