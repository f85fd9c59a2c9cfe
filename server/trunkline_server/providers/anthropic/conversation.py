"""The conversation as instructions and turns that alternate.

The vendor has instructions in front of the conversation; its latest models take them inside it too, behind a user's
turn that the assistant answers. Neighbours of one role are one turn, in which results of tools come first.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from trunkline_server.chat.answer import Warning_
from trunkline_server.chat.message import Message, Role, TextPart
from trunkline_server.providers.anthropic.blocks import (
    Block,
    assistant_blocks,
    instruction_blocks,
    text_block,
    user_blocks,
)
from trunkline_server.providers.anthropic.models import Traits
from trunkline_server.providers.anthropic.words import left_out
from trunkline_server.providers.unsupported import adjusted

MAX_CACHE_MARKS: Final = 4
"""The vendor takes no more in one request."""

_CACHE_CONTROL: Final = {"type": "ephemeral"}
_UNMARKED: Final = frozenset({"thinking", "redacted_thinking"})
"""Blocks that take no mark."""
_THINKING: Final = frozenset({"thinking", "redacted_thinking"})
_ROLES: Final = {
    Role.SYSTEM: "system",
    Role.DEVELOPER: "system",
    Role.USER: "user",
    Role.TOOL: "user",
    Role.ASSISTANT: "assistant",
}


@dataclass(slots=True)
class Turn:
    """What one side says."""

    role: str
    blocks: list[Block]
    path: str = ""
    """Of the first message in it."""

    def wire(self) -> dict[str, Any]:
        """Return the message of the body; a single text without a mark as a string."""
        return {"role": self.role, "content": _content(self.blocks)}


@dataclass(slots=True)
class Conversation:
    """A conversation in the vendor's order."""

    system: list[Block] = field(default_factory=list)
    turns: list[Turn] = field(default_factory=list)

    @property
    def wire_system(self) -> str | list[Block]:
        """The instructions as the body has them; empty: there are none."""
        return _content(self.system) if self.system else ""

    @property
    def prefilled(self) -> bool:
        """Whether it ends with the assistant's own words, to be gone on from."""
        return bool(self.turns) and self.turns[-1].role == "assistant"

    @property
    def unthought_round(self) -> bool:
        """Whether it ends with results of calls that were made without reasoning that can go back."""
        if len(self.turns) < 2 or self.turns[-1].blocks[0]["type"] != "tool_result":  # noqa: PLR2004 - a call and its result
            return False
        return self.turns[-2].blocks[0]["type"] not in _THINKING


def conversation_of(
    messages: tuple[Message, ...], provider: str, traits: Traits, warnings: list[Warning_]
) -> Conversation:
    """Return the conversation for a model with these traits; what had to be left out or moved is in `warnings`."""
    if len(messages) == 1 and (simple := _simple(messages[0])) is not None:
        return simple
    said: list[Turn] = []
    marks: list[tuple[str, Block]] = []
    for number, message in enumerate(messages):
        path = f"messages[{number}]"
        turn = Turn(_ROLES[message.role], _blocks(message, path, provider, warnings), path)
        if message.name is not None:
            warnings.append(left_out(f"{path}.name"))
        if message.cache_breakpoint and (last := _last_markable(turn.blocks)) is not None:
            marks.append((path, last))
        if turn.blocks:
            said.append(turn)
    _mark(marks, warnings)
    conversation = _in_order(said, traits, warnings)
    _end_without_blanks(conversation, warnings)
    return conversation


def _simple(message: Message) -> Conversation | None:
    """Return the conversation of a single text of the user's: what most requests are."""
    if message.role is not Role.USER or message.name is not None or message.cache_breakpoint:
        return None
    if len(message.parts) != 1 or type(message.parts[0]) is not TextPart or not message.parts[0].text:
        return None
    return Conversation(turns=[Turn("user", [text_block(message.parts[0].text)])])


def _blocks(message: Message, path: str, provider: str, warnings: list[Warning_]) -> list[Block]:
    if message.role is Role.ASSISTANT:
        return assistant_blocks(message, path, provider, warnings)
    if message.role is Role.USER or message.role is Role.TOOL:
        return user_blocks(message, path, warnings)
    return instruction_blocks(message, path, warnings)


def _last_markable(blocks: list[Block]) -> Block | None:
    return next((block for block in reversed(blocks) if block["type"] not in _UNMARKED), None)


def _mark(marks: list[tuple[str, Block]], warnings: list[Warning_]) -> None:
    for path, _ in marks[:-MAX_CACHE_MARKS]:
        what = f"a mark in front of the last {MAX_CACHE_MARKS} of what to keep in the cache"
        warnings.append(left_out(f"{path}.cache_breakpoint", what))
    for _, block in marks[-MAX_CACHE_MARKS:]:
        block["cache_control"] = _CACHE_CONTROL


def _in_order(said: list[Turn], traits: Traits, warnings: list[Warning_]) -> Conversation:
    """Return the turns with neighbours of one role joined, and instructions where this model takes them."""
    conversation = Conversation()
    turns = conversation.turns
    for number, turn in enumerate(said):
        if turn.role == "system":
            if not turns:
                conversation.system += turn.blocks
                continue
            if not traits.system_turns or not _may_stand(turns[-1], said, number):
                told = "moved in front of the conversation, where this model takes instructions"
                warnings.append(adjusted(turn.path, told))
                conversation.system += turn.blocks
                continue
        if turns and turns[-1].role == turn.role:
            _join(turns[-1], turn)
        else:
            turns.append(turn)
    return conversation


def _may_stand(before: Turn, said: list[Turn], number: int) -> bool:
    """Return whether instructions may stand behind `before`: a user's turn, which the assistant answers next."""
    following = next((turn.role for turn in said[number + 1 :] if turn.role != "system"), "assistant")
    return before.role != "assistant" and following == "assistant"


def _join(first: Turn, second: Turn) -> None:
    first.blocks += second.blocks
    if second.blocks[0]["type"] == "tool_result":
        first.blocks.sort(key=_behind_results)


def _behind_results(block: Block) -> bool:
    return bool(block["type"] != "tool_result")


def _end_without_blanks(conversation: Conversation, warnings: list[Warning_]) -> None:
    """Take white space off the text that is to be gone on from: the vendor refuses it."""
    if not conversation.prefilled:
        return
    last = conversation.turns[-1].blocks[-1]
    if last["type"] == "text" and last["text"] != (text := last["text"].rstrip()):
        last["text"] = text
        warnings.append(adjusted("messages", "sent without the white space at its end, which this provider refuses"))


def _content(blocks: list[Block]) -> str | list[Block]:
    if len(blocks) == 1 and len(blocks[0]) == 2 and blocks[0]["type"] == "text":  # noqa: PLR2004 - type and text
        text = blocks[0]["text"]
        return str(text)
    return blocks
