"""Which failure an error of Cohere's is.

Its bodies hold a `message` and an `id`, sometimes an `error_type`; most causes are told by their status and the start
of the message. Status 498 speaks of tokens of text that are on a list of what is not allowed, not of the API's key;
503 of too many users at once. Inside a stream there is nothing but words.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from trunkline_server.providers.failure_table import HTTP_STATUSES, FailureTable, StatusRow, text
from trunkline_server.providers.failures import ErrorBody, failure_of
from trunkline_server.providers.json_wire import DECODING_ERRORS, decode_any
from trunkline_server.routing.failures import Failure, FailureClass

REQUEST_ID_HEADER: Final = "x-debug-trace-id"

_F: Final = FailureClass

TABLE: Final = FailureTable(
    codes=(),
    texts=(
        text(_F.KEY_EXHAUSTED, r"you are using a trial key, which is limited to [\d,]+ api calls ?/ ?month", 0, 429),
        text(_F.KEY_EXHAUSTED, r"you are past the per[- ]month request limit", 0, 429),
        text(_F.RATE_LIMITED, r"you are (?:past the per minute request limit|using a trial key\b)", 0),
        text(_F.RATE_LIMITED, r"(?:trial token )?rate limit exceeded", 0),
        text(_F.CALLER_INVALID, r"too many tokens: max tokens must be", 400, 422),
        text(_F.CONTEXT_LENGTH, r"too many tokens\b", 0, 400, 422),
        text(_F.MODEL_UNAVAILABLE, r"invalid request: model '[^']{1,200}' is not supported\b", 400, 422),
        text(_F.MODEL_UNAVAILABLE, r"finetuned model with name \S{1,200} is not ready", 400),
    ),
    # A 422 says, too, that nothing valid could be generated: a schema alone can bring that about, so it counts against
    # nobody but its caller, like any other.
    statuses=(
        StatusRow(_F.CONTENT_FILTERED, {498}),
        StatusRow(_F.SERVER_ERROR, {499}),
        StatusRow(_F.OVERLOADED, {503}),
        *HTTP_STATUSES,
    ),
)  # fmt: skip
"""First match wins, codes before texts before statuses. Each row has a golden body in the tests."""


class _Error(msgspec.Struct, gc=False):
    """An error whose words are all that is read of it."""

    message: str = ""


_decode_error: Final = msgspec.json.Decoder(_Error).decode


def parse_error(body: bytes) -> ErrorBody:
    """Read an error body of any shape; one that is no JSON is all message."""
    try:
        decoded = decode_any(body)
    except DECODING_ERRORS:
        return ErrorBody(message=body.decode("utf-8", "replace"))
    if not isinstance(decoded, dict):
        return ErrorBody(message=decoded if isinstance(decoded, str) else "")
    message, code = decoded.get("message"), decoded.get("error_type")
    return ErrorBody(
        message=message if isinstance(message, str) else "",
        code=code if isinstance(code, str) and code else None,
    )


def message_under_ok(body: bytes) -> str:
    """Return the words of an error that came under a 200; empty if it is none."""
    try:
        return _decode_error(body).message
    except DECODING_ERRORS:
        return ""


def classify_response(status: int, headers: Mapping[str, str], body: bytes) -> Failure:
    """Classify a response that is not 2xx; header names are in lower case."""
    return failure_of(TABLE, status, headers, parse_error(body), request_id_header=REQUEST_ID_HEADER)


def classify_text(message: str) -> Failure:
    """Classify an error that is told inside an answer, in words alone."""
    return failure_of(TABLE, 0, {}, ErrorBody(message=message))
