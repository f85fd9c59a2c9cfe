"""From a routes document to a blueprint: all that can be made of it without anything that lives.

Together with `live` and `app` this is the only place that knows the rooms `config`, `routing`, `engine` and
`providers` at once. Nothing here does I/O: secrets were read with the document.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from trunkline_server.config.catalogue import facts_of, named_models
from trunkline_server.config.findings import Finding, InvalidRoutesError, format_path, in_order
from trunkline_server.config.model import (
    AliasSettings,
    GateSettings,
    KeySettings,
    ProviderSettings,
    RoutesDocument,
    TargetSettings,
)
from trunkline_server.config.model import ModelFacts as ModelSettings
from trunkline_server.config.pause import Pause, no_pause
from trunkline_server.config.presets import shipped_presets
from trunkline_server.config.routes import LoadedRoutes
from trunkline_server.config.secret import Secret
from trunkline_server.engine.endpoint import Timeouts
from trunkline_server.engine.provider import ProviderSpec
from trunkline_server.engine.snapshot import ServerLimits
from trunkline_server.providers.anthropic import AnthropicAdapter
from trunkline_server.providers.azure_openai import AzureOpenAIAdapter, AzureResponsesAdapter
from trunkline_server.providers.base import Adapter, AdapterTerms, FeaturesByModel, ModelTerms
from trunkline_server.providers.bedrock import BedrockAdapter
from trunkline_server.providers.cohere import CohereAdapter
from trunkline_server.providers.credentials import anthropic as anthropic_credentials
from trunkline_server.providers.credentials import aws as aws_credentials
from trunkline_server.providers.credentials import azure as azure_credentials
from trunkline_server.providers.credentials import cohere as cohere_credentials
from trunkline_server.providers.credentials import gemini as gemini_credentials
from trunkline_server.providers.credentials import openai as openai_credentials
from trunkline_server.providers.credentials.base import Credential, CredentialError, Signer, StaticHeaders
from trunkline_server.providers.gemini import GeminiAdapter
from trunkline_server.providers.openai import OpenAIAdapter
from trunkline_server.providers.openai_responses import ResponsesAdapter
from trunkline_server.providers.quirks import NO_QUIRKS, read_quirks
from trunkline_server.providers.transport.choose import transport_class
from trunkline_server.routing.aliases import (
    UNKNOWN_FACTS,
    Alias,
    AliasPolicy,
    AliasTable,
    AliasTarget,
    FeaturesOf,
    HedgePolicy,
    ModelFacts,
    Policy,
    Strategy,
    Tier,
)
from trunkline_server.routing.budget import BudgetLimits
from trunkline_server.routing.circuit import CircuitLimits
from trunkline_server.routing.gate import AdaptiveLimits, GateLimits
from trunkline_server.routing.key_pool import KeySpec
from trunkline_server.routing.types import OnBreak, TargetId

KEYLESS = "none"
"""The id shown for the one key of a provider that needs none."""

ADAPTERS: Mapping[str, Callable[[AdapterTerms], Adapter]] = {
    "openai": OpenAIAdapter,
    "anthropic": AnthropicAdapter,
    "azure_openai": AzureOpenAIAdapter,
    "bedrock": BedrockAdapter,
    "cohere": CohereAdapter,
    "gemini": GeminiAdapter,
}
"""What speaks each wire protocol."""

WIRES: Mapping[tuple[str, str], Callable[[AdapterTerms], Adapter]] = {
    ("openai", "responses"): ResponsesAdapter,
    ("azure_openai", "responses"): AzureResponsesAdapter,
}
"""What speaks the further wires that some protocols have, by protocol and the `wire` of a model's facts."""

CREDENTIALS: Mapping[str, Callable[[str, AdapterTerms], Credential]] = {
    "openai": openai_credentials.credential,
    "anthropic": anthropic_credentials.credential,
    "azure_openai": azure_credentials.credential,
    "bedrock": aws_credentials.credential,
    "cohere": cohere_credentials.credential,
    "gemini": gemini_credentials.credential,
}
"""What makes a secret into a credential, by protocol; raises CredentialError."""

