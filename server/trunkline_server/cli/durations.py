"""Durations as they are typed and printed: `30s`, `10m`, `2h`."""

from __future__ import annotations

import math
import re
import time
from typing import Final

_UNITS_S: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PART: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_WHOLE: Final = re.compile(rf"(?:{_PART.pattern})+", re.ASCII)
_STEPS: Final = (("d", 86400), ("h", 3600), ("min", 60))


def parse_duration(text: str) -> float:
    """Return the seconds of `30s`, `10m`, `1h30m`, `250ms`; raise ValueError saying what a duration looks like."""
    if not _WHOLE.fullmatch(text):
        raise ValueError("it must be a number with its unit, such as 30s, 10m, 2h or 1h30m")
    return math.fsum(float(number) * _UNITS_S[unit] for number, unit in _PART.findall(text))


def validate_duration(_: object, value: str | None) -> None:
    """Refuse what is no duration above 0; called while the command line is read."""
    if value is not None and parse_duration(value) <= 0:
        raise ValueError("it must be above 0")


def span_text(span_s: float) -> str:
    """Return a span of time in the largest unit that tells it: `12 s`, `3 min`, `5 h`, `2 d`."""
    whole = math.floor(max(span_s, 0.0) + 0.5)
    for unit, step_s in _STEPS:
        if whole >= step_s:
            return f"{whole // step_s} {unit}"
    return f"{whole} s"


def ago(then_s: float, now_s: float) -> str:
    """Return how long ago a time is, both in Unix seconds: `3 min ago`; a time to come is `in 3 min`."""
    if then_s > now_s:
        return f"in {span_text(then_s - now_s)}"
    return "just now" if now_s - then_s < 1 else f"{span_text(now_s - then_s)} ago"


def now() -> float:
    """Return the time in Unix seconds: from when people are told how long ago something was."""
    return time.time()
