"""The routes file as types: every setting that is built, with its unit, its default and its meaning.

Names and defaults are those of the routes file's documentation. What the file may name but this release does
not do yet stands in `built`, and is refused by name. The models are frozen: a loaded document never changes.
"""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Annotated, Literal, cast

from pydantic import Field, model_validator

from trunkline_server.config.fields import (
    FILLED,
    GIVEN,
    VERSION,
    BaseUrl,
    CallCount,
    Flag,
    InFlight,
    Label,
    MaxCostUsd,
    ModelName,
    ModelPattern,
    PerMinute,
    PerSecond,
    Ratio,
    Seconds,
    SecondsOrZero,
    SecretReference,
    Settings,
    TargetName,
    TokenCount,
    UsdPerMillion,
    Weight,
)
from trunkline_server.config.people import AdminSettings, CallerSettings
from trunkline_server.config.presets import with_preset


def may_use(model: str, models: tuple[str, ...], block_models: tuple[str, ...]) -> bool:
    """Tell whether a key with these lists may be used for the upstream model `model`; the block list wins."""
    if any(fnmatchcase(model, pattern) for pattern in block_models):
        return False
    return any(fnmatchcase(model, pattern) for pattern in models)


class KeySettings(Settings):
    """One credential of a provider's pool."""

    id: Label
    """Shown in logs, metrics and answers; unique within its provider."""

    secret: SecretReference
    """``env:NAME`` or ``file:PATH``; read again at every reload."""

    weight: Weight = 1.0
    """Share of the provider's calls, relative to the other keys. Default 1; 0: used only if no other is left."""

    models: tuple[ModelPattern, ...] = ("*",)
    """Upstream models that this key may be used for, as names or shell-style patterns. Default: all."""

    block_models: tuple[ModelPattern, ...] = ()
    """Upstream models that this key must not be used for; wins over `models`. Default: none."""

    requests_per_minute: Annotated[PerMinute | None, GIVEN] = None
    """Calls a minute that the key may serve, for each model apart. Default: no limit."""

    tokens_per_minute: Annotated[PerMinute | None, GIVEN] = None
    """Tokens a minute, prompts and answers together, for each model apart. Default: no limit."""

    max_in_flight: Annotated[InFlight | None, GIVEN] = None
    """Calls in flight at once with this key. Default: no limit but the gate's."""

    quota_group: Annotated[Label | None, GIVEN] = None
    """Keys of one account have the same: what cools one of them cools all. Default: an account of its own."""

    burst_s: Annotated[float, Field(strict=True, gt=0, le=60, allow_inf_nan=False)] = 1.0
    """How much of its limits a minute the key may use at once after a pause, in seconds' worth. Default 1."""

    def serves(self, model: str) -> bool:
        """Tell whether this key may be used for the upstream model `model`."""
        return may_use(model, self.models, self.block_models)


class AdaptiveSettings(Settings):
    """Between what bounds the limit of calls in flight moves by itself: up while calls succeed, down on overload."""

    min: InFlight = 10
    """The lowest that it falls to. At most `max_in_flight`, where it starts. Default 10."""

    max: InFlight = 400
    """The highest that it grows to. At least `max_in_flight`. Default 400."""


class GateSettings(Settings):
    """How many calls may be in flight at a provider, and how many may wait for that."""

    max_in_flight: InFlight = 200
    """Calls in flight at once, streams until their last byte. Default 200."""

    queue: Annotated[int, Field(strict=True, ge=0, le=100_000)] = 500
    """Calls that may wait for a slot; 0: none waits. Default 500."""

    max_wait_s: SecondsOrZero = 5.0
    """Longest wait for a slot and a key, in seconds. Default 5."""

    adaptive: Annotated[AdaptiveSettings | None, GIVEN] = None
    """Lets the limit move with what the provider bears. Default: `max_in_flight` stands."""

    dispatches_per_s: Annotated[PerSecond | None, GIVEN] = None
    """Calls are sent no faster than this, evenly spaced. Default: not paced."""

    burst: CallCount = 2
    """Calls that may be sent at once after a pause, where they are paced. Default 2."""


