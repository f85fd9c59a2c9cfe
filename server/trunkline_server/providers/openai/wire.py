"""The JSON that comes back from a chat-completions endpoint, as types: decoding it is validating it.

Only fields that are read stand here; everything else in a body is skipped without being built. Fields that
compatible servers fill in shapes of their own are typed `Any` and looked at where they are used, so that an
oddity beside the answer does not cost the answer. `gc=False`: these records live for one decode and hold no cycles.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec


class TokenDetails(msgspec.Struct, gc=False):
    """A breakdown of a token count; a whole number may be written as 12.0."""

    cached_tokens: int | float | None = None
    cache_write_tokens: int | float | None = None
    reasoning_tokens: int | float | None = None


class UsageWire(msgspec.Struct, gc=False):
    """Tokens, as the provider counted them."""

    prompt_tokens: int | float | None = None
    completion_tokens: int | float | None = None
    total_tokens: int | float | None = None
    prompt_cache_hit_tokens: int | float | None = None
    prompt_tokens_details: TokenDetails | None = None
    completion_tokens_details: TokenDetails | None = None


class AlternativeWire(msgspec.Struct, gc=False):
    """One of the tokens that might have been said."""

    token: str
    logprob: float
    bytes: list[int] | None = None


class TokenWire(msgspec.Struct, gc=False):
    """One said token."""

    token: str
    logprob: float
    bytes: list[int] | None = None
    top_logprobs: list[AlternativeWire] | None = None


class LogprobsWire(msgspec.Struct, gc=False):
    """Log-probabilities of the text and of the refusal."""

    content: list[TokenWire] | None = None
    refusal: list[TokenWire] | None = None


class FunctionWire(msgspec.Struct, gc=False):
    """Name and arguments of a call, or pieces of them. Some servers send the arguments as an object."""

    name: str | None = None
    arguments: str | dict[str, Any] | None = None


class ToolCallWire(msgspec.Struct, gc=False):
    """One tool call, or a piece of it."""

    index: int | None = None
    id: str | None = None
    function: FunctionWire | None = None


class ContentItem(msgspec.Struct, gc=False):
    """One item of a content list, which some servers send in place of a string."""

    type: str = ""
    text: str | None = None
    refusal: str | None = None
    thinking: Any = None


class MessageWire(msgspec.Struct, gc=False):
    """A whole message. A chunk's `delta` has fewer fields, and a struct of its own for its sake."""

    content: str | list[ContentItem] | None = None
    refusal: str | None = None
    tool_calls: list[ToolCallWire] | None = None
    function_call: FunctionWire | None = None
    reasoning_content: Any = None
    reasoning: Any = None
    audio: Any = None
    images: Any = None
    annotations: Any = None


class ChoiceWire(msgspec.Struct, gc=False):
    """One whole choice."""

    index: int | None = None
    message: MessageWire | None = None
    finish_reason: str | None = None
    logprobs: LogprobsWire | None = None


class AnswerWire(msgspec.Struct, gc=False):
    """The body of a 2xx answer. `error` is there when a server reports a failure under a 200."""

    id: Any = None
    choices: list[ChoiceWire] | None = None
    usage: UsageWire | None = None
    error: msgspec.Raw = msgspec.Raw()


class ChunkDelta(msgspec.Struct, gc=False):
    """What one chunk adds to the message."""

    content: str | list[ContentItem] | None = None
    refusal: str | None = None
    tool_calls: list[ToolCallWire] | None = None
    function_call: FunctionWire | None = None
    reasoning_content: Any = None
    reasoning: Any = None
    audio: Any = None
    images: Any = None
    annotations: Any = None


class ChunkChoice(msgspec.Struct, gc=False):
    """What one chunk adds to one choice."""

    index: int | None = None
    delta: ChunkDelta | None = None
    finish_reason: str | None = None
    logprobs: LogprobsWire | None = None


class GroqWire(msgspec.Struct, gc=False):
    """Where Groq puts the usage of a stream, in its last chunk."""

    usage: UsageWire | None = None


class Chunk(msgspec.Struct, gc=False):
    """The data of one event of a stream."""

    id: Any = None
    choices: list[ChunkChoice] | None = None
    usage: UsageWire | None = None
    x_groq: GroqWire | None = None
    error: msgspec.Raw = msgspec.Raw()


decode_answer_wire: Final = msgspec.json.Decoder(AnswerWire).decode
decode_chunk: Final = msgspec.json.Decoder(Chunk).decode


def holds_error(raw: msgspec.Raw) -> bool:
    """Return whether an `error` field was there and said something; `null` and `{}` say nothing."""
    return bytes(raw) not in {b"", b"null", b"{}"}


def shown_reasoning(reasoning_content: object, reasoning: object) -> str:
    """Return the reasoning text of a message or delta; servers that send both fields send the same in both."""
    if isinstance(reasoning_content, str) and reasoning_content:
        return reasoning_content
    return reasoning if isinstance(reasoning, str) else ""


def thinking_text(thinking: object) -> str:
    """Return the text of a content item's `thinking`: a string, or a list of items with a `text`."""
    if isinstance(thinking, str):
        return thinking
    if isinstance(thinking, list):
        texts = (item.get("text") for item in thinking if isinstance(item, dict))
        return "".join(text for text in texts if isinstance(text, str))
    return ""


def arguments_text(arguments: str | dict[str, Any] | None) -> str:
    """Return a call's arguments as text, exactly as the model wrote them if they came as text."""
    if isinstance(arguments, str):
        return arguments
    return "" if arguments is None else msgspec.json.encode(arguments).decode()
