"""What the service checks of a conversation beyond its types, in its own words."""

from __future__ import annotations

import binascii
import re
from base64 import b64decode
from typing import TYPE_CHECKING

from trunkline_server.simulator.anthropic.seals import is_sealed, is_signed
from trunkline_server.simulator.bedrock.errors import invalid

if TYPE_CHECKING:
    from trunkline_server.simulator.bedrock.request import (
        Block,
        ConverseRequest,
        Document,
        Media,
        Message,
        Reasoning,
        Source,
        ToolResult,
    )

FORMATS = {
    "image": ("png", "jpeg", "gif", "webp"),
    "video": ("mkv", "mov", "mp4", "webm", "flv", "mpeg", "mpg", "wmv", "three_gp"),
    "audio": (
        "mp3", "opus", "wav", "aac", "flac", "mp4", "ogg", "mkv", "mka", "x-aac", "m4a", "mpeg", "mpga", "pcm", "webm",
    ),
    "document": ("pdf", "csv", "doc", "docx", "xls", "xlsx", "html", "txt", "md"),
}  # fmt: skip
MAX_CACHE_POINTS = 4
_SAID_BY = {
    "tool_use": "assistant",
    "reasoning_content": "assistant",
    **dict.fromkeys(("image", "document", "video", "audio", "tool_result"), "user"),
}
"""Blocks that only one side has."""
_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}", re.ASCII)
_DOCUMENT_NAME = re.compile(r"[a-zA-Z0-9\-()\[\]]+(?: [a-zA-Z0-9\-()\[\]]+)*", re.ASCII)
_SIGNING = "anthropic."
"""Models whose reasoning comes back signed or not at all; others take none, but for Nova 2."""
_THINKING = ("anthropic.", "amazon.nova-2")


def check_turns(request: ConverseRequest, model: str) -> None:
    """Raise RefusedError for the first thing that the service would refuse."""
    messages = request.messages
    if not messages:
        raise invalid("A conversation must start with a user message. Try again with a conversation that starts so.")
    for index, message in enumerate(messages):
        _check_message(message, f"messages.{index}", model)
    if messages[0].role != "user":
        raise invalid("A conversation must start with a user message. Try again with a conversation that starts so.")
    for index in range(1, len(messages)):
        if messages[index].role == messages[index - 1].role:
            raise invalid(
                "A conversation must alternate between user and assistant roles. Make sure the conversation alternates "
                "between user and assistant roles and try again."
            )
    last = messages[-1].content[-1]
    if messages[-1].role == "assistant" and last.text is not None and last.text != last.text.rstrip():
        raise invalid("messages: final assistant content cannot end with trailing whitespace")
    _check_calls(messages)
    _check_tools_present(request)
    _check_documents(messages)
    _check_cache_points(request)


def _check_message(message: Message, path: str, model: str) -> None:
    if message.role == "system":
        raise invalid(f"The value at {path}.role is not supported by this model.")
    if not message.content:
        raise invalid(f"The content field in the Message object at {path} is empty. Add a ContentBlock and try again.")
    for number, block in enumerate(message.content):
        _check_block(block, message.role, f"{path}.content.{number}", model)


def _check_block(block: Block, role: str, path: str, model: str) -> None:
    kinds = block.kinds()
    if len(kinds) != 1:
        raise invalid(f"The ContentBlock object at {path} must set one of the following keys: text, image, toolUse, …")
    kind = kinds[0]
    if block.text is not None and not block.text.strip():
        raise invalid(
            f"The text field in the ContentBlock object at {path} is blank. Add text to the text field, and try again."
        )
    said_by = _SAID_BY.get(kind, role)
    if said_by != role:
        raise invalid(f"The ContentBlock object at {path} is not allowed in a message of role {role}.")
    if block.reasoning_content is not None:
        _check_reasoning(block.reasoning_content, path, model)
    else:
        _check_inside(block, path)


def _check_inside(block: Block, path: str) -> None:
    for name in ("image", "video", "audio"):
        if (media := getattr(block, name)) is not None:
            _check_media(name, media, f"{path}.{name}")
    if block.document is not None:
        _check_document(block.document, f"{path}.document")
    if block.tool_use is not None:
        _check_id(block.tool_use.tool_use_id, f"{path}.toolUse.toolUseId")
        _check_id(block.tool_use.name, f"{path}.toolUse.name")
    if block.tool_result is not None:
        _check_result(block.tool_result, f"{path}.toolResult")


def _check_id(value: str, path: str) -> None:
    if not _ID.fullmatch(value):
        raise invalid(
            f"1 validation error detected: Value '{value}' at '{path}' failed to satisfy constraint: Member must "
            "satisfy regular expression pattern: [a-zA-Z0-9_-]+"
        )


