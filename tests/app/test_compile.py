"""From a routes document to what runs: every setting arrives where it is used."""

from __future__ import annotations

import random
from pathlib import Path

from trunkline_server.app import caller_table
from trunkline_server.compile import KEYLESS, Compiled, compile_routes
from trunkline_server.config.routes import parse_routes
from trunkline_server.config.secrets import SecretResolver
from trunkline_server.engine.provider import Timeouts
from trunkline_server.engine.snapshot import ServerLimits
from trunkline_server.routing.aliases import AliasPolicy, Policy
from trunkline_server.routing.gate import GateLimits
from trunkline_server.rpc.auth import OPEN_TABLE

ROUTES = """
version: 1
providers:
  one:
    protocol: openai
    base_url: http://127.0.0.1:9/v1/
    keys:
      - {id: a, secret: env:A_API_KEY, weight: 3, models: ["m*"], block_models: [m2]}
      - {id: b, secret: env:B_API_KEY, weight: 0}
    gate: {max_in_flight: 7, queue: 8, max_wait_s: 9}
    timeouts: {connect_s: 1, first_token_s: 2, stall_s: 3, response_s: 4}
  local: {protocol: openai, base_url: "http://127.0.0.1:9", transport: httpx}
models:
  one/m1: {context_tokens: 10, max_output_tokens: 5, input_usd_per_million: 0.15, capabilities: [], first_token_s: 30}
aliases:
  default:
    tiers: [{strategy: weighted, targets: [{target: one/m1, weight: 90, variant: x}, one/m3]}, [local/a/b]]
    max_attempts: 5
    on_key_rejected: next_target
    on_content_filtered: next_target
    default_deadline_s: 11
callers:
  - {id: shop, token_sha256: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08, aliases: [default],
     models: [one/m1], provider_options: [service_tier]}
server: {write_timeout_s: 1, deadline_reserve_s: 0.1, default_deadline_s: 2, max_deadline_s: 3}
"""


def compiled(tmp_path: Path, text: str = ROUTES) -> Compiled:
    resolver = SecretResolver(tmp_path, frozenset(), {"A_API_KEY": "sk-a", "B_API_KEY": "sk-b"})
    return compile_routes(parse_routes(text, resolver, name="test"), version=4, clock=lambda: 0.0, rng=random.Random(1))


def test_providers_get_their_settings(tmp_path: Path) -> None:
    """Timers, gate, keys with their models, and one header a key; the base URL ends without a slash."""
    one = compiled(tmp_path).snapshot.providers["one"]
    assert one.base_url == "http://127.0.0.1:9/v1"
    assert one.timeouts == Timeouts(1, 2, 3, 4)
    assert one.desk.gate.limits == GateLimits(7, 8, 9)
    assert one.auth["a"] == {"authorization": "Bearer sk-a"}
    assert one.pool.take("m1") == "a"
    assert one.pool.take("m2") == "b"
    assert "sk-" not in repr(one)


def test_a_provider_without_keys_calls_without_credentials(tmp_path: Path) -> None:
    """It has one key that is none, and shares no transport with providers that chose the other library."""
    made = compiled(tmp_path)
    local = made.snapshot.providers["local"]
    assert local.auth == {KEYLESS: {}}
    assert local.pool.take("anything") == KEYLESS
    assert len(made.transports) == 2
    assert local.transport is not made.snapshot.providers["one"].transport


def test_aliases_get_their_policy_and_facts(tmp_path: Path) -> None:
    """Weights, variants, slashes in model names, prices in nano-USD, and every word of the policy."""
    snapshot = compiled(tmp_path).snapshot
    made = compiled(tmp_path)
    alias = snapshot.table.resolve("default", made.callers[0][1])
    assert alias.policy == AliasPolicy(5, Policy.NEXT_TARGET, Policy.NEXT_TARGET, 11)
    first, second = alias.tiers[0].members
    assert (first.weight, first.variant, second.weight) == (90, "x", 1)
    assert first.facts.input_nanousd_per_million == 150_000_000
    assert first.facts.output_nanousd_per_million is None
    assert first.facts.capabilities == frozenset()
    assert second.facts.capabilities is None
    assert alias.tiers[1].members[0].target.model == "a/b"
    assert snapshot.limits == ServerLimits(1, 0.1, 2, 3)
    assert snapshot.version == 4


def test_callers_get_what_is_theirs(tmp_path: Path) -> None:
    """Aliases, models and options of each; without callers the table is open."""
    made = compiled(tmp_path)
    ((digest, caller),) = made.callers
    assert digest.hex().startswith("9f86d081")
    assert (caller.aliases, caller.models) == (frozenset({"default"}), frozenset({"one/m1"}))
    assert caller.provider_options == frozenset({"service_tier"})
    assert caller_table(made) is not OPEN_TABLE
    head, _, rest = ROUTES.partition("callers:")
    assert caller_table(compiled(tmp_path, head + rest[rest.index("server:") :])) is OPEN_TABLE


def test_a_models_own_timers_go_before_the_providers() -> None:
    """first_token_s of the model, the provider's stall_s, three times each for reasoning; connecting stays as it is."""
    from trunkline_server.routing.aliases import ModelFacts

    provider = Timeouts(1, 2, 3, 4)
    assert provider.for_call(ModelFacts(), reasoning=False) is provider
    assert provider.for_call(ModelFacts(first_token_s=30), reasoning=False) == Timeouts(1, 30, 3, 4)
    assert provider.for_call(ModelFacts(response_s=50), reasoning=True) == Timeouts(1, 6, 9, 150)
