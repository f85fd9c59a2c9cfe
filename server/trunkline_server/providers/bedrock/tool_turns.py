"""Tool calls and their results as content blocks, or as words where no tools are on offer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec

from trunkline_server.chat.answer import Warning_
from trunkline_server.chat.message import MediaPart, RefusalPart, TextPart, ThinkingPart, ToolCallPart, ToolResultPart
from trunkline_server.providers.bedrock.families import Family
from trunkline_server.providers.bedrock.words import unsupported
from trunkline_server.providers.json_wire import DECODING_ERRORS, decode_any
from trunkline_server.providers.tool_ids import ToolIds
from trunkline_server.providers.unsupported import adjusted

IDS: Final = ToolIds(64)

ERROR_MARK: Final = "Error: "
"""Stands before a result that is an error, where no field can say it."""

NOT_AN_OBJECT: Final = "arguments"
"""The one field of the object that stands for arguments that are no JSON object."""

Block = dict[str, Any]


class ToolTurns:
    """Writes the calls and results of one conversation. `media` makes the block of a picture and the like."""

    __slots__ = ("_as_words", "_family", "_media", "_names", "_told", "_warnings")

    def __init__(
        self,
        family: Family,
        media: Callable[[MediaPart], Block | None],
        warnings: list[Warning_],
        *,
        as_words: bool,
    ) -> None:
        self._family = family
        self._media = media
        self._warnings = warnings
        self._as_words = as_words
        self._names: dict[str, str] = {}
        self._told = False

    def call(self, part: ToolCallPart, path: str) -> Block:
        """Return the block of a call that the model made."""
        if self._as_words:
            self._tell(path)
            self._names[part.id] = part.name
            return {"text": f"(called {part.name} with {part.arguments_json or '{}'})"}
        return {
            "toolUse": {"toolUseId": IDS.sent(part.id), "name": part.name, "input": self._arguments(part, path)},
        }

    def result(self, part: ToolResultPart, path: str) -> list[Block]:
        """Return the block of what a tool answered, or the blocks that say it in words."""
        content: list[Block] = []
        self._add_parts(part, path, content)
        if part.is_error and (self._as_words or not self._family.tells_errors):
            content.insert(0, {"text": ERROR_MARK})
        if self._as_words:
            self._tell(path)
            return [{"text": f"(result of {self._names.get(part.tool_call_id, 'a tool')})"}, *content]
        result: Block = {"toolUseId": IDS.sent(part.tool_call_id), "content": content}
        if part.is_error and self._family.tells_errors:
            result["status"] = "error"
        return [{"toolResult": result}]

    def _add_parts(self, result: ToolResultPart, path: str, content: list[Block]) -> None:
        """Add the parts of a result, those of results inside it included."""
        for number, part in enumerate(result.parts):
            inner = f"{path}.tool_result.parts[{number}]"
            if isinstance(part, TextPart | RefusalPart):
                if part.text.strip():
                    content.append({"text": part.text})
            elif isinstance(part, ToolResultPart):
                self._add_parts(part, inner, content)
            elif isinstance(part, MediaPart):
                block = self._media(part)
                if block is None or "audio" in block:
                    self._warnings.append(unsupported(inner, f"media of type {part.mime_type} in a tool result"))
                else:
                    content.append(block)
            elif not isinstance(part, ThinkingPart):
                self._warnings.append(unsupported(inner, "this part in a tool result"))

    def _arguments(self, part: ToolCallPart, path: str) -> object:
        """Return arguments as the model wrote them, if they are the JSON object that the service takes."""
        text = part.arguments_json.strip()
        if not text:
            return {}
        try:
            decoded = decode_any(text)
        except DECODING_ERRORS:
            decoded = text
        if isinstance(decoded, dict):
            return msgspec.Raw(text.encode())
        told = f"sent as the field `{NOT_AN_OBJECT}` of an object: Converse takes JSON objects only"
        self._warnings.append(adjusted(f"{path}.tool_call.arguments_json", told))
        return {NOT_AN_OBJECT: decoded}

    def _tell(self, path: str) -> None:
        if not self._told:
            self._told = True
            told = "tool calls and results are sent as words: Converse takes them only while tools are on offer"
            self._warnings.append(adjusted(path, told))
