"""A request for a response: in neutral words, and its answer in OpenAI's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from trunkline_server.simulator.ask import Ask, Tool, Turn
from trunkline_server.simulator.dialect import EVENT_STREAM_TYPE
from trunkline_server.simulator.openai_responses.checks import check_request
from trunkline_server.simulator.openai_responses.events import StreamEvents
from trunkline_server.simulator.openai_responses.request import NamedTool, decode_request
from trunkline_server.simulator.openai_responses.wire import Envelope, items_of, response_of

if TYPE_CHECKING:
    from trunkline_server.simulator.answer import Answer
    from trunkline_server.simulator.dialect import Mark
    from trunkline_server.simulator.openai_responses.request import InputItem, ResponseRequest
    from trunkline_server.simulator.scenario import Scenario


class ResponseJob:
    """One request to `/v1/responses`. What the scenario has the model think is shown to whoever asks."""

    stream_type = EVENT_STREAM_TYPE

    def __init__(self, request: ResponseRequest) -> None:
        self._request = request
        self.ask = ask_of(request)

    def body(self, answer: Answer, mark: Mark) -> bytes:
        """See Job."""
        envelope = self._envelope(mark)
        return msgspec.json.encode(response_of(answer, envelope, items_of(answer, envelope)))

    def events(self, answer: Answer, mark: Mark) -> StreamEvents:
        """See Job."""
        return StreamEvents(answer, self._envelope(mark))

    def _envelope(self, mark: Mark) -> Envelope:
        request = self._request
        include = request.include or ()
        return Envelope(
            number=mark.number,
            created=int(mark.created_unix_s),
            model=request.model,
            seals="reasoning.encrypted_content" in include,
            logprobs=(request.top_logprobs or 0) if "message.output_text.logprobs" in include else None,
            echoed=_echoed(request),
        )


def read_response(body: bytes, scenario: Scenario) -> ResponseJob:
    """Read and check a request. Raises RefusedError."""
    request = decode_request(body, strict=scenario.strict_parameters)
    check_request(request)
    return ResponseJob(request)


def ask_of(request: ResponseRequest) -> Ask:
    """Return what a checked request asks for."""
    choice = request.tool_choice
    wanted = None if request.text is None else request.text.format
    instructions = [Turn("system", request.instructions)] if request.instructions else []
    tools = [
        Tool(tool.name, tool.parameters) if tool.type == "function" else Tool(None) for tool in request.tools or ()
    ]
    return Ask(
        model=request.model,
        stream=bool(request.stream),
        turns=[*instructions, *map(_turn, request.items())],
        tools=tools,
        must_call=choice == "required",
        may_call=choice != "none",
        only_tool=choice.name if isinstance(choice, NamedTool) and choice.type == "function" else None,
        parallel_calls=request.parallel_tool_calls is not False,
        most_tokens=request.max_output_tokens,
        wants_json=wanted is not None and wanted.type != "text",
        schema=None if wanted is None else wanted.schema,
    )


def _turn(item: InputItem) -> Turn:
    if item.type == "function_call_output":
        return Turn("tool", item.text(), sum(part.type == "input_image" for part in item.parts()))
    if item.type == "message":
        role = "system" if item.role == "developer" else str(item.role)
        return Turn(role, item.text(), sum(part.type == "input_image" for part in item.parts()))
    # Calls and reasoning are the model's own, and no text that it could go on from.
    return Turn("call", item.arguments or "")


def _echoed(request: ResponseRequest) -> dict[str, Any]:
    """Return what a response repeats of its request."""
    told = msgspec.to_builtins(request)
    text = told["text"] or {}
    return {
        "instructions": request.instructions,
        "max_output_tokens": request.max_output_tokens,
        "metadata": request.metadata or {},
        "parallel_tool_calls": request.parallel_tool_calls is not False,
        "previous_response_id": None,
        "reasoning": {"effort": None, "summary": None, **(told["reasoning"] or {})},
        "service_tier": "default",
        "store": request.store is not False,
        "temperature": 1.0 if request.temperature is None else request.temperature,
        "text": {"format": text.get("format") or {"type": "text"}},
        "tool_choice": told["tool_choice"] or "auto",
        "tools": [
            {name: value for name, value in tool.items() if name != "function" and value is not None}
            for tool in told["tools"] or ()
        ],
        "top_logprobs": request.top_logprobs or 0,
        "top_p": 1.0 if request.top_p is None else request.top_p,
        "truncation": request.truncation or "disabled",
        "user": request.user,
    }
