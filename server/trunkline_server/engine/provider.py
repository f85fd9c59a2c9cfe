"""A provider as it lives: its endpoint, its keys, its gate and its targets' health. It outlasts snapshots.

A reload changes it in place (`apply`), between two turns of the loop: calls that run go on with what they were granted,
waiters keep their places, and whatever is dispatched afterwards goes by the new settings.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from trunkline_server.engine.admission import Desk
from trunkline_server.engine.endpoint import Endpoint, Timeouts
from trunkline_server.providers.base import NO_TERMS, Adapter, AdapterTerms
from trunkline_server.providers.credentials.base import Signer
from trunkline_server.providers.transport.base import TransportName
from trunkline_server.routing.budget import BudgetLimits, RetryBudget
from trunkline_server.routing.circuit import DEFAULT_LIMITS, Circuit, CircuitLimits
from trunkline_server.routing.clock import Clock
from trunkline_server.routing.gate import Gate, GateLimits
from trunkline_server.routing.health import Health
from trunkline_server.routing.key_pool import KeyPool, KeySpec
from trunkline_server.routing.latency import Latency
from trunkline_server.routing.lease import Lease
from trunkline_server.routing.load import Load


@dataclass(frozen=True, slots=True)
class ProviderSpec:
    """A provider as its document describes it, ready to be built or applied. Two are equal if nothing changed."""

    name: str
    base_url: str
    """Without a slash at its end."""
    protocol: str
    """The name of its adapter."""
    transport: TransportName
    keys: tuple[KeySpec, ...]
    """At least one; their fingerprints stand for the secrets."""
    auth: Mapping[str, Mapping[str, str]] = field(repr=False, compare=False)
    """Key id to the headers that carry its secret."""
    gate: GateLimits = field(default_factory=GateLimits)
    timeouts: Timeouts = field(default_factory=Timeouts)
    circuit: CircuitLimits = DEFAULT_LIMITS
    budget: BudgetLimits = field(default_factory=BudgetLimits)
    terms: AdapterTerms = NO_TERMS
    """What its adapters were made of."""
    adapter: Adapter | None = field(default=None, repr=False, compare=False)
    """What speaks its protocol; `terms` stand for it in comparisons. None: it cannot be called."""
    wires: Mapping[str, Adapter] = field(default_factory=dict, repr=False, compare=False)
    """Model to its adapter, of those that need another one."""
    signers: Mapping[str, Signer] = field(default_factory=dict, repr=False, compare=False)
    """Key id to what signs its calls, of those keys whose secret is no header."""

    def __post_init__(self) -> None:
        """Refuse what could not be applied later, when nothing may fail any more."""
        ids = [key.id for key in self.keys]
        if not ids or len(set(ids)) < len(ids) or not set(ids) <= set(self.auth):
            raise ValueError(f"{self.name} needs keys, each of its own id and with its headers: {', '.join(ids)}")

    def may_share(self, other: ProviderSpec) -> bool:
        """Return whether calls of either may be sent with the same keys and limits: they differ in models at most.

        A model that both know must be known alike.
        """
        mine, theirs = self.terms.models, other.terms.models
        if any(theirs[name] != known for name, known in mine.items() if name in theirs):
            return False
        return replace(self, terms=replace(self.terms, models={})) == replace(
            other, terms=replace(other.terms, models={})
        )


@dataclass(slots=True)
class LiveProvider:
    """One upstream endpoint with everything that is shared between the calls to it. It belongs to one event loop."""

    name: str
    endpoint: Endpoint
    """What calls that are granted from now on are sent with; only `apply` changes it."""
    pool: KeyPool
    desk: Desk
    clock: Clock = time.monotonic
    rng: random.Random = field(default_factory=random.Random)
    circuit_limits: CircuitLimits = DEFAULT_LIMITS
    budget: RetryBudget = field(init=False)
    """How much more it may be sent than requests came for it."""
    circuits: dict[str, Circuit] = field(default_factory=dict)
    """By model: of every target that an alias names. A model that is only named directly needs none: a request for it
    has nowhere else to go."""
    latencies: dict[str, Latency] = field(default_factory=dict)
    """By model: how long each of the targets in `circuits` took lately."""
    loads: dict[str, Load] = field(default_factory=dict)
    """By model: how loaded each of them is."""
    _healths: dict[str, Health] = field(default_factory=dict, repr=False)
    _unlisted: Health = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Put together once what every request asks for."""
        self.budget = RetryBudget(BudgetLimits(), clock=self.clock)
        self._unlisted = Health(budget=self.budget)
        self.desk.gate.terms = self.endpoint

    @classmethod
    def build(
        cls, spec: ProviderSpec, endpoint: Endpoint, models: frozenset[str], *, clock: Clock, rng: random.Random
    ) -> LiveProvider:
        """Return a new one with nothing in flight and nothing learnt. `models` as for `name_models`."""
        pool = KeyPool(spec.name, spec.keys, clock=clock, rng=rng)
        desk = Desk(Gate(spec.name, spec.gate, pool, clock=clock), clock)
        provider = cls(spec.name, endpoint, pool, desk, clock, rng, spec.circuit)
        provider.budget.resize(spec.budget)
        provider.name_models(models)
        return provider

    def apply(
        self,
        spec: ProviderSpec,
        endpoint: Endpoint,
        models: frozenset[str],
        *,
        before_grants: Callable[[LiveProvider], None] | None = None,
    ) -> None:
        """Take new settings over in place; never fails half-way. `models` as for `name_models`.

        Keys keep their state by id and fingerprint, targets theirs unless the address is another one. `before_grants`
        is called when keys and circuits are the new ones, and before anybody who waits is granted a key.
        """
        moved = endpoint.base_url != self.endpoint.base_url
        self.pool.reconfigure(spec.keys)
        self.use(endpoint)
        self.budget.resize(spec.budget)
        self.circuit_limits = spec.circuit
        if moved:
            self.name_models(frozenset())
        for circuit in self.circuits.values():
            circuit.retune(spec.circuit)
        self.name_models(models)
        if before_grants is not None:
            before_grants(self)
        self.desk.gate.resize(spec.gate)
        self.desk.rearm()

    def use(self, endpoint: Endpoint) -> None:
        """Send what is granted from now on with `endpoint`."""
        self.endpoint = endpoint
        self.desk.gate.terms = endpoint

    def name_models(self, models: frozenset[str]) -> None:
        """Keep the health of exactly these models: those that aliases name. What was known of others is dropped."""
        for known in (self.circuits, self.latencies, self.loads, self._healths):
            for model in known.keys() - models:
                del known[model]
        for model in sorted(models - self.circuits.keys()):
            self.circuits[model] = Circuit(self.circuit_limits, clock=self.clock, rng=self.rng)
            self.latencies[model] = Latency.unknown(clock=self.clock)
            self.loads[model] = Load(clock=self.clock)
            self._healths[model] = Health(self.circuits[model], self.budget, self.latencies[model], self.loads[model])

    def close(self) -> None:
        """Let nobody in any more: waiters are refused as SATURATED and move on, calls in flight end as always."""
        self.desk.gate.close()
        self.desk.rearm()

    def health_of(self, model: str) -> Health:
        """Return what is known of one of its targets; of a model that no alias names, no more than the provider's."""
        return self._healths.get(model, self._unlisted)

    def endpoint_of(self, lease: Lease | None) -> Endpoint:
        """Return what a call with this lease is sent with: what held when it was granted."""
        terms = None if lease is None else lease.terms
        return terms if isinstance(terms, Endpoint) else self.endpoint
