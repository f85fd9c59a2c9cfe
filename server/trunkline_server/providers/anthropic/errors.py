"""Which failure an error of the Messages API is: one table, and what reads an error for it.

An error has a `type`, the broad category, and since late 2026 a code of its own in `details.error_code`. Inside a
stream it has no status; there its type stands for the status that the vendor gives it elsewhere, so that one table
serves both. Sources: https://platform.claude.com/docs/en/api/errors, the errors of the vendor's Python library 2.12.0,
and bodies that users showed; each row has a golden body in the tests.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from trunkline_server.providers.failure_table import NO_STATUS, FailureTable, codes, text
from trunkline_server.routing.failures import FailureClass

STATUS_OF_TYPE: Final = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "forbidden": 403,
    "not_found_error": 404,
    "conflict_error": 409,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}
"""The status that the vendor sends with each type of error."""

CODES: Final = (
    codes(
        FailureClass.KEY_EXHAUSTED,
        "billing_error enforced_spend_limit_reached contract_spend_limit_reached"
        " linked_organization_spend_limit_reached linked_organization_billing_unavailable",
    ),
    codes(
        FailureClass.KEY_REJECTED,
        "authentication_error organization_on_hold claude_code_key_creator_not_member cmek_key_disabled"
        " cmek_key_network_blocked sandbox_egress_restricted",
    ),
    # A file or a thread that is gone is the request's own fault, and not the model's absence.
    codes(
        FailureClass.CALLER_INVALID,
        "file_expired file_not_downloadable thread_not_found user_profile_not_billable"
        " user_profile_billing_not_authorized",
    ),
    codes(FailureClass.CONTEXT_LENGTH, "request_too_large request_body_too_large_after_decoding"),
    codes(FailureClass.RATE_LIMITED, "ramp_limit_exceeded"),
    codes(FailureClass.OVERLOADED, "overloaded_error compaction_unavailable"),
    codes(FailureClass.SERVER_ERROR, "cmek_context_unavailable cmek_key_unreachable timeout_error"),
)
"""First match wins. Types that say no more than their status are not here, so that a text may still tell more."""

TEXTS: Final = (
    text(FailureClass.KEY_EXHAUSTED, r"your credit balance is too low", 400, 402, 403, 429),
    text(FailureClass.KEY_EXHAUSTED, r"you have reached your specified (?:workspace )?api usage limits", 400, 429),
    text(FailureClass.KEY_REJECTED, r"this organization has been disabled", 400),
    text(FailureClass.CONTEXT_LENGTH, r"(?:the )?(?:prompt|input) is too long\b", 400),
    text(FailureClass.CONTEXT_LENGTH, r"input length and `max_tokens` exceed context limit", 400),
    text(FailureClass.CONTEXT_LENGTH, r"extra usage is required for long context requests", 400, 403, 429),
    text(FailureClass.CONTENT_FILTERED, r"output blocked by content filtering policy", 400),
    text(FailureClass.MODEL_UNAVAILABLE, r"request not allowed", 403),
    text(FailureClass.MODEL_UNAVAILABLE, r"you (?:do not|don't) have access to (?:the |this )?model\b", 400, 403),
)
"""First match wins. "Request not allowed" is what regions get where the vendor does not serve."""


class _MessagesTable(FailureTable):
    """The table, with the type of an error inside a stream for its status."""

    def failure_class(self, status: int, codes: Iterable[str], text: str, *, has_code: bool) -> FailureClass:
        """Return the class of one failure; see `FailureTable`."""
        if status in NO_STATUS:
            status = next((STATUS_OF_TYPE[word] for word in codes if word in STATUS_OF_TYPE), status)
        return super().failure_class(status, codes, text, has_code=has_code)


TABLE: Final = _MessagesTable(CODES, TEXTS)
