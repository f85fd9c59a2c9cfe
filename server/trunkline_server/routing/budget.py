"""The retry budget of one provider: how many more attempts it may be sent than requests came for it.

A blind retry makes an outage larger. Only a request's first visit to a provider is free; every further attempt there
is charged, and once the charges of the last `window_s` reach the budget nobody retries. The budget is a share of the
first visits of the same time, plus a floor for providers that see few calls. The share depends on what failed: see
SHARES.

What a caller's own library retried comes as a new call, marked as such by the caller alone. It is never refused. As
anybody could forge the mark it counts against that caller only, and no further than that caller's part of the calls.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from trunkline_server.routing.clock import Clock
from trunkline_server.routing.failures import FailureClass

OUTCOMES_MIN = 10
"""With fewer retries that ended lately nothing is known of what retries achieve."""
_BUCKETS = 100
"""Parts of the window: memory is bounded whatever the traffic, at 1 % of the window in precision."""
_ROUNDING = 1e-9
"""0.1 x 30 is not exactly 3 in floats; no two sums that differ in truth are this close."""


class Share(Enum):
    """Which share of the first visits may be made again."""

    PLAIN = "ratio"
    """A retry is more load on what is short of it."""
    RECOVERING = "ratio + recovering_ratio x the share of recent retries that succeeded"
    """A brown-out is ridden out, an outage left alone."""


SHARES: dict[FailureClass, Share] = {
    FailureClass.RATE_LIMITED: Share.PLAIN,
    FailureClass.OVERLOADED: Share.PLAIN,
    FailureClass.FIRST_TOKEN_TIMEOUT: Share.PLAIN,
    FailureClass.STALLED: Share.PLAIN,
    FailureClass.PROTOCOL: Share.PLAIN,
    FailureClass.SERVER_ERROR: Share.RECOVERING,
    FailureClass.CONNECT: Share.RECOVERING,
    FailureClass.TRUNCATED: Share.RECOVERING,
}
"""The classes after which a retry is charged, and to what. After any other one a budget refuses nothing."""


@dataclass(frozen=True, slots=True)
class BudgetLimits:
    """How large a retry budget is."""

    ratio: float = 0.1
    """Of the first visits within the window."""
    recovering_ratio: float = 0.45
    """Of the first visits besides, if all recent retries succeeded; in proportion if some did."""
    floor_per_s: float = 3.0
    """Retries a second besides, however few the visits."""
    window_s: float = 10.0

    def __post_init__(self) -> None:
        """Refuse shares and times that mean nothing."""
        parts = (self.ratio, self.recovering_ratio, self.floor_per_s)
        if not all(math.isfinite(part) and part >= 0 for part in parts) or not (
            math.isfinite(self.window_s) and self.window_s > 0
        ):
            raise ValueError(f"these are no limits of a retry budget: {self}")


class Charge:
    """One retry or hedge that was dispatched and paid for. Of its three ends only the first one told counts."""

    __slots__ = ("_tell",)

    def __init__(self, tell: Callable[[bool], None] | None) -> None:
        self._tell = tell
        """Takes whether it succeeded; None once that was told, or where nobody asks."""

    def succeeded(self) -> None:
        """Say that the attempt gave its first content, or its whole answer."""
        self._end(succeeded=True)

    def failed(self) -> None:
        """Say that the attempt failed by no fault of its caller."""
        self._end(succeeded=False)

    def ended(self) -> None:
        """Say that the attempt is over and tells nothing: cancelled, or failed by its caller's doing."""
        self._tell = None

    def _end(self, *, succeeded: bool) -> None:
        tell, self._tell = self._tell, None
        if tell is not None:
            tell(succeeded)


