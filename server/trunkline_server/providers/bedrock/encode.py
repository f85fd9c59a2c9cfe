"""From a neutral request to the JSON of `POST /model/{model}/converse` and `…/converse-stream`.

What Converse cannot carry becomes a warning; reasoning that the model would not take back is left out without one,
since nothing is lost that it could use.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import quote

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
from trunkline_server.providers.anthropic.models import Traits
from trunkline_server.providers.anthropic.reasoning import Circumstances
from trunkline_server.providers.anthropic.tools import forces_a_call
from trunkline_server.providers.base import WireCall
from trunkline_server.providers.bedrock.claude import (
    USUAL_MAX_TOKENS,
    add_draw,
    add_thinking,
    claude_traits,
    schema_for,
)
from trunkline_server.providers.bedrock.conversation import ConversationWriter
from trunkline_server.providers.bedrock.families import Family, Thinks, family_of
from trunkline_server.providers.bedrock.options import EXTRA_FIELD, add_options
from trunkline_server.providers.bedrock.reasoning import add_reasoning
from trunkline_server.providers.bedrock.words import unsupported
from trunkline_server.providers.json_wire import encode_json
from trunkline_server.providers.unsupported import adjusted

STREAM_TYPE: Final = "application/vnd.amazon.eventstream"

_UNARY_HEADERS: Final[Mapping[str, str]] = MappingProxyType(
    {"content-type": "application/json", "accept": "application/json"},
)
_STREAM_HEADERS: Final[Mapping[str, str]] = MappingProxyType(
    {"content-type": "application/json", "accept": STREAM_TYPE},
)

MAX_TEMPERATURE: Final = 1.0
"""The API takes no more, whatever the model would."""

_NO_PARAMETERS: Final = {"type": "object", "properties": {}}
"""What a tool without parameters is declared with; the API wants a schema."""


def model_path(model: str, operation: str) -> str:
    """Return the path of an operation; ids may hold slashes and colons, which are encoded, as the SDKs do."""
    return f"/model/{quote(model, safe='')}/{operation}"


def encode_call(
    request: ChatRequest, provider: str, model: str, *, stream: bool, max_output_tokens: int | None = None
) -> WireCall:
    """Write the call for `model` of the provider named `provider`, as its options, tools and reasoning call it.

    `max_output_tokens` is what the model writes at most, as far as it is known.
    """
    warnings: list[Warning_] = []
    family = family_of(model)
    tools = _tools(request, provider, warnings)
    writer = ConversationWriter(provider, family, warnings, tools_on_offer=bool(tools))
    system, turns = writer.write(request.messages)
    body: dict[str, Any] = {"messages": turns}
    extra: dict[str, Any] = {}
    if system:
        body["system"] = system
    traits = claude_traits(model) if family.thinks is Thinks.CLAUDE else None
    if tools:
        body["toolConfig"] = {"tools": tools}
    if request.tool_choice is not None:
        _add_tool_choice(body, request.tool_choice, traits, warnings)
    if request.output is not None:
        _add_output(body, request.output, traits, warnings)
    settings = _limits(request.sampling, warnings)
    if traits is None:
        add_reasoning(extra, request.sampling, family, warnings)
        _add_draw(settings, extra, request.sampling, family, warnings)
    else:
        circumstances = Circumstances(
            request.sampling.max_output_tokens or max_output_tokens or USUAL_MAX_TOKENS,
            forced_tool=bool(tools) and forces_a_call(request.tool_choice),
            prefilled=writer.prefilled,
            unthought_round=writer.unthought_round,
        )
        thinks = add_thinking(body, extra, request.sampling, traits, warnings, circumstances=circumstances)
        add_draw(settings, extra, request.sampling, traits, warnings, thinks=thinks)
    _add_others(extra, request.sampling, family, warnings)
    if settings:
        body["inferenceConfig"] = settings
    options = request.provider_options.get(provider)
    if options:
        add_options(body, extra, options)
    if extra:
        body[EXTRA_FIELD] = extra
    return WireCall(
        path=model_path(model, "converse-stream" if stream else "converse"),
        headers=_STREAM_HEADERS if stream else _UNARY_HEADERS,
        body=encode_json(body),
        warnings=tuple(warnings),
    )


def _limits(sampling: Sampling, warnings: list[Warning_]) -> dict[str, Any]:
    """Return where an answer ends at the latest."""
    settings: dict[str, Any] = {}
    if sampling.max_output_tokens is not None:
        settings["maxTokens"] = sampling.max_output_tokens
    if sampling.stop:
        settings["stopSequences"] = sampling.stop
    if sampling.top_logprobs is not None:
        warnings.append(unsupported("sampling.top_logprobs"))
    return settings


def _add_draw(
    settings: dict[str, Any], extra: dict[str, Any], sampling: Sampling, family: Family, warnings: list[Warning_]
) -> None:
    """Write how the answer is drawn."""
    if sampling.temperature is not None:
        if sampling.temperature <= MAX_TEMPERATURE:
            settings["temperature"] = sampling.temperature
        else:
            warnings.append(unsupported("sampling.temperature", f"a temperature above {MAX_TEMPERATURE:g}"))
    if sampling.top_p is not None:
        settings["topP"] = sampling.top_p
    if sampling.top_k is None:
        return
    if not family.top_k:
        warnings.append(unsupported("sampling.top_k", f"top_k to {family.name}"))
        return
    fields = extra
    for name in family.top_k[:-1]:
        fields = fields.setdefault(name, {})
    fields[family.top_k[-1]] = sampling.top_k


def _add_others(extra: dict[str, Any], sampling: Sampling, family: Family, warnings: list[Warning_]) -> None:
    """Write the settings that only few families have."""
    for name in ("seed", "frequency_penalty", "presence_penalty"):
        value = getattr(sampling, name)
        if value is None:
            continue
        if name in family.others:
            extra[family.others[name]] = value
        else:
            warnings.append(unsupported(f"sampling.{name}", f"{name} to {family.name}"))


def _tools(request: ChatRequest, provider: str, warnings: list[Warning_]) -> list[Mapping[str, Any]]:
    """Return the tools on offer: none if the model must not call any, since the API cannot say that otherwise."""
    encoded: list[Mapping[str, Any]] = []
    for number, tool in enumerate(request.tools):
        if isinstance(tool, FunctionTool):
            encoded.append(_function(tool))
        elif isinstance(tool, ProviderTool) and tool.provider != provider:
            warnings.append(unsupported(f"tools[{number}].provider", f"a tool of provider {tool.provider}"))
        else:
            encoded.append(tool.tool)
    choice = request.tool_choice
    return [] if choice is not None and choice.mode is ToolMode.NONE else encoded


def _function(tool: FunctionTool) -> dict[str, Any]:
    spec: dict[str, Any] = {"name": tool.name}
    if tool.description:
        spec["description"] = tool.description
    spec["inputSchema"] = {"json": tool.parameters or _NO_PARAMETERS}
    if tool.strict is not None:
        spec["strict"] = tool.strict
    return {"toolSpec": spec}


def _add_tool_choice(body: dict[str, Any], choice: ToolChoice, traits: Traits | None, warnings: list[Warning_]) -> None:
    if choice.parallel is False:
        warnings.append(unsupported("tool_choice.parallel", "a wish for one call at a time"))
    if "toolConfig" not in body:
        return
    if forces_a_call(choice) and traits is not None and not traits.forced_tools:
        warnings.append(adjusted("tool_choice", "sent as `auto`: this model cannot be made to call a tool"))
        body["toolConfig"]["toolChoice"] = {"auto": {}}
    elif choice.function is not None:
        body["toolConfig"]["toolChoice"] = {"tool": {"name": choice.function}}
    elif choice.mode is ToolMode.REQUIRED:
        body["toolConfig"]["toolChoice"] = {"any": {}}
    elif choice.mode is ToolMode.AUTO:
        body["toolConfig"]["toolChoice"] = {"auto": {}}


def _add_output(
    body: dict[str, Any],
    output: JsonObjectOutput | JsonSchemaOutput,
    traits: Traits | None,
    warnings: list[Warning_],
) -> None:
    if isinstance(output, JsonObjectOutput):
        warnings.append(unsupported("output", "a wish for JSON without a schema"))
        return
    schema = output.schema if traits is None else schema_for(output, warnings)
    # The API takes the schema as a text.
    definition = {"name": output.name, "schema": encode_json(schema).decode()}
    body["outputConfig"] = {"textFormat": {"type": "json_schema", "structure": {"jsonSchema": definition}}}
