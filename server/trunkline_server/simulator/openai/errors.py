"""The error bodies of OpenAI's API, by name and by status.

Shapes and texts are as the service really sends them: `{"error": {"message", "type", "param", "code"}}`, HTML from the
proxies in front of it. Where OpenAI has no such status, they are those of services that speak its protocol.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from trunkline_server.simulator.failure import JSON_TYPE, Reply, Trouble, Wording

if TYPE_CHECKING:
    from trunkline_server.simulator.capacity import OverCapacity

HTML_TYPE = "text/html; charset=UTF-8"


class ErrorBody(Wording, frozen=True, forbid_unknown_fields=True):
    """OpenAI's error object, which is what a scenario's own errors are made after."""

    def encoded(self) -> bytes:
        """Return the JSON of the whole body, the `error` envelope included."""
        return msgspec.json.encode({"error": self})


class ErrorKind(msgspec.Struct, frozen=True):
    """A named failure: its status and what its body holds; `html` is a proxy's page instead of an error object."""

    status: int
    body: ErrorBody
    html: str | None = None

    def encoded(self, model: str) -> tuple[bytes, str]:
        """Return the body for `model` (texts that name one get it filled in) and its content type."""
        if self.html is not None:
            return self.html.encode(), HTML_TYPE
        return msgspec.structs.replace(
            self.body, message=self.body.message.replace("{model}", model)
        ).encoded(), JSON_TYPE


def _page(title: str) -> str:
    return (
        f"<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n<center><h1>{title}</h1></center>\r\n"
        "<hr><center>cloudflare</center>\r\n</body>\r\n</html>\r\n"
    )


def _kind(status: int, message: str, kind: str | None = "invalid_request_error", **more: str | int | None) -> ErrorKind:
    return ErrorKind(status, ErrorBody(message, kind, more.get("param"), more.get("code")))  # type: ignore[arg-type]  # param is text


ERRORS: dict[str, ErrorKind] = {
    "bad_request": _kind(400, "Invalid request.", code="invalid_value"),
    "context_length_exceeded": _kind(
        400,
        "This model's maximum context length is 128000 tokens. However, your messages resulted in 150212 tokens. "
        "Please reduce the length of the messages.",
        param="messages",
        code="context_length_exceeded",
    ),
    "content_filter": _kind(
        400,
        "The response was filtered due to the prompt triggering Azure OpenAI's content management policy. "
        "Please modify your prompt and retry.",
        None,
        param="prompt",
        code="content_filter",
    ),
    "content_policy_violation": _kind(
        400,
        "Your request was rejected as a result of our safety system.",
        code="content_policy_violation",
    ),
    "billing_hard_limit_reached": _kind(400, "Billing hard limit has been reached", code="billing_hard_limit_reached"),
    "invalid_api_key": _kind(
        401,
        "Incorrect API key provided: sk-sim**********0000. "
        "You can find your API key at https://platform.openai.com/account/api-keys.",
        code="invalid_api_key",
    ),
    "missing_api_key": _kind(
        401,
        "You didn't provide an API key. You need to provide your API key in an Authorization header using Bearer auth "
        "(i.e. Authorization: Bearer YOUR_KEY).",
    ),
    "account_deactivated": _kind(
        401, "The OpenAI account associated with this API key has been deactivated.", code="account_deactivated"
    ),
    "insufficient_balance": _kind(402, "Insufficient Balance", "unknown_error", code="invalid_request_error"),
    "missing_scope": _kind(
        403,
        "You have insufficient permissions for this operation. Missing scopes: model.request. "
        "Check that you have the correct role in your organization and project.",
        code="missing_scope",
    ),
    "model_not_allowed": _kind(
        403, "Project `proj_sim` does not have access to model `{model}`", code="model_not_found"
    ),
    "unsupported_country": _kind(
        403,
        "Country, region, or territory not supported",
        "request_forbidden",
        code="unsupported_country_region_territory",
    ),
    "model_not_found": _kind(
        404, "The model `{model}` does not exist or you do not have access to it.", code="model_not_found"
    ),
    "request_timeout": _kind(408, "Request timed out.", "timeout"),
    "conflict": _kind(409, "The resource was modified by another request. Please retry.", "conflict_error"),
    "request_too_large": ErrorKind(413, ErrorBody(""), _page("413 Request Entity Too Large")),
    "unprocessable": _kind(422, "The request was well-formed but could not be processed."),
    "rate_limit_exceeded": _kind(
        429,
        "Rate limit reached for {model} in organization org-sim on requests per min (RPM): Limit 3, Used 3, "
        "Requested 1. Please try again in 20s. "
        "Visit https://platform.openai.com/account/rate-limits to learn more.",
        "requests",
        code="rate_limit_exceeded",
    ),
    "tokens_rate_limit_exceeded": _kind(
        429,
        "Rate limit reached for {model} in organization org-sim on tokens per min (TPM): Limit 30000, Used 29800, "
        "Requested 429. Please try again in 458ms. "
        "Visit https://platform.openai.com/account/rate-limits to learn more.",
        "tokens",
        code="rate_limit_exceeded",
    ),
    "insufficient_quota": _kind(
        429,
        "You exceeded your current quota, please check your plan and billing details. For more information on this "
        "error, read the docs: https://platform.openai.com/docs/guides/error-codes/api-errors.",
        "insufficient_quota",
        code="insufficient_quota",
    ),
    "server_error": _kind(
        500, "The server had an error while processing your request. Sorry about that!", "server_error"
    ),
    "bad_gateway": ErrorKind(502, ErrorBody(""), _page("502 Bad Gateway")),
    "overloaded": _kind(
        503,
        "That model is currently overloaded with other requests. You can retry your request, or contact us through "
        "our help center at help.openai.com if the error persists.",
        "server_error",
    ),
    "engine_overloaded": _kind(
        503, "The engine is currently overloaded, please try again later", "overloaded", code="engine_overloaded"
    ),
    "gateway_timeout": ErrorKind(504, ErrorBody(""), _page("504 Gateway Time-out")),
    "site_overloaded": _kind(529, "Overloaded", "overloaded_error"),
}
"""Every failure that can be asked for by name."""

