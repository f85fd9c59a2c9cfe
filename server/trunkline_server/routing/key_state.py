"""What is known of one key: its calls in flight, its cool-downs by model, its quarantine and its ramps.

Reports name a key and a model, not a call. So a word that comes while a key cools, or before its quarantine's probe
is under way, is taken for one about a call from before: it may move a deadline back, but never forward, and it
neither lengthens the next cool-down nor ends this one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from trunkline_server.routing.adaptive import AdaptiveLimit
from trunkline_server.routing.failures import FailureClass
from trunkline_server.routing.gate_limits import AdaptiveLimits
from trunkline_server.routing.key_limits import KeyLimits
from trunkline_server.routing.key_spec import KeySpec, KeyStatus, KeyView
from trunkline_server.routing.lease import LeaseError

__all__ = ["CoolDown", "KeySpec", "KeyState", "KeyStatus", "KeyView"]

RETRY_AFTER_MIN_S = 0.05
RETRY_AFTER_MAX_S = 300.0
COOL_BASE_S = 1.0
COOL_MAX_S = 60.0
"""A cool-down without Retry-After: COOL_BASE_S * 2^n, at most this."""
QUARANTINE_BASE_S = {FailureClass.KEY_REJECTED: 60.0, FailureClass.KEY_EXHAUSTED: 300.0}
QUARANTINE_MAX_S = 3600.0
RAMP_S = 30.0
RAMP_FLOOR = 0.1
"""The share of its weight that a key starts with after a cool-down or a quarantine."""
FORGET_S = 300.0
"""So long after the end of a cool-down its n is forgotten, even if no call succeeded since."""
MAX_COOLING_MODELS = 64
"""Cool-downs that a key remembers. Callers may invent models, and a provider may answer 429 to any name: beyond this
the one that ends first is dropped, which costs one more 429 at worst."""
_MAX_DOUBLINGS = 16
_WEIGHT_MIN, _WEIGHT_MAX = 1e-6, 1e6
"""Weights beyond count as these: a float's digits must hold the sum of many steps and the smallest one."""


@dataclass(slots=True)
class CoolDown:
    """Of one model: until when, by the clock, and how often in a row no time was named."""

    until: float = -math.inf
    doublings: int = 0


@dataclass(slots=True)
class _Quarantine:
    reason: FailureClass
    probe_at: float
    doublings: int
    probe_model: str | None = None


