"""From the bytes of an error to a `Failure`: what the body says, taken apart, classified and made fit to show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from trunkline_server.providers.base import AttemptError
from trunkline_server.providers.openai.errors import failure_class
from trunkline_server.providers.openai.limits import retry_after_s
from trunkline_server.providers.openai.redact import shown_text
from trunkline_server.providers.openai.wire import DECODING_ERRORS, decode_any
from trunkline_server.routing.failures import Failure, FailureClass

_MAX_ID_BYTES: Final = 128
_STATUS_CODES: Final = range(300, 600)
_NAMES_ACCOUNTS: Final = frozenset(
    {FailureClass.KEY_REJECTED, FailureClass.KEY_EXHAUSTED, FailureClass.RATE_LIMITED},
)
_OUR_WORDS: Final = {
    FailureClass.CALLER_INVALID: "the provider refused the request as invalid",
    FailureClass.CONTEXT_LENGTH: "the request is longer than the model's context window",
    FailureClass.CONTENT_FILTERED: "the provider's content filter blocked the request",
    FailureClass.MODEL_UNAVAILABLE: "the provider does not serve this model to this key",
    FailureClass.KEY_REJECTED: "the provider rejected the key",
    FailureClass.KEY_EXHAUSTED: "the key's quota or credit at the provider is used up",
    FailureClass.RATE_LIMITED: "the provider's rate limit was reached",
    FailureClass.OVERLOADED: "the provider is overloaded",
    FailureClass.SERVER_ERROR: "the provider failed",
    FailureClass.PROTOCOL: "the provider's answer is not of the promised format",
}


@dataclass(frozen=True, slots=True)
class ErrorBody:
    """What an error body says; every field may be missing."""

    message: str = ""
    type: str | None = None
    code: str | None = None
    param: str | None = None
    inner_code: str | None = None
    """Azure puts the telling code one level down."""
    status: int | None = None
    """The HTTP status that some servers write into the body, mostly as `code`; believed under a 200 only."""

    @property
    def codes(self) -> frozenset[str]:
        """The words that the table of codes looks for."""
        return frozenset(word for word in (self.code, self.inner_code, self.type) if word)


def parse_error(body: bytes) -> ErrorBody:
    """Read an error body of any shape; one that is no JSON is all message."""
    try:
        decoded = decode_any(body)
    except DECODING_ERRORS:
        return ErrorBody(message=body.decode("utf-8", "replace"))
    return _read(decoded)


def _read(decoded: object) -> ErrorBody:
    """Read a decoded error: `{"error": {…}}`, its inside alone, a list around it, or what other frameworks send."""
    if isinstance(decoded, list):
        decoded = decoded[0] if decoded else None
    if isinstance(decoded, dict) and decoded.get("error"):
        decoded = decoded["error"]
    if isinstance(decoded, str):
        return ErrorBody(message=decoded)
    if not isinstance(decoded, dict):
        return ErrorBody()
    message = decoded.get("message") or decoded.get("detail")
    code, inner = decoded.get("code"), decoded.get("innererror")
    return ErrorBody(
        message=message if isinstance(message, str) else "",
        type=_text(decoded.get("type")),
        code=_text(code),
        param=_text(decoded.get("param")),
        inner_code=_text(inner.get("code")) if isinstance(inner, dict) else None,
        status=_status(code) or _status(decoded.get("status")),
    )


def classify_response(status: int, headers: Mapping[str, str], body: bytes) -> Failure:
    """Classify a response that is not 2xx; header names are in lower case."""
    return _failure(status, headers, parse_error(body))


def classify_under_ok(body: bytes, headers: Mapping[str, str] | None = None) -> Failure:
    """Classify an error that came under a 200: the data of an event of a stream, or the body of an answer."""
    error = parse_error(body)
    return _failure(error.status or 0, headers or {}, error)


def protocol_error(what: str) -> AttemptError:
    """Return the failure of an answer that is not what was promised; `what` must be words of ours."""
    return AttemptError(Failure(FailureClass.PROTOCOL, f"{_OUR_WORDS[FailureClass.PROTOCOL]}: {what}"))


def filtered_error(native_reason: str) -> AttemptError:
    """Return the failure of an answer that the provider's filter blocked before any content."""
    message = "the provider's content filter blocked the answer before any content"
    return AttemptError(Failure(FailureClass.CONTENT_FILTERED, message, upstream_code=native_reason))


def _failure(status: int, headers: Mapping[str, str], body: ErrorBody) -> Failure:
    found = failure_class(status, body.codes, body.message, has_code=body.code is not None)
    code = shown_text(body.code or body.type or "", _MAX_ID_BYTES)
    param = shown_text(body.param or "", _MAX_ID_BYTES)
    return Failure(
        failure_class=found,
        message=_message(found, status, code, param),
        retry_after_s=retry_after_s(headers),
        http_status=status or None,
        upstream_code=code,
        upstream_param=param,
        upstream_request_id=shown_id(headers),
        upstream_text=None if found in _NAMES_ACCOUNTS else shown_text(body.message),
    )


def _message(found: FailureClass, status: int, code: str | None, param: str | None) -> str:
    details = [f"HTTP {status}"] if status else []
    if code is not None:
        details.append(f"code {code}")
    if param is not None:
        details.append(f"parameter {param}")
    return f"{_OUR_WORDS[found]} ({', '.join(details)})" if details else _OUR_WORDS[found]


def shown_id(headers: Mapping[str, str]) -> str | None:
    """Return the provider's own id of the request, for its support desk. It may look like a token; it is no secret."""
    value = headers.get("x-request-id", "")
    return "".join(char for char in value[:_MAX_ID_BYTES] if char.isascii() and char.isprintable()) or None


def _text(value: object) -> str | None:
    """Return a word of the body; numbers are statuses (see `_status`), not codes."""
    if isinstance(value, str) and value and not value.isdecimal():
        return value
    return None


def _status(value: object) -> int | None:
    if isinstance(value, str) and value.isdecimal() and len(value) == len("500"):
        value = int(value)
    return value if isinstance(value, int) and value in _STATUS_CODES else None
