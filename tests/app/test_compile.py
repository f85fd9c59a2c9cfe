"""From a routes document to what runs: every setting arrives where it is used."""

from __future__ import annotations

import random
from pathlib import Path

from trunkline_server.compile import KEYLESS, key_spec, prepare
from trunkline_server.config.model import KeySettings
from trunkline_server.config.routes import parse_routes
from trunkline_server.config.secret import Secret
from trunkline_server.config.secrets import SecretResolver
from trunkline_server.engine.endpoint import Timeouts
from trunkline_server.engine.snapshot import ServerLimits
from trunkline_server.live import LiveRoutes
from trunkline_server.people import caller_of, caller_table
from trunkline_server.routing.aliases import AliasPolicy, HedgePolicy, ModelFacts, Policy, Strategy
from trunkline_server.routing.budget import BudgetLimits
from trunkline_server.routing.gate import AdaptiveLimits, GateLimits
from trunkline_server.routing.key_state import KeySpec
from trunkline_server.routing.types import Caller, Criticality, OnBreak
from trunkline_server.rpc.auth import OPEN_TABLE

ROUTES = """
version: 1
providers:
  one:
    protocol: openai
    base_url: http://127.0.0.1:9/v1/
    keys:
      - {id: a, secret: env:A_API_KEY, weight: 3, models: ["m*"], block_models: [m2], requests_per_minute: 60,
         tokens_per_minute: 9000, max_in_flight: 6, quota_group: org, burst_s: 2}
      - {id: b, secret: env:B_API_KEY, weight: 0}
    gate: {max_in_flight: 7, queue: 8, max_wait_s: 9, adaptive: {min: 2, max: 20}, dispatches_per_s: 50, burst: 3}
    timeouts: {connect_s: 1, first_token_s: 2, stall_s: 3, response_s: 4}
    retry_budget: {ratio: 0.2, recovering_ratio: 0.3, floor_per_s: 4}
  local: {protocol: openai, base_url: "http://127.0.0.1:9", transport: httpx}
models:
  one/m1: {context_tokens: 10, max_output_tokens: 5, input_usd_per_million: 0.15, capabilities: [], first_token_s: 30,
    regions: [eu, us], embedding_space: s}
aliases:
  default:
    tiers:
      - {strategy: weighted, targets: [{target: one/m1, weight: 90, variant: x}, one/m3]}
      - {strategy: least_loaded, targets: [local/a/b]}
    max_attempts: 5
    on_key_rejected: next_target
    on_content_filtered: next_target
    default_deadline_s: 11
    on_break: CONTINUE
    allow_prompted_continuation: true
    hedge: {enabled: true, percentile: 90, max_extra: 0.01}
    max_cost_usd: 0.05
    max_first_token_s: 1.5
callers:
  - {id: shop, token_sha256: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08, aliases: [default],
     models: [one/m1], provider_options: [service_tier], criticality: SHEDDABLE_PLUS}
server: {write_timeout_s: 1, deadline_reserve_s: 0.1, default_deadline_s: 2, max_deadline_s: 3, detach_s: 4}
"""


def compiled(tmp_path: Path, text: str = ROUTES) -> LiveRoutes:
    resolver = SecretResolver(tmp_path, frozenset(), {"A_API_KEY": "sk-a", "B_API_KEY": "sk-b"})
    blueprint = prepare(parse_routes(text, resolver, name="test"))
    return LiveRoutes(blueprint, 4, clock=lambda: 0.0, rng=random.Random(1))


def caller_in(live: LiveRoutes) -> Caller:
    return caller_of(live.blueprint.document.callers[0])


def test_providers_get_their_settings(tmp_path: Path) -> None:
    """Timers, gate, keys with their models, and one header a key; the base URL ends without a slash."""
    one = compiled(tmp_path).snapshots.current.providers["one"]
    assert one.endpoint.base_url == "http://127.0.0.1:9/v1"
    assert one.endpoint.timeouts == Timeouts(1, 2, 3, 4)
    assert one.desk.gate.limits == GateLimits(7, 8, 9, adaptive=AdaptiveLimits(2, 20), dispatches_per_s=50, burst=3)
    assert one.endpoint.auth["a"] == {"authorization": "Bearer sk-a"}
    assert one.pool.take("m1") == "a"
    assert one.pool.take("m2") == "b"
    assert "sk-" not in repr(one)


