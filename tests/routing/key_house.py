"""A key pool to play with, and what can be asked of it."""

from __future__ import annotations

from random import Random

from trunkline_server.routing.clock import ManualClock
from trunkline_server.routing.failures import Failure, FailureClass
from trunkline_server.routing.key_pool import KeyPool, KeySpec, KeyView
from trunkline_server.routing.types import Refusal


def make(*keys: KeySpec, seed: int = 7) -> tuple[KeyPool, ManualClock]:
    clock = ManualClock(1000.0)
    return KeyPool("openai", keys or (KeySpec("a", 1), KeySpec("b", 1)), clock=clock, rng=Random(seed)), clock


def limited(retry_after_s: float | None = None) -> Failure:
    return Failure(FailureClass.RATE_LIMITED, "slow down", retry_after_s=retry_after_s)


REJECTED = Failure(FailureClass.KEY_REJECTED, "no such key")
EXHAUSTED = Failure(FailureClass.KEY_EXHAUSTED, "no credit")


def view(pool: KeyPool, key_id: str) -> KeyView:
    return next(each for each in pool.states() if each.id == key_id)


def until(pool: KeyPool, key_id: str) -> float:
    at = view(pool, key_id).until
    assert at is not None
    return at


def blockage(pool: KeyPool, model: str = "m", exclude: frozenset[str] = frozenset()) -> Refusal:
    refusal = pool.blockage(model, exclude)
    assert refusal is not None
    return refusal


def serve(pool: KeyPool, calls: int, model: str = "m", exclude: frozenset[str] = frozenset()) -> dict[str, int]:
    """Make so many calls one after the other, and count them by key."""
    counts: dict[str, int] = {}
    for _ in range(calls):
        key = pool.take(model, exclude)
        assert key is not None
        counts[key] = counts.get(key, 0) + 1
        pool.give_back(key, model)
    return counts
