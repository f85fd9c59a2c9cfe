"""The attempts of one call: each is made, ended, and told to its key and target exactly once.

Invariant: slot and key of an attempt are given back when it has ended, on every way out, and before anybody waits.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import replace
from typing import Generic, TypeVar

from trunkline_server.chat.embedding import EmbedRequest
from trunkline_server.chat.request import ChatRequest
from trunkline_server.engine.alarm import Alarm
from trunkline_server.engine.attempt import Dispatched
from trunkline_server.engine.encoding import encoder_of
from trunkline_server.engine.ending import SAYS_NOTHING
from trunkline_server.engine.frames import ServedBy
from trunkline_server.engine.need import Need, cost_of
from trunkline_server.engine.provider import LiveProvider
from trunkline_server.engine.race import Outcome, Race
from trunkline_server.engine.record import AttemptRecord
from trunkline_server.engine.snapshot import Snapshot
from trunkline_server.providers.base import Adapter, AttemptError, RateLimitHeaders, WireCall
from trunkline_server.routing.breaks import NOTHING_BARS, Shown, stopped_failure
from trunkline_server.routing.events import AttemptFailed, Completed, Dispatch, Event, Slow, Stopped, TryNow, Why
from trunkline_server.routing.failover import State
from trunkline_server.routing.failures import Failure, FailureClass
from trunkline_server.routing.lease import Lease
from trunkline_server.routing.machine import Machine
from trunkline_server.routing.moves import Move
from trunkline_server.routing.types import OnBreak, Reason

_Request = TypeVar("_Request", bound=ChatRequest | EmbedRequest)
_Result = TypeVar("_Result")

HEDGE_SAMPLES_MIN = 20
"""Of a target's times, before one of its attempts is called slow."""

_TOO_MUCH = frozenset({FailureClass.OVERLOADED, FailureClass.FIRST_TOKEN_TIMEOUT, FailureClass.STALLED})
"""What says that a provider has more to do than it can: its gate shrinks, if it adapts."""

_TIMED_OUT = {
    FailureClass.FIRST_TOKEN_TIMEOUT: "nothing came in time",
    FailureClass.STALLED: "no content came for too long",
}