class RetryBudget:
    """The retry budget of one provider. It belongs to one event loop; nothing here is thread-safe.

    It decides nothing but `refuses` and `refuses_hedge`; what was dispatched all the same is booked all the same.
    Each call takes O(1), amortised.
    """

    __slots__ = ("_buckets", "_clock", "_library", "_limits", "_sum", "_visits", "_width_s")

    def __init__(self, limits: BudgetLimits, *, clock: Clock) -> None:
        self._limits = limits
        self._clock = clock
        self._width_s = limits.window_s / _BUCKETS
        self._buckets: deque[_Bucket] = deque()
        """The parts of the window in which anything happened, oldest first."""
        self._sum = _Counts()
        self._visits: dict[str, int] = {}
        """By caller, of those alone that called within the window; likewise the next one."""
        self._library: dict[str, int] = {}

    @property
    def limits(self) -> BudgetLimits:
        """How large the budget is."""
        return self._limits

    def resize(self, limits: BudgetLimits) -> None:
        """Take over new limits in place: what was booked goes on counting, as far as a shorter window reaches."""
        self._limits = limits
        self._width_s = limits.window_s / _BUCKETS

    # -- what happened

    def first(self, caller: str, *, library_retry: bool = False) -> None:
        """Book a request's first visit to the provider; `library_retry`: the caller's own library tries again.

        That is a charge in place of a visit that would have made the budget larger.
        """
        bucket = self._present()
        bucket.visits[caller] = bucket.visits.get(caller, 0) + 1
        self._visits[caller] = self._visits.get(caller, 0) + 1
        if library_retry:
            bucket.library[caller] = bucket.library.get(caller, 0) + 1
            self._library[caller] = self._library.get(caller, 0) + 1
            bucket.counts.library += 1
            self._sum.library += 1
        else:
            bucket.counts.firsts += 1
            self._sum.firsts += 1

    def charge(self, caller: str) -> Charge:  # noqa: ARG002 - all callers share what the gateway itself retries
        """Book a retry that is being dispatched, and return what its owner tells the outcome to."""
        self._book_charge()
        return Charge(self._book_outcome)

    def hedge(self, caller: str, *, raced: RetryBudget | None = None) -> Charge:  # noqa: ARG002 - as for `charge`
        """Book a hedge that is being dispatched here. Its outcome says nothing of retries after failures.

        `raced`: the budget of the slow attempt's provider, of whose visits it is a share; None: this one.
        """
        self._book_charge()
        (raced or self).book_hedge()
        return Charge(None)

    def book_hedge(self) -> None:
        """Count a hedge that races an attempt here, wherever it goes and whoever pays for it."""
        self._present().counts.hedges += 1
        self._sum.hedges += 1

    def _book_charge(self) -> _Counts:
        counts = self._present().counts
        counts.charges += 1
        self._sum.charges += 1
        return counts

    def _book_outcome(self, succeeded: bool) -> None:  # noqa: FBT001 - the one word that a charge has to say
        counts = self._present().counts
        counts.ended += 1
        self._sum.ended += 1
        counts.succeeded += succeeded
        self._sum.succeeded += succeeded

    # -- what may happen

    def refuses(self, failure_class: FailureClass, caller: str) -> str | None:
        """Return why a request that failed here with this class is not tried again here now; None if it may be."""
        share = SHARES.get(failure_class)
        if share is None:
            return None
        self._forget(self._clock())
        ratio = self._limits.ratio
        if share is Share.RECOVERING and self._sum.ended >= OUTCOMES_MIN:
            ratio += self._limits.recovering_ratio * self._sum.succeeded / self._sum.ended
        return self._used_up(ratio, caller)

    def refuses_hedge(self, max_extra: float, caller: str, *, raced: RetryBudget | None = None) -> str | None:
        """Return why no hedge is sent here now; None if one may be.

        It needs room in this retry budget, and hedges stay within `max_extra` of the first visits to the provider that
        is slow: `raced` as in `hedge`. So a fallback that idles can be hedged to.
        """
        refused = (raced or self).no_hedge_left(max_extra)
        if refused is not None:
            return refused
        self._forget(self._clock())
        return self._used_up(self._limits.ratio, caller)

    def no_hedge_left(self, max_extra: float) -> str | None:
        """Return why no attempt here may be raced now; None if one may be."""
        self._forget(self._clock())
        hedges, most = self._sum.hedges, math.floor(max_extra * self._sum.firsts + _ROUNDING)
        if hedges < most:
            return None
        return f"its hedges are used up: {hedges} of {most} in {self._limits.window_s:g} s"

    def _used_up(self, ratio: float, caller: str) -> str | None:
        limits = self._limits
        budget = ratio * self._sum.firsts + limits.floor_per_s * limits.window_s + _ROUNDING
        by_library = self._library.get(caller, 0)
        if by_library:
            part = self._visits[caller] / (self._sum.firsts + self._sum.library)
            by_library = min(by_library, math.floor(budget * part))
        used, most = self._sum.charges + by_library, math.floor(budget)
        if used < most:
            return None
        told = f", {by_library} of them by the caller's own library" if by_library else ""
        return f"its retry budget is used up: {used} of {most} in {limits.window_s:g} s{told}"

    # -- time passes

    def _present(self) -> _Bucket:
        """Return the part of the window in which the clock stands."""
        now = self._clock()
        self._forget(now)
        buckets = self._buckets
        if not buckets or now - buckets[-1].start >= self._width_s:
            buckets.append(_Bucket(now))
        return buckets[-1]

    def _forget(self, now: float) -> None:
        """Drop what left the window, and with it every caller that has not called since."""
        buckets = self._buckets
        while buckets and buckets[0].start <= now - self._limits.window_s:
            bucket = buckets.popleft()
            self._sum.take_away(bucket.counts)
            _take_away(self._visits, bucket.visits)
            _take_away(self._library, bucket.library)

    def __repr__(self) -> str:
        """Show what was booked lately."""
        now = self._sum
        return (
            f"<RetryBudget: {now.firsts} first visits, {now.charges} charged, {now.hedges} raced by hedges, "
            f"{now.library} by libraries, {now.succeeded} of {now.ended} retries succeeded>"
        )


class _Counts:
    """How often each thing happened."""

    __slots__ = ("charges", "ended", "firsts", "hedges", "library", "succeeded")

    def __init__(self) -> None:
        self.firsts = 0
        self.library = 0
        self.charges = 0
        """Retries and hedges."""
        self.hedges = 0
        self.ended = 0
        """Retries that said whether they succeeded."""
        self.succeeded = 0

    def take_away(self, other: _Counts) -> None:
        self.firsts -= other.firsts
        self.library -= other.library
        self.charges -= other.charges
        self.hedges -= other.hedges
        self.ended -= other.ended
        self.succeeded -= other.succeeded


class _Bucket:
    """One part of the window."""

    __slots__ = ("counts", "library", "start", "visits")

    def __init__(self, start: float) -> None:
        self.start = start
        self.counts = _Counts()
        self.visits: dict[str, int] = {}
        """Calls by caller, those of libraries included."""
        self.library: dict[str, int] = {}


def _take_away(total: dict[str, int], part: dict[str, int]) -> None:
    for caller, count in part.items():
        if total[caller] == count:
            del total[caller]
        else:
            total[caller] -= count
