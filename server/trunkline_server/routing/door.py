"""The door of a gate: who is refused, with which reason, and how long to stay away.

A time to stay away says when such a call could be served with the queue as it stands: by slots, pace and keys.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from trunkline_server.routing.clock import Clock
from trunkline_server.routing.failures import FailureClass
from trunkline_server.routing.key_pool import KeyPool
from trunkline_server.routing.throttle import Throttle
from trunkline_server.routing.ticket import Ask, Ticket
from trunkline_server.routing.types import Reason, Refusal
from trunkline_server.routing.waiting import Line

STAY_AWAY_MIN_S = 0.05
STAY_AWAY_MAX_S = 300.0


class Door:
    """What one gate refuses, at its door and later. `in_flight` tells how many slots are held."""

    __slots__ = ("_clock", "_in_flight", "_line", "_pool", "_throttle", "provider")

    def __init__(
        self,
        provider: str,
        pool: KeyPool,
        line: Line,
        throttle: Throttle,
        clock: Clock,
        *,
        in_flight: Callable[[], int],
    ) -> None:
        self.provider = provider
        self._in_flight = in_flight
        self._pool = pool
        self._line = line
        self._throttle = throttle
        self._clock = clock

    # -- at the door

    def refusal(self, ticket: Ticket) -> Refusal | None:
        """Return why a newcomer may not queue, whether there is a place or not; None if it may."""
        now, bound_at = ticket.joined_at, ticket.bound_at
        if ticket.bound_is_deadline and bound_at <= now:
            return self.past_deadline()
        # Whether a slot is free or not: if its keys cannot serve it within the bound, the queue is no help.
        key_at = self._key_at(ticket, now)
        if key_at is None or (key_at > now and key_at >= bound_at):
            return self.by_keys_or_busy(ticket)
        if not self._throttle.limits.queue or bound_at <= now:
            return self.saturated(ticket, Reason.QUEUE_FULL, "all slots are in use, none may wait")
        wait_s = self._expected_wait_s(ticket, now)
        if wait_s < bound_at - now:
            return None
        told = f"a wait of {wait_s:.3g} s is expected, and {bound_at - now:.3g} s are left of"
        if ticket.bound_is_deadline:
            return self.saturated(ticket, Reason.DEADLINE_IN_QUEUE, f"{told} the deadline")
        return self.saturated(ticket, Reason.QUEUE_TIMEOUT, f"{told} what a call may wait")

    def no_place(self, ask: Ask) -> Refusal:
        """Return the refusal of a newcomer to whom nobody has to give up a place."""
        told = f"all slots are in use, and all {self._throttle.limits.queue} places in the queue are taken"
        if self._line.above(ask.criticality) < self._line.waiting:
            return self.saturated(ask, Reason.QUEUE_FULL, told)
        return self.saturated(ask, Reason.SHED, f"{told} by more important calls")

    def no_take(self, ask: Ask, in_flight: int) -> Refusal:
        """Return why nothing can be had at once."""
        refusal = self.by_keys(ask)
        if refusal is not None:
            return refusal
        if in_flight >= self._throttle.limit:
            return self.saturated(ask, Reason.QUEUE_FULL, f"all {self._throttle.limit} slots are in use")
        pacer = self._throttle.pacer
        if pacer is not None and pacer.free_at() > self._clock():
            return self.saturated(ask, Reason.QUEUE_FULL, "dispatches are paced, and the next one is not due yet")
        return self.saturated(ask, Reason.QUEUE_FULL, f"{self._line.waiting} calls wait already")

    # -- in the queue

    def overdue(self, ticket: Ticket, in_flight: int) -> Refusal:
        """Return the refusal of a waiter whose time is over."""
        if ticket.bound_is_deadline:
            return self.past_deadline()
        if in_flight < self._throttle.limit:
            refusal = self.by_keys(ticket)
            if refusal is not None:
                return refusal
        waited_s = ticket.bound_at - ticket.joined_at
        return self.saturated(ticket, Reason.QUEUE_TIMEOUT, f"no slot came free within {waited_s:g} s")

    def pushed_out(self, ticket: Ticket) -> Refusal:
        """Return the refusal of a waiter that had to give up its place."""
        return self.saturated(ticket, Reason.SHED, "its place in the queue went to another call")

    # -- in general

    def by_keys(self, ask: Ask) -> Refusal | None:
        """Return why no key can serve now, with a time to stay away that counts the queue too; None if one can."""
        refusal = self._pool.blockage(*ask.kind, ask.tokens)
        if refusal is None or refusal.retry_after_s is None or not self._line.waiting:
            return refusal
        now = self._clock()
        wait_s = self._expected_wait_s(ask, now)
        key_at = self._key_at(ask, now)
        if key_at is not None:
            wait_s = max(wait_s, key_at - now)
        return replace(refusal, retry_after_s=max(refusal.retry_after_s, min(wait_s, STAY_AWAY_MAX_S)))

    def by_keys_in_line(self, ask: Ask) -> Refusal | None:
        """As `by_keys`, and with others in the queue also where a key is free: never less than the shortest time."""
        refusal = self.by_keys(ask)
        if refusal is None:
            return self.by_keys_or_busy(ask) if self._line.waiting else None
        if refusal.retry_after_s is None:
            return refusal
        return replace(refusal, retry_after_s=max(STAY_AWAY_MIN_S, refusal.retry_after_s))

    def by_keys_or_busy(self, ask: Ask) -> Refusal:
        """Return the keys' refusal, or that of one whose keys were free only just now."""
        return self.by_keys(ask) or self.saturated(ask, Reason.QUEUE_TIMEOUT, "its keys were busy")

    def closed(self) -> Refusal:
        """Return the refusal of a gate that lets nobody in any more."""
        told = f"{self.provider} takes no more calls: it was removed, or the server drains"
        return Refusal(FailureClass.SATURATED, Reason.QUEUE_FULL, told, STAY_AWAY_MIN_S)

    def past_deadline(self) -> Refusal:
        """Return the refusal of a call whose own deadline came."""
        return Refusal(FailureClass.DEADLINE, Reason.DEADLINE, f"the deadline came in the queue of {self.provider}")

    def saturated(self, ask: Ask, reason: Reason, told: str) -> Refusal:
        """Return a refusal of ours, with the time after which such a call could be served."""
        return Refusal(FailureClass.SATURATED, reason, f"{self.provider} is full: {told}", self._stay_away_s(ask))

    def _stay_away_s(self, ask: Ask) -> float:
        now = self._clock()
        wait_s = self._expected_wait_s(ask, now)
        if self._throttle.slot_s() is None and self._in_flight() >= self._throttle.limit:
            # Nothing is known of the slots: what a call may wait stands for their part.
            wait_s = max(wait_s, self._throttle.limits.max_wait_s)
        key_at = self._key_at(ask, now)
        if key_at is not None:
            wait_s = max(wait_s, key_at - now)
        return min(max(STAY_AWAY_MIN_S, wait_s), STAY_AWAY_MAX_S)

    def _key_at(self, ask: Ask, now: float) -> float | None:
        """Return when its keys could serve it after those of the queue that want the same; None: waiting is no help."""
        key_at = self._pool.earliest(*ask.kind, ask.tokens)
        if key_at is None or key_at <= now:
            return key_at
        others, tokens = self._line.demand(ask.model)
        if not others:
            return key_at
        calls = min(self._line.place_of_arrival(ask), others + 1)
        return self._pool.room_at(ask.model, calls, ask.exclude_keys, max(ask.tokens, tokens // others))

    def _expected_wait_s(self, ask: Ask, now: float) -> float:
        return self._throttle.expected_wait_s(self._line.place_of_arrival(ask), now)
