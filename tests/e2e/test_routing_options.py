"""What a request may say of its route, over the wire: each option's effect, its refusal, and Explain's word of it."""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from tests.e2e.conftest import ask
from tests.e2e.routed import explain, order_of, refused, routed, until

from trunkline.v1 import (
    CRITICALITY_CRITICAL,
    CRITICALITY_CRITICAL_PLUS,
    CRITICALITY_SHEDDABLE,
    FunctionTool,
    RoutingOptions,
    Sampling,
    Tool,
)
from trunkline_server.routing.circuit import CircuitState
from trunkline_server.routing.types import Caller

if TYPE_CHECKING:
    from tests.e2e.conftest import Gateway, Gateways

CODE = grpc.StatusCode
ANYBODY = Caller("anybody")
BEARER = (("authorization", "Bearer checkout"),)
DIGEST = hashlib.sha256(b"checkout").hexdigest()

ROUTES = """
version: 1
providers:
  one:
    protocol: openai
    base_url: {base}
    keys: [{{id: a, secret: env:ONE_A_API_KEY}}]
    circuit: {{recent: 1, recent_failures: 1, open_s: 0.3, ramp_s: 0.1}}
  two:
    protocol: openai
    base_url: {base}
    keys: [{{id: c, secret: env:TWO_C_API_KEY}}]
models:
  one/dear: {{input_usd_per_million: 10, output_usd_per_million: 30, regions: [us], capabilities: [tools, vision]}}
  two/cheap: {{input_usd_per_million: 0.1, output_usd_per_million: 0.3, regions: [eu], capabilities: [vision]}}
  one/small: {{context_tokens: 2000}}
  two/large: {{context_tokens: 20000}}
aliases:
  default: {{tiers: [[one/dear], [two/cheap]]}}
  spare: {{tiers: [[two/fallback]]}}
  shared: {{tiers: [[one/left, two/right]]}}
  windows: {{tiers: [[one/small], [two/large]]}}
  loaded: {{tiers: [{{strategy: least_loaded, targets: [one/left, two/right]}}]}}
  priced: {{tiers: [{{strategy: lowest_cost, targets: [one/dear, two/cheap]}}]}}
  timed: {{tiers: [{{strategy: lowest_latency, targets: [one/slow, two/quick]}}]}}
  patient: {{tiers: [[one/slow], [two/quick]]}}
"""

CALLERS = f"""
callers:
  - {{{{id: checkout, token_sha256: {DIGEST}, aliases: [default], models: [two/third], criticality: SHEDDABLE_PLUS}}}}
"""


def wishes(model: str = "default", *, text: str = "hi", sampling: Sampling | None = None, **options: Any) -> Any:
    """Return a request with these routing options."""
    return ask(text, model=model, sampling=sampling, routing=RoutingOptions(**options))


async def test_fallback_models_follow_in_their_order(gateway: Gateways) -> None:
    """Behind the alias's own tiers, alias or model, each once; what comes first in Explain is what is tried first."""
    broken = {name: {"status": 500} for name in ("dear", "cheap")}
    async with gateway({"models": broken}, routes=ROUTES) as running:
        request = wishes(fallback_models=["two/third", "spare", "one/dear"])
        found = await routed(running, request)
        assert found.order == ["one/dear", "two/cheap", "two/third", "two/fallback"]
        assert [candidate.tier for candidate in found.explained.values()] == [0, 1, 2, 3]
        assert [attempt.target.model for attempt in found.attempts] == ["dear", "cheap", "third"]
        assert found.served == "two/third"


async def test_fallback_models_are_the_callers_own(gateway: Gateways) -> None:
    """One that does not exist or is not this caller's is NOT_FOUND with its field, in Explain too."""
    async with gateway(routes=ROUTES + CALLERS) as running:
        for model in ("spare", "nothing"):
            request = wishes(fallback_models=["two/third", model])
            failure = await refused(running, request, metadata=BEARER)
            assert (failure.code, failure.reason) == (CODE.NOT_FOUND, "UNKNOWN_MODEL")
            assert failure.metadata["field"] == "routing.fallback_models[1]"
            assert failure.metadata["model"] == model
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await running.stub.Explain(request, metadata=BEARER)
            assert raised.value.code() is CODE.NOT_FOUND
        found = await routed(running, wishes(fallback_models=["two/third"]), metadata=BEARER)
        assert found.order == ["one/dear", "two/cheap", "two/third"]


