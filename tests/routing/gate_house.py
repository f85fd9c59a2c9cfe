"""A gate to play with: its pool, its clock, and what its waiters were told."""

from __future__ import annotations

from random import Random

from trunkline_server.routing.clock import ManualClock
from trunkline_server.routing.failures import Failure, FailureClass
from trunkline_server.routing.gate import AdaptiveLimits, Gate, GateLimits, Ticket
from trunkline_server.routing.key_pool import KeyPool, KeySpec
from trunkline_server.routing.lease import Lease
from trunkline_server.routing.types import Criticality, Refusal

NOBODY: frozenset[str] = frozenset()


class House:
    """A gate with its pool, its clock, and what its waiters were told."""

    def __init__(
        self,
        max_in_flight: int = 1,
        queue: int = 10,
        max_wait_s: float = 5.0,
        keys: int = 1,
        *,
        adaptive: AdaptiveLimits | None = None,
        dispatches_per_s: float | None = None,
        requests_per_minute: float | None = None,
        tokens_per_minute: float | None = None,
    ) -> None:
        self.clock = ManualClock(100.0)
        specs = [
            KeySpec(f"k{number}", 1, requests_per_minute=requests_per_minute, tokens_per_minute=tokens_per_minute)
            for number in range(keys)
        ]
        self.pool = KeyPool("openai", specs, clock=self.clock, rng=Random(1))
        limits = GateLimits(max_in_flight, queue, max_wait_s, adaptive, dispatches_per_s)
        self.gate = Gate("openai", limits, self.pool, clock=self.clock)
        self.granted: dict[str, Lease] = {}
        self.refused: dict[str, Refusal] = {}
        self.order: list[str] = []
        self.leases: list[Lease] = []

    def take(self, model: str = "m", exclude: frozenset[str] = NOBODY) -> Lease:
        """Take what can be had at once."""
        lease = self.gate.try_take(model, exclude)
        assert lease is not None
        return lease

    def ask(
        self,
        name: str,
        model: str = "m",
        exclude: frozenset[str] = NOBODY,
        deadline_s: float = 60.0,
        *,
        caller: str = "",
        criticality: Criticality = Criticality.CRITICAL,
        tokens: int = 0,
    ) -> Ticket | Refusal:
        """Join under a name that tells the callbacks apart."""

        def on_grant(lease: Lease) -> None:
            self.granted[name] = lease
            self.order.append(name)

        def on_refused(refusal: Refusal) -> None:
            self.refused[name] = refusal
            self.order.append(name)

        return self.gate.join(
            model,
            exclude,
            deadline_at=self.clock() + deadline_s,
            on_grant=on_grant,
            on_refused=on_refused,
            caller=caller,
            criticality=criticality,
            tokens=tokens,
        )

    def join(
        self,
        name: str,
        model: str = "m",
        exclude: frozenset[str] = NOBODY,
        deadline_s: float = 60.0,
        *,
        caller: str = "",
        criticality: Criticality = Criticality.CRITICAL,
        tokens: int = 0,
    ) -> Ticket:
        """Join and be let in."""
        ticket = self.ask(name, model, exclude, deadline_s, caller=caller, criticality=criticality, tokens=tokens)
        assert isinstance(ticket, Ticket)
        return ticket

    def refusal(
        self,
        name: str,
        model: str = "m",
        deadline_s: float = 60.0,
        *,
        caller: str = "",
        criticality: Criticality = Criticality.CRITICAL,
    ) -> Refusal:
        """Join and be refused at the door."""
        refusal = self.ask(name, model, deadline_s=deadline_s, caller=caller, criticality=criticality)
        assert isinstance(refusal, Refusal)
        return refusal

    def serve(self, calls: int, seconds: float) -> None:
        """Serve so many calls one after the other, so that the gate knows how long a slot is held."""
        for _ in range(calls):
            lease = self.take()
            self.clock.advance(seconds)
            lease.release()

    def drain(self) -> list[str]:
        """Let whoever holds a slot give it back, one after the other, until nobody waits; return who was served."""
        done = 0
        while done < len(self.order):
            lease = self.granted.get(self.order[done])
            done += 1
            if lease is not None and not lease.released:
                lease.release()
        return self.order

    def cool(self, key: str, seconds: float, model: str = "m") -> None:
        """Keep a key from a model for so long."""
        self.pool.failed(key, model, Failure(FailureClass.RATE_LIMITED, "429", retry_after_s=seconds))

    def go_to(self, at: float | None) -> None:
        """Let time pass to a moment, and a rounding error beyond."""
        assert at is not None
        self.clock.advance(max(0.0, at - self.clock()) + 1e-9)
        self.gate.poll()
