"""Ids of tool calls, which one vendor makes and another has to take back.

A conversation may have begun at a vendor whose ids are longer, or of other characters, than the next one takes. Ids
that fit are sent as they are; any other becomes one that fits, the same each time, so that calls and results still
belong together.
"""

from __future__ import annotations

import hashlib
import re
from typing import Final

_DIGITS: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


class ToolIds:
    """What one vendor takes as an id: 1 to `max_chars` ASCII letters and digits, and characters of `extra`.

    `exact`: an id has `max_chars` characters, no fewer. `max_chars` is at least 9, where two of a conversation's ids
    meet by chance once in 10^10.
    """

    __slots__ = ("_fits", "_max_chars")

    def __init__(self, max_chars: int, extra: str = "-_", *, exact: bool = False) -> None:
        least = max_chars if exact else 1
        self._fits = re.compile(rf"[0-9A-Za-z{re.escape(extra)}]{{{least},{max_chars}}}", re.ASCII)
        self._max_chars = max_chars

    def sent(self, call_id: str) -> str:
        """Return the id that stands for `call_id` at this vendor."""
        if self._fits.fullmatch(call_id) is not None:
            return call_id
        number = int.from_bytes(hashlib.sha256(call_id.encode("utf-8", "surrogatepass")).digest())
        characters: list[str] = []
        for _ in range(min(self._max_chars, 24)):
            number, digit = divmod(number, len(_DIGITS))
            characters.append(_DIGITS[digit])
        return "".join(characters)
