"""Which move comes next after a failure: the order of semantics section 5, as data for the failover machine.

A move is a candidate of the plan and the keys that may not be used for it. Moves to another key or another target
are tried at once; going back to the same target needs a backoff.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from trunkline_server.routing.aliases import Policy
from trunkline_server.routing.failures import Failure, FailureClass, NextTarget, SameKey
from trunkline_server.routing.record import record
from trunkline_server.routing.retry import FREE_WALK
from trunkline_server.routing.selection import Plan

_SLOW = Failure(FailureClass.FIRST_TOKEN_TIMEOUT, "slow")
"""What an attempt that is raced is suspected of: targets of another provider go first."""


@record
class Move:
    """One candidate to go to. `walk`: another key of a target whose last key was rejected or exhausted."""

    candidate: int
    exclude_keys: frozenset[str] = frozenset()
    walk: bool = False


@dataclass(slots=True)
class History:
    """What one candidate went through in this request."""

    tried_keys: list[str] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)

    @property
    def last(self) -> Failure | None:
        """The last failure, if it was tried and failed."""
        return self.failures[-1] if self.failures else None


def immediate_moves(
    plan: Plan, history: Sequence[History], at: int, failure: Failure, *, walk: bool = True
) -> list[Move]:
    """Return moves 1 to 3 after `failure` at candidate `at`: another key, this tier's untried, the next tiers' untried.

    The order is theirs; whether one can start now is found out by trying. `walk`: whether the failed key may be walked
    past for free.
    """
    moves: list[Move] = []
    if failure.rule.other_key:
        moves.append(Move(at, frozenset(history[at].tried_keys), walk and failure.failure_class in FREE_WALK))
    untried = [
        index
        for index, candidate in enumerate(plan.candidates)
        if not history[index].tried_keys and candidate.rejected is None and _may_go_to(plan, at, failure, index)
    ]
    failed = plan.candidates[at]
    rule = failure.rule

    def rank(index: int) -> tuple[int, bool, int]:
        candidate = plan.candidates[index]
        # Tiers before the failed one come after those behind it: they were full or cooling when they were passed.
        tier_rank = (
            candidate.tier - failed.tier if candidate.tier >= failed.tier else len(plan.alias.tiers) + candidate.tier
        )
        same_provider_last = rule.other_provider_first and candidate.target.provider == failed.target.provider
        return tier_rank, same_provider_last, index

    moves.extend(Move(index) for index in sorted(untried, key=rank))
    return moves


def hedge_moves(plan: Plan, history: Sequence[History], at: int) -> list[Move]:
    """Return where a second attempt may go that races a slow one at `at`: elsewhere first, then to another key."""
    return [*immediate_moves(plan, history, at, _SLOW), Move(at, frozenset(history[at].tried_keys))]


def _may_go_to(plan: Plan, at: int, failure: Failure, other: int) -> bool:
    """Return whether the class, and where it asks for it the alias, let another target be tried after one at `at`."""
    match failure.rule.next_target:
        case NextTarget.YES | NextTarget.PREFERRED:
            return True
        case NextTarget.LARGER_WINDOW:
            return _larger_window(plan, at, other)
        case NextTarget.NO:
            return False
        case NextTarget.BY_POLICY:
            policy = plan.alias.policy
            if failure.failure_class is FailureClass.KEY_REJECTED:
                return policy.on_key_rejected is Policy.NEXT_TARGET
            return policy.on_content_filtered is Policy.NEXT_TARGET


def return_moves(plan: Plan, history: Sequence[History], at: int, failure: Failure) -> list[Move]:
    """Return what move 4 chooses from, in plan order: candidates whose last failure allows them after a backoff."""
    return [Move(index) for index in _again(plan, history, at, failure, SameKey.AFTER_BACKOFF)]


def waiting_moves(
    plan: Plan, history: Sequence[History], at: int, failure: Failure, immediate: Sequence[Move]
) -> list[Move]:
    """Return what move 5 may wait for, in plan order: what was allowed but not free, and keys that cool."""
    cooling = _again(plan, history, at, failure, SameKey.AFTER_COOL_DOWN)
    # Where the tried key may be used again, waiting for any key of the pool is the shorter wait.
    moves = [move for move in immediate if move.candidate not in cooling]
    moves += [Move(index) for index in cooling]
    failed = plan.candidates[at]

    def rank(move: Move) -> tuple[int, bool, int]:
        candidate = plan.candidates[move.candidate]
        same_provider = candidate.target.provider == failed.target.provider
        return candidate.tier, failure.rule.other_provider_first and same_provider, move.candidate

    return sorted(moves, key=rank)


def _again(plan: Plan, history: Sequence[History], at: int, failure: Failure, when: SameKey) -> list[int]:
    """Return the candidates whose last failure allows the same key `when`, as far as `failure` lets us go there."""
    return [
        index
        for index, past in enumerate(history)
        if past.last is not None
        and past.last.rule.same_key is when
        and (index == at or _may_go_to(plan, at, failure, index))
    ]


def _larger_window(plan: Plan, failed: int, other: int) -> bool:
    """Return whether the other model is known to read more than the one that found the prompt too long."""
    small = plan.candidates[failed].member.facts.context_tokens
    large = plan.candidates[other].member.facts.context_tokens
    return small is not None and large is not None and large > small
