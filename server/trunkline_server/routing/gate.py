"""The gate of one provider: a bounded number of calls in flight, and a bounded queue for those that must wait.

A grant is slot and key in one step. A waiter whose keys cannot serve now is passed over in favour of the next; it
keeps its place and holds nothing. Nobody overtakes a waiter that could go.

The gate decides and never waits: the engine calls `poll` whenever `next_event_at` has come, and after anything that
may have freed a key (a reload of the pool). Callbacks run only inside `poll`, `resize`, `close` and a lease's
`release`, when the books of the gate are right; `try_take`, `join` and `leave` never call back. A callback may call
anything of the gate: a `poll` inside it is put off until it has returned. It must not raise: what it raises comes out
of whichever call ran it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from heapq import heapify, heappop, heappush
from itertools import count

from trunkline_server.routing.clock import Clock
from trunkline_server.routing.failures import FailureClass
from trunkline_server.routing.key_pool import KeyPool
from trunkline_server.routing.lease import Lease, LeaseError
from trunkline_server.routing.types import Reason, Refusal

__all__ = ["Gate", "GateLimits", "Lease", "LeaseError", "Ticket"]

SLOT_SAMPLES = 100
"""Calls over which the time that a slot is held is averaged."""
SLOT_SAMPLES_MIN = 5
STAY_AWAY_MIN_S = 0.05
STAY_AWAY_MAX_S = 300.0
_NOBODY: frozenset[str] = frozenset()
_Kind = tuple[str, frozenset[str]]
"""Model and excluded keys: waiters of one kind can go, or not, together."""


@dataclass(frozen=True, slots=True)
class AdaptiveLimits:
    """Between what bounds the limit in flight moves by itself (AIMD); it starts at `max_in_flight`."""

    min: int = 10
    max: int = 400


@dataclass(frozen=True, slots=True)
class GateLimits:
    """The bounds of a gate."""

    max_in_flight: int = 200
    queue: int = 500
    """Waiters at most; 0: nobody waits."""
    max_wait_s: float = 5.0
    adaptive: AdaptiveLimits | None = None
    """None: `max_in_flight` stands."""
    dispatches_per_s: float | None = None
    """Dispatches are paced to this rate; None: not paced."""
    burst: int = 2
    """Dispatches that may go at once after a pause."""

    def __post_init__(self) -> None:
        """Refuse bounds that let nothing through or mean nothing."""
        if self.max_in_flight < 1 or self.queue < 0 or not self.max_wait_s >= 0:
            raise ValueError(f"these are no bounds of a gate: {self}")


class TicketState(Enum):
    """What became of a waiter."""

    WAITING = "waiting"
    GRANTED = "granted"
    REFUSED = "refused"
    LEFT = "left"


@dataclass(slots=True, eq=False)
class Ticket:
    """A place in a gate's queue. It holds nothing; `Gate.leave` gives it up."""

    number: int
    model: str
    exclude_keys: frozenset[str]
    joined_at: float
    bound_at: float
    """Clock time at which it stops waiting."""
    bound_is_deadline: bool
    """Whether that is the caller's deadline and not the gate's own `max_wait_s`."""
    on_grant: Callable[[Lease], None] = field(repr=False)
    on_refused: Callable[[Refusal], None] = field(repr=False)
    state: TicketState = TicketState.WAITING


