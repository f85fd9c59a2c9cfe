"""The gate under any order of grants, cancels, time-outs, resizes and failure reports."""

from __future__ import annotations

from random import Random

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from trunkline_server.routing.clock import ManualClock
from trunkline_server.routing.failures import Failure, FailureClass
from trunkline_server.routing.gate import Gate, GateLimits, Ticket, TicketState
from trunkline_server.routing.key_pool import KeyPool, KeySpec
from trunkline_server.routing.lease import Lease
from trunkline_server.routing.types import Refusal

KEYS = (KeySpec("a", 1), KeySpec("b", 2, models=("m1",)), KeySpec("c", 0))
models = st.sampled_from(["m1", "m2"])
excludes = st.sampled_from([frozenset[str](), frozenset({"a"}), frozenset({"a", "c"})])
limits = st.builds(GateLimits, st.integers(1, 4), st.integers(0, 4), st.sampled_from([0.0, 1.0, 5.0, 70.0]))


class GateMachine(RuleBasedStateMachine):
    """No slot is lost or freed twice, nobody is overtaken who could go, and nobody waits beyond the bound."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = ManualClock(1.0)
        self.pool = KeyPool("p", KEYS, clock=self.clock, rng=Random(5))
        self.gate = Gate("p", GateLimits(2, 3, 5.0), self.pool, clock=self.clock)
        self.leases: list[Lease] = []
        self.tickets: dict[int, Ticket] = {}
        """Everyone that joined, by number."""
        self.told: dict[int, int] = {}
        """Number of callbacks by ticket."""
        self.number = 0

    def _waiting(self) -> list[Ticket]:
        return [ticket for ticket in self.tickets.values() if ticket.state is TicketState.WAITING]

    def _could_go(self, ticket: Ticket) -> bool:
        return self.pool.usable_now(ticket.model, ticket.exclude_keys)

    def _granted(self, mine: int, lease: Lease, *, release_at_once: bool) -> None:
        ticket = self.tickets[mine]
        self.told[mine] += 1
        assert ticket.state is TicketState.GRANTED
        assert self.gate.in_flight <= self.gate.limits.max_in_flight
        assert self.clock() < ticket.bound_at
        assert lease.key_id not in ticket.exclude_keys
        assert not any(self._could_go(other) for other in self._waiting() if other.number < ticket.number)
        if release_at_once:
            lease.release()
        else:
            self.leases.append(lease)

    def _refused(self, mine: int, refusal: Refusal) -> None:
        self.told[mine] += 1
        assert self.tickets[mine].state is TicketState.REFUSED
        waiting_helps = refusal.failure_class not in {FailureClass.DEADLINE, FailureClass.MODEL_UNAVAILABLE}
        assert waiting_helps == (refusal.retry_after_s is not None)

    @rule(model=models, exclude=excludes)
    def try_take(self, model: str, exclude: frozenset[str]) -> None:
        """Take what can be had, past nobody that could go."""
        others = [ticket for ticket in self._waiting() if self._could_go(ticket)]
        free = self.gate.in_flight < self.gate.limits.max_in_flight
        usable = self.pool.usable_now(model, exclude)
        refusal = self.gate.blockage(model, exclude)
        lease = self.gate.try_take(model, exclude)
        assert (lease is not None) == (free and usable and not others)
        if lease is None:
            assert refusal.message
        else:
            self.leases.append(lease)

    @rule(
        model=models,
        exclude=excludes,
        deadline_s=st.sampled_from([0.0, 0.5, 3.0, 100.0]),
        release_at_once=st.booleans(),
    )
    def join(self, model: str, exclude: frozenset[str], deadline_s: float, *, release_at_once: bool) -> None:
        """Queue, or be refused at the door for a reason that holds."""
        before = self.gate.waiting
        mine = self.number = self.number + 1
        answer = self.gate.join(
            model,
            exclude,
            deadline_at=self.clock() + deadline_s,
            on_grant=lambda lease: self._granted(mine, lease, release_at_once=release_at_once),
            on_refused=lambda refusal: self._refused(mine, refusal),
        )
        if isinstance(answer, Ticket):
            assert before < self.gate.limits.queue
            assert answer.bound_at <= self.clock() + min(deadline_s, self.gate.limits.max_wait_s)
            self.tickets[mine] = answer
            self.told[mine] = 0
        else:
            assert self.gate.waiting == before

    @precondition(lambda self: self.tickets)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        """Give a place up, or one that is no more."""
        mine = data.draw(st.sampled_from(sorted(self.tickets)))
        ticket = self.tickets[mine]
        state, told = ticket.state, self.told[mine]
        self.gate.leave(ticket)
        assert ticket.state is (TicketState.LEFT if state is TicketState.WAITING else state)
        assert self.told[mine] == told

    @precondition(lambda self: self.leases)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        """End a call."""
        self.leases.pop(data.draw(st.integers(0, len(self.leases) - 1))).release()

    @precondition(lambda self: self.leases)
    @rule(
        data=st.data(),
        failure_class=st.sampled_from([FailureClass.RATE_LIMITED, FailureClass.KEY_REJECTED]),
        retry_after_s=st.sampled_from([None, 0.5, 4.0, 40.0]),
    )
    def fail(self, data: st.DataObject, failure_class: FailureClass, retry_after_s: float | None) -> None:
        """Report a call's failure, and end it."""
        lease = self.leases.pop(data.draw(st.integers(0, len(self.leases) - 1)))
        failure = Failure(failure_class, "x", retry_after_s)
        self.pool.failed(lease.key_id, lease.model, failure, fingerprint=lease.fingerprint)
        lease.release()

    @precondition(lambda self: self.leases)
    @rule(data=st.data())
    def succeed(self, data: st.DataObject) -> None:
        """Report a call's success, and end it."""
        lease = self.leases.pop(data.draw(st.integers(0, len(self.leases) - 1)))
        self.pool.succeeded(lease.key_id, lease.model, fingerprint=lease.fingerprint)
        lease.release()

    @rule(new=limits)
    def resize(self, new: GateLimits) -> None:
        """Resize: nobody is refused who would not have been by a mere poll."""
        self.gate.poll()
        refused = sum(ticket.state is TicketState.REFUSED for ticket in self.tickets.values())
        smaller = new.max_in_flight <= self.gate.limits.max_in_flight
        self.gate.resize(new)
        if smaller:
            assert refused == sum(ticket.state is TicketState.REFUSED for ticket in self.tickets.values())

    @rule(keys=st.lists(st.sampled_from(KEYS), unique=True, min_size=1))
    def reload_keys(self, keys: list[KeySpec]) -> None:
        """Reload the pool, and look again."""
        self.pool.reconfigure(keys)
        self.gate.poll()

    @rule(seconds=st.sampled_from([0.1, 1.0, 5.0, 60.0]))
    def time_passes(self, seconds: float) -> None:
        """Move the clock on without a poll: the engine may be late."""
        self.clock.advance(seconds)

    @rule()
    def poll(self) -> None:
        """Leave nobody waiting that could go or whose time is over, and nothing to do until the next event."""
        self.gate.poll()
        now = self.clock()
        free = self.gate.in_flight < self.gate.limits.max_in_flight
        for ticket in self._waiting():
            assert ticket.bound_at > now
            assert not (free and self._could_go(ticket))
        at = self.gate.next_event_at()
        assert (at is None) == (self.gate.waiting == 0)
        if at is not None:
            assert at > now
            told = dict(self.told)
            if at - now > 2e-6:
                self.clock.advance(at - now - 1e-6)
                self.gate.poll()
                assert told == self.told
            self.clock.advance(max(0.0, at - self.clock()) + 1e-6)
            self.gate.poll()
            assert told != self.told

    @invariant()
    def nothing_is_lost_or_freed_twice(self) -> None:
        """Find as many slots and keys in use as there are leases out."""
        assert self.gate.in_flight == self.pool.in_flight == len(self.leases)

    @invariant()
    def everyone_is_told_once(self) -> None:
        """Find one callback for each waiter that was granted or refused, and none for the others."""
        assert self.gate.waiting == len(self._waiting())
        for mine, ticket in self.tickets.items():
            expected = 1 if ticket.state in {TicketState.GRANTED, TicketState.REFUSED} else 0
            assert self.told[mine] == expected

    def teardown(self) -> None:
        """Close: everybody has moved on, and what is out still comes back."""
        self.gate.close()
        assert self.gate.waiting == 0
        for lease in self.leases:
            lease.release()
        assert (self.gate.in_flight, self.pool.in_flight) == (0, 0)


GateMachine.TestCase.settings = settings(max_examples=200, stateful_step_count=60, deadline=None)
TestGateMachine = GateMachine.TestCase
