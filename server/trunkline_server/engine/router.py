"""The engine itself: plans each request on the running snapshot and runs it; explains and lists by the same code."""

from __future__ import annotations

import json
import random
import time
from collections.abc import AsyncGenerator, Callable, Sequence

from trunkline_server.chat.answer import Warning_
from trunkline_server.chat.embedding import EmbedRequest
from trunkline_server.chat.estimate import Calibration, estimate_input_tokens
from trunkline_server.chat.request import ChatRequest
from trunkline_server.engine.api import CallScope
from trunkline_server.engine.callers import CallerAccounts, expected_cost_nanousd
from trunkline_server.engine.demand import demand_of
from trunkline_server.engine.embedding import EmbedCall, demand_of_inputs
from trunkline_server.engine.endpoint import Endpoint
from trunkline_server.engine.explaining import explained
from trunkline_server.engine.frames import (
    CallFailedError,
    CompletedCall,
    EmbeddedCall,
    Explanation,
    FieldViolation,
    Frame,
    ModelInfo,
    ModelList,
)
from trunkline_server.engine.need import Need
from trunkline_server.engine.outbox import ROOM_BYTES
from trunkline_server.engine.outcome import OutcomeListener, nobody_listens
from trunkline_server.engine.pulse import MIN_S
from trunkline_server.engine.ring import RING_BYTES
from trunkline_server.engine.snapshot import Snapshot, Snapshots
from trunkline_server.engine.stream_registry import StreamRegistry
from trunkline_server.engine.streaming import StreamingCall
from trunkline_server.engine.telling import no_eligible_target, unknown_model
from trunkline_server.engine.unary import UnaryCall
from trunkline_server.providers.base import Adapter
from trunkline_server.providers.embedding import EmbeddingAdapter
from trunkline_server.routing.aliases import Alias, ModelFacts, UnknownModelError
from trunkline_server.routing.caller_account import Pass
from trunkline_server.routing.demand import Demand
from trunkline_server.routing.health import Health, HealthOf
from trunkline_server.routing.selection import NoEligibleTargetError, Plan, make_plan
from trunkline_server.routing.types import Caller, Criticality, Refusal, TargetId

_Request = ChatRequest | EmbedRequest


