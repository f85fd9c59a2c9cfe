"""Rate-limit headers of the Messages API (https://platform.claude.com/docs/en/api/rate-limits, as of 2026-11-23)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from trunkline_server.providers.anthropic.limits import read_limits
from trunkline_server.providers.base import RateLimitHeaders

DATE = {"date": "Mon, 23 Nov 2026 12:00:00 GMT"}
REQUESTS = {
    "anthropic-ratelimit-requests-limit": "50",
    "anthropic-ratelimit-requests-remaining": "49",
    "anthropic-ratelimit-requests-reset": "2026-11-23T12:00:30Z",
}


def tokens(kind: str, limit: int, remaining: int, reset: str = "2026-11-23T12:01:00Z") -> dict[str, str]:
    prefix = f"anthropic-ratelimit-{kind}"
    return {f"{prefix}-limit": str(limit), f"{prefix}-remaining": str(remaining), f"{prefix}-reset": reset}


def test_limits_are_read_as_the_vendor_writes_them() -> None:
    """Counts, and times of day measured from the response's own."""
    headers = DATE | REQUESTS | tokens("tokens", 80_000, 79_000)
    assert read_limits(headers) == RateLimitHeaders(50, 49, 30.0, 80_000, 79_000, 60.0)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        (tokens("input-tokens", 100, 50) | tokens("output-tokens", 10, 1), (10, 1)),
        (tokens("input-tokens", 100, 5) | tokens("output-tokens", 10, 9), (100, 5)),
        (tokens("tokens", 100, 50) | tokens("input-tokens", 80, 2), (80, 2)),
        (tokens("tokens", 100, 50) | tokens("input-tokens", 80, 40), (100, 50)),
        (tokens("input-tokens", 0, 0) | tokens("output-tokens", 10, 1), (10, 1)),
    ],
)
def test_the_scarcest_limit_for_tokens_counts(headers: dict[str, str], expected: tuple[int, int]) -> None:
    """Of prompts, answers and both together the one with the smallest share left."""
    limits = read_limits(DATE | headers)
    assert limits is not None
    assert (limits.limit_tokens, limits.remaining_tokens) == expected


def test_no_limits_are_no_record() -> None:
    """A response that says nothing, or nothing readable, has no limits."""
    assert read_limits(DATE) is None
    assert read_limits({"anthropic-ratelimit-requests-remaining": "many"}) is None
    assert read_limits({"anthropic-ratelimit-unified-status": "allowed"}) is None


@pytest.mark.parametrize(
    ("reset", "seconds"),
    [
        ("2026-11-23T12:00:30.5Z", 30.5),
        ("2026-11-23T13:00:30+01:00", 30.0),
        ("2026-11-23T12:00:30", 30.0),
        ("2026-11-23T11:59:00Z", 0.0),
        ("soon", None),
        ("", None),
        ("9" * 50, None),
        ("0001-01-01T00:00:00+23:59", 0.0),
    ],
)
def test_resets_are_times_of_day(reset: str, seconds: float | None) -> None:
    """A time that has passed is now; what is none is unknown."""
    limits = read_limits(DATE | REQUESTS | {"anthropic-ratelimit-requests-reset": reset})
    assert limits is not None
    assert limits.reset_requests_s == seconds


@pytest.mark.parametrize("date", [{}, {"date": "yesterday"}])
def test_without_the_response_s_date_our_clock_must_do(date: dict[str, str]) -> None:
    """A reset a minute from now is about a minute away."""
    reset = (datetime.now(UTC) + timedelta(minutes=1)).isoformat()
    limits = read_limits(REQUESTS | {"anthropic-ratelimit-requests-reset": reset} | date)
    assert limits is not None
    assert limits.reset_requests_s is not None
    assert 30 < limits.reset_requests_s <= 60
