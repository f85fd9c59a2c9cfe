"""The conversation as chat-completions messages.

One neutral message may become several: a tool's result is a message of its own here. Results of a message come
first, because the provider wants them right behind the turn that asked for them. Reasoning is left out without a
warning, since the protocol takes none back; servers that do are told by a quirk, and get their own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from trunkline_server.chat.answer import Warning_
from trunkline_server.chat.message import (
    MediaPart,
    Message,
    Part,
    RefusalPart,
    Role,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    ToolResultPart,
)
from trunkline_server.providers.openai.media import media_item
from trunkline_server.providers.quirks import NO_QUIRKS, Quirks
from trunkline_server.providers.tool_ids import ToolIds
from trunkline_server.providers.unsupported import unsupported as left_out

ERROR_MARK: Final = "Error: "
"""Stands before the text of a tool result that is an error: the protocol has no field for it."""

_ROLES: Final = {
    "developer": {role: role.value for role in Role},
    "system": {role: "system" if role is Role.DEVELOPER else role.value for role in Role},
}
"""By the role that the developer's messages have."""

_NINE_ALPHANUMERICS: Final = ToolIds(9, "", exact=True)

_MAX_ID_CHARS: Final = 40
"""OpenAI refuses longer ids of calls (`string_above_max_length`); its own have 29 characters."""
_SHORT: Final = ToolIds(_MAX_ID_CHARS)


@dataclass(slots=True)
class _Writing:
    """What holds for all messages of one call."""

    provider: str
    quirks: Quirks
    roles: dict[Role, str]
    warnings: list[Warning_]

    def left_out(self, field: str, what: str = "this field") -> None:
        self.warnings.append(unsupported(field, what))

    def tool_id(self, call_id: str) -> str:
        if self.quirks.tool_ids != "any":
            return _NINE_ALPHANUMERICS.sent(call_id)
        # Whatever characters they are of: to some servers of this protocol their own ids mean something.
        return call_id if len(call_id) <= _MAX_ID_CHARS else _SHORT.sent(call_id)


def unsupported(field: str, what: str = "this field") -> Warning_:
    """Return the warning for something that was left out because chat completions has no place for it."""
    return left_out(field, "the chat-completions protocol", what)


def encode_messages(
    messages: tuple[Message, ...], warnings: list[Warning_], provider: str = "", quirks: Quirks = NO_QUIRKS
) -> list[dict[str, Any]]:
    """Return the wire's messages for `provider`; what had to be left out is added to `warnings`."""
    roles = _ROLES[quirks.developer_role]
    writing = _Writing(provider, quirks, roles, warnings)
    encoded: list[dict[str, Any]] = []
    for number, message in enumerate(messages):
        parts = message.parts
        if len(parts) == 1 and message.name is None and message.role is not Role.TOOL:
            part = parts[0]
            if type(part) is TextPart:  # most messages
                encoded.append({"role": roles[message.role], "content": part.text})
                continue
        _encode_message(message, f"messages[{number}]", encoded, writing)
    return encoded


def _encode_message(message: Message, path: str, encoded: list[dict[str, Any]], writing: _Writing) -> None:
    results = 0
    for number, part in enumerate(message.parts):
        if isinstance(part, ToolResultPart):
            encoded.append(_tool_message(part, f"{path}.parts[{number}]", writing))
            results += 1
    if results and results == len(message.parts):
        if message.name is not None:
            writing.left_out(f"{path}.name")
        return
    if message.role is Role.ASSISTANT:
        turn = _assistant(message, path, writing)
    elif message.role is Role.TOOL:
        for number, part in enumerate(message.parts):
            if not isinstance(part, ToolResultPart | ThinkingPart):
                writing.left_out(f"{path}.parts[{number}]", "a tool message's part outside a result")
        return
    else:
        turn = _turn(message, path, writing)
    if message.name is not None:
        _add_name(turn, message.name, path, writing)
    encoded.append(turn)


def _add_name(turn: dict[str, Any], name: str, path: str, writing: _Writing) -> None:
    if "message_name" in writing.quirks.lacks:
        writing.left_out(f"{path}.name")
    else:
        turn["name"] = name


