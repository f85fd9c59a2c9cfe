"""The queue of a gate: who is next.

Levels strictly by rank; in a level one flow for each caller, and the flows take turns (deficit round robin over
tokens), so that nobody's turn depends on how many others send; in a flow first in, first out, unless it stands.

Waiters of one kind (model and excluded keys) wait for the same keys. Once the first of a kind cannot be served, the
round passes over all of that kind, smaller ones too: otherwise the small would take every token that a key regains,
and the large would never see a full bucket. Other kinds go on. So a round asks the keys once for each kind.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from heapq import heapify, heappop, heappush

from trunkline_server.routing.ticket import Ask, Kind, Ticket, TicketState
from trunkline_server.routing.types import Criticality

STANDS_AT = 0.8
"""A flow goes newest first when its oldest has used this part of what it may wait,"""
FLOWS_AT = 0.5
"""until its oldest has used less than this."""
FRESH_AT = 0.5
"""The newest goes first only if it has waited at most this part of what the oldest has. A burst that came at once has
no newest: turned round, it would only lose those whose turn had nearly come."""
_NONE: frozenset[Kind] = frozenset()


class Flow:
    """One caller's waiters of one level, in the order in which they came."""

    __slots__ = ("_queues", "_stands", "deficit", "mark", "waiting")

    def __init__(self, mark: int) -> None:
        self._queues: dict[Kind, OrderedDict[int, Ticket]] = {}
        self._stands = False
        self.waiting = 0
        self.deficit = 0
        """Tokens that it may still spend."""
        self.mark = mark
        """How much of its level's credit it has had."""

    def add(self, ticket: Ticket) -> None:
        """Put a waiter at the end."""
        self._queues.setdefault(ticket.kind, OrderedDict())[ticket.number] = ticket
        self.waiting += 1

    def remove(self, ticket: Ticket) -> None:
        """Take a waiter out, wherever it stands."""
        queue = self._queues[ticket.kind]
        del queue[ticket.number]
        if not queue:
            del self._queues[ticket.kind]
        self.waiting -= 1

    def first(self, blocked: AbstractSet[Kind], now: float) -> Ticket | None:
        """Return who is next among the kinds that are not blocked."""
        oldest: Ticket | None = None
        for kind, queue in self._queues.items():
            if kind not in blocked:
                head = next(iter(queue.values()))
                if oldest is None or head.number < oldest.number:
                    oldest = head
        if oldest is None:
            return None
        self._stands = oldest.used(now) >= (FLOWS_AT if self._stands else STANDS_AT)
        if not self._stands:
            return oldest
        newest = self.newest(blocked)
        return newest if now - newest.joined_at <= FRESH_AT * (now - oldest.joined_at) else oldest

    def newest(self, blocked: AbstractSet[Kind] = _NONE) -> Ticket:
        """Return who came last among the kinds that are not blocked; there is one."""
        tails = (next(reversed(queue.values())) for kind, queue in self._queues.items() if kind not in blocked)
        return max(tails, key=lambda ticket: ticket.number)

    def place(self, ticket: Ticket) -> int:
        """Return how many of the flow came before this one. Walks the flow."""
        return sum(number < ticket.number for queue in self._queues.values() for number in queue)


