"""A gate in virtual time: calls that arrive, wait, hold a slot for a while, and what became of each."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import count
from random import Random

from trunkline_server.routing.clock import ManualClock
from trunkline_server.routing.gate import Gate, GateLimits
from trunkline_server.routing.key_pool import KeyPool, KeySpec
from trunkline_server.routing.lease import Lease
from trunkline_server.routing.types import Criticality, Refusal

NOBODY: frozenset[str] = frozenset()


@dataclass(slots=True, eq=False)
class Call:
    """One call and its story; times are seconds of the drill."""

    at: float
    slot_s: float
    deadline_at: float
    caller: str = ""
    criticality: Criticality = Criticality.CRITICAL
    tokens: int = 0
    dispatched_at: float | None = None
    finished_at: float | None = None
    refused_at: float | None = None
    refusal: Refusal | None = None

    @property
    def waited_s(self) -> float:
        """Time from its arrival to its dispatch."""
        assert self.dispatched_at is not None
        return self.dispatched_at - self.at

    def ended_by(self, at: float) -> bool:
        """Return whether it was served to its end by then."""
        return self.finished_at is not None and self.finished_at <= at


class Drill:
    """Plays calls against one gate, from the first arrival until nothing is left to happen."""

    def __init__(
        self, limits: GateLimits, *, upstream_limit: int | None = None, overload_s: float | None = None
    ) -> None:
        """`overload_s`: the provider answers so soon that it is overloaded, beyond its limit; None: it only counts."""
        self.clock = ManualClock()
        self.pool = KeyPool("p", [KeySpec("k", 1)], clock=self.clock, rng=Random(1))
        self.gate = Gate("p", limits, self.pool, clock=self.clock)
        self.calls: list[Call] = []
        self.upstream_refusals = 0
        self.limits_seen: list[tuple[float, int]] = []
        """When the provider refused, and the gate's limit after it."""
        self._upstream_limit = upstream_limit
        self._overload_s = overload_s
        self._agenda: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = count()
        self._upstream = 0

    def play(self, calls: list[Call]) -> None:
        """Let every call arrive, and run until the last one has ended."""
        self.calls = calls
        for call in calls:
            self.at(call.at, partial(self._arrive, call))
        while self._agenda or self.gate.waiting:
            event_at = self.gate.next_event_at()
            if self._agenda and (event_at is None or self._agenda[0][0] <= event_at):
                at, _, act = heapq.heappop(self._agenda)
                self._go_to(at)
                act()
            else:
                assert event_at is not None
                self._go_to(event_at)
                self.gate.poll()
        assert self.gate.in_flight == self.pool.in_flight == 0

    def at(self, at: float, act: Callable[[], None]) -> None:
        """Do something at a time of the drill."""
        heapq.heappush(self._agenda, (at, next(self._numbers), act))

    def _go_to(self, at: float) -> None:
        while self.clock() < at:
            # A rounding error may leave the clock short of it by the last digit.
            self.clock.advance(max(at - self.clock(), 1e-12))

    def _arrive(self, call: Call) -> None:
        tokens, caller, criticality = call.tokens, call.caller, call.criticality
        lease = self.gate.try_take("m", NOBODY, tokens=tokens, caller=caller, criticality=criticality)
        if lease is not None:
            self._dispatch(call, lease)
            return
        answer = self.gate.join(
            "m",
            NOBODY,
            deadline_at=call.deadline_at,
            on_grant=lambda lease: self._dispatch(call, lease),
            on_refused=lambda refusal: self._refuse(call, refusal),
            tokens=tokens,
            caller=caller,
            criticality=criticality,
        )
        if isinstance(answer, Refusal):
            self._refuse(call, answer)

    def _dispatch(self, call: Call, lease: Lease) -> None:
        call.dispatched_at = self.clock()
        self._upstream += 1
        if self._upstream_limit is not None and self._upstream > self._upstream_limit:
            self.upstream_refusals += 1
            if self._overload_s is not None:
                self._upstream -= 1
                self.at(self.clock() + self._overload_s, lambda: self._overloaded(lease))
                return
        self.at(self.clock() + call.slot_s, lambda: self._finish(call, lease))

    def _finish(self, call: Call, lease: Lease) -> None:
        self._upstream -= 1
        call.finished_at = self.clock()
        self.gate.succeeded(lease)
        lease.release()

    def _overloaded(self, lease: Lease) -> None:
        self.gate.overloaded(lease)
        self.limits_seen.append((self.clock(), self.gate.limit))
        lease.release()

    def _refuse(self, call: Call, refusal: Refusal) -> None:
        assert call.dispatched_at is None
        assert call.refusal is None
        call.refused_at, call.refusal = self.clock(), refusal


def poisson(rng: Random, per_s: float, seconds: float) -> list[float]:
    """Return random arrival times at this rate."""
    times, at = list[float](), rng.expovariate(per_s)
    while at < seconds:
        times.append(at)
        at += rng.expovariate(per_s)
    return times


def quantile(values: list[float], share: float) -> float:
    """Return the value below which this share lies."""
    return sorted(values)[min(int(share * len(values)), len(values) - 1)]
