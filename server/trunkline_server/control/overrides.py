"""What operators say of targets and keys, for a time: drain, disable, force a circuit, clear.

Every word ends by itself, at its ttl, and outlasts reloads until then. It ends with the process: nothing is written
down, so a restart is also the way out of words that nobody remembers. What it changes is live state, so it holds for
calls that were planned before it too; calls in flight end as always.
"""

from __future__ import annotations

import asyncio
import difflib
import math
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import NoReturn

from trunkline_server.config.findings import shown
from trunkline_server.control.audit import Audit
from trunkline_server.control.running import Running
from trunkline_server.control.types import Actor, Override, OverrideMode, OverrideOrder
from trunkline_server.engine.frames import CallFailedError, CallFailure, FieldViolation
from trunkline_server.engine.provider import LiveProvider
from trunkline_server.routing.clock import Clock
from trunkline_server.routing.key_spec import KeyStatus
from trunkline_server.routing.types import Reason, TargetId
from trunkline_server.telemetry.logs import Log

MAX_OVERRIDES = 1_000
MAX_TTL_S = 7 * 86_400.0
_SHOWN_CHARS = 80
_HELD = {OverrideMode.DRAIN: KeyStatus.DRAINING, OverrideMode.DISABLE: KeyStatus.DISABLED}
_FORCED = frozenset({OverrideMode.FORCE_OPEN, OverrideMode.FORCE_CLOSED})


@dataclass(frozen=True, slots=True)
class KeyId:
    """A key of a provider, by name."""

    provider: str
    key_id: str

    def __str__(self) -> str:
        """Return `provider/key`."""
        return f"{self.provider}/{self.key_id}"


@dataclass(frozen=True, slots=True)
class _Word:
    override: Override
    ends_at: float
    """By the monotonic clock: the wall clock may be set."""


