"""What the service checks of a conversation beyond its types, in its own words."""

from __future__ import annotations

import binascii
import re
from base64 import b64decode
from typing import TYPE_CHECKING

from trunkline_server.simulator.anthropic.errors import invalid
from trunkline_server.simulator.anthropic.request import (
    Document,
    Image,
    RedactedThinking,
    Text,
    Thinking,
    ToolResult,
    ToolUse,
)
from trunkline_server.simulator.anthropic.seals import is_sealed, is_signed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trunkline_server.simulator.anthropic.models import Model
    from trunkline_server.simulator.anthropic.request import Block, Message, MessagesRequest, Source

IMAGE_TYPES = ("image/jpeg", "image/png", "image/gif", "image/webp")
MAX_CACHE_MARKS = 4
_ID = re.compile(r"[a-zA-Z0-9_-]+", re.ASCII)
_WEB = ("http://", "https://")


def check_turns(request: MessagesRequest, model: Model, *, files: bool) -> None:
    """Raise RefusedError for the first thing that the service would refuse; `files`: uploaded ones may be named."""
    messages = request.messages
    if not messages:
        raise invalid("messages: at least one message is required")
    for index, message in enumerate(messages):
        _check_role(index, messages, model)
        for number, block in enumerate(message.blocks()):
            _check_block(block, message.role, f"messages.{index}.content.{number}", files=files)
    joined = [(role, list(blocks)) for role, blocks in _joined(messages)]
    if joined[0][0] != "user":
        raise invalid('messages: first message must use the "user" role')
    _check_contents(joined)
    _check_calls(joined)
    _check_marks(request)
    if joined[-1][0] == "assistant" and model.since(4, 6):
        raise invalid(
            "This model does not support assistant message prefill. The conversation must end with a user message."
        )


def _joined(messages: list[Message]) -> Iterator[tuple[str, list[Block]]]:
    """Yield the turns with neighbours of one role as one, and instructions inside the conversation left out."""
    last: tuple[str, list[Block]] | None = None
    for message in messages:
        if message.role == "system":
            continue
        if last is not None and last[0] == message.role:
            last[1].extend(message.blocks())
            continue
        if last is not None:
            yield last
        last = message.role, list(message.blocks())
    if last is not None:
        yield last


def _check_role(index: int, messages: list[Message], model: Model) -> None:
    role = messages[index].role
    if role in {"user", "assistant"}:
        return
    if role != "system":
        raise invalid(f"messages.{index}.role: Input should be 'user', 'assistant' or 'system'")
    if model.before(4, 8):
        raise invalid(f"messages.{index}.role: role 'system' is not supported on this model")
    after = messages[index + 1].role if index + 1 < len(messages) else "assistant"
    if not index or messages[index - 1].role != "user" or after != "assistant":
        raise invalid(f"messages.{index}: a system message must follow a user message and precede an assistant message")
    if not all(isinstance(block, Text) for block in messages[index].blocks()):
        raise invalid(f"messages.{index}: system messages may only contain text")


def _check_block(block: Block, role: str, path: str, *, files: bool) -> None:
    if isinstance(block, Text):
        if not block.text:
            raise invalid("messages: text content blocks must be non-empty")
        if not block.text.strip():
            raise invalid("messages: text content blocks must contain non-whitespace text")
    elif isinstance(block, (Image, Document)):
        if role != "user":
            kind = "image" if isinstance(block, Image) else "document"
            raise invalid(f"{path}: `{kind}` blocks are not permitted in `{role}` messages")
        _check_source(block, path, files=files)
    elif isinstance(block, ToolResult):
        _check_result(block, role, path, files=files)
    elif role != "assistant":
        raise invalid(f"{path}: blocks of this type are only permitted in `assistant` messages")
    else:
        _check_own(block, path)


def _check_own(block: ToolUse | Thinking | RedactedThinking, path: str) -> None:
    """Check what an answer has said."""
    if isinstance(block, ToolUse):
        if not _ID.fullmatch(block.id):
            raise invalid(f"{path}.tool_use.id: String should match pattern '^[a-zA-Z0-9_-]+$'")
    elif isinstance(block, Thinking):
        if not is_signed(block.thinking, block.signature, shown=bool(block.thinking)):
            raise invalid(f"{path}: Invalid `signature` in `thinking` block")
    elif not is_sealed(block.data):
        raise invalid(f"{path}: Invalid `data` in `redacted_thinking` block")


