"""Which failure an error of the Responses API is: the rows of chat completions, and those that only this API has.

A response that failed after it was accepted has a code of its own list (`response.failed`), and no status.
"""

from __future__ import annotations

from typing import Final

from trunkline_server.providers.failure_table import HTTP_STATUSES, FailureTable, codes, text
from trunkline_server.providers.openai.errors import CODES as CHAT_CODES
from trunkline_server.providers.openai.errors import TEXTS as CHAT_TEXTS
from trunkline_server.routing.failures import FailureClass

CODES: Final = (
    codes(FailureClass.CONTENT_FILTERED, "bio_policy image_content_policy_violation"),
    # Reasoning is sealed for the account that made it: another key may be of the right one.
    codes(FailureClass.MODEL_UNAVAILABLE, "data_residency_mismatch invalid_encrypted_content"),
    codes(
        FailureClass.CALLER_INVALID,
        "invalid_image invalid_image_format invalid_base64_image invalid_image_url image_too_large image_too_small"
        " image_parse_error invalid_image_mode image_file_too_large unsupported_image_media_type empty_image_file"
        " failed_to_download_image image_file_not_found",
    ),
)
"""Codes that only this API has; the rows of chat completions come after them."""

TEXTS: Final = (
    text(FailureClass.MODEL_UNAVAILABLE, r"the encrypted content (?:for item )?\S{1,300} could not be verified", 400),
    text(FailureClass.MODEL_UNAVAILABLE, r"your organization must be verified\b", 400, 403),
)  # fmt: skip
"""Texts that only this API has. Each row has a golden body in the tests."""

TABLE: Final = FailureTable(CODES + CHAT_CODES, TEXTS + CHAT_TEXTS, HTTP_STATUSES)
"""All of it."""
