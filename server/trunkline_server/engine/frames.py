"""What the engine hands to the boundary: frames of a stream, whole answers, and how a call failed.

The records mirror the contract's messages one to one; `rpc` turns them into protobuf and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Generic, TypeVar

from trunkline_server.chat.answer import Answer, FinishReason, TokenLogprob, Usage, Warning_
from trunkline_server.chat.embedding import EmbedAnswer
from trunkline_server.routing.events import Why
from trunkline_server.routing.failures import Failure, FailureClass
from trunkline_server.routing.record import Word, record
from trunkline_server.routing.types import OnBreak, Reason, TargetId

_Answer = TypeVar("_Answer", Answer, EmbedAnswer)


class NextStep(Enum):
    """What follows a broken attempt."""

    CONTINUING = "CONTINUING"
    RESTARTING = "RESTARTING"
    GIVING_UP = "GIVING_UP"


class StreamOutcome(Word):
    """How a stream ended."""

    COMPLETE = "COMPLETE"
    INCOMPLETE = "INCOMPLETE"
    FAILED = "FAILED"


class ContinuationMethod(Enum):
    """How the next target is brought to go on from the text so far."""

    PREFILL = "PREFILL"
    """It is given the text as the beginning of its own answer."""
    PROMPTED = "PROMPTED"
    """It is asked in words to go on."""


class DeltaKind(Word):
    """The contract's kinds of content."""

    TEXT = "text"
    THINKING = "thinking"
    THINKING_SIGNATURE = "thinking_signature"
    TOOL_CALL = "tool_call"
    REFUSAL = "refusal"


@record
class ServedBy:
    """A target and the key that was used; its secret is nowhere near."""

    target: TargetId
    key_id: str


@record
class Skipped:
    """A candidate that refused before a dispatch."""

    target: TargetId
    reason: str


@record
class RouteInfo:
    """How the request was routed."""

    requested: str
    alias: str
    """Empty for a direct `provider/model`."""
    route_version: int
    variant: str
    served_by: ServedBy | None
    skipped: tuple[Skipped, ...]
    not_made: tuple[str, ...] = ()
    """Attempts that might have been made and were not, each with its reason; for the log."""


@record
class AttemptSummary:
    """One upstream call that was dispatched. Durations in seconds."""

    attempt: int
    served_by: ServedBy
    why: Why
    queued_s: float
    first_token_s: float | None
    total_s: float
    failure: Failure | None
    usage: Usage | None
    bytes_emitted: int
    discarded: bool
    """Whether what it emitted does not count in the answer."""


@record
class FieldViolation:
    """One thing wrong with a request; `path` as in `messages[0].parts[1].tool_call.arguments_json`."""

    path: str
    message: str


@record
class CallFailure:
    """How a call ended as an error, with all that its caller is told."""

    reason: Reason
    message: str
    failure_class: FailureClass | None = None
    retry_after_s: float | None = None
    """Told as RetryInfo."""
    violations: tuple[FieldViolation, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)
    """More entries for ErrorInfo."""
    attempts: tuple[AttemptSummary, ...] = ()
    failure: Failure | None = None
    """The upstream failure that is told, if it was one."""
    last_http_status: int | None = None
    violations_omitted: int = 0
    """How many more violations there were."""
    not_made: tuple[str, ...] = ()
    """Attempts that might have been made and were not, each with its reason: an entry of ErrorInfo, and of the log."""
    stream_goes_on: bool = False
    """Only this reader's RPC ends, not the stream: no `end` frame belongs to it."""


class CallFailedError(Exception):
    """A call failed; `failure` is what the caller is told."""

    def __init__(self, failure: CallFailure) -> None:
        super().__init__(f"{failure.reason.value}: {failure.message}")
        self.failure = failure


@dataclass(slots=True)
class StartedFrame:
    """Once, first: with the first content, or at admission if the request asks for that."""

    request_id: str
    stream_id: str
    route: RouteInfo
    created_unix_s: float
    queued_s: float | None
    """None at admission."""
    warnings: tuple[Warning_, ...]
    seq: int = 0
    """The frame's number in its stream, from 1; the outbox gives it when the frame is taken. Likewise below."""


@dataclass(slots=True)
class Seam:
    """Where a continuation joins what a broken attempt had delivered."""

    method: ContinuationMethod
    overlap_bytes: int
    """Of repetition that was cut from the front of what follows."""
    after_seq: int = 0
    """Of the last content before it that stands; filled in by the outbox."""


@dataclass(slots=True)
class AttemptStartedFrame:
    """An attempt became visible."""

    attempt: int
    served_by: ServedBy
    why: Why
    queued_s: float
    seam: Seam | None = None
    seq: int = 0