_NANOUSD_PER_USD = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Blueprint:
    """What a document describes, ready to run. It holds secrets, which never show."""

    document: RoutesDocument
    sha256: str
    """Of the document's bytes, in hex."""
    providers: Mapping[str, ProviderSpec]
    aliases: Mapping[str, Alias]
    facts: Mapping[str, ModelFacts]
    """What is known of models, by `provider/model`."""
    limits: ServerLimits
    named: frozenset[TargetId] = frozenset()
    """The targets that some alias names."""

    def table(self) -> AliasTable:
        """Return a new alias table, of which nothing was learnt yet."""
        return AliasTable(self.aliases, frozenset(self.providers), self.facts, _features_of(self.providers))

    def models_of(self, provider: str) -> frozenset[str]:
        """Return the models of a provider that some alias names."""
        return frozenset(target.model for target in self.named if target.provider == provider)


NOTHING = Blueprint(RoutesDocument.model_construct(version=1, providers={}), "", {}, {}, {}, ServerLimits())
"""No routes at all: what a server runs on before it has read its own."""


def prepare(routes: LoadedRoutes, pause: Pause = no_pause) -> Blueprint:
    """Build all of a validated document that needs no live state. Pure, for any thread; may take some time.

    Raises InvalidRoutesError for secrets that cannot be credentials of their provider's protocol.
    """
    document = routes.document
    facts = {name: facts_of(document, name) for name in named_models(document)}
    known = {name: _facts(model) for name, model in facts.items()}
    pause()
    providers, findings = _providers(document, routes.secrets, facts, pause)
    if findings:
        raise InvalidRoutesError(in_order(findings))
    features_of = _features_of(providers)
    return Blueprint(
        document,
        routes.sha256,
        providers,
        {name: _alias(name, settings, known, features_of) for name, settings in document.aliases.items()},
        known,
        _limits(document),
        frozenset(
            TargetId(target.provider, target.model)
            for alias in document.aliases.values()
            for tier in alias.tiers
            for target in tier.targets
        ),
    )


def _providers(
    document: RoutesDocument,
    secrets: Mapping[tuple[str, str], Secret],
    facts: Mapping[str, ModelSettings],
    pause: Pause,
) -> tuple[dict[str, ProviderSpec], list[Finding]]:
    models: dict[str, dict[str, ModelTerms]] = {}
    for name, model in facts.items():
        provider, _, upstream = name.partition("/")
        models.setdefault(provider, {})[upstream] = _model_terms(model)
    findings: list[Finding] = []
    specs: dict[str, ProviderSpec] = {}
    for name, settings in document.providers.items():
        specs[name] = _provider(_terms(name, settings, models.get(name, {})), settings, secrets, findings)
        pause()
    return specs, findings


def _terms(name: str, settings: ProviderSettings, models: Mapping[str, ModelTerms]) -> AdapterTerms:
    preset = shipped_presets().get(settings.preset or "")
    speaks = preset is not None and preset.protocol == settings.protocol
    return AdapterTerms(
        name,
        settings.base_url.rstrip("/"),
        models,
        read_quirks(preset.quirks) if preset is not None and speaks else NO_QUIRKS,
        (preset.wire or "") if preset is not None and speaks else "",
        region=settings.region,
        api_version=settings.api_version,
        deployments=dict(settings.deployments),
    )


def _model_terms(model: ModelSettings) -> ModelTerms:
    capabilities = None if model.capabilities is None else frozenset(model.capabilities)
    return ModelTerms(model.max_output_tokens, capabilities, model.wire or "")