def test_keys_get_their_limits() -> None:
    """Each of them; a key that says nothing has none, and a burst of one second."""
    limited = KeySettings.model_validate(
        {"id": "a", "secret": "env:X", "weight": 3, "models": ["m*"], "block_models": ["m2"]}
        | {"requests_per_minute": 60, "tokens_per_minute": 9000, "max_in_flight": 6, "quota_group": "org", "burst_s": 2}
    )
    secret = Secret("sk-a")
    assert key_spec(limited, secret) == KeySpec(
        "a", 3, ("m*",), ("m2",), secret.fingerprint, 60, 9000, 6, quota_group="org", burst_s=2
    )
    free = KeySettings.model_validate({"id": "b", "secret": "env:X"})
    assert key_spec(free, secret) == KeySpec("b", 1.0, fingerprint=secret.fingerprint)


def test_gates_that_say_nothing_neither_move_nor_pace(tmp_path: Path) -> None:
    """200 in flight, 500 waiting for 5 s, as documented."""
    assert compiled(tmp_path).snapshots.current.providers["local"].desk.gate.limits == GateLimits(200, 500, 5)


def test_wellknown_models_have_the_catalogues_facts(tmp_path: Path) -> None:
    """In aliases and named directly alike; what the document says goes before."""
    text = ROUTES.replace("one/m1, weight: 90", "one/gpt-4o-mini, weight: 90").replace(
        "models: [one/m1]", "models: [one/o3]"
    )
    text = text.replace("models:\n  one/m1:", "models:\n  one/gpt-4o-mini:").replace('models: ["m*"], ', "")
    made = compiled(tmp_path, text)
    caller = caller_in(made)
    facts = made.snapshots.current.table.resolve("default", caller).tiers[0].members[0].facts
    assert (facts.context_tokens, facts.input_nanousd_per_million) == (10, 150_000_000)
    assert facts.output_nanousd_per_million == 600_000_000
    direct = made.snapshots.current.table.resolve("one/o3", caller).tiers[0].members[0].facts
    assert direct.context_tokens == 200_000
    assert direct.capabilities == frozenset({"tools", "vision", "json_schema", "reasoning"})


def test_a_provider_without_keys_calls_without_credentials(tmp_path: Path) -> None:
    """It has one key that is none, and shares no transport with providers that chose the other library."""
    made = compiled(tmp_path)
    local = made.snapshots.current.providers["local"]
    assert local.endpoint.auth == {KEYLESS: {}}
    assert local.pool.take("anything") == KEYLESS
    assert len(made.transports) == 2
    assert local.endpoint.transport is not made.snapshots.current.providers["one"].endpoint.transport


def test_aliases_get_their_policy_and_facts(tmp_path: Path) -> None:
    """Weights, variants, slashes in model names, prices in nano-USD, and every word of the policy."""
    snapshot = compiled(tmp_path).snapshots.current
    made = compiled(tmp_path)
    alias = snapshot.table.resolve("default", caller_in(made))
    assert alias.policy == AliasPolicy(
        5,
        Policy.NEXT_TARGET,
        Policy.NEXT_TARGET,
        11,
        OnBreak.CONTINUE,
        allow_prompted_continuation=True,
        hedge=HedgePolicy(enabled=True, percentile=90, max_extra=0.01),
        max_cost_nanousd=50_000_000,
        max_first_token_s=1.5,
    )
    assert [tier.strategy for tier in alias.tiers] == [Strategy.WEIGHTED, Strategy.LEAST_LOADED]
    first, second = alias.tiers[0].members
    assert (first.weight, first.variant, second.weight) == (90, "x", 1)
    assert first.facts.input_nanousd_per_million == 150_000_000
    assert first.facts.output_nanousd_per_million is None
    assert first.facts.capabilities == frozenset()
    assert (first.facts.regions, second.facts.regions) == (frozenset({"eu", "us"}), None)
    assert (first.facts.embedding_space, second.facts.embedding_space) == ("s", None)
    assert second.facts.capabilities is None
    assert alias.tiers[1].members[0].target.model == "a/b"
    assert snapshot.limits == ServerLimits(1, 0.1, 2, 3, 4)
    assert snapshot.version == 4


