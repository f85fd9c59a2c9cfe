"""The retry budget in any order of visits, retries, outcomes and time, against a plain reading of its rules."""

from __future__ import annotations

from fractions import Fraction
from math import floor

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from trunkline_server.routing.budget import BudgetLimits, Charge, RetryBudget
from trunkline_server.routing.clock import ManualClock
from trunkline_server.routing.failures import FailureClass

CALLERS = ("a", "b", "c")
LIMITS = BudgetLimits(floor_per_s=0.3)
FLOOR = 3
"""Of the whole window."""
EXTRA = 0.1

callers = st.sampled_from(CALLERS)
counts = st.integers(1, 40)


class BudgetMachine(RuleBasedStateMachine):
    """A model that keeps every event and counts them anew each time, in exact fractions, agrees with the budget."""

    def __init__(self) -> None:
        super().__init__()
        # Times are multiples of 1/8 s, which floats hold exactly and which are longer than a part of the window.
        self.clock = ManualClock(64.0)
        self.budget = RetryBudget(LIMITS, clock=self.clock)
        self.events: list[tuple[float, str, str]] = []
        """Time, what, and who or how."""
        self.out: list[tuple[Charge, bool]] = []
        """Charges that may still tell something, and whether that counts."""

    # -- the model

    def _note(self, what: str, detail: str = "") -> None:
        self.events.append((self.clock(), what, detail))

    def _count(self, what: str, detail: str | None = None) -> int:
        after = self.clock() - 10.0
        return sum(at > after and happened == what and detail in {None, who} for at, happened, who in self.events)

    def _used_up(self, share: Fraction, caller: str) -> bool:
        firsts, library = self._count("first"), self._count("library")
        budget = share * firsts + FLOOR
        used = self._count("retry") + self._count("hedge")
        if own := self._count("library", caller):
            visits = self._count("first", caller) + own
            used += min(own, floor(budget * Fraction(visits, firsts + library)))
        return used + 1 > budget

    # -- what happens

    @rule(eighths=st.one_of(st.integers(1, 16), st.integers(1, 120)))
    def time_passes(self, eighths: int) -> None:
        """Let time pass."""
        self.clock.advance(eighths / 8)

    @rule(caller=callers, count=counts, library=st.booleans())
    def visits(self, caller: str, count: int, *, library: bool) -> None:
        """Let requests come for the first time, or be sent again by a library."""
        for _ in range(count):
            self.budget.first(caller, library_retry=library)
            self._note("library" if library else "first", caller)

    @rule(caller=callers, count=counts)
    def retries(self, caller: str, count: int) -> None:
        """Dispatch retries, asked for or not."""
        for _ in range(count):
            self.out.append((self.budget.charge(caller), True))
            self._note("retry")

    @rule(caller=callers)
    def hedges(self, caller: str) -> None:
        """Dispatch a hedge, asked for or not."""
        self.out.append((self.budget.hedge(caller), False))
        self._note("hedge")

    @precondition(lambda self: self.out)
    @rule(data=st.data(), words=st.lists(st.sampled_from(["succeeded", "failed", "ended"]), min_size=1, max_size=3))
    def ends(self, data: st.DataObject, words: list[str]) -> None:
        """End some of the attempts under way: of what each says only the first word counts."""
        for _ in range(data.draw(st.integers(1, len(self.out)))):
            charge, counts_for_retries = self.out.pop()
            for word in words:
                getattr(charge, word)()
            if counts_for_retries and words[0] != "ended":
                self._note("outcome", words[0])

    # -- what must hold

    @invariant()
    def they_agree(self) -> None:
        """Refuse what the model refuses, for each caller, class and hedge."""
        plain = Fraction(1, 10)
        ended, succeeded = self._count("outcome"), self._count("outcome", "succeeded")
        recovering = plain + (Fraction(45, 100) * Fraction(succeeded, ended) if ended >= 10 else 0)
        no_more_hedges = self._count("hedge") + 1 > plain * self._count("first")
        for caller in CALLERS:
            used_up = self._used_up(plain, caller)
            assert (self.budget.refuses(FailureClass.STALLED, caller) is not None) == used_up
            told = self.budget.refuses(FailureClass.CONNECT, caller)
            assert (told is not None) == self._used_up(recovering, caller)
            assert (self.budget.refuses_hedge(EXTRA, caller) is not None) == (used_up or no_more_hedges)
            assert self.budget.refuses(FailureClass.KEY_REJECTED, caller) is None


BudgetMachine.TestCase.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)
TestBudgetMachine = BudgetMachine.TestCase