def _check_result(result: ToolResult, path: str) -> None:
    _check_id(result.tool_use_id, f"{path}.toolUseId")
    for number, block in enumerate(result.content):
        where = f"{path}.content.{number}"
        if block.text is not None and not block.text.strip():
            raise invalid(f"The text field in the ToolResultContentBlock object at {where} is blank.")
        if block.image is not None:
            _check_media("image", block.image, f"{where}.image")
        if block.video is not None:
            _check_media("video", block.video, f"{where}.video")
        if block.document is not None:
            _check_document(block.document, f"{where}.document")


def _check_media(kind: str, media: Media, path: str) -> None:
    if media.format not in FORMATS[kind]:
        raise invalid(f"Value '{media.format}' at '{path}.format' failed to satisfy constraint: one of {FORMATS[kind]}")
    _check_source(media.source, path)


def _check_document(document: Document, path: str) -> None:
    if document.format is not None and document.format not in FORMATS["document"]:
        raise invalid(f"Value '{document.format}' at '{path}.format' failed to satisfy constraint: a document's format")
    if not _DOCUMENT_NAME.fullmatch(document.name):
        raise invalid(
            f"The document file name at {path} can only contain alphanumeric characters, whitespace characters, "
            "hyphens, parentheses, and square brackets. The name can't contain more than one consecutive whitespace."
        )
    _check_source(document.source, path)


def _check_source(source: Source, path: str) -> None:
    if source.s3_location is not None:
        if not source.s3_location.uri.startswith("s3://"):
            raise invalid(f"The S3 URI at {path} is invalid.")
        return
    try:
        data = b64decode(source.bytes or "", validate=True)
    except (binascii.Error, ValueError) as failure:
        raise invalid(f"The value at {path}.source.bytes is no base64.") from failure
    if not data and source.text is None and source.content is None:
        raise invalid(f"The value at {path}.source.bytes is empty.")


def _check_reasoning(reasoning: Reasoning, path: str, model: str) -> None:
    if not any(name in model for name in _THINKING):
        raise invalid(
            "This model doesn't support the reasoningContent field that you provided. Remove it and try again."
        )
    if _SIGNING not in model:
        return
    shown = reasoning.reasoning_text
    if shown is not None:
        if shown.signature is None or not is_signed(shown.text, shown.signature, shown=bool(shown.text)):
            raise invalid(f"The model returned the following errors: {path}: Invalid `signature` in `thinking` block")
    elif not is_sealed(reasoning.redacted_content or ""):
        raise invalid(f"The model returned the following errors: {path}: Invalid `data` in `redacted_thinking` block")


def _check_calls(messages: list[Message]) -> None:
    """Check that each call is answered in the next turn, before anything else there, and each result has its call."""
    open_ids: list[str] = []
    seen: set[str] = set()
    for index, message in enumerate(messages):
        results = [block.tool_result for block in message.content if block.tool_result is not None]
        leading = [block.tool_result for block in message.content[: len(results)] if block.tool_result is not None]
        answered = [result.tool_use_id for result in leading]
        if missing := [each for each in open_ids if each not in answered]:
            raise invalid(
                f"Expected toolResult blocks at messages.{index}.content for the following Ids: {', '.join(missing)}"
            )
        if len(answered) != len(open_ids) or len(results) != len(leading):
            raise invalid(
                f"The number of toolResult blocks at messages.{index}.content exceeds the number of toolUse blocks of "
                "previous turn."
            )
        uses = [block.tool_use.tool_use_id for block in message.content if block.tool_use is not None]
        if len({*uses}) < len(uses) or seen & {*uses}:
            raise invalid(f"The toolUse blocks at messages.{index}.content contain duplicate Ids.")
        seen.update(uses)
        open_ids = uses
    if open_ids:
        raise invalid(
            f"Expected toolResult blocks at messages.{len(messages)}.content for the following Ids: "
            f"{', '.join(open_ids)}"
        )


def _check_tools_present(request: ConverseRequest) -> None:
    used = any(
        block.tool_use is not None or block.tool_result is not None
        for message in request.messages
        for block in message.content
    )
    if used and request.tool_config is None:
        raise invalid("The toolConfig field must be defined when using toolUse and toolResult content blocks.")


def _check_documents(messages: list[Message]) -> None:
    names: list[str] = []
    for index, message in enumerate(messages):
        own = [block.document.name for block in message.content if block.document is not None]
        if own and not any(block.text is not None for block in message.content):
            raise invalid(f"messages.{index}: a document block needs a text block beside it. Add one and try again.")
        names += own
        for block in message.content:
            if block.tool_result is not None:
                names += [inner.document.name for inner in block.tool_result.content if inner.document is not None]
    if len({*names}) < len(names):
        raise invalid("The names of documents must be unique. Rename them and try again.")


def _check_cache_points(request: ConverseRequest) -> None:
    points = sum(block.cache_point is not None for message in request.messages for block in message.content)
    points += sum(block.cache_point is not None for block in request.system or ())
    if request.tool_config is not None:
        points += sum(tool.cache_point is not None for tool in request.tool_config.tools)
    if points > MAX_CACHE_POINTS:
        raise invalid(
            f"The model returned the following errors: at most {MAX_CACHE_POINTS} cache points, got {points}."
        )
