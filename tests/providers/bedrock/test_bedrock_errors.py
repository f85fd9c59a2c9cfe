"""Error responses: the vendor's documented list and what users met, each with its class, and what of it is shown."""

from __future__ import annotations

import json
from typing import Any

import pytest

from trunkline_server.providers.bedrock import BedrockAdapter
from trunkline_server.providers.bedrock.errors import TABLE, exception_name
from trunkline_server.routing.failures import Failure, FailureClass

C = FailureClass
REQUEST_ID = "158a2e26-c851-4440-9f98-e3065df1de46"


def classify(status: int, name: str | None, body: object, headers: dict[str, str] | None = None) -> Failure:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {} if name is None else {"x-amzn-errortype": name}
    return BedrockAdapter().classify(status, {"x-amzn-requestid": REQUEST_ID, **named, **(headers or {})}, raw)


def told(message: str) -> dict[str, Any]:
    return {"message": message}


CORAL = ":http://internal.amazon.com/coral/com.amazon.bedrock/"
"""What stands behind the name in the header (github.com/aws-samples/amazon-bedrock-client-for-mac issue 99)."""

CODES_PAGE = "https://docs.aws.amazon.com/bedrock/latest/userguide/troubleshooting-api-error-codes.html, 2026-11-23"
MODEL = "botocore 1.44.5, data/bedrock-runtime/2023-09-30/service-2.json"
COMMON = "https://docs.aws.amazon.com/bedrock-agentcore-control/latest/APIReference/CommonErrors.html, 2026-11-23"
SIGNING = "https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-troubleshooting.html, 2026-11-23"

