"""From the bytes of an error to a `Failure`: what the body says, taken apart, whatever framework wrote it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from trunkline_server.providers.failure_table import FailureTable
from trunkline_server.providers.failures import ErrorBody, failure_of
from trunkline_server.providers.json_wire import DECODING_ERRORS, decode_any
from trunkline_server.providers.openai.errors import TABLE
from trunkline_server.routing.failures import Failure

_STATUS_CODES: Final = range(300, 600)


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
    message = _message(decoded.get("message") or decoded.get("detail"))
    code, inner = decoded.get("code"), decoded.get("innererror") or decoded.get("inner_error")
    return ErrorBody(
        message=message,
        type=_text(decoded.get("type")),
        code=_text(code),
        param=_text(decoded.get("param")),
        inner_code=_text(inner.get("code")) if isinstance(inner, dict) else None,
        status=_status(code) or _status(decoded.get("status")),
    )


def classify_response(status: int, headers: Mapping[str, str], body: bytes, table: FailureTable = TABLE) -> Failure:
    """Classify a response that is not 2xx; header names are in lower case."""
    return failure_of(table, status, headers, parse_error(body))


def classify_under_ok(body: bytes, headers: Mapping[str, str] | None = None, table: FailureTable = TABLE) -> Failure:
    """Classify an error that came under a 200: the data of an event of a stream, or the body of an answer."""
    error = parse_error(body)
    return failure_of(table, error.status or 0, headers or {}, error)


def _message(value: object) -> str:
    """Return the words of an error; those of a validating framework are in the first entry of a list."""
    if isinstance(value, dict):
        value = value.get("detail")
    if isinstance(value, list) and value and isinstance(value[0], dict):
        where, value = value[0].get("loc"), value[0].get("msg")
        if isinstance(value, str) and isinstance(where, list):
            return f"{value}: {'.'.join(map(str, where))}"
    return value if isinstance(value, str) else ""


def _text(value: object) -> str | None:
    """Return a word of the body; numbers are statuses (see `_status`), not codes."""
    if isinstance(value, str) and value and not value.isdecimal():
        return value
    return None


def _status(value: object) -> int | None:
    if isinstance(value, str) and value.isdecimal() and len(value) == len("500"):
        value = int(value)
    return value if isinstance(value, int) and value in _STATUS_CODES else None
