"""What the model may call, whether it must, and the form that its answer is to have."""

from __future__ import annotations

from collections.abc import Sequence

from trunkline import v1 as pb
from trunkline_server.chat.request import (
    FunctionTool,
    JsonObjectOutput,
    JsonSchemaOutput,
    ProviderTool,
    ToolChoice,
    ToolMode,
)
from trunkline_server.rpc.decode_json import decode_json_object
from trunkline_server.rpc.decode_message import NAME_RULE, NAME_SHAPE
from trunkline_server.rpc.violations import Violations

MAX_TOOLS = 1024
MAX_PROVIDER_BYTES = 256

_MODES: dict[int, ToolMode | None] = {
    pb.ToolChoice.MODE_UNSPECIFIED: None,
    pb.ToolChoice.MODE_AUTO: ToolMode.AUTO,
    pb.ToolChoice.MODE_NONE: ToolMode.NONE,
    pb.ToolChoice.MODE_REQUIRED: ToolMode.REQUIRED,
}


def decode_tools(tools: Sequence[pb.Tool], found: Violations) -> tuple[FunctionTool | ProviderTool, ...]:
    """Return the tools; the names of functions are unique."""
    if len(tools) > MAX_TOOLS:
        found.add("tools", f"must have at most {MAX_TOOLS} entries")
        return ()
    decoded: list[FunctionTool | ProviderTool] = []
    names: set[str] = set()
    for index, tool in enumerate(tools):
        path = f"tools[{index}]"
        kind = tool.WhichOneof("kind")
        if kind == "function":
            decoded.append(_function(tool.function, f"{path}.function", names, found))
        elif kind == "provider":
            decoded.append(_provider_tool(tool.provider, f"{path}.provider", found))
        else:
            found.add(path, "must be a function or a provider's tool")
    return tuple(decoded)


def decode_tool_choice(
    choice: pb.ToolChoice, tools: tuple[FunctionTool | ProviderTool, ...], found: Violations
) -> ToolChoice | None:
    """Return what is to be called; None if the message says nothing."""
    kind = choice.WhichOneof("choice")
    parallel = choice.parallel if choice.HasField("parallel") else None
    mode = None
    function = None
    if kind == "mode":
        mode = _MODES.get(choice.mode)
        if choice.mode not in _MODES:
            found.add("tool_choice.mode", f"unknown value {choice.mode}")
    elif kind == "function":
        function = choice.function
        if not any(isinstance(tool, FunctionTool) and tool.name == function for tool in tools):
            found.add("tool_choice.function", "must be the name of a function in tools")
    if mode is None and function is None and parallel is None:
        return None
    if not tools and function is None:
        found.add("tool_choice", "must not be set without tools")
    return ToolChoice(mode, function, parallel)


def decode_output(output: pb.OutputFormat, found: Violations) -> JsonObjectOutput | JsonSchemaOutput | None:
    """Return the form of the answer; None only with a violation."""
    kind = output.WhichOneof("format")
    if kind == "json_object":
        return JsonObjectOutput()
    if kind is None:
        found.add("output", "must be json_object or json_schema")
        return None
    form = output.json_schema
    if not NAME_SHAPE.fullmatch(form.name):
        found.add("output.json_schema.name", NAME_RULE)
    schema = decode_json_object(form.schema_json, "output.json_schema.schema_json", found)
    return JsonSchemaOutput(form.name, schema or {}, form.strict if form.HasField("strict") else None)


def _function(function: pb.FunctionTool, path: str, names: set[str], found: Violations) -> FunctionTool:
    """Return a function of the caller's; without a schema it takes no parameters."""
    name = function.name
    if not NAME_SHAPE.fullmatch(name):
        found.add(f"{path}.name", NAME_RULE)
    elif name in names:
        found.add(f"{path}.name", "must be unique among the functions")
    names.add(name)
    schema = function.parameters_json_schema
    return FunctionTool(
        name=name,
        description=function.description or None,
        parameters=decode_json_object(schema, f"{path}.parameters_json_schema", found) if schema else None,
        strict=function.strict if function.HasField("strict") else None,
    )


def _provider_tool(tool: pb.ProviderTool, path: str, found: Violations) -> ProviderTool:
    """Return a tool that a provider runs itself."""
    if not tool.provider or len(tool.provider.encode()) > MAX_PROVIDER_BYTES:
        found.add(f"{path}.provider", f"must be 1 to {MAX_PROVIDER_BYTES} bytes")
    return ProviderTool(tool.provider, decode_json_object(tool.tool_json, f"{path}.tool_json", found) or {})
