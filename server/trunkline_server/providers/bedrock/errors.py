"""Which failure an error of Bedrock is, and how its parts are found: in headers, in a body, or in a stream.

Exceptions have a name that says most; where one name stands for several things its text decides, and where neither
does the HTTP status. Names come as `ThrottlingException`, `ThrottlingException:http://…`, `space#ThrottlingException`
and, inside streams, `throttlingException`: all of these are the first.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from trunkline_server.providers.eventstream import EventStreamMessage
from trunkline_server.providers.failure_table import FailureTable, codes, text
from trunkline_server.providers.failures import ErrorBody, failure_of
from trunkline_server.providers.json_wire import DECODING_ERRORS, decode_any
from trunkline_server.routing.failures import Failure, FailureClass

TABLE: Final = FailureTable(
    codes=(
        codes(FailureClass.KEY_EXHAUSTED, "ServiceQuotaExceededException"),
        codes(
            FailureClass.KEY_REJECTED,
            "UnrecognizedClientException InvalidClientTokenId InvalidSignatureException SignatureDoesNotMatch"
            " IncompleteSignature IncompleteSignatureException MissingAuthenticationToken"
            " MissingAuthenticationTokenException ExpiredToken ExpiredTokenException InvalidToken"
            # The clock here or there is wrong: no other target of this provider would take the key any better.
            " RequestExpired RequestTimeTooSkewed NotAuthorized OptInRequired",
        ),
        codes(
            FailureClass.MODEL_UNAVAILABLE,
            "ResourceNotFoundException FTUFormNotFilled BadCScoreException MPAgreementBeingCreated"
            " UnknownOperationException InvalidAction",
        ),
        codes(FailureClass.CONTEXT_LENGTH, "RequestEntityTooLargeException"),
        codes(FailureClass.OVERLOADED, "ServiceUnavailableException ServiceUnavailable ModelNotReadyException"),
        codes(
            FailureClass.SERVER_ERROR,
            "InternalServerException InternalFailure InternalServerError ModelErrorException"
            " ModelStreamErrorException ModelTimeoutException",
        ),
    ),
    texts=(
        text(FailureClass.KEY_EXHAUSTED, r"too many tokens per day\b", 0, 429),
        text(FailureClass.KEY_EXHAUSTED, r"model access is denied due to invalid_payment_instrument\b", 0, 403),
        text(FailureClass.MODEL_UNAVAILABLE, r"model access is denied\b", 0, 403),
        text(FailureClass.MODEL_UNAVAILABLE, r"you don.t have access to the model\b", 0, 403),
        text(FailureClass.MODEL_UNAVAILABLE, r"your account is not authorized to (?:access|invoke)\b", 0, 400, 403),
        text(FailureClass.MODEL_UNAVAILABLE, r"user: \S{1,500} is not authorized to perform: bedrock:", 0, 403),
        text(FailureClass.MODEL_UNAVAILABLE, r"the provided model identifier is invalid\b", 0, 400),
        text(FailureClass.MODEL_UNAVAILABLE, r"invocation of model id \S{1,500} with on-demand throughput", 0, 400),
        text(FailureClass.MODEL_UNAVAILABLE, r"operation not allowed$", 0, 400),
        text(FailureClass.CONTENT_FILTERED, r"(?:the model returned the following errors: )?"
             r"output blocked by content filtering policy\b", 0, 400),
        text(FailureClass.CONTEXT_LENGTH, r"(?:the model returned the following errors: )?"
             r"(?:input is too long\b|prompt is too long\b|input length and `max_tokens` exceed context limit\b"
             r"|this model's maximum context length is\b)", 0, 400),
        text(FailureClass.RATE_LIMITED, r"too many (?:requests|tokens|connections)\b", 0, 429),
    ),
)  # fmt: skip
"""First match wins; each row has a golden body in the tests."""

_IN_STREAM: Final = FailureTable(
    codes=(
        *TABLE.codes,
        codes(FailureClass.RATE_LIMITED, "ThrottlingException"),
        codes(FailureClass.CALLER_INVALID, "ValidationException"),
        codes(FailureClass.KEY_REJECTED, "AccessDeniedException"),
    )
)
"""The names beside which an HTTP status says the rest. A stream has none, so there they come after the texts."""

_TYPE_HEADER: Final = "x-amzn-errortype"
_REQUEST_ID_HEADER: Final = "x-amzn-requestid"
_TYPE_FIELDS: Final = ("__type", "code", "type")
_MESSAGE_FIELDS: Final = ("message", "Message", "errorMessage")


def classify_response(status: int, headers: Mapping[str, str], body: bytes) -> Failure:
    """Classify a response that is not 2xx; header names are in lower case."""
    message, code = _read(body)
    named = headers.get(_TYPE_HEADER)
    return _failure(TABLE, status, headers, ErrorBody(message, code=exception_name(named) if named else code))


def classify_message(event: EventStreamMessage) -> Failure:
    """Classify a message of a stream whose `:message-type` is `exception` or `error`."""
    headers = event.headers
    named = headers.get(":exception-type") or headers.get(":error-code")
    message, code = _read(event.payload)
    if not message and isinstance(told := headers.get(":error-message"), str):
        message = told
    return _without_status(message, exception_name(named) if isinstance(named, str) and named else code)


def classify_under_ok(headers: Mapping[str, str], body: bytes) -> Failure:
    """Classify an exception that came as the body of a 200."""
    message, code = _read(body)
    return _without_status(message, code, headers)


def _without_status(message: str, name: str | None, headers: Mapping[str, str] | None = None) -> Failure:
    body = ErrorBody(message, code=name)
    failure = _failure(TABLE, 0, headers or {}, body)
    if failure.failure_class is not FailureClass.SERVER_ERROR:
        return failure
    return _failure(_IN_STREAM, 0, headers or {}, body)


def exception_name(word: str) -> str:
    """Return the name of an exception without its namespace and address, with a capital at its front."""
    name = word.partition(":")[0].rpartition("#")[2].strip()
    return name[:1].upper() + name[1:]


def _failure(table: FailureTable, status: int, headers: Mapping[str, str], body: ErrorBody) -> Failure:
    return failure_of(table, status, headers, body, request_id_header=_REQUEST_ID_HEADER)


def _read(body: bytes) -> tuple[str, str | None]:
    """Return an error body's message and the name of its exception; one that is no JSON is all message."""
    try:
        decoded = decode_any(body)
    except DECODING_ERRORS:
        return body.decode("utf-8", "replace"), None
    if isinstance(decoded, dict) and isinstance(wrapped := decoded.get("Output"), dict):
        decoded = wrapped  # what stands before the service answers so
    if not isinstance(decoded, dict):
        return "", None
    message = next((text for field in _MESSAGE_FIELDS if isinstance(text := decoded.get(field), str)), "")
    named = next((text for field in _TYPE_FIELDS if isinstance(text := decoded.get(field), str) and text), None)
    return message, exception_name(named) if named else None
