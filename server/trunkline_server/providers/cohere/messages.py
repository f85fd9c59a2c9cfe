"""The conversation as messages of the chat API.

All that the system says stands in one message, the first: the API takes it nowhere else. A tool's result is a message
of its own; results come first, right behind the turn that asked for them. Beside tool calls the API takes no text of
the assistant's: words that stood there are sent as the plan that the model made before it called.
"""

from __future__ import annotations

from base64 import b64encode
from typing import Any, Final

import msgspec

from trunkline_server.chat.answer import Warning_
from trunkline_server.chat.features import media_feature
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
from trunkline_server.providers.cohere.words import left_out, moved
from trunkline_server.providers.tool_ids import ToolIds

ERROR_MARK: Final = "Error: "
"""Stands before the text of a tool result that is an error: the protocol has no field for it."""

PLAN_SEAL: Final = "tool_plan"
"""The signature of reasoning that came as a tool plan, so that it goes back as one."""

IDS: Final = ToolIds(64)

_SYSTEM: Final = frozenset({Role.SYSTEM, Role.DEVELOPER})

Item = dict[str, Any]


class ConversationWriter:
    """Writes one conversation. `provider`: whose reasoning may go back; `thinking`: whether it may as thinking."""

    __slots__ = ("_messages", "_provider", "_system", "_thinking", "_warnings")

    def __init__(self, provider: str, warnings: list[Warning_], *, thinking: bool) -> None:
        self._provider = provider
        self._thinking = thinking
        self._warnings = warnings
        self._system: list[Item] = []
        self._messages: list[dict[str, Any]] = []

    def write(self, messages: tuple[Message, ...]) -> list[dict[str, Any]]:
        """Return the wire's messages; what could not be sent as it was is added to the warnings."""
        for number, message in enumerate(messages):
            path = f"messages[{number}]"
            if message.name is not None:
                self._warnings.append(left_out(f"{path}.name"))
            if message.role in _SYSTEM:
                self._system_turn(message, path)
            else:
                self._turn(message, path)
        if not self._system:
            return self._messages
        return [{"role": "system", "content": _content(self._system)}, *self._messages]

    def _system_turn(self, message: Message, path: str) -> None:
        if self._messages:
            self._warnings.append(moved(path))
        for number, part in enumerate(message.parts):
            if isinstance(part, TextPart):
                if part.text:
                    self._system.append({"type": "text", "text": part.text})
            elif not isinstance(part, ThinkingPart):
                self._leave_out(part, f"{path}.parts[{number}]", message.role)

    def _turn(self, message: Message, path: str) -> None:
        results = 0
        for number, part in enumerate(message.parts):
            if isinstance(part, ToolResultPart):
                self._messages.append(self._tool_message(part, f"{path}.parts[{number}]"))
                results += 1
        if results and results == len(message.parts):
            return
        if message.role is Role.ASSISTANT:
            turn = self._assistant(message, path)
            # Another vendor's thinking alone, say: the API refuses a turn that says nothing.
            if any(turn.get(name) for name in ("content", "tool_plan", "tool_calls")):
                self._messages.append(turn)
        elif message.role is Role.USER:
            self._messages.append({"role": "user", "content": self._user_content(message, path)})
        else:
            for number, part in enumerate(message.parts):
                if not isinstance(part, ToolResultPart | ThinkingPart):
                    self._leave_out(part, f"{path}.parts[{number}]", message.role)

    def _user_content(self, message: Message, path: str) -> str | list[Item]:
        items: list[Item] = []
        for number, part in enumerate(message.parts):
            if isinstance(part, TextPart):
                items.append({"type": "text", "text": part.text})
                continue
            item = _media_item(part) if isinstance(part, MediaPart) else None
            if item is not None:
                items.append(item)
            elif not isinstance(part, ThinkingPart | ToolResultPart):
                self._leave_out(part, f"{path}.parts[{number}]", message.role)
        return _content(items)

    def _assistant(self, message: Message, path: str) -> dict[str, Any]:
        plans: list[str] = []
        items: list[Item] = []
        calls: list[dict[str, Any]] = []
        for number, part in enumerate(message.parts):
            if isinstance(part, TextPart | RefusalPart):
                items.append({"type": "text", "text": part.text})
            elif isinstance(part, ToolCallPart):
                function = {"name": part.name, "arguments": part.arguments_json}
                calls.append({"id": IDS.sent(part.id), "type": "function", "function": function})
            elif isinstance(part, ThinkingPart):
                if part.provider == self._provider and part.text:
                    if part.signature == PLAN_SEAL:
                        plans.append(part.text)
                    elif self._thinking:
                        items.append({"type": "thinking", "thinking": part.text})
            elif isinstance(part, MediaPart):
                self._leave_out(part, f"{path}.parts[{number}]", message.role)
        return _with_calls(plans, items, calls) if calls else _without_calls(plans, items)

    def _tool_message(self, result: ToolResultPart, path: str) -> dict[str, Any]:
        texts = self._result_texts(result, path)
        if result.is_error:
            texts = [ERROR_MARK + "".join(texts[:1]), *texts[1:]]
        content = _content([{"type": "text", "text": text} for text in texts])
        return {"role": "tool", "tool_call_id": IDS.sent(result.tool_call_id), "content": content}

    def _result_texts(self, result: ToolResultPart, path: str) -> list[str]:
        """Return the texts of a result, those of results inside it included."""
        texts: list[str] = []
        for number, part in enumerate(result.parts):
            inner = f"{path}.tool_result.parts[{number}]"
            if isinstance(part, TextPart | RefusalPart):
                texts.append(part.text)
            elif isinstance(part, ToolResultPart):
                texts.extend(self._result_texts(part, inner))
            elif not isinstance(part, ThinkingPart):
                self._warnings.append(left_out(inner, f"{_KINDS[type(part)]} in a tool result"))
        return texts

    def _leave_out(self, part: object, path: str, role: Role) -> None:
        what = _KINDS[type(part)]
        if isinstance(part, MediaPart) and role is Role.USER:
            what = f"media of type {part.mime_type or '(none)'} given as {'uri' if part.uri is not None else 'data'}"
        self._warnings.append(left_out(path, f"{what} in a message of role {role.value}"))