def test_providers_get_a_budget_and_the_latency_of_what_aliases_name(tmp_path: Path) -> None:
    """The budget is the provider's own, or of the default size; models that only callers name have no latency."""
    providers = compiled(tmp_path).snapshots.current.providers
    assert providers["one"].budget.limits == BudgetLimits(0.2, 0.3, 4)
    assert providers["local"].budget.limits == BudgetLimits()
    assert set(providers["one"].latencies) == set(providers["one"].circuits) == {"m1", "m3"}
    assert set(providers["local"].latencies) == {"a/b"}
    one = providers["one"].latencies["m1"]
    one.first_content.book(1.0)
    assert one.first_content.quantile(50, at_least=1) is not None
    assert one.response.quantile(50, at_least=1) is None


def test_an_alias_that_says_nothing_ends_broken_streams_and_never_hedges(tmp_path: Path) -> None:
    """What is risky or costs something has to be asked for."""
    text = ROUTES.replace("    on_break: CONTINUE\n", "").replace("    allow_prompted_continuation: true\n", "")
    made = compiled(tmp_path, text.replace("    hedge: {enabled: true, percentile: 90, max_extra: 0.01}\n", ""))
    policy = made.snapshots.current.table.resolve("default", caller_in(made)).policy
    assert (policy.on_break, policy.allow_prompted_continuation) == (OnBreak.FAIL, False)
    assert policy.hedge == HedgePolicy(enabled=False, percentile=95, max_extra=0.02)


def test_callers_get_what_is_theirs(tmp_path: Path) -> None:
    """Aliases, models and options of each; without callers the table is open."""
    made = compiled(tmp_path)
    caller = caller_in(made)
    assert (caller.aliases, caller.models) == (frozenset({"default"}), frozenset({"one/m1"}))
    assert caller.provider_options == frozenset({"service_tier"})
    assert caller.criticality is Criticality.SHEDDABLE_PLUS
    assert caller_table(made.blueprint.document) is not OPEN_TABLE
    head, _, rest = ROUTES.partition("callers:")
    assert caller_table(compiled(tmp_path, head + rest[rest.index("server:") :]).blueprint.document) is OPEN_TABLE


def test_a_models_own_timers_go_before_the_providers() -> None:
    """first_token_s of the model, the provider's stall_s, three times each for reasoning; connecting stays as it is."""
    provider = Timeouts(1, 2, 3, 4)
    assert provider.for_call(ModelFacts(), reasoning=False) is provider
    assert provider.for_call(ModelFacts(first_token_s=30), reasoning=False) == Timeouts(1, 30, 3, 4)
    assert provider.for_call(ModelFacts(response_s=50), reasoning=True) == Timeouts(1, 6, 9, 150)


def test_a_request_shortens_its_timers_and_lengthens_none() -> None:
    """The shorter one holds, and it is told which timer the request made shorter than it would have been."""
    provider = Timeouts(1, 2, 3, 4)
    unknown = ModelFacts()
    same = provider.for_call(unknown, reasoning=False, max_first_token_s=2, max_token_gap_s=9)
    assert same == provider
    first = provider.for_call(unknown, reasoning=False, max_first_token_s=1.5, max_token_gap_s=3)
    assert first == Timeouts(1, 1.5, 3, 4, first_token_shortened=True)
    gap = provider.for_call(unknown, reasoning=False, max_token_gap_s=0.5)
    assert gap == Timeouts(1, 2, 0.5, 4, stall_shortened=True)
    # 5 s is more than the provider's 2, but a call that thinks would have had 6: a failure in between is its caller's.
    assert provider.for_call(unknown, reasoning=True, max_first_token_s=5).first_token_shortened
    slow = provider.for_call(ModelFacts(first_token_s=30), reasoning=False, max_first_token_s=29)
    assert slow == Timeouts(1, 29, 3, 4, first_token_shortened=True)