def _check_result(block: ToolResult, role: str, path: str, *, files: bool) -> None:
    if role != "user":
        raise invalid(f"{path}: `tool_result` blocks can only be in `user` messages")
    if isinstance(block.content, list):
        for number, inner in enumerate(block.content):
            _check_block(inner, role, f"{path}.content.{number}", files=files)


def _check_source(block: Image | Document, path: str, *, files: bool) -> None:
    source, kind = block.source, "image" if isinstance(block, Image) else "document"
    where = f"{path}.{kind}.source"
    if source.type == "base64":
        _check_base64(source, kind, f"{where}.base64")
    elif source.type == "url":
        if source.url is None or not source.url.startswith(_WEB):
            raise invalid(f"{where}.url.url: Input should be a valid URL")
    elif source.type == "file":
        if source.file_id is None or not files:
            raise invalid(f"{where}.file.file_id: {'Field required' if files else 'the Files API beta is required'}")
    elif source.type == "text" and kind == "document":
        if source.media_type != "text/plain" or not source.data:
            raise invalid(f"{where}.text: Input should be plain text")
    elif source.type != "content" or kind != "document":
        raise invalid(f"{where}: Input tag '{source.type}' found using 'type' does not match any of the expected tags")


def _check_base64(source: Source, kind: str, where: str) -> None:
    if kind == "image" and source.media_type not in IMAGE_TYPES:
        raise invalid(f"{where}.media_type: Input should be 'image/jpeg', 'image/png', 'image/gif' or 'image/webp'")
    if kind == "document" and source.media_type != "application/pdf":
        raise invalid(f"{where}.media_type: Input should be 'application/pdf'")
    try:
        b64decode(source.data or "", validate=True)
    except (binascii.Error, ValueError) as failure:
        raise invalid(f"{where}.data: Invalid base64 data") from failure
    if not source.data:
        raise invalid(f"{where}.data: Field required")


def _check_contents(turns: list[tuple[str, list[Block]]]) -> None:
    for index, (role, blocks) in enumerate(turns):
        last = index == len(turns) - 1
        if not blocks and not (last and role == "assistant"):
            raise invalid(
                f"messages.{index}: all messages must have non-empty content except for the optional final assistant "
                "message"
            )
    end = turns[-1][1][-1] if turns[-1][0] == "assistant" and turns[-1][1] else None
    if isinstance(end, Text) and end.text != end.text.rstrip():
        raise invalid("messages: final assistant content cannot end with trailing whitespace")


def _check_calls(turns: list[tuple[str, list[Block]]]) -> None:
    """Check that each call is answered in the next turn, before anything else there, and each result has its call."""
    open_ids: list[str] = []
    seen: set[str] = set()
    for index, (_, blocks) in enumerate(turns):
        results = [block for block in blocks if isinstance(block, ToolResult)]
        leading = blocks[: len(results)]
        answered = [block.tool_use_id for block in leading if isinstance(block, ToolResult)]
        missing = [each for each in open_ids if each not in answered]
        if missing:
            raise invalid(
                f"messages.{index - 1}: `tool_use` ids were found without `tool_result` blocks immediately after: "
                f"{', '.join(missing)}. Each `tool_use` block must have a corresponding `tool_result` block in the "
                "next message."
            )
        for number, block in enumerate(results):
            if block.tool_use_id not in open_ids:
                raise invalid(
                    f"messages.{index}.content.{number}: unexpected `tool_use_id` found in `tool_result` blocks: "
                    f"{block.tool_use_id}. Each `tool_result` block must have a corresponding `tool_use` block in the "
                    "previous message."
                )
        open_ids = [block.id for block in blocks if isinstance(block, ToolUse)]
        if len({*open_ids}) < len(open_ids) or seen & {*open_ids}:
            raise invalid(f"messages.{index}: `tool_use` ids must be unique")
        seen.update(open_ids)
    if open_ids:
        raise invalid(
            f"messages.{len(turns) - 1}: `tool_use` ids were found without `tool_result` blocks immediately after: "
            f"{', '.join(open_ids)}. Each `tool_use` block must have a corresponding `tool_result` block in the next "
            "message."
        )


def _check_marks(request: MessagesRequest) -> None:
    blocks: list[Block] = [] if request.system is None or isinstance(request.system, str) else [*request.system]
    for message in request.messages:
        blocks += message.blocks()
    marks = sum(getattr(block, "cache_control", None) is not None for block in blocks)
    marks += sum("cache_control" in tool for tool in request.tools or ())
    if marks > MAX_CACHE_MARKS:
        raise invalid(f"A maximum of {MAX_CACHE_MARKS} blocks with cache_control may be provided. Found {marks}.")
