"""Limits a minute, kept as one number each: the generic cell rate algorithm (GCRA), with reserve and settle.

From ITU-T I.371, "virtual scheduling": one unit is due every T seconds, and a call may go while the theoretical time of
the next is not too far ahead. In these words, with `full_at` the time at which the bucket is full again:

    T = 60 s / (0.995 x limit)           B = max(burst_s, T)
    n units may go from  full_at - max(0, B - n x T)  on, and then  full_at = max(full_at, now) + n x T

So a pause earns at most B, one more request than that waits for T, and what is larger than B goes when the bucket is
full and leaves it in debt. A burst of a whole minute would let twice the limit through in the first one.
"""

from __future__ import annotations

import math

HEADROOM = 0.995
"""The part of a limit that is used: the provider's clock and ours do not tick alike."""
MINUTE_S = 60.0


class Rate:
    """A limit of so many units a minute; it is shared by the buckets of all models of a key."""

    __slots__ = ("burst_s", "per_minute", "unit_s")

    def __init__(self, per_minute: float, burst_s: float) -> None:
        """`burst_s`: how many seconds' worth may go at once after a pause; one unit always may.

        Raises ValueError for what is no limit.
        """
        if not (per_minute > 0 and math.isfinite(per_minute) and burst_s >= 0 and math.isfinite(burst_s)):
            raise ValueError(f"{per_minute} a minute with a burst of {burst_s} s is no limit")
        self.per_minute = per_minute
        self.unit_s = MINUTE_S / (HEADROOM * per_minute)
        self.burst_s = max(burst_s, self.unit_s)

    def never_fits(self, units: float) -> bool:
        """Whether so much at once is above the whole minute."""
        return units > self.per_minute


class Bucket:
    """What was used of a rate. Times are the clock's seconds; a new one is full."""

    __slots__ = ("_rate", "_since", "full_at")

    def __init__(self, rate: Rate) -> None:
        self._rate = rate
        self.full_at = -math.inf
        """Clock time at which it is full again if nothing more is taken."""
        self._since = -math.inf
        """When it was last full, or told by the provider: what was reserved before is paid, so no refund is due."""

    def take_over(self, older: Bucket) -> None:
        """Go on with the debt, in seconds, of a bucket of another rate."""
        self.full_at, self._since = older.full_at, older._since

    def ready_at(self, units: float) -> float:
        """Return the clock time from which so much may be taken."""
        return self.full_at - max(0.0, self._rate.burst_s - units * self._rate.unit_s)

    def room(self, now: float) -> float:
        """Return how many units may be taken at once now; 0 and less than 1 mean: none."""
        return max(0.0, self._rate.burst_s - max(0.0, self.full_at - now)) / self._rate.unit_s

    def reserve(self, units: float, now: float) -> None:
        """Take so much; whether it may is the caller's question to `ready_at`."""
        if self.full_at <= now:
            self.full_at = self._since = now
        self.full_at += units * self._rate.unit_s

    def settle(self, reserved: float, used: float, at: float) -> None:
        """Put what was reserved at clock time `at` right: a debt counts in full, a refund never beyond full."""
        owed_s = (used - reserved) * self._rate.unit_s
        if owed_s > 0:
            self.full_at = max(self.full_at, at) + owed_s
        elif at >= self._since:
            self.full_at += owed_s

    def lower_to(self, remaining: float, at: float, now: float) -> None:
        """Believe the provider that only `remaining` were left at clock time `at`; never that it was more."""
        full_at = at + self._rate.burst_s - max(0.0, remaining) * self._rate.unit_s
        if full_at > max(self.full_at, now):
            self.full_at, self._since = full_at, now

    def full_by(self, at: float, now: float) -> None:
        """Believe the provider that all of it is there again at clock time `at`."""
        if at < self.full_at:
            self.full_at, self._since = at, now
