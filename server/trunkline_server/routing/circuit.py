"""The circuit of one target: whether its recent attempts say that it can serve at all.

    CLOSED     everybody is let in; outcomes are counted
    OPEN       nobody is let in who could go elsewhere, until a time
    HALF_OPEN  one call at a time is let in as a probe; its outcome alone decides
    RAMPING    a growing share of the calls is let in; one failure opens the circuit again

A circuit decides and never waits. Nobody is kept out by force: who has nowhere else to go enters all the same, and
what became of such a call changes neither an open nor a half-open circuit. An attempt's outcome counts only while the
circuit is in the state in which the attempt was let in: what an older state sent says nothing of the present one.

An operator may force a circuit open or closed. Then neither time nor outcomes move it, and outcomes are not counted.
"""

from __future__ import annotations

import math
import random
from collections import deque
from dataclasses import dataclass
from enum import Enum

from trunkline_server.routing.clock import Clock

FORGET_S = 60.0
"""After so long in CLOSED the next opening is as short as the first."""
OPEN_JITTER = 0.1
RAMP_PERCENT = (10, 25, 50)
"""What a ramp lets in, each share for an equal part of `ramp_s`."""
_WHOLE = 100
_MAX_DOUBLINGS = 32
_BUCKETS = 100
"""Parts of the counting window: memory is bounded whatever the traffic, at 1 % of the window in precision."""


class CircuitState(Enum):
    """What a circuit does; the module's docstring says what each means."""

    CLOSED = "CLOSED"
    OPEN = "OPEN"
    HALF_OPEN = "HALF_OPEN"
    RAMPING = "RAMPING"


@dataclass(frozen=True, slots=True)
class CircuitLimits:
    """When a circuit opens, and how it comes back. Times in seconds."""

    recent: int = 20
    recent_failures: int = 16
    """Opens when so many of the last `recent` outcomes failed."""
    failures_in_row: int = 5
    """Opens after so many failures in a row, while fewer than `min_calls` outcomes came within `window_s`."""
    window_s: float = 10.0
    error_ratio: float = 0.5
    """Opens when this part of the outcomes within `window_s` failed, if they are at least `min_calls`."""
    min_calls: int = 20
    open_s: float = 5.0
    """How long it stays open at first; each opening that follows a failed return doubles it."""
    open_max_s: float = 300.0
    ramp_s: float = 6.0

    def __post_init__(self) -> None:
        """Refuse limits that could never open a circuit, or never close one."""
        counts = (self.recent, self.recent_failures, self.failures_in_row, self.min_calls)
        times = (self.window_s, self.open_s, self.open_max_s, self.ramp_s)
        if (
            min(counts) < 1
            or self.recent_failures > self.recent
            or not all(math.isfinite(seconds) and seconds > 0 for seconds in times)
            or self.open_max_s < self.open_s
            or not 0 < self.error_ratio <= 1
        ):
            raise ValueError(f"these are no limits of a circuit: {self}")


DEFAULT_LIMITS = CircuitLimits()


class Permit:
    """One attempt's entry, and its word to the circuit that let it in.

    Whoever entered owns it, and says `failed` or `ended` exactly at the attempt's end. `succeeded` comes before that:
    at the first content, since at the end of a long stream it would come too late to be set against failures.
    """

    __slots__ = ("_circuit", "_succeeded", "generation")

    def __init__(self, circuit: Circuit, generation: int) -> None:
        self._circuit = circuit
        self._succeeded = False
        self.generation = generation
        """Which of the circuit's states let the attempt in."""

    def succeeded(self) -> None:
        """Say that the target serves. Only the first word of it counts."""
        if not self._succeeded:
            self._succeeded = True
            self._circuit.book(self, failed=False)

    def failed(self) -> None:
        """Say that the attempt failed in a class that counts: also after a success, as a failure of its own."""
        self._circuit.book(self, failed=True)

    def ended(self) -> None:
        """Say that the attempt is over and has nothing (more) to tell. A probe gives its place to the next one."""
        self._circuit.let_go(self)


