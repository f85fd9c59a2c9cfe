"""From the bytes of an error of Azure's to a `Failure`: what its texts say of waiting, and its filter of the prompt."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from trunkline_server.providers.azure_openai.filters import flagged_prompt
from trunkline_server.providers.failure_table import FailureTable
from trunkline_server.providers.failures import failure_of, shown_id
from trunkline_server.providers.openai.classify import parse_error
from trunkline_server.providers.retry_after import retry_after_s
from trunkline_server.routing.failures import Failure, FailureClass

_TOO_MANY: Final = 429
_READ_CHARS: Final = 1000
_WAIT: Final = re.compile(r"please (?:retry|try again) (?:after|in) (\d{1,9}) (millisecond|second)", re.IGNORECASE)

_REQUEST_ID: Final = "apim-request-id"
"""The id that Azure's support asks for; `x-request-id` is only there once a model was reached."""


def classify_response(status: int, headers: Mapping[str, str], body: bytes, table: FailureTable) -> Failure:
    """Classify a response that is not 2xx; header names are in lower case."""
    error = parse_error(body)
    if status == _TOO_MANY and retry_after_s(headers) is None:
        error = replace(error, retry_after_s=_wait_s(error.message))
    failure = failure_of(table, status, headers, error)
    if failure.upstream_request_id is None:
        failure = replace(failure, upstream_request_id=shown_id(headers, _REQUEST_ID))
    if failure.failure_class is FailureClass.CONTENT_FILTERED:
        categories = flagged_prompt(body)
        if categories:
            failure = replace(failure, message=f"{failure.message}: {categories}")
    return failure


def _wait_s(message: str) -> float | None:
    """Return how long a refusal's text asks to stay away, for those that have no header for it."""
    found = _WAIT.search(message[:_READ_CHARS])
    if found is None:
        return None
    return int(found[1]) / (1000 if found[2].lower() == "millisecond" else 1)
