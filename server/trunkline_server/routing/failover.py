"""The failover machine: what to do next, for one request, until it has an answer or an end.

It is asked with events (what happened) and answers with actions (what to do); it never does anything itself. All that
may happen stands in TABLE: a state, an event, the method that decides, and the states that it may lead to. An event
that has no row there is a defect and raises, except after the end, where it is dropped: a grant or a failure may have
been on its way, and a late grant is given back.

    SEEKING      a slot and a key are being tried for at candidates that may take the call at once
    QUEUED       waiting in one candidate's queue
    BACKING_OFF  waiting before the same target again; holds neither slot nor key
    IN_FLIGHT    an attempt is under way, and nothing of it was shown to the caller
    COMMITTED    the first content went to the caller: the attempt cannot be replaced in silence any more
    ENDED        answered, failed, or the caller left
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from trunkline_server.routing.aliases import Policy
from trunkline_server.routing.clock import Clock
from trunkline_server.routing.events import (
    Action,
    AttemptFailed,
    Backoff,
    Completed,
    Dispatch,
    Drop,
    Event,
    Fail,
    Finish,
    FirstContent,
    GoOn,
    Granted,
    NoneFree,
    Queue,
    Refused,
    Started,
    Stopped,
    TryNow,
    Why,
    Woke,
)
from trunkline_server.routing.failures import Failure, FailureClass
from trunkline_server.routing.guard import Guard
from trunkline_server.routing.moves import History, Move, immediate_moves, return_moves, waiting_moves
from trunkline_server.routing.retry import Allowance, backoff_s
from trunkline_server.routing.selection import Plan
from trunkline_server.routing.types import Reason, Refusal, reason_of


class State(Enum):
    """Where a request stands; the module's docstring says what each means."""

    NEW = "NEW"
    SEEKING = "SEEKING"
    QUEUED = "QUEUED"
    BACKING_OFF = "BACKING_OFF"
    IN_FLIGHT = "IN_FLIGHT"
    COMMITTED = "COMMITTED"
    ENDED = "ENDED"


@dataclass(frozen=True, slots=True)
class Row:
    """Which method of the machine decides about an event in a state, and the states that it may lead to."""

    decide: str
    leads_to: set[State]


_S = State

TABLE: dict[tuple[State, type[Event]], Row] = {
    (_S.NEW, Started): Row("on_started", {_S.SEEKING, _S.ENDED}),
    (_S.NEW, Stopped): Row("on_stopped", {_S.ENDED}),
    (_S.SEEKING, Granted): Row("on_granted", {_S.IN_FLIGHT}),
    (_S.SEEKING, NoneFree): Row("on_none_free", {_S.QUEUED, _S.BACKING_OFF, _S.ENDED}),
    (_S.SEEKING, Stopped): Row("on_stopped", {_S.ENDED}),
    (_S.QUEUED, Granted): Row("on_granted_late", {_S.IN_FLIGHT, _S.SEEKING, _S.QUEUED, _S.ENDED}),
    (_S.QUEUED, Refused): Row("on_refused", {_S.SEEKING, _S.QUEUED, _S.ENDED}),
    (_S.QUEUED, Stopped): Row("on_stopped", {_S.ENDED}),
    (_S.BACKING_OFF, Woke): Row("on_woke", {_S.QUEUED}),
    (_S.BACKING_OFF, Stopped): Row("on_stopped", {_S.ENDED}),
    (_S.IN_FLIGHT, FirstContent): Row("on_first_content", {_S.COMMITTED}),
    (_S.IN_FLIGHT, Completed): Row("on_completed", {_S.ENDED}),
    (_S.IN_FLIGHT, AttemptFailed): Row("on_failed", {_S.SEEKING, _S.QUEUED, _S.BACKING_OFF, _S.ENDED}),
    (_S.IN_FLIGHT, Stopped): Row("on_stopped", {_S.ENDED}),
    (_S.COMMITTED, Completed): Row("on_completed", {_S.ENDED}),
    (_S.COMMITTED, AttemptFailed): Row("on_broken", {_S.ENDED}),
    (_S.COMMITTED, Stopped): Row("on_stopped_committed", {_S.ENDED}),
}
"""Every state and event that can meet, what decides, and where it may lead."""


STATE_AFTER: dict[type[Action], State] = {
    TryNow: State.SEEKING,
    Queue: State.QUEUED,
    Backoff: State.BACKING_OFF,
    Dispatch: State.IN_FLIGHT,
    Finish: State.ENDED,
    Fail: State.ENDED,
}
"""An action's state; GoOn keeps the state, but for the first content, which commits."""


_STOPPED = {
    Reason.DEADLINE: Failure(FailureClass.DEADLINE, "the deadline ended the attempt"),
    Reason.CANCELLED: Failure(FailureClass.CANCELLED, "the caller left"),
    Reason.SERVER_DRAINING: Failure(FailureClass.CANCELLED, "the server is going down"),
}


