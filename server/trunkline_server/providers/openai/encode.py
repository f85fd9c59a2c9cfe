"""From a neutral request to the JSON of `POST /chat/completions`.

The body is made of plain dicts and written once: for bodies of this shape that is as fast as typed records.
What chat completions cannot carry becomes a warning, and so does what a server's quirks say that it lacks, as far as
it may be left out: a request that cannot do without it is not sent there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from trunkline_server.chat.answer import Warning_
from trunkline_server.chat.request import (
    NO_SAMPLING,
    ChatRequest,
    FunctionTool,
    JsonObjectOutput,
    JsonSchemaOutput,
    ProviderTool,
    ToolChoice,
    ToolMode,
)
from trunkline_server.providers.base import WireCall
from trunkline_server.providers.json_wire import encode_json
from trunkline_server.providers.openai.messages import encode_messages, unsupported
from trunkline_server.providers.openai.sampling import add_sampling
from trunkline_server.providers.quirks import NO_QUIRKS, Quirks

PATH: Final = "/chat/completions"

_UNARY_HEADERS: Final[Mapping[str, str]] = {"content-type": "application/json", "accept": "application/json"}
_STREAM_HEADERS: Final[Mapping[str, str]] = {"content-type": "application/json", "accept": "text/event-stream"}


def encode_call(
    request: ChatRequest, provider: str, model: str, *, stream: bool, quirks: Quirks = NO_QUIRKS
) -> WireCall:
    """Write the call for `model` of the provider named `provider`, whose name its options and tools carry."""
    warnings: list[Warning_] = []
    body: dict[str, Any] = {
        "model": model,
        "messages": encode_messages(request.messages, warnings, provider, quirks),
    }
    if request.sampling is not NO_SAMPLING:
        add_sampling(body, request.sampling, quirks, warnings)
    if request.tools:
        tools = _tools(request.tools, provider, quirks, warnings)
        if tools:
            body["tools"] = tools
    if request.tool_choice is not None:
        _add_tool_choice(body, request.tool_choice, quirks, warnings)
    if request.output is not None:
        body["response_format"] = _response_format(request.output)
    if stream:
        body["stream"] = True
        if quirks.stream_usage:
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


def _tools(
    tools: tuple[FunctionTool | ProviderTool, ...], provider: str, quirks: Quirks, warnings: list[Warning_]
) -> list[Mapping[str, Any]]:
    encoded: list[Mapping[str, Any]] = []
    for number, tool in enumerate(tools):
        if isinstance(tool, FunctionTool):
            strict = tool.strict if "strict_tools" not in quirks.lacks else None
            if strict is not tool.strict:
                warnings.append(unsupported(f"tools[{number}].function.strict"))
            encoded.append(_function(tool, strict=strict))
        elif tool.provider != provider:
            warnings.append(unsupported(f"tools[{number}].provider", f"a tool of provider {tool.provider}"))
        elif tool.tool.get("type") == "custom":
            # Its calls hold free text, and ours hold JSON: they would come back as calls that never close.
            warnings.append(unsupported(f"tools[{number}].provider.tool_json", "a custom tool"))
        else:
            encoded.append(tool.tool)
    return encoded


def _function(tool: FunctionTool, *, strict: bool | None) -> dict[str, Any]:
    function: dict[str, Any] = {"name": tool.name}
    if tool.description is not None:
        function["description"] = tool.description
    if tool.parameters is not None:
        function["parameters"] = tool.parameters
    if strict is not None:
        function["strict"] = strict
    return {"type": "function", "function": function}


def _add_tool_choice(body: dict[str, Any], choice: ToolChoice, quirks: Quirks, warnings: list[Warning_]) -> None:
    if choice.function is not None:
        body["tool_choice"] = {"type": "function", "function": {"name": choice.function}}
    elif choice.mode is not None:
        body["tool_choice"] = quirks.required_word if choice.mode is ToolMode.REQUIRED else choice.mode.value
    if choice.parallel is not None:
        if "parallel_tool_calls" not in quirks.lacks:
            body["parallel_tool_calls"] = choice.parallel
        elif not choice.parallel:
            warnings.append(unsupported("tool_choice.parallel"))


def _response_format(output: JsonObjectOutput | JsonSchemaOutput) -> dict[str, Any]:
    if isinstance(output, JsonObjectOutput):
        return {"type": "json_object"}
    schema: dict[str, Any] = {"name": output.name, "schema": output.schema}
    if output.strict is not None:
        schema["strict"] = output.strict
    return {"type": "json_schema", "json_schema": schema}
