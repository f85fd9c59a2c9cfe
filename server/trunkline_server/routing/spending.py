"""What one request's attempts cost the retry budgets of the providers that they go to.

The first visit to a provider is free, and is what a budget grows by. Once a provider has failed this request in a
class that speaks of its health, or has limited its rate, every further attempt there is charged, whichever target or
key it uses; so is the first attempt of an RPC that the caller's own library sends again.
"""

from __future__ import annotations

from collections.abc import Sequence

from trunkline_server.routing.budget import Charge
from trunkline_server.routing.failures import Failure, FailureClass
from trunkline_server.routing.selection import Candidate


class Spending:
    """One request's account."""

    __slots__ = ("_caller", "_candidates", "_failed", "_sent_again", "_visited")

    def __init__(self, candidates: Sequence[Candidate], caller: str, *, sent_again: bool) -> None:
        self._candidates = candidates
        self._caller = caller
        self._sent_again = sent_again
        """Whether the next attempt is one that the caller's library sends again."""
        self._failed: dict[str, FailureClass] = {}
        """Providers that failed this request, and in which class the last time."""
        self._visited: tuple[str, ...] = ()

    def refuses(self, index: int) -> str | None:
        """Return why the provider's budget refuses an attempt at this candidate now; None if it does not."""
        candidate = self._candidates[index]
        failed = self._failed.get(candidate.target.provider)
        budget = candidate.health.budget
        return None if failed is None or budget is None else budget.refuses(failed, self._caller)

    def refuses_hedge(self, index: int, max_extra: float, *, raced: int) -> str | None:
        """Return why a second attempt, beside one at `raced`, is refused; `max_extra` is the largest share of them."""
        budget = self._candidates[index].health.budget
        if budget is None:
            return None
        return budget.refuses_hedge(max_extra, self._caller, raced=self._candidates[raced].health.budget)

    def enter(self, index: int, *, raced: int | None = None) -> Charge | None:
        """Book the dispatch of an attempt; return what it was charged with, if it was. `raced`: beside one there."""
        candidate = self._candidates[index]
        provider, budget = candidate.target.provider, candidate.health.budget
        first = provider not in self._visited
        if first:
            self._visited += (provider,)
        sent_again, self._sent_again = self._sent_again, False
        if budget is None:
            return None
        if raced is not None:
            return budget.hedge(self._caller, raced=self._candidates[raced].health.budget)
        if provider in self._failed:
            return budget.charge(self._caller)
        if first:
            budget.first(self._caller, library_retry=sent_again)
        return None

    def note_failed(self, index: int, failure: Failure) -> None:
        """Note how an attempt failed. What the caller brought about costs nothing."""
        speaks = failure.rule.counts or failure.failure_class is FailureClass.RATE_LIMITED
        if speaks and not failure.caused_by_caller:
            self._failed[self._candidates[index].target.provider] = failure.failure_class
