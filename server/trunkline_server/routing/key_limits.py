"""What one key may use a minute, and what it used: requests and tokens, for each model by itself."""

from __future__ import annotations

import math
from dataclasses import dataclass

from trunkline_server.routing.rate import Bucket, Rate

MAX_LIMITED_MODELS = 64
"""Models whose use a key remembers. Callers may invent models: beyond this, full buckets are dropped, which loses
nothing, and then the one that is full first, which grants that model one burst too many."""


@dataclass(frozen=True, slots=True)
class Remaining:
    """What a provider's response says of a key's limits; None where it says nothing."""

    requests: float | None = None
    tokens: float | None = None
    requests_full_in_s: float | None = None
    """Seconds until all of it is there again: no time to stay away."""
    tokens_full_in_s: float | None = None


class _Buckets:
    __slots__ = ("requests", "tokens")

    def __init__(self, requests: Rate | None, tokens: Rate | None) -> None:
        self.requests = None if requests is None else Bucket(requests)
        self.tokens = None if tokens is None else Bucket(tokens)

    @property
    def full_at(self) -> float:
        return max((bucket.full_at for bucket in (self.requests, self.tokens) if bucket is not None), default=-math.inf)


class KeyLimits:
    """The limits of one key. Tokens count only where there is a limit for them, requests likewise."""

    __slots__ = ("_books", "requests", "tokens")

    def __init__(self, requests: Rate | None, tokens: Rate | None) -> None:
        self.requests = requests
        self.tokens = tokens
        self._books: dict[str, _Buckets] = {}

    def take_over(self, older: KeyLimits) -> None:
        """Go on with what was used under a former configuration of the same key: debts stay, in seconds."""
        for model, past in older._books.items():
            book = self._books[model] = _Buckets(self.requests, self.tokens)
            for mine, theirs in ((book.requests, past.requests), (book.tokens, past.tokens)):
                if mine is not None and theirs is not None:
                    mine.take_over(theirs)

    def never_fits(self, tokens: int) -> bool:
        """Whether one request of so many tokens is above the whole minute."""
        return self.tokens is not None and self.tokens.never_fits(tokens)

    def request_at(self, model: str) -> float:
        """Return the clock time from which the model may have one more request, however small; it may be long past."""
        book = self._books.get(model)
        return -math.inf if book is None or book.requests is None else book.requests.ready_at(1.0)

    def tokens_full_at(self, model: str) -> float:
        """Return the clock time at which all tokens of the model's burst are there again."""
        book = self._books.get(model)
        return -math.inf if book is None or book.tokens is None else book.tokens.full_at

    def ready_at(self, model: str, tokens: int) -> float:
        """Return the clock time from which a request of so many tokens may go; inf: never, it is above the minute."""
        if self.never_fits(tokens):
            return math.inf
        book = self._books.get(model)
        if book is None:
            return -math.inf
        at = -math.inf if book.requests is None else book.requests.ready_at(1.0)
        return at if book.tokens is None else max(at, book.tokens.ready_at(tokens))

    def room(self, now: float) -> tuple[float | None, float | None]:
        """Return the requests and the tokens that every model could still take at once now; None: no limit.

        Each model has limits of its own: told is that of the model which has least left. O(models) that it remembers.
        """
        books = self._books.values()
        unused = _Buckets(self.requests, self.tokens)
        requests = [book.requests.room(now) for book in (unused, *books) if book.requests is not None]
        tokens = [book.tokens.room(now) for book in (unused, *books) if book.tokens is not None]
        return min(requests, default=None), min(tokens, default=None)

    def interval_s(self, tokens: int) -> float:
        """Return the seconds between requests of so many tokens at the limit."""
        requests_s = 0.0 if self.requests is None else self.requests.unit_s
        return requests_s if self.tokens is None else max(requests_s, tokens * self.tokens.unit_s)

    def reserve(self, model: str, tokens: int, now: float) -> None:
        """Take one request and so many tokens."""
        book = self._books.get(model) or self._open(model, now)
        if book.requests is not None:
            book.requests.reserve(1.0, now)
        if book.tokens is not None:
            book.tokens.reserve(tokens, now)

    def settle(self, model: str, reserved: int, used: int, at: float) -> bool:
        """Put right what was reserved at clock time `at`; return whether that changed anything."""
        book = self._books.get(model)
        if book is None or book.tokens is None or reserved == used:
            return False
        book.tokens.settle(reserved, used, at)
        return True

    def observed(self, model: str, told: Remaining, at: float, now: float, *, alone: bool) -> None:
        """Take over what a response says, to a call that was dispatched at clock time `at`.

        `remaining` may lower what we think was left then, never raise it: it is not of now, or each answer would cost
        the key the time that it took. When all is there again is believed only if no
        other call is in flight (`alone`), of which the provider may not have known when it said so.
        """
        book = self._books.get(model) or self._open(model, now)
        for bucket, remaining, full_in_s in (
            (book.requests, told.requests, told.requests_full_in_s),
            (book.tokens, told.tokens, told.tokens_full_in_s),
        ):
            if bucket is None:
                continue
            if remaining is not None and math.isfinite(remaining):
                bucket.lower_to(remaining, at, now)
            if alone and full_in_s is not None and math.isfinite(full_in_s):
                bucket.full_by(now + max(0.0, full_in_s), now)

    def stopped(self, model: str, until: float, now: float) -> None:
        """Believe a 429: at clock time `until` one request goes again, and what the pause would earn is not there."""
        book = self._books.get(model) or self._open(model, now)
        if book.requests is not None:
            book.requests.lower_to(1.0, until, now)

    def _open(self, model: str, now: float) -> _Buckets:
        if len(self._books) >= MAX_LIMITED_MODELS:
            self._books = {name: book for name, book in self._books.items() if book.full_at > now}
        if len(self._books) >= MAX_LIMITED_MODELS:
            del self._books[min(self._books, key=lambda name: self._books[name].full_at)]
        book = self._books[model] = _Buckets(self.requests, self.tokens)
        return book
