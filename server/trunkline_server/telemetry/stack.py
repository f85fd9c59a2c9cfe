"""An exception as logs may show it: its type and where it was raised, never its words.

Exception texts and local variables may hold prompts, answers and secrets; types and places cannot.
"""

from __future__ import annotations

import traceback

_MAX_FRAMES = 30
_MAX_CHAIN = 4


def stack_of(error: BaseException) -> list[dict[str, object]]:
    """Return the exception and what caused it, outermost first: `{"type": …, "frames": ["file:line function", …]}`."""
    told: list[dict[str, object]] = []
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen and len(told) < _MAX_CHAIN:
        seen.add(id(current))
        told.append({"type": type_name(current), "frames": _frames(current)})
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)
    return told


def type_name(error: BaseException) -> str:
    """Return the exception's type with its module."""
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _frames(error: BaseException) -> list[str]:
    """Return the places of a traceback, innermost last; the outer ones are left out when there are too many."""
    walked = list(traceback.walk_tb(error.__traceback__))[-_MAX_FRAMES:]
    return [f"{_short(frame.f_code.co_filename)}:{line} {frame.f_code.co_qualname}" for frame, line in walked]


def _short(path: str) -> str:
    """Return the last three parts of a path: enough to find the file, and nothing about the machine."""
    return "/".join(path.rsplit("/", 3)[-3:])
