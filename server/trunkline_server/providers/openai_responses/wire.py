"""The JSON that comes back from the Responses API, as types: decoding it is validating it.

Items and whole responses stay undecoded until their type is known: there are some thirty types of items, most of them
of tools that the provider runs itself, and an oddity in one that nobody reads must not cost the answer. `gc=False`:
these records live for one decode and hold no cycles.
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

    input_tokens: int | float | None = None
    output_tokens: int | float | None = None
    input_tokens_details: TokenDetails | None = None
    output_tokens_details: TokenDetails | None = None


class AlternativeWire(msgspec.Struct, gc=False):
    """One of the tokens that might have been said; in a stream it may say nothing at all."""

    token: str | None = None
    logprob: float | None = None
    bytes: list[int] | None = None


class TokenWire(msgspec.Struct, gc=False):
    """One said token."""

    token: str
    logprob: float
    bytes: list[int] | None = None
    top_logprobs: list[AlternativeWire] | None = None


class ContentWire(msgspec.Struct, gc=False):
    """One piece of a message (text or refusal) or of reasoning (text)."""

    type: str = ""
    text: str | None = None
    refusal: str | None = None
    logprobs: list[TokenWire] | None = None
    annotations: Any = None


class ItemType(msgspec.Struct, gc=False):
    """What kind of item it is, all that is read of most."""

    type: str = ""


class ItemWire(msgspec.Struct, gc=False):
    """An item that is read: a message, a piece of reasoning, or a call of a function."""

    type: str = ""
    id: Any = None
    status: str | None = None
    content: list[ContentWire] | None = None
    summary: list[ContentWire] | None = None
    encrypted_content: str | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: str | dict[str, Any] | None = None


class IncompleteWire(msgspec.Struct, gc=False):
    """Why a response is not complete."""

    reason: str | None = None


class ResponseWire(msgspec.Struct, gc=False):
    """A response, whole or as it stands. `error` is there when it failed."""

    id: Any = None
    status: str | None = None
    error: msgspec.Raw = msgspec.Raw()
    incomplete_details: IncompleteWire | None = None
    output: list[msgspec.Raw] | None = None
    usage: UsageWire | None = None


class Event(msgspec.Struct, gc=False):
    """The data of one event of a stream: the fields of all those that are read."""

    type: str = ""
    delta: Any = None
    output_index: int = 0
    content_index: int = 0
    summary_index: int = 0
    logprobs: list[TokenWire] | None = None
    arguments: Any = None
    item: msgspec.Raw = msgspec.Raw()
    response: msgspec.Raw = msgspec.Raw()
    error: msgspec.Raw = msgspec.Raw()


MESSAGE: Final = "message"
REASONING: Final = "reasoning"
FUNCTION_CALL: Final = "function_call"

decode_response: Final = msgspec.json.Decoder(ResponseWire).decode
decode_event: Final = msgspec.json.Decoder(Event).decode
decode_type: Final = msgspec.json.Decoder(ItemType).decode
_decode_item: Final = msgspec.json.Decoder(ItemWire).decode

_READ: Final = frozenset({MESSAGE, REASONING, FUNCTION_CALL})


def decode_item(raw: msgspec.Raw) -> ItemWire | None:
    """Return an item of a kind that is read; None for any other. Raises one of DECODING_ERRORS."""
    return _decode_item(raw) if decode_type(raw).type in _READ else None


def says_something(raw: msgspec.Raw) -> bool:
    """Return whether a field was there and said something; `null` and `{}` say nothing."""
    return bytes(raw) not in {b"", b"null", b"{}"}
