"""A tournament over keys: whose turn is first, and who has room for so many tokens first, each in O(log n).

One heap can't answer both: which keys have room depends on how large the request is. So each node of a binary tree
knows, of the keys below it, the smallest virtual time and the earliest time at which there could be room; the second
is exact where their token limits are alike (they are laid out so), and never too late.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from trunkline_server.routing.rate import Rate


class TurnTree:
    """Leaves are numbered from 0, as `rates` are: the token limit of each key, None without one.

    A leaf that is out (never put, or put with all at infinity) is never found.
    """

    __slots__ = ("_at", "_burst_s", "_full_at", "_most", "_unit_s", "first_leaf", "turns")

    def __init__(self, rates: Sequence[Rate | None]) -> None:
        size = 1 << (len(rates) - 1).bit_length() if rates else 1
        self.first_leaf = size
        self.turns = [math.inf] * (2 * size)
        """By node, the root being 1: the smallest virtual time below it."""
        self._at = [math.inf] * (2 * size)
        self._full_at = [math.inf] * (2 * size)
        padded = [*rates, *[rates[-1] if rates else None] * (size - len(rates))]
        self._burst_s = [0.0] * size + [0.0 if rate is None else rate.burst_s for rate in padded]
        self._unit_s = [0.0] * size + [0.0 if rate is None else rate.unit_s for rate in padded]
        self._most = [math.inf] * size + [math.inf if rate is None else rate.per_minute for rate in padded]
        for node in range(size - 1, 0, -1):
            left, right = 2 * node, 2 * node + 1
            self._burst_s[node] = max(self._burst_s[left], self._burst_s[right])
            self._unit_s[node] = min(self._unit_s[left], self._unit_s[right])
            self._most[node] = max(self._most[left], self._most[right])

    def plant(self, entries: Sequence[tuple[float, float, float]]) -> None:
        """Set all leaves at once, as `put` does each."""
        for kind, place in ((self.turns, 0), (self._at, 1), (self._full_at, 2)):
            kind[self.first_leaf : self.first_leaf + len(entries)] = [entry[place] for entry in entries]
            for node in range(self.first_leaf - 1, 0, -1):
                kind[node] = min(kind[2 * node], kind[2 * node + 1])

    def put(self, leaf: int, turn: float, at: float, full_at: float) -> None:
        """Set a leaf: its virtual time, when it has room for no tokens at all, and for any number of them."""
        node = self.first_leaf + leaf
        turns, ats, full_ats = self.turns, self._at, self._full_at
        turns[node], ats[node], full_ats[node] = turn, at, full_at
        node >>= 1
        while node:
            left, right = 2 * node, 2 * node + 1
            turn = turns[right] if turns[right] < turns[left] else turns[left]  # noqa: FURB136  min() takes three times as long
            at = ats[right] if ats[right] < ats[left] else ats[left]  # noqa: FURB136  as above
            full_at = full_ats[right] if full_ats[right] < full_ats[left] else full_ats[left]  # noqa: FURB136  as above
            if turn == turns[node] and at == ats[node] and full_at == full_ats[node]:
                return
            turns[node], ats[node], full_ats[node] = turn, at, full_at
            node >>= 1

    def first(self) -> int | None:
        """Return the leaf of the smallest virtual time; None if all are out."""
        turns, node = self.turns, 1
        if turns[1] == math.inf:
            return None
        while node < self.first_leaf:
            node *= 2
            if turns[node + 1] < turns[node]:
                node += 1
        return node - self.first_leaf

    def room_at(self, node: int, tokens: int) -> float:
        """Return a time before which no leaf below the node has room for so many tokens; exact for a leaf."""
        if tokens > self._most[node]:
            return math.inf
        full_at = self._full_at[node] - max(0.0, self._burst_s[node] - tokens * self._unit_s[node])
        return max(self._at[node], full_at)

    def children(self, node: int) -> tuple[int, int] | None:
        """Return the two nodes below; None for a leaf."""
        return (2 * node, 2 * node + 1) if node < self.first_leaf else None
