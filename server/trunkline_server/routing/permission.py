"""May an attempt be made at all? All questions of semantics section 5, asked in one place, and each no recorded.

1. What the failed class allows: its row in `failures.RULES`, by which `moves` makes its lists before anybody asks here.
2. The type of request: after content was shown only as `breaks` says. Criticality joins with its own issue.
3. Attempts: those of the request, over all targets, and at most one after a break; and what it may still cost.
4. Expected latency: the deadline has to leave the target's usual time to its first content.
5. Downstream impact: the provider's retry budget, and the target's circuit.

The first attempt of a request is not asked for here: it is free.
"""

from __future__ import annotations

from trunkline_server.routing.clock import Clock
from trunkline_server.routing.guard import Guard
from trunkline_server.routing.moves import Move
from trunkline_server.routing.retry import Allowance
from trunkline_server.routing.selection import Plan
from trunkline_server.routing.spending import Spending

_MEDIAN = 50.0


class Permission:
    """One request's. `streams`: whether content is shown as it comes."""

    __slots__ = ("_clock", "_plan", "_streams", "allowance", "guard", "not_made", "spending", "spent_nanousd")

    def __init__(
        self, plan: Plan, allowance: Allowance, guard: Guard, spending: Spending, *, clock: Clock, streams: bool
    ) -> None:
        self.allowance = allowance
        self.guard = guard
        self.spending = spending
        self.not_made: list[str] = []
        """Attempts that were not made, each with its reason."""
        self.spent_nanousd = 0
        """What earlier attempts of the request cost, in 1e-9 USD."""
        self._plan = plan
        self._clock = clock
        self._streams = streams

    def asked(self, move: Move, *, wait_s: float = 0.0, after_break: bool = False) -> bool:
        """Return whether the attempt may be made, after `wait_s`. `after_break`: content was shown already."""
        refused = self.allowance.refuses(
            walk=move.walk,
            now=self._clock(),
            wait_s=wait_s,
            after_break=after_break,
            expected_s=self._expected_s(move.candidate),
        )
        refused = refused or self._plan.too_dear(move.candidate, self.spent_nanousd)
        return self._recorded(move.candidate, refused or self._refused_by_health(move.candidate))

    def still(self, index: int) -> bool:
        """Return whether an attempt that had to wait for its slot may still be made, by circuit and budget."""
        return self._recorded(index, self._refused_by_health(index))

    def hedged(self, move: Move, *, raced: int, after_break: bool = False) -> bool:
        """Return whether the attempt may be made beside one that is in flight at candidate `raced`."""
        refused = self.allowance.refuses_hedge(after_break=after_break) or self.spending.refuses_hedge(
            move.candidate, self._plan.alias.policy.hedge.max_extra, raced=raced
        )
        return self._recorded(move.candidate, refused) and self.asked(move)

    def note(self, index: int, because: str) -> None:
        """Record an attempt that was not made."""
        self.not_made.append(f"{self._plan.candidates[index].target}: {because}")

    def _recorded(self, index: int, refused: str | None) -> bool:
        if refused is not None:
            self.note(index, refused)
        return refused is None

    def _refused_by_health(self, index: int) -> str | None:
        because = self.guard.shut_because(index)
        return self.spending.refuses(index) if because is None else f"its circuit is {because}"

    def _expected_s(self, index: int) -> float | None:
        """Return the target's usual time to its first content, or to its answer where it is not streamed."""
        latency = self._plan.candidates[index].health.latency
        if latency is None:
            return None
        return (latency.first_content if self._streams else latency.response).quantile(_MEDIAN)
