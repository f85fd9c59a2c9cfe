"""An attempt in flight, as the shared health hears of it: its circuit, and the budget that a retry was paid from."""

from __future__ import annotations

from trunkline_server.routing.budget import Charge
from trunkline_server.routing.circuit import Permit
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