class TimeoutSettings(Settings):
    """How long each phase of an upstream call may take."""

    connect_s: Seconds = 3.0
    """DNS, TCP and TLS together, in seconds. Default 3."""

    first_token_s: Seconds = 20.0
    """Streams: from dispatch to the first content, in seconds. Default 20."""

    stall_s: Seconds = 20.0
    """Streams: between two pieces of content, in seconds. Default 20."""

    response_s: Seconds = 120.0
    """Calls without a stream: from dispatch to the last byte, in seconds. Default 120."""


class CircuitSettings(Settings):
    """When a target is taken out of use for failing, and how it comes back. Each target has a circuit of its own."""

    recent: CallCount = 20
    """How many of the latest outcomes `recent_failures` looks at. Default 20."""

    recent_failures: CallCount = 16
    """The circuit opens when so many of the latest outcomes failed. At most `recent`. Default 16."""

    failures_in_row: CallCount = 5
    """With fewer than `min_calls` outcomes within `window_s` it opens after so many failures in a row. Default 5."""

    window_s: Seconds = 10.0
    """The time that `error_ratio` and `min_calls` look at, in seconds. Default 10."""

    error_ratio: Annotated[float, Field(strict=True, gt=0, le=1, allow_inf_nan=False)] = 0.5
    """It opens when so much of the outcomes within `window_s` failed. Default 0.5."""

    min_calls: CallCount = 20
    """Fewest outcomes within `window_s` from which `error_ratio` is judged. Default 20."""

    open_s: Seconds = 5.0
    """How long it stays open before a call probes the target, in seconds; twice as long after each failed return,
    and drawn from a tenth less to a tenth more. Default 5."""

    open_max_s: Seconds = 300.0
    """The longest that it stays open, in seconds. At least `open_s`. Default 300."""

    ramp_s: Seconds = 6.0
    """How long it then takes to let in all calls, in seconds: 10, 25 and 50 % for a third of it each. Default 6."""


class RetryBudgetSettings(Settings):
    """How many more attempts a provider may be sent than requests came for it, counted over 10 seconds."""

    ratio: Ratio = 0.1
    """Share of the requests that may be tried again there. Default 0.1."""

    recovering_ratio: Ratio = 0.45
    """Added to `ratio` after failures that pass by themselves (500, connection errors, broken answers), times the
    share of recent retries that succeeded. Default 0.45."""

    floor_per_s: Annotated[float, Field(strict=True, ge=0, le=10_000, allow_inf_nan=False)] = 3.0
    """Retries a second besides, however few the requests. Default 3."""


class ProviderSettings(Settings):
    """One upstream endpoint of some wire protocol."""

    preset: Annotated[Label | None, GIVEN] = None
    """A server of `trunkline presets`: brings protocol, URL, limits and quirks; what is said here goes before them."""

    protocol: Literal["openai", "anthropic", "bedrock", "gemini", "azure_openai", "cohere"]
    """The wire protocol that the endpoint speaks."""

    base_url: BaseUrl
    """Where its API starts, such as ``https://api.openai.com/v1``. http only to loopback, see `allow_plaintext`."""

    keys: tuple[KeySettings, ...] = ()
    """The pool of credentials. Default none: calls then carry no Authorization header (local servers)."""

    gate: GateSettings = GateSettings()
    """Bounded concurrency towards this provider."""

    timeouts: TimeoutSettings = TimeoutSettings()
    """Timeouts by phase; a model may have its own in `models`."""

    circuit: CircuitSettings = CircuitSettings()
    """When a target of this provider is taken out of use for failing."""

    retry_budget: RetryBudgetSettings = RetryBudgetSettings()
    """How many retries this provider gets, from all requests together."""

    transport: Literal["aiohttp", "httpx"] = "aiohttp"
    """The HTTP client that carries the calls. Default aiohttp."""

    allow_plaintext: Flag = False
    """Permits http to hosts other than loopback: keys and prompts then travel readable. Default false."""

    region: Annotated[Label | None, GIVEN] = None
    """bedrock: the region that calls are signed for, if the host of `base_url` does not say it."""

    api_version: Annotated[Label | None, GIVEN] = None
    """azure_openai, anthropic: the version of the API that is asked for. Default: the adapter's own."""

    deployments: Mapping[ModelName, Label] = {}
    """azure_openai: the deployment that serves a model, by the model's name. Default: it is named like the model."""

    _over_preset = model_validator(mode="before")(with_preset)