class KeyState:
    """The live state of one key. Times are the clock's seconds; the pool hands them in."""

    __slots__ = (
        "_calls",
        "_cooling",
        "_quarantine",
        "_ramp_from",
        "at_cap",
        "cap",
        "held",
        "id",
        "in_flight",
        "limits",
        "plain",
        "removed",
        "spec",
        "step",
    )

    def __init__(self, spec: KeySpec) -> None:
        self.id = spec.id
        self.in_flight = 0
        self.removed = False
        self.held: KeyStatus | None = None
        """DRAINING or DISABLED while an operator says so."""
        self.at_cap = False
        """Whether somebody found it with all the calls in flight that it may have: the end of one is news."""
        self.limits: KeyLimits | None = None
        self.cap: AdaptiveLimit | None = None
        """How many calls it may have in flight now, where that moves by itself."""
        self.plain = True
        """Nothing is held against it: the ordinary case, which needs neither a clock nor a further look."""
        self._calls: dict[str, int] = {}
        self._cooling: dict[str, CoolDown] = {}
        self._quarantine: _Quarantine | None = None
        self._ramp_from: float | None = None
        self.configure(spec)

    def configure(self, spec: KeySpec) -> None:
        """Take over weight, models and limits of a new configuration; what was learnt stays."""
        self.spec = spec
        former, self.limits = self.limits, spec.limits()
        if self.limits is not None and former is not None:
            self.limits.take_over(former)
        if spec.adaptive and spec.max_in_flight is not None:
            bounds = AdaptiveLimits(1, spec.max_in_flight)
            if self.cap is None:
                self.cap = AdaptiveLimit(bounds, spec.max_in_flight)
            else:
                self.cap.rebound(bounds)
        else:
            self.cap = None
        self.step = 1.0 / min(max(spec.weight, _WEIGHT_MIN), _WEIGHT_MAX) if spec.weight else 1.0
        """By how much a call moves its virtual time at full share; keys of weight 0 take turns among themselves."""
        self.look_again()

    def share_cooling(self, book: dict[str, CoolDown]) -> None:
        """Keep its cool-downs in one book with the other keys of its account, what it has of its own included."""
        if book is self._cooling:
            return
        for model, mine in self._cooling.items():
            theirs = book.get(model)
            if theirs is None or theirs.until < mine.until:
                book[model] = mine
        self._cooling = book
        self.look_again()

    def keep_cooling_alone(self) -> None:
        """Leave the book of an account: what stands there now stays with the key, as its own."""
        self._cooling = {model: CoolDown(each.until, each.doublings) for model, each in self._cooling.items()}

    # -- calls

    def begin(self, model: str) -> None:
        """Book one call; on a key in quarantine it is the probe."""
        self.in_flight += 1
        self._calls[model] = self._calls.get(model, 0) + 1
        if self._quarantine is not None:
            self._quarantine.probe_model = model

    def end(self, model: str) -> bool:
        """Book the end of one call; return whether that may let it serve again. LeaseError if none is in flight.

        So it is where a probe ended without a verdict, and where somebody found it at its cap.
        """
        calls = self._calls.get(model, 0)
        if calls == 0:
            raise LeaseError(f"key {self.id} has no call of {model} in flight")
        self.in_flight -= 1
        if calls > 1:
            self._calls[model] = calls - 1
            return self.at_cap
        del self._calls[model]
        # Older calls of the same model cannot be told from the probe, so it is over only when all of them are.
        if self._quarantine is None or self._quarantine.probe_model != model:
            return self.at_cap
        self._quarantine.probe_model = None
        return True

    def inherit_calls(self, older: KeyState) -> None:
        """Take over the calls in flight of the same key with its former secret."""
        self.in_flight = older.in_flight
        self._calls = dict(older._calls)

    # -- what it may do

    @property
    def probing(self) -> bool:
        """Whether its one probe is under way."""
        return self._quarantine is not None and self._quarantine.probe_model is not None

    @property
    def barred(self) -> bool:
        """Whether only an event, and no time, lets it serve again: the end of its probe, or an operator's word."""
        return self.held is not None or self.probing

    @property
    def full(self) -> bool:
        """Whether it has as many calls in flight as it may have."""
        if self.cap is not None:
            return self.in_flight >= self.cap.value
        most = self.spec.max_in_flight
        return most is not None and self.in_flight >= most

    def only_call(self, model: str) -> bool:
        """Whether no more than one call of the model is in flight."""
        return self._calls.get(model, 0) <= 1

    @property
    def quarantine_reason(self) -> FailureClass | None:
        """KEY_REJECTED or KEY_EXHAUSTED while it is in quarantine."""
        return None if self._quarantine is None else self._quarantine.reason

    def free_at(self, model: str, now: float, tokens: int = 0) -> float:
        """Return when it may serve a request of so many tokens, `now` if it may already; inf: it never may.

        A probe under way, an operator's word and the calls in flight are not looked at.
        """
        at = max(now, self._held_until(model))
        return at if self.limits is None else max(at, self.limits.ready_at(model, tokens))

    def _held_until(self, model: str) -> float:
        """Return until when the provider's words keep it from the model; -inf if there is none."""
        at = -math.inf if self._quarantine is None else self._quarantine.probe_at
        cool_down = self._cooling.get(model)
        return at if cool_down is None else max(at, cool_down.until)

    def times(self, model: str) -> tuple[float, float, float]:
        """Return when it may serve the model but for tokens, when these are all there, and how many seconds' worth.

        The first two are clock times, and may be long past.
        """
        at = self._held_until(model)
        if self.limits is None:
            return at, -math.inf, 0.0
        tokens = self.limits.tokens
        burst_s = 0.0 if tokens is None else tokens.burst_s
        return max(at, self.limits.request_at(model)), self.limits.tokens_full_at(model), burst_s

    def cools(self, model: str, now: float) -> bool:
        """Whether the provider asked to be left alone for this model."""
        cool_down = self._cooling.get(model)
        return cool_down is not None and cool_down.until > now

    def share(self, model: str, now: float) -> float:
        """Return the part of its weight, from RAMP_FLOOR to 1, that counts for this model now."""
        if self._quarantine is not None:
            return RAMP_FLOOR
        if self._ramp_from is None and not self._cooling:
            return 1.0
        share = 1.0
        if self._ramp_from is not None:
            share = _ramp(now - self._ramp_from)
        cool_down = self._cooling.get(model)
        if cool_down is not None:
            share = min(share, _ramp(now - cool_down.until))
        if share >= 1.0:
            self._forget(now)
        return share

    # -- what it learns

    def cool(self, model: str, now: float, retry_after_s: float | None) -> None:
        """Keep it from the model for `retry_after_s`, or for 1 s * 2^n where the provider named no time."""
        self._forget(now)
        if model not in self._cooling and len(self._cooling) >= MAX_COOLING_MODELS:
            del self._cooling[min(self._cooling, key=lambda other: self._cooling[other].until)]
        cool_down = self._cooling.setdefault(model, CoolDown())
        if retry_after_s is not None:
            # In this order a NaN becomes the lower bound.
            span_s = min(max(RETRY_AFTER_MIN_S, retry_after_s), RETRY_AFTER_MAX_S)
        else:
            if cool_down.until <= now:
                cool_down.doublings = min(cool_down.doublings + 1, _MAX_DOUBLINGS)
            span_s = min(COOL_BASE_S * 2.0 ** max(cool_down.doublings - 1, 0), COOL_MAX_S)
        cool_down.until = max(cool_down.until, now + span_s)
        if self.limits is not None:
            self.limits.stopped(model, cool_down.until, now)
        self.look_again()

    def quarantine(self, reason: FailureClass, now: float, jitter: float) -> None:
        """Keep it from every model until its probe; `jitter` is the factor that spreads the time of it."""
        before = self._quarantine
        doublings = 0
        if before is not None:
            doublings = min(before.doublings + (1 if self.probing else 0), _MAX_DOUBLINGS)
        probe_at = now + min(QUARANTINE_BASE_S[reason] * 2.0**doublings * jitter, QUARANTINE_MAX_S)
        if before is None or probe_at > before.probe_at:
            self._quarantine = _Quarantine(reason, probe_at, doublings)
        self._ramp_from = None
        self.look_again()

    def hold(self, status: KeyStatus | None) -> None:
        """Take an operator's word: DRAINING, DISABLED, or None to let it serve again."""
        self.held = status
        self.look_again()

    def proved(self, model: str, now: float) -> bool:
        """Book a success; return whether it was the probe's, which ends the quarantine."""
        if self.plain:
            return False
        cool_down = self._cooling.get(model)
        if cool_down is not None and cool_down.until <= now:
            cool_down.doublings = 0
        ended = self._quarantine is not None and self._quarantine.probe_model == model
        if ended:
            self._quarantine = None
            self._ramp_from = now
        self._forget(now)
        return ended

    def _forget(self, now: float) -> None:
        """Drop what no longer says anything."""
        if self._ramp_from is not None and now - self._ramp_from >= RAMP_S:
            self._ramp_from = None
        if self._cooling:
            over = [model for model, cool_down in self._cooling.items() if _is_over(cool_down, now)]
            for model in over:
                del self._cooling[model]
        self.look_again()

    def look_again(self) -> None:
        """Find out anew whether there is anything to look at: a mate of its account may have cooled it."""
        self.plain = (
            self._quarantine is None
            and self._ramp_from is None
            and not self._cooling
            and self.held is None
            and not self.spec.limited
        )

    # -- what it tells

    def view(self, now: float) -> KeyView:
        """Return what may be told of it."""
        cooling = tuple(sorted((model, c.until) for model, c in self._cooling.items() if c.until > now))
        status, until = self._status(now, cooling)
        requests, tokens = (None, None) if self.limits is None else self.limits.room(now)
        return KeyView(
            self.id,
            status,
            until,
            self.in_flight,
            self.quarantine_reason,
            cooling,
            self.spec.max_in_flight if self.cap is None else self.cap.value,
            requests,
            tokens,
            self.spec.quota_group,
            self.spec.weight,
        )

    def _status(self, now: float, cooling: tuple[tuple[str, float], ...]) -> tuple[KeyStatus, float | None]:
        if self.removed:
            return KeyStatus.REMOVED, None
        if self.held is not None:
            return self.held, None
        if self._quarantine is not None:
            return KeyStatus.QUARANTINED, self._quarantine.probe_at
        if cooling:
            return KeyStatus.COOLING, min(until for _, until in cooling)
        ramps = [cool_down.until + RAMP_S for cool_down in self._cooling.values()]
        if self._ramp_from is not None:
            ramps.append(self._ramp_from + RAMP_S)
        if ramps and max(ramps) > now:
            return KeyStatus.RAMPING, max(ramps)
        return KeyStatus.ACTIVE, None

    def __repr__(self) -> str:
        parts = [f"<KeyState {self.id} weight {self.spec.weight:g}, {self.in_flight} in flight"]
        if self.removed:
            parts.append("removed")
        if self.held is not None:
            parts.append(self.held.value.lower())
        if self._quarantine is not None:
            probe = "probing" if self.probing else f"probe at {self._quarantine.probe_at:.3f}"
            parts.append(f"{self._quarantine.reason.value} {probe}")
        if self._ramp_from is not None:
            parts.append(f"ramping from {self._ramp_from:.3f}")
        parts.extend(f"{model} cool until {c.until:.3f}" for model, c in sorted(self._cooling.items()))
        return ", ".join(parts) + ">"


def _ramp(elapsed_s: float) -> float:
    """Return the share after so much of the ramp."""
    return min(RAMP_FLOOR + (1.0 - RAMP_FLOOR) * max(elapsed_s, 0.0) / RAMP_S, 1.0)


def _is_over(cool_down: CoolDown, now: float) -> bool:
    """Whether ramp and n of a cool-down have both run out."""
    return now - cool_down.until >= (FORGET_S if cool_down.doublings else RAMP_S)
