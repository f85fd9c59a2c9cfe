"""From a neutral request to the JSON of `POST /v2/chat`. What the API cannot carry becomes a warning."""

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
    ToolChoice,
    ToolMode,
)
from trunkline_server.providers.base import WireCall
from trunkline_server.providers.cohere.messages import ConversationWriter
from trunkline_server.providers.cohere.sampling import add_sampling
from trunkline_server.providers.cohere.words import left_out
from trunkline_server.providers.json_wire import encode_json

_UNARY_HEADERS: Final[Mapping[str, str]] = MappingProxyType(
    {"content-type": "application/json", "accept": "application/json"},
)
_STREAM_HEADERS: Final[Mapping[str, str]] = MappingProxyType(
    {"content-type": "application/json", "accept": "text/event-stream"},
)
_NO_PARAMETERS: Final[Mapping[str, Any]] = MappingProxyType({"type": "object", "properties": {}})
"""For functions without a schema: the API wants one."""

_MODES: Final = {ToolMode.REQUIRED: "REQUIRED", ToolMode.NONE: "NONE"}
"""Free choice is what is not said."""


def encode_call(request: ChatRequest, provider: str, model: str, path: str, *, stream: bool) -> WireCall:
    """Write the call for `model` of the provider named `provider`, whose name its options and reasoning carry."""
    warnings: list[Warning_] = []
    sampling = request.sampling
    off = not sampling.asks_reasoning and (
        sampling.reasoning_effort is not None or sampling.reasoning_max_tokens is not None
    )
    messages = ConversationWriter(provider, warnings, thinking=not off).write(request.messages)
    body: dict[str, Any] = {"model": model, "messages": messages, "stream": stream}
    add_sampling(body, sampling, warnings)
    _add_tools(body, request.tools, request.tool_choice, warnings)
    if request.output is not None:
        if "tools" in body:
            warnings.append(left_out("output", "a format of the answer beside tools"))
        else:
            body["response_format"] = _response_format(request.output)
    options = request.provider_options.get(provider)
    if options:
        body.update(options)
    return WireCall(path, _STREAM_HEADERS if stream else _UNARY_HEADERS, encode_json(body), tuple(warnings))


def _add_tools(
    body: dict[str, Any],
    tools: tuple[FunctionTool | ProviderTool, ...],
    choice: ToolChoice | None,
    warnings: list[Warning_],
) -> None:
    named = None if choice is None else choice.function
    functions: list[FunctionTool] = []
    for number, tool in enumerate(tools):
        if isinstance(tool, ProviderTool):
            warnings.append(left_out(f"tools[{number}].provider", "a tool that a provider runs"))
        else:
            functions.append(tool)
    # The API refuses to be strict about a function without a parameter that is required.
    strict = bool(functions) and all(tool.strict and (tool.parameters or {}).get("required") for tool in functions)
    if not strict:
        warnings.extend(
            left_out(
                f"tools[{number}].function.strict",
                "strictness, unless all functions have it and a required parameter each,",
            )
            for number, tool in enumerate(tools)
            if isinstance(tool, FunctionTool) and tool.strict
        )
    if not functions:
        return
    # The one function that must be called is the only one on offer: the API has no other way to say it.
    body["tools"] = [_function(tool) for tool in functions if named is None or tool.name == named]
    if strict:
        body["strict_tools"] = True
    if choice is None:
        return
    mode = "REQUIRED" if named is not None else _MODES.get(choice.mode) if choice.mode is not None else None
    if mode is not None:
        body["tool_choice"] = mode
    if choice.parallel is False:
        warnings.append(left_out("tool_choice.parallel", "one call at a time"))


def _function(tool: FunctionTool) -> dict[str, Any]:
    function: dict[str, Any] = {"name": tool.name}
    if tool.description is not None:
        function["description"] = tool.description
    function["parameters"] = _NO_PARAMETERS if tool.parameters is None else tool.parameters
    return {"type": "function", "function": function}


def _response_format(output: JsonObjectOutput | JsonSchemaOutput) -> dict[str, Any]:
    if isinstance(output, JsonSchemaOutput):
        return {"type": "json_object", "json_schema": output.schema}
    return {"type": "json_object"}