async def test_no_fallback_where_the_request_wants_none(gateway: Gateways) -> None:
    """allow_fallback=false keeps to the first tier, against fallback models too, and Explain names it."""
    async with gateway({"models": {"dear": {"error": "overloaded"}}}, routes=ROUTES) as running:
        request = wishes(allow_fallback=False, fallback_models=["two/third"], max_attempts=1)
        explained = await explain(running, request)
        assert order_of(explained) == ["one/dear"]
        assert [list(explained[name].removed_because) for name in ("two/cheap", "two/third")] == [
            ["allow_fallback: the request allows no fallback tier"]
        ] * 2
        failure = await refused(running, request)
        assert (failure.code, failure.reason) == (CODE.UNAVAILABLE, "UPSTREAM_EXHAUSTED")
        assert set(running.simulator.stats.by_model) == {"dear"}


async def test_a_sticky_key_keeps_its_target_and_yields_to_health(gateway: Gateways) -> None:
    """The same target each time, both are used; while its circuit is open the other one serves; then it comes back."""
    async with gateway(routes=ROUTES) as running:
        homes: dict[str, str] = {}
        for number in range(12):
            request = wishes("shared", sticky_key=f"user-{number}")
            found = [await routed(running, request) for _ in range(3)]
            assert len({one.served for one in found}) == 1
            assert {candidate.ordered_by for candidate in found[0].explained.values()} == {"sticky"}
            scores = [candidate.score for candidate in found[0].explained.values()]
            assert scores == sorted(scores, reverse=True)
            homes[f"user-{number}"] = found[0].served
        assert set(homes.values()) == {"one/left", "two/right"}

        key = next(key for key, home in homes.items() if home == "one/left")
        request = wishes("shared", sticky_key=key)
        running.simulator.configure({"models": {"left": {"status": 500}}})
        assert (await routed(running, request)).served == "two/right", "failed over"
        moved = await routed(running, request)
        assert (moved.served, len(moved.attempts)) == ("two/right", 1), "yields"
        assert moved.explained["one/left"].removed_because[0].startswith("circuit: ")
        assert moved.explained["one/left"].circuit == "OPEN"
        running.simulator.configure({})
        circuit = running.live.snapshots.current.providers["one"].circuits["left"]
        async with asyncio.timeout(10):
            while (await running.stub.Complete(request)).route.served_by.model != "left":
                pass
        await until(lambda: circuit.state is CircuitState.CLOSED)
        assert (await routed(running, request)).served == "one/left"


async def test_criticality_is_lowered_to_the_callers_highest(gateway: Gateways) -> None:
    """With a warning that names the field; what is not higher stands, without one."""
    async with gateway(routes=ROUTES + CALLERS) as running:
        lowered = await routed(running, wishes(criticality=CRITICALITY_CRITICAL), metadata=BEARER)
        assert lowered.warnings == {"CRITICALITY_LOWERED": "routing.criticality"}
        streamed = await routed(running, wishes(criticality=CRITICALITY_CRITICAL_PLUS), stream=True, metadata=BEARER)
        assert streamed.warnings == {"CRITICALITY_LOWERED": "routing.criticality"}
        stands = await routed(running, wishes(criticality=CRITICALITY_SHEDDABLE), metadata=BEARER)
        assert stands.warnings == {}


@pytest.mark.parametrize("stream", [False, True], ids=["unary", "stream"])
async def test_a_limit_on_cost_sends_the_request_elsewhere(gateway: Gateways, *, stream: bool) -> None:
    """The dear target is out for `cost`, the cheaper one serves, and the response says so."""
    async with gateway(routes=ROUTES) as running:
        sampling = Sampling(max_output_tokens=100)
        unlimited = await routed(running, wishes(sampling=sampling), stream=stream)
        assert (unlimited.served, unlimited.warnings) == ("one/dear", {})
        limited = await routed(running, wishes(sampling=sampling, max_cost_nanousd=1_000_000), stream=stream)
        assert (limited.served, limited.warnings) == ("two/cheap", {"MODEL_FALLBACK": "model"})
        dear = limited.explained["one/dear"]
        assert [because.partition(":")[0] for because in dear.removed_because] == ["cost"]
        assert dear.predicted_cost_nanousd > 1_000_000 >= limited.explained["two/cheap"].predicted_cost_nanousd


async def test_a_limit_that_nobody_keeps_names_cost(gateway: Gateways) -> None:
    """NO_ELIGIBLE_TARGET with what the constraint removed; a target without prices cannot be held to it."""
    async with gateway(routes=ROUTES) as running:
        request = wishes(max_cost_nanousd=10, fallback_models=["two/third"])
        failure = await refused(running, request)
        assert (failure.code, failure.reason) == (CODE.FAILED_PRECONDITION, "NO_ELIGIBLE_TARGET")
        assert failure.metadata["cost"] == "one/dear, two/cheap, two/third"
        explained = await explain(running, request)
        assert order_of(explained) == []
        assert not explained["two/third"].HasField("predicted_cost_nanousd")
        assert running.simulator.stats.requests == 0


