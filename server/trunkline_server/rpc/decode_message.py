"""The conversation of a request: messages and their parts, each where it may stand."""

from __future__ import annotations

import re
from collections.abc import Sequence

from trunkline import v1 as pb
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
from trunkline_server.rpc.data_uri import is_data_uri, read_data_uri
from trunkline_server.rpc.decode_json import decode_json_object
from trunkline_server.rpc.violations import Violations

MAX_PIECES = 20_000
"""Messages and parts of one request together: 32 MiB could hold millions, and seconds of decoding."""
MAX_RESULT_DEPTH = 8
NAME_SHAPE = re.compile(r"[A-Za-z0-9_.-]{1,64}")
NAME_RULE = "must be 1 to 64 letters, digits, underscores, dots and dashes"

_MIME_TYPE = re.compile(r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}(\s*;.{0,128})?")
_URL = re.compile(r"(?:https?|gs|s3)://[^\s\x00-\x1f\x7f]{1,8192}", re.IGNORECASE)

_ROLES: dict[int, Role] = {
    pb.ROLE_SYSTEM: Role.SYSTEM,
    pb.ROLE_DEVELOPER: Role.DEVELOPER,
    pb.ROLE_USER: Role.USER,
    pb.ROLE_ASSISTANT: Role.ASSISTANT,
    pb.ROLE_TOOL: Role.TOOL,
}
_SAID_TO_MODEL = frozenset({"text", "media"})
_SAID_BY_MODEL = frozenset({"text", "media", "thinking", "tool_call", "refusal"})
_IN_A_RESULT = frozenset({"text", "media", "tool_result"})
_ANYTHING = _SAID_BY_MODEL | {"tool_result"}
_PARTS_OF_ROLE: dict[Role, frozenset[str]] = {
    Role.SYSTEM: _SAID_TO_MODEL,
    Role.DEVELOPER: _SAID_TO_MODEL,
    Role.USER: _SAID_TO_MODEL,
    Role.ASSISTANT: _SAID_BY_MODEL,
    Role.TOOL: frozenset({"tool_result"}),
}


def decode_messages(messages: Sequence[pb.Message], found: Violations) -> tuple[Message, ...]:
    """Return the conversation; it is whole only if nothing was noted in `found`."""
    if not messages:
        found.add("messages", "must not be empty")
    return tuple(_Conversation(found).messages(messages))


