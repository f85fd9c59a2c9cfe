"""Sized drills of the gate in virtual time: a noisy neighbour, a burst, and an overload that lasts."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from random import Random

import pytest
from tests.routing.gate_drill import Call, Drill, poisson, quantile

from trunkline_server.routing.gate import AdaptiveLimits, GateLimits
from trunkline_server.routing.types import Criticality, Reason


@pytest.mark.parametrize("slots", ["equal", "spread"])
@pytest.mark.parametrize("noise", ["steady", "in bursts"])
def test_a_noisy_neighbour_costs_the_quiet_ones_next_to_nothing(noise: str, slots: str) -> None:
    """One caller at 50 times its share: nine quiet ones lose no call, and wait at most two fair turns (p95)."""
    limit, slot_s, seconds, rng = 20, 1.0, 120.0, Random(11)
    share_per_s = limit / slot_s / 10

    def slot() -> float:
        return slot_s if slots == "equal" else rng.uniform(0.5, 1.5) * slot_s

    def call(at: float, caller: str) -> Call:
        return Call(at, slot(), at + 10.0, caller, tokens=1000)

    calls = [call(at, f"quiet-{number}") for number in range(9) for at in poisson(rng, share_per_s / 2, seconds)]
    if noise == "steady":
        calls += [call(at, "noisy") for at in poisson(rng, 50 * share_per_s, seconds)]
    else:
        calls += [call(float(at), "noisy") for at in range(int(seconds)) for _ in range(int(50 * share_per_s))]
    drill = Drill(GateLimits(limit, queue=100, max_wait_s=5.0), upstream_limit=limit)
    drill.play(sorted(calls, key=lambda call: call.at))
    quiet = [call for call in calls if call.caller != "noisy"]
    lost = [call for call in quiet if call.finished_at is None]
    fair_turn_s = 10 * slot_s / limit
    p95_s = quantile([call.waited_s for call in quiet if call.dispatched_at is not None], 0.95)
    served = sum(call.ended_by(seconds) for call in calls) / (limit / slot_s * seconds)
    print(
        f"noisy neighbour ({noise}, slots {slots}): quiet lost {len(lost)} of {len(quiet)}, "
        f"p95 wait {p95_s:.3f} s = {p95_s / fair_turn_s:.2f} fair turns, {served:.1%} of the capacity used"
    )
    assert not lost
    assert p95_s <= 2 * fair_turn_s
    assert served >= 0.98


@pytest.mark.parametrize("seed", range(3))
def test_a_burst_is_spread_evenly(seed: int) -> None:
    """2,000 requests in 10 ms go at 100 a second; exactly those are let in that fit their deadlines."""
    rng = Random(seed)
    arrivals = sorted(rng.uniform(0.0, 0.01) for _ in range(2000))
    calls = [Call(at, 0.5, at + rng.choice([60.0, rng.uniform(0.5, 25.0)])) for at in arrivals]
    drill = Drill(GateLimits(200, queue=2000, max_wait_s=25.0, dispatches_per_s=100.0, burst=2))
    drill.play(calls)
    dispatches = sorted(call.dispatched_at for call in calls if call.dispatched_at is not None)
    widest = max(bisect_left(dispatches, at + 0.1) - place for place, at in enumerate(dispatches))
    refused = [call for call in calls if call.refused_at == call.at]
    kept = [call for call in calls if call.refused_at != call.at]
    late = [call for call in kept if call.dispatched_at is None or call.dispatched_at > call.deadline_at]
    # The one who refuses nobody wrongly: first come, first served, whoever can be dispatched in time is.
    let_in, expected = 0, set[int]()
    for number, call in enumerate(calls):
        turn_at = max(call.at, calls[0].at + max(0, let_in - 1) / 100.0)
        if turn_at < call.deadline_at:
            let_in += 1
            expected.add(number)
    wrong = [call for number, call in enumerate(calls) if (number in expected) != (call.dispatched_at is not None)]
    print(
        f"burst: {len(dispatches)} dispatched, {len(refused)} refused at the door, at most {widest} in 100 ms, "
        f"{len(late)} kept that did not fit, {len(wrong)} decided otherwise than by hindsight"
    )
    assert widest <= 12
    assert not late
    assert not wrong
    assert {call.refusal.reason for call in refused if call.refusal is not None} == {Reason.DEADLINE_IN_QUEUE}


def test_a_burst_with_one_deadline_for_all_is_served_to_the_last_that_fits() -> None:
    """Although the oldest have waited almost all that they may, nobody who fits is lost for the order's sake."""
    calls = [Call(number * 5e-6, 0.5, number * 5e-6 + 10.0) for number in range(2000)]
    drill = Drill(GateLimits(200, queue=2000, max_wait_s=25.0, dispatches_per_s=100.0, burst=2))
    drill.play(calls)
    served = sum(call.dispatched_at is not None for call in calls)
    print(f"burst with one deadline: {served} of 2000 dispatched within 10 s")
    assert served in {1000, 1001, 1002}
    assert all(call.refused_at in {None, call.at} for call in calls)


