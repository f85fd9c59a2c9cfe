"""What comes back from `generateContent`, as types: decoding it is validating it.

Only fields that are read stand here; everything else in a body is skipped without being built. What a caller cannot be
given (pictures, code that the provider ran, sources) is typed `Any`: it is only asked whether it is there.
`gc=False`: these records live for one decode and hold no cycles.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from trunkline_server.providers.json_wire import decode_any


class FunctionCallWire(msgspec.Struct, gc=False, rename="camel"):
    """A call of a function. `partial_args` and `will_continue` stand for one in pieces, which is never asked for."""

    name: str | None = None
    id: str | None = None
    args: msgspec.Raw = msgspec.Raw()
    partial_args: Any = None
    will_continue: bool | None = None


class PartWire(msgspec.Struct, gc=False, rename="camel"):
    """One part of a content: exactly one of its kinds of content, and marks beside it."""

    text: str | None = None
    thought: bool | None = None
    thought_signature: str | None = None
    function_call: FunctionCallWire | None = None
    inline_data: Any = None
    file_data: Any = None
    executable_code: Any = None
    code_execution_result: Any = None
    tool_call: Any = None
    tool_response: Any = None


class ContentWire(msgspec.Struct, gc=False):
    """What the model said, in whole or in part."""

    parts: list[PartWire] | None = None


class TokenWire(msgspec.Struct, gc=False, rename="camel"):
    """A token and its log-probability."""

    token: str = ""
    log_probability: float = 0.0


class TopWire(msgspec.Struct, gc=False):
    """The likeliest tokens of one step."""

    candidates: list[TokenWire] | None = None


class LogprobsWire(msgspec.Struct, gc=False, rename="camel"):
    """The tokens that were chosen, and those that might have been, step by step."""

    chosen_candidates: list[TokenWire] | None = None
    top_candidates: list[TopWire] | None = None


class CandidateWire(msgspec.Struct, gc=False, rename="camel"):
    """One answer, or what a chunk adds to it."""

    content: ContentWire | None = None
    finish_reason: str | None = None
    index: int | None = None
    logprobs_result: LogprobsWire | None = None
    grounding_metadata: Any = None
    citation_metadata: Any = None
    url_context_metadata: Any = None


class UsageWire(msgspec.Struct, gc=False, rename="camel"):
    """Tokens, as the provider counted them."""

    prompt_token_count: int | float | None = None
    cached_content_token_count: int | float | None = None
    candidates_token_count: int | float | None = None
    thoughts_token_count: int | float | None = None
    tool_use_prompt_token_count: int | float | None = None
    total_token_count: int | float | None = None


class FeedbackWire(msgspec.Struct, gc=False, rename="camel"):
    """Why a prompt got no answer."""

    block_reason: str | None = None


class AnswerWire(msgspec.Struct, gc=False, rename="camel"):
    """The body of a 2xx answer, and the data of an event of a stream: they are of one form."""

    candidates: list[CandidateWire] | None = None
    usage_metadata: UsageWire | None = None
    prompt_feedback: FeedbackWire | None = None
    response_id: Any = None
    error: Any = None


decode_answer_wire: Final = msgspec.json.Decoder(AnswerWire).decode

_NO_ARGUMENTS: Final = frozenset({b"", b"null"})
_COMPACT: Final = -1


def arguments_text(raw: msgspec.Raw) -> str:
    """Return a call's arguments as text without line breaks around them; empty if there are none.

    Whole answers come printed on many lines, streams do not. Only the white space between the values goes. What was
    skipped as raw JSON was not looked at closely, so it is here: raise one of DECODING_ERRORS if it is no JSON.
    """
    text = bytes(raw)
    if text in _NO_ARGUMENTS:
        return ""
    decode_any(text)
    if b"\n" in text:
        text = msgspec.json.format(text, indent=_COMPACT)
    return text.decode()
