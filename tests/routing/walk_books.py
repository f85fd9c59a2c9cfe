"""The books of one request on its random walk: what the machine asked for, and what has to hold of it."""

from __future__ import annotations

from collections import Counter

from tests.routing.machine_house import Reached, ToldCharge
from tests.routing.walk_world import WalkWorld

from trunkline_server.routing.breaks import PREFILL, Shown
from trunkline_server.routing.circuit import Permit
from trunkline_server.routing.events import (
    Action,
    Backoff,
    Broken,
    Dispatch,
    Drop,
    Event,
    Fail,
    Finish,
    GoOn,
    Queue,
    Started,
    TryNow,
    Why,
)
from trunkline_server.routing.failover import TABLE, State
from trunkline_server.routing.machine import Machine
from trunkline_server.routing.moves import Move
from trunkline_server.routing.retry import Allowance
from trunkline_server.routing.types import OnBreak

DEADLINE_S = 30.0
Request = tuple[int, OnBreak | None, bool]
"""Its attempts, what it asks for, and whether its caller's library sends it again."""

REACHED: Reached = Counter()
"""Over all walks of a run."""


class Attempt:
    """The model of an attempt in flight, and what its circuit and budget should hear of it."""

    def __init__(self, candidate: int, key_id: str, permit: Permit, charge: ToldCharge | None) -> None:
        self.candidate = candidate
        self.key_id = key_id
        self.permit = permit
        self.charge = charge
        self.words: list[str] = []


