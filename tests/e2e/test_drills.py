"""Drills over HTTP: a brown-out is ridden out, an outage is left alone, and neither becomes larger by our retries."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import pytest
from tests.e2e.conftest import ask
from tests.e2e.open_load import Offered, OpenLoad, attempts_at, attempts_for, quantile_ms, succeeded

from trunkline_server.routing.circuit import CircuitState
from trunkline_server.simulator.server import Simulator

if TYPE_CHECKING:
    from tests.e2e.conftest import Gateway, Gateways

pytestmark = pytest.mark.alone  # it measures times

Sized = Callable[..., int]

BROWN_ROUTES: Final = """
version: 1
providers:
  one:
    protocol: openai
    base_url: {base}
    keys: [{{id: a, secret: env:ONE_A_API_KEY}}]
aliases:
  default:
    tiers: [[{{target: one/primary}}]]
"""
"""All as it is by default: retry budget, circuit, three attempts, nobody else to go to."""

BROWN_PER_S: Final = 100
BROWN_SEED: Final = 94
"""Of dice that fail 30 % (29.6 to 30.2 %) of as many calls as each of the drills makes: some seeds fail 33 %."""
RATIO: Final = 0.1
FLOOR: Final = 3 * 10
"""What the default budget allows besides its share, in any ten seconds."""

ANSWER: Final[dict[str, Any]] = {"chunks": 5, "chunk_text": "word "}


def brown_out(status: int) -> dict[str, Any]:
    """Return a provider that fails 30 % of what it gets, by fixed dice."""
    return {
        "seed": BROWN_SEED,
        "default": ANSWER,
        "rules": [{"model": "primary", "probability": 0.3, "fault": {"status": status}}],
    }


@pytest.mark.parametrize("status", [500, 529])
async def test_a_brown_out(gateway: Gateways, sized: Sized, status: int) -> None:
    """30 % failures and no fallback: of 500s nearly all are ridden out, after 529s the provider is spared."""
    seconds = sized(full=20, gate=4)
    async with gateway(brown_out(status), routes=BROWN_ROUTES) as running:
        load = OpenLoad(running.stub, lambda number: ask(f"call {number}"), BROWN_PER_S)
        offered = await load.offer(seconds)
        await load.rest()
        await running.quiet()
        upstream = running.simulator.stats.requests
    share, each = succeeded(offered), upstream / len(offered)
    print(
        f"\nbrown-out, 30 % {status}, {len(offered)} calls in {seconds} s: {share:.1%} succeed, "
        f"{each:.3f} upstream calls a call, "
        f"p50 {quantile_ms(offered, 50):.0f} ms, p99 {quantile_ms(offered, 99):.0f} ms"
    )
    assert attempts_for(offered) == upstream, "every upstream call stands in the books of the call it was made for"
    if status == 500:
        # The ceiling of three attempts is 97.3 %. Which calls the failures fall on differs from run to run: of the
        # gate's 400 calls 96 % would be less than two standard deviations below that, 94 % is four.
        assert share >= (0.96 if seconds == 20 else 0.94)
        assert each <= 1.45
    else:
        # The floor, 3 a second over ten seconds, may be spent at once: it weighs the more the fewer the calls are.
        assert each <= (1.15 if seconds == 20 else 1 + RATIO + FLOOR / len(offered))
        assert share >= (0.77 if seconds == 20 else 0.76)


OUTAGE_ROUTES: Final = """
version: 1
providers:
  dead:
    protocol: openai
    base_url: BASE_OF_DEAD
    keys: [{{id: a, secret: env:ONE_A_API_KEY}}]
    timeouts: {{first_token_s: 0.5, response_s: 0.5}}
    circuit: {{CIRCUIT}}
  live:
    protocol: openai
    base_url: {base}
    keys: [{{id: c, secret: env:TWO_C_API_KEY}}]
aliases:
  default:
    tiers: TIERS
    # Refused connections begin with reset ones: a stream that one of them breaks starts anew, and its caller is told.
    on_break: RESTART
"""

TIERS: Final = {
    "tier": "[[{{target: dead/primary}}], [{{target: live/fallback}}]]",
    "weights": "[[{{target: dead/primary, weight: 3}}, {{target: live/second}}], [{{target: live/fallback}}]]",
}
WEIGHT: Final = {"tier": 1.0, "weights": 0.75}
DEAD: Final = "dead/primary"


@dataclass(frozen=True, slots=True)
class Size:
    """The load; how long each phase lasts; the circuit; which share of its weight may be back in the first second."""

    per_s: int
    warm_up_s: float
    outage_s: float
    recovery_s: float
    circuit: str
    first_share: float


FULL: Final = Size(200, 5, 30, 20, "", 0.2)
"""The circuit as it is by default: 10 % for the first two seconds."""
GATE: Final = Size(100, 1, 3, 5, "open_s: 0.5, open_max_s: 1, ramp_s: 1.5", 0.4)
"""Half the load: callers, gateway and upstreams share one loop, and more than 0.5 s on it is a failure of the primary.
10 and 25 % for half a second each; on a busy machine a second's calls may take a little longer than that."""


async def _answers_503(dead: Simulator) -> None:
    dead.configure({"default": {"status": 503}})


