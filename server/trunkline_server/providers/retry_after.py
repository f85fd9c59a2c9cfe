"""How long a provider asks us to stay away, and the plain values that vendors write into headers."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Final

_UNITS_S: Final = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_PIECE: Final = re.compile(r"(\d{1,12}(?:\.\d{1,12})?)(ms|us|µs|ns|d|h|m|s)")
_DURATION: Final = re.compile(rf"(?:{_PIECE.pattern})+")
_MAX_VALUE_LENGTH: Final = 64
_MAX_COUNT: Final = 2.0**53


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Return how many seconds the provider asks us to stay away; None if it does not say.

    `retry-after-ms` goes before `retry-after`, which is a number of seconds or an HTTP date. A date is measured
    from the response's own `date` where there is one, so that a wrong clock on either side does no harm. Names of
    `headers` are in lower case.
    """
    milliseconds = headers.get("retry-after-ms")
    if milliseconds is not None and (value := seconds(milliseconds)) is not None:
        return value / 1000
    after = headers.get("retry-after")
    if after is None or len(after) > _MAX_VALUE_LENGTH:
        return None
    if (value := seconds(after)) is not None:
        return value
    until = timestamp_s(after)
    if until is None:
        return None
    now = timestamp_s(headers.get("date", ""))
    return max(0.0, until - (time.time() if now is None else now))


def duration_s(value: str | None) -> float | None:
    """Return a duration such as `6m0s`, `1h2m3.5s`, `20ms` or plain `12` in seconds; None if it is none."""
    if value is None or len(value) > _MAX_VALUE_LENGTH:
        return None
    value = value.strip()
    if _DURATION.fullmatch(value) is not None:
        return sum(float(number) * _UNITS_S[unit] for number, unit in _PIECE.findall(value))
    return seconds(value)


def count(value: str | None) -> int | None:
    """Return a whole number that is neither negative nor without bounds; None if `value` is none."""
    number = None if value is None else seconds(value)
    return None if number is None or number > _MAX_COUNT else int(number)


def seconds(value: str) -> float | None:
    """Return a plain number that is neither negative nor without bounds; None if `value` is none."""
    try:
        number = float(value[:_MAX_VALUE_LENGTH])
    except ValueError:
        return None
    return number if math.isfinite(number) and number >= 0 else None


def timestamp_s(value: str) -> float | None:
    """Return the moment of an HTTP date in seconds since 1970; None if `value` is none."""
    try:
        return parsedate_to_datetime(value).timestamp()
    except (ValueError, OverflowError):
        return None
