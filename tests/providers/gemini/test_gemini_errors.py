"""Errors of Google's: each row of the table with a body as it was seen or documented, and where."""

from __future__ import annotations

import json
from typing import Any

import pytest

from trunkline_server.providers.base import AttemptError
from trunkline_server.providers.gemini import GeminiAdapter, GeminiStreamDecoder
from trunkline_server.providers.gemini.classify import parse_error
from trunkline_server.providers.gemini.errors import CODES, TABLE, TEXTS
from trunkline_server.routing.failures import Failure, FailureClass

C = FailureClass
QUOTA_URL = "https://ai.google.dev/gemini-api/docs/rate-limits"
OVER_QUOTA = (
    "You exceeded your current quota, please check your plan and billing details. "
    f"For more information on this error, head to: {QUOTA_URL}."
)
DOCS = "https://ai.google.dev/gemini-api/docs/troubleshooting, read 2026-11"
REASONS = "https://github.com/googleapis/googleapis/blob/master/google/api/error_reason.proto, read 2026-11"


def classify(status: int, body: object, headers: dict[str, str] | None = None) -> Failure:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return GeminiAdapter().classify(status, headers or {}, raw)


def error(code: int, status: str, message: str, *details: dict[str, Any]) -> dict[str, Any]:
    return {"error": {"code": code, "message": message, "status": status, **({"details": details} if details else {})}}


def info(reason: str) -> dict[str, Any]:
    return {
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": reason,
        "domain": "googleapis.com",
        "metadata": {"service": "generativelanguage.googleapis.com", "consumer": "projects/178213"},
    }