_KINDS: Final[dict[type, str]] = {
    TextPart: "text",
    MediaPart: "media",
    ToolCallPart: "a tool call",
    ToolResultPart: "a tool result",
    RefusalPart: "a refusal",
}


def _with_calls(plans: list[str], items: list[Item], calls: list[dict[str, Any]]) -> dict[str, Any]:
    """Return a turn that calls tools: its words are the plan, or its thinking alone is its content."""
    turn: dict[str, Any] = {"role": "assistant", "tool_calls": calls}
    words = plans + [item["text"] for item in items if item["type"] == "text"]
    if words:
        turn["tool_plan"] = "\n".join([item["thinking"] for item in items if item["type"] == "thinking"] + words)
    elif items:
        turn["content"] = items
    return turn


def _without_calls(plans: list[str], items: list[Item]) -> dict[str, Any]:
    turn: dict[str, Any] = {"role": "assistant", "content": _content(items)}
    if plans:
        turn["tool_plan"] = "\n".join(plans)
    return turn


def _content(items: list[Item]) -> str | list[Item]:
    """Return a plain string for a single text, else the list of items."""
    if not items:
        return ""
    if len(items) == 1 and items[0]["type"] == "text":
        return str(items[0]["text"])
    return items


def _media_item(part: MediaPart) -> Item | None:
    """Return the content item for a picture or a text document; None if the API has none for it."""
    feature = media_feature(part)
    if feature == "image_uris":
        return {"type": "image_url", "image_url": {"url": part.uri}}
    if part.data is None:
        return None
    if feature == "images":
        return {"type": "image_url", "image_url": {"url": _data_url(part.mime_type, part.data)}}
    if feature == "text_documents":
        try:
            return {"type": "text", "text": part.data.decode()}
        except UnicodeDecodeError:
            return None
    return None


def _data_url(mime_type: str, data: bytes) -> msgspec.Raw:
    """Return a data: URL as finished JSON: base64 needs no escaping, and a picture is large enough to save a copy."""
    head = msgspec.json.encode(f"data:{mime_type};base64,")
    return msgspec.Raw(b"".join((head[:-1], b64encode(data), b'"')))
