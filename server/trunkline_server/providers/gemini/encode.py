"""From a neutral request to the JSON of `generateContent`.

The body is made of plain dicts and written once. What the protocol cannot carry becomes a warning; reasoning of other
providers is left out without one, since no provider could use it.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from trunkline_server.chat.answer import Warning_
from trunkline_server.chat.request import (
    ChatRequest,
    FunctionTool,
    JsonObjectOutput,
    JsonSchemaOutput,
    ProviderTool,
    Sampling,
    ToolChoice,
    ToolMode,
)
from trunkline_server.providers.base import WireCall
from trunkline_server.providers.gemini.contents import Conversation
from trunkline_server.providers.gemini.models import ModelTraits, traits_of
from trunkline_server.providers.gemini.options import merge_options
from trunkline_server.providers.gemini.place import Place
from trunkline_server.providers.gemini.thinking import thinking_config
from trunkline_server.providers.gemini.words import left_out
from trunkline_server.providers.json_wire import encode_json
from trunkline_server.providers.unsupported import adjusted

UNARY: Final = "generateContent"
STREAM: Final = "streamGenerateContent?alt=sse"

MAX_STOPS: Final = 5
"""Stop sequences that the provider takes."""

UNARY_HEADERS: Final[Mapping[str, str]] = MappingProxyType(
    {"content-type": "application/json", "accept": "application/json"},
)
_STREAM_HEADERS: Final[Mapping[str, str]] = MappingProxyType(
    {"content-type": "application/json", "accept": "text/event-stream"},
)

_SETTINGS: Final = {
    "temperature": "temperature",
    "top_p": "topP",
    "top_k": "topK",
    "max_output_tokens": "maxOutputTokens",
    "seed": "seed",
    "frequency_penalty": "frequencyPenalty",
    "presence_penalty": "presencePenalty",
}
"""Fields of `Sampling`, and their names in `generationConfig`."""

_MODES: Final = {ToolMode.AUTO: "AUTO", ToolMode.NONE: "NONE", ToolMode.REQUIRED: "ANY"}


def encode_call(request: ChatRequest, provider: str, model: str, place: Place, *, stream: bool) -> WireCall:
    """Write the call for `model` of the provider named `provider`, whose name its options and tools carry."""
    warnings: list[Warning_] = []
    traits = traits_of(model)
    talk = Conversation(provider, place.root, warnings, signs_calls=traits.signs_calls)
    for number, message in enumerate(request.messages):
        talk.add(message, f"messages[{number}]")
    body: dict[str, Any] = {"contents": talk.contents}
    if talk.system:
        body["systemInstruction"] = {"parts": talk.system}
    config = _generation_config(request, traits, warnings)
    if config:
        body["generationConfig"] = config
    if request.tools:
        tools = _tools(request.tools, provider, warnings)
        if tools:
            body["tools"] = tools
    if request.tool_choice is not None:
        _add_tool_choice(body, request.tool_choice, warnings)
    options = request.provider_options.get(provider)
    if options:
        merge_options(body, options)
    return WireCall(
        path=place.method_path(model, STREAM if stream else UNARY),
        headers=_STREAM_HEADERS if stream else UNARY_HEADERS,
        body=encode_json(body),
        warnings=tuple(warnings),
    )


def _generation_config(request: ChatRequest, traits: ModelTraits, warnings: list[Warning_]) -> dict[str, Any]:
    sampling = request.sampling
    config: dict[str, Any] = {}
    for name, wire_name in _SETTINGS.items():
        value = getattr(sampling, name)
        if value is not None:
            config[wire_name] = value
    _add_stops(config, sampling, warnings)
    if sampling.top_logprobs is not None:
        config["responseLogprobs"] = True
        if sampling.top_logprobs:
            config["logprobs"] = sampling.top_logprobs
    thinking = thinking_config(sampling, traits, warnings)
    if thinking is not None:
        config["thinkingConfig"] = thinking
    if request.output is not None:
        _add_output(config, request.output)
    return config


def _add_stops(config: dict[str, Any], sampling: Sampling, warnings: list[Warning_]) -> None:
    if sampling.stop:
        config["stopSequences"] = sampling.stop[:MAX_STOPS]
    if len(sampling.stop) > MAX_STOPS:
        warnings.append(adjusted("sampling.stop", f"only the first {MAX_STOPS} were sent: the provider takes no more"))


def _add_output(config: dict[str, Any], output: JsonObjectOutput | JsonSchemaOutput) -> None:
    config["responseMimeType"] = "application/json"
    if isinstance(output, JsonSchemaOutput):
        config["responseJsonSchema"] = output.schema


def _tools(
    tools: tuple[FunctionTool | ProviderTool, ...], provider: str, warnings: list[Warning_]
) -> list[Mapping[str, Any]]:
    """Return all functions as one tool, and each tool of the provider as itself."""
    functions: list[dict[str, Any]] = []
    encoded: list[Mapping[str, Any]] = []
    for number, tool in enumerate(tools):
        if isinstance(tool, FunctionTool):
            functions.append(_function(tool))
            if tool.strict:
                warnings.append(left_out(f"tools[{number}].function.strict"))
        elif tool.provider != provider:
            warnings.append(left_out(f"tools[{number}].provider", f"a tool of provider {tool.provider}"))
        else:
            encoded.append(tool.tool)
    return [{"functionDeclarations": functions}, *encoded] if functions else encoded


def _function(tool: FunctionTool) -> dict[str, Any]:
    function: dict[str, Any] = {"name": tool.name}
    if tool.description is not None:
        function["description"] = tool.description
    if tool.parameters is not None:
        function["parametersJsonSchema"] = tool.parameters
    return function


def _add_tool_choice(body: dict[str, Any], choice: ToolChoice, warnings: list[Warning_]) -> None:
    config: dict[str, Any] | None = None
    if choice.function is not None:
        config = {"mode": "ANY", "allowedFunctionNames": [choice.function]}
    elif choice.mode is not None:
        config = {"mode": _MODES[choice.mode]}
    if config is not None:
        body["toolConfig"] = {"functionCallingConfig": config}
    if choice.parallel is False:
        warnings.append(left_out("tool_choice.parallel", "one call at a time"))
