"""The failover machine's table: every state and event that can meet, what decides, and where it may lead.

    NEW          nothing happened yet
    SEEKING      a slot and a key are being tried for at candidates that may take the call at once
    QUEUED       waiting in one candidate's queue
    BACKING_OFF  waiting before the same target again; holds neither slot nor key
    IN_FLIGHT    an attempt is under way, and nothing of it was shown to the caller
    HEDGING      the same, and a slot and a key for a second attempt are being tried for
    RACING       two attempts are under way, and nothing of either was shown
    COMMITTED    the first content went to the caller: the attempt cannot be replaced in silence any more
    ENDED        answered, failed, or the caller left

The machine (`machine.Machine`) holds what decides. An event that has no row is a defect and raises, except after the
end, where it is dropped: a grant or a failure may have been on its way, and a late grant is given back. The diagram in
this folder's README is made from the table by `scripts/generate`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from trunkline_server.routing.events import (
    Action,
    AttemptFailed,
    Backoff,
    Broken,
    Completed,
    Dispatch,
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
    Woke,
)
from trunkline_server.routing.record import Word


class State(Word):
    """Where a request stands; the module's docstring says what each means."""

    NEW = "NEW"
    SEEKING = "SEEKING"
    QUEUED = "QUEUED"
    BACKING_OFF = "BACKING_OFF"
    IN_FLIGHT = "IN_FLIGHT"
    HEDGING = "HEDGING"
    RACING = "RACING"
    COMMITTED = "COMMITTED"
    ENDED = "ENDED"


Leads = Mapping[type[Action], State]
"""The actions that may come of an event, and the state that each leads to. For Broken: the action that it carries."""


@dataclass(frozen=True, slots=True)
class Row:
    """Which method of the machine decides about an event in a state, and what may come of it."""

    decide: str
    leads: Leads
    method: str = field(init=False)
    """The name of the machine's method."""

    def __post_init__(self) -> None:
        """Name the method once, not with each event."""
        object.__setattr__(self, "method", f"_{self.decide}")


_S = State

_USUAL: Leads = {
    TryNow: _S.SEEKING,
    Queue: _S.QUEUED,
    Backoff: _S.BACKING_OFF,
    Dispatch: _S.IN_FLIGHT,
    Finish: _S.ENDED,
    Fail: _S.ENDED,
}


def _to(*actions: type[Action]) -> Leads:
    """Return these actions with the states that they usually lead to."""
    return {action: _USUAL[action] for action in actions}


TABLE: Mapping[tuple[State, type[Event]], Row] = {
    (_S.NEW, Started): Row("on_started", _to(TryNow, Fail)),
    (_S.NEW, Stopped): Row("on_stopped", _to(Fail)),
    (_S.SEEKING, Granted): Row("on_granted", _to(Dispatch)),
    (_S.SEEKING, NoneFree): Row("on_none_free", _to(TryNow, Queue, Backoff, Fail)),
    (_S.SEEKING, Stopped): Row("on_stopped", _to(Fail)),
    (_S.QUEUED, Granted): Row("on_granted_late", _to(Dispatch, TryNow, Queue, Fail)),
    (_S.QUEUED, Refused): Row("on_refused", _to(TryNow, Queue, Fail)),
    (_S.QUEUED, Stopped): Row("on_stopped", _to(Fail)),
    (_S.BACKING_OFF, Woke): Row("on_woke", _to(Queue)),
    (_S.BACKING_OFF, Stopped): Row("on_stopped", _to(Fail)),
    (_S.IN_FLIGHT, FirstContent): Row("on_first_content", {GoOn: _S.COMMITTED}),
    (_S.IN_FLIGHT, Completed): Row("on_completed", _to(Finish)),
    (_S.IN_FLIGHT, AttemptFailed): Row("on_failed", _to(TryNow, Queue, Backoff, Fail)),
    (_S.IN_FLIGHT, Stopped): Row("on_stopped", _to(Fail)),
    (_S.IN_FLIGHT, Slow): Row("on_slow", {TryNow: _S.HEDGING, GoOn: _S.IN_FLIGHT}),
    (_S.HEDGING, Granted): Row("on_hedge_granted", {Dispatch: _S.RACING}),
    (_S.HEDGING, NoneFree): Row("on_no_hedge", {GoOn: _S.IN_FLIGHT}),
    (_S.HEDGING, Stopped): Row("on_stopped", _to(Fail)),
    (_S.RACING, FirstContent): Row("on_first_content", {GoOn: _S.COMMITTED}),
    (_S.RACING, Completed): Row("on_completed", _to(Finish)),
    (_S.RACING, AttemptFailed): Row("on_racer_failed", {GoOn: _S.IN_FLIGHT}),
    (_S.RACING, Stopped): Row("on_stopped", _to(Fail)),
    (_S.COMMITTED, Completed): Row("on_completed", _to(Finish)),
    (_S.COMMITTED, AttemptFailed): Row("on_broken", _to(TryNow, Queue, Backoff, Finish, Fail)),
    (_S.COMMITTED, Stopped): Row("on_stopped_committed", _to(Fail)),
}
"""Every state and event that can meet, what decides, and where it may lead."""


def state_after(row: Row, action: Action) -> State | None:
    """Return the state that an action leads to by this row; None if it may not come of it."""
    return row.leads.get(type(action.then if isinstance(action, Broken) else action))


class IllegalEventError(Exception):
    """An event came that the state has no row for: a defect in whoever drives the machine."""