def stopped_failure(reason: Reason) -> Failure:
    """Return what the attempt in flight failed as when its call was stopped from outside; it speaks of nobody."""
    return _STOPPED[reason]


class IllegalEventError(Exception):
    """An event came that the state has no row for: a defect in whoever drives the machine."""


class Machine:
    """One request's failover. Feed events to `handle`; it returns the action to take next."""

    __slots__ = (
        "_after",
        "_allowance",
        "_clock",
        "_declined",
        "_first_failed",
        "_immediate",
        "_moves",
        "_rng",
        "_tier",
        "at",
        "guard",
        "history",
        "not_made",
        "plan",
        "refusals",
        "state",
    )

    def __init__(self, plan: Plan, allowance: Allowance, *, clock: Clock, rng: random.Random) -> None:
        self.plan = plan
        self.state = State.NEW
        self.history = [History() for _ in plan.candidates]
        self.refusals: dict[int, Refusal] = {}
        """The last refusal of each candidate that refused before a dispatch."""
        self.not_made: list[str] = []
        """Attempts that were not made, each with its reason."""
        self.at = -1
        """The candidate of the latest attempt."""
        self.guard = Guard(plan.candidates)
        self._allowance = allowance
        self._clock = clock
        self._rng = rng
        self._tier = -1
        self._moves: tuple[Move, ...] = ()
        self._immediate: tuple[Move, ...] = ()
        self._after: Failure | None = None
        self._first_failed = -1
        self._declined: frozenset[int] = frozenset()
        """Candidates whose circuits were shut by the time that their slot came."""

    def handle(self, event: Event) -> Action:
        """Return what to do after `event`; raise IllegalEventError for one that cannot happen now."""
        if self.state is State.ENDED:
            return Drop()
        row = TABLE.get((self.state, type(event)))
        if row is None:
            raise IllegalEventError(f"{type(event).__name__} in state {self.state.value}")
        action: Action = getattr(self, f"_{row.decide}")(event)
        self.state = STATE_AFTER.get(type(action), self.state)
        if isinstance(event, FirstContent):
            self.state = State.COMMITTED
        if self.state not in row.leads_to:
            raise IllegalEventError(f"{type(event).__name__} led to {self.state.value}, which its row does not allow")
        return action

    @property
    def attempts_used(self) -> int:
        """How many attempts count against `max_attempts`."""
        return self._allowance.attempts

    # Seeking for the first attempt: tier by tier, at once or in the queue of its first candidate.

    def _open_next_tier(self) -> Action:
        tiers = len(self.plan.alias.tiers)
        while self._tier + 1 < tiers:
            self._tier += 1
            members = self.plan.tier_members(self._tier)
            if not members:
                continue
            rejected = self.plan.candidates[members[0]].rejected
            if rejected is not None:
                self.refusals[members[0]] = rejected
                return Fail(rejected.reason, refusal=rejected)
            usable = [
                Move(index)
                for index in members
                if self.plan.candidates[index].rejected is None and index not in self._declined
            ]
            moves = self.guard.let_in(usable, self._later())
            if moves:
                return self._try_now(moves)
        return self._end()

    def _later(self) -> Iterator[int]:
        """Yield the candidates of the tiers behind this one that the request could come to."""
        for tier in range(self._tier + 1, len(self.plan.alias.tiers)):
            members = self.plan.tier_members(tier)
            if members and self.plan.candidates[members[0]].rejected is not None:
                return
            yield from members

    def _on_started(self, _: Started) -> Action:
        return self._open_next_tier()

    def _try_now(self, moves: tuple[Move, ...]) -> TryNow:
        self._moves = moves
        return TryNow(moves)

    def _on_none_free(self, event: NoneFree) -> Action:
        for move, refusal in zip(self._moves, event.refusals, strict=True):
            self.refusals[move.candidate] = refusal
        return self._queue(self._moves[:1]) if self._after is None else self._go_back(self._after)

    def _on_refused(self, event: Refused) -> Action:
        refusal = event.refusal
        self.refusals[self._moves[0].candidate] = refusal
        if self._after is not None:
            return self._queue(self._moves[1:])
        if refusal.failure_class is FailureClass.KEY_REJECTED and (
            self.plan.alias.policy.on_key_rejected is Policy.FAIL
        ):
            # Rejected while it waited: it fails as those do that are planned now.
            return Fail(refusal.reason, refusal=refusal)
        return self._open_next_tier()

    # An attempt.

    def _on_granted_late(self, event: Granted) -> Action:
        """Go, unless the candidate's circuit was shut while we waited: the engine then gives slot and key back."""
        because = self.guard.shut_because(event.candidate)
        if because is None:
            return self._on_granted(event)
        self._note_not_made(event.candidate, f"its circuit is {because}")
        if self._after is not None:
            return self._queue(self._moves[1:])
        # Others of the same tier may take it still: until now it waited for the first one only.
        self._declined |= {event.candidate}
        self._tier -= 1
        return self._open_next_tier()

    def _on_granted(self, event: Granted) -> Action:
        index, key_id = event.candidate, event.key_id
        for move, refusal in zip(self._moves, event.passed, strict=False):
            self.refusals[move.candidate] = refusal
        self.refusals.pop(index, None)
        tried = self.history[index].tried_keys
        free_walk = any(move.candidate == index and move.walk for move in self._moves) and key_id not in tried
        if tried:
            why = Why.RETRY if key_id in tried else Why.KEY_WALK
        else:
            why = Why.FIRST if index == 0 and self.at < 0 else Why.FAILOVER
        self._allowance.spend(walk=free_walk)
        tried.append(key_id)
        self.guard.enter(index)
        self.at = index
        self._moves = ()
        return Dispatch(self._allowance.attempts + self._allowance.key_walks, index, key_id, why)

    def _on_first_content(self, _: FirstContent) -> Action:
        self.guard.succeeded()
        return GoOn()

    def _on_completed(self, _: Completed) -> Action:
        self.guard.succeeded()
        self.guard.ended()
        return Finish()

    def _on_failed(self, event: AttemptFailed) -> Action:
        failure = event.failure
        self._note_failure(failure)
        self._after = failure
        moves = immediate_moves(self.plan, self.history, self.at, failure)
        self._immediate = self.guard.let_in([move for move in moves if self._may(move)])
        if self._immediate:
            return self._try_now(self._immediate)
        return self._go_back(failure)

    def _on_broken(self, event: AttemptFailed) -> Action:
        self._note_failure(event.failure)
        return Fail(Reason.STREAM_BROKEN, failure=event.failure, broken=event.failure)

    def _note_failure(self, failure: Failure) -> None:
        self.guard.failed(failure)
        self.history[self.at].failures.append(failure)
        if self._first_failed < 0:
            self._first_failed = self.at

    # After a failure, when nothing could take over at once: back to the same target, or a wait.

    def _may(self, move: Move, wait_s: float = 0.0) -> bool:
        """Ask whether this attempt may be made at all, and record a no."""
        refused = self._allowance.refuses(walk=move.walk, now=self._clock(), wait_s=wait_s)
        if refused is None and (because := self.guard.shut_because(move.candidate)) is not None:
            refused = f"its circuit is {because}"
        if refused is not None:
            self._note_not_made(move.candidate, refused)
        return refused is None

    def _note_not_made(self, index: int, because: str) -> None:
        self.not_made.append(f"{self.plan.candidates[index].target}: {because}")

    def _go_back(self, failure: Failure) -> Action:
        waits = tuple(
            wait
            for wait in waiting_moves(self.plan, self.history, self.at, failure, self._immediate)
            if self._may(wait)
        )
        for move in return_moves(self.plan, self.history, self.at, failure):
            past = self.history[move.candidate].failures
            seconds = backoff_s(len(past), past[-1].retry_after_s, self._rng)
            if self._may(move, seconds):
                self._moves = (move, *waits)
                return Backoff(seconds)
        return self._queue(waits)

    def _on_woke(self, _: Woke) -> Action:
        # Its failure has been slept off; from here it waits its turn like anybody.
        return self._queue(self._moves)

    def _queue(self, moves: tuple[Move, ...]) -> Action:
        """Wait for the first of `moves`, for the next when that one refuses; end if there is none."""
        self._moves = moves
        return Queue(moves[0]) if moves else self._end()

    # The end.

    def _end(self) -> Fail:
        """Tell the failure of the first candidate that was dispatched; if none was, the first candidate's refusal."""
        if self._first_failed >= 0:
            failure = self.history[self._first_failed].failures[-1]
            refusal = self.refusals.get(self._first_failed)
            return Fail(reason_of(failure.failure_class), failure=failure, refusal=refusal)
        refusal = self.refusals[min(self.refusals)]
        return Fail(refusal.reason, refusal=refusal)

    def _on_stopped(self, event: Stopped) -> Action:
        self.guard.ended()
        return Fail(event.reason)

    def _on_stopped_committed(self, event: Stopped) -> Action:
        self.guard.ended()
        return Fail(event.reason, broken=stopped_failure(event.reason))

    def __repr__(self) -> str:
        """Show the state and what was tried."""
        tried = [
            f"{candidate.target}:{','.join(past.tried_keys)}"
            for candidate, past in zip(self.plan.candidates, self.history, strict=True)
            if past.tried_keys
        ]
        return f"Machine({self.state.value}, tried=[{'; '.join(tried)}], attempts={self._allowance.attempts})"