async def _refuses(dead: Simulator) -> None:
    await dead.refuse()


async def _falls_silent(dead: Simulator) -> None:
    dead.configure({"default": {"first_byte_s": 60}})


BREAKS: Final = {"503": _answers_503, "refused": _refuses, "silent": _falls_silent}


@dataclass(slots=True)
class Drill:
    """The calls of each phase."""

    per_s: int
    lateness: str = ""
    """Of the load: on a machine that is too busy for it there is no telling whose failure it is."""
    warm_up: Sequence[Offered] = ()
    outage: Sequence[Offered] = ()
    recovery: Sequence[Offered] = ()


@asynccontextmanager
async def stage(gateway: Gateways, shape: str, size: Size) -> AsyncIterator[tuple[Gateway, Simulator]]:
    """Run a gateway in front of two upstreams: the one that will fail, and the one that stays well."""
    async with Simulator({"default": ANSWER}) as dead:
        routes = OUTAGE_ROUTES.replace("BASE_OF_DEAD", dead.base_url).replace("CIRCUIT", size.circuit)
        async with gateway({"default": ANSWER}, routes=routes.replace("TIERS", TIERS[shape])) as running:
            yield running, dead


async def drilled(running: Gateway, dead: Simulator, how: str, size: Size) -> Drill:
    """Warm up, break the primary, mend it, and return what became of the calls."""
    drill = Drill(size.per_s)
    load = OpenLoad(running.stub, lambda number: ask(f"call {number}"), size.per_s)
    await load.offer(1 / size.per_s)
    await load.rest()  # connected
    dead.stats.reset()
    drill.warm_up = await load.offer(size.warm_up_s)
    await BREAKS[how](dead)
    drill.outage = await load.offer(size.outage_s)
    dead.configure({"default": ANSWER})
    await dead.refuse(on=False)
    drill.recovery = await load.offer(size.recovery_s)
    await load.rest()
    drill.lateness = load.lateness
    return drill


def shares(calls: Sequence[Offered], window: int, step: int = 1) -> list[float]:
    """Return which part of the calls of each window of so many calls went to the primary."""
    return [
        attempts_at(DEAD, calls[first : first + window]) / window for first in range(0, len(calls) - window + 1, step)
    ]


@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    ("how", "shape"), [("503", "tier"), ("refused", "tier"), ("silent", "tier"), ("503", "weights")]
)
async def test_an_outage(gateway: Gateways, sized: Sized, how: str, shape: str) -> None:
    """The callers hardly notice, the dead one is left alone, and it gets its share back in steps, never more."""
    size = FULL if sized(full=55, gate=9) == 55 else GATE
    began_at = time.monotonic()
    async with stage(gateway, shape, size) as (running, dead):
        drill = await drilled(running, dead, how, size)
        await running.quiet()
        await asyncio.wait_for(dead.until(lambda stats: stats.in_flight == 0), 5)
        circuit = running.live.snapshots.current.providers["dead"].circuits["primary"]
        calls = [*drill.warm_up, *drill.outage, *drill.recovery]
        if how != "refused":
            assert attempts_at(DEAD, calls) == dead.stats.requests, "every one stands in the books of its call"
        assert circuit.state is CircuitState.CLOSED
    per_s, after = size.per_s, drill.outage[size.per_s :]
    weight, back = WEIGHT[shape], shares(drill.recovery, per_s)
    normal_at = next((first for first, share in enumerate(back) if share >= 0.98 * weight), len(back))
    took_s = time.monotonic() - began_at
    print(f"\noutage, {how}, {shape}, {len(calls)} calls in {took_s:.0f} s, {drill.lateness}: {told(drill)}; "
          f"normal share {normal_at / per_s:.1f} s after its return")  # fmt: skip
    assert {round(share, 2) for share in shares(drill.warm_up, per_s, step=per_s)} == {weight}, drill.lateness
    assert succeeded([*drill.outage, *drill.recovery]) >= 0.999
    assert attempts_at(DEAD, after) <= 0.03 * len(after)
    # No 1 s window above its weight, which a weighted order keeps to within one call; then all of it, to stay.
    assert max(back) <= weight + 1 / per_s
    assert normal_at < len(back)
    assert min(back[normal_at:]) >= 0.98 * weight
    first = next(number for number, call in enumerate(drill.recovery) if DEAD in call.targets)
    assert back[first] <= size.first_share * weight, "the ramp holds it back at first"


def told(drill: Drill) -> str:
    """Return the figures of a drill."""
    per_s, after = drill.per_s, drill.outage[drill.per_s :]
    back = " ".join(f"{share:.0%}" for share in shares(drill.recovery, per_s, step=per_s))
    return (
        f"{succeeded([*drill.outage, *drill.recovery]):.2%} succeed; in the outage "
        f"p50 {quantile_ms(drill.outage, 50):.1f} ms, p99 {quantile_ms(drill.outage, 99):.0f} ms; to the dead one "
        f"{attempts_at(DEAD, drill.outage[:per_s])} calls in the first second, then {attempts_at(DEAD, after)} of "
        f"{len(after)} ({attempts_at(DEAD, after) / len(after):.2%}); its share after its return, by second: {back}"
    )
