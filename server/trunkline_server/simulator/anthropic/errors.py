"""The error bodies of the Messages API, by name and by status.

Shapes, types, codes and texts are as the service sends them: `{"type": "error", "error": {"type", "message",
"details"}, "request_id"}`, and a proxy's page for a body that is too large.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from trunkline_server.simulator.failure import JSON_TYPE, RefusedError, Reply, Trouble

if TYPE_CHECKING:
    from trunkline_server.simulator.capacity import OverCapacity

HTML_TYPE = "text/html; charset=UTF-8"
_PAGE = (
    "<html>\r\n<head><title>413 Request Entity Too Large</title></head>\r\n<body>\r\n"
    "<center><h1>413 Request Entity Too Large</h1></center>\r\n<hr><center>cloudflare</center>\r\n"
    "</body>\r\n</html>\r\n"
)
_LIMITS = "For details, refer to: https://docs.claude.com/en/api/rate-limits."


class ErrorKind(msgspec.Struct, frozen=True):
    """A named failure: its status, type and words; `code` names the cause where the service has one for it."""

    status: int
    type: str
    message: str
    code: str | None = None
    html: bool = False
    """A page of the proxy in front of the service, where it is a refusal."""


ERRORS: dict[str, ErrorKind] = {
    "bad_request": ErrorKind(400, "invalid_request_error", "messages.0.content.0.type: Field required"),
    "context_length_exceeded": ErrorKind(
        400, "invalid_request_error", "prompt is too long: 208310 tokens > 200000 maximum"
    ),
    "content_filter": ErrorKind(400, "invalid_request_error", "Output blocked by content filtering policy"),
    "credit_balance_too_low": ErrorKind(
        400,
        "invalid_request_error",
        "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to upgrade or "
        "purchase credits.",
    ),
    "usage_limit_reached": ErrorKind(
        400,
        "invalid_request_error",
        "You have reached your specified API usage limits. You will regain access on 2026-12-01 at 00:00 UTC.",
    ),
    "organization_on_hold": ErrorKind(
        400, "invalid_request_error", "This organization has been disabled.", "organization_on_hold"
    ),
    "missing_api_key": ErrorKind(401, "authentication_error", "x-api-key header is required"),
    "invalid_api_key": ErrorKind(401, "authentication_error", "invalid x-api-key"),
    "insufficient_quota": ErrorKind(402, "billing_error", "There's an issue with your billing or payment information."),
    "missing_scope": ErrorKind(
        403, "permission_error", "Your API key does not have permission to use the specified resource."
    ),
    "region_not_served": ErrorKind(403, "forbidden", "Request not allowed"),
    "model_not_found": ErrorKind(404, "not_found_error", "model: {model}"),
    "request_too_large": ErrorKind(413, "request_too_large", "Request exceeds the maximum size", html=True),
    "rate_limit_exceeded": ErrorKind(
        429,
        "rate_limit_error",
        "This request would exceed your organization's rate limit of 50 requests per minute (org: "
        f"9d50ef40-6cc8-4ca6-9d35-1dc9cf26235c, model: {{model}}). {_LIMITS}",
    ),
    "tokens_rate_limit_exceeded": ErrorKind(
        429,
        "rate_limit_error",
        "This request would exceed your organization's rate limit of 30,000 input tokens per minute (org: "
        f"9d50ef40-6cc8-4ca6-9d35-1dc9cf26235c, model: {{model}}). {_LIMITS}",
    ),
    "spend_limit_reached": ErrorKind(
        429,
        "rate_limit_error",
        "This request would exceed your organization's monthly spend limit.",
        "enforced_spend_limit_reached",
    ),
    "ramp_limit_exceeded": ErrorKind(
        429, "rate_limit_error", "Your usage grows too fast. Please try again later.", "ramp_limit_exceeded"
    ),
    "server_error": ErrorKind(500, "api_error", "Internal server error"),
    "gateway_timeout": ErrorKind(504, "timeout_error", "The request timed out while processing."),
    "overloaded": ErrorKind(529, "overloaded_error", "Overloaded"),
}
"""Every failure that can be asked for by name."""

BY_STATUS: dict[int, str] = {
    400: "bad_request",
    401: "invalid_api_key",
    402: "insufficient_quota",
    403: "missing_scope",
    404: "model_not_found",
    413: "request_too_large",
    429: "rate_limit_exceeded",
    500: "server_error",
    504: "gateway_timeout",
    529: "overloaded",
}
"""The name that a bare status stands for."""


def error_answer(trouble: Trouble, name: str | None) -> Reply:
    """Return the answer to a refused request; `name` is the trouble's, None if its status has no body of its own."""
    if name is not None and trouble.own is None:
        kind = ERRORS[name]
        status = trouble.status or kind.status
        if kind.html:
            return Reply(status, _PAGE.encode(), HTML_TYPE)
        return Reply(status, error_object(trouble, name), JSON_TYPE)
    return Reply(trouble.status or (400 if trouble.own is not None else 500), error_object(trouble, name), JSON_TYPE)


def error_object(trouble: Trouble, name: str | None) -> bytes:
    """Return the JSON of an error, wherever it stands."""
    if trouble.own is not None:
        own = trouble.own
        return _encoded(own.type or "invalid_request_error", own.message, None if own.code is None else str(own.code))
    if name is None:
        return _encoded("api_error", f"Status {trouble.status}.")
    kind = ERRORS[name]
    message = kind.message.replace("{model}", trouble.model)
    if trouble.over is not None:
        message = _figures(trouble.model, trouble.over)
    return _encoded(kind.type, message, kind.code)


def invalid(message: str) -> RefusedError:
    """Return the refusal of a request in the service's words; those of a field begin with its path."""
    return RefusedError(Reply(400, _encoded("invalid_request_error", message)))


def _encoded(kind: str, message: str, code: str | None = None) -> bytes:
    error: dict[str, Any] = {"type": kind, "message": message}
    if code is not None:
        error["details"] = {"error_code": code}
    return msgspec.json.encode({"type": "error", "error": error, "request_id": "req_011CSimulator"})


def _figures(model: str, over: OverCapacity) -> str:
    """Return the words of a limit with the figures of this refusal."""
    if over.kind == "context":
        return f"prompt is too long: {over.requested} tokens > {over.limit} maximum"
    unit = {"requests": "requests per minute", "tokens": "input tokens per minute"}.get(
        over.kind, "concurrent requests"
    )
    return (
        f"This request would exceed your organization's rate limit of {over.limit:,} {unit} (org: "
        f"9d50ef40-6cc8-4ca6-9d35-1dc9cf26235c, model: {model}). {_LIMITS}"
    )
