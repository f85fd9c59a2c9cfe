"""Which failure an error of chat completions is: the vendor's codes and texts, with those of compatible servers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from trunkline_server.providers.failure_table import HTTP_STATUSES, NO_STATUS, FailureTable, StatusRow, codes, text
from trunkline_server.routing.failures import FailureClass

CODES: Final = (
    codes(
        FailureClass.KEY_EXHAUSTED,
        "insufficient_quota billing_hard_limit_reached billing_not_active billing_error insufficient_balance"
        " insufficient_credits insufficient_funds credits_exhausted exceeded_current_quota_error",
    ),
    codes(
        FailureClass.KEY_REJECTED,
        "invalid_api_key incorrect_api_key invalid_authentication authentication_error invalid_organization"
        " mismatched_organization mismatched_project account_deactivated organization_deactivated"
        " api_key_expired api_key_disabled ip_not_authorized",
    ),
    codes(
        FailureClass.MODEL_UNAVAILABLE,
        "model_not_found model_not_available model_not_active model_decommissioned model_terms_required"
        " DeploymentNotFound deployment_not_found unsupported_country_region_territory",
    ),
    codes(
        FailureClass.CONTEXT_LENGTH,
        "context_length_exceeded context_window_exceeded exceed_context_size_error request_too_large"
        " payload_too_large request_entity_too_large",
        frozenset({0, 400, 413, 422}),
    ),
    codes(
        FailureClass.CONTENT_FILTERED,
        "content_filter content_policy_violation ResponsibleAIPolicyViolation moderation_blocked invalid_prompt"
        " cyber_policy_violation",
    ),
    codes(FailureClass.RATE_LIMITED, "rate_limit_exceeded rate_limit_error too_many_requests"),
    codes(
        FailureClass.OVERLOADED,
        "overloaded overloaded_error engine_overloaded engine_overloaded_error server_overloaded model_overloaded"
        " slow_down",
    ),
    # These say too little beside a status, but are all there is in an error event of a stream.
    codes(FailureClass.KEY_REJECTED, "permission_error access_denied", NO_STATUS),
    codes(FailureClass.CALLER_INVALID, "invalid_request_error invalid_value bad_request", NO_STATUS),
)
"""First match wins. A code may stand in `code` or in `type`: OpenAI itself uses both."""

TEXTS: Final = (
    text(FailureClass.KEY_EXHAUSTED, r"you exceeded your current quota", 400, 401, 403, 429),
    text(FailureClass.KEY_EXHAUSTED, r"billing hard limit has been reached", 400, 403, 429),
    text(FailureClass.KEY_EXHAUSTED, r"your account is not active", 400, 401, 403, 429),
    text(FailureClass.KEY_EXHAUSTED, r"your credit balance is too low", 400, 401, 403, 429),
    text(FailureClass.KEY_EXHAUSTED, r"insufficient (?:balance|credits?|funds|quota)\b", 400, 401, 403, 429),
    text(FailureClass.MODEL_UNAVAILABLE, r"(?:the )?project \S+ does not have access to model\b", 401, 403),
    text(FailureClass.MODEL_UNAVAILABLE, r"you (?:do not|don't) have access to (?:the |this )?model\b", 401, 403),
    text(FailureClass.MODEL_UNAVAILABLE, r"you are not allowed to (?:sample from|use) this model\b", 401, 403),
    text(FailureClass.MODEL_UNAVAILABLE, r"country, region, or territory not supported", 401, 403),
    text(FailureClass.MODEL_UNAVAILABLE, r"the model `[^`]{1,200}` (?:does not exist|has been deprecated)", 400, 403),
    text(FailureClass.KEY_REJECTED, r"(?:incorrect|invalid) api key\b", 400),
    text(FailureClass.KEY_REJECTED, r"api key not valid\b", 400),
    text(FailureClass.CONTEXT_LENGTH, r"this model's maximum context length is\b", 0, 400, 422),
    text(FailureClass.CONTEXT_LENGTH, r"(?:the )?(?:input|prompt) is too long\b", 400, 422),
    text(FailureClass.CONTENT_FILTERED, r"the response was filtered due to the prompt triggering", 400),
    text(FailureClass.OVERLOADED, r"the (?:engine|server) is (?:currently )?overloaded", 0, 429, 500, 503),
    text(FailureClass.OVERLOADED, r"(?:that|this) model is currently overloaded", 0, 429, 500, 503),
    text(FailureClass.OVERLOADED, r"slow down\b", 503),
)  # fmt: skip
"""First match wins. Each row has a golden body in the tests."""

STATUSES: Final = HTTP_STATUSES

TABLE: Final = FailureTable(CODES, TEXTS, STATUSES)
"""All of it."""


def table_with(statuses: Mapping[int, FailureClass]) -> FailureTable:
    """Return the table for a server at which some statuses mean something else than by themselves."""
    if not statuses:
        return TABLE
    own = tuple(StatusRow(meaning, frozenset({status})) for status, meaning in statuses.items())
    return FailureTable(CODES, TEXTS, own + STATUSES)
