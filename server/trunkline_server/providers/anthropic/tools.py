"""Tools, and whether the model may, must not or must call one."""

from __future__ import annotations

from typing import Any, Final

from trunkline_server.chat.answer import Warning_
from trunkline_server.chat.request import ChatRequest, FunctionTool, ToolChoice, ToolMode
from trunkline_server.providers.anthropic.models import Traits
from trunkline_server.providers.anthropic.words import left_out
from trunkline_server.providers.unsupported import adjusted

_NO_PARAMETERS: Final = {"type": "object", "properties": {}}
"""A function without parameters: the vendor wants a schema of each."""

_MODES: Final = {ToolMode.AUTO: "auto", ToolMode.NONE: "none", ToolMode.REQUIRED: "any"}


def add_tools(body: dict[str, Any], request: ChatRequest, provider: str, warnings: list[Warning_]) -> None:
    """Write the tools of a request into `body`: functions, and tools that this provider runs itself."""
    tools: list[Any] = []
    for number, tool in enumerate(request.tools):
        if isinstance(tool, FunctionTool):
            tools.append(_function(tool))
        elif tool.provider == provider:
            tools.append(tool.tool)
        else:
            warnings.append(left_out(f"tools[{number}].provider", f"a tool of provider {tool.provider}"))
    if tools:
        body["tools"] = tools


def forces_a_call(choice: ToolChoice | None) -> bool:
    """Return whether the model has to call some function, or a named one."""
    return choice is not None and (choice.function is not None or choice.mode is ToolMode.REQUIRED)


def add_tool_choice(body: dict[str, Any], choice: ToolChoice, traits: Traits, warnings: list[Warning_]) -> None:
    """Write the choice into `body`, which has its tools already."""
    if "tools" not in body:
        if forces_a_call(choice):
            warnings.append(left_out("tool_choice", "a call that must be made, without a tool to call,"))
        return
    written: dict[str, Any] = {}
    if forces_a_call(choice) and not traits.forced_tools:
        warnings.append(adjusted("tool_choice", "sent as `auto`: this model cannot be made to call a tool"))
        written["type"] = "auto"
    elif choice.function is not None:
        written = {"type": "tool", "name": choice.function}
    elif choice.mode is not None:
        written["type"] = _MODES[choice.mode]
    if choice.parallel is False and choice.mode is not ToolMode.NONE:
        written.setdefault("type", "auto")
        written["disable_parallel_tool_use"] = True
    if written:
        body["tool_choice"] = written


def _function(tool: FunctionTool) -> dict[str, Any]:
    function: dict[str, Any] = {"name": tool.name}
    if tool.description is not None:
        function["description"] = tool.description
    function["input_schema"] = _NO_PARAMETERS if tool.parameters is None else tool.parameters
    if tool.strict:
        function["strict"] = True
    return function
