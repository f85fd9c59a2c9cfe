"""One caller's account: what it used of its limits, what its calls in flight hold, and what it spent today.

A call is admitted whole or not at all, before anything else happens for it; from then on it has a `Pass`, which takes
down what its attempts used and is settled once, when the call is over on whatever way. Until then the estimate stands,
or what was used where that is more. Hence, at every moment:

    spent today + held by calls in flight  <=  budget + what calls cost beyond their estimates

A call that runs over midnight counts in the day in which it ends.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from trunkline_server.routing.caller_limits import NO_LIMITS, CallerLimits, request_rate, token_rate
from trunkline_server.routing.rate import Bucket, Rate
from trunkline_server.routing.types import Reason

DAY_S = 86_400
_HOLD_WEIGHT = 0.1
_FIRST_HOLD_S = 1.0
_MIN_STAY_AWAY_S, _MAX_STAY_AWAY_S = 0.05, 60.0
_NANOUSD_PER_USD = 1_000_000_000


class PassError(RuntimeError):
    """Our own fault: a pass was settled twice, or used afterwards. Nothing was changed by the attempt."""


@dataclass(frozen=True, slots=True)
class CallerRefusal:
    """A limit of the caller's own does not let the call in."""

    reason: Reason
    """CALLER_QUOTA or CALLER_BUDGET."""
    limit: str
    """The setting's name in the routes file."""
    allowed: str
    """Its value."""
    message: str
    retry_after_s: float
    """When the call would fit, if nothing else comes: exact for what is counted a minute and a day, an estimate where
    it takes the end of a call in flight; a day where it never fits."""
    never: bool = False
    """The call alone is larger than the limit."""


class Pass:
    """One call of a caller in flight. Its owner settles it exactly once, on every way out."""

    __slots__ = ("_account", "_settled", "admitted_at", "cost_nanousd", "held_nanousd", "tokens", "used_tokens")

    def __init__(self, account: CallerAccount, tokens: int, cost_nanousd: int, admitted_at: float) -> None:
        self._account = account
        self.admitted_at = admitted_at
        """Clock time."""
        self.tokens = tokens
        """What was reserved, by estimate."""
        self.held_nanousd = cost_nanousd
        """What is kept of the budget for it."""
        self.used_tokens = 0
        """What its attempts have used so far; likewise the next."""
        self.cost_nanousd = 0
        self._settled = False

    def book(self, tokens: int, cost_nanousd: int) -> None:
        """Take down what an attempt used and cost, once it has ended. Raises PassError after `settle`."""
        if self._settled:
            raise PassError(f"booked after it was settled: {self!r}")
        self.used_tokens += tokens
        self.cost_nanousd += cost_nanousd
        more = self.cost_nanousd - self.held_nanousd
        if more > 0:
            self.held_nanousd += more
            self._account.hold_more(more)

    def settle(self) -> None:
        """Say that the call is over: what was booked counts, nothing is held any more. Raises PassError if again."""
        if self._settled:
            raise PassError(f"settled twice: {self!r}")
        self._settled = True
        self._account.close(self)

    def __repr__(self) -> str:
        state = "settled" if self._settled else "in flight"
        return f"<Pass of {self._account.caller_id}: {self.used_tokens} tokens, {self.cost_nanousd}e-9 USD, {state}>"


