"""What goes wrong on demand, in no vendor's words, and the whole answer that a dialect makes of it."""

from __future__ import annotations

from typing import Protocol

import msgspec

from trunkline_server.simulator.capacity import OverCapacity

JSON_TYPE = "application/json"

COMMON_ERRORS = (
    "bad_request",
    "context_length_exceeded",
    "content_filter",
    "missing_api_key",
    "invalid_api_key",
    "missing_scope",
    "model_not_found",
    "request_too_large",
    "rate_limit_exceeded",
    "tokens_rate_limit_exceeded",
    "insufficient_quota",
    "server_error",
    "overloaded",
    "gateway_timeout",
)
"""Names that every dialect has a body for, each with its vendor's own status and words. `missing_scope`: the key may
not do this; `insufficient_quota`: the account is out of money or of its plan."""


class Wording(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An error that a scenario words itself; a dialect puts what its vendor's body has a place for."""

    message: str
    type: str | None = "invalid_request_error"
    param: str | None = None
    code: str | int | None = None


class Trouble(msgspec.Struct, frozen=True, kw_only=True):
    """One failure to be worded by a dialect. `own` before `name` before `status`; none of them: `server_error`."""

    model: str = ""
    """As the request named it; texts that name a model have it in them."""
    name: str | None = None
    """One of the dialect's `errors`."""
    own: Wording | None = None
    status: int | None = None
    """Instead of the status that goes with the name (with `own`: instead of 400)."""
    retry_s: float | None = None
    """When to come back, for vendors that say it in the body; `Dialect.retry_headers` says it in headers."""
    over: OverCapacity | None = None
    """The figures, if a limit refused the request: of a key, or (`context`) of the model's window."""


class ErrorKind(Protocol):
    """An entry of a dialect's `errors`; what else it holds is the dialect's own."""

    @property
    def status(self) -> int:
        """The HTTP status that goes with it."""
        ...


class Reply(msgspec.Struct, frozen=True):
    """A whole answer that is no completion: a refusal, a list of models."""

    status: int
    body: bytes
    content_type: str = JSON_TYPE
    headers: tuple[tuple[str, str], ...] = ()


class RefusedError(Exception):
    """A dialect refuses a request that its vendor would refuse; `reply` is what the vendor would say."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.body[:500].decode(errors="replace"))
        self.reply = reply
