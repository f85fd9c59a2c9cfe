"""May another attempt be made at all, and after how long: asked in one place.

A blind retry amplifies an outage. What the failed class allows (the table in `failures`), how many attempts the
request has left, and whether the time left is worth it are answered here; retry budgets, observed latency and
criticality join these questions with the issues that build them.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from trunkline_server.routing.failures import FailureClass

BACKOFF_BASE_S = 0.1
BACKOFF_FACTOR = 2.0
BACKOFF_CAP_S = 5.0
KEY_WALK_STEPS = 5
"""Walks to another key after a rejected or exhausted one, for a whole request; they use up no attempt."""

FREE_WALK = frozenset({FailureClass.KEY_REJECTED, FailureClass.KEY_EXHAUSTED})
"""The classes after which another key uses up no attempt: the key before it never reached the model."""


@dataclass(slots=True)
class Allowance:
    """What a request has left. Times in clock seconds."""

    max_attempts: int
    deadline_at: float
    attempts: int = 0
    key_walks: int = 0

    def spend(self, *, walk: bool) -> None:
        """Book one dispatch; `walk` for a free step to another key."""
        if walk:
            self.key_walks += 1
        else:
            self.attempts += 1

    def refuses(self, *, walk: bool, now: float, wait_s: float = 0.0) -> str | None:
        """Return why no further attempt may be made that starts after `wait_s`, or None."""
        if walk and self.key_walks >= KEY_WALK_STEPS:
            return f"walked through {KEY_WALK_STEPS} keys already"
        if not walk and self.attempts >= self.max_attempts:
            return f"all {self.max_attempts} attempts are used"
        if now + wait_s >= self.deadline_at:
            return "the deadline leaves no time for it"
        return None


def backoff_s(failures_here: int, retry_after_s: float | None, rng: random.Random) -> float:
    """Return how long to wait before the same target again, in seconds.

    Equal jitter (half fixed, half drawn) on 0.1 s * 2^(n-1), at most 5 s, where `failures_here` is n, the failures
    of this target in this request, from 1. What the provider asks for in Retry-After wins.
    Source: AWS architecture blog, "Exponential backoff and jitter".
    """
    if retry_after_s is not None:
        return retry_after_s
    full = min(BACKOFF_CAP_S, BACKOFF_BASE_S * BACKOFF_FACTOR ** (failures_here - 1))
    return full / 2 + rng.random() * full / 2