class RoutingEngine:
    """Implements `engine.api.Engine` on whatever snapshot a request is given when it comes."""

    def __init__(
        self,
        snapshots: Snapshots,
        *,
        rng: random.Random,
        clock: Callable[[], float] = time.monotonic,
        ended: OutcomeListener = nobody_listens,
        callers: CallerAccounts | None = None,
    ) -> None:
        """Take `ended` to be told of each call that got a plan and was begun: once, when it is over on whatever way.

        `callers`: the accounts of those with limits; None: new ones, of nobody yet.
        """
        self._snapshots = snapshots
        self._ended = ended
        self._rng = rng
        self._clock = clock
        self._calibration = Calibration()
        self.callers = CallerAccounts(clock=clock) if callers is None else callers
        self.streams = StreamRegistry()
        """The streams that live, for those who come back to one."""

    async def complete(self, request: ChatRequest, scope: CallScope) -> CompletedCall:
        """Return one whole answer; raise CallFailedError."""
        snapshot = self._snapshots.pick(self._rng)
        plan, need = self._plan(snapshot, request, scope.caller, streams=False)
        call = UnaryCall(
            request,
            scope,
            plan,
            snapshot,
            need,
            clock=self._clock,
            rng=self._rng,
            ended=self._ended,
            warnings=_warnings(request, scope.caller, plan, None),
        )
        return await call.run()

    async def embed(self, request: EmbedRequest, scope: CallScope) -> EmbeddedCall:
        """Return one vector for each input; raise CallFailedError."""
        snapshot = self._snapshots.pick(self._rng)
        plan, need = self._plan(snapshot, request, scope.caller, streams=False)
        call = EmbedCall(
            request,
            scope,
            plan,
            snapshot,
            need,
            clock=self._clock,
            rng=self._rng,
            ended=self._ended,
            warnings=_warnings(request, scope.caller, plan, None),
        )
        return await call.run()

    def stream(self, request: ChatRequest, scope: CallScope) -> AsyncGenerator[Frame, None]:
        """Return the answer's frames; planned at once, begun with the first frame that is asked for."""
        snapshot = self._snapshots.pick(self._rng)
        plan, need = self._plan(snapshot, request, scope.caller, streams=True)
        streams, caller_id, routing = self.streams, scope.caller.id, request.routing
        stream_id = streams.new_id()
        declined = streams.may_detach(caller_id) if routing.detachable else None
        detachable = routing.detachable and declined is None
        # What outlives its RPC has a scope of its own; the stream passes on what its readers' scopes are told.
        own = CallScope(scope.caller, scope.deadline_at, scope.previous_attempts) if detachable else scope
        call = StreamingCall(
            request,
            own,
            plan,
            snapshot,
            need,
            clock=self._clock,
            rng=self._rng,
            ended=self._ended,
            stream_id=stream_id,
            warnings=_warnings(request, scope.caller, plan, declined),
            # What waits when a reader is lost must not drive out of the ring what that reader lacks.
            room_bytes=RING_BYTES // 4 if detachable else ROOM_BYTES,
        )
        if detachable:
            return streams.open(stream_id, call, caller_id, snapshot.limits.detach_s, scope)
        return call.frames(lambda: streams.track(stream_id, caller_id), lambda: streams.untrack(stream_id))

    def resume(self, stream_id: str, after_seq: int, scope: CallScope) -> AsyncGenerator[Frame, None]:
        """Go on with a detachable stream behind frame `after_seq`; see `Engine.resume`."""
        return self.streams.resume(stream_id, after_seq, scope)

    async def cancel_stream(self, stream_id: str, scope: CallScope) -> None:
        """End a detachable stream; see `Engine.cancel_stream`."""
        await self.streams.cancel(stream_id, scope.caller.id)

    async def aclose(self) -> None:
        """End the streams that nobody reads, once no RPC is served any more."""
        await self.streams.aclose()

    def explain(self, request: ChatRequest, scope: CallScope) -> Explanation:
        """Return the decision that `stream` would take now, without taking it."""
        snapshot = self._snapshots.current
        alias, demand, need = self._reckon(snapshot, request, scope.caller, streams=True)
        return explained(request, alias, demand, snapshot, _blockage(snapshot, need))

    def _plan(self, snapshot: Snapshot, request: _Request, caller: Caller, *, streams: bool) -> tuple[Plan, Need]:
        """Take the decision for a request, and reckon what it takes of gates and keys; raise CallFailedError."""
        alias, demand, need = self._reckon(snapshot, request, caller, streams=streams)
        if caller.limits is not None:
            # Before the plan, which takes turns that are everybody's.
            need.admitted = self._admit(alias, need, caller)
        try:
            return make_plan(alias, demand, _blockage(snapshot, need), _health_of(snapshot), rng=self._rng), need
        except BaseException as error:
            need.close_account()
            if isinstance(error, NoEligibleTargetError):
                raise CallFailedError(no_eligible_target(error)) from error
            raise

    def _admit(self, alias: Alias, need: Need, caller: Caller) -> Pass | None:
        """Let a call in by its caller's own limits; raise CallFailedError."""
        input_tokens = need.input_at(alias.tiers[0].members[0].target)
        output_tokens = need.output_tokens
        cost = expected_cost_nanousd(alias, input_tokens, output_tokens)
        return self.callers.admit(
            caller,
            input_tokens + output_tokens,
            cost,
            guessed_tokens=output_tokens,
            guessed_nanousd=cost - expected_cost_nanousd(alias, input_tokens, 0),
        )

    def _reckon(
        self, snapshot: Snapshot, request: _Request, caller: Caller, *, streams: bool
    ) -> tuple[Alias, Demand, Need]:
        alias = _resolve(snapshot, request.model, caller)
        if request.routing.fallback_models:
            try:
                alias = snapshot.table.with_fallbacks(alias, request.routing.fallback_models, caller)
            except UnknownModelError as error:
                raise CallFailedError(unknown_model(error)) from error
        if isinstance(request, EmbedRequest):
            demand = demand_of_inputs(request, alias, snapshot)
            output_tokens = 0
        else:
            demand = demand_of(request, input_tokens=estimate_input_tokens(request), streams=streams)
            output_tokens = alias.outputs.expected(request.sampling.max_output_tokens)
        criticality = _criticality(request, caller)
        need = Need(demand.input_tokens, output_tokens, criticality, self._calibration, self.callers)
        demand.learnt = need.input_at
        return alias, demand, need

    def list_models(self, scope: CallScope) -> ModelList:
        """Return the aliases and models that this caller may use."""
        snapshot = self._snapshots.current
        models = [
            _model_info(name, _resolve(snapshot, name, scope.caller)) for name in snapshot.table.names_for(scope.caller)
        ]
        return ModelList(tuple(models), snapshot.version)

    def check_options(self, request: _Request, caller: Caller) -> list[FieldViolation]:
        """Return a violation for each provider option that this caller may not pass."""
        violations: list[FieldViolation] = []
        providers = self._snapshots.current.providers
        for name, options in request.provider_options.items():
            where = f"provider_options_json[{json.dumps(name)}]"
            provider = providers.get(name)
            if provider is None:
                violations.append(FieldViolation(where, "there is no provider of this name"))
                continue
            translators = _translators(provider.endpoint, request)
            if not translators:
                violations.append(FieldViolation(where, "this provider has no embeddings"))
            found = dict.fromkeys(
                FieldViolation(f"{where}.{finding.path}", finding.message)
                for translator in translators
                for finding in translator.check_options(options, caller.provider_options)
            )
            violations += found
        return violations


