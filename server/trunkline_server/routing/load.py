"""How loaded a target is: its calls in flight times how long it takes, as a peak-sensitive moving average.

A call that took longer than the average lifts it to itself at once; a shorter one moves it by its age: what is known
counts for a factor e less every `tau_s`. A target that idles is let off likewise, so that one that was slow once is
asked again, by one call: as soon as that is in flight, what was known of it counts in full.
"""

from __future__ import annotations

import math

from trunkline_server.routing.clock import Clock

TAU_S = 10.0
UNMEASURED_S = 3600.0
"""What a call is taken to last at a target that has calls in flight and has not ended one yet: one call measures it."""


class Load:
    """One target's, shared by all requests. It belongs to one event loop; nothing here is thread-safe."""

    __slots__ = ("_clock", "_known_s", "_measured_at", "_tau_s", "in_flight")

    def __init__(self, *, clock: Clock, tau_s: float = TAU_S) -> None:
        if not (math.isfinite(tau_s) and tau_s > 0):
            raise ValueError(f"an average over {tau_s} s says nothing")
        self._clock = clock
        self._tau_s = tau_s
        self._known_s: float | None = None
        self._measured_at = 0.0
        self.in_flight = 0

    def began(self) -> None:
        """Book the dispatch of an attempt; `ended` follows exactly once, however it ends."""
        self.in_flight += 1

    def ended(self, seconds: float | None) -> None:
        """Book the end of an attempt, and how long the target took.

        None: the attempt does not say (it was cancelled, or failed at once). Raise ValueError if nothing began, or if
        `seconds` is below 0 or no number.
        """
        if self.in_flight < 1:
            raise ValueError("an attempt ended that had not begun")
        if seconds is not None and not (math.isfinite(seconds) and seconds >= 0):
            raise ValueError(f"nothing takes {seconds} s")
        self.in_flight -= 1
        if seconds is None:
            return
        now = self._clock()
        known = self._known_s
        if known is None or seconds >= known:
            self._known_s = seconds
        else:
            kept = math.exp((self._measured_at - now) / self._tau_s)
            self._known_s = known * kept + seconds * (1 - kept)
        self._measured_at = now

    @property
    def latency_s(self) -> float | None:
        """The average as it was last measured; None if it never was."""
        return self._known_s

    def per_weight(self, weight: float) -> float:
        """Return what is compared: calls in flight, with the one to come, x seconds / `weight`; lower is less loaded.

        A weight of 0 is for standbys: always more loaded than any other.
        """
        if weight <= 0:
            return math.inf
        known = self._known_s
        if self.in_flight:
            return (self.in_flight + 1) * (UNMEASURED_S if known is None else known) / weight
        if known is None:
            return 0.0
        return known * math.exp((self._measured_at - self._clock()) / self._tau_s) / weight

    def __repr__(self) -> str:
        """Show calls in flight and the average."""
        known = "never measured" if self._known_s is None else f"{self._known_s:.3f} s"
        return f"<Load: {self.in_flight} in flight, {known}>"
