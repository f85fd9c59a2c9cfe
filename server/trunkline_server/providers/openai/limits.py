"""What a provider says about its rate limits: the `x-ratelimit-…` headers, and what other servers call them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Final

from trunkline_server.providers.base import RateLimitHeaders
from trunkline_server.providers.quirks import LimitHeaders
from trunkline_server.providers.retry_after import count, duration_s, seconds, timestamp_s

OPENAI: Final = LimitHeaders(
    limit_requests="x-ratelimit-limit-requests",
    remaining_requests="x-ratelimit-remaining-requests",
    reset_requests="x-ratelimit-reset-requests",
    limit_tokens="x-ratelimit-limit-tokens",
    remaining_tokens="x-ratelimit-remaining-tokens",
    reset_tokens="x-ratelimit-reset-tokens",
)
"""The names that most servers took over."""

_NOTHING: Final = RateLimitHeaders()
_A_SECOND: Final = {"epoch_s": 1.0, "epoch_ms": 1000.0}


def read_limits(headers: Mapping[str, str], names: LimitHeaders = OPENAI) -> RateLimitHeaders | None:
    """Return what `headers` (names in lower case) say about rate limits; None if they say nothing readable."""
    if names.remaining_requests not in headers and names.remaining_tokens not in headers:
        return None
    limits = RateLimitHeaders(
        limit_requests=count(headers.get(names.limit_requests)),
        remaining_requests=count(headers.get(names.remaining_requests)),
        reset_requests_s=_reset_s(headers, names.reset_requests, names.reset_is),
        limit_tokens=count(headers.get(names.limit_tokens)),
        remaining_tokens=count(headers.get(names.remaining_tokens)),
        reset_tokens_s=_reset_s(headers, names.reset_tokens, names.reset_is),
    )
    return None if limits == _NOTHING else limits


def _reset_s(headers: Mapping[str, str], name: str, reset_is: str) -> float | None:
    """Return the seconds until a reset; a moment is measured from the response's own date, if it has one."""
    value = headers.get(name)
    if value is None or reset_is == "duration":
        return duration_s(value)
    moment = seconds(value)
    if moment is None:
        return None
    now_s = timestamp_s(headers.get("date", ""))
    return max(0.0, moment / _A_SECOND[reset_is] - (time.time() if now_s is None else now_s))