async def test_costs_are_those_of_the_prices(gateway: Gateways) -> None:
    """usage.cost_nanousd is what the provider counted times the models' prices, in the answer and its attempt."""
    async with gateway(routes=ROUTES) as running:
        for stream in (False, True):
            found = await routed(running, wishes(text="some words to be echoed"), stream=stream)
            usage = found.usage
            assert usage.input_tokens > 0
            assert usage.output_tokens > 0
            assert usage.cost_nanousd == usage.input_tokens * 10_000 + usage.output_tokens * 30_000
            assert found.attempts[0].usage.cost_nanousd == usage.cost_nanousd
        unpriced = await routed(running, wishes("spare"))
        assert not unpriced.usage.HasField("cost_nanousd")


async def test_a_prediction_of_cost_is_tokens_times_prices(gateway: Gateways) -> None:
    """The estimated prompt, and the smaller of what is asked for and what answers usually have: 1,000 at first."""
    async with gateway(routes=ROUTES) as running:
        costs = []
        for sampling in (None, Sampling(max_output_tokens=10), Sampling(max_output_tokens=5000)):
            explained = await explain(running, wishes(sampling=sampling))
            costs.append(explained["one/dear"].predicted_cost_nanousd)
        prompt = costs[1] - 10 * 30_000
        assert costs == [prompt + 1000 * 30_000, prompt + 10 * 30_000, prompt + 1000 * 30_000]
        assert 0 < prompt < 30 * 10_000
        for _ in range(20):
            await running.stub.Complete(ask())
        learnt = (await explain(running, wishes()))["one/dear"].predicted_cost_nanousd
        assert learnt == prompt + usual_output(running) * 30_000


def usual_output(running: Gateway) -> int:
    """Return the length that answers of `default` usually have, as it was booked."""
    return running.live.snapshots.current.table.resolve("default", ANYBODY).outputs.p95


async def warm(running: Gateway, *models: str) -> None:
    """Have enough streams answered by each model that its times are known."""
    calls = [running.frames(ask(model=model)) for model in models for _ in range(5)]
    for _, error in await asyncio.gather(*calls):
        assert error is None


async def test_a_limit_on_the_first_token_is_an_order(gateway: Gateways) -> None:
    """Who is usually late comes behind, with a warning; it is no filter: alone it may serve."""
    async with gateway({"models": {"slow": {"first_byte_s": 0.6}}}, routes=ROUTES) as running:
        await warm(running, "one/slow")
        limit = Duration(nanos=300_000_000)
        moved = await routed(running, wishes("patient", max_first_token=limit), stream=True)
        assert (moved.served, moved.warnings) == ("two/quick", {"MODEL_FALLBACK": "model"})
        assert moved.order == ["two/quick", "one/slow"]
        slow, quick = moved.explained["one/slow"], moved.explained["two/quick"]
        assert (slow.late, quick.late) == (True, False)
        assert slow.predicted_first_token.ToMilliseconds() >= 560
        assert not quick.HasField("predicted_first_token")
        alone = await explain(running, wishes("one/slow", max_first_token=limit))
        assert order_of(alone) == ["one/slow"]
        unhurried = await routed(running, wishes("patient"), stream=True)
        assert (unhurried.served, unhurried.warnings) == ("one/slow", {})


FILTERS: list[tuple[dict[str, Any], str, str]] = [
    ({"require_capabilities": ["tools"]}, "two/cheap", "capability: the model lacks: tools"),
    ({"allow_regions": ["eu"]}, "one/dear", "region: it may be served in: us"),
    ({"exclude_targets": ["one"]}, "one/dear", "exclude_targets: excluded by the request"),
]


@pytest.mark.parametrize(("options", "out", "because"), FILTERS, ids=str)
async def test_what_rules_a_target_out(gateway: Gateways, options: dict[str, Any], out: str, because: str) -> None:
    """The other one serves, in one attempt, and Explain says why; it is no model fallback to warn of."""
    async with gateway(routes=ROUTES) as running:
        found = await routed(running, wishes(**options))
        assert [name for name, candidate in found.explained.items() if not candidate.eligible] == [out]
        assert list(found.explained[out].removed_because) == [because]
        assert found.served not in {out, ""}
        assert found.warnings == {}
        assert {name: one.target.region for name, one in found.explained.items()} == {
            "one/dear": "us",
            "two/cheap": "eu",
        }


