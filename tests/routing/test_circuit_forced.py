"""What an operator says of a circuit holds until it is taken back, whatever time and outcomes say."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline_server.routing.circuit import Circuit, CircuitLimits, CircuitState
from trunkline_server.routing.clock import ManualClock

STEPS = st.lists(st.one_of(st.sampled_from(["succeeds", "fails"]), st.floats(0.0, 400.0)), max_size=60)


def make() -> tuple[Circuit, ManualClock]:
    clock = ManualClock(1000.0)
    return Circuit(CircuitLimits(), clock=clock, rng=Random(3)), clock


def attempts(circuit: Circuit, count: int, *, failed: bool) -> None:
    for _ in range(count):
        permit = circuit.enter()
        if failed:
            permit.failed()
        else:
            permit.succeeded()
        permit.ended()


def state_of(circuit: Circuit) -> CircuitState:
    return circuit.state


@given(open_=st.booleans(), steps=STEPS)
def test_neither_time_nor_outcomes_move_a_forced_circuit(*, open_: bool, steps: list[str | float]) -> None:
    """Whatever happens while a circuit is forced, it stays in the state that was asked for."""
    circuit, clock = make()
    (circuit.force_open if open_ else circuit.force_closed)()
    for step in steps:
        if isinstance(step, float):
            clock.advance(step)
        else:
            attempts(circuit, 1, failed=step == "fails")
        assert state_of(circuit) is (CircuitState.OPEN if open_ else CircuitState.CLOSED)
        assert circuit.calm is not open_


def test_a_circuit_that_is_held_open_says_by_whom() -> None:
    """Who is kept out by an operator is told so, and no time that nobody knows."""
    circuit, _ = make()
    circuit.force_open()
    assert circuit.shut_because() == "held open by an operator"


def test_what_was_held_open_comes_back_by_a_probe() -> None:
    """The end of a forced opening is that of any other: one probe, then a ramp."""
    circuit, _ = make()
    circuit.force_open()
    circuit.unforce()
    assert state_of(circuit) is CircuitState.HALF_OPEN
    attempts(circuit, 1, failed=False)
    assert state_of(circuit) is CircuitState.RAMPING


def test_what_was_held_closed_counts_anew() -> None:
    """Failures during a forced closing open nothing once it ends, and those that come afterwards do."""
    circuit, _ = make()
    circuit.force_closed()
    attempts(circuit, 100, failed=True)
    late = circuit.enter()
    circuit.unforce()
    late.failed()
    attempts(circuit, 4, failed=True)
    assert state_of(circuit) is CircuitState.CLOSED
    attempts(circuit, 1, failed=True)
    assert state_of(circuit) is CircuitState.OPEN


def test_an_open_circuit_can_be_forced_closed_and_back() -> None:
    """The last word counts, whatever came before it."""
    circuit, _ = make()
    attempts(circuit, 5, failed=True)
    circuit.force_closed()
    assert circuit.calm
    circuit.force_open()
    assert state_of(circuit) is CircuitState.OPEN


@pytest.mark.parametrize("forced", [True, False])
def test_new_limits_leave_a_forced_opening_as_it_is(*, forced: bool) -> None:
    """A reload that shortens openings does not end one that an operator holds."""
    circuit, clock = make()
    if forced:
        circuit.force_open()
    else:
        attempts(circuit, 5, failed=True)
    circuit.retune(CircuitLimits(open_s=1.0, open_max_s=1.0))
    clock.advance(2.0)
    assert state_of(circuit) is (CircuitState.OPEN if forced else CircuitState.HALF_OPEN)


def test_taking_back_what_was_not_said_changes_nothing() -> None:
    """An open circuit that nobody forced stays open when an override is cleared."""
    circuit, _ = make()
    attempts(circuit, 5, failed=True)
    circuit.unforce()
    assert state_of(circuit) is CircuitState.OPEN
    assert not circuit.forced
