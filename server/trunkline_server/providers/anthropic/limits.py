"""What the vendor says about its rate limits: `anthropic-ratelimit-…` headers, whose resets are times of day."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

from trunkline_server.providers.base import RateLimitHeaders
from trunkline_server.providers.retry_after import count

_PREFIX: Final = "anthropic-ratelimit-"
_TOKENS: Final = ("tokens", "input-tokens", "output-tokens")
"""All tokens together where the vendor says them, else those of prompts and answers, which have limits of their own."""
_MAX_TIME_LENGTH: Final = 40
_NOTHING: Final = RateLimitHeaders()


def read_limits(headers: Mapping[str, str]) -> RateLimitHeaders | None:
    """Return what `headers` (names in lower case) say about rate limits; None if they say nothing readable.

    Of several limits for tokens the one with the smallest share left counts.
    """
    tokens = _scarcest(headers)
    if tokens is None and f"{_PREFIX}requests-remaining" not in headers:
        return None
    limits = RateLimitHeaders(
        limit_requests=count(headers.get(f"{_PREFIX}requests-limit")),
        remaining_requests=count(headers.get(f"{_PREFIX}requests-remaining")),
        reset_requests_s=_reset_s(headers, "requests"),
        limit_tokens=None if tokens is None else count(headers.get(f"{_PREFIX}{tokens}-limit")),
        remaining_tokens=None if tokens is None else count(headers.get(f"{_PREFIX}{tokens}-remaining")),
        reset_tokens_s=None if tokens is None else _reset_s(headers, tokens),
    )
    return None if limits == _NOTHING else limits


def _scarcest(headers: Mapping[str, str]) -> str | None:
    """Return the name of the limit for tokens with the smallest share left; None if none is told."""
    found: tuple[float, str] | None = None
    for name in _TOKENS:
        remaining = count(headers.get(f"{_PREFIX}{name}-remaining"))
        if remaining is None:
            continue
        limit = count(headers.get(f"{_PREFIX}{name}-limit"))
        share = remaining / limit if limit else 1.0
        if found is None or share < found[0]:
            found = share, name
    return None if found is None else found[1]


def _reset_s(headers: Mapping[str, str], name: str) -> float | None:
    """Return the seconds until a limit is full again, measured from the response's own `date` where there is one."""
    until = _rfc3339_s(headers.get(f"{_PREFIX}{name}-reset"))
    if until is None:
        return None
    now = _http_date_s(headers.get("date"))
    return max(0.0, until - (time.time() if now is None else now))


def _rfc3339_s(value: str | None) -> float | None:
    if value is None or len(value) > _MAX_TIME_LENGTH:
        return None
    try:
        at = datetime.fromisoformat(value.strip())
        return (at if at.tzinfo is not None else at.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


def _http_date_s(value: str | None) -> float | None:
    if value is None or len(value) > _MAX_TIME_LENGTH:
        return None
    try:
        return parsedate_to_datetime(value).timestamp()
    except (ValueError, OverflowError):
        return None
