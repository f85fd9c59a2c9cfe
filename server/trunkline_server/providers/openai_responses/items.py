"""The conversation as input items of the Responses API.

One neutral message may become several items: a tool call, its result and a piece of sealed reasoning each are an item
of their own here. Results of a message come first, because the provider wants them behind the calls that asked for
them.
"""

from __future__ import annotations

from typing import Any, Final

from trunkline_server.chat.answer import Warning_
from trunkline_server.chat.message import (
    MediaPart,
    Message,
    RefusalPart,
    Role,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    ToolResultPart,
)
from trunkline_server.providers.openai.messages import ERROR_MARK
from trunkline_server.providers.openai_responses.media import media_item
from trunkline_server.providers.openai_responses.seal import unsealed
from trunkline_server.providers.tool_ids import ToolIds
from trunkline_server.providers.unsupported import unsupported

_IDS: Final = ToolIds(64)
_ROLES: Final = {role: role.value for role in Role}

Item = dict[str, Any]


def left_out(field: str, what: str = "this field") -> Warning_:
    """Return the warning for something that the Responses API has no place for."""
    return unsupported(field, "the Responses API", what)


def encode_input(messages: tuple[Message, ...], provider: str, warnings: list[Warning_]) -> list[Item]:
    """Return the wire's items; what had to be left out is added to `warnings`.

    Reasoning goes back only to the provider that sealed it; any other is left out without a warning.
    """
    items: list[Item] = []
    for number, message in enumerate(messages):
        parts = message.parts
        if len(parts) == 1 and message.name is None and message.role is not Role.TOOL:
            part = parts[0]
            if type(part) is TextPart:  # most messages
                items.append({"role": _ROLES[message.role], "content": part.text})
                continue
        _encode_message(message, f"messages[{number}]", provider, items, warnings)
    return items


def _encode_message(message: Message, path: str, provider: str, items: list[Item], warnings: list[Warning_]) -> None:
    if message.name is not None:
        warnings.append(left_out(f"{path}.name"))
    results = 0
    for number, part in enumerate(message.parts):
        if isinstance(part, ToolResultPart):
            items.append(_result(part, f"{path}.parts[{number}]", warnings))
            results += 1
    if results and results == len(message.parts):
        return
    if message.role is Role.ASSISTANT:
        _add_assistant(message, path, provider, items, warnings)
    elif message.role is Role.TOOL:
        for number, part in enumerate(message.parts):
            if not isinstance(part, ToolResultPart | ThinkingPart):
                warnings.append(left_out(f"{path}.parts[{number}]", "a tool message's part outside a result"))
    else:
        items.append(_turn(message, path, warnings))


def _turn(message: Message, path: str, warnings: list[Warning_]) -> Item:
    """Return a message of the user, the system or the developer."""
    content: list[Item] = []
    for number, part in enumerate(message.parts):
        if isinstance(part, TextPart):
            content.append({"type": "input_text", "text": part.text})
            continue
        item = media_item(part) if isinstance(part, MediaPart) and message.role is Role.USER else None
        if item is not None:
            content.append(item)
        elif not isinstance(part, ThinkingPart | ToolResultPart):
            warnings.append(left_out(f"{path}.parts[{number}]", _what(part, message.role)))
    return {"role": _ROLES[message.role], "content": _content(content)}


def _add_assistant(message: Message, path: str, provider: str, items: list[Item], warnings: list[Warning_]) -> None:
    """Add the items of a turn of the model in the order in which it made them."""
    content: list[Item] = []
    said = _Said(items)
    for number, part in enumerate(message.parts):
        field = f"{path}.parts[{number}]"
        if isinstance(part, TextPart):
            content.append({"type": "output_text", "text": part.text})
        elif isinstance(part, RefusalPart):
            content.append({"type": "refusal", "refusal": part.text})
        elif isinstance(part, ToolCallPart):
            content = said.message(content)
            said.item(
                {
                    "type": "function_call",
                    "call_id": _IDS.sent(part.id),
                    "name": part.name,
                    "arguments": part.arguments_json,
                }
            )
        elif isinstance(part, ThinkingPart):
            if part.signature and part.provider == provider:
                content = said.message(content)
                said.reasoning(_reasoning(part.text, part.signature), field)
        elif not isinstance(part, ToolResultPart):
            warnings.append(left_out(field, _what(part, message.role)))
    said.message(content)
    warnings.extend(said.unfollowed())


