"""The conversation as `contents` and `systemInstruction`.

The protocol knows two voices, `user` and `model`; neighbours of one voice are one content. Results of functions are the
user's, in a content of their own: all that answer one turn of the model stand together, and nothing else among them.
A result names its function, so the name is looked up in the calls before it. Texts without a character are left out, as
the service refuses them; only a signature may stand on one.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from trunkline_server.chat.answer import Warning_
from trunkline_server.chat.features import media_kind
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
from trunkline_server.providers.gemini.words import left_out
from trunkline_server.providers.json_wire import DECODING_ERRORS, decode_any
from trunkline_server.providers.unsupported import adjusted

WirePart = dict[str, Any]

UNSIGNED: Final = "skip_thought_signature_validator"
"""Stands for the signature of a call that another provider's model made: the value that the vendor names for it
(ai.google.dev/gemini-api/docs/thought-signatures, as of 2026-11), without which the conversation would be refused."""

_SYSTEM: Final = frozenset({Role.SYSTEM, Role.DEVELOPER})
_FILES: Final = "files/"
_USER: Final = "user"
_MODEL: Final = "model"


class Conversation:
    """Writes one conversation for the provider named `provider`; made for one call.

    `root`: below it uploaded files are named. `signs_calls`: the model refuses function calls without a signature, so
    that those of others get `UNSIGNED`.
    """

    def __init__(self, provider: str, root: str, warnings: list[Warning_], *, signs_calls: bool) -> None:
        self.contents: list[dict[str, Any]] = []
        self.system: list[WirePart] = []
        """The parts of `systemInstruction`."""
        self._provider = provider
        self._root = root
        self._warnings = warnings
        self._signs_calls = signs_calls
        self._names: dict[str, str] = {}
        """Of the functions that were called so far, by the id of the call."""
        self._open: tuple[str, bool] | None = None
        """Whose the last content is, and whether it holds results."""

    def add(self, message: Message, path: str) -> None:
        """Append a message; `path` is where it stands in the request."""
        if message.name is not None:
            self._warnings.append(left_out(f"{path}.name"))
        if message.role in _SYSTEM:
            self._add_system(message, path)
            return
        if message.role is Role.ASSISTANT:
            self._append(_MODEL, self._model_parts(message.parts, path))
            return
        results: list[WirePart] = []
        others: list[WirePart] = []
        for number, part in enumerate(message.parts):
            if isinstance(part, ToolResultPart):
                results.append(self._result(part, f"{path}.parts[{number}]"))
            elif message.role is Role.TOOL:
                if not isinstance(part, ThinkingPart):
                    self._leave_out(f"{path}.parts[{number}]", "a tool message's part outside a result")
            else:
                self._add_user_part(part, f"{path}.parts[{number}]", others)
        self._append(_USER, results, results=True)
        self._append(_USER, others)

    def _append(self, role: str, parts: list[WirePart], *, results: bool = False) -> None:
        if not parts:
            return
        if self._open == (role, results):
            self.contents[-1]["parts"].extend(parts)
            return
        self._open = (role, results)
        self.contents.append({"role": role, "parts": parts})

    def _add_system(self, message: Message, path: str) -> None:
        if self.contents:
            told = "sent in front of the whole conversation: the protocol has instructions nowhere else"
            self._warnings.append(adjusted(path, told))
        for number, part in enumerate(message.parts):
            if isinstance(part, TextPart):
                if part.text:
                    self.system.append({"text": part.text})
            elif not isinstance(part, ThinkingPart):
                self._leave_out(f"{path}.parts[{number}]", "anything but text in a system message")

    def _add_user_part(self, part: Part, path: str, parts: list[WirePart]) -> None:
        if isinstance(part, TextPart | RefusalPart):
            if part.text:
                parts.append({"text": part.text})
        elif isinstance(part, MediaPart):
            parts.append(_media_part(part, self._root))
        elif isinstance(part, ToolCallPart):
            self._leave_out(path, "a tool call outside a message of the assistant")

    def _model_parts(self, parts: tuple[Part, ...], path: str) -> list[WirePart]:
        turn = _ModelTurn()
        for number, part in enumerate(parts):
            if isinstance(part, ThinkingPart):
                if part.provider == self._provider:
                    turn.add_thinking(part)
            elif (written := self._model_part(part, f"{path}.parts[{number}]")) is not None:
                turn.add(written, unsigned=UNSIGNED if self._signs_calls and isinstance(part, ToolCallPart) else None)
        return turn.whole()

    def _model_part(self, part: Part, path: str) -> WirePart | None:
        if isinstance(part, TextPart | RefusalPart):
            return {"text": part.text}
        if isinstance(part, MediaPart):
            return _media_part(part, self._root)
        if isinstance(part, ToolCallPart):
            self._names[part.id] = part.name
            return {"functionCall": {"id": part.id, "name": part.name, "args": self._arguments(part, path)}}
        self._leave_out(path, "a tool result in a message of the assistant")
        return None

    def _arguments(self, part: ToolCallPart, path: str) -> object:
        """Return a call's arguments as they were written: numbers and the order of keys stay."""
        try:
            if isinstance(decode_any(part.arguments_json), dict):
                return msgspec.Raw(part.arguments_json.encode())
        except DECODING_ERRORS:
            pass  # told below, like JSON of another kind
        if part.arguments_json.strip():
            self._leave_out(f"{path}.tool_call.arguments_json", "what is no JSON object")
        return {}

    def _result(self, result: ToolResultPart, path: str) -> WirePart:
        texts: list[str] = []
        media: list[WirePart] = []
        self._add_result_parts(result, path, texts, media)
        call_id = result.tool_call_id
        response: dict[str, Any] = {
            "id": call_id,
            "name": self._names.get(call_id, call_id),
            "response": {"error" if result.is_error else "output": "\n".join(texts)},
        }
        if media:
            response["parts"] = media
        return {"functionResponse": response}

    def _add_result_parts(self, result: ToolResultPart, path: str, texts: list[str], media: list[WirePart]) -> None:
        for number, part in enumerate(result.parts):
            inner = f"{path}.tool_result.parts[{number}]"
            if isinstance(part, TextPart | RefusalPart):
                texts.append(part.text)
            elif isinstance(part, ToolResultPart):
                self._add_result_parts(part, inner, texts, media)
            elif isinstance(part, MediaPart) and part.file_id is None and media_kind(part)[1] in {"image", "document"}:
                media.append(_media_part(part, self._root))
            elif not isinstance(part, ThinkingPart):
                kind = "media of this kind" if isinstance(part, MediaPart) else "a tool call"
                self._leave_out(inner, f"{kind} in a tool result")

    def _leave_out(self, path: str, what: str) -> None:
        self._warnings.append(left_out(path, what))


