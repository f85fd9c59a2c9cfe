"""The circuit under any order of calls, outcomes and passing time, against a plain reading of its rules."""

from __future__ import annotations

from random import Random

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from trunkline_server.routing.circuit import Circuit, CircuitLimits, CircuitState, Permit
from trunkline_server.routing.clock import ManualClock

CLOSED, OPEN, HALF_OPEN, RAMPING = CircuitState
LIMITS = CircuitLimits()


class CircuitMachine(RuleBasedStateMachine):
    """A model that keeps every outcome and counts them anew each time agrees with the circuit."""

    def __init__(self) -> None:
        super().__init__()
        # Times are multiples of 1/8 s, which floats hold exactly and which are longer than a part of the window.
        self.clock = ManualClock(64.0)
        self.circuit = Circuit(LIMITS, clock=self.clock, rng=Random(5))
        self.rng = Random(5)
        self.state = CLOSED
        self.since = self.until = 0.0
        self.closed_at = -1e9
        self.doublings = 0
        self.outcomes: list[tuple[float, bool]] = []
        self.out: list[tuple[Permit, int]] = []
        """Attempts under way, with the number of the model's state in which they entered."""
        self.changes = 0
        self.probe: Permit | None = None
        self.picks = self.entered = 0
        """Of the present part of the ramp."""
        self.saved = 0.0
        self.forced = False

    # -- the model

    def _change(self, state: CircuitState, at: float, until: float = 0.0) -> None:
        self.state, self.since, self.until = state, at, until
        self.changes += 1
        self.outcomes.clear()
        self.probe = None
        self.saved = 0.0

    def _open(self, doublings: int) -> None:
        self.doublings = doublings
        now = self.clock()
        open_s = min(300.0, 5.0 * 2.0**doublings * self.rng.uniform(0.9, 1.1))
        self._change(OPEN, now, now + open_s)

    def _pass_time(self) -> None:
        if self.forced:
            return
        if self.state is OPEN and self.clock() >= self.until:
            self._change(HALF_OPEN, self.until)
        elif self.state is RAMPING and self.clock() >= self.until:
            self.closed_at = self.until
            self._change(CLOSED, self.until)

    def _percent(self) -> int:
        elapsed = self.clock() - self.since
        return 10 if elapsed < 2.0 else 25 if elapsed < 4.0 else 50

    def _must_open(self) -> bool:
        last = [failed for _, failed in self.outcomes[-20:]]
        recent = [failed for at, failed in self.outcomes if self.clock() - at < 10.0]
        in_row = len(self.outcomes) >= 5 and all(failed for _, failed in self.outcomes[-5:])
        return (
            sum(last) >= 16 or (len(recent) >= 20 and sum(recent) >= 0.5 * len(recent)) or (len(recent) < 20 and in_row)
        )

    def _book(self, permit: Permit, entered_in: int, *, failed: bool) -> None:
        if self.forced or entered_in != self.changes:
            return
        if self.state is CLOSED:
            self.outcomes.append((self.clock(), failed))
            if self._must_open():
                self._open(0 if self.clock() - self.closed_at >= 60.0 else self.doublings)
        elif self.state is HALF_OPEN and permit is self.probe:
            if failed:
                self._open(self.doublings + 1)
            else:
                self._change(RAMPING, self.clock(), self.clock() + 6.0)
        elif self.state is RAMPING and failed:
            self._open(self.doublings + 1)

    # -- what happens

    @rule(eighths=st.one_of(st.integers(0, 16), st.integers(16, 800)))
    def pass_time(self, eighths: int) -> None:
        """Let up to 100 s pass; changes that time brings are found whenever somebody looks."""
        self.clock.advance(eighths / 8)
        self._pass_time()

    @rule()
    def pass_until_the_next_change(self) -> None:
        """Let it come to the end of an open time or a ramp, in eighths of a second."""
        if self.state in {OPEN, RAMPING}:
            while self.clock() < self.until:
                self.clock.advance(0.125)
            self._pass_time()

    @rule(elsewhere=st.booleans())
    def call(self, *, elsewhere: bool) -> None:
        """Offer a call; one that could go elsewhere enters only if it is let in."""
        shut = self.state is OPEN or (self.state is HALF_OPEN and self.probe is not None)
        held = self.state is RAMPING and self.saved + self._percent() < 100
        assert (self.circuit.shut_because() is not None) == shut
        assert (self.circuit.held_because() is not None) == held
        if self.state is RAMPING:
            self.saved += self._percent()
        if elsewhere and (shut or held):
            self.circuit.pass_by()
            return
        permit = self.circuit.enter()
        if self.state is RAMPING:
            self.saved -= 100
        if self.state is HALF_OPEN and self.probe is None:
            self.probe = permit
        self.out.append((permit, self.changes))

    @rule(count=st.integers(1, 25), failed=st.booleans())
    def several_calls(self, count: int, *, failed: bool) -> None:
        """Make calls that end at once, all alike: runs and ratios come about that single steps seldom reach."""
        for _ in range(count):
            self.call(elsewhere=True)
            if self.out:
                self._tell(len(self.out) - 1, failed=failed)

    @precondition(lambda self: self.out)
    @rule(data=st.data(), failed=st.booleans())
    def ends(self, data: st.DataObject, *, failed: bool) -> None:
        """End any attempt under way, well or badly."""
        self._tell(data.draw(st.integers(0, len(self.out) - 1)), failed=failed)

    def _tell(self, index: int, *, failed: bool) -> None:
        permit, entered_in = self.out.pop(index)
        if failed:
            permit.failed()
        else:
            permit.succeeded()
            permit.succeeded()
        self._book(permit, entered_in, failed=failed)
        permit.ended()
        if permit is self.probe:
            self.probe = None

    @precondition(lambda self: self.out)
    @rule(data=st.data())
    def says_nothing(self, data: st.DataObject) -> None:
        """Cancel any attempt under way, or let it fail by its caller's doing."""
        permit, _ = self.out.pop(data.draw(st.integers(0, len(self.out) - 1)))
        permit.ended()
        if permit is self.probe:
            self.probe = None

    @rule(state=st.sampled_from([OPEN, CLOSED]))
    def force(self, state: CircuitState) -> None:
        """Let an operator hold it open or closed."""
        (self.circuit.force_open if state is OPEN else self.circuit.force_closed)()
        if not self.forced or self.state is not state:
            self._change(state, self.clock())
        self.forced = True

    @rule()
    def unforce(self) -> None:
        """Let the operator take that back."""
        self.circuit.unforce()
        if self.forced:
            self.forced = False
            self._change(HALF_OPEN if self.state is OPEN else CLOSED, self.clock())

    # -- what must hold

    @invariant()
    def they_agree(self) -> None:
        """Be in the state that the model is in."""
        assert self.circuit.forced == self.forced
        assert self.circuit.state is self.state
        assert self.circuit.calm == (self.state is CLOSED)


CircuitMachine.TestCase.settings = settings(max_examples=120, stateful_step_count=60, deadline=None)
TestCircuitMachine = CircuitMachine.TestCase
