"""What a stream's reader tells as it comes, beside the whole answer at the end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from trunkline.v1 import (
    AttemptFailed,
    AttemptStarted,
    Draining,
    Heartbeat,
    Started,
    TokenLogprob,
    ToolCallPart,
    UsageProgress,
)


@dataclass(frozen=True, slots=True)
class TextPiece:
    """More text of the answer."""

    part: int
    """The number of the message's part that it adds to, from 0."""

    text: str
    """What is added."""

    logprobs: tuple[TokenLogprob, ...] = ()
    """Log-probabilities of its tokens, if they were asked for."""


@dataclass(frozen=True, slots=True)
class ThinkingPiece:
    """More words of reasoning."""

    part: int
    """The number of the message's part that it adds to, from 0."""

    text: str
    """What is added."""


@dataclass(frozen=True, slots=True)
class RefusalPiece:
    """More of the model's words for declining to answer."""

    part: int
    """The number of the message's part that it adds to, from 0."""

    text: str
    """What is added."""

    logprobs: tuple[TokenLogprob, ...] = ()
    """Log-probabilities of its tokens, if they were asked for."""


@dataclass(frozen=True, slots=True)
class ToolCallPiece:
    """More of a tool call that is not whole yet: to be shown, never to be run."""

    part: int
    """The number of the message's part that it adds to, from 0."""

    id: str
    """The call's id, with every piece."""

    name: str
    """The function's name, with every piece."""

    arguments_json_delta: str
    """What is added to the arguments' text."""


@dataclass(frozen=True, slots=True)
class ToolCallDone:
    """A tool call is whole and its arguments are valid JSON: from now on it may be run."""

    part: int
    """The number of the message's part, from 0."""

    call: ToolCallPart
    """The whole call."""


@dataclass(frozen=True, slots=True)
class Retracted:
    """Content that was told is taken back: whoever showed it shows `text` in its place."""

    keep_through_seq: int
    """Content of frames after this one does not count any more. 0: nothing counts."""

    text: str
    """The answer's text that still stands."""


@dataclass(frozen=True, slots=True)
class AttemptBegan:
    """Content of an attempt follows."""

    attempt: int
    """Its number, from 1."""

    started: AttemptStarted
    """Where it went and why; `continuation` is set if it goes on from where a broken one ended."""


@dataclass(frozen=True, slots=True)
class AttemptBroke:
    """An attempt broke after content had come. What happens next stands in `failed.next`."""

    attempt: int
    """Its number, from 1."""

    failed: AttemptFailed
    """How it broke, and what it had delivered."""


StreamEvent: TypeAlias = (
    TextPiece
    | ThinkingPiece
    | RefusalPiece
    | ToolCallPiece
    | ToolCallDone
    | Retracted
    | AttemptBegan
    | AttemptBroke
    | Started
    | UsageProgress
    | Heartbeat
    | Draining
)
"""What iterating over a stream gives. More kinds may be added: a `match` needs a default that ignores them."""
