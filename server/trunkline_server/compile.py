"""From a routes document to what runs: live providers, the alias table, callers, and the snapshot of them all.

Together with `app` this is the only place that knows the rooms `config`, `routing`, `engine` and `providers` at once.
Nothing here does I/O: secrets were read with the document.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from trunkline_server.config.catalogue import facts_of, named_models
from trunkline_server.config.model import (
    AliasSettings,
    CallerSettings,
    GateSettings,
    KeySettings,
    ProviderSettings,
    RoutesDocument,
    TargetSettings,
)
from trunkline_server.config.model import ModelFacts as ModelSettings
from trunkline_server.config.routes import LoadedRoutes
from trunkline_server.config.secret import Secret
from trunkline_server.engine.admission import Desk
from trunkline_server.engine.provider import LiveProvider, Timeouts
from trunkline_server.engine.snapshot import ServerLimits, Snapshot
from trunkline_server.providers.base import Adapter
from trunkline_server.providers.openai import OpenAIAdapter
from trunkline_server.providers.transport.base import Transport
from trunkline_server.providers.transport.choose import make_transport
from trunkline_server.routing.aliases import (
    UNKNOWN_FACTS,
    Alias,
    AliasPolicy,
    AliasTable,
    AliasTarget,
    HedgePolicy,
    ModelFacts,
    Policy,
    Strategy,
    Tier,
)
from trunkline_server.routing.budget import BudgetLimits, RetryBudget
from trunkline_server.routing.circuit import Circuit, CircuitLimits
from trunkline_server.routing.gate import AdaptiveLimits, Gate, GateLimits
from trunkline_server.routing.key_pool import KeyPool, KeySpec
from trunkline_server.routing.latency import Latency
from trunkline_server.routing.load import Load
from trunkline_server.routing.types import Caller, Criticality, OnBreak, TargetId

KEYLESS = "none"
"""The id shown for the one key of a provider that needs none."""

_NANOUSD_PER_USD = 1_000_000_000

_ADAPTERS: Mapping[str, Callable[[], Adapter]] = {"openai": OpenAIAdapter}


@dataclass(frozen=True, slots=True)
class Compiled:
    """What a document became. `transports` are owned by whoever runs it, and closed by them."""

    snapshot: Snapshot
    callers: tuple[tuple[bytes, Caller], ...]
    """The callers, each with the SHA-256 of its token; none: open to everybody."""
    transports: tuple[Transport, ...]


def compile_routes(routes: LoadedRoutes, *, version: int, clock: Callable[[], float], rng: random.Random) -> Compiled:
    """Build everything that a validated document describes. It must run where the event loop will."""
    document = routes.document
    transports: dict[str, Transport] = {}
    for settings in document.providers.values():
        if settings.transport not in transports:
            transports[settings.transport] = make_transport(settings.transport)
    providers = {
        name: _provider(
            name,
            settings,
            routes.secrets,
            transports[settings.transport],
            _models_named(document, name),
            clock=clock,
            rng=rng,
        )
        for name, settings in document.providers.items()
    }
    facts = {name: _facts(facts_of(document, name)) for name in named_models(document)}
    aliases = {name: _alias(name, settings, facts) for name, settings in document.aliases.items()}
    snapshot = Snapshot(version, AliasTable(aliases, frozenset(providers), facts), providers, _limits(document))
    callers = tuple((bytes.fromhex(caller.token_sha256), _caller(caller)) for caller in document.callers)
    return Compiled(snapshot, callers, tuple(transports.values()))


def _provider(
    name: str,
    settings: ProviderSettings,
    secrets: Mapping[tuple[str, str], Secret],
    transport: Transport,
    models: frozenset[str],
    *,
    clock: Callable[[], float],
    rng: random.Random,
) -> LiveProvider:
    adapter = _ADAPTERS[settings.protocol]()
    auth: dict[str, Mapping[str, str]] = {}
    specs: list[KeySpec] = []
    for key in settings.keys:
        secret = secrets[name, key.id]
        auth[key.id] = adapter.auth_headers(secret.reveal())
        specs.append(key_spec(key, secret, adaptive=settings.gate.adaptive is not None))
    if not specs:
        auth[KEYLESS] = {}
        specs.append(KeySpec(KEYLESS, 1.0))
    pool = KeyPool(name, specs, clock=clock, rng=rng)
    desk = Desk(Gate(name, _gate_limits(settings.gate), pool, clock=clock), clock)
    times = settings.timeouts
    timeouts = Timeouts(times.connect_s, times.first_token_s, times.stall_s, times.response_s)
    limits_of_circuits = CircuitLimits(**settings.circuit.model_dump())
    circuits = {model: Circuit(limits_of_circuits, clock=clock, rng=rng) for model in sorted(models)}
    return LiveProvider(
        name,
        settings.base_url.rstrip("/"),
        adapter,
        transport,
        pool,
        desk,
        auth,
        timeouts,
        circuits,
        RetryBudget(BudgetLimits(**settings.retry_budget.model_dump()), clock=clock),
        {model: Latency.unknown(clock=clock) for model in circuits},
        {model: Load(clock=clock) for model in circuits},
    )


def key_spec(settings: KeySettings, secret: Secret, *, adaptive: bool = False) -> KeySpec:
    """Return a key as the pool knows it: without its secret. `adaptive`: its provider's limits move by themselves."""
    return KeySpec(
        settings.id,
        settings.weight,
        settings.models,
        settings.block_models,
        secret.fingerprint,
        requests_per_minute=settings.requests_per_minute,
        tokens_per_minute=settings.tokens_per_minute,
        max_in_flight=settings.max_in_flight,
        quota_group=settings.quota_group,
        burst_s=settings.burst_s,
        adaptive=adaptive,
    )