def quota(*ids: str) -> dict[str, Any]:
    metric = "generativelanguage.googleapis.com/generate_content_free_tier_requests"
    violations = [
        {
            "quotaMetric": metric,
            "quotaId": quota_id,
            "quotaDimensions": {"location": "global", "model": "gemini-3-flash"},
        }
        for quota_id in ids
    ]
    return {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": violations}


def retry(delay: object) -> dict[str, Any]:
    return {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay}


HELP = {
    "@type": "type.googleapis.com/google.rpc.Help",
    "links": [{"description": "Learn more about Gemini API quotas", "url": QUOTA_URL}],
}
PER_MINUTE = "GenerateRequestsPerMinutePerProjectPerModel-FreeTier"
PER_DAY = "GenerateRequestsPerDayPerProjectPerModel-FreeTier"

GOLDEN: dict[str, tuple[FailureClass, int, object, str]] = {
    "400 malformed": (
        C.CALLER_INVALID,
        400,
        error(
            400,
            "INVALID_ARGUMENT",
            "Invalid JSON payload received. Unknown name \"frequency\" at 'generation_config': Cannot find field.",
            {
                "@type": "type.googleapis.com/google.rpc.BadRequest",
                "fieldViolations": [{"field": "generation_config", "description": "Unknown name"}],
            },
        ),
        DOCS,
    ),
    "400 that quotes the caller about quota": (
        C.CALLER_INVALID,
        400,
        error(400, "INVALID_ARGUMENT", "Invalid function name: API key not valid."),
        "made: a caller may not talk a key away",
    ),
    "400 no signature": (
        C.CALLER_INVALID,
        400,
        error(
            400,
            "INVALID_ARGUMENT",
            "Function call is missing a thought_signature in functionCall parts. This is required for tools to work "
            "correctly, and missing thought_signature may lead to degraded model performance.",
        ),
        "https://github.com/block/goose/issues/5792",
    ),
    "400 precondition": (
        C.CALLER_INVALID,
        400,
        error(400, "FAILED_PRECONDITION", "Precondition check failed."),
        DOCS,
    ),
    "400 too many tokens": (
        C.CONTEXT_LENGTH,
        400,
        error(
            400,
            "INVALID_ARGUMENT",
            "The input token count (1200293) exceeds the maximum number of tokens allowed (1048576).",
        ),
        "https://github.com/google-gemini/gemini-cli/issues/6678",
    ),
    "400 too many tokens, in a list": (
        C.CONTEXT_LENGTH,
        400,
        [
            error(
                400,
                "INVALID_ARGUMENT",
                "The input token count exceeds the maximum number of tokens allowed 1048576.",
            )
        ],
        "https://github.com/google-gemini/gemini-cli/issues/5377",
    ),
    "400 too many tokens, Vertex": (
        C.CONTEXT_LENGTH,
        400,
        error(
            400,
            "INVALID_ARGUMENT",
            "Unable to submit request because the input token count is 1048577 but model only supports up to 1048576. "
            "Reduce the input token count and try again.",
        ),
        "Vertex AI, as users reported it",
    ),
    "400 too many bytes": (
        C.CONTEXT_LENGTH,
        400,
        error(400, "INVALID_ARGUMENT", "Request payload size exceeds the limit: 20971520 bytes."),
        "Gemini API, as users reported it",
    ),
    "413 of the front end": (
        C.CONTEXT_LENGTH,
        413,
        b"<html><title>Error 413 (Request Entity Too Large)!!1</title>",
        "seen",
    ),
    "400 key": (
        C.KEY_REJECTED,
        400,
        error(
            400,
            "INVALID_ARGUMENT",
            "API key not valid. Please pass a valid API key.",
            info("API_KEY_INVALID"),
            {"@type": "type.googleapis.com/google.rpc.LocalizedMessage", "locale": "en-US", "message": "API key not"},
        ),
        "https://www.developersdigest.tech/errors/api/gemini-api, which quotes the vendor's page, 2026",
    ),
    "400 key without a reason": (
        C.KEY_REJECTED,
        400,
        error(400, "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key."),
        DOCS,
    ),
    "400 old key": (
        C.KEY_REJECTED,
        400,
        error(400, "INVALID_ARGUMENT", "API key expired. Please renew the API key.", info("API_KEY_INVALID")),
        "Gemini API, as users reported it",
    ),
    "400 filter": (
        C.CONTENT_FILTERED,
        400,
        error(
            400,
            "INVALID_ARGUMENT",
            "The prompt could not be submitted. This prompt contains sensitive words that violate Google's Responsible "
            "AI practices.",
        ),
        "Vertex AI, as users reported it",
    ),
    "401": (
        C.KEY_REJECTED,
        401,
        error(
            401,
            "UNAUTHENTICATED",
            "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other "
            "valid authentication credential.",
            info("ACCESS_TOKEN_EXPIRED"),
        ),
        REASONS,
    ),
    "401 without a body": (C.KEY_REJECTED, 401, b"", "made"),
    "403 suspended": (
        C.KEY_REJECTED,
        403,
        error(
            403,
            "PERMISSION_DENIED",
            "Permission denied: Consumer 'api_key:AIzaSyExample' has been suspended.",
            info("CONSUMER_SUSPENDED"),
        ),
        "https://github.com/google/generative-ai-docs/issues/356",
    ),
    "403 leaked": (
        C.KEY_REJECTED,
        403,
        error(403, "PERMISSION_DENIED", "Your API key was reported as leaked. Please use another API key."),
        "https://github.com/continuedev/continue/issues/10513",
    ),
    "403 API not enabled": (
        C.KEY_REJECTED,
        403,
        error(
            403,
            "PERMISSION_DENIED",
            "Generative Language API has not been used in project 411082643095 before or it is disabled.",
            info("SERVICE_DISABLED"),
        ),
        "https://github.com/google-gemini/deprecated-generative-ai-python/issues/10",
    ),
    "403 key for another API": (
        C.KEY_REJECTED,
        403,
        error(
            403,
            "PERMISSION_DENIED",
            "Requests to this API generativelanguage.googleapis.com method ... are blocked.",
            info("API_KEY_SERVICE_BLOCKED"),
        ),
        "https://github.com/continuedev/continue/issues/12781",
    ),
    "403 a caller's file": (
        C.CALLER_INVALID,
        403,
        error(403, "PERMISSION_DENIED", "You do not have permission to access the File abc or it may not exist."),
        "Gemini API, as users reported it",
    ),
    "403 a caller's cache": (
        C.CALLER_INVALID,
        403,
        error(403, "PERMISSION_DENIED", "CachedContent not found (or permission denied)"),
        "Gemini API, as users reported it",
    ),
    "403 a caller's object": (
        C.CALLER_INVALID,
        403,
        error(
            403,
            "PERMISSION_DENIED",
            "Permission 'storage.objects.get' denied on resource (or it may not exist).",
        ),
        "Vertex AI, as users reported it",
    ),
    "403 tuned model": (
        C.MODEL_UNAVAILABLE,
        403,
        error(403, "PERMISSION_DENIED", "You do not have permission to access tuned model tunedModels/x."),
        DOCS,
    ),
    "403 model on Vertex": (
        C.MODEL_UNAVAILABLE,
        403,
        error(
            403,
            "PERMISSION_DENIED",
            "Permission 'aiplatform.endpoints.predict' denied on resource '//aiplatform.googleapis.com/projects/p/"
            "locations/us-east4/publishers/google/models/gemini-pro' (or it may not exist).",
            info("IAM_PERMISSION_DENIED"),
        ),
        "https://github.com/rpurinton/gemini-php/issues/4",
    ),
    "403 place": (
        C.MODEL_UNAVAILABLE,
        403,
        error(403, "PERMISSION_DENIED", "Location denied.", info("LOCATION_POLICY_VIOLATED")),
        REASONS,
    ),
    "400 place": (
        C.MODEL_UNAVAILABLE,
        400,
        error(400, "FAILED_PRECONDITION", "User location is not supported for the API use."),
        DOCS,
    ),
    "404 model": (
        C.MODEL_UNAVAILABLE,
        404,
        error(
            404,
            "NOT_FOUND",
            "models/gemini-9 is not found for API version v1beta, or is not supported for generateContent. Call "
            "ListModels to see the list of available models and their supported methods.",
        ),
        DOCS,
    ),
    "404 model on Vertex": (
        C.MODEL_UNAVAILABLE,
        404,
        error(
            404,
            "NOT_FOUND",
            "Publisher Model `projects/740989871600/locations/us-central1/publishers/google/models/x` was not found or "
            "your project does not have access to it.",
        ),
        "https://github.com/genkit-ai/genkit/issues/4688",
    ),
    "400 free tier": (
        C.KEY_EXHAUSTED,
        400,
        error(
            400,
            "FAILED_PRECONDITION",
            "Gemini API free tier is not available in your country. Please enable billing on your project in Google AI "
            "Studio.",
        ),
        DOCS,
    ),
    "402": (
        C.KEY_EXHAUSTED,
        402,
        error(
            402,
            "RESOURCE_EXHAUSTED",
            "Your prepayment credits are depleted. Please go to AI Studio at https://ai.studio/projects to manage your "
            "project and billing.",
        ),
        "https://discuss.ai.google.dev/t/183654",
    ),
    "429 credits, as it was before": (
        C.KEY_EXHAUSTED,
        429,
        error(429, "RESOURCE_EXHAUSTED", "Your prepayment credits are depleted. Please go to AI Studio."),
        "https://discuss.ai.google.dev/t/169216",
    ),
    "403 billing": (
        C.KEY_EXHAUSTED,
        403,
        error(403, "PERMISSION_DENIED", "no", info("BILLING_DISABLED")),
        REASONS,
    ),
    "403 billing without a reason": (
        C.KEY_EXHAUSTED,
        403,
        error(403, "PERMISSION_DENIED", "This API method requires billing to be enabled. Please enable billing."),
        "Vertex AI, as users reported it",
    ),
    "429 of a day": (
        C.KEY_EXHAUSTED,
        429,
        error(429, "RESOURCE_EXHAUSTED", OVER_QUOTA, quota(PER_DAY), HELP, retry("34.074824224s")),
        "https://github.com/google-gemini/gemini-cli/issues/8437",
    ),
    "429 of a minute and of a day": (
        C.KEY_EXHAUSTED,
        429,
        error(429, "RESOURCE_EXHAUSTED", OVER_QUOTA, quota(PER_MINUTE, PER_DAY), HELP, retry("34s")),
        "https://github.com/google-gemini/gemini-cli/issues/8437",
    ),
    "429 of a day by its metric": (
        C.KEY_EXHAUSTED,
        429,
        error(
            429,
            "RESOURCE_EXHAUSTED",
            OVER_QUOTA,
            {
                "@type": "type.googleapis.com/google.rpc.QuotaFailure",
                "violations": [
                    {"quotaMetric": "generativelanguage.googleapis.com/generate_requests_per_model_per_day"}
                ],
            },
        ),
        "https://github.com/langgenius/dify/issues/19838",
    ),
    "429 of a minute": (
        C.RATE_LIMITED,
        429,
        error(429, "RESOURCE_EXHAUSTED", OVER_QUOTA, quota(PER_MINUTE), HELP, retry("22s")),
        "https://github.com/google-gemini/gemini-cli/issues/8437",
    ),
    "429 of who knows what": (
        C.RATE_LIMITED,
        429,
        error(429, "RESOURCE_EXHAUSTED", OVER_QUOTA, HELP),
        "https://github.com/googleapis/python-genai/issues/1427",
    ),
    "429 short": (
        C.RATE_LIMITED,
        429,
        error(429, "RESOURCE_EXHAUSTED", "Resource has been exhausted (e.g. check quota)."),
        "https://github.com/googleapis/python-genai/issues/2065",
    ),
    "429 Vertex": (
        C.RATE_LIMITED,
        429,
        [
            error(
                429,
                "RESOURCE_EXHAUSTED",
                "Resource exhausted. Please try again later. Please refer to "
                "https://cloud.google.com/vertex-ai/generative-ai/docs/error-code-429 for more details.",
            )
        ],
        "https://github.com/google-gemini/gemini-cli/issues/14811",
    ),
    "429 by its reason": (
        C.RATE_LIMITED,
        429,
        error(429, "RESOURCE_EXHAUSTED", "no", info("RATE_LIMIT_EXCEEDED")),
        REASONS,
    ),
    "503": (
        C.OVERLOADED,
        503,
        error(503, "UNAVAILABLE", "The model is overloaded. Please try again later."),
        DOCS,
    ),
    "503 demand": (
        C.OVERLOADED,
        503,
        error(
            503,
            "UNAVAILABLE",
            "This model is currently experiencing high demand. Spikes in demand are usually temporary. Please try "
            "again later.",
        ),
        "https://github.com/theopenco/llmgateway/pull/3616",
    ),
    "500 overloaded": (
        C.OVERLOADED,
        500,
        {"error": {"code": 500, "message": "The model is overloaded. Please try again later."}},
        "made: the text alone",
    ),
    "500 demand": (
        C.OVERLOADED,
        500,
        {"error": {"code": 500, "message": "This model is currently experiencing high demand."}},
        "made: the text alone",
    ),
    "503 of the front end": (C.SERVER_ERROR, 503, b"<html><title>Error 503 (Service Unavailable)!!1</title>", "seen"),
    "500": (
        C.SERVER_ERROR,
        500,
        error(
            500,
            "INTERNAL",
            "An internal error has occurred. Please retry or report in "
            "https://developers.generativeai.google/guide/troubleshooting",
        ),
        DOCS,
    ),
    "504": (
        C.SERVER_ERROR,
        504,
        error(504, "DEADLINE_EXCEEDED", "Deadline expired before operation could complete."),
        DOCS,
    ),
    "499": (C.SERVER_ERROR, 499, error(499, "CANCELLED", "The operation was cancelled."), "google/rpc/code.proto"),
    "409": (C.SERVER_ERROR, 409, error(409, "ABORTED", "The operation was aborted."), "google/rpc/code.proto"),
    "501": (C.SERVER_ERROR, 501, error(501, "UNIMPLEMENTED", "not implemented"), "google/rpc/code.proto"),
    "302 to a sign-in": (C.PROTOCOL, 302, b"", "made"),
}


@pytest.mark.parametrize("case", GOLDEN)
def test_each_error_has_its_class(case: str) -> None:
    """The table decides by code, then by text, then by status."""
    expected, status, body, source = GOLDEN[case]
    assert source
    failure = classify(status, body)
    assert failure.failure_class is expected
    assert failure.http_status == status


def raw(body: object) -> bytes:
    return body if isinstance(body, bytes) else json.dumps(body).encode()


def test_every_text_pattern_has_a_golden_body() -> None:
    """No pattern stands in the table without an example that no code and no earlier pattern decides."""
    shown = set()
    for _, status, body, _ in GOLDEN.values():
        found = parse_error(raw(body))
        if any(status in row.statuses and row.codes & found.codes for row in CODES):
            continue
        rows = (number for number, row in enumerate(TEXTS) if status in row.statuses)
        shown.add(next((number for number in rows if TEXTS[number].pattern.match(found.message)), None))
    assert shown - {None} == set(range(len(TEXTS)))


def test_every_status_is_a_class_of_its_own() -> None:
    """From 400 to 599 a bare status is never PROTOCOL."""
    assert all(classify(status, b"").failure_class is not C.PROTOCOL for status in range(400, 600))
    assert all(any(status in row.statuses for row in TABLE.statuses) for status in range(400, 600))


def test_no_code_is_claimed_by_two_rows_for_one_status() -> None:
    """The order of the rows of codes decides nothing."""
    seen: set[tuple[str, int]] = set()
    for row in CODES:
        for claim in {(code, status) for code in row.codes for status in row.statuses}:
            assert claim not in seen
            seen.add(claim)


STREAMED = {
    "RESOURCE_EXHAUSTED": C.RATE_LIMITED,
    "UNAVAILABLE": C.OVERLOADED,
    "INTERNAL": C.SERVER_ERROR,
    "DEADLINE_EXCEEDED": C.SERVER_ERROR,
    "CANCELLED": C.SERVER_ERROR,
    "UNAUTHENTICATED": C.KEY_REJECTED,
    "PERMISSION_DENIED": C.KEY_REJECTED,
    "NOT_FOUND": C.MODEL_UNAVAILABLE,
    "INVALID_ARGUMENT": C.CALLER_INVALID,
    "FAILED_PRECONDITION": C.CALLER_INVALID,
    "OUT_OF_RANGE": C.CALLER_INVALID,
}


@pytest.mark.parametrize("status", STREAMED)
def test_a_status_is_enough_where_there_is_no_other(status: str) -> None:
    """An error inside a stream that has a status of google.rpc and no number is classified by it."""
    decoder = GeminiStreamDecoder()
    with pytest.raises(AttemptError) as caught:
        decoder.feed(b"data: " + json.dumps({"error": {"message": "no", "status": status}}).encode() + b"\r\n\r\n")
    assert caught.value.failure.failure_class is STREAMED[status]


@pytest.mark.parametrize(
    ("delay", "expected"),
    [
        ("34.074824224s", 34.074824224),
        ("0s", 0.0),
        ({"seconds": 7, "nanos": 500_000_000}, 7.5),
        ({"seconds": "7"}, 7.0),
        ("soon", None),
        ("-3s", None),
        (7, None),
        (None, None),
    ],
)
def test_the_body_says_when_to_come_back(delay: object, expected: float | None) -> None:
    """In either of the forms that a duration has in JSON; nonsense is nothing."""
    failure = classify(429, error(429, "RESOURCE_EXHAUSTED", OVER_QUOTA, retry(delay)))
    assert failure.retry_after_s == (None if expected is None else pytest.approx(expected))


def test_a_header_says_it_where_the_body_does_not() -> None:
    """The body's own word goes first."""
    assert classify(429, b"", {"retry-after": "9"}).retry_after_s == 9.0
    body = error(429, "RESOURCE_EXHAUSTED", "no", retry("3s"))
    assert classify(429, body, {"retry-after": "9"}).retry_after_s == 3.0


def test_a_failure_is_filled_in() -> None:
    """The status is the code, or the reason if there is one; the field that was refused is told."""
    failure = classify(*GOLDEN["400 malformed"][1:3])
    assert failure.upstream_code == "INVALID_ARGUMENT"
    assert failure.upstream_param == "generation_config"
    assert "code INVALID_ARGUMENT, parameter generation_config" in failure.message
    assert failure.upstream_text is not None
    assert failure.upstream_text.startswith("Invalid JSON payload received.")
    assert classify(*GOLDEN["403 suspended"][1:3]).upstream_code == "CONSUMER_SUSPENDED"


@pytest.mark.parametrize("case", ["403 suspended", "429 of a day", "429"])
def test_words_about_accounts_are_not_kept(case: str) -> None:
    """For KEY_* and RATE_LIMITED the provider names keys and projects."""
    status, body = GOLDEN[case][1:3] if case in GOLDEN else (429, error(429, "", "project 178213"))
    assert classify(status, body).upstream_text is None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"[[[]]]",
        b"{}",
        b'{"error":null}',
        b'{"error":7}',
        b'{"error":{"details":7}}',
        b'{"error":{"details":[7,{"@type":7},{"@type":"x.QuotaFailure","violations":[7]}]}}',
        b'{"error":{"code":true,"message":7,"status":7}}',
        b"\xff\xfe",
        b"[" * 60_000,
        b'{"error":',
    ],
)
def test_a_body_of_any_shape_is_only_a_body(body: bytes) -> None:
    """The status decides when nothing can be read."""
    assert classify(500, body).failure_class is C.SERVER_ERROR
    assert classify(400, body).failure_class is C.CALLER_INVALID
