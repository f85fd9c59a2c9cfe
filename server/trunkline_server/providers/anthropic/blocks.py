"""Parts of messages as content blocks.

Empty texts are passed over, since the vendor refuses them, and so is reasoning that cannot go back: another
provider's, and what has no signature.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

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
from trunkline_server.providers.anthropic.media import media_block
from trunkline_server.providers.anthropic.words import left_out
from trunkline_server.providers.json_wire import DECODING_ERRORS, decode_any
from trunkline_server.providers.tool_ids import ToolIds

Block = dict[str, Any]

_IDS: Final = ToolIds(64)
"""What the vendor takes as an id of a call; its own are shorter."""


def text_block(text: str) -> Block:
    """Return the block of a text."""
    return {"type": "text", "text": text}


def instruction_blocks(message: Message, path: str, warnings: list[Warning_]) -> list[Block]:
    """Return the blocks of a message of the system or the developer: texts only."""
    blocks: list[Block] = []
    for number, part in enumerate(message.parts):
        if isinstance(part, TextPart):
            _add_text(part.text, blocks)
        else:
            warnings.append(left_out(f"{path}.parts[{number}]", f"{_what(part)} in instructions"))
    return blocks


def user_blocks(message: Message, path: str, warnings: list[Warning_]) -> list[Block]:
    """Return the blocks of a message of the user or of tools; results come first, as the vendor wants them."""
    results: list[Block] = []
    blocks: list[Block] = []
    for number, part in enumerate(message.parts):
        where = f"{path}.parts[{number}]"
        if isinstance(part, ToolResultPart):
            results.append(_result(part, f"{where}.tool_result", warnings))
        elif message.role is Role.TOOL:
            if not isinstance(part, ThinkingPart):
                warnings.append(left_out(where, "a tool message's part outside a result"))
        elif isinstance(part, TextPart):
            _add_text(part.text, blocks)
        elif isinstance(part, MediaPart):
            _add_media(part, where, blocks, warnings)
        elif not isinstance(part, ThinkingPart):
            warnings.append(left_out(where, f"{_what(part)} in a message of the user"))
    return results + blocks


def assistant_blocks(message: Message, path: str, provider: str, warnings: list[Warning_]) -> list[Block]:
    """Return the blocks of an answer; reasoning of the provider named `provider` among them, as it was given."""
    blocks: list[Block] = []
    for number, part in enumerate(message.parts):
        where = f"{path}.parts[{number}]"
        if isinstance(part, TextPart | RefusalPart):
            _add_text(part.text, blocks)
        elif isinstance(part, ToolCallPart):
            blocks.append(_call(part, where, warnings))
        elif isinstance(part, ThinkingPart):
            if part.signature and part.provider == provider:
                blocks.append(_thinking(part, part.signature))
        else:
            warnings.append(left_out(where, f"{_what(part)} in a message of the assistant"))
    return blocks


def _add_text(text: str, blocks: list[Block]) -> None:
    if text and not text.isspace():
        blocks.append(text_block(text))


def _add_media(part: MediaPart, where: str, blocks: list[Block], warnings: list[Warning_]) -> None:
    block = media_block(part)
    if block is None:
        source = "uri" if part.uri is not None else "data"
        warnings.append(left_out(where, f"media of type {part.mime_type or '(none)'} given as {source}"))
    else:
        blocks.append(block)


def _thinking(part: ThinkingPart, signature: str) -> Block:
    if part.redacted:
        return {"type": "redacted_thinking", "data": signature}
    return {"type": "thinking", "thinking": part.text, "signature": signature}


def _call(part: ToolCallPart, where: str, warnings: list[Warning_]) -> Block:
    """Return a call with its arguments as they were written: numbers and the order of keys stay."""
    written: object = msgspec.Raw(part.arguments_json.encode())
    if not _is_object(part.arguments_json):
        warnings.append(left_out(f"{where}.tool_call.arguments_json", "what is no JSON object"))
        written = {}
    return {"type": "tool_use", "id": _IDS.sent(part.id), "name": part.name, "input": written}


def _is_object(text: str) -> bool:
    try:
        return isinstance(decode_any(text), dict)
    except DECODING_ERRORS:
        return False


def _result(result: ToolResultPart, path: str, warnings: list[Warning_]) -> Block:
    block: Block = {"type": "tool_result", "tool_use_id": _IDS.sent(result.tool_call_id)}
    content: list[Block] = []
    _add_result_parts(result, path, content, warnings)
    if len(content) == 1 and content[0]["type"] == "text":
        block["content"] = content[0]["text"]
    elif content:
        block["content"] = content
    if result.is_error:
        block["is_error"] = True
    return block


def _add_result_parts(result: ToolResultPart, path: str, content: list[Block], warnings: list[Warning_]) -> None:
    """Add the blocks of a result, those of results inside it included."""
    for number, part in enumerate(result.parts):
        where = f"{path}.parts[{number}]"
        if isinstance(part, TextPart | RefusalPart):
            _add_text(part.text, content)
        elif isinstance(part, MediaPart):
            _add_media(part, where, content, warnings)
        elif isinstance(part, ToolResultPart):
            _add_result_parts(part, f"{where}.tool_result", content, warnings)
        elif not isinstance(part, ThinkingPart):
            warnings.append(left_out(where, f"{_what(part)} in a tool result"))


def _what(part: object) -> str:
    kinds = {MediaPart: "media", ToolCallPart: "a tool call", RefusalPart: "a refusal", ThinkingPart: "reasoning"}
    return kinds.get(type(part), "this part")
