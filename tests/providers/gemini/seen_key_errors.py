"""What is wrong with a key: refused, used up, or asked too often."""

from __future__ import annotations

from tests.providers.gemini.seen_errors import (
    DOCS,
    HELP,
    OVER_QUOTA,
    PER_DAY,
    PER_MINUTE,
    REASONS,
    Seen,
    error,
    info,
    quota,
    retry,
)

from trunkline_server.routing.failures import FailureClass

C = FailureClass

KEY_ERRORS: Seen = {
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
        "the same without details, as the OpenAI-compatible face has it",
    ),
    "400 old key": (
        C.KEY_REJECTED,
        400,
        error(400, "INVALID_ARGUMENT", "API key expired. Please renew the API key.", info("API_KEY_INVALID")),
        "https://github.com/continuedev/continue/issues/11336",
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
        "https://github.com/GoogleCloudPlatform/php-docs-samples/issues/1235",
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
}