class Books:
    """Hands events to a machine, and checks each action that comes of them."""

    world: WalkWorld
    machine: Machine
    action: Action

    def come(self, request: Request) -> None:
        """Let the next request come, and start it."""
        self.clock, self.plan = self.world.clock, self.world.plan
        max_attempts, on_break, self.sent_again = request
        self.asked_for = self.plan.alias.policy.on_break if on_break is None else on_break
        self.max_attempts = max_attempts
        allowance = Allowance(max_attempts, self.clock() + DEADLINE_S)
        self.machine = Machine(
            self.plan,
            allowance,
            clock=self.clock,
            rng=self.world.rng,
            on_break=on_break,
            caller="me",
            sent_again=self.sent_again,
        )
        self.deadline_at = allowance.deadline_at
        self.flying: dict[int, Attempt] = {}
        self.flown: list[Attempt] = []
        self.shown = False
        """Whether content of the attempt in flight was shown."""
        self.ever_shown = False
        self.promised: OnBreak | None = None
        """What the latest break said would follow."""
        self.untold: Shown | None = None
        """What was shown of an attempt that broke, until the break is told."""
        self.breaks = 0
        self.after_break = 0
        self.walkable = False
        """Whether the latest failure lets the next key be tried for free."""
        self.hedges = 0
        self.visited: set[str] = set()
        self.speaking: set[str] = set()
        """Providers that failed this request in a way that costs."""
        self.ended: list[Action] = []
        self.asked: tuple[Move, ...] = ()
        self.waits = 0
        self.take(Started())

    # The books.

    def take(self, event: Event) -> Action:
        """Hand an event to the machine, and keep the books of what it asks for."""
        before = self.machine.state
        action = self.machine.handle(event)
        if isinstance(action, Broken):
            self.check_break(action)
            action = action.then
        assert self.untold is None or isinstance(action, TryNow), "it went on before it told of the break"
        if before is not State.ENDED:
            assert type(action) in TABLE[before, type(event)].leads
            REACHED[before, type(event), type(action)] += 1
        self.action = action
        match action:
            case TryNow(moves):
                self.asked = moves
                assert moves
                assert all(self.machine.guard.shut_because(move.candidate) is None for move in moves)
            case Queue(move):
                self.asked = (move,)
                self.waits += 1
            case Backoff(seconds):
                assert seconds >= 0
                assert self.clock() + seconds < self.deadline_at
            case Dispatch():
                self.keep(action)
            case Finish() | Fail():
                self.ended.append(action)
            case GoOn() | Drop():
                pass
        if isinstance(action, Queue | Backoff) or (isinstance(action, TryNow) and before is not State.IN_FLIGHT):
            assert not self.flying, "it waits while an attempt is in flight"
        return action

    def keep(self, action: Dispatch) -> None:
        candidate = self.plan.candidates[action.candidate]
        assert candidate.rejected is None, "a target that fails fast was asked"
        assert not self.shown, "an attempt beside one that was shown"
        assert action.attempt == len(self.flown) + len(self.flying) + 1
        move = next(move for move in self.asked if move.candidate == action.candidate)
        tried = {flown.key_id for flown in self.flown if flown.candidate == action.candidate}
        free = move.walk and self.walkable and action.key_id not in tried
        if action.why is Why.HEDGE:
            self.hedges += 1
            assert len(self.flying) == 1
            assert not self.ever_shown
        else:
            assert not self.flying, "two attempts at once"
        if self.ever_shown:
            assert action.after_break is self.promised
            assert self.promised in {OnBreak.RESTART, OnBreak.CONTINUE}, "a silent switch"
            assert action.why is (Why.CONTINUATION if self.promised is OnBreak.CONTINUE else Why.RESTART)
            self.after_break += not free
            if self.promised is OnBreak.CONTINUE:
                capabilities = candidate.member.facts.capabilities or frozenset()
                assert PREFILL in capabilities or self.plan.alias.policy.allow_prompted_continuation
        else:
            assert action.after_break is None
        provider = candidate.target.provider
        charge = self.booked(provider, hedge=action.why is Why.HEDGE)
        permit = list(self.world.circuits[action.candidate].words)[-1]
        self.flying[action.attempt] = Attempt(action.candidate, action.key_id, permit, charge)

    def booked(self, provider: str, *, hedge: bool) -> ToldCharge | None:
        """Check what the dispatch of an attempt cost; return what it is charged with."""
        budget = self.world.budgets[provider]
        first = provider not in self.visited
        self.visited.add(provider)
        expected = "hedge" if hedge else "charge" if provider in self.speaking else "first" if first else ""
        if expected == "first" and self.sent_again and not self.flown and not self.flying:
            expected = "library retry"
        if budget is None:
            return None
        assert budget.booked == ([expected] if expected else [])
        budget.booked.clear()
        return budget.charges[-1] if expected in {"hedge", "charge"} else None

    def over(self, attempt: int, *words: str) -> None:
        """Check what an attempt's circuit and charge have heard of it, now that it is over."""
        flown = self.flying.pop(attempt)
        self.flown.append(flown)
        flown.words += words
        said = [word for word in flown.words if word != "blamed"]
        assert self.world.circuits[flown.candidate].words[flown.permit] == [*said, "ended"]
        if flown.charge is not None:
            assert flown.charge.words == [word.replace("blamed", "failed") for word in flown.words] + ["ended"]

    def check_break(self, broken: Broken) -> None:
        """Check that a break is told once, that no more is done than was asked for, and less only with a reason."""
        shown, self.untold = self.untold, None
        assert shown is not None, "told, although nothing was shown, or twice"
        self.breaks += 1
        self.promised = broken.applied
        ladder = [OnBreak.FAIL, OnBreak.RESTART, OnBreak.CONTINUE]
        assert broken.asked is self.asked_for
        assert ladder.index(broken.applied) <= ladder.index(broken.asked)
        assert (broken.applied is not broken.asked) is bool(broken.degraded_because)
        assert (broken.applied is OnBreak.FAIL) is isinstance(broken.then, Fail)
        assert broken.applied is not OnBreak.CONTINUE or not shown.cannot_continue
        assert not shown.tool_call_done or isinstance(broken.then, Fail)
        assert isinstance(broken.then, Finish) <= (shown.nothing_left and broken.applied is OnBreak.CONTINUE)
