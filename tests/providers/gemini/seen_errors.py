"""Errors as Google sends them: how they are made of their parts, and where the bodies of the tests are from."""

from __future__ import annotations

from typing import Any

from trunkline_server.routing.failures import FailureClass

Seen = dict[str, tuple[FailureClass, int, object, str]]
"""By what they say: the class that is theirs, status, body, and where they were seen or documented."""

QUOTA_URL = "https://ai.google.dev/gemini-api/docs/rate-limits"
OVER_QUOTA = (
    "You exceeded your current quota, please check your plan and billing details. "
    f"For more information on this error, head to: {QUOTA_URL}."
)
DOCS = "https://ai.google.dev/gemini-api/docs/troubleshooting, read 2026-11"
KNOWN = "the status as documented, the words as they are commonly known: no page with them at hand"
REASONS = "https://github.com/googleapis/googleapis/blob/master/google/api/error_reason.proto, read 2026-11"


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
