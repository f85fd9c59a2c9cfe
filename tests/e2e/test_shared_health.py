"""What all callers share is safe from each of them: no circuit, budget, key or limit moves by a caller's own doing."""

from __future__ import annotations

import asyncio
import hashlib
import random
import time
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import grpc
import pytest
from tests.e2e.conftest import RETRIES_OFF, ask
from tests.e2e.mischief import BIG, FILTERED, MUTE, NARROW, STRICT, WAYS, Mischief
from tests.e2e.open_load import OpenLoad, quantile_ms, succeeded

from trunkline.v1 import CompletionServiceStub
from trunkline_server.routing.budget import SHARES
from trunkline_server.routing.circuit import CircuitState
from trunkline_server.routing.key_state import KeyStatus

if TYPE_CHECKING:
    from tests.e2e.conftest import Gateway, Gateways

pytestmark = pytest.mark.alone  # it measures times

Sized = Callable[..., int]

GOOD, BAD = "good", "bad"
TOKENS: Final = {GOOD: "token-of-the-good-caller", BAD: "token-of-the-bad-caller"}
BAD_PER_S: Final = 100
GOOD_PER_S: Final = 20
SMALL_WINDOW: Final = (("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 65_535))
"""Of a caller that takes little at a time: grpc's own window grows to megabytes, which would hide a slow reader."""
LOOK_EVERY_S: Final = 0.05
FIRST_BYTE_S: Final = 0.02
_CLASS_WIDTH: Final = 0.05
"""A quantile is off by at most so much."""

# One failure that counts opens a circuit, and one retry that is charged leaves the budget empty for ten seconds.
ROUTES: Final = """
version: 1
providers:
  one: &provider
    protocol: openai
    base_url: {base}
    keys: [{{id: a, secret: env:ONE_A_API_KEY}}, {{id: b, secret: env:ONE_B_API_KEY}}]
    circuit: {{recent_failures: 1, failures_in_row: 1, open_s: 60}}
    retry_budget: {{ratio: 0, recovering_ratio: 0, floor_per_s: 0.1}}
  two:
    protocol: openai
    base_url: {base}
    keys: [{{id: c, secret: env:TWO_C_API_KEY}}]
    circuit: {{recent_failures: 1, failures_in_row: 1, open_s: 60}}
    retry_budget: {{ratio: 0, recovering_ratio: 0, floor_per_s: 0.1}}
models:
  one/big: {{stall_s: 0.5}}
aliases:
  default:
    tiers: [[{{target: one/primary}}], [{{target: one/fallback}}], [{{target: two/last}}]]
    allow_prompted_continuation: true
  BIG: {{tiers: [[{{target: one/big}}], [{{target: one/fallback}}]]}}
  MUTE: {{tiers: [[{{target: one/mute}}], [{{target: one/fallback}}]]}}
  FILTERED: {{tiers: [[{{target: one/filtered}}], [{{target: one/filtered-too}}]], on_content_filtered: next_target}}
  STRICT: {{tiers: [[{{target: one/strict}}], [{{target: one/fallback}}]]}}
  NARROW: {{tiers: [[{{target: one/narrow}}], [{{target: one/fallback}}]]}}
callers:
  - {{id: good, token_sha256: GOOD_SHA, aliases: [default]}}
  - {{id: bad, token_sha256: BAD_SHA, aliases: [default, BIG, MUTE, FILTERED, STRICT, NARROW]}}
server: {{detach_s: 1}}
"""

SCENARIO: Final[dict[str, Any]] = {
    "default": {"first_byte_s": FIRST_BYTE_S, "chunk_gap_s": 0.01, "chunks": 5, "chunk_text": "word "},
    "models": {
        # 1.5 MiB, cut near its end: a break that a slow reader has put off, and that says nothing of the provider.
        "big": {"chunks": 384, "chunk_text": "x" * 4096, "chunk_gap_s": 0, "cut_after_chunks": 380},
        "mute": {"empty": "content", "finish_reason": "length"},
        "filtered": {"error": "content_policy_violation"},
        "filtered-too": {"finish_reason": "content_filter"},
        "strict": {"error": "bad_request"},
        "narrow": {"context_tokens": 20},
    },
}


def routes() -> str:
    """Return the routes with the names of the aliases and the callers' tokens in them."""
    text = ROUTES.replace("&provider", "")
    for name, alias in (("BIG", BIG), ("MUTE", MUTE), ("FILTERED", FILTERED), ("STRICT", STRICT), ("NARROW", NARROW)):
        text = text.replace(name, alias)
    for caller, token in TOKENS.items():
        text = text.replace(f"{caller.upper()}_SHA", hashlib.sha256(token.encode()).hexdigest())
    return text


def bearer(caller: str) -> tuple[tuple[str, str], ...]:
    """Return the metadata that a caller sends."""
    return (("authorization", f"Bearer {TOKENS[caller]}"),)


def readout(running: Gateway) -> dict[str, object]:
    """Return all that one caller could do to another through what they share."""
    read: dict[str, object] = {}
    for name, provider in running.live.snapshots.current.providers.items():
        for model, circuit in provider.circuits.items():
            read[f"circuit of {name}/{model}"] = (circuit.state, circuit.calm)
        read[f"budget of {name}"] = [told for each in SHARES if (told := provider.budget.refuses(each, GOOD))]
        read[f"limits of {name}"] = (provider.desk.gate.limits, provider.budget.limits)
        for key in provider.pool.states():
            read[f"key {name}/{key.id}"] = (key.status, key.reason, key.cooling)
    return read


def latencies(running: Gateway) -> dict[str, float]:
    """Return the quantiles, in seconds, that decisions about calls of the primary rest on."""
    latency = running.live.snapshots.current.providers["one"].latencies["primary"]
    found = {}
    for name, window in (("first content", latency.first_content), ("answer", latency.response)):
        for percent in (1, 50, 95):
            quantile = window.quantile(percent)
            assert quantile is not None, name
            found[f"{name} p{percent}"] = quantile
    return found


async def misbehave(mischief: Mischief, calls: int) -> None:
    """Begin the bad caller's calls by the clock, and wait for their ends."""
    began_at = time.monotonic()
    async with asyncio.TaskGroup() as group:
        for number in range(calls):
            await asyncio.sleep(began_at + number / BAD_PER_S - time.monotonic())
            group.create_task(mischief.one(number))


async def watch(running: Gateway, moved: list[tuple[str, object]]) -> None:
    """Note all that is not as it was at first, until cancelled: a budget forgets within seconds."""
    first = readout(running)
    while True:
        await asyncio.sleep(LOOK_EVERY_S)
        moved.extend(pair for pair in readout(running).items() if first.get(pair[0]) != pair[1])


async def test_nothing_shared_moves_by_a_callers_own_doing(gateway: Gateways, sized: Sized, rng: random.Random) -> None:
    """Whatever one caller does to its own calls, everything shared stays as it is, and the other's calls succeed."""
    calls = sized(full=5_000, gate=300)
    async with (
        gateway(SCENARIO, routes=routes()) as running,
        grpc.aio.insecure_channel(running.address, options=[*RETRIES_OFF, *SMALL_WINDOW]) as channel,
    ):
        load = OpenLoad(running.stub, lambda number: ask(f"call {number}"), GOOD_PER_S, bearer(GOOD))
        await load.offer(1)
        await load.rest()
        before, usual = readout(running), latencies(running)
        assert {value for name, value in before.items() if name.startswith("circuit")} == {(CircuitState.CLOSED, True)}
        moved: list[tuple[str, object]] = []
        mischief = Mischief(CompletionServiceStub(channel), bearer(BAD), rng)
        watching = asyncio.ensure_future(watch(running, moved))
        misbehaving = asyncio.ensure_future(misbehave(mischief, calls))
        good = await load.offer(calls / BAD_PER_S)
        await asyncio.gather(misbehaving, load.rest())
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        await running.quiet()
        _told(mischief.endings)
        print(
            f"{calls} calls of a bad caller; of {len(good)} beside them {succeeded(good):.1%} succeed, "
            f"p50 {quantile_ms(good, 50):.0f} ms, p99 {quantile_ms(good, 99):.0f} ms; "
            f"latencies {_in_ms(usual)} before, {_in_ms(latencies(running))} after"
        )
        forged = repr(running.live.snapshots.current.providers["one"].budget)
        assert ", 0 by libraries" not in forged, "what was forged was believed, and counts against its sender alone"
        assert not moved, moved[:10]
        assert readout(running) == before
        assert all(call.succeeded for call in good)
        assert all(call.targets == ("one/primary",) for call in good)
        _latencies_stand(usual, latencies(running))
        await _a_real_failure_moves_them(running, load, before)


def _told(endings: Counter[tuple[str, str]]) -> None:
    """Print how the bad caller's calls ended, and hold that each way did what it is for."""
    ways = {way: {end: count for (of, end), count in sorted(endings.items()) if of == way} for way in WAYS}
    print("\n" + "\n".join(f"  {way}: {ended}" for way, ended in ways.items()))
    for way in ("impatient_for_the_first_token", "is_refused", "reads_slowly"):
        assert "OK" not in ways[way], way
    for way in ("wants_one_token", "gets_nothing", "forges_retries"):
        assert set(ways[way]) == {"OK"}, way
    assert "DEADLINE_EXCEEDED" in ways["has_no_time"]
    assert "left" in {**ways["leaves"], **ways["impatient_and_gone"], **ways["leaves_a_stream_detached"]}
    assert not {"INTERNAL", "UNKNOWN"} & {end for _, end in endings}


def _in_ms(quantiles: dict[str, float]) -> str:
    return ", ".join(f"{name} {seconds * 1000:.0f} ms" for name, seconds in quantiles.items())


def _latencies_stand(usual: dict[str, float], now: dict[str, float]) -> None:
    """Hold that attempts which the caller cut short left no times behind, and its dawdling none either."""
    assert all(seconds >= FIRST_BYTE_S * (1 - _CLASS_WIDTH) for seconds in now.values()), now
    for name in ("first content p50", "answer p50"):
        # Callers, gateway and upstream share one loop here: with more to do it takes a little longer.
        assert now[name] <= 5 * usual[name], name


async def _a_real_failure_moves_them(running: Gateway, load: OpenLoad, before: dict[str, object]) -> None:
    """Show that the readout would have told: one failure of the provider's own is enough."""
    running.simulator.configure({"models": {"primary": {"status": 500}, "fallback": {"status": 401}}})
    await load.offer(1 / GOOD_PER_S)
    await load.rest()
    assert load.calls[-1].succeeded is False, "a rejected key ends it, as the alias says"
    after = readout(running)
    assert after["circuit of one/primary"] == (CircuitState.OPEN, False)
    assert after["budget of one"] != before["budget of one"]
    assert KeyStatus.QUARANTINED in {value[0] for name, value in after.items() if isinstance(value, tuple)}