def _provider(
    terms: AdapterTerms,
    settings: ProviderSettings,
    secrets: Mapping[tuple[str, str], Secret],
    findings: list[Finding],
) -> ProviderSpec:
    transport_class(settings.transport)  # imported here, so that nothing is imported on the event loop
    protocol = settings.protocol
    auth: dict[str, Mapping[str, str]] = {}
    signers: dict[str, Signer] = {}
    keys: list[KeySpec] = []
    for index, key in enumerate(settings.keys):
        secret = secrets[terms.provider, key.id]
        keys.append(key_spec(key, secret, adaptive=settings.gate.adaptive is not None))
        auth[key.id] = {}
        try:
            credential = CREDENTIALS[protocol](secret.reveal(), terms)
        except CredentialError as error:
            path = format_path(("providers", terms.provider, "keys", index, "secret"))
            findings.append(Finding("error", path, None, "bad_credential", str(error)))
            continue
        if isinstance(credential, StaticHeaders):
            auth[key.id] = credential.headers
        else:
            signers[key.id] = credential
    if not keys:
        auth[KEYLESS] = {}
        keys.append(KeySpec(KEYLESS, 1.0))
    times = settings.timeouts
    return ProviderSpec(
        terms.provider,
        terms.base_url,
        protocol,
        settings.transport,
        tuple(keys),
        auth,
        _gate_limits(settings.gate),
        Timeouts(times.connect_s, times.first_token_s, times.stall_s, times.response_s),
        CircuitLimits(**settings.circuit.model_dump()),
        BudgetLimits(**settings.retry_budget.model_dump()),
        terms,
        _adapter(protocol, terms),
        _wires(protocol, terms),
        signers,
    )


def with_models_of(spec: ProviderSpec, other: ProviderSpec) -> ProviderSpec:
    """Return `spec` with adapters that know the models of `other` too. Takes microseconds."""
    terms = replace(spec.terms, models={**spec.terms.models, **other.terms.models})
    return replace(spec, terms=terms, adapter=_adapter(spec.protocol, terms), wires=_wires(spec.protocol, terms))


def _adapter(protocol: str, terms: AdapterTerms) -> Adapter:
    """Return the adapter of models that need no other wire than their provider's."""
    return WIRES.get((protocol, terms.wire), ADAPTERS[protocol])(terms)


def _wires(protocol: str, terms: AdapterTerms) -> dict[str, Adapter]:
    """Return the adapters of the models that need another wire; models of one wire share one."""
    made: dict[str, Adapter] = {}
    wires: dict[str, Adapter] = {}
    for name, model in terms.models.items():
        maker = WIRES.get((protocol, model.wire), ADAPTERS[protocol])
        if model.wire and maker is not WIRES.get((protocol, terms.wire), ADAPTERS[protocol]):
            if model.wire not in made:
                made[model.wire] = maker(terms)
            wires[name] = made[model.wire]
    return wires


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


def _features_of(providers: Mapping[str, ProviderSpec]) -> FeaturesOf:
    """Return what tells of each target what its adapter carries."""
    wires = {
        TargetId(name, model): _features(adapter, model)
        for name, spec in providers.items()
        for model, adapter in spec.wires.items()
    }

    def features_of(target: TargetId) -> frozenset[str] | None:
        if target in wires:
            return wires[target]
        spec = providers.get(target.provider)
        return None if spec is None else _features(spec.adapter, target.model)

    return features_of


def _features(adapter: Adapter | None, model: str) -> frozenset[str] | None:
    if adapter is None:
        return None
    carried = adapter.features_of(model) if isinstance(adapter, FeaturesByModel) else adapter.features
    return carried if adapter.embeddings is None else carried | {"embeddings"}


def _alias(name: str, settings: AliasSettings, facts: Mapping[str, ModelFacts], features_of: FeaturesOf) -> Alias:
    tiers = tuple(
        Tier(tuple(_member(target, facts, features_of) for target in tier.targets), Strategy(tier.strategy))
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


def _member(target: TargetSettings, facts: Mapping[str, ModelFacts], features_of: FeaturesOf) -> AliasTarget:
    target_id = TargetId(target.provider, target.model)
    return AliasTarget(
        target_id,
        target.weight,
        target.variant or "",
        facts.get(target.target, UNKNOWN_FACTS),
        features_of(target_id),
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
        model.embedding_space,
    )


def _nanousd(usd: float | None) -> int | None:
    return None if usd is None else round(usd * _NANOUSD_PER_USD)


def _limits(document: RoutesDocument) -> ServerLimits:
    server = document.server
    return ServerLimits(
        server.write_timeout_s,
        server.deadline_reserve_s,
        server.default_deadline_s,
        server.max_deadline_s,
        server.detach_s,
    )
