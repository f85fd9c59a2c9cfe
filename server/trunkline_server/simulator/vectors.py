"""The vectors that the simulator makes of texts: the same each time, of length 1, and others for other models."""

from __future__ import annotations

import base64
import hashlib
import math
import sys
from array import array

_INT_MAX = 2**31


def vector(model: str, text: str, dimensions: int) -> array[float]:
    """Return a text's vector of single-precision numbers; another length is another vector, as with no real model."""
    digest = hashlib.shake_128(f"{model}\0{dimensions}\0{text}".encode(errors="replace")).digest(4 * dimensions)
    # No number is 0, so that a whole vector never is.
    numbers = [(number | 1) / _INT_MAX for number in array("i", digest)]
    length = math.hypot(*numbers)
    return array("f", (number / length for number in numbers))


def as_base64(numbers: array[float]) -> str:
    """Return a vector as base64 of little-endian single-precision numbers."""
    if sys.byteorder == "big":
        numbers = numbers[:]
        numbers.byteswap()
    return base64.b64encode(numbers.tobytes()).decode()