@dataclass(slots=True)
class ContentFrame:
    """Content: one merged item. `offset` counts bytes in the part (for a tool call: of its arguments)."""

    attempt: int
    kind: DeltaKind
    part: int
    offset: int
    text: str
    """Text, reasoning, signature, refusal, or more of the arguments."""
    tool_id: str = ""
    tool_name: str = ""
    tool_done: bool = False
    logprobs: tuple[TokenLogprob, ...] = ()
    seq: int = 0
    redacted: bool = False
    """Of a signature: it is the sealed form of words that the provider withholds."""


@dataclass(slots=True)
class AttemptFailedFrame:
    """The partial-stream error frame: an attempt broke after the commit point."""

    attempt: int
    failure: Failure
    reason: Reason
    """What its status would be: the row of its class."""
    served_by: ServedBy
    bytes_emitted: int
    tool_calls_done: tuple[str, ...]
    tool_calls_open: tuple[str, ...]
    usage: Usage | None
    next_step: NextStep
    on_break_asked: OnBreak
    on_break_applied: OnBreak
    degraded_because: str = ""
    """Why less is done than was asked for; empty if it is not less."""
    seq: int = 0


@dataclass(slots=True)
class ResetFrame:
    """Content is taken back."""

    keep_through_seq: int
    """0: all of it is."""
    seq: int = 0


@dataclass(slots=True)
class UsageFrame:
    """What was used so far."""

    attempt: int
    usage: Usage
    """Of the attempt."""
    total: Usage
    """Of all attempts so far."""
    seq: int = 0


@dataclass(slots=True)
class HeartbeatFrame:
    """Nothing else moves."""

    queue_position: int | None
    """From 1; None: it does not wait in a queue."""
    waited_s: float
    """Since the request came, or since its last content."""
    seq: int = 0


@dataclass(slots=True)
class DrainingFrame:
    """The server is going down."""

    time_left_s: float
    seq: int = 0


@dataclass(slots=True)
class EndFrame:
    """Exactly once, last. `error` is set when the outcome is FAILED; the same failure is the RPC's status."""

    outcome: StreamOutcome
    finish_reason: FinishReason
    native_finish_reason: str
    error: CallFailure | None
    usage: Usage | None
    attempts: tuple[AttemptSummary, ...]
    route: RouteInfo
    content_bytes: int
    content_crc32c: int
    seq: int = 0
    warnings: tuple[Warning_, ...] = ()
    """Those that `started` could not tell yet."""


Frame = (
    StartedFrame
    | AttemptStartedFrame
    | ContentFrame
    | AttemptFailedFrame
    | ResetFrame
    | UsageFrame
    | HeartbeatFrame
    | DrainingFrame
    | EndFrame
)
"""What a stream is made of, numbered."""


@dataclass(slots=True)  # frozen slots cannot be made through the names below
class AnsweredCall(Generic[_Answer]):
    """A call with its whole answer, and how it came about. Nobody changes it."""

    request_id: str
    answer: _Answer
    route: RouteInfo
    attempts: tuple[AttemptSummary, ...]
    created_unix_s: float
    warnings: tuple[Warning_, ...]
    """Ours and the attempt's."""


CompletedCall = AnsweredCall[Answer]
"""What `Complete` gives."""

EmbeddedCall = AnsweredCall[EmbedAnswer]
"""What `Embed` gives."""


@record
class ExplainedCandidate:
    """One candidate of a plan, kept or left out."""

    target: TargetId
    tier: int
    order: int
    """Place in the plan from 1; 0 when it was left out."""
    eligible: bool
    removed_because: tuple[str, ...]
    region: str = ""
    predicted_first_token_s: float | None = None
    """Its median of late; None: too few calls say."""
    predicted_cost_nanousd: int | None = None
    """By estimate; None: its prices are not known."""
    variant: str = ""
    weight: float = 1.0
    ordered_by: str = ""
    """What orders its tier: the strategy, or `sticky`."""
    score: float | None = None
    """By which it was ordered; what it means depends on `ordered_by`."""
    late: bool = False
    """It comes behind those that keep the limit on the first token."""
    in_flight: int | None = None
    circuit: str = ""
    """The circuit's state; empty: it has none."""
    keys: str = ""
    """Why none of its keys could serve now, even if one could after a wait."""


@record
class Explanation:
    """The routing decision for a request, nothing sent upstream."""

    route: RouteInfo
    candidates: tuple[ExplainedCandidate, ...]


@record
class ModelInfo:
    """An alias or model that a caller may use. None: unknown."""

    name: str
    is_alias: bool
    targets: tuple[TargetId, ...]
    capabilities: tuple[str, ...]
    context_tokens: int | None
    max_output_tokens: int | None
    input_nanousd_per_million: int | None
    output_nanousd_per_million: int | None


@record
class ModelList:
    """All aliases and models that a caller may use."""

    models: tuple[ModelInfo, ...]
    route_version: int