@pytest.mark.parametrize("deadlines", [2.0, 1.0])
@pytest.mark.parametrize("callers", [1, 5])
def test_twice_the_load_for_a_minute(callers: int, deadlines: float) -> None:
    """What is more important loses nothing, the capacity is used, and nothing is served that waited for long."""
    limit, slot_s, max_wait_s, seconds, rng = 10, 0.5, 5.0, 60.0, Random(3)
    capacity_per_s = limit / slot_s

    def load(criticality: Criticality, share: float) -> list[Call]:
        return [
            Call(
                at,
                rng.uniform(0.5, 1.5) * slot_s,
                at + deadlines * max_wait_s,
                f"{criticality.name} {rng.randrange(callers)}",
                criticality,
            )
            for at in poisson(rng, share * capacity_per_s, seconds)
        ]

    calls = load(Criticality.CRITICAL, 0.8) + load(Criticality.SHEDDABLE, 1.2)
    drill = Drill(GateLimits(limit, queue=50, max_wait_s=max_wait_s), upstream_limit=limit)
    drill.play(sorted(calls, key=lambda call: call.at))
    served = [call for call in calls if call.finished_at is not None]
    in_time = [call for call in served if call.ended_by(min(call.deadline_at, seconds))]
    median_s = quantile([call.waited_s for call in served], 0.5)
    lost = [call for call in calls if call.criticality is Criticality.CRITICAL and call.finished_at is None]
    reasons = Counter(call.refusal.reason.value for call in calls if call.refusal is not None)
    share = len(in_time) / (capacity_per_s * seconds)
    print(
        f"overload at 2 x ({callers} callers a level, deadlines {deadlines:g} x max_wait_s): "
        f"{share:.1%} of the capacity met its deadline, median wait {median_s:.3f} s = {median_s / max_wait_s:.3f} of "
        f"max_wait_s, CRITICAL lost {len(lost)}, upstream refusals {drill.upstream_refusals}, refused {dict(reasons)}"
    )
    assert share >= 0.95
    assert median_s <= max_wait_s / 4
    assert not lost
    assert drill.upstream_refusals == 0
    assert all(call.dispatched_at is None or call.dispatched_at < call.deadline_at for call in calls)


def test_one_caller_with_twice_the_load_is_mostly_served_fresh() -> None:
    """A flow that stands goes newest first: half of those served waited briefly, and none of the capacity is lost."""
    limit, slot_s, max_wait_s, seconds, rng = 10, 0.5, 5.0, 120.0, Random(5)
    calls = [Call(at, rng.uniform(0.5, 1.5) * slot_s, at + 10.0) for at in poisson(rng, 2 * limit / slot_s, seconds)]
    drill = Drill(GateLimits(limit, queue=500, max_wait_s=max_wait_s))
    drill.play(calls)
    served = [call for call in calls if call.finished_at is not None]
    median_s = quantile([call.waited_s for call in served], 0.5)
    share = sum(call.ended_by(seconds) for call in calls) / (limit / slot_s * seconds)
    print(f"one flow at 2 x: {share:.1%} of the capacity used, median wait {median_s / max_wait_s:.3f} of max_wait_s")
    assert share >= 0.98
    assert median_s <= max_wait_s / 4


def test_an_adaptive_limit_finds_what_the_provider_bears() -> None:
    """A provider of 20 at a time, behind a limit of 100: soon few of its answers are refusals, and it is kept busy."""
    bears, slot_s, seconds, rng = 20, 0.5, 120.0, Random(9)
    calls = [Call(at, rng.uniform(0.5, 1.5) * slot_s, at + 10.0) for at in poisson(rng, 1.5 * bears / slot_s, seconds)]
    limits = GateLimits(100, queue=50, max_wait_s=5.0, adaptive=AdaptiveLimits(5, 200))
    drill = Drill(limits, upstream_limit=bears, overload_s=0.02)
    drill.play(calls)
    half = seconds / 2
    served = sum(call.finished_at is not None and half < call.finished_at <= seconds for call in calls)
    refused = sum(at > half for at, _ in drill.limits_seen)
    late = [limit for at, limit in drill.limits_seen if half < at < seconds]
    print(
        f"adaptive: {served / (bears / slot_s * half):.1%} of the capacity used in the second half, "
        f"{refused / (served + refused):.1%} refused upstream, limit {min(late)} to {max(late)} where it refused"
    )
    assert served >= 0.9 * bears / slot_s * half
    assert refused <= 0.1 * served
    assert max(late) <= 1.25 * bears
