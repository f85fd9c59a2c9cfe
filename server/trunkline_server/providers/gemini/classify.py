"""From the bytes of an error to a `Failure`: Google's error model taken apart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from trunkline_server.providers.base import AttemptError
from trunkline_server.providers.failures import ErrorBody, failure_of
from trunkline_server.providers.gemini.errors import DAY_QUOTA, TABLE
from trunkline_server.providers.json_wire import DECODING_ERRORS, decode_any
from trunkline_server.providers.retry_after import duration_s
from trunkline_server.routing.failures import Failure, FailureClass

_STATUS_CODES: Final = range(300, 600)
_MAX_DETAILS: Final = 32
"""Of an error, and of a detail: more are not looked at."""


def parse_error(body: bytes) -> ErrorBody:
    """Read an error body of any shape; one that is no JSON is all message."""
    return error_in(body) or ErrorBody(message=body.decode("utf-8", "replace"))


def error_in(body: bytes) -> ErrorBody | None:
    """Return the error that a body is: an object with an `error`, or a list around one; None if it is none."""
    try:
        decoded = decode_any(body)
    except DECODING_ERRORS:
        return None
    if isinstance(decoded, list):
        decoded = next(
            (entry for entry in decoded[:_MAX_DETAILS] if isinstance(entry, dict) and "error" in entry), None
        )
    error = decoded.get("error") if isinstance(decoded, dict) else None
    if isinstance(error, str) and error:
        return ErrorBody(message=error)
    return _read(error) if isinstance(error, dict) and error else None


def classify_response(status: int, headers: Mapping[str, str], body: bytes) -> Failure:
    """Classify a response that is not 2xx; header names are in lower case."""
    return failure_of(TABLE, status, headers, parse_error(body))


def classify_under_ok(error: ErrorBody, headers: Mapping[str, str] | None = None) -> Failure:
    """Classify an error that came under a 200: in a stream, or as the body of an answer."""
    return failure_of(TABLE, error.status or 0, headers or {}, error)


def account_error(native_reason: str) -> AttemptError:
    """Return the failure of an answer that the provider did not give because of the key's account."""
    message = "the provider has limited or disabled the key's account"
    return AttemptError(Failure(FailureClass.KEY_REJECTED, message, upstream_code=native_reason))


def _read(error: dict[str, Any]) -> ErrorBody:
    message, status, code = error.get("message"), error.get("status"), error.get("code")
    details = error.get("details")
    reason = param = retry_s = None
    more: set[str] = set()
    for detail in details[:_MAX_DETAILS] if isinstance(details, list) else ():
        if not isinstance(detail, dict):
            continue
        kind = str(detail.get("@type", "")).rpartition(".")[2]
        if kind == "ErrorInfo":
            reason = reason or _word(detail.get("reason"))
        elif kind == "RetryInfo":
            retry_s = _duration_s(detail.get("retryDelay"))
        elif kind == "QuotaFailure" and _names_a_day(detail.get("violations")):
            more.add(DAY_QUOTA)
        elif kind == "BadRequest":
            param = param or _field(detail.get("fieldViolations"))
    return ErrorBody(
        message=message if isinstance(message, str) else "",
        type=_word(status),
        code=reason,
        param=param,
        status=code if type(code) is int and code in _STATUS_CODES else None,
        retry_after_s=retry_s,
        more_codes=frozenset(more),
    )


def _names_a_day(violations: object) -> bool:
    """Return whether one of the limits that were reached is that of a day."""
    return any("PerDay" in entry or "per_day" in entry for entry in _texts(violations, "quotaId", "quotaMetric"))


def _field(violations: object) -> str | None:
    return next(iter(_texts(violations, "field")), None)


def _texts(entries: object, *names: str) -> list[str]:
    if not isinstance(entries, list):
        return []
    found = (entry.get(name) for entry in entries[:_MAX_DETAILS] if isinstance(entry, dict) for name in names)
    return [value for value in found if isinstance(value, str) and value]


def _word(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _duration_s(value: object) -> float | None:
    """Return a duration in seconds: `34.07s`, or an object of seconds and nanoseconds."""
    if isinstance(value, str):
        return duration_s(value)
    if isinstance(value, dict):
        whole, parts = value.get("seconds", 0), value.get("nanos", 0)
        found = duration_s(str(whole))
        return None if found is None else found + (parts / 1e9 if type(parts) is int and parts > 0 else 0.0)
    return None