class Circuit:
    """The circuit of one target. It belongs to one event loop; nothing here is thread-safe."""

    __slots__ = (
        "_clock",
        "_closed_at",
        "_credit",
        "_doublings",
        "_forced",
        "_generation",
        "_limits",
        "_outcomes",
        "_probe",
        "_rng",
        "_since",
        "_state",
        "_until",
        "calm",
    )

    def __init__(self, limits: CircuitLimits, *, clock: Clock, rng: random.Random) -> None:
        self._limits = limits
        self._clock = clock
        self._rng = rng
        self._state = CircuitState.CLOSED
        self.calm = True
        """CLOSED for sure: lets everybody in. When False, time may have closed it since; ask `state`."""
        self._generation = 0
        self._forced = False
        """Whether an operator holds it in the state that it is in."""
        self._outcomes = _Outcomes(limits)
        self._doublings = 0
        self._closed_at = -math.inf
        self._since = 0.0
        self._until = 0.0
        """End of OPEN or RAMPING."""
        self._probe: Permit | None = None
        self._credit = 0
        """What the ramp has saved up, in hundredths of a call; a call is let in for a whole one."""

    def retune(self, limits: CircuitLimits) -> None:
        """Take over new limits in place. The state stays, and what was counted goes on counting.

        An opening lasts no longer than the new `open_max_s` and a ramp as long as the new `ramp_s`, from when they
        began. A closed circuit opens with the next outcome at the earliest.
        """
        self._move_on()
        if limits == self._limits:
            return
        self._limits = limits
        self._outcomes.retune(limits)
        if self._state is CircuitState.OPEN:
            self._until = min(self._until, self._since + limits.open_max_s)
        elif self._state is CircuitState.RAMPING:
            self._until = self._since + limits.ramp_s

    # -- the way in

    @property
    def state(self) -> CircuitState:
        """The present state."""
        self._move_on()
        return self._state

    def shut_because(self) -> str | None:
        """Return why a call that could go elsewhere is not let in at all; None if it may come."""
        if self.calm:
            return None
        self._move_on()
        if self._state is CircuitState.OPEN:
            if self._forced:
                return "held open by an operator"
            return f"open for another {self._until - self._clock():.1f} s"
        if self._state is CircuitState.HALF_OPEN and self._probe is not None:
            return "half-open, and its one probe is under way"
        return None

    def held_because(self) -> str | None:
        """Return why the ramp does not let in this call, which could go elsewhere; None if it does.

        A call that goes elsewhere for this reason has to be told with `pass_by`.
        """
        if self.calm:
            return None
        self._move_on()
        if self._state is not CircuitState.RAMPING:
            return None
        percent = self._percent()
        return None if self._credit + percent >= _WHOLE else f"coming back, with {percent} % of its calls"

    def pass_by(self) -> None:
        """Book a call that the ramp did not let in: it brings the next one that is let in nearer."""
        self._move_on()
        if self._state is CircuitState.RAMPING:
            self._credit += self._percent()

    def enter(self) -> Permit:
        """Book a call that is being dispatched, asked for or not; a half-open circuit's next one is its probe."""
        if not self.calm:
            self._move_on()
        permit = Permit(self, self._generation)
        if self._state is CircuitState.HALF_OPEN and self._probe is None:
            self._probe = permit
        elif self._state is CircuitState.RAMPING:
            self._credit += self._percent() - _WHOLE
        return permit

    # -- what became of it

    def book(self, permit: Permit, *, failed: bool) -> None:
        """Count an outcome: `Permit.succeeded` and `Permit.failed` end here."""
        if not self.calm:
            self._move_on()
        if self._forced or permit.generation != self._generation:
            return
        if self._state is CircuitState.CLOSED:
            if self._outcomes.book(self._clock(), failed=failed):
                self._open_from_closed()
        elif self._state is CircuitState.HALF_OPEN and permit is self._probe:
            if failed:
                self._open(self._doublings + 1)
            else:
                self._change(CircuitState.RAMPING, self._clock(), self._limits.ramp_s)
        elif self._state is CircuitState.RAMPING and failed:
            self._open(self._doublings + 1)

    def let_go(self, permit: Permit) -> None:
        """Free the probe's place if it is this attempt's: `Permit.ended` ends here."""
        if permit is self._probe:
            self._probe = None

    # -- an operator's word

    @property
    def forced(self) -> bool:
        """Whether an operator holds it in the state that it is in."""
        return self._forced

    def force_open(self) -> None:
        """Stay OPEN, whatever happens, until `unforce`."""
        self._force(CircuitState.OPEN)

    def force_closed(self) -> None:
        """Stay CLOSED, whatever happens, until `unforce`."""
        self._force(CircuitState.CLOSED)

    def unforce(self) -> None:
        """Take an operator's word back: what was held open comes back by a probe, what was held closed counts anew."""
        if self._forced:
            self._forced = False
            came_from = self._state
            self._change(CircuitState.HALF_OPEN if came_from is CircuitState.OPEN else came_from, self._clock())

    def _force(self, state: CircuitState) -> None:
        if not self._forced or self._state is not state:
            self._change(state, self._clock())
            self._forced = True

    # -- from state to state

    def _move_on(self) -> None:
        """Make the changes that time alone brings."""
        if self.calm or self._forced or self._state is CircuitState.HALF_OPEN or self._clock() < self._until:
            return
        if self._state is CircuitState.OPEN:
            self._change(CircuitState.HALF_OPEN, self._until)
        else:
            self._closed_at = self._until
            self._change(CircuitState.CLOSED, self._until)

    def _open_from_closed(self) -> None:
        long_ago = self._clock() - self._closed_at >= FORGET_S
        self._open(0 if long_ago else self._doublings)

    def _open(self, doublings: int) -> None:
        self._doublings = min(doublings, _MAX_DOUBLINGS)
        jitter = self._rng.uniform(1.0 - OPEN_JITTER, 1.0 + OPEN_JITTER)
        open_s = min(self._limits.open_max_s, self._limits.open_s * 2.0**self._doublings * jitter)
        self._change(CircuitState.OPEN, self._clock(), open_s)

    def _change(self, state: CircuitState, at: float, lasts_s: float = 0.0) -> None:
        self._state = state
        self.calm = state is CircuitState.CLOSED
        self._generation += 1
        self._since, self._until = at, at + lasts_s
        self._probe = None
        self._credit = 0
        self._outcomes.clear()

    def _percent(self) -> int:
        """Return the share that the ramp lets in now."""
        part = (self._clock() - self._since) / self._limits.ramp_s
        return RAMP_PERCENT[min(int(part * len(RAMP_PERCENT)), len(RAMP_PERCENT) - 1)]

    def __repr__(self) -> str:
        told = self.shut_because() or self.held_because()
        return f"<Circuit {self._state.value}{': ' if told else ''}{told or ''}>"


