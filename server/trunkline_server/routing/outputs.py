"""How long an alias's answers are: what a request's cost is estimated from before its answer is there."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque

UNSEEN_TOKENS = 1000
"""What an answer is taken to have until `SEEN_MIN` were seen."""
SEEN_MIN = 20
REMEMBERED = 500
"""So many of the latest answers speak."""
_PERCENT = 95
_WHOLE = 100


class OutputSizes:
    """Output tokens of the latest answers. It belongs to one event loop, and outlasts the snapshot that it serves."""

    __slots__ = ("_recent", "_sorted")

    def __init__(self) -> None:
        self._recent: deque[int] = deque()
        self._sorted: list[int] = []

    def book(self, tokens: int) -> None:
        """Count one answer's output tokens, as the provider reported them; raise ValueError if it is below 0."""
        if tokens < 0:
            raise ValueError(f"no answer has {tokens} tokens")
        if len(self._recent) == REMEMBERED:
            del self._sorted[bisect_left(self._sorted, self._recent.popleft())]
        self._recent.append(tokens)
        insort(self._sorted, tokens)

    @property
    def p95(self) -> int:
        """Tokens that 95 % of the answers kept to; UNSEEN_TOKENS while too few were seen."""
        seen = len(self._sorted)
        if seen < SEEN_MIN:
            return UNSEEN_TOKENS
        return self._sorted[-(-seen * _PERCENT // _WHOLE) - 1]

    def expected(self, max_output_tokens: int | None) -> int:
        """Return how many tokens an answer is reckoned with: the smaller of the request's limit and `p95`."""
        usual = self.p95
        return usual if max_output_tokens is None or max_output_tokens > usual else max_output_tokens

    def __repr__(self) -> str:
        """Show how much is known."""
        return f"<OutputSizes: {len(self._sorted)} answers>"
