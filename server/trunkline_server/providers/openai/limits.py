"""What a provider says about its rate limits: the `x-ratelimit-…` headers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from trunkline_server.providers.base import RateLimitHeaders
from trunkline_server.providers.retry_after import count, duration_s

_NOTHING: Final = RateLimitHeaders()


def read_limits(headers: Mapping[str, str]) -> RateLimitHeaders | None:
    """Return what `headers` (names in lower case) say about rate limits; None if they say nothing readable."""
    if "x-ratelimit-remaining-requests" not in headers and "x-ratelimit-remaining-tokens" not in headers:
        return None
    limits = RateLimitHeaders(
        limit_requests=count(headers.get("x-ratelimit-limit-requests")),
        remaining_requests=count(headers.get("x-ratelimit-remaining-requests")),
        reset_requests_s=duration_s(headers.get("x-ratelimit-reset-requests")),
        limit_tokens=count(headers.get("x-ratelimit-limit-tokens")),
        remaining_tokens=count(headers.get("x-ratelimit-remaining-tokens")),
        reset_tokens_s=duration_s(headers.get("x-ratelimit-reset-tokens")),
    )
    return None if limits == _NOTHING else limits
