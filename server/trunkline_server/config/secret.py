"""The one type that holds a secret: it can be used, compared and carried over, but never printed."""

from __future__ import annotations

import hashlib
import hmac
from typing import NoReturn, final

_MASK = "***"


@final
class Secret:
    """A resolved secret, such as a provider's API key.

    It prints as ``***`` however it is formatted, compares in constant time, and refuses to be pickled or
    copied, so that the text leaves it only where somebody writes ``reveal()``.
    """

    __slots__ = ("_fingerprint", "_text")

    _fingerprint: str
    _text: str

    def __init__(self, text: str) -> None:
        object.__setattr__(self, "_text", text)
        object.__setattr__(self, "_fingerprint", hashlib.sha256(text.encode()).hexdigest())

    def reveal(self) -> str:
        """Return the secret's text: for the header it goes into, and for nothing else."""
        return self._text

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the text in hex: tells over a reload whether a key is still the same. Not for display."""
        return self._fingerprint

    def __repr__(self) -> str:
        return _MASK

    __str__ = __repr__

    def __format__(self, format_spec: str) -> str:
        return _MASK

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._text.encode(), other._text.encode())

    def __hash__(self) -> int:
        return hash(self._fingerprint)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError("a Secret does not change; make a new one")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError("a Secret does not change; make a new one")

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        # Covers pickle, copy and deepcopy: all three would put the text where nobody looks after it.
        raise TypeError("a Secret can be neither pickled nor copied")