def _translators(endpoint: Endpoint, request: _Request) -> Sequence[Adapter | EmbeddingAdapter]:
    """Return whatever of an endpoint may write such a request."""
    if isinstance(request, ChatRequest):
        return endpoint.adapters
    return [adapter.embeddings for adapter in endpoint.adapters if adapter.embeddings is not None]


def _resolve(snapshot: Snapshot, model: str, caller: Caller) -> Alias:
    try:
        return snapshot.table.resolve(model, caller)
    except UnknownModelError as error:
        raise CallFailedError(unknown_model(error)) from error


def _blockage(snapshot: Snapshot, need: Need) -> Callable[[TargetId], Refusal | None]:
    providers = snapshot.providers

    def blockage(target: TargetId) -> Refusal | None:
        pool = providers[target.provider].pool
        return pool.blockage(target.model, tokens=need.tokens(target) if pool.any_limited else 0)

    return blockage


def _criticality(request: _Request, caller: Caller) -> Criticality:
    """Return the criticality that holds: the one that is asked for, but not above the caller's highest."""
    asked = request.routing.criticality
    return caller.criticality if asked is None or asked.value < caller.criticality.value else asked


def _health_of(snapshot: Snapshot) -> HealthOf:
    providers = snapshot.providers

    def health_of(target: TargetId) -> Health:
        return providers[target.provider].health_of(target.model)

    return health_of


def _warnings(request: _Request, caller: Caller, plan: Plan, declined: str | None) -> tuple[Warning_, ...]:
    """Return what is done otherwise than the request asks. `declined`: why its stream cannot be detachable."""
    routing = request.routing
    found: list[Warning_] = []
    if plan.moved_because:
        told = f"{plan.moved_from} would have been first, and was passed over for the limit on {plan.moved_because}"
        found.append(Warning_("MODEL_FALLBACK", "model", told))
    if routing.criticality is not None and routing.criticality.value < caller.criticality.value:
        told = f"lowered to the caller's highest, {caller.criticality.name}"
        found.append(Warning_("CRITICALITY_LOWERED", "routing.criticality", told))
    if declined is not None:
        found.append(Warning_("DETACH_DECLINED", "routing.detachable", declined))
    for code, name, asked_s in (
        ("HEARTBEAT_RAISED", "heartbeat", routing.heartbeat_s),
        ("USAGE_EVERY_RAISED", "usage_every", routing.usage_every_s),
    ):
        if asked_s is not None and asked_s < MIN_S:
            found.append(Warning_(code, f"routing.{name}", f"raised to the shortest time that there is, {MIN_S} s"))
    return tuple(found)


def _model_info(name: str, alias: Alias) -> ModelInfo:
    """Return what can be promised of a name: for an alias, what holds for each of its targets."""
    members = [member for tier in alias.tiers for member in tier.members]
    facts = [member.facts for member in members]
    known = [fact.capabilities for fact in facts if fact.capabilities is not None]
    shared = frozenset.intersection(*known) if len(known) == len(facts) and known else frozenset()
    first: ModelFacts = facts[0]
    return ModelInfo(
        name,
        bool(alias.name),
        tuple(member.target for member in members),
        tuple(sorted(shared)),
        _smallest([fact.context_tokens for fact in facts]),
        _smallest([fact.max_output_tokens for fact in facts]),
        first.input_nanousd_per_million,
        first.output_nanousd_per_million,
    )


def _smallest(values: list[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return min(known) if len(known) == len(values) else None
