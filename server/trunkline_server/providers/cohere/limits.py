"""What Cohere says about rate limits: the calls a minute of a trial key; of production keys it says nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from trunkline_server.providers.base import RateLimitHeaders
from trunkline_server.providers.retry_after import count

LIMIT_HEADER: Final = "x-trial-endpoint-call-limit"
REMAINING_HEADER: Final = "x-trial-endpoint-call-remaining"


def read_limits(headers: Mapping[str, str]) -> RateLimitHeaders | None:
    """Return what `headers` (names in lower case) say; None if they say nothing readable."""
    limit, remaining = count(headers.get(LIMIT_HEADER)), count(headers.get(REMAINING_HEADER))
    if limit is None and remaining is None:
        return None
    return RateLimitHeaders(limit_requests=limit, remaining_requests=remaining)
