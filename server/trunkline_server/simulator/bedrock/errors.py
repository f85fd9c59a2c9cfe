"""The exceptions of Bedrock, by name and by status: the header that names them, and `{"message": …}`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from trunkline_server.simulator.failure import JSON_TYPE, RefusedError, Reply, Trouble

if TYPE_CHECKING:
    from trunkline_server.simulator.capacity import OverCapacity

TYPE_HEADER = "x-amzn-errortype"
_CORAL = ":http://internal.amazon.com/coral/com.amazon.bedrock/"
"""Stands behind the name in the header."""


class ErrorKind(msgspec.Struct, frozen=True):
    """A named failure: its status, the service's name of it and its words."""

    status: int
    type: str
    message: str


ERRORS: dict[str, ErrorKind] = {
    "bad_request": ErrorKind(
        400, "ValidationException", "The format of the value at messages.0.content.0 is invalid. Try again."
    ),
    "context_length_exceeded": ErrorKind(400, "ValidationException", "Input is too long for requested model."),
    "content_filter": ErrorKind(
        400,
        "ValidationException",
        "The model returned the following errors: Output blocked by content filtering policy",
    ),
    "inference_profile_needed": ErrorKind(
        400,
        "ValidationException",
        "Invocation of model ID {model} with on-demand throughput isn't supported. Retry your request with the ID or "
        "ARN of an inference profile that contains this model.",
    ),
    "insufficient_quota": ErrorKind(
        400, "ServiceQuotaExceededException", "Your request exceeds the service quota for your account."
    ),
    "missing_api_key": ErrorKind(403, "MissingAuthenticationTokenException", "Missing Authentication Token"),
    "invalid_api_key": ErrorKind(
        403, "UnrecognizedClientException", "The security token included in the request is invalid."
    ),
    "expired_token": ErrorKind(403, "ExpiredTokenException", "The security token included in the request is expired"),
    "missing_scope": ErrorKind(
        403, "AccessDeniedException", "You do not have sufficient permissions to perform the requested action."
    ),
    "model_not_allowed": ErrorKind(
        403, "AccessDeniedException", "You don't have access to the model with the specified model ID."
    ),
    "model_not_found": ErrorKind(404, "ResourceNotFoundException", "The specified resource ARN was not found: {model}"),
    "request_too_large": ErrorKind(413, "RequestEntityTooLargeException", "The request entity is too large."),
    "rate_limit_exceeded": ErrorKind(429, "ThrottlingException", "Too many requests, please wait before trying again."),
    "tokens_rate_limit_exceeded": ErrorKind(
        429, "ThrottlingException", "Too many tokens, please wait before trying again."
    ),
    "tokens_of_a_day_exceeded": ErrorKind(
        429, "ThrottlingException", "Too many tokens per day, please wait before trying again."
    ),
    "model_not_ready": ErrorKind(
        429, "ModelNotReadyException", "Model is not ready for inference. Wait and try your request again."
    ),
    "model_error": ErrorKind(424, "ModelErrorException", "The model returned an unexpected error."),
    "model_stream_error": ErrorKind(
        424, "ModelStreamErrorException", "The system encountered an unexpected error during processing."
    ),
    "server_error": ErrorKind(
        500, "InternalServerException", "The system encountered an unexpected error during processing. Try again."
    ),
    "overloaded": ErrorKind(503, "ServiceUnavailableException", "Bedrock is unable to process your request."),
    "gateway_timeout": ErrorKind(408, "ModelTimeoutException", "Model has timed out in processing the request."),
}
"""Every failure that can be asked for by name."""

BY_STATUS: dict[int, str] = {
    400: "bad_request",
    403: "missing_scope",
    404: "model_not_found",
    408: "gateway_timeout",
    413: "request_too_large",
    424: "model_error",
    429: "rate_limit_exceeded",
    500: "server_error",
    503: "overloaded",
}
"""The name that a bare status stands for."""


def error_answer(trouble: Trouble, name: str | None) -> Reply:
    """Return the answer to a refused request; `name` is the trouble's, None if its status has no body of its own."""
    kind = kind_of(trouble, name)
    return reply(kind.status, kind.type, kind.message)


def kind_of(trouble: Trouble, name: str | None) -> ErrorKind:
    """Return status, name and words of a failure."""
    if trouble.own is not None:
        code = trouble.own.code if isinstance(trouble.own.code, str) else "ValidationException"
        return ErrorKind(trouble.status or 400, code, trouble.own.message)
    if name is None:
        return ErrorKind(trouble.status or 500, "UnknownException", f"Status {trouble.status}.")
    kind = ERRORS[name]
    words = kind.message.replace("{model}", trouble.model)
    if trouble.over is not None:
        words = _figures(words, trouble.over)
    return ErrorKind(trouble.status or kind.status, kind.type, words)


def body_of(kind: ErrorKind, *, named: bool = False) -> bytes:
    """Return the JSON of an error; `named`: with its name in it, where no header can say it."""
    return msgspec.json.encode({**({"__type": kind.type} if named else {}), "message": kind.message})


def reply(status: int, name: str, message: str) -> Reply:
    """Return an exception as an answer."""
    body = body_of(ErrorKind(status, name, message))
    return Reply(status, body, JSON_TYPE, ((TYPE_HEADER, name + _CORAL),))


def invalid(message: str) -> RefusedError:
    """Return the refusal of a request in the service's words."""
    return RefusedError(reply(400, "ValidationException", message))


def _figures(words: str, over: OverCapacity) -> str:
    """Return the words of a limit: the service tells no figures, but the model does of its window."""
    if over.kind != "context":
        return words
    return (
        f"The model returned the following errors: prompt is too long: {over.requested} tokens > {over.limit} maximum"
    )
