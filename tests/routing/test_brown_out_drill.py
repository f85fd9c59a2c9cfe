"""A brown-out in virtual time: 30 % of an only provider's calls fail, and retries ride it out or leave it alone."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

import pytest
from tests.conftest import Sized
from tests.routing.drill import ME, Drill

from trunkline_server.routing.failures import FailureClass

CALLS_PER_S = 100
FAILING = 0.3
CEILING = 1 - FAILING**3
"""What three attempts could save at best."""


def brown_out(
    failure_class: FailureClass,
    calls: int,
    seed: int,
    *,
    calls_per_s: int,
    callers: Sequence[tuple[str, bool]] = (ME,),
    began_s: float = 0.0,
) -> Drill:
    """Return how so many calls went in a brown-out: 30 % of a provider's calls fail soon, the others answer.

    The provider was healthy before. `began_s`: how long before these calls the brown-out began.
    """
    rng = random.Random(seed)
    failing = 0.0

    def upstream(_now: float, _target: str) -> tuple[float, FailureClass | None]:
        return (0.01, failure_class) if rng.random() < failing else (0.2, None)

    drill = Drill([{"p/m": 1.0}], upstream, rng, calls_per_s, callers)
    drill.run(10 * calls_per_s)
    failing = FAILING
    drill.run(int(began_s * calls_per_s))
    drill.run(calls)
    return drill


def at_least(share: float, calls: int) -> float:
    """Return a bar that is meant for many calls, for so many: three standard deviations below the ceiling at most."""
    return min(share, CEILING - 3 * math.sqrt(CEILING * (1 - CEILING) / calls))


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize(
    ("failure_class", "succeed_min", "per_call_max"),
    [
        pytest.param(FailureClass.SERVER_ERROR, 0.970, 1.45, id="500"),
        pytest.param(FailureClass.OVERLOADED, 0.77, 1.15, id="529"),
    ],
)
def test_a_brown_out(
    sized: Sized, failure_class: FailureClass, succeed_min: float, per_call_max: float, seed: int
) -> None:
    """After 500 most calls are saved by retries that mostly help; after 529 a retry is more load, and few are made."""
    calls = sized(full=50_000, gate=10_000)
    drill = brown_out(failure_class, calls, seed, calls_per_s=CALLS_PER_S)
    per_call = drill.made / calls
    print(f"\n{failure_class.value}: {drill.succeeded():.2%} of {calls} calls, {per_call:.3f} upstream each")
    assert drill.succeeded() >= at_least(succeed_min, calls)
    assert per_call <= per_call_max
    assert drill.opened["p/m"] == 0, "30 % open no circuit"


@pytest.mark.parametrize("seed", [1, 2])
def test_a_caller_that_forges_retries_takes_nothing_from_the_others(sized: Sized, seed: int) -> None:
    """Half of the calls say that a library sent them before: the other caller's are saved as if these did not come."""
    calls = sized(full=50_000, gate=10_000)
    callers = [("honest", False), ("forger", True)]
    drill = brown_out(FailureClass.SERVER_ERROR, calls, seed, calls_per_s=2 * CALLS_PER_S, callers=callers, began_s=20)
    honest, forger = drill.succeeded("honest"), drill.succeeded("forger")
    print(f"\n{honest:.2%} of the honest caller's calls succeed, {forger:.2%} of the forger's")
    assert honest >= at_least(0.970, calls // 2)
    assert forger < honest