class Level:
    """The waiters of one criticality.

    A turn's quantum is what its head lacks, and every flow gets the same credit: so in each round all flows are
    credited with the largest of the heads, and what they are served, in tokens, differs by less than two of the
    largest requests. A flow that is passed over because its keys cannot serve keeps its turn, but gets no credit for
    the turns that it misses.
    """

    __slots__ = ("_credit", "_flows", "_lengths", "_tickets")

    def __init__(self) -> None:
        self._tickets: OrderedDict[int, Ticket] = OrderedDict()
        """All of them, in the order in which they came."""
        self._flows: OrderedDict[str, Flow] = OrderedDict()
        """By caller, in the order of their turns."""
        self._lengths: list[int] = []
        """How many flows have at least 1, 2, 3, ... waiters, so that an arrival need not look at each."""
        self._credit = 0

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._tickets)

    def add(self, ticket: Ticket) -> None:
        """Put a waiter at the end of its caller's flow; a new flow's turn comes after all others'."""
        flow = self._flows.get(ticket.caller)
        if flow is None:
            flow = self._flows[ticket.caller] = Flow(self._credit)
        flow.add(ticket)
        self._tickets[ticket.number] = ticket
        if flow.waiting > len(self._lengths):
            self._lengths.append(0)
        self._lengths[flow.waiting - 1] += 1

    def remove(self, ticket: Ticket) -> None:
        """Take a waiter out; an empty flow goes with it."""
        del self._tickets[ticket.number]
        flow = self._flows[ticket.caller]
        self._lengths[flow.waiting - 1] -= 1
        if not self._lengths[-1]:
            self._lengths.pop()
        flow.remove(ticket)
        if not flow.waiting:
            del self._flows[ticket.caller]

    def first(self, blocked: AbstractSet[Kind], now: float) -> Ticket | None:
        """Return who is next: of the first flow that has one whose kind is not blocked."""
        for flow in self._flows.values():
            ticket = flow.first(blocked, now)
            if ticket is not None:
                return ticket
        return None

    def serve(self, ticket: Ticket, now: float) -> None:
        """Take out the waiter that `first` named, at its flow's expense."""
        flow = self._flows[ticket.caller]
        flow.deficit += self._credit - flow.mark
        lack = max(0, ticket.size - flow.deficit)
        if lack:
            self._credit += lack
            flow.deficit += lack
            for passed_over in self._flows.values():
                if passed_over is flow:
                    break
                passed_over.mark += lack
        flow.mark = self._credit
        flow.deficit -= ticket.size
        self.remove(ticket)
        following = flow.first(_NONE, now)
        if following is not None and following.size > flow.deficit:
            self._flows.move_to_end(ticket.caller)

    def before(self, caller: str) -> int:
        """Return how many go before an arrival of this caller: of each flow at most one more than its own has."""
        own = self._flows.get(caller)
        return sum(self._lengths[: 1 + (0 if own is None else own.waiting)])

    def has(self, ticket: Ticket) -> bool:
        """Return whether this very ticket waits here."""
        return self._tickets.get(ticket.number) is ticket

    def place(self, ticket: Ticket) -> int:
        """Return how many of this level go before this waiter, by the present order and for equal sizes."""
        own = self._flows[ticket.caller]
        place = own.place(ticket)
        before, ahead = place, 1
        for flow in self._flows.values():
            if flow is own:
                ahead = 0
            else:
                before += min(flow.waiting, place + ahead)
        return before

    def newest(self) -> Ticket:
        """Return who came last; the level is not empty."""
        return next(reversed(self._tickets.values()))

    def longest_beyond(self, caller: str) -> Ticket | None:
        """Return the newest of the longest flow, if that is at least 2 longer than this caller's."""
        own = self._flows.get(caller)
        longest = len(self._lengths)
        if longest < 2 + (0 if own is None else own.waiting):
            return None
        return next(flow for flow in self._flows.values() if flow.waiting == longest).newest()


class Kindred:
    """The waiters of one kind: how many of each level, and who of them must be answered first."""

    __slots__ = ("_bounds", "_levels", "asked", "tokens", "waiting")

    def __init__(self) -> None:
        self._bounds: list[tuple[float, int, Ticket]] = []
        self._levels = [0] * len(Criticality)
        self.waiting = 0
        self.tokens = 0
        """What all of them together would reserve."""
        self.asked = 0
        """No more tokens than its first waiter reserves: what the last round found no key for, 0 after one left."""

    def add(self, ticket: Ticket) -> None:
        """Count a waiter in."""
        self.asked = min(self.asked, ticket.tokens) if self.waiting else ticket.tokens
        self.waiting += 1
        self.tokens += ticket.tokens
        self._levels[ticket.criticality.value] += 1
        heappush(self._bounds, (ticket.bound_at, ticket.number, ticket))

    def remove(self, ticket: Ticket) -> None:
        """Count a waiter out that waits no more."""
        self.waiting -= 1
        self.tokens -= ticket.tokens
        self._levels[ticket.criticality.value] -= 1
        self.asked = 0
        # Those that are gone are dropped when they come due, or here, before they outnumber the rest.
        if len(self._bounds) > 2 * self.waiting + 16:
            self._bounds = [bound for bound in self._bounds if bound[2].state is TicketState.WAITING]
            heapify(self._bounds)

    def waits_up_to(self, criticality: Criticality) -> bool:
        """Return whether somebody as important as this, or more, is among them."""
        return any(self._levels[: criticality.value + 1])

    def first_bound(self) -> Ticket:
        """Return whose wait ends first; there is one."""
        while self._bounds[0][2].state is not TicketState.WAITING:
            heappop(self._bounds)
        return self._bounds[0][2]


