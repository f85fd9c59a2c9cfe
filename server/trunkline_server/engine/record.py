"""What one request went through: its attempts as they happen, and the summaries that callers get."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from trunkline_server.chat.answer import Usage, Warning_
from trunkline_server.chat.embedding import EmbedRequest
from trunkline_server.chat.request import ChatRequest
from trunkline_server.engine.endpoint import Timeouts
from trunkline_server.engine.frames import AttemptSummary, RouteInfo, ServedBy, Skipped
from trunkline_server.routing.events import Why
from trunkline_server.routing.failures import Failure, FailureClass
from trunkline_server.routing.lease import Lease
from trunkline_server.routing.machine import Machine
from trunkline_server.routing.selection import CIRCUIT
from trunkline_server.routing.types import OnBreak

KEPT_OUT = "CIRCUIT"
"""Told of a candidate that was skipped because its circuit sent the call elsewhere."""


@dataclass(slots=True)
class AttemptRecord:
    """One upstream call while it lives. Times in clock seconds."""

    attempt: int
    served_by: ServedBy
    why: Why
    queued_s: float
    dispatched_at: float
    first_content_at: float | None = None
    ended_at: float | None = None
    failure: Failure | None = None
    usage: Usage | None = None
    bytes_emitted: int = 0
    paused_s: float = 0.0
    """The longest time that our own read was paused by a slow reader."""
    told_success: bool = False
    visible: bool = False
    """Whether its caller was shown content of it."""
    discarded: bool = False
    """Whether what it gave does not count: taken back by a restart, or the loser of a race."""
    candidate: int = -1
    """Of the plan."""
    after_break: OnBreak | None = None
    """RESTART or CONTINUE, if it follows an attempt that broke after content was shown."""
    lease: Lease | None = field(default=None, repr=False)
    """Slot and key, until they are given back."""
    warnings: tuple[Warning_, ...] = ()
    """What could not be carried over to this provider."""
    answer_warnings: tuple[Warning_, ...] = ()
    """Streams: what of its answer could not be carried over to the caller."""

    def blamed(self, failure: Failure, timeouts: Timeouts) -> Failure:
        """Return the failure; as the caller's doing if its reader held our read up, or its own timer was shorter."""
        timer_shortened = (
            timeouts.first_token_shortened
            if failure.failure_class is FailureClass.FIRST_TOKEN_TIMEOUT
            else failure.failure_class is FailureClass.STALLED and timeouts.stall_shortened
        )
        if timer_shortened or self.paused_s > timeouts.stall_s:
            return replace(failure, caused_by_caller=True)
        return failure

    def summary(self, now: float) -> AttemptSummary:
        """Return the record as callers get it; `now` stands in for the end of an attempt that goes on."""
        first = None if self.first_content_at is None else self.first_content_at - self.dispatched_at
        return AttemptSummary(
            self.attempt,
            self.served_by,
            self.why,
            self.queued_s,
            first,
            (now if self.ended_at is None else self.ended_at) - self.dispatched_at,
            self.failure,
            self.usage,
            self.bytes_emitted,
            discarded=self.discarded,
        )


def route_info(machine: Machine, requested: str, version: int, served_by: ServedBy | None) -> RouteInfo:
    """Return how the request was routed so far."""
    plan = machine.plan
    skipped: tuple[Skipped, ...] = ()
    if plan.removed:
        skipped = tuple(Skipped(out.target, KEPT_OUT) for out in plan.removed if out.constraint == CIRCUIT)
    refusals = machine.refusals
    if refusals or machine.guard.kept_out:
        skipped += tuple(
            Skipped(plan.candidates[index].target, refusals[index].reason.value if index in refusals else KEPT_OUT)
            for index in sorted(machine.guard.kept_out.union(refusals))
            if not machine.history[index].tried_keys
        )
    variant = plan.candidates[machine.at].member.variant if served_by is not None else ""
    return RouteInfo(requested, plan.alias.name, version, variant, served_by, skipped, tuple(machine.not_made))


def unused_options(request: ChatRequest | EmbedRequest, served_by: ServedBy) -> tuple[Warning_, ...]:
    """Return a warning for each provider's options that did not matter, since another provider served."""
    if not request.provider_options:
        return ()
    return tuple(
        Warning_(
            "OPTIONS_UNUSED",
            f'provider_options_json["{provider}"]',
            f"{served_by.target.provider} served the request, so these options were not used",
        )
        for provider in request.provider_options
        if provider != served_by.target.provider
    )