class Overrides:
    """The words that hold. `close` is its owner's to call; for the event loop alone."""

    def __init__(
        self,
        running: Running,
        audit: Audit,
        log: Log,
        *,
        seen: Callable[[], Iterable[TargetId]] = tuple,
        clock: Clock = time.monotonic,
        unix_clock: Callable[[], float] = time.time,
    ) -> None:
        """`seen` tells targets that were called lately: they may be named too, although no document names them."""
        self._running = running
        self._audit = audit
        self._log = log
        self._seen = seen
        self._clock = clock
        self._unix_clock = unix_clock
        self._words: dict[TargetId | KeyId, _Word] = {}
        self._timer: asyncio.TimerHandle | None = None

    # -- what holds

    def __len__(self) -> int:
        return len(self._words)

    def of(self, subject: TargetId | KeyId) -> Override | None:
        """Return what holds of a target or a key now."""
        word = self._words.get(subject)
        return None if word is None or word.ends_at <= self._clock() else word.override

    @property
    def targets(self) -> tuple[TargetId, ...]:
        """The targets of which something is said."""
        return tuple(subject for subject in self._words if isinstance(subject, TargetId))

    # -- orders

    async def override_target(self, order: OverrideOrder, actor: Actor) -> Override | None:
        """Say something of a target; see `control.api.Admin.override_target`."""
        return await self._carry_out(order, TargetId(order.provider, order.name), actor)

    async def override_key(self, order: OverrideOrder, actor: Actor) -> Override | None:
        """Say something of a key; see `control.api.Admin.override_key`."""
        return await self._carry_out(order, KeyId(order.provider, order.name), actor)

    async def _carry_out(self, order: OverrideOrder, subject: TargetId | KeyId, actor: Actor) -> Override | None:
        self._check(order, subject)
        async with self._audit.order("override", actor, reason=order.reason, subject=_told(order, subject)):
            # Routes may have changed while that was written down.
            self._check(order, subject)
            self._take_back(subject)
            if order.mode is not OverrideMode.CLEAR and order.ttl_s is not None:
                override = Override(order.mode, self._unix_clock() + order.ttl_s, actor.id, order.reason)
                self._words[subject] = _Word(override, self._clock() + order.ttl_s)
                for provider in self._running.every(subject.provider):
                    _apply(provider, subject, order.mode)
                    provider.desk.changed()
            self._rearm()
        return self.of(subject)

    def _check(self, order: OverrideOrder, subject: TargetId | KeyId) -> None:
        """Raise CallFailedError if the order can't be carried out; what holds already can always be cleared."""
        if order.mode is OverrideMode.CLEAR:
            if subject not in self._words:
                self._find(subject)
            return
        self._find(subject)
        if order.ttl_s is None or not 0 < order.ttl_s <= MAX_TTL_S:
            _refuse("ttl", "above 0 s and at most 7 days are needed, so that it ends by itself")
        if order.mode in _FORCED:
            if isinstance(subject, KeyId):
                _refuse("mode", "a key has no circuit; DRAIN and DISABLE take it out")
            if subject.model not in self._running.providers[subject.provider].circuits:
                _refuse("mode", f"{subject} has no circuit, since no alias names it; DRAIN and DISABLE take it out")
        if subject not in self._words and len(self._words) >= MAX_OVERRIDES:
            _refuse("mode", f"{MAX_OVERRIDES} overrides hold already, and that is the limit; clear some of them")

    def _find(self, subject: TargetId | KeyId) -> None:
        """Raise TARGET_NOT_FOUND or KEY_NOT_FOUND unless it is there."""
        provider = self._running.providers.get(subject.provider)
        if isinstance(subject, TargetId):
            known = {*self._running.targets, *(target for target in self._seen() if self._has(target.provider))}
            if provider is None or subject not in known:
                _not_found(Reason.TARGET_NOT_FOUND, "target", str(subject), map(str, known))
        elif provider is None or all(view.id != subject.key_id for view in provider.pool.states()):
            keys = (
                f"{name}/{view.id}" for name, each in self._running.providers.items() for view in each.pool.states()
            )
            _not_found(Reason.KEY_NOT_FOUND, "key", str(subject), keys)

    def _has(self, provider: str) -> bool:
        return provider in self._running.providers

    # -- what they do

    def reapply(self) -> None:
        """Let every word hold in what was just published or put on trial: what is new in it knows none yet."""
        for name in {subject.provider for subject in self._words}:
            for provider in self._running.every(name):
                self.provider_changed(provider)

    def provider_changed(self, provider: LiveProvider) -> None:
        """Let every word hold at a provider that was built or changed, before any call is granted a key of it."""
        words = [
            (subject, word.override.mode) for subject, word in self._words.items() if subject.provider == provider.name
        ]
        for subject, mode in words:
            _apply(provider, subject, mode)
        if words:
            # Only when all of them hold: else a key could be granted that the next word takes out of service.
            provider.desk.changed()

    def _take_back(self, subject: TargetId | KeyId) -> None:
        """Undo what was said, if anything was."""
        if self._words.pop(subject, None) is not None:
            for provider in self._running.every(subject.provider):
                _undo(provider, subject)

    # -- their end

    def expire(self) -> None:
        """End the words whose time is over, each with a line in the log, and wait for the next."""
        now = self._clock()
        for subject in [subject for subject, word in self._words.items() if word.ends_at <= now]:
            override = self._words[subject].override
            self._take_back(subject)
            self._log.info("override_ended", subject=str(subject), mode=override.mode.value, by=override.by)
        self._rearm()

    def close(self) -> None:
        """Stop waiting for their ends, as the process goes down."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _rearm(self) -> None:
        self.close()
        at = min((word.ends_at for word in self._words.values()), default=math.inf)
        if at < math.inf:
            self._timer = asyncio.get_running_loop().call_later(max(0.0, at - self._clock()), self.expire)


def _apply(provider: LiveProvider, subject: TargetId | KeyId, mode: OverrideMode) -> None:
    """Do what a word says; its desk is to hear of it. A key that is gone takes nothing anyway."""
    if isinstance(subject, KeyId):
        with suppress(KeyError):
            (provider.pool.drain if mode is OverrideMode.DRAIN else provider.pool.disable)(subject.key_id)
    elif mode in _HELD:
        provider.pool.hold_model(subject.model, _HELD[mode])
        provider.desk.gate.drop_waiters(subject.model)
    elif (circuit := provider.circuits.get(subject.model)) is not None:
        (circuit.force_open if mode is OverrideMode.FORCE_OPEN else circuit.force_closed)()


def _undo(provider: LiveProvider, subject: TargetId | KeyId) -> None:
    """Let a target or a key go on as if nothing had been said of it."""
    if isinstance(subject, KeyId):
        with suppress(KeyError):
            provider.pool.clear(subject.key_id)
    else:
        provider.pool.free_model(subject.model)
        if (circuit := provider.circuits.get(subject.model)) is not None:
            circuit.unforce()
    provider.desk.changed()


def _told(order: OverrideOrder, subject: TargetId | KeyId) -> str:
    kind = "key" if isinstance(subject, KeyId) else "target"
    ttl = "" if order.ttl_s is None or order.mode is OverrideMode.CLEAR else f" for {order.ttl_s:g} s"
    return f"{kind} {subject}: {order.mode.value}{ttl}"


def _refuse(path: str, told: str) -> NoReturn:
    raise CallFailedError(CallFailure(Reason.BAD_REQUEST, f"{path}: {told}", violations=(FieldViolation(path, told),)))


def _not_found(reason: Reason, kind: str, name: str, known: Iterable[str]) -> NoReturn:
    near = difflib.get_close_matches(name[:256], list(known), n=3, cutoff=0.6)
    hint = f"; did you mean {' or '.join(near)}?" if near else "; GetStatus tells what there is"
    # A secret may have been pasted in a name's place.
    told = shown(name)[:_SHOWN_CHARS]
    metadata = {kind: told}
    if near:
        metadata["near"] = ", ".join(near)
    raise CallFailedError(CallFailure(reason, f"no {kind} {told!r} in the running routes{hint}", metadata=metadata))