class CallerAccount:
    """The account of one caller. It belongs to one event loop, and outlasts reloads: `retune` changes its limits."""

    def __init__(
        self,
        caller_id: str,
        limits: CallerLimits,
        *,
        clock: Callable[[], float],
        wall_clock: Callable[[], float],
    ) -> None:
        """`clock`: monotonic seconds. `wall_clock`: Unix seconds, for the day alone; it may jump."""
        self.caller_id = caller_id
        self.limits = NO_LIMITS
        self.in_flight = 0
        self._clock = clock
        self._wall_clock = wall_clock
        self._requests: Bucket | None = None
        self._tokens: Bucket | None = None
        self._request_rate: Rate | None = None
        self._token_rate: Rate | None = None
        self._day = int(wall_clock() // DAY_S)
        self._spent_nanousd = 0
        self._held_nanousd = 0
        self._hold_s = _FIRST_HOLD_S
        """How long a call is in flight, as a moving average."""
        self.retune(limits)

    def admit(
        self, tokens: int, cost_nanousd: int, *, guessed_tokens: int = 0, guessed_nanousd: int = 0
    ) -> Pass | CallerRefusal:
        """Let a call in that is reckoned to use and to cost so much, or say why not; a refusal changes nothing.

        So much of that is a guess at its answer, and is reckoned as less where the whole limit is less: nobody is
        turned away for good by a guess.
        """
        now = self._clock()
        if guessed_tokens and self._token_rate is not None:
            tokens = max(tokens - guessed_tokens, min(tokens, int(self._token_rate.per_minute)))
        if guessed_nanousd and self.limits.budget_nanousd_per_day is not None:
            cost_nanousd = max(cost_nanousd - guessed_nanousd, min(cost_nanousd, self.limits.budget_nanousd_per_day))
        refusal = (
            self._over_budget(cost_nanousd) or self._too_fast(tokens, now) or self._too_many()
            if self.limits is not NO_LIMITS
            else None
        )
        if refusal is not None:
            return refusal
        if self._requests is not None:
            self._requests.reserve(1.0, now)
        if self._tokens is not None:
            self._tokens.reserve(tokens, now)
        self.in_flight += 1
        self._held_nanousd += cost_nanousd
        return Pass(self, tokens, cost_nanousd, now)

    def retune(self, limits: CallerLimits) -> None:
        """Go on under other limits. What was used of a rate stays used, in calls and tokens; nobody in flight ends.

        Where a rate changes, calls in flight get no refund for what they reserved of it and did not use.
        """
        if limits == self.limits:
            return
        old, self.limits = self.limits, limits
        now = self._clock()
        if limits.requests_per_minute != old.requests_per_minute:
            rate = request_rate(limits)
            self._requests = _moved(self._requests, self._request_rate, rate, now)
            self._request_rate = rate
        if limits.tokens_per_minute != old.tokens_per_minute:
            rate = token_rate(limits)
            self._tokens = _moved(self._tokens, self._token_rate, rate, now)
            self._token_rate = rate

    @property
    def spent_nanousd(self) -> int:
        """What the calls that have ended today (UTC) cost."""
        self._turn_day()
        return self._spent_nanousd

    @property
    def held_nanousd(self) -> int:
        """What is kept of the budget for calls in flight."""
        return self._held_nanousd

    @property
    def day(self) -> int:
        """The day that is counted, in days since 1970 (UTC)."""
        self._turn_day()
        return self._day

    @property
    def idle(self) -> bool:
        """Whether forgetting it would lose nothing: no call in flight, nothing spent today, its rates whole again."""
        now = self._clock()
        owing = any(bucket is not None and bucket.full_at > now for bucket in (self._requests, self._tokens))
        return not self.in_flight and not self.spent_nanousd and not owing

    def spent_before(self, day: int, spent_nanousd: int) -> None:
        """Add what was spent on a day before this process began. Another day than today's is over: nothing is added."""
        if day == self.day:
            self._spent_nanousd += spent_nanousd

    def hold_more(self, nanousd: int) -> None:
        """Keep more of the budget for a call in flight; for its pass alone."""
        self._held_nanousd += nanousd

    def close(self, admitted: Pass) -> None:
        """Book a call that is over; for its pass alone."""
        self._turn_day()
        self.in_flight -= 1
        self._held_nanousd -= admitted.held_nanousd
        self._spent_nanousd += admitted.cost_nanousd
        if self._tokens is not None:
            self._tokens.settle(admitted.tokens, admitted.used_tokens, admitted.admitted_at)
        self._hold_s += _HOLD_WEIGHT * (self._clock() - admitted.admitted_at - self._hold_s)

    def _over_budget(self, cost_nanousd: int) -> CallerRefusal | None:
        budget = self.limits.budget_nanousd_per_day
        if budget is None:
            return None
        self._turn_day()
        # Even a call that is reckoned to cost nothing needs something to be left.
        cost = max(1, cost_nanousd)
        if self._spent_nanousd + self._held_nanousd + cost <= budget:
            return None
        allowed = f"{budget / _NANOUSD_PER_USD:.9g}"
        if cost > budget:
            told, retry_after_s = "the request alone may cost more than the caller may spend in a day", float(DAY_S)
        elif self._spent_nanousd + cost <= budget:
            told = "what is left of the caller's budget for today is kept for its calls in flight"
            retry_after_s = self._next_end_s()
        else:
            told = "what the caller may spend today is spent; the next day begins at midnight UTC"
            retry_after_s = (self._day + 1) * DAY_S - self._wall_clock()
        message = f"{told} (budget_usd_per_day: {allowed})"
        return CallerRefusal(
            Reason.CALLER_BUDGET, "budget_usd_per_day", allowed, message, retry_after_s, never=cost > budget
        )

    def _too_fast(self, tokens: int, now: float) -> CallerRefusal | None:
        rate = self._token_rate
        if rate is not None and rate.never_fits(tokens):
            return self._quota(
                "tokens_per_minute",
                rate.per_minute,
                f"the request has about {tokens} tokens, more than the caller may use in a minute",
                float(DAY_S),
                never=True,
            )
        requests_at = -math.inf if self._requests is None else self._requests.ready_at(1.0)
        tokens_at = -math.inf
        if rate is not None and self._tokens is not None:
            # Larger ones go when half of the burst is there: at the moment when it is full nobody may happen to call.
            tokens_at = self._tokens.ready_at(min(tokens, rate.burst_s / rate.unit_s / 2))
        wait_s = max(requests_at, tokens_at) - now
        if wait_s <= 0:
            return None
        if requests_at >= tokens_at:
            told = "the caller sends more calls than it may in a minute"
            return self._quota("requests_per_minute", self.limits.requests_per_minute, told, wait_s)
        told = "the caller uses more tokens than it may in a minute"
        return self._quota("tokens_per_minute", self.limits.tokens_per_minute, told, wait_s)

    def _too_many(self) -> CallerRefusal | None:
        most = self.limits.max_in_flight
        if most is None or self.in_flight < most:
            return None
        told = "the caller has as many calls in flight as it may"
        return self._quota("max_in_flight", most, told, self._next_end_s())

    def _quota(
        self, limit: str, allowed: float | None, told: str, retry_after_s: float, *, never: bool = False
    ) -> CallerRefusal:
        shown = f"{allowed:.12g}"
        return CallerRefusal(
            Reason.CALLER_QUOTA, limit, shown, f"{told} ({limit}: {shown})", retry_after_s, never=never
        )

    def _next_end_s(self) -> float:
        """Return in how long one of the calls in flight will probably have ended."""
        return min(max(self._hold_s / max(1, self.in_flight), _MIN_STAY_AWAY_S), _MAX_STAY_AWAY_S)

    def _turn_day(self) -> None:
        """Begin a new day with nothing spent. A wall clock that goes back begins none, nor ends one."""
        day = int(self._wall_clock() // DAY_S)
        if day > self._day:
            self._day, self._spent_nanousd = day, 0

    def __repr__(self) -> str:
        return f"<CallerAccount {self.caller_id}: {self.in_flight} in flight, {self._spent_nanousd}e-9 USD today>"


def _moved(bucket: Bucket | None, old: Rate | None, new: Rate | None, now: float) -> Bucket | None:
    """Return a bucket for a new rate that owes as many units as the old one did."""
    if new is None:
        return None
    moved = Bucket(new)
    if bucket is not None and old is not None and bucket.full_at > now:
        moved.reserve((bucket.full_at - now) / old.unit_s, now)
    return moved
