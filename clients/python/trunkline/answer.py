"""The answer that a stream adds up to, or as much of it as came."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from trunkline.v1 import End

if TYPE_CHECKING:
    from trunkline.events import AttemptBroke
    from trunkline.v1 import (
        AttemptSummary,
        Continuation,
        FinishReason,
        Message,
        RouteInfo,
        TokenLogprob,
        ToolCallPart,
        Usage,
        Warning,  # noqa: A004  the contract's own name
    )


@dataclass(frozen=True, slots=True)
class Seam:
    """Where one attempt's text ends and another goes on."""

    attempt: int
    """The attempt that goes on, from 1."""

    text_at: int
    """Where in `Answer.text` it begins, in characters."""

    continuation: Continuation
    """How the next target was brought to go on, and how many repeated bytes were cut."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a stream added up to, without what was taken back by resets.

    As the `partial` of an error it is what came so far. Only what the reader itself returns is a whole answer.
    """

    request_id: str
    """The request's id. Empty: no frame came."""

    stream_id: str
    """Names the stream for ResumeStream. Empty: it cannot be resumed."""

    message: Message
    """The answer as a message that can be sent back as history. Tool calls that are not whole are left out."""

    tool_calls: tuple[ToolCallPart, ...]
    """Tool calls that are whole, in order: these may be run."""

    open_tool_calls: tuple[ToolCallPart, ...]
    """Tool calls whose arguments broke off or are no JSON. They must not be run."""

    outcome: End.Outcome.ValueType
    """COMPLETE, INCOMPLETE (the model was stopped by a limit, a filter, or itself), or FAILED for a partial answer
    whose stream said so. OUTCOME_UNSPECIFIED: a partial answer of which nothing more is known."""

    finish_reason: FinishReason.ValueType
    """Why the answer ended."""

    native_finish_reason: str
    """The same in the provider's own word. Empty: none was given."""

    usage: Usage | None
    """What the attempt that finished used. None: not known."""

    route: RouteInfo
    """How the request was routed, as far as it was told."""

    attempts: tuple[AttemptSummary, ...]
    """The upstream calls that were made, in order. Empty while the stream has not ended."""

    breaks: tuple[AttemptBroke, ...]
    """The attempts that broke after content had come, in order."""

    seams: tuple[Seam, ...]
    """Where one attempt goes on from another, in order."""

    warnings: tuple[Warning, ...]
    """What was changed or left out without making the request fail."""

    logprobs: tuple[TokenLogprob, ...]
    """Log-probabilities of the answer's tokens, if they were asked for."""

    last_seq: int
    """The number of the last frame that was taken. 0: none came."""

    @property
    def complete(self) -> bool:
        """Whether the model said all that it wanted to say: the outcome is COMPLETE."""
        return self.outcome == End.OUTCOME_COMPLETE

    @property
    def text(self) -> str:
        """The text of all text parts."""
        return "".join(part.text for part in self.message.parts)

    @property
    def thinking(self) -> str:
        """The words of reasoning of all parts."""
        return "".join(part.thinking.text for part in self.message.parts)

    @property
    def refusal(self) -> str:
        """The model's words for declining to answer. Empty: it did not."""
        return "".join(part.refusal for part in self.message.parts)
