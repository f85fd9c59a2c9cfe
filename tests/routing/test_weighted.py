"""Smooth weighted round robin."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline_server.routing.weighted import SmoothWeighted


def picks(turn: SmoothWeighted, among: list[int], count: int) -> list[int]:
    return [turn.order(among)[0] for _ in range(count)]


def test_the_known_sequence() -> None:
    """Weights 5, 1, 1 give a a b a c a a: the share is kept without a clump."""
    assert picks(SmoothWeighted([5, 1, 1]), [0, 1, 2], 7) == [0, 0, 1, 0, 2, 0, 0]


@given(st.lists(st.integers(1, 20), min_size=1, max_size=6))
def test_every_full_turn_has_exact_shares(weights: list[int]) -> None:
    """Over as many calls as the weights add up to, each entry comes first exactly as often as its weight says."""
    turn = SmoothWeighted(weights)
    counts = Counter(picks(turn, list(range(len(weights))), sum(weights)))
    assert [counts[entry] for entry in range(len(weights))] == weights


def test_weight_zero_comes_last() -> None:
    """An entry of weight 0 comes first only when it is alone."""
    turn = SmoothWeighted([0, 3])
    assert turn.order([0, 1]) == [1, 0]
    assert turn.order([0]) == [0]


def test_looking_does_not_take_a_turn() -> None:
    """With advance=False the next real pick is the one that was shown."""
    turn = SmoothWeighted([2, 1])
    for _ in range(7):
        shown = turn.order([0, 1], advance=False)
        assert turn.order([0, 1], advance=False) == shown
        assert turn.order([0, 1]) == shown


def test_shares_hold_among_those_that_are_left() -> None:
    """When one entry is out, the others share by their weights."""
    turn = SmoothWeighted([6, 3, 1])
    counts = Counter(picks(turn, [1, 2], 400))
    assert counts == {1: 300, 2: 100}


def test_a_negative_weight_is_refused() -> None:
    """Weights below 0 are a mistake that is told at once."""
    with pytest.raises(ValueError, match="0 or more"):
        SmoothWeighted([1, -1])
