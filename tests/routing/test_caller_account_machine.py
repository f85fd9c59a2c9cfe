"""Properties of a caller's account: whatever comes in whatever order, its limits hold and its books balance."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from trunkline_server.routing.caller_account import DAY_S, CallerAccount, Pass
from trunkline_server.routing.caller_limits import REQUEST_BURST_S, TOKEN_BURST_S, CallerLimits
from trunkline_server.routing.clock import ManualClock
from trunkline_server.routing.rate import HEADROOM, MINUTE_S

SLACK = 1e-6

limits_of_callers = st.builds(
    CallerLimits,
    st.none() | st.sampled_from([0.5, 7.0, 60.0, 3000.0]),
    st.none() | st.sampled_from([50.0, 1000.0]),
    st.none() | st.integers(1, 4),
    st.none() | st.integers(1, 1000),
)


class Accounts(RuleBasedStateMachine):
    """Drives one account, and keeps books of its own beside it."""

    @initialize(limits=limits_of_callers)
    def begin(self, limits: CallerLimits) -> None:
        """Open the account shortly before a midnight."""
        self.clock = ManualClock()
        self.limits = limits
        self.wall_at_0 = 20_000.0 * DAY_S - 100
        self.account = CallerAccount("c", limits, clock=self.clock, wall_clock=lambda: self.wall_at_0 + self.clock())
        self.flying: list[Pass] = []
        self.let_in_at: list[float] = []
        self.spent = 0
        self.day = 19_999

    def _turn(self) -> None:
        day = int((self.wall_at_0 + self.clock()) // DAY_S)
        if day != self.day:
            self.day, self.spent = day, 0

    @rule(seconds=st.sampled_from([0.0, 0.01, 0.5, 1.0, 7.0, 60.0, 200.0]))
    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.clock.advance(seconds)
        self._turn()

    @rule(tokens=st.integers(0, 80), cost=st.integers(0, 300))
    def ask(self, tokens: int, cost: int) -> None:
        """Ask for a call; a refusal tells a time at which it fits, if nothing else comes."""
        before = (self.account.in_flight, self.account.held_nanousd, self.account.spent_nanousd)
        admitted = self.account.admit(tokens, cost)
        if isinstance(admitted, Pass):
            self.flying.append(admitted)
            self.let_in_at.append(self.clock())
            return
        assert (self.account.in_flight, self.account.held_nanousd, self.account.spent_nanousd) == before
        assert admitted.retry_after_s > 0
        if admitted.limit == "max_in_flight":
            assert self.account.in_flight == self.limits.max_in_flight

    @precondition(lambda self: self.flying)
    @rule(which=st.integers(0, 10), tokens=st.integers(0, 120), cost=st.integers(0, 400))
    def book(self, which: int, tokens: int, cost: int) -> None:
        """End an attempt of a call."""
        self.flying[which % len(self.flying)].book(tokens, cost)

    @precondition(lambda self: self.flying)
    @rule(which=st.integers(0, 10))
    def end(self, which: int) -> None:
        """End a call."""
        ended = self.flying.pop(which % len(self.flying))
        ended.settle()
        self._turn()
        self.spent += ended.cost_nanousd

    @invariant()
    def books_balance(self) -> None:
        """What is in flight and held is that of the calls in flight; what is spent is what the ended ones cost."""
        assert self.account.in_flight == len(self.flying)
        assert self.account.held_nanousd == sum(each.held_nanousd for each in self.flying)
        assert self.account.spent_nanousd == self.spent
        assert all(each.held_nanousd >= each.cost_nanousd for each in self.flying)

    @invariant()
    def caps_hold(self) -> None:
        """Never more in flight than allowed."""
        assert self.limits.max_in_flight is None or self.account.in_flight <= self.limits.max_in_flight

    @invariant()
    def rates_hold(self) -> None:
        """Over no time more calls than the rate gives and its burst."""
        per_minute = self.limits.requests_per_minute
        if per_minute is None:
            return
        unit_s = MINUTE_S / (HEADROOM * per_minute)
        burst_s = max(REQUEST_BURST_S, 2 * unit_s)
        for index, first in enumerate(self.let_in_at):
            assert len(self.let_in_at) - index <= (self.let_in_at[-1] - first + burst_s) / unit_s + SLACK

    def teardown(self) -> None:
        """End every call: nothing is in flight or held any more."""
        for each in getattr(self, "flying", ()):
            each.settle()
        if hasattr(self, "account"):
            assert (self.account.in_flight, self.account.held_nanousd) == (0, 0)


class Spendings(RuleBasedStateMachine):
    """Money alone: never more is spent and held than the budget and what calls cost beyond their estimates."""

    @initialize(budget=st.integers(1, 1000))
    def begin(self, budget: int) -> None:
        """Open an account with a budget."""
        self.budget = budget
        limits = CallerLimits(budget_nanousd_per_day=budget)
        self.account = CallerAccount("c", limits, clock=ManualClock(), wall_clock=lambda: 100.0)
        self.flying: list[tuple[Pass, int]] = []
        self.beyond = 0

    @rule(cost=st.integers(0, 400))
    def ask(self, cost: int) -> None:
        """Ask for a call; it gets in if and only if what it may cost is left."""
        left = self.budget - self.account.spent_nanousd - self.account.held_nanousd
        admitted = self.account.admit(1, cost)
        assert isinstance(admitted, Pass) == (max(cost, 1) <= left)
        if isinstance(admitted, Pass):
            self.flying.append((admitted, cost))

    @precondition(lambda self: self.flying)
    @rule(which=st.integers(0, 10), cost=st.integers(0, 400), ends=st.booleans())
    def book(self, which: int, cost: int, ends: bool) -> None:  # noqa: FBT001 - drawn
        """End an attempt, and maybe its call."""
        index = which % len(self.flying)
        call, estimate = self.flying[index]
        before = max(0, call.cost_nanousd - estimate)
        call.book(1, cost)
        self.beyond += max(0, call.cost_nanousd - estimate) - before
        if ends:
            call.settle()
            del self.flying[index]

    @invariant()
    def budget_holds(self) -> None:
        """The claim of the account, to the nano-dollar."""
        assert self.account.spent_nanousd + self.account.held_nanousd <= self.budget + self.beyond


class Tokens(RuleBasedStateMachine):
    """Tokens alone, of calls whose estimates are right."""

    @initialize(per_minute=st.sampled_from([50.0, 1000.0, 60_000.0]))
    def begin(self, per_minute: float) -> None:
        """Open an account with a limit of tokens."""
        self.clock = ManualClock()
        self.per_minute = per_minute
        self.account = CallerAccount(
            "c", CallerLimits(tokens_per_minute=per_minute), clock=self.clock, wall_clock=lambda: 100.0
        )
        self.let_in: list[tuple[float, int]] = []

    @rule(seconds=st.sampled_from([0.0, 0.01, 0.5, 1.0, 7.0, 60.0]))
    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.clock.advance(seconds)

    @rule(tokens=st.integers(0, 1200))
    def ask(self, tokens: int) -> None:
        """Ask for a call that uses what it was reckoned with; once refused, it fits at the told time."""
        admitted = self.account.admit(tokens, 0)
        if not isinstance(admitted, Pass):
            assert admitted.never == (tokens > self.per_minute)
            if admitted.never:
                return
            self.clock.advance(admitted.retry_after_s + SLACK)
            admitted = self.account.admit(tokens, 0)
            assert isinstance(admitted, Pass)
        admitted.book(tokens, 0)
        admitted.settle()
        self.let_in.append((self.clock(), tokens))

    @invariant()
    def rate_holds(self) -> None:
        """Over no time more tokens than the rate gives, its burst, and what the last request is above half of that."""
        if not self.let_in:
            return
        unit_s = MINUTE_S / (HEADROOM * self.per_minute)
        last, last_tokens = self.let_in[-1]
        over = max(0.0, last_tokens - TOKEN_BURST_S / unit_s / 2)
        total = 0
        for first, tokens in reversed(self.let_in):
            total += tokens
            assert total <= (last - first + max(TOKEN_BURST_S, unit_s)) / unit_s + over + 1e-3


TestAccounts = Accounts.TestCase
TestSpendings = Spendings.TestCase
TestTokens = Tokens.TestCase
for case in (TestAccounts, TestSpendings, TestTokens):
    case.settings = settings(max_examples=120, stateful_step_count=40, deadline=None)
