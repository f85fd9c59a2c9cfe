"""May another attempt be made at all, and after how long: asked in one place.

A blind retry amplifies an outage. How many attempts the request has left, and whether the time left is worth one more,
is answered here; `permission` asks it together with the other questions. Criticality joins them with the issue that
builds it.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from trunkline_server.routing.failures import FailureClass

BACKOFF_BASE_S = 0.1
BACKOFF_FACTOR = 2.0
BACKOFF_CAP_S = 5.0
ATTEMPTS_AFTER_BREAK = 1
"""How many of a request's attempts may follow one that broke after content was shown."""
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
    after_break: int = 0
    """Of them, those that were made after content had been shown."""
    key_walks: int = 0
    hedged: bool = False

    def spend(self, *, walk: bool, after_break: bool = False, hedge: bool = False) -> None:
        """Book one dispatch; `walk` for a free step to another key, `hedge` for one that races another."""
        self.hedged = self.hedged or hedge
        if walk:
            self.key_walks += 1
        else:
            self.attempts += 1
            self.after_break += after_break

    def refuses(
        self, *, walk: bool, now: float, wait_s: float = 0.0, after_break: bool = False, expected_s: float | None = None
    ) -> str | None:
        """Return why no further attempt may be made that starts after `wait_s`, or None.

        `expected_s`: how long its target usually takes to the first content, or to the answer; None if not known.
        """
        if walk and self.key_walks >= KEY_WALK_STEPS:
            return f"walked through {KEY_WALK_STEPS} keys already"
        if not walk and self.attempts >= self.max_attempts:
            return f"all {self.max_attempts} attempts are used"
        if not walk and after_break and self.after_break >= ATTEMPTS_AFTER_BREAK:
            return "the one attempt after a break is used"
        left_s = self.deadline_at - now - wait_s
        if left_s <= 0:
            return "the deadline leaves no time for it"
        if expected_s is not None and left_s < expected_s:
            return f"it usually takes {expected_s:.2g} s, and the deadline leaves {left_s:.2g} s"
        return None

    def refuses_hedge(self, *, after_break: bool) -> str | None:
        """Return why no attempt may race the one in flight, or None: one may, before any content was shown."""
        if after_break:
            return "content was shown already"
        return "the one attempt beside another is used" if self.hedged else None


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
