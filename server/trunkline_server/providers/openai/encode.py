"""From a neutral request to the JSON of `POST /chat/completions`.

The body is made of plain dicts and written once: for bodies of this shape that is as fast as typed records.
What chat completions cannot carry becomes a warning; reasoning is left out without one, since this protocol takes
none back and so nothing is lost that the provider could use.
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
)
from trunkline_server.providers.base import WireCall
from trunkline_server.providers.json_wire import encode_json
from trunkline_server.providers.openai.messages import encode_messages, unsupported

PATH: Final = "/chat/completions"

MAX_STOPS: Final = 4
"""The API refuses more."""

_UNARY_HEADERS: Final[Mapping[str, str]] = MappingProxyType(
    {"content-type": "application/json", "accept": "application/json"},
)
_STREAM_HEADERS: Final[Mapping[str, str]] = MappingProxyType(
    {"content-type": "application/json", "accept": "text/event-stream"},
)

_SAME_NAMES: Final = ("temperature", "top_p", "seed", "frequency_penalty", "presence_penalty")
"""Fields of `Sampling` that the body has under the same name."""

_NO_NAMES: Final = ("top_k", "reasoning_max_tokens")
"""Fields of `Sampling` that the body has no place for."""


def encode_call(request: ChatRequest, provider: str, model: str, *, stream: bool, max_tokens_field: str) -> WireCall:
    """Write the call for `model` of the provider named `provider`, whose name its options and tools carry."""
    warnings: list[Warning_] = []
    body: dict[str, Any] = {"model": model, "messages": encode_messages(request.messages, warnings)}
    _add_sampling(body, request.sampling, max_tokens_field, warnings)
    if request.tools:
        tools = _tools(request.tools, provider, warnings)
        if tools:
            body["tools"] = tools
    if request.tool_choice is not None:
        _add_tool_choice(body, request.tool_choice)
    if request.output is not None:
        body["response_format"] = _response_format(request.output)
    if stream:
        body["stream"] = True
        body["stream_options"] = {"include_usage": True}
    options = request.provider_options.get(provider)
    if options:
        body.update(options)
    return WireCall(
        path=PATH,
        headers=_STREAM_HEADERS if stream else _UNARY_HEADERS,
        body=encode_json(body),
        warnings=tuple(warnings),
    )


def _add_sampling(body: dict[str, Any], sampling: Sampling, max_tokens_field: str, warnings: list[Warning_]) -> None:
    for name in _SAME_NAMES:
        value = getattr(sampling, name)
        if value is not None:
            body[name] = value
    if sampling.max_output_tokens is not None:
        body[max_tokens_field] = sampling.max_output_tokens
    if sampling.stop:
        body["stop"] = sampling.stop[:MAX_STOPS]
        if len(sampling.stop) > MAX_STOPS:
            warnings.append(unsupported("sampling.stop", f"more than {MAX_STOPS} stop sequences"))
    if sampling.top_logprobs is not None:
        body["logprobs"] = True
        if sampling.top_logprobs:
            body["top_logprobs"] = sampling.top_logprobs
    if sampling.reasoning_effort is not None:
        body["reasoning_effort"] = sampling.reasoning_effort.value
    warnings.extend(unsupported(f"sampling.{name}") for name in _NO_NAMES if getattr(sampling, name) is not None)


def _tools(
    tools: tuple[FunctionTool | ProviderTool, ...], provider: str, warnings: list[Warning_]
) -> list[Mapping[str, Any]]:
    encoded: list[Mapping[str, Any]] = []
    for number, tool in enumerate(tools):
        if isinstance(tool, FunctionTool):
            encoded.append(_function(tool))
        elif tool.provider != provider:
            warnings.append(unsupported(f"tools[{number}].provider", f"a tool of provider {tool.provider}"))
        elif tool.tool.get("type") == "custom":
            # Its calls hold free text, and ours hold JSON: they would come back as calls that never close.
            warnings.append(unsupported(f"tools[{number}].provider.tool_json", "a custom tool"))
        else:
            encoded.append(tool.tool)
    return encoded


def _function(tool: FunctionTool) -> dict[str, Any]:
    function: dict[str, Any] = {"name": tool.name}
    if tool.description is not None:
        function["description"] = tool.description
    if tool.parameters is not None:
        function["parameters"] = tool.parameters
    if tool.strict is not None:
        function["strict"] = tool.strict
    return {"type": "function", "function": function}


def _add_tool_choice(body: dict[str, Any], choice: ToolChoice) -> None:
    if choice.function is not None:
        body["tool_choice"] = {"type": "function", "function": {"name": choice.function}}
    elif choice.mode is not None:
        body["tool_choice"] = choice.mode.value
    if choice.parallel is not None:
        body["parallel_tool_calls"] = choice.parallel


def _response_format(output: JsonObjectOutput | JsonSchemaOutput) -> dict[str, Any]:
    if isinstance(output, JsonObjectOutput):
        return {"type": "json_object"}
    schema: dict[str, Any] = {"name": output.name, "schema": output.schema}
    if output.strict is not None:
        schema["strict"] = output.strict
    return {"type": "json_schema", "json_schema": schema}
