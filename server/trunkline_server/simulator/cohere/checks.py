"""What Cohere checks of a chat request beyond its types, in its own words where they are known."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from trunkline_server.simulator.cohere.errors import RequestRefusedError

if TYPE_CHECKING:
    from trunkline_server.simulator.cohere.request import ChatRequest, Message

ROLES = ("system", "user", "assistant", "tool")
ITEM_TYPES = {
    "system": {"text"},
    "user": {"text", "image_url"},
    "assistant": {"text", "thinking"},
    "tool": {"text", "document"},
}
"""What the content of each role may hold."""
MAX_STOPS = 5
_FUNCTION_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_RANGES = (
    ("temperature", 0, 1.0),
    ("p", 0.01, 0.99),
    ("k", 0, 500),
    ("frequency_penalty", 0, 1),
    ("presence_penalty", 0, 1),
    ("max_tokens", 0, None),
    ("seed", 0, None),
    ("priority", 0, 999),
)


def check_chat(request: ChatRequest) -> None:
    """Raise RequestRefusedError for the first thing that Cohere would refuse."""
    if not request.model:
        raise RequestRefusedError("a model parameter is required for this endpoint.")
    _check_messages(request)
    _check_figures(request)
    _check_tools(request)


def _check_messages(request: ChatRequest) -> None:
    messages = request.messages
    if not messages:
        raise RequestRefusedError(
            "invalid request: message must be at least 1 token long or tool results must be specified."
        )
    called: set[str] = set()
    for index, message in enumerate(messages):
        if message.role not in ROLES:
            raise RequestRefusedError(
                f"invalid request: Invalid role in messages at index {index}. Role must be one of the following: "
                "user, assistant, system, tool"
            )
        if message.role == "system" and index:
            raise RequestRefusedError("system turn must be the first in the list")
        _check_content(message, index)
        if message.role == "assistant":
            _check_assistant(message, request, called, index)
        elif message.role == "tool":
            _check_result(message, called)
        elif not message.items():
            raise RequestRefusedError("message must not be empty in a turn")
    if messages[-1].role not in {"user", "tool", "assistant"}:
        raise RequestRefusedError("invalid request: the last message must be of the user, a tool or the assistant")


def _check_content(message: Message, index: int) -> None:
    for number, item in enumerate(message.items()):
        where = f"messages[{index}].content[{number}]"
        if item.type not in ITEM_TYPES[message.role]:
            raise RequestRefusedError(f"invalid request: content of type '{item.type}' is not allowed: '{where}'")
        if getattr(item, item.type) is None:
            raise RequestRefusedError(f"invalid request: '{where}' has no {item.type}")
        if item.image_url is not None:
            url = item.image_url.get("url")
            if not isinstance(url, str) or not url.startswith(("http://", "https://", "data:image/")):
                raise RequestRefusedError(f"invalid request: '{where}' is no URL of a picture")
        if item.document is not None and "data" not in item.document:
            raise RequestRefusedError(f"invalid request: document at '{where}' cannot be empty")


def _check_assistant(message: Message, request: ChatRequest, called: set[str], index: int) -> None:
    items = message.items()
    thinks = any(item.type == "thinking" for item in items)
    if thinks and request.thinking is not None and request.thinking.type == "disabled":
        raise RequestRefusedError(
            f"thinking content is not allowed with thinking disabled: 'messages[{index}].content'"
        )
    if not message.tool_calls:
        if not items and not message.tool_plan:
            raise RequestRefusedError("message must not be empty in a turn")
        return
    if any(item.type == "text" for item in items):
        raise RequestRefusedError(
            "text content is not allowed when tool_calls are provided. If you wish to pass a tool plan, either pass "
            f"thinking content (with thinking enabled) or use 'tool_plan': 'messages[{index}].content[0]'"
        )
    for call in message.tool_calls:
        if call.type != "function":
            raise RequestRefusedError("tool call must be of type function")
        if call.id in called:
            raise RequestRefusedError("cannot have duplicate tool ids")
        called.add(call.id)


def _check_result(message: Message, called: set[str]) -> None:
    if not message.tool_call_id:
        raise RequestRefusedError("tool call id must be provided with tool message")
    if message.tool_call_id not in called:
        raise RequestRefusedError("tool call id not found in previous tool calls")
    if message.content is None:
        raise RequestRefusedError("message must not be empty in a turn")


def _check_figures(request: ChatRequest) -> None:
    for name, low, high in _RANGES:
        value = getattr(request, name)
        if value is None:
            continue
        if high is None and value < low:
            raise RequestRefusedError(f"invalid request: {name} must be at least {low}.")
        if high is not None and not low <= value <= high:
            raise RequestRefusedError(f"invalid request: {name} must be between {low} and {high} inclusive.")
    if request.stop_sequences is not None and len(request.stop_sequences) > MAX_STOPS:
        raise RequestRefusedError(f"invalid request: stop_sequences must have at most {MAX_STOPS} entries.")
    budget = None if request.thinking is None else request.thinking.token_budget
    if budget is not None and budget < 1:
        raise RequestRefusedError("invalid request: thinking.token_budget must be a positive integer.")


def _check_tools(request: ChatRequest) -> None:
    tools = request.tools or []
    for tool in tools:
        if _FUNCTION_NAME.fullmatch(tool.function.name) is None:
            raise RequestRefusedError(
                "invalid request: tool names can only contain certain characters (A-Za-z0-9_) and can't begin with a "
                f"digit (provided name: '{tool.function.name}')."
            )
        if tool.function.parameters.get("type") != "object":
            raise RequestRefusedError("schema must be an object")
        if request.strict_tools and not tool.function.parameters.get("required"):
            raise RequestRefusedError("required field name not found in properties")
    if request.tool_choice is not None and not tools:
        raise RequestRefusedError("invalid request: tool_choice must not be specified without tools.")
    wanted = request.response_format
    if wanted is None or wanted.type == "text":
        if wanted is not None and wanted.json_schema is not None:
            raise RequestRefusedError("invalid request: json_schema must not be specified with type 'text'.")
        return
    if tools or request.documents:
        raise RequestRefusedError("invalid request: response_format is not supported with RAG.")
    if wanted.json_schema is not None and wanted.json_schema.get("type") != "object":
        raise RequestRefusedError("schema must be an object")