GOLDEN: dict[str, tuple[FailureClass, int, str | None, object, str]] = {
    # class, status, name in the header, body, source
    "validation": (
        C.CALLER_INVALID,
        400,
        "ValidationException" + CORAL,
        told("The text field in the ContentBlock object at messages.0.content.0 is blank. Add text to the text field."),
        MODEL,
    ),
    "validation that quotes the caller": (
        C.CALLER_INVALID,
        400,
        "ValidationException",
        told("Value 'Too many tokens per day' at 'messages.1.member.role' failed to satisfy constraint"),
        MODEL,
    ),
    "too long, Claude": (
        C.CONTEXT_LENGTH,
        400,
        "ValidationException",
        told("Input is too long for requested model."),
        "https://github.com/aws-samples/bedrock-chat/issues/95",
    ),
    "too long, wrapped": (
        C.CONTEXT_LENGTH,
        400,
        "ValidationException",
        told("The model returned the following errors: prompt is too long: 227255 tokens > 200000 maximum"),
        "https://github.com/aaif-goose/goose/pull/7504",
    ),
    "too long with its output": (
        C.CONTEXT_LENGTH,
        400,
        "ValidationException",
        told(
            "The model returned the following errors: input length and `max_tokens` exceed context limit: "
            "198214 + 8192 > 200000, decrease input length or `max_tokens` and try again"
        ),
        "https://github.com/continuedev/continue/issues/6136",
    ),
    "entity too large": (C.CONTEXT_LENGTH, 413, "RequestEntityTooLargeException", told("no"), COMMON),
    "too much output": (
        C.CALLER_INVALID,
        400,
        "ValidationException",
        told("The maximum tokens you requested exceeds the model limit of 32768"),
        "https://github.com/charmbracelet/crush/issues/946",
    ),
    "legacy model": (
        C.MODEL_UNAVAILABLE,
        404,
        "ResourceNotFoundException",
        told(
            "Access denied. This Model is marked by provider as Legacy and you have not been actively using the model."
        ),
        "https://github.com/aws-samples/amazon-bedrock-workshop/issues/386",
    ),
    "filtered": (
        C.CONTENT_FILTERED,
        400,
        "ValidationException",
        told("The model returned the following errors: Output blocked by content filtering policy"),
        "https://github.com/anthropics/claude-code/issues/58367, wrapped as in https://github.com/aaif-goose/goose/pull/7504",
    ),
    "413 of a proxy": (C.CONTEXT_LENGTH, 413, None, b"<html><h1>413 Request Entity Too Large</h1></html>", COMMON),
    "model id": (
        C.MODEL_UNAVAILABLE,
        400,
        "ValidationException",
        told("The provided model identifier is invalid."),
        "https://github.com/RooCodeInc/Roo-Code/issues/9182",
    ),
    "on-demand": (
        C.MODEL_UNAVAILABLE,
        400,
        "ValidationException",
        told(
            "Invocation of model ID anthropic.claude-sonnet-4-20250514-v1:0 with on-demand throughput isn't supported. "
            "Retry your request with the ID or ARN of an inference profile that contains this model."
        ),
        "https://github.com/anthropics/claude-code/issues/1466",
    ),
    "not allowed": (
        C.MODEL_UNAVAILABLE,
        400,
        "ValidationException",
        told("Operation not allowed"),
        "https://github.com/langgenius/dify/issues/7488",
    ),
    "not found": (
        C.MODEL_UNAVAILABLE,
        404,
        "ResourceNotFoundException",
        told("The specified resource ARN was not found."),
        MODEL,
    ),
    "end of life": (
        C.MODEL_UNAVAILABLE,
        404,
        "ResourceNotFoundException",
        told("This model version has reached the end of its life. Please refer to the AWS documentation for details."),
        "https://github.com/aws-solutions-library-samples/accelerated-intelligent-document-processing-on-aws/issues/708",
    ),
    "use case": (C.MODEL_UNAVAILABLE, 404, "FTUFormNotFilled", told("Submit the use case details."), CODES_PAGE),
    "unknown operation": (
        C.MODEL_UNAVAILABLE,
        404,
        "UnknownOperationException",
        {"Output": {"__type": "com.amazon.coral.service#UnknownOperationException"}, "Version": "1.0"},
        COMMON,
    ),
    "404 without a word": (C.MODEL_UNAVAILABLE, 404, None, b"", COMMON),
    "no access to the model": (
        C.MODEL_UNAVAILABLE,
        403,
        "AccessDeniedException" + CORAL,
        told("You don't have access to the model with the specified model ID."),
        "https://github.com/langgenius/dify/issues/2829",
    ),
    "no permission for the model": (
        C.MODEL_UNAVAILABLE,
        403,
        "AccessDeniedException",
        told(
            "User: arn:aws:iam::123456789012:user/app is not authorized to perform: bedrock:InvokeModel on resource: "
            "arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-pro-v1:0 because no identity-based policy allows "
            "the bedrock:InvokeModel action"
        ),
        "https://github.com/tinovyatkin/amazon-bedrock-copilot-chat/issues/396",
    ),
    "marketplace": (
        C.MODEL_UNAVAILABLE,
        403,
        "AccessDeniedException",
        told(
            "Model access is denied due to IAM user or service role is not authorized to perform the required AWS "
            "Marketplace actions (aws-marketplace:ViewSubscriptions, aws-marketplace:Subscribe) to enable access to "
            "this model."
        ),
        "https://github.com/ministryofjustice/modernisation-platform-environments/pull/18323",
    ),
    "marketplace's agreement": (C.MODEL_UNAVAILABLE, 403, "MPAgreementBeingCreated", told("Wait."), CODES_PAGE),
    "account's standing": (C.MODEL_UNAVAILABLE, 403, "BadCScoreException", told("Contact support."), CODES_PAGE),
    "account without the API": (
        C.MODEL_UNAVAILABLE,
        403,
        "AccessDeniedException",
        told("Your account is not authorized to invoke this API operation."),
        "https://github.com/aws-samples/amazon-bedrock-client-for-mac/issues/1",
    ),
    "payment": (
        C.KEY_EXHAUSTED,
        403,
        "AccessDeniedException",
        told("Model access is denied due to INVALID_PAYMENT_INSTRUMENT:A valid payment instrument must be provided."),
        "https://github.com/Tracer-Cloud/opensre/pull/1811",
    ),
    "service quota": (
        C.KEY_EXHAUSTED,
        400,
        "ServiceQuotaExceededException",
        told("Your request exceeds the service quota for your account."),
        MODEL,
    ),
    "tokens of a day": (
        C.KEY_EXHAUSTED,
        429,
        "ThrottlingException" + CORAL,
        told("Too many tokens per day, please wait before trying again."),
        "https://github.com/minorun365/agent-book/issues/29",
    ),
    "402": (C.KEY_EXHAUSTED, 402, None, b"", COMMON),
    "other access": (C.KEY_REJECTED, 403, "AccessDeniedException", told("Access denied."), CODES_PAGE),
    "API key": (
        C.KEY_REJECTED,
        403,
        None,
        {"Message": "Authentication failed: Please make sure your API Key is valid."},
        "https://github.com/ai4s-research/open-science/issues/53",
    ),
    "unknown key": (
        C.KEY_REJECTED,
        403,
        "UnrecognizedClientException",
        told("The security token included in the request is invalid."),
        "https://github.com/anthropics/claude-code/issues/2260",
    ),
    "unknown key, another name": (C.KEY_REJECTED, 403, "InvalidClientTokenId", told("no"), CODES_PAGE),
    "expired": (
        C.KEY_REJECTED,
        403,
        "ExpiredTokenException",
        told("The security token included in the request is expired"),
        COMMON,
    ),
    "wrong signature": (
        C.KEY_REJECTED,
        403,
        "InvalidSignatureException",
        told("The request signature we calculated does not match the signature you provided. Check your AWS Secret."),
        SIGNING,
    ),
    "wrong clock": (
        C.KEY_REJECTED,
        403,
        "InvalidSignatureException",
        told("Signature expired: 20261123T100000Z is now earlier than 20261123T101500Z (20261123T102000Z - 5 min.)"),
        SIGNING,
    ),
    "too skewed": (C.KEY_REJECTED, 403, "RequestTimeTooSkewed", told("no"), SIGNING),
    "request expired": (C.KEY_REJECTED, 400, "RequestExpired", told("no"), CODES_PAGE),
    "incomplete signature": (C.KEY_REJECTED, 400, "IncompleteSignature", told("no"), CODES_PAGE),
    "not authorized": (C.KEY_REJECTED, 400, "NotAuthorized", told("no"), CODES_PAGE),
    "no credentials": (
        C.KEY_REJECTED,
        403,
        "MissingAuthenticationTokenException",
        told("Missing Authentication Token"),
        SIGNING,
    ),
    "opt in": (C.KEY_REJECTED, 403, "OptInRequired", told("no"), COMMON),
    "401": (C.KEY_REJECTED, 401, None, b"", COMMON),
    "throttling": (
        C.RATE_LIMITED,
        429,
        "ThrottlingException" + CORAL,
        told("Too many requests, please wait before trying again."),
        "https://github.com/lobehub/lobehub/issues/3994",
    ),
    "throttling by tokens": (
        C.RATE_LIMITED,
        429,
        "ThrottlingException" + CORAL,
        told("Too many tokens, please wait before trying again."),
        "https://github.com/anthropics/claude-code/issues/236",
    ),
    "429 without a word": (C.RATE_LIMITED, 429, None, b"", COMMON),
    "unavailable": (
        C.OVERLOADED,
        503,
        "ServiceUnavailableException",
        told("Bedrock is unable to process your request."),
        MODEL,
    ),
    "unavailable, another name": (C.OVERLOADED, 503, "ServiceUnavailable", told("no"), CODES_PAGE),
    "not ready": (
        C.OVERLOADED,
        429,
        "ModelNotReadyException",
        told("Model is not ready for inference. Wait and try your request again."),
        MODEL,
    ),
    "timeout": (C.SERVER_ERROR, 408, "ModelTimeoutException", told("Model has timed out."), MODEL),
    "model's error": (
        C.SERVER_ERROR,
        424,
        "ModelErrorException",
        {"message": "The model returned an error.", "originalStatusCode": 429, "resourceName": "m"},
        MODEL,
    ),
    "stream's error": (C.SERVER_ERROR, 424, "ModelStreamErrorException", told("no"), MODEL),
    "server": (
        C.SERVER_ERROR,
        500,
        "InternalServerException",
        told("The system encountered an unexpected error during processing. Try your request again."),
        MODEL,
    ),
    "server, another name": (C.SERVER_ERROR, 500, "InternalFailure", told("no"), CODES_PAGE),
    "503 of a balancer": (C.SERVER_ERROR, 503, None, b"<html><h1>503 Service Unavailable</h1></html>", COMMON),
    "conflict": (C.SERVER_ERROR, 409, "ConflictException", told("no"), MODEL),
    "redirect": (C.PROTOCOL, 307, None, b"", COMMON),
}


