"""Azure's error bodies, by name and by status: its gateway's own words, and OpenAI's where a model was reached."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import msgspec

from trunkline_server.simulator.failure import JSON_TYPE, Reply
from trunkline_server.simulator.openai.errors import ERRORS as OPENAI_ERRORS
from trunkline_server.simulator.openai.errors import error_answer as openai_answer
from trunkline_server.simulator.openai.errors import error_event

if TYPE_CHECKING:
    from trunkline_server.simulator.failure import ErrorKind as AnyErrorKind
    from trunkline_server.simulator.failure import Trouble

SAFE: dict[str, Any] = {
    name: {"filtered": False, "severity": "safe"} for name in ("hate", "self_harm", "sexual", "violence")
}
"""What the content filter says of words that it finds nothing in."""

FILTERED: dict[str, Any] = {**SAFE, "violence": {"filtered": True, "severity": "medium"}}
"""What it says of words that it blocks."""


class ErrorKind(msgspec.Struct, frozen=True):
    """A named failure of Azure's own: its status and its body, in which `{retry}` is a number of seconds."""

    status: int
    body: dict[str, Any]


def _kind(status: int, code: str, message: str, /, **more: Any) -> ErrorKind:
    return ErrorKind(status, {"error": {"code": code, "message": message, **more}})


def _limit(what: str) -> ErrorKind:
    return _kind(
        429,
        "429",
        "Requests to the ChatCompletions_Create Operation under Azure OpenAI API version 2024-10-21 have exceeded "
        f"{what} rate limit of your current OpenAI S0 pricing tier. Please retry after {{retry}} seconds. Please go "
        "here: https://aka.ms/oai/quotaincrease if you would like to further increase the default rate limit.",
    )


_DENIED = _kind(
    401,
    "401",
    "Access denied due to invalid subscription key or wrong API endpoint. Make sure to provide a valid key for an "
    "active subscription and use a correct regional API endpoint for your resource.",
)
_OWN: dict[str, ErrorKind] = {
    "content_filter": _kind(
        400,
        "content_filter",
        "The response was filtered due to the prompt triggering Azure OpenAI's content management policy. Please "
        "modify your prompt and retry. To learn more about our content filtering policies please read our "
        "documentation: https://go.microsoft.com/fwlink/?linkid=2198766",
        type=None,
        param="prompt",
        status=400,
        innererror={"code": "ResponsibleAIPolicyViolation", "content_filter_result": FILTERED},
    ),
    "api_version_not_supported": _kind(400, "BadRequest", "API version not supported"),
    "responses_api_version": _kind(
        400, "BadRequest", "Azure OpenAI Responses API is enabled only for api-version 2025-03-01-preview and later"
    ),
    "operation_not_supported": _kind(
        400,
        "OperationNotSupported",
        "The chatCompletion operation does not work with the specified model. Please choose different model and try "
        "again. You can learn more about which models can be used with each operation here: "
        "https://go.microsoft.com/fwlink/?linkid=2197993.",
    ),
    "missing_api_key": _DENIED,
    "invalid_api_key": _DENIED,
    "missing_scope": _kind(
        401,
        "PermissionDenied",
        "The principal `00000000-0000-0000-0000-000000000000` lacks the required data action "
        "`Microsoft.CognitiveServices/accounts/OpenAI/deployments/chat/completions/action` to perform "
        "`POST /openai/deployments/{deployment-id}/chat/completions` operation.",
    ),
    "virtual_network": _kind(403, "403", "Access denied due to Virtual Network/Firewall rules."),
    "insufficient_quota": ErrorKind(
        403, {"statusCode": 403, "message": "Out of call volume quota. Quota will be replenished in 2.12 days."}
    ),
    "model_not_found": _kind(
        404,
        "DeploymentNotFound",
        "The API deployment for this resource does not exist. If you created the deployment within the last 5 minutes, "
        "please wait a moment and try again.",
    ),
    "resource_not_found": _kind(404, "404", "Resource not found"),
    "rate_limit_exceeded": _limit("call"),
    "tokens_rate_limit_exceeded": _limit("token"),
    "overloaded": _kind(
        429,
        "429",
        "The system is currently experiencing high demand and cannot process your request. Your request exceeds the "
        "maximum usage size allowed during peak load. Please retry after {retry} seconds. For improved capacity "
        "reliability, consider switching to Provisioned Throughput.",
    ),
}
_OPENAI = (
    "bad_request",
    "context_length_exceeded",
    "request_timeout",
    "request_too_large",
    "unprocessable",
    "server_error",
    "bad_gateway",
    "gateway_timeout",
)

ERRORS: dict[str, AnyErrorKind] = {**{name: OPENAI_ERRORS[name] for name in _OPENAI}, **_OWN}
"""Every failure that can be asked for by name."""

BY_STATUS: dict[int, str] = {
    400: "bad_request",
    401: "invalid_api_key",
    403: "virtual_network",
    404: "model_not_found",
    408: "request_timeout",
    413: "request_too_large",
    422: "unprocessable",
    429: "rate_limit_exceeded",
    500: "server_error",
    502: "bad_gateway",
    504: "gateway_timeout",
}
"""The name that a bare status stands for."""


def error_answer(trouble: Trouble, name: str | None) -> Reply:
    """Return the answer to a refused request; `name` is the trouble's, None if its status has no body of its own."""
    own = _OWN.get(name or "")
    if trouble.own is not None or own is None:
        return openai_answer(trouble, name)
    return Reply(trouble.status or own.status, msgspec.json.encode(_worded(own.body, trouble)), JSON_TYPE)


def error_body(trouble: Trouble) -> bytes:
    """Return the JSON of an error inside an answer; pages of proxies become the server's error there."""
    name = trouble.name or "server_error"
    if trouble.own is not None or getattr(ERRORS[name], "html", None) is not None:
        return error_event(trouble)
    return error_answer(trouble, name).body


def _worded(body: dict[str, Any], trouble: Trouble) -> dict[str, Any]:
    """Return a body with the seconds to wait in its text."""
    error = body.get("error")
    if error is None:
        return body
    retry = str(max(1, math.ceil(trouble.retry_s or 0)))
    return {"error": {**error, "message": error["message"].replace("{retry}", retry)}}
