"""One call on its way: the machine decides, this does it, and tells the machine what happened.

Whoever runs a call is its only owner: the lease that it holds is given back before anything else is waited for, the
upstream response is closed on every way out, and each attempt is ended and told to its key exactly once.
"""

from __future__ import annotations

import asyncio
import random
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Generic, TypeVar

from trunkline_server.chat.request import ChatRequest
from trunkline_server.engine.alarm import Alarm
from trunkline_server.engine.api import CallScope
from trunkline_server.engine.attempt import Dispatched
from trunkline_server.engine.demand import media_bytes
from trunkline_server.engine.frames import CallFailure, ServedBy
from trunkline_server.engine.provider import LiveProvider
from trunkline_server.engine.record import AttemptRecord
from trunkline_server.engine.snapshot import Snapshot
from trunkline_server.engine.telling import call_failure
from trunkline_server.providers.base import AttemptError, WireCall
from trunkline_server.routing.events import (
    Action,
    AttemptFailed,
    Backoff,
    Completed,
    Dispatch,
    Event,
    Fail,
    Finish,
    Granted,
    NoneFree,
    Queue,
    Refused,
    Started,
    Stopped,
    TryNow,
    Woke,
)
from trunkline_server.routing.failover import Machine, stopped_failure
from trunkline_server.routing.failures import Failure, FailureClass
from trunkline_server.routing.lease import Lease
from trunkline_server.routing.moves import Move
from trunkline_server.routing.retry import Allowance
from trunkline_server.routing.selection import Candidate, Plan
from trunkline_server.routing.types import Reason, Refusal

_Result = TypeVar("_Result")

HEAVY_MEDIA_BYTES = 256 * 1024
"""Requests with more media than this are encoded beside the event loop."""

_RESERVE_SHARE = 0.1
"""At most this share of a deadline is kept back to tell how the call ended."""

_SAYS_NOTHING = frozenset({FailureClass.CANCELLED, FailureClass.DEADLINE})
"""What says nothing about the key that was used."""

_TIMED_OUT = {
    FailureClass.FIRST_TOKEN_TIMEOUT: "nothing came in time",
    FailureClass.STALLED: "no content came for too long",
}