@pytest.mark.parametrize("case", GOLDEN)
def test_golden_errors(case: str) -> None:
    """Each documented error lands in its class."""
    expected, status, name, body, source = GOLDEN[case]
    assert source
    assert classify(status, name, body).failure_class is expected


@pytest.mark.parametrize("form", ["com.amazon.coral.service#{}", "{}", "{}:http://internal.amazon.com/x/"])
@pytest.mark.parametrize("field", ["__type", "code", "type"])
def test_the_name_may_stand_in_the_body(field: str, form: str) -> None:
    """Where no header names the exception, the body does, in whatever form."""
    body = {field: form.format("ServiceQuotaExceededException"), "Message": "no"}
    failure = classify(400, None, body)
    assert failure.failure_class is C.KEY_EXHAUSTED
    assert failure.upstream_code == "ServiceQuotaExceededException"


def test_names_are_one_in_every_form() -> None:
    """Namespace, address and the case of the first letter do not count."""
    for form in ("throttlingException", "ThrottlingException" + CORAL, "com.amazon#ThrottlingException"):
        assert exception_name(form) == "ThrottlingException"
    assert exception_name("") == ""


def test_every_row_of_the_table_has_a_golden_body() -> None:
    """No pattern and no list of codes stands there without an error that it is for."""
    names = {exception_name(name) for _, _, name, _, _ in GOLDEN.values() if name}
    messages = [body["message"] for *_, body, _ in GOLDEN.values() if isinstance(body, dict) and "message" in body]
    for code_row in TABLE.codes:
        assert code_row.codes & names
    for text_row in TABLE.texts:
        assert any(text_row.pattern.match(message) for message in messages), text_row.pattern.pattern


def test_what_is_shown() -> None:
    """Our words with the vendor's code; its own words where they name no account; its id of the request."""
    failure = classify(400, "ValidationException", told("The key AKIAIOSFODNN7EXAMPLE is in a prompt."))
    assert failure.message == "the provider refused the request as invalid (HTTP 400, code ValidationException)"
    assert failure.upstream_text == "The key *** is in a prompt."
    assert failure.upstream_request_id == REQUEST_ID
    assert failure.http_status == 400
    denied = classify(403, "AccessDeniedException", told("arn:aws:iam::123456789012:user/app may not."))
    assert denied.upstream_text is None


def test_the_time_to_stay_away() -> None:
    """The ordinary header is read."""
    assert classify(429, "ThrottlingException", told("no"), {"retry-after": "7"}).retry_after_s == 7.0


@pytest.mark.parametrize("body", [b"", b"\xff", b"[", b"[1]", b"7", b'{"message": 7}', b"[" * 100_000, b"x" * 65_536])
def test_any_body_is_classified(body: bytes) -> None:
    """Bodies of any shape leave the status to speak."""
    assert classify(500, None, body).failure_class is C.SERVER_ERROR
