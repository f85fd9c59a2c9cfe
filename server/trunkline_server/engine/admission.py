"""The waiting line of a gate, for coroutines: the gate decides, this waits.

Invariant: every lease that a gate grants through here is either returned to the coroutine that asked, or released.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from trunkline_server.routing.gate import Gate, Ticket
from trunkline_server.routing.lease import Lease
from trunkline_server.routing.types import Criticality, Refusal


class Desk:
    """One gate's admission. Must be used from one event loop."""

    __slots__ = ("_clock", "_handle", "_handle_at", "gate")

    def __init__(self, gate: Gate, clock: Callable[[], float]) -> None:
        self.gate = gate
        self._clock = clock
        self._handle: asyncio.TimerHandle | None = None
        self._handle_at = 0.0

    async def queue(
        self,
        model: str,
        exclude_keys: frozenset[str],
        deadline_at: float,
        on_ticket: Callable[[Ticket], None] | None = None,
        *,
        tokens: int = 0,
        caller: str = "",
        criticality: Criticality = Criticality.CRITICAL,
    ) -> Lease | Refusal:
        """Wait for a slot and a key until the gate's bound or `deadline_at`; a cancelled wait leaves nothing behind.

        `on_ticket` is told the place in the queue, if one is taken: `gate.position` says how it moves up. `tokens`,
        an estimate of prompt and answer, is reserved on the key's limits and counts in the caller's turns.
        """
        lease = self.gate.try_take(model, exclude_keys, tokens=tokens, caller=caller, criticality=criticality)
        if lease is not None:
            return lease
        future: asyncio.Future[Lease | Refusal] = asyncio.get_running_loop().create_future()

        def granted(lease: Lease) -> None:
            if future.done():
                self.release(lease)
            else:
                future.set_result(lease)

        def refused(refusal: Refusal) -> None:
            if not future.done():
                future.set_result(refusal)

        ticket = self.gate.join(
            model,
            exclude_keys,
            deadline_at=deadline_at,
            on_grant=granted,
            on_refused=refused,
            tokens=tokens,
            caller=caller,
            criticality=criticality,
        )
        if isinstance(ticket, Refusal):
            return ticket
        self._joined()
        try:
            if on_ticket is not None:
                on_ticket(ticket)
            return await future
        except BaseException:
            # Cancelled, or `on_ticket` raised. The grant may have come in the same turn of the loop as that.
            if future.done() and not future.cancelled() and isinstance(outcome := future.result(), Lease):
                self.release(outcome)
            else:
                self.gate.leave(ticket)
            raise

    def release(self, lease: Lease) -> None:
        """Give slot and key back; whoever waits for them gets them at once."""
        lease.release()
        self.rearm()

    def changed(self) -> None:
        """Look again: a key's state or the gate's limits moved."""
        if self.gate.waiting:
            self.gate.poll()
            self.rearm()

    def _joined(self) -> None:
        """Rearm. A crowd that arrives keeps the loop from its timers: whoever is due is not to wait for all of it."""
        if self._handle is not None and self._handle_at <= self._clock():
            self._handle.cancel()
            self._wake()
        else:
            self.rearm()

    def rearm(self) -> None:
        """Wake up when something happens at the gate by the mere passing of time; release the timer if nothing will."""
        at = self.gate.next_event_at() if self.gate.waiting else None
        if self._handle is not None:
            if at is not None and self._handle_at <= at:
                return
            self._handle.cancel()
            self._handle = None
        if at is not None:
            self._handle_at = at
            delay_s = max(0.0, at - self._clock())
            self._handle = asyncio.get_running_loop().call_later(delay_s, self._wake)

    def _wake(self) -> None:
        self._handle = None
        self.gate.poll()
        self.rearm()
