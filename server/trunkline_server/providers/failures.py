"""From what an error says to a `Failure`: classified by its vendor's table, and made fit to show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from trunkline_server.providers.base import AttemptError
from trunkline_server.providers.failure_table import FailureTable
from trunkline_server.providers.redact import shown_text
from trunkline_server.providers.retry_after import retry_after_s
from trunkline_server.routing.failures import Failure, FailureClass

MAX_ID_BYTES: Final = 128
"""The longest code, parameter or id of a vendor's that is kept."""

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
    """What an error says; every field may be missing."""

    message: str = ""
    type: str | None = None
    code: str | None = None
    param: str | None = None
    inner_code: str | None = None
    """Some vendors put the telling code one level down."""
    status: int | None = None
    """The HTTP status that some servers write into the body; believed under a 200 only."""
    retry_after_s: float | None = None
    """Some vendors put the time to stay away into the body; it goes before the headers'."""
    more_codes: frozenset[str] = frozenset()
    """Further words that the table of codes looks for."""

    @property
    def codes(self) -> frozenset[str]:
        """The words that the table of codes looks for."""
        return frozenset(word for word in (self.code, self.inner_code, self.type) if word) | self.more_codes


def failure_of(
    table: FailureTable,
    status: int,
    headers: Mapping[str, str],
    body: ErrorBody,
    *,
    request_id_header: str = "x-request-id",
) -> Failure:
    """Return the failure that an error is; `status` 0 for one inside a stream. Header names are in lower case."""
    found = table.failure_class(status, body.codes, body.message, has_code=body.code is not None)
    code = shown_text(body.code or body.type or "", MAX_ID_BYTES)
    param = shown_text(body.param or "", MAX_ID_BYTES)
    return Failure(
        failure_class=found,
        message=_message(found, status, code, param),
        retry_after_s=retry_after_s(headers) if body.retry_after_s is None else body.retry_after_s,
        http_status=status or None,
        upstream_code=code,
        upstream_param=param,
        upstream_request_id=shown_id(headers, request_id_header),
        upstream_text=None if found in _NAMES_ACCOUNTS else shown_text(body.message),
    )


def protocol_error(what: str) -> AttemptError:
    """Return the failure of an answer that is not what was promised; `what` must be words of ours."""
    return AttemptError(Failure(FailureClass.PROTOCOL, f"{_OUR_WORDS[FailureClass.PROTOCOL]}: {what}"))


def filtered_error(native_reason: str) -> AttemptError:
    """Return the failure of an answer that the provider's filter blocked before any content."""
    message = "the provider's content filter blocked the answer before any content"
    return AttemptError(Failure(FailureClass.CONTENT_FILTERED, message, upstream_code=native_reason))


def _message(found: FailureClass, status: int, code: str | None, param: str | None) -> str:
    details = [f"HTTP {status}"] if status else []
    if code is not None:
        details.append(f"code {code}")
    if param is not None:
        details.append(f"parameter {param}")
    return f"{_OUR_WORDS[found]} ({', '.join(details)})" if details else _OUR_WORDS[found]


def shown_id(headers: Mapping[str, str], name: str = "x-request-id") -> str | None:
    """Return the provider's own id of the request, for its support desk. It may look like a token; it is no secret."""
    value = headers.get(name, "")
    return "".join(char for char in value[:MAX_ID_BYTES] if char.isascii() and char.isprintable()) or None
