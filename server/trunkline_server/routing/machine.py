"""The failover machine: what to do next, for one request, until it has an answer or an end.

It is asked with events (what happened) and answers with actions (what to do); it never does anything itself. What may
happen when, and where it leads, stands in `failover.TABLE`; the methods here decide between what a row allows.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Sequence

from trunkline_server.routing.aliases import Policy
from trunkline_server.routing.breaks import can_go_on, stopped_failure
from trunkline_server.routing.clock import Clock
from trunkline_server.routing.events import (
    Action,
    AttemptFailed,
    Backoff,
    Broken,
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
    Slow,
    Started,
    Stopped,
    TryNow,
    Why,
    Woke,
)
from trunkline_server.routing.failover import TABLE, IllegalEventError, State, state_after
from trunkline_server.routing.failures import Failure, FailureClass
from trunkline_server.routing.flight import Flight, Flights
from trunkline_server.routing.guard import Guard
from trunkline_server.routing.mending import Mending
from trunkline_server.routing.moves import History, Move, hedge_moves, immediate_moves, return_moves, waiting_moves
from trunkline_server.routing.permission import Permission
from trunkline_server.routing.retry import Allowance, backoff_s
from trunkline_server.routing.selection import Plan
from trunkline_server.routing.spending import Spending
from trunkline_server.routing.types import OnBreak, Reason, Refusal, reason_of

_AfterBreak = Dispatch | Queue | Backoff | Finish | Fail


class Machine:
    """One request's failover. Feed events to `handle`; it returns the action to take next.

    `on_break`: what the request asks for, else its alias. `streams`: whether content is shown as it comes.
    `sent_again`: the caller's own library sends this RPC again. Whoever drives it calls `close` at its end.
    """

    __slots__ = (
        "_after", "_broken", "_declined", "_first", "_fits", "_flights", "_immediate", "_may", "_mending",
        "_moves", "_rng", "_tier", "_untold", "at", "guard", "history", "on_break", "plan", "refusals",
        "state",
    )  # fmt: skip

    def __init__(
        self,
        plan: Plan,
        allowance: Allowance,
        *,
        clock: Clock,
        rng: random.Random,
        on_break: OnBreak | None = None,
        streams: bool = True,
        caller: str = "",
        sent_again: bool = False,
    ) -> None:
        self.plan = plan
        self.state = State.NEW
        self.history = [History() for _ in plan.candidates]
        self.refusals: dict[int, Refusal] = {}
        """The last refusal of each candidate that refused before a dispatch."""
        self.at = -1
        """The candidate of the latest attempt; of the winner, where two raced."""
        self.guard = Guard(plan.candidates)
        self.on_break = plan.alias.policy.on_break if on_break is None else on_break
        spending = Spending(plan.candidates, caller, sent_again=sent_again)
        self._may = Permission(plan, allowance, self.guard, spending, clock=clock, streams=streams)
        self._rng = rng
        self._flights = Flights()
        self._first = -1
        """The candidate of the first attempt."""
        self._tier = -1
        self._moves: tuple[Move, ...] = ()
        self._immediate: tuple[Move, ...] = ()
        self._after: Failure | None = None
        """The latest failure; None while nothing was tried."""
        self._broken: Failure | None = None
        """What broke an attempt after content was shown, the first one if two did."""
        self._untold: Mending | None = None
        """The break that was not told yet, since it is not known what follows."""
        self._mending: OnBreak | None = None
        """What is being done about it: RESTART or CONTINUE."""
        self._fits: Callable[[int], bool] | None = None
        """Which candidates can do that; None: all of them."""
        self._declined: frozenset[int] = frozenset()
        """Candidates whose circuits were shut by the time that their slot came."""

    def handle(self, event: Event) -> Action:
        """Return what to do after `event`; raise IllegalEventError for one that cannot happen now."""
        if self.state is State.ENDED:
            return Drop()
        row = TABLE.get((self.state, type(event)))
        if row is None:
            raise IllegalEventError(f"{type(event).__name__} in state {self.state.value}")
        action: Action = getattr(self, row.method)(event)
        state = state_after(row, action)
        if state is None:
            raise IllegalEventError(f"{type(action).__name__} after {type(event).__name__} in state {self.state.value}")
        self.state = state
        return action

    def close(self) -> None:
        """Let go of the attempts that are still in flight."""
        self._flights.close()

    @property
    def attempts_used(self) -> int:
        """How many attempts count against `max_attempts`."""
        return self._may.allowance.attempts

    @property
    def not_made(self) -> list[str]:
        """Attempts that were not made, each with its reason, told once."""
        return list(dict.fromkeys(self._may.not_made)) if self._may.not_made else []

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
        if not self.refusals:
            # Circuits changed from tier to tier while they were asked, and nobody took the call: nobody is kept out.
            anybody = (index for index, candidate in enumerate(self.plan.candidates) if candidate.rejected is None)
            return self._try_now(tuple(map(Move, anybody)))
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
        self._note_refusals(event.refusals)
        if self._after is None:
            return self._queue(self._moves[:1])
        self._immediate = tuple(m for m, refusal in zip(self._moves, event.refusals, strict=True) if not refusal.never)
        action = self._go_back(self._after)
        if action is None and self._untold is not None:
            self._untold.note(self._why_nobody([refusal.message for refusal in event.refusals]))
            return self._mend(self._untold)
        return self._told(action or self._end())

    def _note_refusals(self, refusals: Iterable[Refusal]) -> None:
        for move, refusal in zip(self._moves, refusals, strict=False):
            self.refusals[move.candidate] = refusal

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
        """Go, unless circuit or budget say no by now: the engine then gives slot and key back."""
        if self._may.still(event.candidate):
            return self._on_granted(event)
        if self._after is not None:
            return self._queue(self._moves[1:])
        # Others of the same tier may take it still: until now it waited for the first one only.
        self._declined |= {event.candidate}
        self._tier -= 1
        return self._open_next_tier()

    def _on_granted(self, event: Granted) -> Action:
        index, tried = event.candidate, self.history[event.candidate].tried_keys
        if self._mending is not None:
            why = Why.CONTINUATION if self._mending is OnBreak.CONTINUE else Why.RESTART
        elif tried:
            why = Why.RETRY if event.key_id in tried else Why.KEY_WALK
        else:
            why = Why.FIRST if index == 0 and self.at < 0 else Why.FAILOVER
        return self._told(self._dispatch(event, why))

    def _dispatch(self, event: Granted, why: Why) -> Dispatch:
        self._note_refusals(event.passed)
        index, key_id = event.candidate, event.key_id
        self.refusals.pop(index, None)
        tried = self.history[index].tried_keys
        untried = key_id not in tried
        free_walk = bool(tried) and untried and any(move.candidate == index and move.walk for move in self._moves)
        allowance = self._may.allowance
        allowance.spend(walk=free_walk, after_break=self._mending is not None, hedge=why is Why.HEDGE)
        tried.append(key_id)
        attempt = allowance.attempts + allowance.key_walks
        charge = self._may.spending.enter(index, raced=self.at if why is Why.HEDGE else None)
        self._flights[attempt] = Flight(index, self.guard.enter(index), charge)
        self._first = index if self._first < 0 else self._first
        self.at = index
        self._moves = ()
        return Dispatch(attempt, index, key_id, why, self._mending)

    def _on_first_content(self, event: FirstContent) -> Action:
        self._won(event.attempt).succeeded()
        return GoOn()

    def _on_completed(self, event: Completed) -> Action:
        self._won(event.attempt).succeeded()
        self.close()
        return Finish()

    def _won(self, attempt: int) -> Flight:
        winner = self._flights.won(attempt)
        self.at = winner.candidate
        return winner

    # A second attempt beside a slow one.

    def _on_slow(self, _: Slow) -> Action:
        moves = hedge_moves(self.plan, self.history, self.at)
        after_break = self._mending is not None
        may = [move for move in moves if self._may.hedged(move, raced=self.at, after_break=after_break)]
        let_in = self.guard.let_in(may)
        return self._try_now(let_in) if let_in else GoOn()

    def _on_hedge_granted(self, event: Granted) -> Action:
        return self._dispatch(event, Why.HEDGE)

    def _on_no_hedge(self, event: NoneFree) -> Action:
        for move, refusal in zip(self._moves, event.refusals, strict=True):
            self._may.note(move.candidate, refusal.message)
        self._moves = ()
        return GoOn()

    def _on_racer_failed(self, event: AttemptFailed) -> Action:
        self._note_failure(event)
        self.at = next(iter(self._flights.values())).candidate
        return GoOn()

    # After a failure.

    def _on_failed(self, event: AttemptFailed) -> Action:
        self._note_failure(event)
        return self._move_on(event.failure) or self._end()

    def _on_broken(self, event: AttemptFailed) -> Action:
        self._note_failure(event)
        self._broken = self._broken or event.failure
        self._untold = Mending(self.on_break, event.failure, event.shown)
        return self._mend(self._untold)

    def _mend(self, mending: Mending) -> Action:
        """Do what was asked for, or what is left of it; told once a slot is had or waited for, or nobody is left."""
        while (step := mending.next_step()) is not None:
            if step is OnBreak.CONTINUE and mending.shown.nothing_left:
                return self._told(Finish())
            self._mending = step
            self._fits = self._goes_on if step is OnBreak.CONTINUE else None
            noted = len(self._may.not_made)
            action = self._move_on(mending.failure, walk=False)  # its key was good enough to show content
            if action is not None:
                return action if isinstance(action, TryNow) else self._told(action)
            mending.note(self._why_nobody(self._may.not_made[noted:]))
        return self._told(self._end())

    def _told(self, then: _AfterBreak) -> Broken | _AfterBreak:
        """Return an action, with the break that it follows if that was not told yet."""
        untold, self._untold = self._untold, None
        return then if untold is None else untold.told(then)

    def _goes_on(self, index: int) -> bool:
        policy = self.plan.alias.policy
        return can_go_on(self.plan.candidates[index].member, prompted=policy.allow_prompted_continuation)

    def _why_nobody(self, because: Sequence[str]) -> str:
        if self._fits is not None and not any(map(self._fits, range(len(self.plan.candidates)))):
            return "no target can go on from the text"
        if because:
            return because[0]
        return "no other target can go on from the text" if self._fits is not None else "nobody else may be tried"

    def _note_failure(self, event: AttemptFailed) -> None:
        flight = self._flights.landed(event.attempt)
        flight.failed(event.failure)
        self.at = flight.candidate
        self._after = event.failure
        self._may.spent_nanousd += event.cost_nanousd
        self._may.spending.note_failed(flight.candidate, event.failure)
        self.history[flight.candidate].failures.append(event.failure)

    def _move_on(self, failure: Failure, *, walk: bool = True) -> TryNow | Queue | Backoff | None:
        """Return the first move that the failure's row allows and that may be made; None if there is none."""
        moves = self._fitting(immediate_moves(self.plan, self.history, self.at, failure, walk=walk))
        self._immediate = self.guard.let_in([move for move in moves if self._asked(move)])
        return self._try_now(self._immediate) if self._immediate else self._go_back(failure)

    def _fitting(self, moves: list[Move]) -> list[Move]:
        return [move for move in moves if self._fits is None or self._fits(move.candidate)]

    def _asked(self, move: Move, wait_s: float = 0.0) -> bool:
        return self._may.asked(move, wait_s=wait_s, after_break=self._mending is not None)

    def _go_back(self, failure: Failure) -> Queue | Backoff | None:
        """Go back to the same target after a backoff, or wait: nothing could take over at once."""
        waiting = self._fitting(waiting_moves(self.plan, self.history, self.at, failure, self._immediate))
        waits = tuple(wait for wait in waiting if self._asked(wait))
        for move in self._fitting(return_moves(self.plan, self.history, self.at, failure)):
            past = self.history[move.candidate].failures
            seconds = backoff_s(len(past), past[-1].retry_after_s, self._rng)
            if self._asked(move, seconds):
                self._moves = (move, *waits)
                return Backoff(seconds)
        self._moves = waits
        return Queue(waits[0]) if waits else None

    def _on_woke(self, _: Woke) -> Action:
        return self._queue(self._moves)  # from here it waits its turn like anybody

    def _queue(self, moves: tuple[Move, ...]) -> Queue | Fail:
        """Wait for the first of `moves`, for the next when that one refuses; end if there is none."""
        self._moves = moves
        return Queue(moves[0]) if moves else self._end()

    # The end.

    def _end(self) -> Fail:
        """Tell what broke the stream, else the failure of the first candidate that was dispatched, else the refusal."""
        if self._broken is not None:
            return Fail(Reason.STREAM_BROKEN, failure=self._broken)
        if self._after is not None:
            failure = self.history[self._first].last or self._after
            return Fail(reason_of(failure.failure_class), failure=failure, refusal=self.refusals.get(self._first))
        refusal = self.refusals[min(self.refusals)]
        return Fail(refusal.reason, refusal=refusal)

    def _on_stopped(self, event: Stopped) -> Action:
        self.close()
        if self._untold is not None:
            self._untold.note(stopped_failure(event.reason).message)
        return self._told(Fail(event.reason))

    def _on_stopped_committed(self, event: Stopped) -> Action:
        self.close()
        failure = stopped_failure(event.reason)
        because = "" if self.on_break is OnBreak.FAIL else failure.message
        return Broken(failure, self.on_break, OnBreak.FAIL, because, Fail(event.reason))

    def __repr__(self) -> str:
        """Show the state and what was tried."""
        pairs = zip(self.plan.candidates, self.history, strict=True)
        tried = [f"{candidate.target}:{','.join(past.tried_keys)}" for candidate, past in pairs if past.tried_keys]
        return f"Machine({self.state.value}, tried=[{'; '.join(tried)}], attempts={self.attempts_used})"