BY_STATUS: dict[int, str] = {
    400: "bad_request",
    401: "invalid_api_key",
    402: "insufficient_balance",
    403: "missing_scope",
    404: "model_not_found",
    408: "request_timeout",
    409: "conflict",
    413: "request_too_large",
    422: "unprocessable",
    429: "rate_limit_exceeded",
    500: "server_error",
    502: "bad_gateway",
    503: "overloaded",
    504: "gateway_timeout",
    529: "site_overloaded",
}
"""The name that a bare status stands for."""


def error_answer(trouble: Trouble, name: str | None) -> Reply:
    """Return the answer to a refused request; `name` is the trouble's, None if its status has no body of its own."""
    if trouble.own is not None:
        return Reply(trouble.status or 400, encoded_own(trouble.own))
    if name is None:
        return Reply(trouble.status or 500, ErrorBody(f"Status {trouble.status}.", None).encoded())
    kind = ERRORS[name]
    status = trouble.status or kind.status
    if trouble.over is not None:
        return Reply(status, _with_figures(kind.body, trouble.model, trouble.over).encoded())
    return Reply(status, *kind.encoded(trouble.model))


def error_event(trouble: Trouble) -> bytes:
    """Return the JSON of an error inside an answer; pages of proxies become the server's error there."""
    if trouble.own is not None:
        return encoded_own(trouble.own)
    kind = ERRORS[trouble.name or "server_error"]
    return (ERRORS["server_error"] if kind.html is not None else kind).encoded(trouble.model)[0]


def encoded_own(own: Wording) -> bytes:
    """Return the JSON of the whole body of an error that a scenario words."""
    return msgspec.json.encode({"error": own})


def _with_figures(body: ErrorBody, model: str, over: OverCapacity) -> ErrorBody:
    """Return the error of a limit with the figures of this refusal."""
    if over.kind == "context":
        message = (
            f"This model's maximum context length is {over.limit} tokens. However, your messages resulted in "
            f"{over.requested} tokens. Please reduce the length of the messages."
        )
        return ErrorBody(message, body.type, body.param, body.code)
    unit = {"requests": "requests per min (RPM)", "tokens": "tokens per min (TPM)"}.get(
        over.kind, "concurrent requests"
    )
    wait = f"{over.wait_s:.3f}".rstrip("0").rstrip(".") + "s"
    message = (
        f"Rate limit reached for {model} in organization org-sim on {unit}: Limit {over.limit}, Used {over.used}, "
        f"Requested {over.requested}. Please try again in {wait}. "
        "Visit https://platform.openai.com/account/rate-limits to learn more."
    )
    return ErrorBody(message, body.type, body.param, body.code)