def _media_part(part: MediaPart, root: str) -> dict[str, Any]:
    """Return the part for `part`. What the types are that a model takes is the provider's to judge.

    A file that was uploaded to the Gemini API is named `files/…`, and asked for by its full address below `root`.
    """
    if part.data is not None:
        return {"inlineData": {"mimeType": part.mime_type, "data": part.data}}  # msgspec writes bytes as base64
    uri = part.uri if part.uri is not None else part.file_id or ""
    if part.file_id is not None and uri.startswith(_FILES):
        uri = f"{root}/{uri}"
    file = {"mimeType": part.mime_type, "fileUri": uri} if part.mime_type else {"fileUri": uri}
    return {"fileData": file}


class _ModelTurn:
    """The parts of one turn of the model, each signature back on the part that it was found on."""

    __slots__ = ("_called", "_parts", "_seal")

    def __init__(self) -> None:
        self._parts: list[WirePart] = []
        self._seal: str | None = None
        self._called = False

    def add_thinking(self, part: ThinkingPart) -> None:
        """Append reasoning; without text it is the signature of what comes next."""
        self._place_seal()
        if not part.text:
            self._seal = part.signature
            return
        item: WirePart = {"text": part.text, "thought": True}
        if part.signature is not None:
            item["thoughtSignature"] = part.signature
        self._parts.append(item)

    def add(self, part: WirePart, *, unsigned: str | None) -> None:
        """Append a part; `unsigned` is what the first one of a turn gets that has no signature of its own."""
        signature = self._seal
        self._seal = None
        if unsigned is not None:
            signature = unsigned if signature is None and not self._called else signature
            self._called = True
        if signature is not None:
            part["thoughtSignature"] = signature
        elif part.get("text") == "":
            return
        self._parts.append(part)

    def whole(self) -> list[WirePart]:
        """Return all parts."""
        self._place_seal()
        return self._parts

    def _place_seal(self) -> None:
        """Put a signature that nothing follows on an empty text: streams end like that."""
        if self._seal is not None:
            self._parts.append({"text": "", "thoughtSignature": self._seal})
            self._seal = None
