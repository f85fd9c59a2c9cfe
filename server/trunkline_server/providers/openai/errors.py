"""Which failure an error of chat completions is: the vendor's codes and texts, with those of compatible servers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from trunkline_server.providers.failure_table import (
    ANY,
    HTTP_STATUSES,
    NO_STATUS,
    FailureTable,
    StatusRow,
    codes,
    text,
)
from trunkline_server.routing.failures import FailureClass

_TOO_LARGE: Final = 413

CODES: Final = (
    codes(
        FailureClass.KEY_EXHAUSTED,
        "insufficient_quota billing_hard_limit_reached billing_not_active billing_error insufficient_balance"
        " insufficient_credits insufficient_funds credits_exhausted exceeded_current_quota_error budget_exceeded",
    ),
    codes(
        FailureClass.KEY_REJECTED,
        "invalid_api_key incorrect_api_key invalid_authentication authentication_error invalid_organization"
        " mismatched_organization mismatched_project account_deactivated organization_deactivated"
        " api_key_expired api_key_disabled ip_not_authorized wrong_api_key",
    ),
    codes(
        FailureClass.MODEL_UNAVAILABLE,
        "model_not_found model_not_available model_not_active model_decommissioned model_terms_required"
        " DeploymentNotFound deployment_not_found unsupported_country_region_territory model_not_supported"
        " invalid_model key_model_access_denied",
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
    # One request alone is above the limit of a minute: no pause of the key would let it through, and a caller could
    # have every key paused with it.
    codes(FailureClass.CONTEXT_LENGTH, "rate_limit_exceeded", frozenset({_TOO_LARGE})),
    codes(
        FailureClass.OVERLOADED,
        "overloaded overloaded_error engine_overloaded engine_overloaded_error server_overloaded model_overloaded"
        " slow_down queue_exceeded unavailable_error",
    ),
    codes(
        FailureClass.RATE_LIMITED,
        "rate_limit_exceeded rate_limit_error rate_limited too_many_requests request_quota_exceeded"
        " token_quota_exceeded",
        ANY - {_TOO_LARGE},
    ),
    # What the server was started without is asked for: another one may have it, and nobody is ill.
    codes(FailureClass.CALLER_INVALID, "not_supported_error", frozenset({500, 501})),
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
    text(FailureClass.KEY_EXHAUSTED, r"your team (?:\S{1,64} )?has either used all available credits", 403, 429),
    text(FailureClass.KEY_EXHAUSTED, r"key limit exceeded\b", 403),
    text(FailureClass.KEY_EXHAUSTED, r"account \S{1,128} is suspended\b", 412),
    text(FailureClass.MODEL_UNAVAILABLE, r"(?:the )?project \S+ does not have access to model\b", 401, 403),
    text(FailureClass.MODEL_UNAVAILABLE, r"you (?:do not|don't) have access to (?:the |this )?model\b", 401, 403),
    text(FailureClass.MODEL_UNAVAILABLE, r"you are not allowed to (?:sample from|use) this model\b", 401, 403),
    text(FailureClass.MODEL_UNAVAILABLE, r"country, region, or territory not supported", 401, 403),
    text(FailureClass.MODEL_UNAVAILABLE, r"the model `[^`]{1,200}` (?:does not exist|has been deprecated)", 400, 403),
    text(FailureClass.MODEL_UNAVAILABLE, r"the requested model '[^']{1,200}' is not supported by any provider", 400),
    text(FailureClass.KEY_REJECTED, r"(?:incorrect|invalid) api key\b", 400),
    text(FailureClass.KEY_REJECTED, r"api key not valid\b", 400),
    text(FailureClass.CONTEXT_LENGTH, r"this (?:model|endpoint)'s maximum (?:context|prompt) length is\b", 0, 400, 422),
    text(FailureClass.CONTEXT_LENGTH, r"the input \(\d{1,12} tokens\) is longer than the model's context", 0, 400, 422),
    text(FailureClass.CONTEXT_LENGTH, r"prompt contains \d{1,12} tokens\b.{0,64} too large for model", 400, 422),
    text(FailureClass.CONTEXT_LENGTH, r"(?:the )?(?:input|prompt) is too long\b", 400, 422),
    text(FailureClass.CONTEXT_LENGTH, r"invalid 'input(?:\[\d{1,6}\])?': maximum context length is\b", 400),
    text(FailureClass.CONTENT_FILTERED, r"the response was filtered due to the prompt triggering", 400),
    text(FailureClass.CONTENT_FILTERED, r"content violates usage guidelines\b", 400, 403),
    text(FailureClass.CONTENT_FILTERED, r"\S{1,200} requires moderation on \S", 403),
    text(FailureClass.CALLER_INVALID, r"(?:image|audio|video) input is not supported\b", 400, 500),
    text(FailureClass.OVERLOADED, r"the (?:engine|server) is (?:currently )?overloaded", 0, 429, 500, 503),
    text(FailureClass.OVERLOADED, r"(?:that|this) model is currently overloaded", 0, 429, 500, 503),
    text(FailureClass.OVERLOADED, r"service tier capacity exceeded\b", 0, 429, 503),
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
