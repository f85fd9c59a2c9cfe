"""Which failure an error response is: one table, read from codes over texts to statuses.

Codes come first because they are the provider's own words; a text may echo what a caller wrote. So a text
pattern is matched at the start of the message only, where no echo stands, and only for the statuses in its row:
otherwise a caller could quarantine a key by naming a tool "exceeded your current quota".
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from trunkline_server.routing.failures import FailureClass

_NO_STATUS: Final = frozenset({0})
"""What an error event inside a stream has."""

_ANY: Final = _NO_STATUS.union(range(400, 600))
"""Every status of an error; below 400 nothing in a body is believed."""


@dataclass(frozen=True, slots=True)
class CodeRow:
    """Responses whose `code` or `type` is one of `codes`, with a status in `statuses`."""

    failure_class: FailureClass
    codes: frozenset[str]
    statuses: Iterable[int] = _ANY


@dataclass(frozen=True, slots=True)
class TextRow:
    """Responses whose message starts with `pattern`, with a status in `statuses`."""

    failure_class: FailureClass
    pattern: re.Pattern[str]
    statuses: Iterable[int]


@dataclass(frozen=True, slots=True)
class StatusRow:
    """Responses with a status in `statuses` that no code and no text has claimed."""

    failure_class: FailureClass
    statuses: Iterable[int]


def _codes(failure_class: FailureClass, codes: str, statuses: Iterable[int] = _ANY) -> CodeRow:
    return CodeRow(failure_class, frozenset(codes.split()), statuses)


def _text(failure_class: FailureClass, pattern: str, *statuses: int) -> TextRow:
    return TextRow(failure_class, re.compile(pattern, re.IGNORECASE), frozenset(statuses))


CODES: Final = (
    _codes(
        FailureClass.KEY_EXHAUSTED,
        "insufficient_quota billing_hard_limit_reached billing_not_active billing_error insufficient_balance"
        " insufficient_credits insufficient_funds credits_exhausted exceeded_current_quota_error",
    ),
    _codes(
        FailureClass.KEY_REJECTED,
        "invalid_api_key incorrect_api_key invalid_authentication authentication_error invalid_organization"
        " mismatched_organization mismatched_project account_deactivated organization_deactivated"
        " api_key_expired api_key_disabled ip_not_authorized",
    ),
    _codes(
        FailureClass.MODEL_UNAVAILABLE,
        "model_not_found model_not_available model_not_active model_decommissioned model_terms_required"
        " DeploymentNotFound deployment_not_found unsupported_country_region_territory",
    ),
    _codes(
        FailureClass.CONTEXT_LENGTH,
        "context_length_exceeded context_window_exceeded exceed_context_size_error request_too_large"
        " payload_too_large request_entity_too_large",
        frozenset({0, 400, 413, 422}),
    ),
    _codes(
        FailureClass.CONTENT_FILTERED,
        "content_filter content_policy_violation ResponsibleAIPolicyViolation moderation_blocked invalid_prompt"
        " cyber_policy_violation",
    ),
    _codes(FailureClass.RATE_LIMITED, "rate_limit_exceeded rate_limit_error too_many_requests"),
    _codes(
        FailureClass.OVERLOADED,
        "overloaded overloaded_error engine_overloaded engine_overloaded_error server_overloaded model_overloaded"
        " slow_down",
    ),
    # These say too little beside a status, but are all there is in an error event of a stream.
    _codes(FailureClass.KEY_REJECTED, "permission_error access_denied", _NO_STATUS),
    _codes(FailureClass.CALLER_INVALID, "invalid_request_error invalid_value bad_request", _NO_STATUS),
)
"""First match wins. A code may stand in `code` or in `type`: OpenAI itself uses both."""

TEXTS: Final = (
    _text(FailureClass.KEY_EXHAUSTED, r"you exceeded your current quota", 400, 401, 403, 429),
    _text(FailureClass.KEY_EXHAUSTED, r"billing hard limit has been reached", 400, 403, 429),
    _text(FailureClass.KEY_EXHAUSTED, r"your account is not active", 400, 401, 403, 429),
    _text(FailureClass.KEY_EXHAUSTED, r"your credit balance is too low", 400, 401, 403, 429),
    _text(FailureClass.KEY_EXHAUSTED, r"insufficient (?:balance|credits?|funds|quota)\b", 400, 401, 403, 429),
    _text(FailureClass.MODEL_UNAVAILABLE, r"(?:the )?project \S+ does not have access to model\b", 401, 403),
    _text(FailureClass.MODEL_UNAVAILABLE, r"you (?:do not|don't) have access to (?:the |this )?model\b", 401, 403),
    _text(FailureClass.MODEL_UNAVAILABLE, r"you are not allowed to (?:sample from|use) this model\b", 401, 403),
    _text(FailureClass.MODEL_UNAVAILABLE, r"country, region, or territory not supported", 401, 403),
    _text(FailureClass.MODEL_UNAVAILABLE, r"the model `[^`]{1,200}` (?:does not exist|has been deprecated)", 400, 403),
    _text(FailureClass.KEY_REJECTED, r"(?:incorrect|invalid) api key\b", 400),
    _text(FailureClass.KEY_REJECTED, r"api key not valid\b", 400),
    _text(FailureClass.CONTEXT_LENGTH, r"this model's maximum context length is\b", 0, 400, 422),
    _text(FailureClass.CONTEXT_LENGTH, r"(?:the )?(?:input|prompt) is too long\b", 400, 422),
    _text(FailureClass.CONTENT_FILTERED, r"the response was filtered due to the prompt triggering", 400),
    _text(FailureClass.OVERLOADED, r"the (?:engine|server) is (?:currently )?overloaded", 0, 429, 500, 503),
    _text(FailureClass.OVERLOADED, r"(?:that|this) model is currently overloaded", 0, 429, 500, 503),
    _text(FailureClass.OVERLOADED, r"slow down\b", 503),
)  # fmt: skip
"""First match wins. Each row has a golden body in the tests."""

STATUSES: Final = (
    StatusRow(FailureClass.KEY_REJECTED, {401, 403}),
    StatusRow(FailureClass.KEY_EXHAUSTED, {402}),
    StatusRow(FailureClass.MODEL_UNAVAILABLE, {404}),
    StatusRow(FailureClass.RATE_LIMITED, {429}),
    StatusRow(FailureClass.SERVER_ERROR, {0, 408, 409, 424, 425}),
    StatusRow(FailureClass.CALLER_INVALID, range(400, 500)),
    StatusRow(FailureClass.OVERLOADED, {529}),
    StatusRow(FailureClass.SERVER_ERROR, range(500, 600)),
)
"""First match wins; what no row names (1xx, 2xx, 3xx, nonsense) is not the promised format: PROTOCOL."""

_TOO_LARGE: Final = 413


def failure_class(status: int, codes: Iterable[str], text: str, *, has_code: bool) -> FailureClass:
    """Return the class of one failure.

    `status` is 0 for an error event inside a stream, `codes` are the body's code and type, `text` is its message.
    `has_code` says whether the body has a code in its own right (a type alone is no code).
    """
    for code_row in CODES:
        if status in code_row.statuses and not code_row.codes.isdisjoint(codes):
            return code_row.failure_class
    start = text.lstrip()
    for text_row in TEXTS:
        if status in text_row.statuses and text_row.pattern.match(start) is not None:
            return text_row.failure_class
    if status == _TOO_LARGE and not has_code:
        return FailureClass.CONTEXT_LENGTH
    for status_row in STATUSES:
        if status in status_row.statuses:
            return status_row.failure_class
    return FailureClass.PROTOCOL