class _Said:
    """The items of one turn. Reasoning waits for what it led to: without that, the provider refuses it."""

    __slots__ = ("_any", "_items", "_waiting")

    def __init__(self, items: list[Item]) -> None:
        self._items = items
        self._waiting: list[tuple[Item, str]] = []
        self._any = False

    def message(self, content: list[Item]) -> list[Item]:
        """Add a message of `content`, if there is any; return the next one's, which is empty."""
        if content:
            single = content[0]["text"] if len(content) == 1 and "text" in content[0] else None
            self.item({"role": "assistant", "content": content if single is None else single})
            return []
        return content

    def reasoning(self, item: Item, field: str) -> None:
        """Keep reasoning until it is known what follows it."""
        self._waiting.append((item, field))

    def item(self, item: Item) -> None:
        """Add an item, behind the reasoning that led to it."""
        self._items.extend(reasoning for reasoning, _ in self._waiting)
        self._waiting.clear()
        self._items.append(item)
        self._any = True

    def unfollowed(self) -> list[Warning_]:
        """End the turn; return warnings for reasoning that led to nothing. A turn of nothing is an empty message."""
        if not self._any:
            self._items.append({"role": "assistant", "content": ""})
        return [left_out(field, "reasoning that nothing follows") for _, field in self._waiting]


def _reasoning(text: str, signature: str) -> Item:
    item_id, encrypted = unsealed(signature)
    item: Item = {"type": "reasoning", "summary": [{"type": "summary_text", "text": text}] if text else []}
    if item_id:
        item["id"] = item_id
    item["encrypted_content"] = encrypted
    return item


def _result(result: ToolResultPart, path: str, warnings: list[Warning_]) -> Item:
    content = _result_content(result, path, warnings)
    output = _content(content)
    if result.is_error:
        if isinstance(output, str):
            output = ERROR_MARK + output
        else:
            output.insert(0, {"type": "input_text", "text": ERROR_MARK})
    return {"type": "function_call_output", "call_id": _IDS.sent(result.tool_call_id), "output": output}


def _result_content(result: ToolResultPart, path: str, warnings: list[Warning_]) -> list[Item]:
    """Return the content of a result, that of results inside it included."""
    content: list[Item] = []
    for number, part in enumerate(result.parts):
        inner = f"{path}.tool_result.parts[{number}]"
        item = media_item(part) if isinstance(part, MediaPart) else None
        if item is not None:
            content.append(item)
        elif isinstance(part, TextPart | RefusalPart):
            content.append({"type": "input_text", "text": part.text})
        elif isinstance(part, ToolResultPart):
            content.extend(_result_content(part, inner, warnings))
        elif not isinstance(part, ThinkingPart):
            warnings.append(left_out(inner, f"{_what(part, None)} in a tool result"))
    return content


def _content(items: list[Item]) -> str | list[Item]:
    """Return a plain string for a single text, else the list of items."""
    if not items:
        return ""
    if len(items) == 1 and items[0]["type"] == "input_text":
        return str(items[0]["text"])
    return items


def _what(part: object, role: Role | None) -> str:
    if isinstance(part, MediaPart) and role in {Role.USER, None}:
        source = "uri" if part.uri is not None else "data"
        return f"media of type {part.mime_type or '(none)'} given as {source}"
    kinds = {MediaPart: "media", ToolCallPart: "a tool call", RefusalPart: "a refusal"}
    kind = kinds.get(type(part), "this part")
    return kind if role is None else f"{kind} in a message of role {role.value}"