def _gate_limits(settings: GateSettings) -> GateLimits:
    adaptive = settings.adaptive
    return GateLimits(
        settings.max_in_flight,
        settings.queue,
        settings.max_wait_s,
        adaptive=None if adaptive is None else AdaptiveLimits(adaptive.min, adaptive.max),
        dispatches_per_s=settings.dispatches_per_s,
        burst=settings.burst,
    )


def _models_named(document: RoutesDocument, provider: str) -> frozenset[str]:
    """Return the models of a provider that some alias names."""
    return frozenset(
        target.model
        for alias in document.aliases.values()
        for tier in alias.tiers
        for target in tier.targets
        if target.provider == provider
    )


def _alias(name: str, settings: AliasSettings, facts: Mapping[str, ModelFacts]) -> Alias:
    tiers = tuple(
        Tier(tuple(_member(target, facts) for target in tier.targets), Strategy(tier.strategy))
        for tier in settings.tiers
    )
    policy = AliasPolicy(
        settings.max_attempts,
        Policy(settings.on_key_rejected),
        Policy(settings.on_content_filtered),
        settings.default_deadline_s,
        OnBreak(settings.on_break),
        settings.allow_prompted_continuation,
        HedgePolicy(**settings.hedge.model_dump()),
        max_cost_nanousd=_nanousd(settings.max_cost_usd),
        max_first_token_s=settings.max_first_token_s,
    )
    return Alias(name, tiers, policy)


def _member(target: TargetSettings, facts: Mapping[str, ModelFacts]) -> AliasTarget:
    return AliasTarget(
        TargetId(target.provider, target.model),
        target.weight,
        target.variant or "",
        facts.get(target.target, UNKNOWN_FACTS),
    )


def _facts(model: ModelSettings) -> ModelFacts:
    return ModelFacts(
        model.context_tokens,
        model.max_output_tokens,
        None if model.capabilities is None else frozenset(model.capabilities),
        _nanousd(model.input_usd_per_million),
        _nanousd(model.output_usd_per_million),
        model.first_token_s,
        model.stall_s,
        model.response_s,
        None if model.regions is None else frozenset(model.regions),
    )


def _nanousd(usd: float | None) -> int | None:
    return None if usd is None else round(usd * _NANOUSD_PER_USD)


def _caller(settings: CallerSettings) -> Caller:
    return Caller(
        settings.id,
        frozenset(settings.aliases),
        frozenset(settings.models),
        frozenset(settings.provider_options),
        Criticality[settings.criticality],
    )


def _limits(document: RoutesDocument) -> ServerLimits:
    server = document.server
    return ServerLimits(
        server.write_timeout_s,
        server.deadline_reserve_s,
        server.default_deadline_s,
        server.max_deadline_s,
        server.detach_s,
    )
