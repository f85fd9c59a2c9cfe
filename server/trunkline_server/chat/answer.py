"""What comes back: deltas while a model speaks, the whole answer in the end, and what it used."""

from __future__ import annotations

from dataclasses import dataclass

from trunkline_server.chat.message import Message
from trunkline_server.routing.record import Word, record


class FinishReason(Word):
    """Why a model stopped, in the contract's words."""

    STOP = "STOP"
    LENGTH = "LENGTH"
    TOOL_CALLS = "TOOL_CALLS"
    CONTENT_FILTER = "CONTENT_FILTER"
    REFUSAL = "REFUSAL"
    CONTEXT_LIMIT = "CONTEXT_LIMIT"
    BROKEN = "BROKEN"
    """The stream broke; never a model's own reason."""
    OTHER = "OTHER"


class UsageSource(Word):
    """Whether the provider counted, or we guessed."""

    PROVIDER = "PROVIDER"
    ESTIMATED = "ESTIMATED"


@record
class Usage:
    """Tokens of one attempt or of a whole call. None is unknown, which is not zero."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_input_tokens: int | None = None
    cache_write_tokens: int | None = None
    reasoning_tokens: int | None = None
    source: UsageSource | None = None
    cost_nanousd: int | None = None


@record
class TokenAlternative:
    """A token that the model might have said instead."""

    token: str
    logprob: float
    bytes: bytes | None = None


@record
class TokenLogprob:
    """One token of the answer with its log-probability (natural logarithm)."""

    token: str
    logprob: float
    bytes: bytes | None = None
    top: tuple[TokenAlternative, ...] = ()


@dataclass(slots=True)
class TextDelta:
    """More text of part `part`."""

    part: int
    text: str
    logprobs: tuple[TokenLogprob, ...] = ()


@dataclass(slots=True)
class ThinkingDelta:
    """More shown reasoning of part `part`."""

    part: int
    text: str


@dataclass(slots=True)
class ThinkingSignatureDelta:
    """The provider's seal over the reasoning of part `part`; comes whole."""

    part: int
    signature: str
    redacted: bool = False
    """The provider withholds the words: `signature` is their sealed form."""


@dataclass(slots=True)
class RefusalDelta:
    """More words of refusal of part `part`."""

    part: int
    text: str
    logprobs: tuple[TokenLogprob, ...] = ()


@dataclass(slots=True)
class ToolCallDelta:
    """More of one tool call.

    `id` and `name` come with its first piece and are empty afterwards. `done` is set on the piece after which
    the arguments are complete: the provider closed the call, started the next one, or gave its finish reason,
    and the arguments parse as JSON. A call that never gets it stays open.
    """

    part: int
    id: str = ""
    name: str = ""
    arguments_json_delta: str = ""
    done: bool = False


Delta = TextDelta | ThinkingDelta | ThinkingSignatureDelta | RefusalDelta | ToolCallDelta


@record
class Finished:
    """The model's own end of an answer: its terminal event came."""

    reason: FinishReason
    native_reason: str
    """The provider's word for it."""


@record
class Answer:
    """One whole answer of one attempt."""

    message: Message
    finished: Finished
    usage: Usage | None = None
    logprobs: tuple[TokenLogprob, ...] = ()
    warnings: tuple[Warning_, ...] = ()


@record
class Warning_:  # noqa: N801  the builtin's name is taken, and `Warning` is the contract's word
    """Something was done otherwise than asked, and the answer still stands."""

    code: str
    field: str
    message: str
