"""The gate under any order of grants, cancels, time-outs, resizes and failure reports."""

from __future__ import annotations

from random import Random

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from trunkline_server.routing.clock import ManualClock
from trunkline_server.routing.failures import Failure, FailureClass
from trunkline_server.routing.gate import AdaptiveLimits, Gate, GateLimits, Ticket, TicketState
from trunkline_server.routing.key_pool import KeyPool, KeySpec
from trunkline_server.routing.lease import Lease
from trunkline_server.routing.types import Criticality, Reason, Refusal

KEYS = (
    KeySpec("a", 1, tokens_per_minute=6000, requests_per_minute=600),
    KeySpec("b", 2, models=("m1",), requests_per_minute=60),
    KeySpec("c", 0, tokens_per_minute=600),
    KeySpec("free", 1, models=("m2",)),
)
models = st.sampled_from(["m1", "m2"])
excludes = st.sampled_from([frozenset[str](), frozenset({"a"}), frozenset({"a", "c", "free"})])
callers = st.sampled_from(["x", "y", "z"])
levels = st.sampled_from([Criticality.CRITICAL, Criticality.CRITICAL, Criticality.CRITICAL_PLUS, Criticality.SHEDDABLE])
sizes = st.sampled_from([0, 5, 400])
limits = st.builds(
    GateLimits,
    st.integers(1, 4),
    st.integers(0, 4),
    st.sampled_from([0.0, 1.0, 5.0, 70.0]),
    st.sampled_from([None, None, AdaptiveLimits(1, 6)]),
    st.sampled_from([None, None, 2.0, 50.0]),
    st.integers(1, 2),
)


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
        """Whether a key would serve it and each of its kind, so that no larger one of them keeps it waiting."""
        kind = [other for other in self._waiting() if other.kind == ticket.kind] or [ticket]
        return all(self.pool.usable_now(*other.kind, other.tokens) for other in kind)

    def _overtaken(self, granted: Ticket, other: Ticket) -> bool:
        if other.criticality is not granted.criticality:
            return other.criticality.value < granted.criticality.value and self._could_go(other)
        # From half of its time on a flow may be served newest first.
        flows = other.used(self.clock()) < 0.5
        return other.caller == granted.caller and other.number < granted.number and flows and self._could_go(other)

    def _granted(self, mine: int, lease: Lease, *, release_at_once: bool) -> None:
        ticket = self.tickets[mine]
        self.told[mine] += 1
        assert ticket.state is TicketState.GRANTED
        assert self.gate.in_flight <= self.gate.limit
        assert self.clock() < ticket.bound_at
        assert lease.key_id not in ticket.exclude_keys
        assert lease.tokens == ticket.tokens
        assert not any(self._overtaken(ticket, other) for other in self._waiting())
        if release_at_once:
            lease.release()
        else:
            self.leases.append(lease)

    def _refused(self, mine: int, refusal: Refusal) -> None:
        self.told[mine] += 1
        assert self.tickets[mine].state is TicketState.REFUSED
        waiting_helps = refusal.failure_class not in {FailureClass.DEADLINE, FailureClass.MODEL_UNAVAILABLE}
        assert waiting_helps == (refusal.retry_after_s is not None)

    def _free(self) -> bool:
        """Whether slot and pace would let one more go."""
        pacer = self.gate._throttle.pacer
        return self.gate.in_flight < self.gate.limit and (pacer is None or pacer.free_at() <= self.clock())

    @rule(model=models, exclude=excludes, caller=callers, level=levels, tokens=sizes)
    def try_take(self, model: str, exclude: frozenset[str], caller: str, level: Criticality, tokens: int) -> None:
        """Take what can be had, past nobody as important that could go or that wants the same."""
        kind = (model, exclude)
        others = [ticket for ticket in self._waiting() if ticket.criticality.value <= level.value]
        before = any(ticket.kind == kind or self._could_go(ticket) for ticket in others)
        perhaps = before or any(self.pool.usable_now(*ticket.kind) for ticket in others)
        can = self._free() and self.pool.usable_now(*kind, tokens)
        refusal = self.gate.blockage(model, exclude, tokens=tokens, caller=caller, criticality=level)
        lease = self.gate.try_take(model, exclude, tokens=tokens, caller=caller, criticality=level)
        if lease is None:
            assert not can or perhaps
            assert refusal.message
        else:
            assert can
            assert not before
            self.leases.append(lease)

    @rule(
        model=models,
        exclude=excludes,
        deadline_s=st.sampled_from([0.0, 0.5, 3.0, 100.0]),
        caller=callers,
        level=levels,
        tokens=sizes,
        release_at_once=st.booleans(),
    )
    def join(
        self,
        model: str,
        exclude: frozenset[str],
        deadline_s: float,
        caller: str,
        level: Criticality,
        tokens: int,
        *,
        release_at_once: bool,
    ) -> None:
        """Queue, or be refused at the door for a reason that holds; a full queue gives up one place at most."""
        before = self.gate.waiting
        mine = self.number = self.number + 1
        answer = self.gate.join(
            model,
            exclude,
            deadline_at=self.clock() + deadline_s,
            on_grant=lambda lease: self._granted(mine, lease, release_at_once=release_at_once),
            on_refused=lambda refusal: self._refused(mine, refusal),
            tokens=tokens,
            caller=caller,
            criticality=level,
        )
        if isinstance(answer, Ticket):
            assert self.gate.waiting == before + (before < self.gate.limits.queue)
            assert answer.bound_at <= self.clock() + min(deadline_s, self.gate.limits.max_wait_s)
            self.tickets[mine] = answer
            self.told[mine] = 0
            place = self.gate.position(answer)
            assert place is not None
            assert 1 <= place <= self.gate.waiting
        else:
            assert self.gate.waiting == before
            self._refusal_holds(answer, deadline_s)

    def _refusal_holds(self, refusal: Refusal, deadline_s: float) -> None:
        bounds = self.gate.limits
        if refusal.reason is Reason.DEADLINE_IN_QUEUE:
            assert deadline_s <= bounds.max_wait_s
        elif refusal.reason is Reason.SHED:
            assert self.gate.waiting >= bounds.queue > 0
        assert refusal.retry_after_s is None or refusal.retry_after_s > 0

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

    def _pop(self, data: st.DataObject) -> Lease:
        return self.leases.pop(data.draw(st.integers(0, len(self.leases) - 1)))

    @precondition(lambda self: self.leases)
    @rule(data=st.data(), used=st.sampled_from([None, 0, 5, 1000]))
    def release(self, data: st.DataObject, used: int | None) -> None:
        """End a call, whose use may have been told."""
        lease = self._pop(data)
        if used is not None:
            lease.settle(used)
        lease.release()

    @precondition(lambda self: self.leases)
    @rule(
        data=st.data(),
        failure_class=st.sampled_from([FailureClass.RATE_LIMITED, FailureClass.KEY_REJECTED, FailureClass.OVERLOADED]),
        retry_after_s=st.sampled_from([None, 0.5, 4.0, 40.0]),
    )
    def fail(self, data: st.DataObject, failure_class: FailureClass, retry_after_s: float | None) -> None:
        """Report a call's failure, and end it."""
        lease = self._pop(data)
        failure = Failure(failure_class, "x", retry_after_s)
        self.pool.failed(lease.key_id, lease.model, failure, fingerprint=lease.fingerprint)
        if failure_class is FailureClass.OVERLOADED:
            self.gate.overloaded(lease)
        lease.release()

    @precondition(lambda self: self.leases)
    @rule(data=st.data(), late=st.booleans())
    def succeed(self, data: st.DataObject, *, late: bool) -> None:
        """Report a call's success, and end it, in either order."""
        lease = self._pop(data)
        self.pool.succeeded(lease.key_id, lease.model, fingerprint=lease.fingerprint)
        if late:
            lease.release()
        self.gate.succeeded(lease)
        if not late:
            lease.release()

    @rule(new=limits)
    def resize(self, new: GateLimits) -> None:
        """Resize: nobody is refused who would not have been by a mere poll."""
        self.gate.poll()
        refused = sum(ticket.state is TicketState.REFUSED for ticket in self.tickets.values())
        limit, was_paced = self.gate.limit, self.gate.limits.dispatches_per_s is not None
        self.gate.resize(new)
        if self.gate.limit <= limit and not was_paced:
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
        for ticket in self._waiting():
            assert ticket.bound_at > now
            assert not (self._free() and self._could_go(ticket))
        at = self.gate.next_event_at()
        assert (at is None) == (self.gate.waiting == 0)
        if at is None:
            return
        assert at > now
        told = dict(self.told)
        sizes_of_kinds = {(ticket.kind, ticket.tokens) for ticket in self._waiting()}
        if at - now > 2e-6 and len(sizes_of_kinds) == len({kind for kind, _ in sizes_of_kinds}):
            self.clock.advance(at - now - 1e-6)
            self.gate.poll()
            assert told == self.told
        # An event may only show that one looked at is larger than thought; then the next is the right one.
        for _ in range(4):
            at = self.gate.next_event_at()
            assert at is not None
            self.clock.advance(max(0.0, at - self.clock()) + 1e-6)
            self.gate.poll()
            if told != self.told:
                return
        raise AssertionError("woken four times for nothing")

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
