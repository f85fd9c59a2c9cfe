"""What may happen to a request, and what may be done about it: the failover machine's events and actions."""

from __future__ import annotations

from trunkline_server.routing.breaks import NOTHING_BARS, Shown
from trunkline_server.routing.failures import Failure
from trunkline_server.routing.moves import Move
from trunkline_server.routing.record import Word, record
from trunkline_server.routing.types import OnBreak, Reason, Refusal


class Why(Word):
    """Why an attempt was made."""

    FIRST = "FIRST"
    RETRY = "RETRY"
    KEY_WALK = "KEY_WALK"
    FAILOVER = "FAILOVER"
    HEDGE = "HEDGE"
    CONTINUATION = "CONTINUATION"
    RESTART = "RESTART"


# Events: what happened.


@record
class Started:
    """The request was planned and may go."""


@record
class Granted:
    """A slot and a key are ours at `candidate`; `passed`: the refusals of those that TryNow named before it."""

    candidate: int
    key_id: str
    passed: tuple[Refusal, ...] = ()


@record
class NoneFree:
    """No candidate of TryNow could take the call at once; one refusal for each, in order."""

    refusals: tuple[Refusal, ...]


@record
class Refused:
    """The queue did not let us in, or our time in it is over."""

    refusal: Refusal


@record
class Woke:
    """The backoff is over."""


@record
class Slow:
    """The attempt in flight has given nothing for so long that a second one may race it."""


@record
class FirstContent:
    """The attempt's first content goes to the caller. `attempt` says which, where two race; 0: the only one."""

    attempt: int = 0


@record
class Completed:
    """The attempt gave its whole answer. `attempt` as above."""

    attempt: int = 0


@record
class AttemptFailed:
    """The attempt failed, slot and key are given back. `attempt` as above.

    `shown`: what its caller has of the answer, once content was shown.
    """

    failure: Failure
    attempt: int = 0
    shown: Shown = NOTHING_BARS
    cost_nanousd: int = 0
    """What it cost all the same, in 1e-9 USD."""


@record
class Stopped:
    """The call ends from outside: DEADLINE, CANCELLED or SERVER_DRAINING."""

    reason: Reason


Event = Started | Granted | NoneFree | Refused | Woke | Slow | FirstContent | Completed | AttemptFailed | Stopped


# Actions: what to do.


@record
class TryNow:
    """Take slot and key at the first of `moves` that has both now; answer Granted or NoneFree."""

    moves: tuple[Move, ...]


@record
class Queue:
    """Wait in the queue of `move`'s candidate; answer Granted or Refused."""

    move: Move


@record
class Backoff:
    """Wait `seconds`, holding nothing; answer Woke."""

    seconds: float


@record
class Dispatch:
    """Make attempt number `attempt` (from 1); answer FirstContent, Completed or AttemptFailed.

    `after_break`: RESTART or CONTINUE, if it follows one that broke after content was shown.
    """

    attempt: int
    candidate: int
    key_id: str
    why: Why
    after_break: OnBreak | None = None


@record
class GoOn:
    """Nothing to decide: go on with the attempt."""


@record
class Drop:
    """The machine has ended: the event means nothing any more; a grant is given back."""


@record
class Finish:
    """The call has its answer."""


@record
class Fail:
    """The call failed.

    `reason` is the status's. `failure` is the upstream failure that is told, `refusal` the refusal if nothing was
    dispatched; both None when the call was stopped from outside.
    """

    reason: Reason
    failure: Failure | None = None
    refusal: Refusal | None = None


@record
class Broken:
    """An attempt broke after content was shown, and it is known what follows: tell the caller, then do `then`.

    `then` is Fail for giving up, Finish if the caller has all that it may have, else what leads to another attempt.
    """

    failure: Failure
    asked: OnBreak
    applied: OnBreak
    degraded_because: str
    """Why less is done than was asked for; empty if it is not less."""
    then: Dispatch | Queue | Backoff | Finish | Fail


Action = TryNow | Queue | Backoff | Dispatch | GoOn | Drop | Finish | Fail | Broken
