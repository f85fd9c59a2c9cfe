"""From a neutral request to the JSON of `POST /responses`.

Nothing is stored at the provider (`store: false`): a conversation that stays there could go on nowhere else. So the
model's reasoning comes sealed with its answer and goes back with the next request.
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
    ReasoningEffort,
    Sampling,
    ToolChoice,
)
from trunkline_server.providers.base import ModelTerms, WireCall
from trunkline_server.providers.json_wire import encode_json
from trunkline_server.providers.openai_responses.items import encode_input, left_out
from trunkline_server.providers.unsupported import adjusted

PATH: Final = "/responses"

_UNARY_HEADERS: Final[Mapping[str, str]] = MappingProxyType(
    {"content-type": "application/json", "accept": "application/json"},
)
_STREAM_HEADERS: Final[Mapping[str, str]] = MappingProxyType(
    {"content-type": "application/json", "accept": "text/event-stream"},
)

_SAME_NAMES: Final = ("temperature", "top_p")
"""Fields of `Sampling` that the body has under the same name."""

_NO_NAMES: Final = ("top_k", "seed", "frequency_penalty", "presence_penalty", "reasoning_max_tokens")
"""Fields of `Sampling` that the body has no place for."""

_LEAST_OUTPUT_TOKENS: Final = 16
"""The API refuses a lower limit of the output."""

_SEALED_REASONING: Final = "reasoning.encrypted_content"
_LOGPROBS: Final = "message.output_text.logprobs"
_NO_PARAMETERS: Final[Mapping[str, Any]] = MappingProxyType({"type": "object", "properties": {}})


def encode_call(
    request: ChatRequest, provider: str, model: str, known: ModelTerms, *, stream: bool, path: str = PATH
) -> WireCall:
    """Write the call for `model`, of which `known` is known, of the provider named `provider`."""
    warnings: list[Warning_] = []
    body: dict[str, Any] = {
        "model": model,
        "input": encode_input(request.messages, provider, warnings),
        "store": False,
    }
    # A model that does not reason has nothing to seal, and some refuse to be asked.
    include = [_SEALED_REASONING] if known.capabilities is None or "reasoning" in known.capabilities else []
    _add_sampling(body, include, request.sampling, warnings)
    if include:
        body["include"] = include
    if request.tools:
        tools = _tools(request.tools, provider, warnings)
        if tools:
            body["tools"] = tools
    if request.tool_choice is not None:
        _add_tool_choice(body, request.tool_choice)
    if request.output is not None:
        body["text"] = {"format": _format(request.output)}
    if stream:
        body["stream"] = True
    options = request.provider_options.get(provider)
    if options:
        _add_options(body, options)
    headers = _STREAM_HEADERS if stream else _UNARY_HEADERS
    return WireCall(path, headers, encode_json(body), tuple(warnings))


def _add_sampling(body: dict[str, Any], include: list[str], sampling: Sampling, warnings: list[Warning_]) -> None:
    for name in _SAME_NAMES:
        value = getattr(sampling, name)
        if value is not None:
            body[name] = value
    if sampling.max_output_tokens is not None:
        most = max(sampling.max_output_tokens, _LEAST_OUTPUT_TOKENS)
        if most != sampling.max_output_tokens:
            words = f"raised to {most}: the Responses API takes no lower limit"
            warnings.append(adjusted("sampling.max_output_tokens", words))
        body["max_output_tokens"] = most
    if sampling.top_logprobs is not None:
        include.append(_LOGPROBS)
        if sampling.top_logprobs:
            body["top_logprobs"] = sampling.top_logprobs
    effort = sampling.reasoning_effort
    if effort is not None:
        reasoning: dict[str, Any] = {"effort": effort.value}
        if effort is not ReasoningEffort.NONE:
            reasoning["summary"] = "auto"  # the only words of its reasoning that the provider shows
        body["reasoning"] = reasoning
    warnings.extend(left_out(f"sampling.{name}") for name in _NO_NAMES if getattr(sampling, name) is not None)
    if sampling.stop:
        warnings.append(left_out("sampling.stop"))


def _tools(
    tools: tuple[FunctionTool | ProviderTool, ...], provider: str, warnings: list[Warning_]
) -> list[Mapping[str, Any]]:
    encoded: list[Mapping[str, Any]] = []
    for number, tool in enumerate(tools):
        if isinstance(tool, FunctionTool):
            encoded.append(_function(tool))
        elif tool.provider != provider:
            warnings.append(left_out(f"tools[{number}].provider", f"a tool of provider {tool.provider}"))
        elif tool.tool.get("type") == "custom":
            # Its calls hold free text, and ours hold JSON: they would come back as calls that never close.
            warnings.append(left_out(f"tools[{number}].provider.tool_json", "a custom tool"))
        else:
            encoded.append(tool.tool)
    return encoded


def _function(tool: FunctionTool) -> dict[str, Any]:
    """Return a function; unlike chat completions, this API takes one that says nothing of `strict` for a strict one."""
    function: dict[str, Any] = {"type": "function", "name": tool.name}
    if tool.description is not None:
        function["description"] = tool.description
    function["parameters"] = _NO_PARAMETERS if tool.parameters is None else tool.parameters
    function["strict"] = bool(tool.strict)
    return function


def _add_tool_choice(body: dict[str, Any], choice: ToolChoice) -> None:
    if choice.function is not None:
        body["tool_choice"] = {"type": "function", "name": choice.function}
    elif choice.mode is not None:
        body["tool_choice"] = choice.mode.value
    if choice.parallel is not None:
        body["parallel_tool_calls"] = choice.parallel


def _format(output: JsonObjectOutput | JsonSchemaOutput) -> dict[str, Any]:
    if isinstance(output, JsonObjectOutput):
        return {"type": "json_object"}
    written: dict[str, Any] = {"type": "json_schema", "name": output.name, "schema": output.schema}
    if output.strict is not None:
        written["strict"] = output.strict
    return written


def _add_options(body: dict[str, Any], options: Mapping[str, Any]) -> None:
    """Add a caller's options; of `text` and `reasoning`, which hold several settings, only those that they name."""
    for name, value in options.items():
        ours = body.get(name)
        if name in {"text", "reasoning"} and isinstance(ours, dict) and isinstance(value, Mapping):
            body[name] = {**ours, **value}
        else:
            body[name] = value