class ModelFacts(Settings):
    """What is known of an upstream model. A fact that is not given is unknown, which is not zero."""

    context_tokens: Annotated[TokenCount | None, GIVEN] = None
    """Context window in tokens, prompt and answer together."""

    max_output_tokens: Annotated[TokenCount | None, GIVEN] = None
    """Longest answer in tokens."""

    input_usd_per_million: Annotated[UsdPerMillion | None, GIVEN] = None
    """Price of a million input tokens in US dollars."""

    output_usd_per_million: Annotated[UsdPerMillion | None, GIVEN] = None
    """Price of a million output tokens in US dollars."""

    capabilities: Annotated[tuple[Label, ...] | None, GIVEN] = None
    """What the model can do: tools, vision, json_schema, reasoning, prefill, …"""

    regions: Annotated[tuple[Label, ...] | None, GIVEN] = None
    """Where the model is served, such as us and eu; words of your own, compared with what requests ask for."""

    embedding_space: Annotated[Label | None, GIVEN] = None
    """Models of the same word make vectors that may be compared. Default: the model's name behind its last slash."""

    wire: Annotated[Literal["chat", "responses"] | None, GIVEN] = None
    """openai, azure_openai: which of the protocol's two wires serves the model. Default chat completions."""

    first_token_s: Annotated[Seconds | None, GIVEN] = None
    """Replaces the provider's `timeouts.first_token_s` for this model, in seconds."""

    stall_s: Annotated[Seconds | None, GIVEN] = None
    """Replaces the provider's `timeouts.stall_s` for this model, in seconds."""

    response_s: Annotated[Seconds | None, GIVEN] = None
    """Replaces the provider's `timeouts.response_s` for this model, in seconds."""


class TargetSettings(Settings):
    """One target of a tier. In a document also its bare name: ``openai/gpt-4o-mini``."""

    target: TargetName
    """``provider/model``: a provider of this document and the model's name there."""

    weight: Weight = 1.0
    """Share of the tier's traffic, relative to its other targets. Default 1; 0: used only if no other is left."""

    variant: Annotated[Label | None, GIVEN] = None
    """A name for experiments, told to the caller when this target serves. Default none."""

    @model_validator(mode="before")
    @classmethod
    def _from_bare_name(cls, given: object) -> object:
        return {"target": given} if isinstance(given, str) else given

    @property
    def provider(self) -> str:
        """The part before the first slash: a name under `providers`."""
        return self.target.partition("/")[0]

    @property
    def model(self) -> str:
        """The part after the first slash: the model's upstream name."""
        return self.target.partition("/")[2]


class TierSettings(Settings):
    """Targets that share traffic. In a document also the bare list of its targets."""

    strategy: Literal["weighted", "least_loaded", "lowest_cost", "lowest_latency"] = "weighted"
    """How a target is picked: in turn by weight (default), the less loaded of two, the cheapest, the fastest lately."""

    targets: Annotated[tuple[TargetSettings, ...], FILLED]
    """At least one target."""

    @model_validator(mode="before")
    @classmethod
    def _from_list(cls, given: object) -> object:
        return {"targets": cast("list[object]", given)} if isinstance(given, list) else given


