"""One call on its way: the machine decides, this does it, and tells the machine what happened.

Whoever runs a call is its only owner: the lease that it holds is given back before anything else is waited for, the
upstream response is closed on every way out, and each attempt is ended and told to its key exactly once.
"""

from __future__ import annotations

import asyncio
import random
import time
from abc import abstractmethod
from collections.abc import Callable
from typing import TypeVar

from trunkline_server.chat.answer import Warning_
from trunkline_server.chat.embedding import EmbedRequest
from trunkline_server.chat.request import ChatRequest
from trunkline_server.engine.alarm import Alarm
from trunkline_server.engine.api import CallScope
from trunkline_server.engine.attempts import Attempts
from trunkline_server.engine.defects import report_defect
from trunkline_server.engine.ending import attempt_outcomes, first_content_s, is_failed
from trunkline_server.engine.frames import CallFailure
from trunkline_server.engine.need import Need
from trunkline_server.engine.outcome import CallOutcome, OutcomeListener, nobody_listens
from trunkline_server.engine.provider import LiveProvider
from trunkline_server.engine.snapshot import ServerLimits, Snapshot
from trunkline_server.engine.telling import call_failure
from trunkline_server.routing.events import (
    Action,
    Backoff,
    Broken,
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
from trunkline_server.routing.gate import Gate, Ticket
from trunkline_server.routing.lease import Lease
from trunkline_server.routing.machine import Machine
from trunkline_server.routing.moves import Move
from trunkline_server.routing.retry import Allowance
from trunkline_server.routing.selection import Candidate, Plan
from trunkline_server.routing.types import Reason, Refusal

_Request = TypeVar("_Request", bound=ChatRequest | EmbedRequest)
_Result = TypeVar("_Result")

_RESERVE_SHARE = 0.1
"""At most this share of a deadline is kept back to tell how the call ended."""


class Call(Attempts[_Request, _Result]):
    """One request being routed. `drive` runs in one task and ends with a result or a CallFailure."""

    def __init__(
        self,
        request: _Request,
        scope: CallScope,
        plan: Plan,
        snapshot: Snapshot,
        need: Need,
        *,
        clock: Callable[[], float],
        rng: random.Random,
        ended: OutcomeListener = nobody_listens,
        warnings: tuple[Warning_, ...] = (),
    ) -> None:
        self.created_unix_s = time.time()
        self.failure: CallFailure | None = None
        self._scope = scope
        self._warnings = warnings
        """What is done otherwise than asked, whoever serves it."""
        self._began_at = clock()
        self._budget_at = _budget_end(plan, scope, snapshot.limits, self._began_at)
        machine = Machine(
            plan,
            Allowance(_attempts_allowed(request, plan), self._budget_at),
            clock=clock,
            rng=rng,
            on_break=request.routing.on_break,
            streams=self.streams,
            caller=scope.caller.id,
            sent_again=scope.previous_attempts > 0,
        )
        super().__init__(request, snapshot, machine, need, self._budget_at, clock=clock)
        self._waiting: tuple[Gate, Ticket] | None = None
        """The queue that it stands in, and its place there."""
        self._ended: OutcomeListener | None = ended
        """Told once how the call ended; None afterwards."""
        self._defective = False

    async def drive(self) -> _Result | None:
        """Run the call to its end: return the result, or None with `failure` set. A cancellation is raised again."""
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a call is driven inside a task")
        alarm = self._alarm = Alarm(task, self._budget_at, self._clock)
        self._scope.on_abort(alarm.fire)
        result: _Result | None = None
        event = self._first_event()
        try:
            while True:
                action = self.machine.handle(event)
                if isinstance(action, Broken):
                    self._broke(action)
                    action = action.then
                if isinstance(action, Finish):
                    self._finished()
                    return result
                if isinstance(action, Fail):
                    self.failure = self._tell(action)
                    self._failed(self.failure)
                    return None
                try:
                    if isinstance(action, Dispatch):
                        result, event = await self._make(action, alarm)
                    else:
                        # A grant that came too late to be used goes back before anything else.
                        self._give_back()
                        event = await self._do(action)
                except asyncio.CancelledError:
                    cause = alarm.caught()
                    if not isinstance(cause, Reason):
                        raise
                    event = Stopped(cause)
        except Exception:
            self._defective = True
            raise
        finally:
            self._scope.on_abort(None)
            alarm.close()
            self.machine.close()
            self._give_back()
            self.tell_outcome()

    def tell_outcome(self) -> None:
        """Settle with the caller's account, and tell whoever listens that the call is over.

        Only the first time counts, so it may be said on every way out. A listener that fails is reported, and costs
        nobody his answer.
        """
        self._need.close_account()
        listener, self._ended = self._ended, None
        if listener is None or listener is nobody_listens:
            return
        try:
            listener(self._outcome())
        except Exception as defect:  # noqa: BLE001  it is somebody else's, and the call is over
            report_defect("a listener of ended calls failed", defect)

    def _outcome(self) -> CallOutcome:
        return CallOutcome(
            self.snapshot.version,
            self.machine.plan.alias.name,
            self.request.model,
            self._scope.caller.id,
            self.streams,
            self._defective or (self.failure is not None and is_failed(self.failure)),
            first_content_s(self.records, self._began_at),
            attempt_outcomes(self.records),
        )

    def _first_event(self) -> Event:
        if self._scope.aborted is not None:
            return Stopped(self._scope.aborted)
        return Stopped(Reason.DEADLINE) if self._clock() >= self._budget_at else Started()

    # Waiting and getting hold of a slot.

    def _caller_is_gone(self) -> bool:
        callers = self._need.callers
        return callers is not None and not callers.takes(self._scope.caller.id)

    async def _do(self, action: Action) -> Event:
        if self._caller_is_gone():
            return Stopped(Reason.PERMISSION_DENIED)
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
        desk = provider.desk
        removed = self.snapshot.refusal(candidate.target)
        if removed is not None:
            return Refused(removed)

        def joined(ticket: Ticket) -> None:
            self._waiting = (desk.gate, ticket)

        try:
            outcome = await desk.queue(
                candidate.target.model,
                move.exclude_keys,
                self._budget_at,
                joined,
                tokens=self._need.tokens(candidate.target),
                caller=self._scope.caller.id,
                criticality=self._need.criticality,
            )
        finally:
            self._waiting = None
        if isinstance(outcome, Refusal):
            return Stopped(Reason.DEADLINE) if outcome.reason is Reason.DEADLINE else Refused(outcome)
        removed = self.snapshot.refusal(candidate.target)
        if removed is not None or self._caller_is_gone():  # while it waited
            desk.release(outcome)
            return Stopped(Reason.PERMISSION_DENIED) if removed is None else Refused(removed)
        return self._granted(move, outcome)

    def _try_now(self, moves: tuple[Move, ...]) -> Event:
        refusals: list[Refusal] = []
        for move in moves:
            candidate, provider = self._at(move)
            removed = self.snapshot.refusal(candidate.target)
            if removed is not None:
                refusals.append(removed)
                continue
            gate, model, excluded = provider.desk.gate, candidate.target.model, move.exclude_keys
            tokens, caller, criticality = (
                self._need.tokens(candidate.target),
                self._scope.caller.id,
                self._need.criticality,
            )
            lease = gate.try_take(model, excluded, tokens=tokens, caller=caller, criticality=criticality)
            if lease is not None:
                return self._granted(move, lease, tuple(refusals))
            refusals.append(gate.blockage(model, excluded, tokens=tokens, caller=caller, criticality=criticality))
        return NoneFree(tuple(refusals))

    def _granted(self, move: Move, lease: Lease, passed: tuple[Refusal, ...] = ()) -> Granted:
        self._lease = lease
        return Granted(move.candidate, lease.key_id, passed)

    def _at(self, move: Move) -> tuple[Candidate, LiveProvider]:
        candidate = self.machine.plan.candidates[move.candidate]
        return candidate, self.snapshot.providers[candidate.target.provider]

    @property
    def queue_position(self) -> int | None:
        """The call's place in the queue that it waits in, from 1; None if it waits in none."""
        return None if self._waiting is None else self._waiting[0].position(self._waiting[1])

    def _give_back(self) -> None:
        """Release slot and key that no attempt took over: before any wait, and on every way out."""
        lease, self._lease = self._lease, None
        if lease is not None:
            self.snapshot.providers[lease.provider].desk.release(lease)

    def _tell(self, fail: Fail) -> CallFailure:
        now = self._clock()
        summaries = [record.summary(now) for record in self.records]
        told = next((entry for entry in summaries if entry.failure is fail.failure), None)
        retry_after_s = None
        if fail.reason in {Reason.RATE_LIMITED, Reason.UPSTREAM_QUOTA} and told is not None:
            target = told.served_by.target
            blockage = self.snapshot.providers[target.provider].desk.gate.key_blockage(
                target.model,
                tokens=self._need.tokens(target),
                caller=self._scope.caller.id,
                criticality=self._need.criticality,
            )
            retry_after_s = blockage.retry_after_s if blockage is not None else None
        return call_failure(fail, summaries, retry_after_s, told=told, not_made=self.machine.not_made)

    # What unary calls and streams do each in their way.

    @abstractmethod
    def _broke(self, broken: Broken) -> None:
        """Tell that an attempt broke after content was shown, and what follows."""

    @abstractmethod
    def _finished(self) -> None:
        """Note that the call has its answer."""

    @abstractmethod
    def _failed(self, told: CallFailure) -> None:
        """Note that the call ended without one; `told` is what its caller hears."""


def _attempts_allowed(request: ChatRequest | EmbedRequest, plan: Plan) -> int:
    """Return the smaller of what the alias allows and what the request asks for."""
    allowed = plan.alias.policy.max_attempts
    asked = request.routing.max_attempts
    return allowed if asked is None else min(allowed, asked)


def _budget_end(plan: Plan, scope: CallScope, limits: ServerLimits, now: float) -> float:
    """Return when the call has to be over for us: the caller's deadline less what is needed to tell of it."""
    deadline_at = scope.deadline_at
    if deadline_at is None:
        deadline_at = now + (plan.alias.policy.default_deadline_s or limits.default_deadline_s)
    whole_s = min(deadline_at - now, limits.max_deadline_s)
    return now + whole_s - min(limits.deadline_reserve_s, _RESERVE_SHARE * max(0.0, whole_s))