class Line:
    """All waiters of a gate."""

    __slots__ = ("_levels", "kinds", "waiting")

    def __init__(self) -> None:
        self._levels = tuple(Level() for _ in Criticality)
        self.kinds: dict[Kind, Kindred] = {}
        self.waiting = 0

    def add(self, ticket: Ticket) -> None:
        """Let a waiter in."""
        self._levels[ticket.criticality.value].add(ticket)
        self.kinds.setdefault(ticket.kind, Kindred()).add(ticket)
        self.waiting += 1

    def remove(self, ticket: Ticket, state: TicketState) -> None:
        """Take a waiter out that was not served, and say what became of it."""
        self._levels[ticket.criticality.value].remove(ticket)
        self._forget(ticket, state)

    def serve(self, ticket: Ticket, now: float) -> None:
        """Take out the waiter that `first` named, since it was granted."""
        self._levels[ticket.criticality.value].serve(ticket, now)
        self._forget(ticket, TicketState.GRANTED)

    def _forget(self, ticket: Ticket, state: TicketState) -> None:
        ticket.state = state
        self.waiting -= 1
        kindred = self.kinds[ticket.kind]
        if kindred.waiting == 1:
            del self.kinds[ticket.kind]
        else:
            kindred.remove(ticket)

    def first(self, blocked: AbstractSet[Kind], now: float) -> Ticket | None:
        """Return who is next among the kinds that are not blocked; None if nobody is left."""
        if self.kinds.keys() <= blocked:
            return None
        for level in self._levels:
            ticket = level.first(blocked, now) if level.waiting else None
            if ticket is not None:
                return ticket
        return None

    def overdue(self, now: float) -> Iterator[Ticket]:
        """Go through those whose wait is over; each must be removed before the next is asked for."""
        for kind in list(self.kinds):
            while (kindred := self.kinds.get(kind)) is not None and (ticket := kindred.first_bound()).bound_at <= now:
                yield ticket

    def demand(self, model: str) -> tuple[int, int]:
        """Return how many wait for a model, and how many tokens they would reserve together."""
        kindreds = [kindred for (other, _), kindred in self.kinds.items() if other == model]
        return sum(kindred.waiting for kindred in kindreds), sum(kindred.tokens for kindred in kindreds)

    def place_of_arrival(self, ask: Ask) -> int:
        """Return the place, from 1, that an arrival would have: how many turns until its own, this one included."""
        return 1 + self.above(ask.criticality) + self._levels[ask.criticality.value].before(ask.caller)

    def position(self, ticket: Ticket) -> int | None:
        """Return a waiter's place, from 1, by the present order; None if it does not wait here."""
        level = self._levels[ticket.criticality.value]
        return 1 + self.above(ticket.criticality) + level.place(ticket) if level.has(ticket) else None

    def above(self, criticality: Criticality) -> int:
        """Return how many wait that are more important."""
        return sum(level.waiting for level in self._levels[: criticality.value])

    def to_push_out(self, ask: Ask) -> Ticket | None:
        """Return who has to give up its place to an arrival that finds the queue full; None: nobody."""
        for level in self._levels[: ask.criticality.value : -1]:
            if level.waiting:
                return level.newest()
        return self._levels[ask.criticality.value].longest_beyond(ask.caller)
