"""Which failure an error of Google's is: one table of its reasons, statuses and texts.

An error has a `status` of google.rpc, and often an `ErrorInfo` with a `reason` that says more; where it speaks of a
quota, a `QuotaFailure` may say which. Sources, as of 2026-11: the Gemini API's page of errors
(ai.google.dev/gemini-api/docs/troubleshooting) and its announcements (discuss.ai.google.dev, thread 183654), the list
of reasons (google/api/error_reason.proto of googleapis), and bodies that users reported, which stand with the tests.
"""

from __future__ import annotations

from typing import Final

from trunkline_server.providers.failure_table import HTTP_STATUSES, NO_STATUS, FailureTable, codes, text
from trunkline_server.routing.failures import FailureClass

DAY_QUOTA: Final = "quota-of-a-day"
"""Our word for an error that names a quota of a day; a quota of a minute may be named beside it."""

CODES: Final = (
    codes(FailureClass.KEY_EXHAUSTED, f"BILLING_DISABLED RESOURCE_QUOTA_EXCEEDED {DAY_QUOTA}"),
    codes(FailureClass.RATE_LIMITED, "RATE_LIMIT_EXCEEDED"),
    codes(
        FailureClass.KEY_REJECTED,
        "API_KEY_INVALID API_KEY_EXPIRED API_KEY_SERVICE_BLOCKED API_KEY_HTTP_REFERRER_BLOCKED"
        " API_KEY_IP_ADDRESS_BLOCKED API_KEY_ANDROID_APP_BLOCKED API_KEY_IOS_APP_BLOCKED"
        " ACCESS_TOKEN_EXPIRED ACCESS_TOKEN_SCOPE_INSUFFICIENT ACCESS_TOKEN_TYPE_UNSUPPORTED CREDENTIALS_MISSING"
        " CREDENTIAL_TYPE_UNSUPPORTED JWT_TOKEN_INVALID ACCOUNT_STATE_INVALID ACCOUNT_TYPE_UNSUPPORTED"
        " CONSUMER_INVALID CONSUMER_SUSPENDED GCP_SUSPENDED SERVICE_DISABLED SERVICE_NOT_VISIBLE USER_PROJECT_DENIED"
        " RESOURCE_PROJECT_INVALID USER_BLOCKED_BY_ADMIN",
    ),
    codes(
        FailureClass.MODEL_UNAVAILABLE,
        "LOCATION_POLICY_VIOLATED LOCATION_ORG_POLICY_VIOLATED LOCATION_TAX_POLICY_VIOLATED"
        " RESOURCE_USAGE_RESTRICTION_VIOLATED",
    ),
    codes(FailureClass.OVERLOADED, "UNAVAILABLE"),
    codes(FailureClass.SERVER_ERROR, "CANCELLED"),  # with 499: it is not our caller that left
    # These say less than a status, but may be all there is in an error inside a stream.
    codes(FailureClass.RATE_LIMITED, "RESOURCE_EXHAUSTED", NO_STATUS),
    codes(FailureClass.KEY_REJECTED, "UNAUTHENTICATED PERMISSION_DENIED", NO_STATUS),
    codes(FailureClass.MODEL_UNAVAILABLE, "NOT_FOUND", NO_STATUS),
    codes(FailureClass.CALLER_INVALID, "INVALID_ARGUMENT FAILED_PRECONDITION OUT_OF_RANGE", NO_STATUS),
)
"""First match wins. A code is a `reason` or a `status`."""

TEXTS: Final = (
    text(FailureClass.KEY_EXHAUSTED, r"your prepayment credits are depleted", 402, 429),
    text(FailureClass.KEY_EXHAUSTED, r"this api method requires billing to be enabled", 403),
    text(FailureClass.KEY_EXHAUSTED, r"gemini api free tier is not available in your country", 400),
    text(FailureClass.MODEL_UNAVAILABLE, r"user location is not supported for the api use", 400),
    text(FailureClass.KEY_REJECTED, r"api key (?:not valid|expired|not found)\b", 400),
    text(FailureClass.CONTEXT_LENGTH, r"the input token count\b.{0,40} exceeds the maximum number of tokens", 0, 400),
    text(FailureClass.CONTEXT_LENGTH, r"unable to submit request because the input token count is\b", 400),
    text(FailureClass.CONTEXT_LENGTH, r"request payload size exceeds the limit\b", 400),
    # A file or a cache that a caller names is no word about the key.
    text(FailureClass.CALLER_INVALID, r"you do not have permission to access the file\b", 403),
    text(FailureClass.CALLER_INVALID, r"cachedcontent not found \(or permission denied\)", 403, 404),
    text(FailureClass.CALLER_INVALID, r"permission 'storage\.objects\.get' denied on resource\b", 403),
    text(FailureClass.MODEL_UNAVAILABLE, r"you do not have permission to access tuned model\b", 403),
    text(FailureClass.MODEL_UNAVAILABLE, r"permission 'aiplatform\.endpoints\.predict' denied on resource\b", 403),
    text(FailureClass.CONTENT_FILTERED, r"image generation failed .{0,40}: the response is blocked\b", 400),
    text(FailureClass.OVERLOADED, r"the model is overloaded\b", 0, 429, 500, 503),
    text(FailureClass.OVERLOADED, r"this model is currently experiencing high demand\b", 0, 429, 500, 503),
)  # fmt: skip
"""First match wins. Each row has a golden body in the tests.

Not here: "You exceeded your current quota, please check your plan and billing details", which stands over every limit
of the Gemini API, that of a minute included. Which one it is, the `QuotaFailure` says.
"""

TABLE: Final = FailureTable(CODES, TEXTS, HTTP_STATUSES)
"""All of it."""
