"""The error bodies of Cohere's API, by name and by status.

Texts are those of https://docs.cohere.com/reference/errors (read 2026-11-23) and, for the limits a month and 422, what
users of the API quote. A body is `{"id", "message"}`, with an `error_type` where there is one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from trunkline_server.simulator.failure import JSON_TYPE, RefusedError, Reply, Trouble

if TYPE_CHECKING:
    from trunkline_server.simulator.capacity import OverCapacity

ERROR_ID = "00000000-0000-4000-8000-000000000000"
"""The id of every error; the trace is told by a header."""

_PAGE = "<html><head><title>{title}</title></head><body><h1>{title}</h1></body></html>"


class ErrorKind(msgspec.Struct, frozen=True):
    """A named failure: its status and its words; `html` is a proxy's page instead of an error object."""

    status: int
    message: str
    error_type: str | None = None
    html: bool = False

    def encoded(self, model: str) -> tuple[bytes, str]:
        """Return the body for `model` (texts that name one get it filled in) and its content type."""
        if self.html:
            return _PAGE.format(title=self.message).encode(), "text/html; charset=UTF-8"
        return error_body(self.message.replace("{model}", model), self.error_type), JSON_TYPE


_TRIAL = (
    "You are using a Trial key, which is limited to {limit} API calls / {span}. You can continue to use the Trial key "
    "for free or upgrade to a Production key with higher rate limits at 'https://dashboard.cohere.com/api-keys'."
)

ERRORS: dict[str, ErrorKind] = {
    "bad_request": ErrorKind(400, "invalid request: list of documents must not be empty"),
    "context_length_exceeded": ErrorKind(
        400,
        "too many tokens: total number of tokens in the prompt cannot exceed 128000 - received 150212. Try using a "
        "shorter prompt, or enabling prompt truncating.",
    ),
    "model_not_supported": ErrorKind(400, "invalid request: model '{model}' is not supported by the chat API"),
    "missing_api_key": ErrorKind(401, "no api key supplied"),
    "invalid_api_key": ErrorKind(401, "invalid api token"),
    "expired_api_key": ErrorKind(
        401,
        "Your API key has expired. Please create a production key at dashboard.cohere.com or reach out to your contact "
        "at Cohere to continue usage.",
    ),
    "insufficient_quota": ErrorKind(
        402,
        "Maximum billing reached for this API key as set in your dashboard, please go to "
        "https://dashboard.cohere.com/billing?tab=payment to increase your maximum amount to continue using this API "
        "key. Your billing capacity will reset at the beginning of next month.",
    ),
    "missing_scope": ErrorKind(403, "the user does not have the necessary permissions"),
    "model_not_found": ErrorKind(
        404, "model '{model}' not found, make sure the correct model ID was used and that you have access to the model."
    ),
    "request_too_large": ErrorKind(413, "413 Request Entity Too Large", html=True),
    "unprocessable": ErrorKind(422, "the request contains an invalid combination of fields"),
    "no_valid_response": ErrorKind(422, "no valid response generated", "NO_VALID_RESPONSE_GENERATED"),
    "rate_limit_exceeded": ErrorKind(
        429, "You are past the per minute request limit, please wait and try again later."
    ),
    "tokens_rate_limit_exceeded": ErrorKind(429, "trial token rate limit exceeded, limit is 100000 tokens per minute"),
    "trial_month_exceeded": ErrorKind(429, _TRIAL.format(limit=1000, span="month")),
    "model_month_exceeded": ErrorKind(
        429, "You are past the per-month request limit for this model, please wait and try again later."
    ),
    "content_filter": ErrorKind(498, "the request contains a deny-listed token"),
    "request_cancelled": ErrorKind(499, "request cancelled"),
    "server_error": ErrorKind(500, "internal server error, this has been reported to our developers"),
    "not_implemented": ErrorKind(501, "the requested feature is not implemented"),
    "bad_gateway": ErrorKind(502, "502 Bad Gateway", html=True),
    "overloaded": ErrorKind(503, "the service is unavailable, please try again later"),
    "gateway_timeout": ErrorKind(504, "gateway timeout"),
}
"""Every failure that can be asked for by name."""

BY_STATUS: dict[int, str] = {
    400: "bad_request",
    401: "invalid_api_key",
    402: "insufficient_quota",
    403: "missing_scope",
    404: "model_not_found",
    413: "request_too_large",
    422: "unprocessable",
    429: "rate_limit_exceeded",
    498: "content_filter",
    499: "request_cancelled",
    500: "server_error",
    501: "not_implemented",
    502: "bad_gateway",
    503: "overloaded",
    504: "gateway_timeout",
}
"""The name that a bare status stands for."""


class RequestRefusedError(RefusedError):
    """The request is one that Cohere refuses, in its words: 400 unless it says another status."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(Reply(status, error_body(message)))


def error_body(message: str, error_type: str | None = None) -> bytes:
    """Return the JSON of an error."""
    kind = {} if error_type is None else {"error_type": error_type}
    return msgspec.json.encode({"id": ERROR_ID, "message": message, **kind})


def error_answer(trouble: Trouble, name: str | None) -> Reply:
    """Return the answer to a refused request; `name` is the trouble's, None if its status has no body of its own."""
    if trouble.own is not None:
        code = None if trouble.own.code is None else str(trouble.own.code)
        return Reply(trouble.status or 400, error_body(trouble.own.message, code))
    if name is None:
        return Reply(trouble.status or 500, error_body(f"status {trouble.status}"))
    kind = ERRORS[name]
    status = trouble.status or kind.status
    if trouble.over is not None:
        return Reply(status, error_body(_with_figures(trouble.over)))
    return Reply(status, *kind.encoded(trouble.model))


def error_words(trouble: Trouble) -> str:
    """Return what an error inside an answer says; pages of proxies become the server's error there."""
    if trouble.own is not None:
        return trouble.own.message
    kind = ERRORS[trouble.name or "server_error"]
    return (ERRORS["server_error"] if kind.html else kind).message.replace("{model}", trouble.model)


def _with_figures(over: OverCapacity) -> str:
    """Return the words of a limit with the figures of this refusal."""
    if over.kind == "context":
        return (
            f"too many tokens: total number of tokens in the prompt cannot exceed {over.limit} - received "
            f"{over.requested}. Try using a shorter prompt, or enabling prompt truncating."
        )
    if over.kind == "tokens":
        return f"trial token rate limit exceeded, limit is {over.limit} tokens per minute"
    return _TRIAL.format(limit=over.limit, span="minute")