class Call(ABC, Generic[_Result]):
    """One request being routed. `drive` runs in one task and ends with a result or a CallFailure."""

    def __init__(
        self,
        request: ChatRequest,
        scope: CallScope,
        plan: Plan,
        snapshot: Snapshot,
        *,
        clock: Callable[[], float],
        rng: random.Random,
    ) -> None:
        self.request = request
        self.snapshot = snapshot
        self.created_unix_s = time.time()
        self.records: list[AttemptRecord] = []
        self.failure: CallFailure | None = None
        self._scope = scope
        self._clock = clock
        self._waited_s = 0.0
        """Time in queues and backoffs since the last attempt."""
        self._lease: Lease | None = None
        self._wire_calls: dict[int, WireCall] = {}
        self._budget_at = self._budget_end(plan)
        allowance = Allowance(_attempts_allowed(request, plan), self._budget_at)
        self.machine = Machine(plan, allowance, clock=clock, rng=rng)

    def _budget_end(self, plan: Plan) -> float:
        """Return when the call has to be over for us: the caller's deadline less what is needed to tell of it."""
        limits, now = self.snapshot.limits, self._clock()
        deadline_at = self._scope.deadline_at
        if deadline_at is None:
            deadline_at = now + (plan.alias.policy.default_deadline_s or limits.default_deadline_s)
        whole_s = min(deadline_at - now, limits.max_deadline_s)
        return now + whole_s - min(limits.deadline_reserve_s, _RESERVE_SHARE * max(0.0, whole_s))

    async def drive(self) -> _Result | None:
        """Run the call to its end: return the result, or None with `failure` set. A cancellation is raised again."""
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a call is driven inside a task")
        alarm = Alarm(task, self._budget_at, self._clock)
        self._scope.on_abort(alarm.fire)
        result: _Result | None = None
        event = self._first_event()
        try:
            while True:
                action = self.machine.handle(event)
                if isinstance(action, Finish):
                    self._finished()
                    return result
                if isinstance(action, Fail):
                    self.failure = self._tell(action)
                    self._failed(action, self.failure)
                    return None
                try:
                    if isinstance(action, Dispatch):
                        result, event = await self._attempt(action, alarm)
                    else:
                        # A grant that came too late to be used goes back before anything else.
                        self._give_back()
                        event = await self._do(action)
                except asyncio.CancelledError:
                    cause = alarm.caught()
                    if not isinstance(cause, Reason):
                        raise
                    event = Stopped(cause)
        finally:
            self._scope.on_abort(None)
            alarm.close()
            self.machine.guard.ended()
            self._give_back()

    def _first_event(self) -> Event:
        if self._scope.aborted is not None:
            return Stopped(self._scope.aborted)
        return Stopped(Reason.DEADLINE) if self._clock() >= self._budget_at else Started()

    # Waiting and getting hold of a slot.

    async def _do(self, action: Action) -> Event:
        if isinstance(action, TryNow):
            return self._try_now(action.moves)
        since = self._clock()
        try:
            if isinstance(action, Queue):
                return await self._queue(action.move)
            if isinstance(action, Backoff):
                await asyncio.sleep(action.seconds)
                return Woke()
        finally:
            self._waited_s += self._clock() - since
        raise TypeError(f"nothing to do for {action!r}")

    async def _queue(self, move: Move) -> Event:
        candidate, provider = self._at(move)
        outcome = await provider.desk.queue(candidate.target.model, move.exclude_keys, self._budget_at)
        if isinstance(outcome, Refusal):
            return Stopped(Reason.DEADLINE) if outcome.reason is Reason.DEADLINE else Refused(outcome)
        return self._granted(move, outcome)

    def _try_now(self, moves: tuple[Move, ...]) -> Event:
        refusals: list[Refusal] = []
        for move in moves:
            candidate, provider = self._at(move)
            gate = provider.desk.gate
            lease = gate.try_take(candidate.target.model, move.exclude_keys)
            if lease is not None:
                return self._granted(move, lease, tuple(refusals))
            refusals.append(gate.blockage(candidate.target.model, move.exclude_keys))
        return NoneFree(tuple(refusals))

    def _granted(self, move: Move, lease: Lease, passed: tuple[Refusal, ...] = ()) -> Granted:
        self._lease = lease
        return Granted(move.candidate, lease.key_id, passed)

    def _at(self, move: Move) -> tuple[Candidate, LiveProvider]:
        candidate = self.machine.plan.candidates[move.candidate]
        return candidate, self.snapshot.providers[candidate.target.provider]

    def _give_back(self) -> None:
        """Release slot and key, if they are held: before any wait, and on every way out."""
        lease, self._lease = self._lease, None
        if lease is not None:
            self.snapshot.providers[lease.provider].desk.release(lease)

    # An attempt.

    async def _attempt(self, action: Dispatch, alarm: Alarm) -> tuple[_Result | None, Event]:
        """Make one attempt; its slot is free and its key told when this returns or raises."""
        candidate = self.machine.plan.candidates[action.candidate]
        provider = self.snapshot.providers[candidate.target.provider]
        now = self._clock()
        record = AttemptRecord(
            action.attempt,
            ServedBy(candidate.target, action.key_id),
            action.why,
            self._waited_s,
            now,
        )
        self.records.append(record)
        timeouts = provider.timeouts.for_call(candidate.member.facts, reasoning=self.request.sampling.asks_reasoning)
        try:
            call = await self._wire_call(action.candidate, provider)
            sent = Dispatched(provider, call, action.key_id, timeouts)
            result = await self._exchange(sent, record, alarm)
        except AttemptError as error:
            failure = provider.without_key(error.failure, action.key_id)
            self._end_attempt(record, failure)
            return None, AttemptFailed(failure)
        except asyncio.CancelledError:
            cause = alarm.caught()
            if isinstance(cause, FailureClass):
                failure = record.blamed(Failure(cause, _TIMED_OUT[cause]), timeouts.stall_s)
                self._end_attempt(record, failure)
                return None, AttemptFailed(failure)
            self._end_attempt(record, stopped_failure(cause or Reason.CANCELLED))
            if cause is None:
                raise
            return None, Stopped(cause)
        else:
            self._end_attempt(record, None)
            return result, Completed()
        finally:
            alarm.clear()
            self._give_back()
            self._waited_s = 0.0

    def _end_attempt(self, record: AttemptRecord, failure: Failure | None) -> None:
        """Close the books of one attempt, and tell its key."""
        record.ended_at = self._clock()
        record.failure = failure
        if failure is None:
            self.tell_success(record)
        elif failure.failure_class not in _SAYS_NOTHING and self._lease is not None:
            target = record.served_by.target
            self.snapshot.providers[target.provider].pool.failed(
                record.served_by.key_id, target.model, failure, fingerprint=self._lease.fingerprint
            )

    def tell_success(self, record: AttemptRecord) -> None:
        """Tell the attempt's key that it works, once: at the first content of a stream, else at the whole answer."""
        if record.told_success or self._lease is None:
            return
        record.told_success = True
        target = record.served_by.target
        provider = self.snapshot.providers[target.provider]
        provider.pool.succeeded(record.served_by.key_id, target.model, fingerprint=self._lease.fingerprint)
        provider.desk.changed()

    async def _wire_call(self, candidate: int, provider: LiveProvider) -> WireCall:
        """Return the encoded request for a candidate: written once, however often it is sent."""
        call = self._wire_calls.get(candidate)
        if call is None:
            model = self.machine.plan.candidates[candidate].target.model
            encode = partial(provider.adapter.encode, self.request, provider.name, model, stream=self.streams)
            # Pictures become base64, at 4 ms a megabyte: too long for everybody else on the loop.
            heavy = media_bytes(self.request) > HEAVY_MEDIA_BYTES
            call = await asyncio.to_thread(encode) if heavy else encode()
            self._wire_calls[candidate] = call
        return call

    def _tell(self, fail: Fail) -> CallFailure:
        now = self._clock()
        summaries = [record.summary(now) for record in self.records]
        told = next((entry for entry in summaries if entry.failure is fail.failure), None)
        retry_after_s = None
        if fail.reason in {Reason.RATE_LIMITED, Reason.UPSTREAM_QUOTA} and told is not None:
            target = told.served_by.target
            blockage = self.snapshot.providers[target.provider].pool.blockage(target.model)
            retry_after_s = blockage.retry_after_s if blockage is not None else None
        return call_failure(fail, summaries, retry_after_s, told=told)

    # What unary calls and streams do each in their way.

    streams: bool
    """Whether the upstream is asked for a stream."""

    @abstractmethod
    async def _exchange(self, sent: Dispatched, record: AttemptRecord, alarm: Alarm) -> _Result:
        """Make the upstream call; raise AttemptError. The alarm is set for each phase."""

    @abstractmethod
    def _finished(self) -> None:
        """Note that the call has its answer."""

    @abstractmethod
    def _failed(self, fail: Fail, told: CallFailure) -> None:
        """Note that the call ended without one; `told` is what its caller hears."""


def _attempts_allowed(request: ChatRequest, plan: Plan) -> int:
    """Return the smaller of what the alias allows and what the request asks for."""
    allowed = plan.alias.policy.max_attempts
    asked = request.routing.max_attempts
    return allowed if asked is None else min(allowed, asked)