class _Conversation:
    """Decodes one conversation and counts its pieces."""

    __slots__ = ("_found", "_pieces")

    def __init__(self, found: Violations) -> None:
        self._found = found
        self._pieces = 0

    def messages(self, messages: Sequence[pb.Message]) -> list[Message]:
        """Return the messages whose role is known."""
        decoded = []
        for index, message in enumerate(messages):
            path = f"messages[{index}]"
            number = message.role
            role = _ROLES.get(number)
            if role is None:
                self._found.add(f"{path}.role", f"unknown value {number}" if number else "must be set")
            allowed = _ANYTHING if role is None else _PARTS_OF_ROLE[role]
            parts = message.parts
            if not parts:
                self._found.add(f"{path}.parts", "must not be empty")
            self._count(1)
            decoded_parts = self._parts(parts, path, allowed, 0)
            if role is not None:
                decoded.append(Message(role, decoded_parts, message.name or None, message.cache_breakpoint))
        return decoded

    def _count(self, pieces: int) -> None:
        """Count pieces, and stop the work where it would never end."""
        self._pieces += pieces
        if self._pieces > MAX_PIECES:
            self._found.add("messages", f"must not have more than {MAX_PIECES} messages and parts")
            self._found.raise_if_any()

    def _parts(self, parts: Sequence[pb.Part], path: str, allowed: frozenset[str], depth: int) -> tuple[Part, ...]:
        """Return the parts of a message, or of a tool result at `depth`."""
        self._count(len(parts))
        decoded: list[Part] = []
        for index, part in enumerate(parts):
            kind = part.WhichOneof("content")
            if kind in allowed:
                if kind == "text":
                    decoded.append(TextPart(part.text))
                else:
                    decoded.append(self._part(part, kind, f"{path}.parts[{index}].{kind}", depth))
            elif kind is None:
                self._found.add(
                    f"{path}.parts[{index}]", "must hold text, media, thinking, tool_call, tool_result or refusal"
                )
            else:
                where = f"may only hold {', '.join(sorted(allowed))}"
                holder = "a tool result" if depth else "a message of this role"
                self._found.add(f"{path}.parts[{index}].{kind}", f"{holder} {where}")
        return tuple(decoded)

    def _part(self, part: pb.Part, kind: str, path: str, depth: int) -> Part:
        """Return a part that is no text."""
        match kind:
            case "media":
                return _media(part.media, path, self._found)
            case "thinking":
                thinking = part.thinking
                return ThinkingPart(
                    thinking.text, thinking.signature or None, thinking.redacted, thinking.provider or None
                )
            case "tool_call":
                return _tool_call(part.tool_call, path, self._found)
            case "tool_result":
                return self._tool_result(part.tool_result, path, depth + 1)
            case _:
                return RefusalPart(part.refusal)

    def _tool_result(self, result: pb.ToolResultPart, path: str, depth: int) -> ToolResultPart:
        """Return what a tool answered; an answer without parts is one too."""
        if not result.tool_call_id:
            self._found.add(f"{path}.tool_call_id", "must not be empty")
        if depth > MAX_RESULT_DEPTH:
            self._found.add(path, f"must not be nested deeper than {MAX_RESULT_DEPTH}")
            return ToolResultPart(result.tool_call_id, ())
        parts = self._parts(result.parts, path, _IN_A_RESULT, depth)
        return ToolResultPart(result.tool_call_id, parts, result.is_error)


def _tool_call(call: pb.ToolCallPart, path: str, found: Violations) -> ToolCallPart:
    """Return an earlier call of the model's; its arguments are kept as they were written."""
    if not call.id:
        found.add(f"{path}.id", "must not be empty")
    if not NAME_SHAPE.fullmatch(call.name):
        found.add(f"{path}.name", NAME_RULE)
    decode_json_object(call.arguments_json, f"{path}.arguments_json", found)
    return ToolCallPart(call.id, call.name, call.arguments_json)


def _media(media: pb.MediaPart, path: str, found: Violations) -> MediaPart:
    """Return a picture, recording or document by its one source; what stands in a data URI is data."""
    source = media.WhichOneof("source")
    data = media.data if source == "data" else None  # each reading of a field copies it, and pictures are large
    uri = media.uri if source == "uri" else None
    mime_type = media.mime_type
    if uri is not None and is_data_uri(uri):
        try:
            written_type, data = read_data_uri(uri)
        except ValueError:
            found.add(f"{path}.uri", "must hold base64 behind its comma, or at most 64 KiB of percent-encoded bytes")
        else:
            mime_type, uri = mime_type or written_type, None
    elif uri is not None and not _URL.fullmatch(uri):
        found.add(f"{path}.uri", "must be an http, https, gs, s3 or data URI")
    if source is None:
        found.add(path, "must have one of data, uri and file_id")
    elif uri is None and not data and not media.file_id:
        found.add(f"{path}.{source}", "must not be empty")
    if (mime_type or data is not None) and not _MIME_TYPE.fullmatch(mime_type):
        found.add(f"{path}.mime_type", "must be a type such as image/png")
    if source == "file_id" and not media.provider:
        found.add(f"{path}.provider", "must name the provider that knows the file")
    elif source in {"data", "uri"} and media.provider:
        found.add(f"{path}.provider", "must be empty without file_id")
    return MediaPart(
        mime_type,
        data=data,
        uri=uri,
        file_id=media.file_id if source == "file_id" else None,
        provider=media.provider or None,
    )
