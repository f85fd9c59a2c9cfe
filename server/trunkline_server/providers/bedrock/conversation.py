"""The conversation as Converse has it: `system` apart, and turns of user and assistant in strict alternation.

Neighbouring messages of one side become one turn. Results of tools are blocks of the user's turn and come first in it,
because models want them right behind the turn that asked for them. Blank texts, which the service refuses, are left
out: nothing is said by them.
"""

from __future__ import annotations

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
from trunkline_server.providers.bedrock.families import Family
from trunkline_server.providers.bedrock.media import MediaBlocks
from trunkline_server.providers.bedrock.tool_turns import ToolTurns
from trunkline_server.providers.bedrock.words import unsupported
from trunkline_server.providers.unsupported import adjusted

Block = dict[str, Any]

CACHE_POINT: Final[Block] = {"cachePoint": {"type": "default"}}
MAX_CACHE_POINTS: Final = 4
"""The service takes no more; the last ones hold the longest beginnings."""

DOCUMENT_TEXT: Final = "(document attached)"
"""Stands beside documents in a turn without any text, which the service refuses."""

_SYSTEM: Final = frozenset({Role.SYSTEM, Role.DEVELOPER})


class Turn:
    """One turn in the making: results of tools, and everything else behind them."""

    __slots__ = ("others", "results", "role")

    def __init__(self, role: str) -> None:
        self.role = role
        self.results: list[Block] = []
        self.others: list[Block] = []

    def wire(self) -> Block:
        """Return the turn as the body has it."""
        return {"role": self.role, "content": self.results + self.others}


