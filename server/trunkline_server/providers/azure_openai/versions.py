"""What dated versions of the API do not have yet, as quirks of chat completions.

The dates are those of the vendor's list of changes from version to version
(https://learn.microsoft.com/azure/ai-foundry/openai/api-version-lifecycle, 2026-11-23), and for parts of messages those
of its schemas: that of 2024-10-21 has text and pictures alone
(https://github.com/Azure/azure-rest-api-specs/tree/main/specification/cognitiveservices/data-plane/AzureOpenAI/inference).
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from trunkline_server.providers.azure_openai.places import DEFAULT_API_VERSION
from trunkline_server.providers.base import AdapterTerms
from trunkline_server.providers.quirks import Quirks

_DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)

SINCE: Final = {
    "json_schema": "2024-08-01",
    "parallel_tool_calls": "2024-09-01",
    "reasoning_effort": "2024-12-01",
    "audio": "2025-01-01",
    "documents": "2025-01-01",
    "text_documents": "2025-01-01",
    "other_documents": "2025-01-01",
    "file_ids": "2025-01-01",
}
"""Features by the first version that has them."""

_STREAM_USAGE_SINCE: Final = "2024-09-01"
_MAX_COMPLETION_TOKENS_SINCE: Final = "2024-09-01"
_DEVELOPER_SINCE: Final = "2024-12-01"


def quirks_of(terms: AdapterTerms) -> Quirks:
    """Return the quirks of the API version that a provider is called with, beside its own."""
    quirks = terms.quirks
    if terms.base_url.endswith("/openai/v1"):
        return quirks
    found = _DATE.match(terms.api_version or DEFAULT_API_VERSION)
    if found is None:
        return quirks
    # Dates of this form are in the order of their letters; a preview has what the version of its day has.
    date = found.group()
    missing = {feature for feature, since in SINCE.items() if date < since}
    return msgspec.structs.replace(
        quirks,
        lacks=quirks.lacks | missing,
        stream_usage=quirks.stream_usage and date >= _STREAM_USAGE_SINCE,
        developer_role=quirks.developer_role if date >= _DEVELOPER_SINCE else "system",
        max_tokens_field=quirks.max_tokens_field if date >= _MAX_COMPLETION_TOKENS_SINCE else "max_tokens",
    )