class Attempts(ABC, Generic[_Request, _Result]):
    """Makes the attempts of one call, one after the other, or two that race."""

    streams: bool
    """Whether the upstream is asked for a stream."""

    def __init__(
        self,
        request: _Request,
        snapshot: Snapshot,
        machine: Machine,
        need: Need,
        budget_at: float,
        *,
        clock: Callable[[], float],
    ) -> None:
        self.request = request
        self.snapshot = snapshot
        self.machine = machine
        self._need = need
        self.records: list[AttemptRecord] = []
        """The books of every attempt, in the order of their numbers."""
        self._budget_at = budget_at
        """Clock time at which the call has to be over for us."""
        self._clock = clock
        self._waited_s = 0.0
        """Time in queues and backoffs since the last attempt."""
        self._lease: Lease | None = None
        """A slot and a key that no attempt has taken over yet."""
        self._answered: AttemptRecord | None = None
        self._race: Race[_Result] | None = None
        self._alarm: Alarm | None = None
        """Of the task that drives the call."""
        self._wire_calls: dict[int, tuple[Adapter, WireCall]] = {}

    @property
    def answered(self) -> AttemptRecord:
        """The attempt that gave the answer. Raises RuntimeError if none did."""
        if self._answered is None:
            raise RuntimeError("no attempt has answered")
        return self._answered

    async def _make(self, action: Dispatch, alarm: Alarm) -> Outcome[_Result]:
        """Make an attempt, and maybe one more beside it; slots are free and keys told when this returns or raises."""
        record = self._record(action)
        hedge_after_s = self._hedge_after_s(action)
        if hedge_after_s is None:
            return await self._attempt(record, alarm)
        self._race = Race(
            self._attempt_alone,
            self._second,
            lambda: self.machine.state is State.RACING,
            self.machine.handle,
            self._let_go,
        )
        try:
            return await self._race.run(record, hedge_after_s)
        finally:
            self._race = None

    def _record(self, action: Dispatch) -> AttemptRecord:
        """Begin the books of an attempt, which takes over slot and key."""
        target = self.machine.plan.candidates[action.candidate].target
        record = AttemptRecord(
            action.attempt,
            ServedBy(target, action.key_id),
            action.why,
            self._waited_s,
            self._clock(),
            candidate=action.candidate,
            after_break=action.after_break,
            lease=self._lease,
        )
        self._lease = None
        self._waited_s = 0.0
        self.records.append(record)
        load = self.machine.plan.candidates[action.candidate].health.load
        if load is not None:
            load.began()
        return record

    def _hedge_after_s(self, action: Dispatch) -> float | None:
        """Return after how long without content a second attempt may race this one; None: never."""
        hedge = self.machine.plan.alias.policy.hedge
        allowed = hedge.enabled and self.request.routing.allow_hedge is not False
        if not allowed or action.after_break is not None or any(entry.why is Why.HEDGE for entry in self.records):
            return None
        latency = self.machine.plan.candidates[action.candidate].health.latency
        if latency is None:
            return None
        window = latency.first_content if self.streams else latency.response
        return window.quantile(hedge.percentile, at_least=HEDGE_SAMPLES_MIN)

    def _second(self) -> AttemptRecord | None:
        """Ask for a second attempt beside the one in flight; return its books, or None if there may be none now."""
        if self._caller_is_gone():
            return None
        action = self.machine.handle(Slow())
        if isinstance(action, TryNow):
            action = self.machine.handle(self._try_now(action.moves))
        return self._record(action) if isinstance(action, Dispatch) else None

    async def _attempt_alone(self, record: AttemptRecord) -> Outcome[_Result]:
        """Make one attempt in a task of its own, which its own timers may cancel."""
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("an attempt is made inside a task")
        alarm = Alarm(task, self._budget_at, self._clock)
        try:
            return await self._attempt(record, alarm)
        finally:
            alarm.close()

    async def _attempt(self, record: AttemptRecord, alarm: Alarm) -> Outcome[_Result]:
        """Make one attempt; its slot is free and its key told when this returns or raises."""
        candidate = self.machine.plan.candidates[record.candidate]
        provider = self.snapshot.providers[candidate.target.provider]
        endpoint = provider.endpoint_of(record.lease)
        routing = self.request.routing
        timeouts = endpoint.timeouts.for_call(
            candidate.member.facts,
            reasoning=self.request.asks_reasoning,
            max_first_token_s=routing.max_first_token_s,
            max_token_gap_s=routing.max_token_gap_s,
        )
        adapter = endpoint.adapter_of(record.served_by.target.model)
        try:
            call = await self._wire_call(record, adapter)
            heard = self._heard(record, provider)
            sent = Dispatched(endpoint, call, record.served_by.key_id, timeouts, adapter, heard)
            result = await self._exchange(sent, record, alarm)
        except AttemptError as error:
            failure = endpoint.without_key(error.failure, record.served_by.key_id)
            return None, self._failed_attempt(record, record.blamed(failure, timeouts))
        except asyncio.CancelledError:
            cause = alarm.caught()
            if isinstance(cause, FailureClass):
                failure = record.blamed(Failure(cause, _TIMED_OUT[cause]), timeouts)
                return None, self._failed_attempt(record, failure)
            self._end_attempt(record, stopped_failure(cause or self._stopped_for()))
            if cause is None:
                raise
            return None, Stopped(cause)
        else:
            self._win(record)
            self._answered = record
            self._end_attempt(record, None)
            return result, Completed(record.attempt)
        finally:
            alarm.clear()
            self._release(record)

    def _let_go(self, record: AttemptRecord) -> None:
        """End an attempt that was cancelled before its first step; one that was made has ended itself."""
        if record.ended_at is None:
            self._end_attempt(record, stopped_failure(self._stopped_for()))
        self._release(record)

    def _release(self, record: AttemptRecord) -> None:
        """Give slot and key of an attempt back, if it still has them."""
        if record.lease is not None:
            lease, record.lease = record.lease, None
            self.snapshot.providers[lease.provider].desk.release(lease)

    def _stopped_for(self) -> Reason:
        """Return why the task that makes an attempt was cancelled, if it was not by its own timers."""
        fired = None if self._alarm is None else self._alarm.fired
        return fired if isinstance(fired, Reason) else Reason.CANCELLED

    def _win(self, record: AttemptRecord) -> None:
        """Note that this attempt is the one that counts: a second one beside it is closed."""
        if self._race is not None:
            self._race.win(record)

    def _failed_attempt(self, record: AttemptRecord, failure: Failure) -> AttemptFailed:
        self._end_attempt(record, failure)
        shown = self._shown(record) if record.visible else NOTHING_BARS
        return AttemptFailed(failure, record.attempt, shown, self._cost(record))

    def _end_attempt(self, record: AttemptRecord, failure: Failure | None) -> None:
        """Close the books of one attempt, and tell its key, its target and its gate."""
        record.ended_at = self._clock()
        record.failure = failure
        candidate, lease = self.machine.plan.candidates[record.candidate], record.lease
        target = candidate.target
        provider = self.snapshot.providers[target.provider]
        if candidate.health.load is not None:
            says = failure is None or (failure.rule.counts and not failure.caused_by_caller)
            spoke_at = record.first_content_at or record.ended_at
            candidate.health.load.ended(spoke_at - record.dispatched_at if says else None)
        if record.usage is not None and (cost := cost_of(record.usage, candidate.member.facts)) is not None:
            record.usage = replace(record.usage, cost_nanousd=cost)
        if lease is not None:
            lease.settle(self._need.used(target, record.usage, failure, record.bytes_emitted))
        self._need.charge(target, candidate.member.facts, record.usage, failure, record.bytes_emitted)
        if failure is None:
            self._learn(record)
            self.tell_success(record)
            if lease is not None:
                provider.desk.gate.succeeded(lease)
        elif failure.failure_class not in SAYS_NOTHING and lease is not None:
            provider.pool.failed(
                record.served_by.key_id,
                target.model,
                failure,
                fingerprint=lease.fingerprint,
                dispatched_at=lease.granted_at,
            )
            if failure.failure_class in _TOO_MUCH and not failure.caused_by_caller:
                provider.desk.gate.overloaded(lease)

    def _learn(self, record: AttemptRecord) -> None:
        """Learn from what the provider counted of an answer."""
        usage = record.usage
        if usage is not None and record.after_break is not OnBreak.CONTINUE:
            self._need.learn(record.served_by.target, usage)
            if usage.output_tokens is not None:
                self.machine.plan.alias.outputs.book(usage.output_tokens)

    def _cost(self, record: AttemptRecord) -> int:
        return 0 if record.usage is None else record.usage.cost_nanousd or 0

    def _heard(self, record: AttemptRecord, provider: LiveProvider) -> Callable[[RateLimitHeaders], None] | None:
        """Return who takes in what responses say of the key's limits; None if it has none."""
        lease, key_id, model = record.lease, record.served_by.key_id, record.served_by.target.model
        if lease is None or not provider.pool.limited(key_id):
            return None
        at, fingerprint = lease.granted_at, lease.fingerprint

        def heard(told: RateLimitHeaders) -> None:
            provider.pool.observed(
                key_id,
                model,
                remaining_requests=told.remaining_requests,
                remaining_tokens=told.remaining_tokens,
                reset_requests_s=told.reset_requests_s,
                reset_tokens_s=told.reset_tokens_s,
                at=at,
                fingerprint=fingerprint,
            )

        return heard

    def tell_success(self, record: AttemptRecord) -> None:
        """Tell key and target that they work, once: at the first content of a stream, else at the whole answer."""
        if record.told_success or record.lease is None:
            return
        record.told_success = True
        target = record.served_by.target
        provider = self.snapshot.providers[target.provider]
        latency = self.machine.plan.candidates[record.candidate].health.latency
        if latency is not None:
            window = latency.first_content if self.streams else latency.response
            window.book((record.first_content_at or self._clock()) - record.dispatched_at)
        provider.pool.succeeded(record.served_by.key_id, target.model, fingerprint=record.lease.fingerprint)
        provider.desk.changed()

    async def _wire_call(self, record: AttemptRecord, adapter: Adapter) -> WireCall:
        """Return the encoded request of an attempt: written once for each candidate, however often it is sent."""
        request = self._request_of(record)
        own = request is self.request
        written_by, call = self._wire_calls.get(record.candidate, (None, None)) if own else (None, None)
        if call is None or written_by is not adapter:
            target = record.served_by.target
            encode, heavy = encoder_of(request, adapter, target, stream=self.streams)
            call = await asyncio.to_thread(encode) if heavy else encode()
            if own:
                self._wire_calls[record.candidate] = (adapter, call)
        record.warnings = call.warnings
        return call

    # What unary calls and streams do each in their way.

    @abstractmethod
    def _caller_is_gone(self) -> bool:
        """Return whether the caller was removed from the routes: nothing more is sent for it."""

    @abstractmethod
    def _try_now(self, moves: tuple[Move, ...]) -> Event:
        """Take slot and key at the first of `moves` that has both now."""

    @abstractmethod
    async def _exchange(self, sent: Dispatched, record: AttemptRecord, alarm: Alarm) -> _Result:
        """Make the upstream call; raise AttemptError. The alarm is set for each phase."""

    def _request_of(self, record: AttemptRecord) -> _Request:
        """Return what an attempt asks for."""
        return self.request if record.after_break is not OnBreak.CONTINUE else self._continued(record)

    def _continued(self, record: AttemptRecord) -> _Request:
        """Return what an attempt asks for that goes on from what was shown."""
        raise RuntimeError(f"nothing was shown that attempt {record.attempt} could go on from")

    def _shown(self, record: AttemptRecord) -> Shown:
        """Return what the caller has of an attempt that broke."""
        raise RuntimeError(f"nothing was shown of attempt {record.attempt}")
