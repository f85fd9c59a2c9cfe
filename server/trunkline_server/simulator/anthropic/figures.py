"""What the service checks of a request's settings, which differ by model, in its own words."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from trunkline_server.simulator.anthropic.errors import invalid
from trunkline_server.simulator.anthropic.request import RedactedThinking, Thinking, ToolResult

if TYPE_CHECKING:
    from trunkline_server.simulator.anthropic.models import Model
    from trunkline_server.simulator.anthropic.request import MessagesRequest

VERSION_WITHOUT_SAMPLING = "2026-10-21"
MIN_BUDGET = 1024
MIN_THINKING_TOP_P = 0.95
_NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}", re.ASCII)
_BOUNDS = {
    "string": ("minLength", "maxLength", "pattern"),
    "number": ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
    "integer": ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
    "array": ("maxItems", "uniqueItems", "contains", "prefixItems"),
    "object": ("minProperties", "maxProperties", "patternProperties", "propertyNames", "if", "not"),
}


def check_settings(request: MessagesRequest, model: Model, version: str) -> None:
    """Raise RefusedError for the first setting that the service would refuse."""
    if request.max_tokens < 0:
        raise invalid("max_tokens: Input should be greater than or equal to 0")
    _check_thinking(request, model)
    _check_sampling(request, model, version)
    _check_tools(request, model)
    _check_output(request, model)
    for number, stop in enumerate(request.stop_sequences or ()):
        if not stop.strip():
            raise invalid(f"stop_sequences.{number}: each stop sequence must contain non-whitespace")


def thinks(request: MessagesRequest) -> bool:
    """Return whether the request asks the model to think."""
    return request.thinking is not None and request.thinking.type in {"enabled", "adaptive"}


def _check_thinking(request: MessagesRequest, model: Model) -> None:
    asked = request.thinking
    if asked is None:
        return
    refused = {
        "enabled": model.since(4, 7),
        "adaptive": model.before(4, 6),
        "disabled": not model.can_be_quiet,
        "between_tools": not (model.family == "sonnet" and model.since(5, 5)),
    }
    if refused[asked.type]:
        raise invalid(
            f'"thinking.type.{asked.type}" is not supported for this model. Use "thinking.type.adaptive" and '
            '"output_config.effort" to control thinking behavior.'
        )
    if asked.type == "enabled":
        if asked.budget_tokens is None or asked.budget_tokens < MIN_BUDGET:
            raise invalid("thinking.enabled.budget_tokens: Input should be greater than or equal to 1024")
        if request.max_tokens <= asked.budget_tokens:
            raise invalid("`max_tokens` must be greater than `thinking.budget_tokens`.")
        _check_round(request)
    choice = request.tool_choice
    if thinks(request) and not model.since(5, 0) and choice is not None and choice.type in {"any", "tool"}:
        raise invalid("Thinking may not be enabled when tool_choice forces tool use.")


def _check_round(request: MessagesRequest) -> None:
    """Check that the last answer began with thinking, if it is being gone on with or its calls were answered."""
    turns = request.messages
    if turns[-1].role == "user" and not any(isinstance(block, ToolResult) for block in turns[-1].blocks()):
        return
    index = max((at for at, turn in enumerate(turns) if turn.role == "assistant"), default=-1)
    if index < 0 or isinstance(turns[index].blocks()[0], Thinking | RedactedThinking):
        return
    raise invalid(
        f"messages.{index}.content.0.type: Expected `thinking` or `redacted_thinking`. When `thinking` is enabled, a "
        "final `assistant` message must start with a thinking block (preceeding the lastmost set of `tool_use` and "
        "`tool_result` blocks)."
    )


def _check_sampling(request: MessagesRequest, model: Model, version: str) -> None:
    given = {name: getattr(request, name) for name in ("temperature", "top_p", "top_k")}
    asked = {name: value for name, value in given.items() if value is not None}
    for name, value in asked.items():
        if version >= VERSION_WITHOUT_SAMPLING:
            raise invalid(f"{name}: Extra inputs are not permitted")
        if model.since(4, 7):
            raise invalid(f"`{name}` is deprecated for this model.")
        if value < 0 or (name != "top_k" and value > 1):
            raise invalid(f"{name}: Input should be between 0 and 1")
    if "temperature" in asked and "top_p" in asked and model.since(4, 0):
        raise invalid("`temperature` and `top_p` cannot both be specified for this model. Please use only one.")
    if not thinks(request):
        return
    if asked.get("temperature", 1) != 1:
        raise invalid("`temperature` may only be set to 1 when thinking is enabled.")
    if asked.get("top_p", 1) < MIN_THINKING_TOP_P:
        raise invalid("`top_p` must be greater than or equal to 0.95 or unset when thinking is enabled.")
    if "top_k" in asked:
        raise invalid("`top_k` must be unset when thinking is enabled.")


def _check_tools(request: MessagesRequest, model: Model) -> None:
    tools = request.tools or []
    names = [str(tool.get("name", "")) for tool in tools]
    for number, tool in enumerate(tools):
        if tool.get("type", "custom") == "custom":
            _check_function(tool, f"tools.{number}.custom")
    if len({*names}) < len(names):
        raise invalid("tools: Tool names must be unique.")
    choice = request.tool_choice
    if choice is None:
        return
    if not tools:
        raise invalid("tool_choice: tool_choice may only be specified while providing tools.")
    if choice.type in {"any", "tool"} and model.late:
        raise invalid("tool_choice: forced tool use is not supported for this model.")
    if choice.type == "tool" and choice.name not in names:
        raise invalid(f"Tool '{choice.name}' not found in provided tools")


def _check_function(tool: dict[str, Any], path: str) -> None:
    known = {
        "name",
        "description",
        "input_schema",
        "type",
        "strict",
        "cache_control",
        "allowed_callers",
        "defer_loading",
        "eager_input_streaming",
        "input_examples",
    }
    for name in tool:
        if name not in known:
            raise invalid(f"{path}.{name}: Extra inputs are not permitted")
    if not _NAME.fullmatch(str(tool.get("name", ""))):
        raise invalid(f"{path}.name: String should match pattern '^[a-zA-Z0-9_-]{{1,128}}$'")
    schema = tool.get("input_schema")
    if not isinstance(schema, dict):
        raise invalid(f"{path}.input_schema: Field required")
    if schema.get("type") != "object":
        raise invalid(f"{path}.input_schema.type: Input should be 'object'")


def _check_output(request: MessagesRequest, model: Model) -> None:
    config = request.output_config
    if config is None:
        return
    if config.effort is not None and (model.before(4, 6) or (config.effort == "xhigh" and model.before(4, 7))):
        raise invalid(f"This model does not support the effort level '{config.effort}'.")
    if config.format is not None:
        _check_schema(config.format.schema, "output_config.format.schema")


def _check_schema(schema: object, path: str) -> None:
    """Check that the service can keep an answer to a schema."""
    if not isinstance(schema, dict):
        return
    kind = schema.get("type")
    if kind == "object" and schema.get("additionalProperties") is not False:
        raise invalid(f"{path}: For 'object' type, 'additionalProperties' must be explicitly set to false")
    for bound in _BOUNDS.get(kind, ()) if isinstance(kind, str) else ():
        if bound in schema:
            raise invalid(f"{path}: For '{kind}' type, property '{bound}' is not supported")
    if "oneOf" in schema:
        raise invalid(f"{path}: 'oneOf' is not supported")
    inner: list[object] = [schema.get("items"), *schema.get("anyOf", ()), *schema.get("allOf", ())]
    for named in (schema.get("properties"), schema.get("$defs")):
        inner += named.values() if isinstance(named, dict) else ()
    for each in inner:
        _check_schema(each, path)