@pytest.mark.parametrize(
    ("options", "metadata"),
    [
        ({"require_capabilities": ["flight"]}, {"capability": "one/dear, two/cheap"}),
        ({"allow_regions": ["mars"]}, {"region": "one/dear, two/cheap"}),
        ({"exclude_targets": ["one", "two/cheap"]}, {"exclude_targets": "one/dear, two/cheap"}),
        (
            {"require_capabilities": ["tools"], "allow_regions": ["eu"]},
            {"region": "one/dear", "capability": "two/cheap"},
        ),
    ],
    ids=str,
)
async def test_nobody_left_names_each_constraint(
    gateway: Gateways, options: dict[str, Any], metadata: dict[str, str]
) -> None:
    """NO_ELIGIBLE_TARGET has an entry for each constraint with whom it removed, and nothing was sent."""
    async with gateway(routes=ROUTES) as running:
        failure = await refused(running, wishes(**options))
        assert (failure.code, failure.reason) == (CODE.FAILED_PRECONDITION, "NO_ELIGIBLE_TARGET")
        assert failure.metadata == metadata
        assert failure.retry_after_s is None
        assert running.simulator.stats.requests == 0


async def test_tools_are_a_capability_that_is_needed(gateway: Gateways) -> None:
    """A request with a tool goes only where tools are known, without being asked."""
    async with gateway(routes=ROUTES) as running:
        tool = FunctionTool(name="f", parameters_json_schema='{"type": "object"}')
        found = await routed(running, ask(tools=[Tool(function=tool)]))
        assert found.order == ["one/dear"]


async def test_a_long_prompt_goes_to_the_larger_window(gateway: Gateways) -> None:
    """By estimate, with the output that is asked for; one that fits nowhere is refused with `context`."""
    async with gateway(routes=ROUTES) as running:
        words = "a few more words of a long prompt "
        assert (await routed(running, wishes("windows"))).served == "one/small"
        long = await routed(running, wishes("windows", text=words * 500))
        assert long.served == "two/large"
        assert long.explained["one/small"].removed_because[0].startswith("context: ")
        wordy = await routed(running, wishes("windows", sampling=Sampling(max_output_tokens=1999)))
        assert wordy.served == "two/large"
        failure = await refused(running, wishes("windows", text=words * 5000))
        assert (failure.code, failure.reason) == (CODE.FAILED_PRECONDITION, "NO_ELIGIBLE_TARGET")
        assert failure.metadata == {"context": "one/small, two/large"}
        assert "small" not in [request.model for request in running.simulator.stats.last_requests][1:]


async def test_least_loaded_goes_where_fewer_calls_are(gateway: Gateways) -> None:
    """A call in flight moves the next one to the other target, and Explain counts it."""
    async with gateway({"default": {"stall_after_chunks": 1}}, routes=ROUTES) as running:
        first = running.stub.StreamComplete(ask(model="loaded"))
        await first.read()
        busy, idle = ("one/left", "two/right")
        explained = await explain(running, wishes("loaded"))
        if not explained[busy].in_flight:
            busy, idle = idle, busy
        assert order_of(explained) == [idle, busy]
        assert (explained[busy].in_flight, explained[idle].in_flight) == (1, 0)
        assert explained[idle].score < explained[busy].score
        assert explained[idle].ordered_by == "least_loaded"
        running.simulator.configure({})
        for _ in range(3):
            assert (await routed(running, wishes("loaded"))).served == idle
        first.cancel()
        await running.quiet()


async def test_lowest_cost_goes_to_the_cheapest(gateway: Gateways) -> None:
    """By what this request would cost; the score is that cost."""
    async with gateway(routes=ROUTES) as running:
        for _ in range(3):
            found = await routed(running, wishes("priced"))
            assert (found.served, found.order) == ("two/cheap", ["two/cheap", "one/dear"])
            for candidate in found.explained.values():
                assert candidate.ordered_by == "lowest_cost"
                assert candidate.score == candidate.predicted_cost_nanousd


async def test_lowest_latency_goes_to_the_fastest(gateway: Gateways) -> None:
    """Once both are measured, whatever the weights; who is not measured yet is measured first."""
    async with gateway({"models": {"slow": {"first_byte_s": 0.15}}}, routes=ROUTES) as running:
        await warm(running, "two/quick")
        assert order_of(await explain(running, wishes("timed"))) == ["one/slow", "two/quick"], "not measured yet"
        await warm(running, "one/slow")
        for _ in range(3):
            found = await routed(running, wishes("timed"), stream=True)
            assert (found.served, found.order) == ("two/quick", ["two/quick", "one/slow"])
        slow = found.explained["one/slow"]
        assert slow.ordered_by == "lowest_latency"
        assert slow.score == pytest.approx(slow.predicted_first_token.ToMilliseconds() / 1000, abs=0.002)
        assert slow.score > 0.13
