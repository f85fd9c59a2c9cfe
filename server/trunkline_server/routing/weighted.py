"""Smooth weighted round robin: shares without random clumps.

Each pick adds every weight to its entry's credit, takes the entry with the most credit, and takes the sum of the
weights from it (the algorithm that nginx uses for upstreams). Weights 5, 1, 1 give a a b a c a a.
"""

from __future__ import annotations

from collections.abc import Sequence


class SmoothWeighted:
    """Orders entries 0..n-1 so that, over many calls, each comes first in proportion to its weight.

    `weights`: one number ≥ 0 an entry. An entry of weight 0 comes first only if no other is left.
    """

    __slots__ = ("_credit", "_weights")

    def __init__(self, weights: Sequence[float]) -> None:
        if any(weight < 0 for weight in weights):
            raise ValueError(f"weights are 0 or more: {list(weights)}")
        self._weights = tuple(float(weight) for weight in weights)
        self._credit = [0.0] * len(self._weights)

    def order(self, among: Sequence[int], *, advance: bool = True) -> list[int]:
        """Return the entries of `among`: the pick first, the others by how soon their own turn would come.

        With `advance=False` nothing is booked: the answer is what the next pick would be.
        """
        if len(among) <= 1:
            return list(among)
        weights, credit = self._weights, self._credit
        total = 0.0
        ahead: list[tuple[float, int]] = []
        for entry in among:
            weight = weights[entry]
            total += weight
            # Sorted by falling credit; ties go to the earlier entry. Weight 0 goes behind everything else.
            ahead.append((-(credit[entry] + weight) if weight else float("inf"), entry))
        ahead.sort()
        if advance and total:
            for entry in among:
                credit[entry] += weights[entry]
            credit[ahead[0][1]] -= total
        return [entry for _, entry in ahead]

    def copy(self) -> SmoothWeighted:
        """Return another one that stands where this one does: turns taken of it are only looked at."""
        other = SmoothWeighted(self._weights)
        other._credit = list(self._credit)
        return other

    def credit_next(self, entry: int) -> float:
        """Return the credit with which an entry would go into the next pick: the highest is picked."""
        return self._credit[entry] + self._weights[entry]

    def __repr__(self) -> str:
        """Show weights and credits."""
        return f"SmoothWeighted(weights={list(self._weights)}, credit={self._credit})"