class Gate:
    """Slots, keys and queue of one provider. It belongs to one event loop; nothing here is thread-safe."""

    def __init__(self, provider: str, limits: GateLimits, pool: KeyPool, *, clock: Clock) -> None:
        self.provider = provider
        self._limits = limits
        self._pool = pool
        self._clock = clock
        self._in_flight = 0
        self._closed = False
        self._numbers = count(1)
        self._waiters: dict[int, Ticket] = {}
        self._kinds: dict[_Kind, int] = {}
        self._bounds: list[tuple[float, int]] = []
        self._slot_times_s: deque[float] = deque(maxlen=SLOT_SAMPLES)
        self._polling = False
        self._poll_again = False

    @property
    def in_flight(self) -> int:
        """Slots that are held."""
        return self._in_flight

    @property
    def waiting(self) -> int:
        """Waiters in the queue."""
        return len(self._waiters)

    @property
    def limits(self) -> GateLimits:
        """The bounds that hold now."""
        return self._limits

    # -- at once or not

    def try_take(self, model: str, exclude_keys: frozenset[str] = _NOBODY) -> Lease | None:
        """Take slot and key if both can be had now and no waiter could go instead."""
        if self._closed or self._in_flight >= self._limits.max_in_flight:
            return None
        if self._waiters and self._a_waiter_could_go():
            return None
        return self._take(model, exclude_keys)

    def blockage(self, model: str, exclude_keys: frozenset[str] = _NOBODY) -> Refusal:
        """Return why `try_take` says no, for the record of a request that moves on without joining."""
        if self._closed:
            return self._closed_refusal()
        refusal = self._pool.blockage(model, exclude_keys)
        if refusal is not None:
            return refusal
        if self._in_flight >= self._limits.max_in_flight:
            return self._saturated(Reason.QUEUE_FULL, f"all {self._limits.max_in_flight} slots are in use")
        return self._saturated(Reason.QUEUE_FULL, f"{len(self._waiters)} calls wait already")

    def _take(self, model: str, exclude_keys: frozenset[str]) -> Lease | None:
        key_id = self._pool.take(model, exclude_keys)
        if key_id is None:
            return None
        self._in_flight += 1
        return Lease(
            self.provider,
            key_id,
            model,
            granted_at=self._clock(),
            fingerprint=self._pool.fingerprint(key_id),
            give_back=self._give_back,
        )

    def _give_back(self, lease: Lease) -> None:
        self._return(lease)
        self._slot_times_s.append(self._clock() - lease.granted_at)
        if self._waiters:
            self.poll()

    def _return(self, lease: Lease) -> None:
        self._in_flight -= 1
        self._pool.give_back(lease.key_id, lease.model)

    # -- the queue

    def join(
        self,
        model: str,
        exclude_keys: frozenset[str],
        *,
        deadline_at: float,
        on_grant: Callable[[Lease], None],
        on_refused: Callable[[Refusal], None],
    ) -> Ticket | Refusal:
        """Queue for slot and key, until `deadline_at` (clock time) and for `max_wait_s` at most.

        Exactly one of the callbacks is called, later, unless the waiter leaves before. `on_grant` hands the lease
        over, which its receiver releases even if it has no use for it any more. A Refusal comes back instead of a
        ticket if the gate is closed, the deadline has passed, no key can serve within the bound, or the queue is full.
        """
        now = self._clock()
        bound_at = min(now + self._limits.max_wait_s, deadline_at)
        bound_is_deadline = deadline_at == bound_at
        refusal = self._refusal_at_door(model, exclude_keys, now, bound_at, deadline_at=deadline_at)
        if refusal is not None:
            return refusal
        ticket = Ticket(
            next(self._numbers), model, exclude_keys, now, bound_at, bound_is_deadline, on_grant, on_refused
        )
        self._waiters[ticket.number] = ticket
        kind = (model, exclude_keys)
        self._kinds[kind] = self._kinds.get(kind, 0) + 1
        heappush(self._bounds, (bound_at, ticket.number))
        return ticket

    def _refusal_at_door(
        self, model: str, exclude_keys: frozenset[str], now: float, bound_at: float, *, deadline_at: float
    ) -> Refusal | None:
        if self._closed:
            return self._closed_refusal()
        if deadline_at <= now:
            return _deadline_refusal(self.provider)
        # Whether a slot is free or not: if its keys cannot serve within the bound, the queue is no help.
        earliest = self._pool.earliest(model, exclude_keys)
        if earliest is None or (earliest > now and earliest >= bound_at):
            return self._key_refusal(model, exclude_keys)
        if len(self._waiters) >= self._limits.queue or bound_at <= now:
            told = f"all slots are in use, and all {self._limits.queue} places in the queue are taken"
            return self._saturated(Reason.QUEUE_FULL, told if bound_at > now else "all slots are in use, none may wait")
        return None

    def leave(self, ticket: Ticket) -> None:
        """Give a place up at once: neither callback comes. Does nothing if the ticket waits no more."""
        if ticket.state is TicketState.WAITING:
            self._remove(ticket, TicketState.LEFT)

    def position(self, ticket: Ticket) -> int | None:
        """Return a waiter's place in the queue, from 1; None if it waits no more. Walks the queue."""
        if self._waiters.get(ticket.number) is not ticket:
            return None
        return next((place for place, number in enumerate(self._waiters, 1) if number == ticket.number), None)

    def _remove(self, ticket: Ticket, state: TicketState) -> None:
        ticket.state = state
        del self._waiters[ticket.number]
        kind = (ticket.model, ticket.exclude_keys)
        if self._kinds[kind] == 1:
            del self._kinds[kind]
        else:
            self._kinds[kind] -= 1
        # Bounds of waiters that are gone are dropped when they come due, or here, before they outnumber the rest.
        if len(self._bounds) > 2 * len(self._waiters) + 64:
            self._bounds = [bound for bound in self._bounds if bound[1] in self._waiters]
            heapify(self._bounds)

    # -- time passes

    def poll(self) -> None:
        """Refuse whose time is over and grant what can be granted, in the order of the queue, at the clock's time."""
        if self._polling:
            self._poll_again = True
            return
        self._polling = True
        try:
            self._poll_again = True
            while self._poll_again:
                self._poll_again = False
                self._refuse_overdue()
                self._grant_in_order()
        finally:
            self._polling = False

    def next_event_at(self) -> float | None:
        """Return the clock time at which `poll` must be called if nothing else happens before; None: never."""
        if not self._waiters:
            return None
        while self._bounds[0][1] not in self._waiters:
            heappop(self._bounds)
        at = self._bounds[0][0]
        if self._in_flight < self._limits.max_in_flight:
            now = self._clock()
            for model, exclude_keys in self._kinds:
                earliest = self._pool.earliest(model, exclude_keys)
                at = min(at, now if earliest is None else earliest)
        return at

    def _refuse_overdue(self) -> None:
        now = self._clock()
        while self._bounds and self._bounds[0][0] <= now:
            ticket = self._waiters.get(heappop(self._bounds)[1])
            if ticket is not None:
                self._refuse(ticket, self._refusal_of_overdue(ticket))

    def _refusal_of_overdue(self, ticket: Ticket) -> Refusal:
        if ticket.bound_is_deadline:
            return _deadline_refusal(self.provider)
        if self._in_flight < self._limits.max_in_flight:
            refusal = self._pool.blockage(ticket.model, ticket.exclude_keys)
            if refusal is not None:
                return refusal
        waited_s = ticket.bound_at - ticket.joined_at
        return self._saturated(Reason.QUEUE_TIMEOUT, f"no slot came free within {waited_s:g} s")

    def _grant_in_order(self) -> None:
        if self._all_wait_for_keys():
            return
        blocked: dict[_Kind, float | None] = {}
        while not self._poll_again and self._in_flight < self._limits.max_in_flight and not self._closed:
            step = self._next_step(blocked)
            if step is None:
                return
            ticket, lease = step
            if lease is None:
                self._refuse(ticket, self._key_refusal(ticket.model, ticket.exclude_keys))
            else:
                self._grant(ticket, lease)

    def _next_step(self, blocked: dict[_Kind, float | None]) -> tuple[Ticket, Lease | None] | None:
        """Return the first waiter that can go, with its lease, or that waits in vain, without one.

        `blocked` remembers, for one round, which kinds cannot go and when their keys can serve.
        """
        for ticket in self._waiters.values():
            kind = (ticket.model, ticket.exclude_keys)
            if kind not in blocked:
                lease = self._take(*kind)
                if lease is not None:
                    return ticket, lease
                blocked[kind] = self._pool.earliest(*kind)
            earliest = blocked[kind]
            if earliest is None or earliest >= ticket.bound_at:
                return ticket, None
        return None

    def _all_wait_for_keys(self) -> bool:
        """Return whether a look at each kind tells that nobody can go and nobody waits in vain.

        It spares the walk through a long queue at each release while keys cool.
        """
        if not self._waiters:
            return True
        first_bound = self._bounds[0][0]
        for model, exclude_keys in self._kinds:
            earliest = self._pool.earliest(model, exclude_keys)
            # The pool's "now" is later than any that was read before it was asked.
            if earliest is None or earliest >= first_bound or earliest <= self._clock():
                return False
        return True

    def _a_waiter_could_go(self) -> bool:
        return any(self._pool.usable_now(model, exclude_keys) for model, exclude_keys in self._kinds)

    def _grant(self, ticket: Ticket, lease: Lease) -> None:
        self._remove(ticket, TicketState.GRANTED)
        try:
            ticket.on_grant(lease)
        except BaseException:
            # Nobody has taken it over, so nobody else would give it back.
            if not lease.released:
                lease.release()
            raise

    def _refuse(self, ticket: Ticket, refusal: Refusal) -> None:
        self._remove(ticket, TicketState.REFUSED)
        ticket.on_refused(refusal)

    # -- reload and drain

    def resize(self, limits: GateLimits) -> None:
        """Take over new bounds in place: nobody in the queue is failed for it, and waiters keep the bound they have.

        Calls above a smaller limit go on; no new one starts until there is room.
        """
        self._limits = limits
        self.poll()

    def close(self) -> None:
        """Let nobody in any more and refuse all waiters as SATURATED; leases that are out end as always."""
        self._closed = True
        while self._waiters:
            self._refuse(next(iter(self._waiters.values())), self._closed_refusal())

    # -- what is told

    def _stay_away_s(self) -> float:
        """Return an honest guess of how long the queue takes to empty: the waiters, by slots, by mean slot time.

        Until SLOT_SAMPLES_MIN calls were seen nothing is known, and `max_wait_s` is what is told.
        """
        if len(self._slot_times_s) < SLOT_SAMPLES_MIN:
            guess_s = self._limits.max_wait_s
        else:
            slot_s = sum(self._slot_times_s) / len(self._slot_times_s)
            guess_s = (len(self._waiters) + 1) / self._limits.max_in_flight * slot_s
        return min(max(STAY_AWAY_MIN_S, guess_s), STAY_AWAY_MAX_S)

    def _saturated(self, reason: Reason, told: str) -> Refusal:
        return Refusal(FailureClass.SATURATED, reason, f"{self.provider} is full: {told}", self._stay_away_s())

    def _key_refusal(self, model: str, exclude_keys: frozenset[str]) -> Refusal:
        refusal = self._pool.blockage(model, exclude_keys)
        return refusal or self._saturated(Reason.QUEUE_TIMEOUT, "its keys were busy")

    def _closed_refusal(self) -> Refusal:
        told = f"{self.provider} takes no more calls: it was removed, or the server drains"
        return Refusal(FailureClass.SATURATED, Reason.QUEUE_FULL, told, STAY_AWAY_MIN_S)

    def __repr__(self) -> str:
        closed = ", closed" if self._closed else ""
        return (
            f"<Gate {self.provider}: {self._in_flight} of {self._limits.max_in_flight} in flight, "
            f"{len(self._waiters)} of {self._limits.queue} waiting{closed}>"
        )


def _deadline_refusal(provider: str) -> Refusal:
    return Refusal(FailureClass.DEADLINE, Reason.DEADLINE, f"the deadline came in the queue of {provider}")