class _Outcomes:
    """What came of the attempts since the circuit closed, as far as it decides about opening it."""

    __slots__ = ("_buckets", "_calls", "_failures", "_in_row", "_limits", "_recent", "_recent_failures", "_width_s")

    def __init__(self, limits: CircuitLimits) -> None:
        self._limits = limits
        self._recent: deque[bool] = deque(maxlen=limits.recent)
        self._recent_failures = 0
        self._in_row = 0
        self._buckets: deque[list[float]] = deque()
        """Start, calls and failures of each part of the window that had any."""
        self._calls = 0
        self._failures = 0
        self._width_s = limits.window_s / _BUCKETS

    def book(self, now: float, *, failed: bool) -> bool:
        """Count one outcome; return whether the circuit has to open. O(1), amortised."""
        limits = self._limits
        recent = self._recent
        if len(recent) == limits.recent:
            self._recent_failures -= recent[0]
        recent.append(failed)
        self._recent_failures += failed
        self._in_row = self._in_row + 1 if failed else 0
        self._book_window(now, failed=failed)
        if self._recent_failures >= limits.recent_failures:
            return True
        if self._calls >= limits.min_calls:
            return self._failures >= limits.error_ratio * self._calls
        return self._in_row >= limits.failures_in_row

    def _book_window(self, now: float, *, failed: bool) -> None:
        buckets = self._buckets
        while buckets and buckets[0][0] <= now - self._limits.window_s:
            _, calls, failures = buckets.popleft()
            self._calls -= int(calls)
            self._failures -= int(failures)
        if not buckets or now - buckets[-1][0] >= self._width_s:
            buckets.append([now, 0, 0])
        last = buckets[-1]
        last[1] += 1
        last[2] += failed
        self._calls += 1
        self._failures += failed

    def retune(self, limits: CircuitLimits) -> None:
        """Go on under other limits with what was counted, as far back as they look."""
        self._limits = limits
        self._recent = deque(self._recent, maxlen=limits.recent)
        self._recent_failures = sum(self._recent)
        self._width_s = limits.window_s / _BUCKETS

    def clear(self) -> None:
        """Forget everything."""
        self._recent.clear()
        self._recent_failures = self._in_row = self._calls = self._failures = 0
        self._buckets.clear()