class ConversationWriter:
    """Writes one conversation; what had to be left out is added to `warnings`.

    `tools_on_offer`: the call has tools. Without them the service refuses calls and results, so these become words.
    """

    __slots__ = ("_family", "_media", "_provider", "_system", "_tools", "_turns", "_warnings")

    def __init__(self, provider: str, family: Family, warnings: list[Warning_], *, tools_on_offer: bool) -> None:
        self._provider = provider
        self._family = family
        self._warnings = warnings
        self._system: list[Block] = []
        self._turns: list[Turn] = []
        # An object of its own: a method handed to the tools' writer would tie both into a circle, left after each call.
        self._media = MediaBlocks()
        self._tools = ToolTurns(family, self._media, warnings, as_words=not tools_on_offer)

    def write(self, messages: tuple[Message, ...]) -> tuple[list[Block], list[Block]]:
        """Return the blocks of `system` and the turns of `messages`."""
        marked = [number for number, message in enumerate(messages) if message.cache_breakpoint]
        cached = frozenset(marked[-MAX_CACHE_POINTS:]) if self._family.caches else frozenset()
        for number, message in enumerate(messages):
            path = f"messages[{number}]"
            if message.name is not None:
                self._warnings.append(unsupported(f"{path}.name"))
            if message.role in _SYSTEM:
                self._say_first(message, path)
            else:
                self._say(message, path)
            if number in cached:
                self._mark(message)
        self._turns = _joined(self._turns)
        for turn in self._turns:
            _with_text(turn)
        self._end_without_blanks()
        return self._system, [turn.wire() for turn in self._turns]

    @property
    def prefilled(self) -> bool:
        """Whether what was written ends with the assistant's own words, to be gone on from."""
        return bool(self._turns) and self._turns[-1].role == "assistant"

    @property
    def unthought_round(self) -> bool:
        """Whether it ends with results of calls that were made without reasoning that can go back."""
        if len(self._turns) < 2 or not self._turns[-1].results:  # noqa: PLR2004 - a call and its result
            return False
        return "reasoningContent" not in self._turns[-2].others[0]

    def _say_first(self, message: Message, path: str) -> None:
        """Write a message of the system or the developer; all of them stand before the conversation."""
        if self._turns:
            told = "moved to the front: Converse takes what the system says before the conversation only"
            self._warnings.append(adjusted(path, told))
        for number, part in enumerate(message.parts):
            if isinstance(part, TextPart):
                if part.text.strip():
                    self._system.append({"text": part.text})
            elif not isinstance(part, ThinkingPart):
                self._leave_out(part, f"{path}.parts[{number}]", message.role)

    def _say(self, message: Message, path: str) -> None:
        role = "assistant" if message.role is Role.ASSISTANT else "user"
        if self._turns and not (self._turns[-1].results or self._turns[-1].others):
            # Nothing of it can be said, such as another vendor's thinking alone: its neighbours meet.
            self._turns.pop()
        if not self._turns or self._turns[-1].role != role:
            self._turns.append(Turn(role))
        turn = self._turns[-1]
        for number, part in enumerate(message.parts):
            where = f"{path}.parts[{number}]"
            if isinstance(part, ToolResultPart) and message.role is not Role.ASSISTANT:
                turn.results.extend(self._tools.result(part, where))
            elif isinstance(part, ThinkingPart):
                if message.role is Role.ASSISTANT:
                    self._think(part, turn)
            elif message.role is Role.TOOL or (block := self._block(part, message.role, where)) is None:
                self._leave_out(part, where, message.role)
            elif block:
                turn.others.append(block)

    def _block(self, part: Part, role: Role, path: str) -> Block | None:
        """Return the block of what a user or an assistant said; empty for a blank text, None if it has none."""
        if isinstance(part, MediaPart):
            return self._media(part) if role is Role.USER else None
        if isinstance(part, TextPart) or (isinstance(part, RefusalPart) and role is Role.ASSISTANT):
            return {"text": part.text} if part.text.strip() else {}
        if isinstance(part, ToolCallPart) and role is Role.ASSISTANT:
            return self._tools.call(part, path)
        return None

    def _think(self, part: ThinkingPart, turn: Turn) -> None:
        """Write reasoning that this provider showed, if its models take theirs back; no other could use it."""
        family = self._family
        if part.provider != self._provider or not family.takes_thinking:
            return
        if part.redacted:
            if part.signature:
                turn.others.append({"reasoningContent": {"redactedContent": part.signature}})
        elif part.signature:
            text = {"text": part.text, "signature": part.signature}
            turn.others.append({"reasoningContent": {"reasoningText": text}})
        elif part.text and not family.signed_thinking:
            turn.others.append({"reasoningContent": {"reasoningText": {"text": part.text}}})

    def _mark(self, message: Message) -> None:
        """Mark the conversation up to here as worth caching."""
        if message.role in _SYSTEM:
            blocks, before = self._system, self._system
        else:
            blocks, before = self._turns[-1].others, self._turns[-1].wire()["content"]
        if before and before[-1] is not CACHE_POINT and "reasoningContent" not in before[-1]:
            blocks.append(CACHE_POINT)

    def _end_without_blanks(self) -> None:
        """Take white space off the text that is to be gone on from: models refuse it."""
        if not self.prefilled:
            return
        last = self._turns[-1].others[-1]
        if "text" in last and last["text"] != (text := last["text"].rstrip()):
            last["text"] = text
            self._warnings.append(adjusted("messages", "sent without the white space at its end, which models refuse"))

    def _leave_out(self, part: Part, path: str, role: Role) -> None:
        self._warnings.append(unsupported(path, _what(part, role)))


def _joined(turns: list[Turn]) -> list[Turn]:
    """Return the turns that have something in them; those that an empty one stood between are one."""
    joined: list[Turn] = []
    for turn in turns:
        if not turn.results and not turn.others:
            continue
        if joined and joined[-1].role == turn.role:
            joined[-1].results += turn.results
            joined[-1].others += turn.others
        else:
            joined.append(turn)
    return joined


def _with_text(turn: Turn) -> None:
    """Give a turn with documents a text, if it has none."""
    if any("document" in block for block in turn.others) and not any("text" in block for block in turn.others):
        turn.others.insert(0, {"text": DOCUMENT_TEXT})


def _what(part: Part, role: Role) -> str:
    if isinstance(part, MediaPart):
        source = "an uploaded file" if part.file_id is not None else "uri" if part.uri is not None else "data"
        kind = f"media of type {part.mime_type or '(none)'} given as {source}"
    else:
        kind = {ToolCallPart: "a tool call", RefusalPart: "a refusal", TextPart: "text"}.get(type(part), "this part")
    return kind if role is Role.USER else f"{kind} in a message of role {role.value}"