class HedgeSettings(Settings):
    """Whether a second attempt may race one that is slow to give its first content."""

    enabled: Flag = False
    """Default false."""

    percentile: Annotated[float, Field(strict=True, ge=50, le=99.9, allow_inf_nan=False)] = 95.0
    """How long the first attempt is waited for: what so much per cent of the target's recent ones kept. Default 95."""

    max_extra: Annotated[float, Field(strict=True, gt=0, le=0.1, allow_inf_nan=False)] = 0.02
    """Largest share of a provider's recent requests that a hedge is sent for. Default 0.02."""


class AliasSettings(Settings):
    """A logical model name that callers use."""

    tiers: Annotated[tuple[TierSettings, ...], FILLED]
    """The first is the primary, the next ones are fallbacks in order."""

    on_break: Literal["FAIL", "RESTART", "CONTINUE"] = "FAIL"
    """What follows when a stream breaks after its first content, unless the request says it: the caller is told, and
    it ends (FAIL, the default), starts anew (RESTART), or another target goes on with the text so far (CONTINUE)."""

    allow_prompted_continuation: Flag = False
    """Permits CONTINUE with models that cannot be given the start of their answer (capability prefill): they are asked
    in words to go on, and may repeat or miss something. Default false."""

    on_key_rejected: Literal["fail", "next_target"] = "fail"
    """When a provider rejects every key of a target: fail fast (default), or go to the next target."""

    on_content_filtered: Literal["fail", "next_target"] = "fail"
    """When a provider's filter blocks the call: tell the caller (default), or go to the next target."""

    hedge: HedgeSettings = HedgeSettings()
    """Second attempts for streams that are slow to start."""

    max_attempts: Annotated[int, Field(strict=True, ge=1, le=100)] = 3
    """Upstream calls for one request, over all targets. Default 3."""

    default_deadline_s: Annotated[Seconds | None, GIVEN] = None
    """For calls without a deadline, in seconds. Default: the server's `default_deadline_s`."""

    max_cost_usd: Annotated[MaxCostUsd | None, GIVEN] = None
    """The most that one request may cost in US dollars, by estimate before the call. Default: no limit."""

    max_first_token_s: Annotated[Seconds | None, GIVEN] = None
    """Targets whose first content usually takes longer come after all others, in seconds. Default: all are alike."""


class ServerSettings(Settings):
    """Bounds that hold for every call."""

    write_timeout_s: Seconds = 30.0
    """A reader that takes nothing for so long is cut off, in seconds. Default 30."""

    deadline_reserve_s: SecondsOrZero = 0.05
    """Kept back of the caller's deadline to say what happened, in seconds; at most a tenth of it. Default 0.05."""

    default_deadline_s: Seconds = 120.0
    """For calls without a deadline, in seconds, unless their alias has its own. Default 120."""

    max_deadline_s: Seconds = 3600.0
    """The longest deadline that is honoured, in seconds. Default 3600."""

    detach_s: Seconds = 60.0
    """How long a detachable stream goes on without a reader, and is kept once it has ended, in seconds. Default 60."""


class RoutesDocument(Settings):
    """A whole routes file."""

    version: Annotated[Literal[1], VERSION]
    """The version of this format: 1."""

    providers: Annotated[Mapping[Label, ProviderSettings], FILLED]
    """Upstream endpoints by name."""

    models: Mapping[TargetName, ModelFacts] = {}
    """Facts about upstream models by ``provider/model``. Each goes before the shipped catalogue's; default: only
    what the catalogue knows."""

    aliases: Mapping[Label, AliasSettings] = {}
    """Logical model names. Default none: callers can then use only the targets that they may name directly."""

    callers: tuple[CallerSettings, ...] = ()
    """Who may call. Default none: whoever reaches the port."""

    admins: tuple[AdminSettings, ...] = ()
    """Who may look and operate. Default none: whoever reaches the admin port, which then answers on loopback only."""

    server: ServerSettings = ServerSettings()
    """Bounds that hold for every call."""
