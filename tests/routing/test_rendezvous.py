"""Weighted rendezvous hashing."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline_server.routing.rendezvous import ranked, score

MARKS = [b"a/m", b"b/m", b"c/m", b"d/m"]
KEYS = 100_000


def picks(weights: list[float], keys: int = KEYS) -> list[int]:
    """Return who serves each key."""
    everybody = range(len(weights))
    return [
        max(everybody, key=lambda entry: score(key, MARKS[entry], weights[entry]))
        for key in (f"session-{number}".encode() for number in range(keys))
    ]


def test_moving_one_weight_moves_only_its_share() -> None:
    """From 10 to 20 %: every key that moves goes to the one that grew, and they are the share that changed."""
    before, after = picks([90.0, 10.0]), picks([80.0, 20.0])
    shares = [Counter(found)[1] / KEYS for found in (before, after)]
    moved = [(old, new) for old, new in zip(before, after, strict=True) if old != new]
    print(f"{KEYS} keys: share {shares[0]:.4f} -> {shares[1]:.4f}, moved {len(moved) / KEYS:.4f}")
    assert abs(shares[0] - 0.1) < 0.005
    assert abs(shares[1] - 0.2) < 0.005
    assert set(moved) == {(0, 1)}
    assert abs(len(moved) / KEYS - 0.1) < 0.005


def test_one_that_goes_moves_only_its_own_keys() -> None:
    """The keys of the others stay where they are; its own spread over the others by weight, and come back with it."""
    weights = [4.0, 3.0, 2.0, 1.0]
    heirs: Counter[int] = Counter()
    for number in range(20_000):
        key = f"session-{number}".encode()
        whole = ranked(key, MARKS, weights, range(4))
        left = ranked(key, MARKS, weights, [1, 2, 3])
        assert left == [entry for entry in whole if entry != 0]
        if whole[0] == 0:
            heirs[left[0]] += 1
    total = sum(heirs.values())
    for entry, share in ((1, 3 / 6), (2, 2 / 6), (3, 1 / 6)):
        assert abs(heirs[entry] / total - share) < 0.02


def test_the_hash_is_the_same_everywhere() -> None:
    """A figure that was once computed: another process, another day or another version has to find it again."""
    assert score(b"session", b"a/m", 1.0) == pytest.approx(0.30713547180190787, rel=1e-12)


@given(st.binary(max_size=64), st.lists(st.floats(0, 1000), min_size=1, max_size=4))
def test_standbys_come_last_and_everybody_is_there(key: bytes, weights: list[float]) -> None:
    """The ranking is a permutation, the same each time, with every weight of 0 behind all others."""
    order = ranked(key, MARKS, weights, range(len(weights)))
    assert sorted(order) == list(range(len(weights)))
    assert order == ranked(key, MARKS, weights, reversed(range(len(weights))))
    working = sum(weight > 0 for weight in weights)
    assert all(weights[entry] > 0 for entry in order[:working])


@given(st.binary(max_size=32), st.floats(0.01, 100), st.floats(1.0, 10.0))
def test_a_weight_that_grows_never_loses_a_key(key: bytes, weight: float, factor: float) -> None:
    """Who serves a key goes on serving it when only its own weight grows."""
    if ranked(key, MARKS, [weight, 5.0, 1.0], range(3))[0] == 0:
        assert ranked(key, MARKS, [weight * factor, 5.0, 1.0], range(3))[0] == 0
