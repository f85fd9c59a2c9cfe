"""Ways through the failover machine, by example, that together take every action of every row of its table."""

from __future__ import annotations

from collections.abc import Callable

from tests.routing.machine_house import FULL, TRIED, F, MachineHouse, Reached

from trunkline_server.routing.aliases import AliasPolicy, HedgePolicy
from trunkline_server.routing.breaks import Shown
from trunkline_server.routing.types import OnBreak, Reason

HEDGED = AliasPolicy(hedge=HedgePolicy(enabled=True, max_extra=1.0))


def answers() -> Reached:
    house = MachineHouse(["a/m"])
    house.show()
    house.complete()
    house.begin()
    house.complete()
    return house.reached


def nobody_to_ask() -> Reached:
    house = MachineHouse(["a/m"], rejected=["a/m"])
    house.start()
    return house.reached


def stops() -> Reached:
    """Stop a request in each state."""
    house = MachineHouse(["a/m"], ["b/m"], policy=HEDGED)
    house.visits("b", 20)

    def back_off() -> None:
        house.begin()
        house.fail()
        house.none_free(FULL)

    def queue() -> None:
        house.start()
        house.none_free(FULL)

    def hedge() -> None:
        house.begin()
        house.slow()

    def race() -> None:
        hedge()
        house.dispatch(1)

    for get_there in (house.come, house.start, queue, back_off, house.begin, hedge, race, house.show):
        get_there()
        house.stop(Reason.CANCELLED)
    return house.reached


def queues() -> Reached:
    house = MachineHouse(["a/m", "b/m"], ["c/m"])
    house.start()
    house.none_free(FULL, FULL)
    house.refused()
    house.none_free(FULL)
    house.refused()
    house.start()
    house.none_free(FULL, FULL)
    house.dispatch()
    return house.reached


def late_grants() -> Reached:
    """Circuits open while requests wait for a slot: another target is tried, waited for, or there is none."""
    house = MachineHouse(["a/m", "b/m"])
    house.start()
    house.none_free(FULL, FULL)
    house.open_circuit("a/m")
    house.grant()
    reached = house.reached
    house = MachineHouse(["a/m"], ["b/m"])
    house.begin()
    house.fail()
    house.none_free(FULL)
    house.wake()
    house.open_circuit("a/m")
    house.grant()
    reached += house.reached
    house = MachineHouse(["a/m"], ["b/m"])
    house.begin()
    house.fail(F.PROTOCOL)
    house.none_free(FULL)
    house.open_circuit("b/m")
    house.grant(1)
    return reached + house.reached


def failures() -> Reached:
    house = MachineHouse(["a/m"], ["b/m"])
    house.begin()
    house.fail()
    house.none_free(FULL)
    house.wake()
    house.refused()
    house.begin()
    house.fail(F.RATE_LIMITED)
    house.dispatch(1)
    house.fail(retry_after_s=1000.0)
    house.begin()
    house.fail(F.CALLER_INVALID)
    house.begin()
    house.fail(F.PROTOCOL)
    house.none_free(TRIED)
    alone = MachineHouse(["a/m"])
    alone.begin()
    alone.fail()
    return house.reached + alone.reached


def breaks() -> Reached:
    house = MachineHouse(["a/m"], ["b/m", "c/m"], prefill=["b/m"])
    house.show(OnBreak.FAIL)
    house.fail(F.TRUNCATED)
    house.show(OnBreak.CONTINUE)
    house.fail(F.TRUNCATED, shown=Shown(nothing_left=True))
    house.show(OnBreak.CONTINUE)
    house.fail(F.TRUNCATED)
    house.none_free(TRIED)
    alone = MachineHouse(["a/m"])
    alone.show(OnBreak.RESTART)
    alone.fail(F.TRUNCATED)
    two = MachineHouse(["a/m"], ["b/m"])
    two.begin(OnBreak.RESTART)
    two.fail(F.RATE_LIMITED)
    two.dispatch(1)
    two.content()
    two.fail(retry_after_s=1000.0)
    return house.reached + alone.reached + two.reached


def hedges() -> Reached:
    house = MachineHouse(["a/m"], ["b/m"], policy=HEDGED)
    house.visits("b", 20)
    for end in (house.content, house.complete):
        house.begin()
        house.slow()
        house.none_free(FULL, FULL)
        house.slow()
        house.dispatch(1)
        end(2)
    house.begin()
    house.slow()
    house.dispatch(1)
    house.fail(attempt=1)
    house.slow()
    return house.reached


EXAMPLES: tuple[Callable[[], Reached], ...] = (
    answers,
    nobody_to_ask,
    stops,
    queues,
    late_grants,
    failures,
    breaks,
    hedges,
)
