"""Rate-limit headers and the time to stay away."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from trunkline_server.providers.base import RateLimitHeaders
from trunkline_server.providers.openai import read_limits
from trunkline_server.providers.retry_after import duration_s, retry_after_s


def test_limits_are_read_as_openai_writes_them() -> None:
    """Counts and durations of requests and of tokens."""
    assert read_limits(
        {
            "x-ratelimit-limit-requests": "60",
            "x-ratelimit-limit-tokens": "150000",
            "x-ratelimit-remaining-requests": "59",
            "x-ratelimit-remaining-tokens": "149984",
            "x-ratelimit-reset-requests": "1s",
            "x-ratelimit-reset-tokens": "6m0s",
        }
    ) == RateLimitHeaders(60, 59, 1.0, 150_000, 149_984, 360.0)


def test_no_limits_are_no_record() -> None:
    """A response that says nothing, or nothing readable, has no limits."""
    assert read_limits({"content-type": "text/html"}) is None
    assert read_limits({"x-ratelimit-remaining-requests": "many"}) is None


@pytest.mark.parametrize("value", ["nan", "inf", "-1", "1e400", "", "9" * 70])
def test_a_count_that_is_none_is_unknown(value: str) -> None:
    """One bad header does not spoil the others."""
    limits = read_limits({"x-ratelimit-remaining-requests": value, "x-ratelimit-remaining-tokens": "5"})
    assert limits == RateLimitHeaders(remaining_tokens=5)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("6m0s", 360.0),
        ("20ms", 0.02),
        ("1h2m3.5s", 3723.5),
        ("1d", 86400.0),
        ("8.64s", 8.64),
        ("12", 12.0),
        (" 0s ", 0.0),
        ("150us", 0.00015),
        ("7µs", 0.000007),
        ("3ns", 3e-9),
        ("", None),
        ("soon", None),
        ("6m0", None),
        ("-1s", None),
        ("1s" * 40, None),
        (None, None),
    ],
)
def test_durations(text: str | None, seconds: float | None) -> None:
    """Durations of several units add up; anything else is unknown."""
    assert duration_s(text) == (None if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "2"}, 2.0),
        ({"retry-after": "0.25"}, 0.25),
        ({"retry-after": "2", "retry-after-ms": "1500"}, 1.5),
        ({"retry-after": "2", "retry-after-ms": "soon"}, 2.0),
        ({"retry-after": "-2"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "x" * 100}, None),
        (
            {"retry-after": "Wed, 21 Oct 2015 07:28:30 GMT", "date": "Wed, 21 Oct 2015 07:28:00 GMT"},
            30.0,
        ),
        (
            {"retry-after": "Wed, 21 Oct 2015 07:27:00 GMT", "date": "Wed, 21 Oct 2015 07:28:00 GMT"},
            0.0,
        ),
    ],
)
def test_retry_after(headers: dict[str, str], seconds: float | None) -> None:
    """Milliseconds go before seconds, and a date is measured from the response's own."""
    assert retry_after_s(headers) == seconds


def test_a_date_alone_is_measured_from_our_clock() -> None:
    """Without the response's own date our wall clock must do."""
    until = datetime.now(UTC) + timedelta(seconds=90)
    started = time.time()
    seconds = retry_after_s({"retry-after": format_datetime(until, usegmt=True)})
    assert seconds is not None
    assert 88 - (time.time() - started) <= seconds <= 90
