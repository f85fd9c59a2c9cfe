"""A generateContent request in neutral words, and its answer in the service's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trunkline_server.simulator.ask import Ask, Tool, Turn
from trunkline_server.simulator.dialect import EVENT_STREAM_TYPE
from trunkline_server.simulator.gemini import wire
from trunkline_server.simulator.gemini.figures import check_settings
from trunkline_server.simulator.gemini.models import model_of
from trunkline_server.simulator.gemini.request import read_request
from trunkline_server.simulator.gemini.turns import check_turns

if TYPE_CHECKING:
    from trunkline_server.simulator.answer import Answer
    from trunkline_server.simulator.dialect import Mark
    from trunkline_server.simulator.gemini.request import Content, GenerateRequest
    from trunkline_server.simulator.scenario import Scenario

_JSON = "application/json"


class GenerateJob:
    """One request to `:generateContent` or `:streamGenerateContent`."""

    stream_type = EVENT_STREAM_TYPE

    def __init__(self, request: GenerateRequest, model: str, *, stream: bool, on_vertex: bool) -> None:
        self._request = request
        self._on_vertex = on_vertex
        self.ask = ask_of(request, model, stream=stream)

    def body(self, answer: Answer, mark: Mark) -> bytes:
        """See Job."""
        return wire.unary_body(answer, self._envelope(mark))

    def events(self, answer: Answer, mark: Mark) -> wire.StreamEvents:
        """See Job."""
        return wire.StreamEvents(answer, self._envelope(mark))

    def _envelope(self, mark: Mark) -> wire.Envelope:
        config, model = self._request.generation_config, model_of(self.ask.model)
        thinking = config.thinking_config
        return wire.Envelope(
            id=f"sim{mark.number:08d}",
            model=self.ask.model,
            signs_calls=model.signs_calls,
            has_ids=not model.old,
            shows_thoughts=thinking is None or bool(thinking.include_thoughts),
            logprobs=(config.logprobs or 0) if config.response_logprobs else None,
            on_vertex=self._on_vertex,
        )


def read_generate(body: bytes, model: str, scenario: Scenario, *, stream: bool, on_vertex: bool) -> GenerateJob:
    """Read and check a request for `model`. Raises RefusedError."""
    request = read_request(body, strict=scenario.strict_parameters)
    known = model_of(model)
    check_turns(request, known)
    check_settings(request, known)
    return GenerateJob(request, model, stream=stream, on_vertex=on_vertex)


def ask_of(request: GenerateRequest, model: str, *, stream: bool) -> Ask:
    """Return what a checked request asks for."""
    config, calling = request.generation_config, request.calling()
    allowed = calling.allowed_function_names or []
    tools = [
        Tool(function.name, function.parameters_json_schema or function.parameters) for function in request.functions()
    ]
    own = [Tool(None) for tool in request.tools or () if tool.function_declarations is None]
    system = request.system_instruction
    return Ask(
        model=model,
        stream=stream,
        turns=[*([] if system is None else [Turn("system", system.text())]), *map(_turn, request.contents)],
        tools=[*tools, *own],
        must_call=calling.mode == "ANY",
        may_call=calling.mode != "NONE",
        only_tool=allowed[0] if len(allowed) == 1 else None,
        call_ids="fcsim",
        most_tokens=config.max_output_tokens,
        stops=config.stop_sequences or (),
        wants_json=config.response_mime_type == _JSON,
        schema=config.response_json_schema or config.response_schema,
    )


def _turn(content: Content) -> Turn:
    role = "assistant" if content.role == "model" else "tool" if content.responses() else "user"
    media = [part.inline_data or part.file_data for part in content.parts]
    pictures = sum(each is not None and (each.mime_type or "").startswith("image/") for each in media)
    return Turn(role, content.text(), pictures)
