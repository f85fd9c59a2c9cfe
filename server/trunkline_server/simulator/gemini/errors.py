"""The error bodies of Google's APIs, by name and by status.

Shapes, statuses, reasons and texts are as the services send them: `{"error": {"code", "message", "status",
"details"}}`, where `details` hold what google.rpc defines.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from trunkline_server.simulator.failure import RefusedError, Reply, Trouble

if TYPE_CHECKING:
    from trunkline_server.simulator.capacity import OverCapacity

_QUOTA = (
    "You exceeded your current quota, please check your plan and billing details. For more information on this error, "
    "head to: https://ai.google.dev/gemini-api/docs/rate-limits."
)
_METRIC = "generativelanguage.googleapis.com/generate_content_paid_tier"
_STATUSES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    402: "RESOURCE_EXHAUSTED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ABORTED",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
"""What google.rpc calls a status."""


class ErrorKind(msgspec.Struct, frozen=True):
    """A named failure: its status and words; `reason` and `quota` are told in details where the service does."""

    status: int
    message: str
    reason: str | None = None
    quota: str | None = None
    rpc: str | None = None
    """The status of google.rpc, where it is not the usual one."""


ERRORS: dict[str, ErrorKind] = {
    "bad_request": ErrorKind(400, "Request contains an invalid argument."),
    "context_length_exceeded": ErrorKind(
        400, "The input token count (1200293) exceeds the maximum number of tokens allowed (1048576)."
    ),
    "content_filter": ErrorKind(
        400,
        "Image generation failed with the following error: The response is blocked, as it may violate our policies.",
    ),
    "missing_api_key": ErrorKind(
        403,
        "Method doesn't allow unregistered callers (callers without established identity). Please use API Key or other "
        "form of API consumer identity to call this API.",
    ),
    "invalid_api_key": ErrorKind(400, "API key not valid. Please pass a valid API key.", "API_KEY_INVALID"),
    "access_token_expired": ErrorKind(
        401,
        "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other valid "
        "authentication credential.",
        "ACCESS_TOKEN_EXPIRED",
    ),
    "missing_scope": ErrorKind(
        403,
        "Requests to this API generativelanguage.googleapis.com method GenerateContent are blocked.",
        "API_KEY_SERVICE_BLOCKED",
    ),
    "location_not_supported": ErrorKind(
        400, "User location is not supported for the API use.", rpc="FAILED_PRECONDITION"
    ),
    "model_not_found": ErrorKind(
        404,
        "models/{model} is not found for API version v1beta, or is not supported for generateContent. Call ListModels "
        "to see the list of available models and their supported methods.",
    ),
    "request_too_large": ErrorKind(400, "Request payload size exceeds the limit: 20971520 bytes."),
    "rate_limit_exceeded": ErrorKind(429, _QUOTA, quota="GenerateRequestsPerMinutePerProjectPerModel-PaidTier1"),
    "tokens_rate_limit_exceeded": ErrorKind(429, _QUOTA, quota="GenerateContentPaidTierInputTokensPerModelPerMinute"),
    "daily_quota_exceeded": ErrorKind(429, _QUOTA, quota="GenerateRequestsPerDayPerProjectPerModel-FreeTier"),
    "insufficient_quota": ErrorKind(
        402,
        "Your prepayment credits are depleted. Please go to AI Studio at https://ai.studio/projects to manage your "
        "project and billing.",
    ),
    "server_error": ErrorKind(500, "An internal error has occurred. Please retry."),
    "overloaded": ErrorKind(503, "The model is overloaded. Please try again later."),
    "gateway_timeout": ErrorKind(504, "Deadline expired before operation could complete."),
}
"""Every failure that can be asked for by name."""

BY_STATUS: dict[int, str] = {
    400: "bad_request",
    401: "access_token_expired",
    402: "insufficient_quota",
    403: "missing_scope",
    404: "model_not_found",
    429: "rate_limit_exceeded",
    500: "server_error",
    503: "overloaded",
    504: "gateway_timeout",
}
"""The name that a bare status stands for."""


def error_answer(trouble: Trouble, name: str | None) -> Reply:
    """Return the answer to a refused request; `name` is the trouble's, None if its status has no body of its own."""
    known = name is not None and trouble.own is None
    usual = ERRORS[name].status if known and name is not None else 400 if trouble.own is not None else 500
    return Reply(trouble.status or usual, msgspec.json.encode(error_object(trouble, name)))


def error_object(trouble: Trouble, name: str | None) -> dict[str, Any]:
    """Return an error, wherever it stands."""
    if trouble.own is not None:
        own = trouble.own
        status = trouble.status or 400
        details = [] if own.code is None else [_info(str(own.code))]
        return _error(status, own.message, _STATUSES.get(status, "UNKNOWN"), details)
    if name is None:
        status = trouble.status or 500
        return _error(status, f"Status {status}.", _STATUSES.get(status, "UNKNOWN"))
    kind = ERRORS[name]
    message = kind.message.replace("{model}", trouble.model)
    if trouble.over is not None and trouble.over.kind == "context":
        message = f"The input token count ({trouble.over.requested}) exceeds the maximum number of tokens allowed "
        message += f"({trouble.over.limit})."
    status = trouble.status or kind.status
    rpc = kind.rpc or _STATUSES.get(kind.status, "UNKNOWN")
    return _error(status, message, rpc, _details(kind, trouble))


def invalid(message: str, field: str | None = None) -> RefusedError:
    """Return the refusal of a request in the service's words; `field` is where the fault is."""
    details: list[dict[str, Any]] = []
    if field is not None:
        violations = [{"field": field, "description": message}]
        details = [{"@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": violations}]
    return RefusedError(Reply(400, msgspec.json.encode(_error(400, message, "INVALID_ARGUMENT", details))))


def _error(code: int, message: str, status: str, details: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    error: dict[str, Any] = {"code": code, "message": message, "status": status}
    if details:
        error["details"] = details
    return {"error": error}


def _details(kind: ErrorKind, trouble: Trouble) -> list[dict[str, Any]]:
    details: list[dict[str, Any]] = []
    if kind.reason is not None:
        details.append(_info(kind.reason))
    if kind.quota is not None:
        details.append(_quota_failure(kind.quota, trouble.model, trouble.over))
    if trouble.retry_s is not None:
        delay = f"{trouble.retry_s:.9f}".rstrip("0").rstrip(".")
        details.append({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": f"{delay}s"})
    return details


def _info(reason: str) -> dict[str, Any]:
    return {
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": reason,
        "domain": "googleapis.com",
        "metadata": {"service": "generativelanguage.googleapis.com"},
    }


def _quota_failure(quota: str, model: str, over: OverCapacity | None) -> dict[str, Any]:
    violation: dict[str, Any] = {
        "quotaMetric": f"{_METRIC}_requests",
        "quotaId": quota,
        "quotaDimensions": {"model": model, "location": "global"},
    }
    if over is not None:
        violation["quotaValue"] = str(over.limit)
    return {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [violation]}
