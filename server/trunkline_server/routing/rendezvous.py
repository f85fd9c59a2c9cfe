"""Weighted rendezvous hashing: who serves a key, decided by the key and each entry alone.

Each entry draws a number from the hash of key and entry; the largest weight / -ln(number) wins. Nobody's draw depends
on anybody else's: an entry that goes moves only its own keys, and a weight that grows only draws keys towards itself.
The hash is the same in every process and in every run.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from hashlib import blake2b

_HASH_BYTES = 8
_BITS = 52
"""Of the hash: as many as a float can hold with a half added, so that no draw is 0 or 1."""
_SPARE_BITS = _HASH_BYTES * 8 - _BITS


def score(key: bytes, mark: bytes, weight: float) -> float:
    """Return the score of the entry that `mark` names, for `key`: the highest serves it.

    `mark` has no zero byte. A weight of 0 scores below 0: it serves only if no other is left.
    """
    digest = blake2b(mark + b"\0" + key, digest_size=_HASH_BYTES).digest()
    drawn = ((int.from_bytes(digest, "big") >> _SPARE_BITS) + 0.5) / (1 << _BITS)
    far = -math.log(drawn)
    return weight / far if weight > 0 else -far


def ranked(key: bytes, marks: Sequence[bytes], weights: Sequence[float], among: Iterable[int]) -> list[int]:
    """Return the entries of `among` by falling score for `key`; `marks` and `weights` have one for each entry."""
    return sorted(among, key=lambda entry: (-score(key, marks[entry], weights[entry]), entry))
