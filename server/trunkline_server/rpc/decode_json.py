"""JSON objects that stand in requests as text: decoded once, bounded in size and depth."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from trunkline_server.rpc.violations import Violations

MAX_JSON_BYTES = 1024 * 1024
"""No model writes longer arguments, and a decoded text takes up to 32 times its size in memory."""
MAX_JSON_DEPTH = 64

_decode = msgspec.json.Decoder().decode
_BYTE = re.compile(r"\(byte (\d+)\)$")


def decode_json_object(
    text: str, path: str, found: Violations, *, max_bytes: int = MAX_JSON_BYTES, max_depth: int = MAX_JSON_DEPTH
) -> dict[str, Any] | None:
    """Return the JSON object in `text`; None, with a violation at `path`, if it is none or passes a bound.

    NaN, infinities and numbers beyond a double are no JSON here; of equal keys the last holds. The object itself is at
    depth 1.
    """
    if len(text) > max_bytes or len(text.encode()) > max_bytes:
        found.add(path, f"must be at most {max_bytes} bytes")
        return None
    brackets = text.count("{") + text.count("[")
    found.count_brackets(path, brackets)
    try:
        value = _decode(text)
        if not isinstance(value, dict):
            problem = "must be a JSON object"
        elif brackets > max_depth and _is_deeper(value, max_depth):
            problem = f"must not be nested deeper than {max_depth}"
        else:
            return value
    except msgspec.ValidationError:
        problem = "must not hold numbers that are out of range"
    except msgspec.DecodeError as error:
        at = _BYTE.search(str(error))
        problem = "must be valid JSON" + (f", is not at byte {at[1]}" if at else "")
    except RecursionError:
        problem = f"must not be nested deeper than {max_depth}"
    found.add(path, problem)
    return None


def _is_deeper(value: dict[str, Any], max_depth: int) -> bool:
    """Return whether objects and arrays stand in each other more than `max_depth` deep, without recursion."""
    level: list[Any] = [value]
    for _ in range(max_depth):
        level = [
            child
            for node in level
            for child in (node.values() if type(node) is dict else node)
            if type(child) is dict or type(child) is list
        ]
        if not level:
            return False
    return True
