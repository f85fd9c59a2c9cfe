"""The circuits of one request's plan: whom they let in.

Panic: where every candidate's circuit is shut, all of them are ignored. It is looked at anew each time: what holds
for a request that comes now holds for one that is on its way.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from trunkline_server.routing.circuit import Permit
from trunkline_server.routing.moves import Move
from trunkline_server.routing.selection import Candidate


class Guard:
    """Stands between one request and the circuits of its candidates."""

    __slots__ = ("_candidates", "kept_out")

    def __init__(self, candidates: Sequence[Candidate]) -> None:
        self._candidates = candidates
        self.kept_out: frozenset[int] = frozenset()
        """Candidates whose circuits have sent the request elsewhere, even if it came back to them later."""

    def shut_because(self, index: int) -> str | None:
        """Return why the candidate's circuit lets nobody in; None if it does, or if panic ignores it."""
        because = self._candidates[index].shut_because
        if because is None:
            return None
        panic = all(other.shut_because is not None for other in self._candidates if other.rejected is None)
        # Asked again: its time may have come while the others were asked, and that is why there is no panic.
        return None if panic else self._candidates[index].shut_because

    def let_in(self, moves: Sequence[Move], later: Iterable[int] = ()) -> tuple[Move, ...]:
        """Return those of `moves` that no circuit refuses, in their order; it is booked whom a ramp lets pass by.

        `later` are candidates that could be moved to after these. What a ramp holds back goes to another one, here or
        there; if there is none, it is let in.
        """
        for move in moves:
            if not self._candidates[move.candidate].calm:
                break
        else:
            return tuple(moves)
        may = [move for move in moves if self.shut_because(move.candidate) is None]
        free = [move for move in may if not self._holds_back(move)]
        if not free and not any(self._candidates[index].takes_anybody for index in later):
            return tuple(may)
        for move in may:
            circuit = self._candidates[move.candidate].circuit
            if circuit is None or move in free:
                break
            circuit.pass_by()
        self.kept_out = self.kept_out.union(move.candidate for move in moves if move not in free)
        return tuple(free)

    def _holds_back(self, move: Move) -> bool:
        # Whom a ramp has let in already may go on to another key there.
        return not move.exclude_keys and self._candidates[move.candidate].held_because is not None

    def enter(self, index: int) -> Permit | None:
        """Book the dispatch of an attempt at a candidate; its owner lets go of the permit."""
        circuit = self._candidates[index].circuit
        return None if circuit is None else circuit.enter()