def _turn(message: Message, path: str, writing: _Writing) -> dict[str, Any]:
    """Return a message of the user, the system or the developer."""
    items: list[dict[str, Any]] = []
    for number, part in enumerate(message.parts):
        if isinstance(part, TextPart):
            items.append({"type": "text", "text": part.text})
            continue
        item = media_item(part) if isinstance(part, MediaPart) and message.role is Role.USER else None
        if item is not None:
            items.append(item)
        elif not isinstance(part, ThinkingPart | ToolResultPart):
            writing.left_out(f"{path}.parts[{number}]", _what(part, message.role))
    return {"role": writing.roles[message.role], "content": _content(items)}


def _assistant(message: Message, path: str, writing: _Writing) -> dict[str, Any]:
    items: list[dict[str, Any]] = []
    calls: list[dict[str, Any]] = []
    refusals: list[str] = []
    for number, part in enumerate(message.parts):
        if isinstance(part, TextPart):
            items.append({"type": "text", "text": part.text})
        elif isinstance(part, ToolCallPart):
            function = {"name": part.name, "arguments": part.arguments_json}
            calls.append({"id": writing.tool_id(part.id), "type": "function", "function": function})
        elif isinstance(part, RefusalPart):
            if part.text:
                refusals.append(part.text)
        elif isinstance(part, MediaPart):
            writing.left_out(f"{path}.parts[{number}]", _what(part, message.role))
    turn: dict[str, Any] = {"role": "assistant"}
    turn["content"] = None if not items and (calls or refusals) else _content(items)
    if refusals:
        turn["refusal"] = "".join(refusals)
    if calls:
        turn["tool_calls"] = calls
    if writing.quirks.thinking_field:
        _add_thinking(turn, message, writing)
    return turn


def _add_thinking(turn: dict[str, Any], message: Message, writing: _Writing) -> None:
    """Give the server its own reasoning back; another provider's never."""
    own = "".join(
        part.text for part in message.parts if isinstance(part, ThinkingPart) and part.provider == writing.provider
    )
    if own or (writing.quirks.thinking_with_calls and "tool_calls" in turn):
        turn[writing.quirks.thinking_field] = own


def _tool_message(result: ToolResultPart, path: str, writing: _Writing) -> dict[str, Any]:
    items = [{"type": "text", "text": text} for text in _result_texts(result, path, writing)]
    content = _content(items)
    if result.is_error:
        if isinstance(content, str):
            content = ERROR_MARK + content
        else:
            content.insert(0, {"type": "text", "text": ERROR_MARK})
    return {"role": "tool", "tool_call_id": writing.tool_id(result.tool_call_id), "content": content}


def _result_texts(result: ToolResultPart, path: str, writing: _Writing) -> list[str]:
    """Return the texts of a result, those of results inside it included."""
    texts: list[str] = []
    for number, part in enumerate(result.parts):
        inner = f"{path}.tool_result.parts[{number}]"
        if isinstance(part, TextPart | RefusalPart):
            texts.append(part.text)
        elif isinstance(part, ToolResultPart):
            texts.extend(_result_texts(part, inner, writing))
        elif not isinstance(part, ThinkingPart):
            writing.left_out(inner, f"{_what(part, None)} in a tool result")
    return texts


def _content(items: list[dict[str, Any]]) -> str | list[dict[str, Any]]:
    """Return a plain string for a single text, which every compatible server takes, else the list of items."""
    if not items:
        return ""
    if len(items) == 1 and items[0]["type"] == "text":
        return str(items[0]["text"])
    return items


def _what(part: Part, role: Role | None) -> str:
    kind = {MediaPart: "media", ToolCallPart: "a tool call", RefusalPart: "a refusal"}.get(type(part), "this part")
    if isinstance(part, MediaPart) and role is Role.USER:
        source = "uri" if part.uri is not None else "data"
        return f"media of type {part.mime_type or '(none)'} given as {source}"
    return kind if role is None else f"{kind} in a message of role {role.value}"
