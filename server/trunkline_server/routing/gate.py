"""The gate of one provider: a bounded number of calls in flight, and a bounded queue for those that must wait.

A grant is slot, pace and key in one step. Who is next is said in `waiting`; a waiter whose keys cannot serve now is
passed over, keeps its place and holds nothing. Nobody overtakes a waiter that could go, unless it is more important.

The gate decides and never waits: the engine calls `poll` whenever `next_event_at` has come, and after anything that
may have freed a key (a reload of the pool). Callbacks run only when the books of the gate are right: inside `poll`,
`resize`, `close` and a lease's `release`; `join` may call `on_refused` of somebody else, who is pushed out of a full
queue, never its own; `try_take` and `leave` call nobody. A callback may call anything of the gate: a `poll` inside it
is put off until it has returned. It must not raise: what it raises comes out of whichever call ran it.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

from trunkline_server.routing.clock import Clock
from trunkline_server.routing.door import Door
from trunkline_server.routing.gate_limits import AdaptiveLimits, GateLimits
from trunkline_server.routing.key_pool import KeyPool
from trunkline_server.routing.lease import Lease, LeaseError
from trunkline_server.routing.throttle import Throttle
from trunkline_server.routing.ticket import Ask, Kind, Ticket, TicketState
from trunkline_server.routing.types import Criticality, Refusal
from trunkline_server.routing.waiting import Line

__all__ = ["AdaptiveLimits", "Gate", "GateLimits", "Lease", "LeaseError", "Ticket", "TicketState"]

_NOBODY: frozenset[str] = frozenset()


class Gate:
    """Slots, pace, keys and queue of one provider. It belongs to one event loop; nothing here is thread-safe."""

    def __init__(self, provider: str, limits: GateLimits, pool: KeyPool, *, clock: Clock) -> None:
        self.provider = provider
        self.terms: object = None
        """What holds for calls that are granted from now on; each lease carries what held for it."""
        self._pool = pool
        self._clock = clock
        self._in_flight = 0
        self._closed = False
        self._numbers = count(1)
        self._line = Line()
        self._throttle = Throttle(limits)
        self._door = Door(provider, pool, self._line, self._throttle, clock, in_flight=lambda: self._in_flight)
        self._polling = False
        self._poll_again = False

    @property
    def in_flight(self) -> int:
        """Slots that are held."""
        return self._in_flight

    @property
    def waiting(self) -> int:
        """Waiters in the queue."""
        return self._line.waiting

    @property
    def limits(self) -> GateLimits:
        """The bounds that hold now."""
        return self._throttle.limits

    @property
    def limit(self) -> int:
        """Calls in flight at most, now: `max_in_flight`, or what the adaptive limit has come to."""
        return self._throttle.limit

    # -- at once or not

    def try_take(
        self,
        model: str,
        exclude_keys: frozenset[str] = _NOBODY,
        *,
        tokens: int = 0,
        caller: str = "",  # noqa: ARG002  who asks is one record for both ways in
        criticality: Criticality = Criticality.CRITICAL,
    ) -> Lease | None:
        """Take slot and key if both can be had now and nobody waits who goes before.

        `tokens` is what is reserved on the key's limit: prompt and answer, by estimate.
        """
        throttle = self._throttle
        if self._closed or self._in_flight >= throttle.limit:
            return None
        if throttle.pacer is not None and throttle.pacer.free_at() > self._clock():
            return None
        if self._line.waiting and self._somebody_goes_before((model, exclude_keys), criticality):
            return None
        return self._take(model, exclude_keys, tokens)

    def blockage(
        self,
        model: str,
        exclude_keys: frozenset[str] = _NOBODY,
        *,
        tokens: int = 0,
        caller: str = "",
        criticality: Criticality = Criticality.CRITICAL,
    ) -> Refusal:
        """Return why `try_take` says no, for the record of a request that moves on without joining."""
        if self._closed:
            return self._door.closed()
        return self._door.no_take(Ask(model, exclude_keys, tokens, caller, criticality), self._in_flight)

    def key_blockage(
        self, model: str, *, tokens: int = 0, caller: str = "", criticality: Criticality = Criticality.CRITICAL
    ) -> Refusal | None:
        """Return why no key can serve now, with a time that counts the queue; None if one can and nobody waits."""
        return self._door.by_keys_in_line(Ask(model, _NOBODY, tokens, caller, criticality))

    def _somebody_goes_before(self, kind: Kind, criticality: Criticality) -> bool:
        """Return whether a waiter could go, or waits for the same keys, that is at least as important."""
        return any(
            other == kind or self._pool.usable_now(*other, kindred.asked)
            for other, kindred in self._line.kinds.items()
            if kindred.waits_up_to(criticality)
        )

    def _take(self, model: str, exclude_keys: frozenset[str], tokens: int) -> Lease | None:
        key_id = self._pool.take(model, exclude_keys, tokens)
        if key_id is None:
            return None
        self._in_flight += 1
        now = self._clock()
        if self._throttle.pacer is not None:
            self._throttle.pacer.dispatched(now)
        return Lease(
            self.provider,
            key_id,
            model,
            granted_at=now,
            fingerprint=self._pool.fingerprint(key_id),
            give_back=self._give_back,
            tokens=tokens,
            settle=self._settle,
            terms=self.terms,
        )

    def _settle(self, lease: Lease, used: int | None) -> None:
        self._pool.settle(lease.key_id, lease.model, lease.tokens, used, at=lease.granted_at)

    def _give_back(self, lease: Lease) -> None:
        self._in_flight -= 1
        self._pool.give_back(lease.key_id, lease.model)
        self._throttle.held(self._clock() - lease.granted_at)
        if self._line.waiting:
            self.poll()

    # -- what is learnt

    def succeeded(self, lease: Lease) -> None:
        """Report that the provider served this call; best before its release, so that a waiter gains from it."""
        self._throttle.succeeded(self._in_flight + lease.released)

    def overloaded(self, lease: Lease) -> None:
        """Report that this call failed because the provider has too much to do: OVERLOADED or a time-out of ours.

        Not for what a caller brought about alone, nor for RATE_LIMITED, which speaks of the key.
        """
        self._throttle.overloaded(lease.granted_at, self._clock())

    # -- the queue

    def join(
        self,
        model: str,
        exclude_keys: frozenset[str],
        *,
        deadline_at: float,
        on_grant: Callable[[Lease], None],
        on_refused: Callable[[Refusal], None],
        tokens: int = 0,
        caller: str = "",
        criticality: Criticality = Criticality.CRITICAL,
    ) -> Ticket | Refusal:
        """Queue for slot and key, until `deadline_at` (clock time) and for `max_wait_s` at most.

        Exactly one of the callbacks is called, later, unless the waiter leaves before. `on_grant` hands the lease
        over, which its receiver releases even if it has no use for it any more. A Refusal comes back instead of a
        ticket if the gate is closed, the deadline has passed, no key can serve within the bound, its turn is not
        expected within the bound, or the queue is full and nobody has to give up a place to it.
        """
        if self._closed:
            return self._door.closed()
        now = self._clock()
        bound_at = min(now + self._throttle.limits.max_wait_s, deadline_at)
        ticket = Ticket(
            model,
            exclude_keys,
            tokens,
            caller,
            criticality,
            number=next(self._numbers),
            joined_at=now,
            bound_at=bound_at,
            bound_is_deadline=deadline_at == bound_at,
            on_grant=on_grant,
            on_refused=on_refused,
        )
        refusal = self._door.refusal(ticket)
        if refusal is not None:
            return refusal
        if self._line.waiting < self._throttle.limits.queue:
            self._line.add(ticket)
            return ticket
        return self._join_full_queue(ticket)

    def _join_full_queue(self, ticket: Ticket) -> Ticket | Refusal:
        out = self._line.to_push_out(ticket)
        if out is None:
            return self._door.no_place(ticket)
        self._line.remove(out, TicketState.REFUSED)
        self._line.add(ticket)
        try:
            out.on_refused(self._door.pushed_out(out))
        except BaseException:
            # The one that joined never gets its ticket, so it would never leave.
            self.leave(ticket)
            raise
        return ticket

    def leave(self, ticket: Ticket) -> None:
        """Give a place up at once: neither callback comes. Does nothing if the ticket waits no more."""
        if ticket.state is TicketState.WAITING:
            self._line.remove(ticket, TicketState.LEFT)

    def position(self, ticket: Ticket) -> int | None:
        """Return a waiter's place in the queue, from 1; None if it waits no more.

        How many would be served up to it if the keys served everybody, all asked for the same size, and its flow went
        first in, first out. Walks its caller's flow.
        """
        return self._line.position(ticket)

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
                for ticket in self._line.overdue(self._clock()):
                    self._refuse(ticket, self._door.overdue(ticket, self._in_flight))
                self._grant_in_order()
        finally:
            self._polling = False

    def next_event_at(self) -> float | None:
        """Return the clock time at which `poll` must be called if nothing else happens before; None: never."""
        if not self._line.waiting:
            return None
        at = min(kindred.first_bound().bound_at for kindred in self._line.kinds.values())
        if self._in_flight >= self._throttle.limit:
            return at
        now, pacer = self._clock(), self._throttle.pacer
        if pacer is not None and pacer.free_at() > now:
            # Only then do the waiters show whose keys can serve, and who waits in vain.
            return min(at, pacer.free_at())
        for kind, kindred in self._line.kinds.items():
            earliest = self._pool.earliest(*kind, kindred.asked)
            at = min(at, now if earliest is None else earliest)
        return at

    def _grant_in_order(self) -> None:
        blocked: set[Kind] = set()
        while (
            not self._poll_again and not self._closed and self._line.waiting and self._in_flight < self._throttle.limit
        ):
            now = self._clock()
            if self._throttle.pacer is not None and self._throttle.pacer.free_at() > now:
                return
            ticket = self._line.first(blocked, now)
            if ticket is None:
                return
            lease = self._take(ticket.model, ticket.exclude_keys, ticket.tokens)
            if lease is None:
                blocked.add(ticket.kind)
                self._line.kinds[ticket.kind].asked = ticket.tokens
                self._refuse_in_vain(ticket.kind)
            else:
                self._grant(ticket, lease)

    def _refuse_in_vain(self, kind: Kind) -> None:
        """Refuse those of a kind whose keys will not serve within their bounds, whose bound ends first first."""
        while not self._poll_again and (kindred := self._line.kinds.get(kind)) is not None:
            ticket = kindred.first_bound()
            earliest = self._pool.earliest(*kind, ticket.tokens)
            if earliest is not None and earliest < ticket.bound_at:
                return
            self._refuse(ticket, self._door.by_keys_or_busy(ticket))

    def _grant(self, ticket: Ticket, lease: Lease) -> None:
        self._line.serve(ticket, lease.granted_at)
        try:
            ticket.on_grant(lease)
        except BaseException:
            # Nobody has taken it over, so nobody else would give it back.
            if not lease.released:
                lease.release()
            raise

    def _refuse(self, ticket: Ticket, refusal: Refusal) -> None:
        self._line.remove(ticket, TicketState.REFUSED)
        ticket.on_refused(refusal)

    # -- reload and drain

    def resize(self, limits: GateLimits) -> None:
        """Take over new bounds in place: nobody in the queue is failed for it, and waiters keep the bound they have.

        Calls above a smaller limit go on; no new one starts until there is room. An adaptive limit keeps its present
        value where the new bounds allow it, and what was dispatched keeps counting for the pace.
        """
        self._throttle.tune(limits)
        self.poll()

    def close(self) -> None:
        """Let nobody in any more and refuse all waiters as SATURATED; leases that are out end as always."""
        self._closed = True
        while (ticket := self._line.first(frozenset(), self._clock())) is not None:
            self._refuse(ticket, self._door.closed())

    def drop_waiters(self, model: str) -> None:
        """Refuse whoever waits for a model that its keys may not serve any more, whether a slot is free or not."""
        for kind in [kind for kind in self._line.kinds if kind[0] == model]:
            self._refuse_in_vain(kind)

    def __repr__(self) -> str:
        closed = ", closed" if self._closed else ""
        return (
            f"<Gate {self.provider}: {self._in_flight} of {self._throttle.limit} in flight, "
            f"{self._line.waiting} of {self._throttle.limits.queue} waiting{closed}>"
        )
