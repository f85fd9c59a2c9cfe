"""An outage in virtual time, of a primary with others beside it, and of an only provider."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from tests.routing.drill import Drill, Upstream

from trunkline_server.routing.circuit import Circuit, CircuitLimits, CircuitState
from trunkline_server.routing.clock import ManualClock
from trunkline_server.routing.failures import FailureClass

CALLS_PER_S = 200
BREAKS_AT, RETURNS_AT, ENDS_AT = 20.0, 50.0, 80.0
ANSWER_S = 0.2

OUTAGES = {
    "503": (FailureClass.OVERLOADED, 0.005),
    "refused": (FailureClass.CONNECT, 0.001),
    "silent": (FailureClass.FIRST_TOKEN_TIMEOUT, 0.5),
}


def breaking(outage: tuple[FailureClass, float]) -> Upstream:
    """Return upstreams that answer, but for `p/m` during the outage."""

    def upstream(now: float, target: str) -> tuple[float, FailureClass | None]:
        if target == "p/m" and BREAKS_AT <= now < RETURNS_AT:
            return outage[1], outage[0]
        return ANSWER_S, None

    return upstream


@pytest.mark.parametrize("outage", OUTAGES)
@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize(
    ("tiers", "share"),
    [([{"p/m": 1.0}, {"f/m": 1.0}], 1.0), ([{"p/m": 3.0, "q/m": 1.0}], 0.75)],
    ids=["a fallback tier", "a neighbour in its tier"],
)
def test_an_outage_of_30_s(tiers: list[dict[str, float]], share: float, seed: int, outage: str) -> None:
    """A dead target gets few calls, costs nobody an answer, and is back within 20 s of its return, without a spike."""
    drill = Drill(tiers, breaking(OUTAGES[outage]), random.Random(seed), CALLS_PER_S)
    drill.run(int(ENDS_AT * CALLS_PER_S))
    assert drill.succeeded() == 1.0
    assert all(circuit.state is CircuitState.CLOSED for circuit in drill.circuits.values())
    per_s = CALLS_PER_S * share
    assert drill.calls("p/m", BREAKS_AT - 5, BREAKS_AT) == 5 * per_s
    # Answers of calls from before are still coming in between the failures.
    last_word_s = max(ANSWER_S, OUTAGES[outage][1])
    assert drill.calls("p/m", BREAKS_AT, BREAKS_AT + 1) <= 16 + per_s * last_word_s + 2
    assert drill.calls("p/m", BREAKS_AT + 1, RETURNS_AT) <= 5, "probes: the bar is 3 % of the calls"
    assert drill.calls("p/m", RETURNS_AT + 20, ENDS_AT) == per_s * (ENDS_AT - RETURNS_AT - 20)
    for tenth in range(int(RETURNS_AT * 10), int(ENDS_AT * 10)):
        assert drill.calls("p/m", tenth / 10, tenth / 10 + 1.0) <= per_s + 2, f"a spike at {tenth / 10} s"
    ramp = [second for second in range(50, 80) if 0 < drill.calls("p/m", second, second + 1) < per_s]
    assert 5 <= len(ramp) <= 8, ramp


@pytest.mark.parametrize("failure_class", [FailureClass.SERVER_ERROR, *(each for each, _ in OUTAGES.values())])
def test_an_outage_of_an_only_provider(failure_class: FailureClass) -> None:
    """With nowhere else to go circuits are ignored; the budget holds retries at a tenth of the calls and 3 a second."""
    drill = Drill([{"p/m": 1.0}], lambda _now, _target: (0.005, failure_class), random.Random(1), CALLS_PER_S)
    drill.run(30 * CALLS_PER_S)
    per_call = drill.made / (30 * CALLS_PER_S)
    print(f"{failure_class.value}: {per_call:.3f} upstream calls for each one offered")
    assert 1.0 <= per_call <= 1.0 + 0.1 + 3.0 / CALLS_PER_S + 0.01
    assert drill.succeeded() == 0.0
    assert drill.opened["p/m"] > 0


def test_a_flapping_target_is_left_alone_for_longer_each_time() -> None:
    """A target that fails each time that it is back gets fewer and fewer calls."""
    clock = ManualClock()
    circuit = Circuit(CircuitLimits(), clock=clock, rng=random.Random(7))
    opened: list[float] = []
    for _ in range(400 * CALLS_PER_S):
        clock.advance(1 / CALLS_PER_S)
        if circuit.shut_because() is None and circuit.held_because() is None:
            was = circuit.state
            permit = circuit.enter()
            if was is CircuitState.HALF_OPEN:
                permit.succeeded()
            else:
                permit.failed()
                if circuit.state is CircuitState.OPEN:
                    opened.append(clock())
        else:
            circuit.pass_by()
    gaps = [later - earlier for earlier, later in pairwise(opened)]
    assert len(gaps) == 6
    assert all(1.5 < longer / shorter < 2.5 for shorter, longer in pairwise(gaps)), gaps
