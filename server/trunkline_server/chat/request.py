"""What a caller asks for, validated, and before anybody decided who serves it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from enum import Enum
from typing import Any, Final

from trunkline_server.chat.message import Message
from trunkline_server.routing.record import record
from trunkline_server.routing.types import Criticality, OnBreak


class ReasoningEffort(Enum):
    """How hard a model should think."""

    NONE = "none"
    MINIMAL = "minimal"
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    MAX = "max"


class ToolMode(Enum):
    """Whether the model may, must not, or must call a tool."""

    AUTO = "auto"
    NONE = "none"
    REQUIRED = "required"


@record
class Sampling:
    """How the answer is drawn; None leaves a setting to the provider."""

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    max_output_tokens: int | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    top_logprobs: int | None = None
    """0 asks for the chosen token's log-probability alone."""
    reasoning_effort: ReasoningEffort | None = None
    reasoning_max_tokens: int | None = None

    @property
    def asks_reasoning(self) -> bool:
        """Whether the request wants the model to think, which makes its first token late."""
        effort = self.reasoning_effort
        return bool(self.reasoning_max_tokens) or (effort is not None and effort is not ReasoningEffort.NONE)


NO_SAMPLING: Final = Sampling()
"""Everything is left to the provider: the one object of its kind that a request without settings has."""


@record
class FunctionTool:
    """A function of the caller's that the model may ask for."""

    name: str
    description: str | None = None
    parameters: Mapping[str, Any] | None = None
    """Its JSON schema, decoded once; adapters write it into their body."""
    strict: bool | None = None


@record
class ProviderTool:
    """A tool that one provider runs itself; the others become ineligible."""

    provider: str
    tool: Mapping[str, Any]


@record
class ToolChoice:
    """`mode`, or one named `function`; at most one of the two is set."""

    mode: ToolMode | None = None
    function: str | None = None
    parallel: bool | None = None


@record
class JsonObjectOutput:
    """The answer is to be some JSON object."""


@record
class JsonSchemaOutput:
    """The answer is to be JSON of this schema."""

    name: str
    schema: Mapping[str, Any]
    strict: bool | None = None


@record
class RoutingOptions:
    """The request's wishes about routing; they can only tighten what the alias allows."""

    max_attempts: int | None = None
    allow_fallback: bool = True
    exclude_targets: frozenset[str] = frozenset()
    """`provider/model`, or a provider's name alone for all of its targets."""
    on_break: OnBreak | None = None
    """None: as the alias says."""
    max_first_token_s: float | None = None
    """Streams: shortens the provider's own timer; likewise the next one."""
    max_token_gap_s: float | None = None
    allow_hedge: bool | None = None
    """None: as the alias says; True allows what the alias allows, no more."""
    detachable: bool = False
    heartbeat_s: float | None = None
    announce_early: bool = False
    usage_every_s: float | None = None
    fallback_models: tuple[str, ...] = ()
    """Aliases or `provider/model` that come after the alias's own tiers, in order."""
    sticky_key: str | None = None
    """Requests of one key go to the same target of a tier, as long as it is there and well."""
    criticality: Criticality | None = None
    """None: the caller's highest."""
    max_cost_nanousd: int | None = None
    require_capabilities: frozenset[str] = frozenset()
    allow_regions: frozenset[str] = frozenset()
    """Empty: all."""
    may_drop: frozenset[str] = frozenset()
    """Droppable features (see `chat.features`) that need not be carried, with a warning; `*` for all of them."""


@record
class ChatRequest:
    """One request. Its size is bounded by the boundary that decoded it."""

    model: str
    """An alias, or `provider/model`."""
    messages: tuple[Message, ...]
    request_id: str
    sampling: Sampling = NO_SAMPLING
    tools: tuple[FunctionTool | ProviderTool, ...] = ()
    tool_choice: ToolChoice | None = None
    output: JsonObjectOutput | JsonSchemaOutput | None = None
    routing: RoutingOptions = RoutingOptions()
    labels: Mapping[str, str] = field(default_factory=dict)
    provider_options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Provider name to the keys that its upstream body gets besides ours."""

    @property
    def asks_reasoning(self) -> bool:
        """Whether it wants the model to think: see `Sampling`."""
        return self.sampling.asks_reasoning
