"""From the bytes of an error to a `Failure`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from trunkline_server.providers.anthropic.errors import TABLE
from trunkline_server.providers.failures import ErrorBody, failure_of
from trunkline_server.providers.json_wire import DECODING_ERRORS, decode_any
from trunkline_server.routing.failures import Failure

_REQUEST_ID: Final = "request-id"
_PARAM: Final = re.compile(r"([A-Za-z_][\w\-]{0,63}(?:\.[\w\-]{1,63}){0,15}): ", re.ASCII)
"""Refusals of a field begin with its path: `messages.0.content.1.text: …`."""


def parse_error(body: bytes) -> ErrorBody:
    """Read an error body of any shape; one that is no JSON is all message."""
    try:
        decoded = decode_any(body)
    except DECODING_ERRORS:
        return ErrorBody(message=body.decode("utf-8", "replace"))
    if isinstance(decoded, dict) and isinstance(decoded.get("error"), dict | str):
        decoded = decoded["error"]
    if isinstance(decoded, str):
        return ErrorBody(message=decoded)
    if not isinstance(decoded, dict):
        return ErrorBody()
    details = decoded.get("details")
    kind = _text(decoded.get("type"))
    message = _text(decoded.get("message")) or _text(decoded.get("detail")) or ""
    param = _PARAM.match(message) if kind == "invalid_request_error" else None
    return ErrorBody(
        message=message,
        type=kind,
        code=_text(details.get("error_code")) if isinstance(details, dict) else None,
        param=None if param is None else param[1],
    )


def classify_response(status: int, headers: Mapping[str, str], body: bytes) -> Failure:
    """Classify a response that is not 2xx; header names are in lower case."""
    return failure_of(TABLE, status, headers, parse_error(body), request_id_header=_REQUEST_ID)


def classify_under_ok(body: bytes, headers: Mapping[str, str] | None = None) -> Failure:
    """Classify an error that came under a 200: the data of an event of a stream, or the body of an answer."""
    return failure_of(TABLE, 0, headers or {}, parse_error(body), request_id_header=_REQUEST_ID)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
