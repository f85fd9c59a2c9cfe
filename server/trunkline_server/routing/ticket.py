"""A place in a gate's queue."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum

from trunkline_server.routing.lease import Lease
from trunkline_server.routing.types import Criticality, Refusal

Kind = tuple[str, frozenset[str]]
"""Model and excluded keys: waiters of one kind wait for the same keys."""


class TicketState(Enum):
    """What became of a waiter."""

    WAITING = "waiting"
    GRANTED = "granted"
    REFUSED = "refused"
    LEFT = "left"


@dataclass(slots=True, eq=False)
class Ask:
    """What somebody wants of a gate."""

    model: str
    exclude_keys: frozenset[str]
    tokens: int
    """What it would reserve on a key's limit."""
    caller: str
    criticality: Criticality
    kind: Kind = field(init=False, repr=False)
    size: int = field(init=False, repr=False)
    """What its turn costs its caller, in tokens: at least 1."""

    def __post_init__(self) -> None:
        """Work out what is looked at again and again."""
        self.kind = (self.model, self.exclude_keys)
        self.size = max(1, self.tokens)


@dataclass(slots=True, eq=False, kw_only=True)
class Ticket(Ask):
    """A place in a gate's queue. It holds nothing; `Gate.leave` gives it up."""

    number: int
    joined_at: float
    bound_at: float
    """Clock time at which it stops waiting."""
    bound_is_deadline: bool
    """Whether that is the caller's deadline and not the gate's own `max_wait_s`."""
    on_grant: Callable[[Lease], None] = field(repr=False)
    on_refused: Callable[[Refusal], None] = field(repr=False)
    state: TicketState = TicketState.WAITING

    def used(self, now: float) -> float:
        """Return the part of what it may wait that is over: 1 at its bound."""
        return (now - self.joined_at) / (self.bound_at - self.joined_at)
