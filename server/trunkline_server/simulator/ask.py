"""What a request asks for, whatever its dialect: enough to make up an answer, to count tokens and to choose a fault."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

IMAGE_TOKENS = 85


class Turn(msgspec.Struct, frozen=True):
    """One message of the conversation.

    `role` is `system`, `user`, `assistant` or `tool` (a message of tool results alone, whatever its vendor calls it);
    the answer echoes the last `user`, and goes on from an `assistant` at the end where it is told to.
    """

    role: str
    text: str
    """All its text."""
    images: int = 0


class Tool(msgspec.Struct, frozen=True):
    """A tool on offer; without a name it is one that is never called (a tool of the vendor's own)."""

    name: str | None
    parameters: dict[str, Any] | None = None
    """JSON schema of its arguments."""


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """A request that a dialect has read and checked."""

    model: str
    stream: bool = False
    turns: Sequence[Turn] = ()
    tools: Sequence[Tool] = ()
    must_call: bool = False
    """At least one call is wanted (`required`, `any`)."""
    may_call: bool = True
    """Calls are not forbidden (`none`)."""
    only_tool: str | None = None
    """The tool that must be called, by name."""
    parallel_calls: bool = True
    calls_end_with: str = "tool_calls"
    """The finish reason of an answer with calls, in the words of `Answer.finish_reason`."""
    call_ids: str = "call_sim"
    """What the ids of calls begin with; `NUMBER_INDEX` follows."""
    most_tokens: int | None = None
    stops: Sequence[str] = ()
    wants_json: bool = False
    """The text must be JSON: of `schema`, or any object."""
    schema: dict[str, Any] | None = None
    silent: bool = False
    """Nothing is said: embeddings, whose job makes its body of the request alone."""

    def prompt_tokens(self) -> int:
        """Estimate the prompt: a token for four characters, four a message, 85 an image, 16 and its schema a tool."""
        total = 3
        for turn in self.turns:
            total += 4 + -(-len(turn.text) // 4) + IMAGE_TOKENS * turn.images
        for tool in self.tools:
            total += 16 + (len(str(tool.parameters)) // 4 if tool.name is not None else 0)
        return total
