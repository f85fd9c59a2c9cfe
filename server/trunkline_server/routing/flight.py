"""Attempts in flight, as the shared health hears of them: circuits, and the budgets that retries were paid from."""

from __future__ import annotations

from trunkline_server.routing.budget import Charge
from trunkline_server.routing.circuit import Permit
from trunkline_server.routing.failover import IllegalEventError
from trunkline_server.routing.failures import Failure


class Flight:
    """One attempt at one candidate.

    Invariant: permit and charge are let go of exactly once, in `failed` or `ended`; what is said afterwards is nothing.
    """

    __slots__ = ("_charge", "_permit", "candidate")

    def __init__(self, candidate: int, permit: Permit | None, charge: Charge | None) -> None:
        self.candidate = candidate
        self._permit = permit
        self._charge = charge

    def succeeded(self) -> None:
        """Tell that the attempt gave its first content, or its whole answer."""
        if self._permit is not None:
            self._permit.succeeded()
        if self._charge is not None:
            self._charge.succeeded()

    def failed(self, failure: Failure) -> None:
        """Tell how the attempt failed. What its caller brought about, or the class excuses, says nothing."""
        if not failure.caused_by_caller:
            if self._permit is not None and failure.rule.counts:
                self._permit.failed()
            if self._charge is not None:
                self._charge.failed()
        self.ended()

    def ended(self) -> None:
        """Tell that the attempt is over, on whatever way."""
        permit, self._permit = self._permit, None
        charge, self._charge = self._charge, None
        if permit is not None:
            permit.ended()
        if charge is not None:
            charge.ended()


class Flights(dict[int, Flight]):
    """One request's attempts in flight, by their number: two while they race, else one or none."""

    __slots__ = ()

    def _meant(self, attempt: int) -> int:
        """Return the number of the attempt that an event is about; 0 is the only one."""
        if not attempt and len(self) == 1:
            return next(iter(self))
        if attempt not in self:
            raise IllegalEventError(f"attempt {attempt}, where {sorted(self)} are in flight")
        return attempt

    def landed(self, attempt: int) -> Flight:
        """Return the flight of this attempt, which is over, and keep it no longer."""
        return self.pop(self._meant(attempt))

    def won(self, attempt: int) -> Flight:
        """Return the flight of this attempt, the only one from now on: one that raced it is let go of."""
        attempt = self._meant(attempt)
        for other in [number for number in self if number != attempt]:
            self.pop(other).ended()
        return self[attempt]

    def close(self) -> None:
        """Let go of all that are left."""
        while self:
            self.popitem()[1].ended()
