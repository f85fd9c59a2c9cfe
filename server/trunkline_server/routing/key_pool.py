"""The keys of one provider: which of them a call gets, and what is learnt of each.

The pool is a decision, not a lock: `take` never waits. Whoever takes gives back, once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from heapq import heapreplace
from random import Random

from trunkline_server.routing.clock import Clock
from trunkline_server.routing.failures import Failure, FailureClass
from trunkline_server.routing.key_blockage import held_by_operator, refused_by_keys, unavailable
from trunkline_server.routing.key_lane import Lane
from trunkline_server.routing.key_limited_lane import LimitedLane
from trunkline_server.routing.key_limits import Remaining
from trunkline_server.routing.key_models import ModelSet
from trunkline_server.routing.key_state import QUARANTINE_BASE_S, CoolDown, KeySpec, KeyState, KeyStatus, KeyView
from trunkline_server.routing.lease import LeaseError
from trunkline_server.routing.types import Refusal

__all__ = ["KeyPool", "KeySpec", "KeyView"]

QUARANTINE_JITTER = 0.1
MAX_LANES = 64
"""Models whose turns are remembered. Callers may name any model, so there must be an end to it; a model that was
pushed out starts its turns afresh, at random points, which keeps the shares right on average."""
_HORIZON = 1e8
"""A lane is made anew at this virtual time, long before a step could be lost in a float's last digits."""
_NOBODY: frozenset[str] = frozenset()


class KeyPool:
    """The key pool of one provider.

    `clock` is monotonic seconds, `rng` spreads probes and first turns. Nothing here is thread-safe: a pool belongs to
    one event loop.
    """

    def __init__(self, provider: str, keys: Sequence[KeySpec], *, clock: Clock, rng: Random) -> None:
        self.provider = provider
        self._clock = clock
        self._rng = rng
        self._keys: dict[str, KeyState] = {}
        self._sets: list[ModelSet] = []
        self._lanes: dict[str, Lane | LimitedLane] = {}
        self._accounts: dict[str, list[KeyState]] = {}
        """Keys by their quota group."""
        self._held_models: dict[str, KeyStatus] = {}
        """Models that an operator lets nobody have, DRAINING or DISABLED: outlasts any configuration."""
        self.reconfigure(keys)

    def reconfigure(self, keys: Sequence[KeySpec]) -> None:
        """Take over a new configuration in place.

        A key keeps its state by id and fingerprint; one with a new fingerprint starts ACTIVE; one that is gone takes
        no new call and is forgotten when its last one has ended. Raises ValueError, and changes nothing, if an id
        stands there twice.
        """
        ids = [spec.id for spec in keys]
        twice = sorted({id_ for id_ in ids if ids.count(id_) > 1}) if len(set(ids)) < len(ids) else []
        if twice:
            raise ValueError(f"keys of {self.provider} stand there twice: {', '.join(twice)}")
        before = self._keys
        self._keys = {spec.id: _state_for(spec, before.get(spec.id)) for spec in keys}
        sets: dict[tuple[tuple[str, ...], tuple[str, ...]], ModelSet] = {}
        for place, key in enumerate(self._keys.values()):
            shape = (key.spec.models, key.spec.block_models)
            if shape not in sets:
                sets[shape] = ModelSet(*shape)
            sets[shape].keys.append((place, key))
        self._sets = list(sets.values())
        self._lanes.clear()
        for id_, key in before.items():
            if id_ not in self._keys and key.in_flight:
                key.removed = True
                self._keys[id_] = key
        self._accounts = _accounts(self._keys.values())
        self.any_limited = any(key.limits is not None for key in self._keys.values())
        """Whether some key has limits a minute, so that the size of a request matters."""

    # -- the choice

    def may_serve(self, model: str) -> bool:
        """Return whether the configuration allows some key the model at all, whatever its state."""
        return model in self._lanes or any(keys.allows(model) for keys in self._sets)

    def never_fits(self, model: str, tokens: int) -> bool:
        """Return whether one request of so many tokens is above what any key of the model may use in a whole minute.

        False where no key is allowed the model, or one of them has no limit.
        """
        keys = [key for model_set in self._sets if model_set.allows(model) for _, key in model_set.keys]
        return bool(keys) and all(key.limits is not None and key.limits.never_fits(tokens) for key in keys)

    def take(self, model: str, exclude: frozenset[str] = _NOBODY, tokens: int = 0) -> str | None:
        """Choose the key whose turn it is and book the call; None if none can serve the model now.

        The call is booked until `give_back`; one request and `tokens`, an estimate of prompt and answer, are reserved
        on the key's limits until `settle`. `exclude` names keys that this request will not use, a handful at most.
        """
        lane = self._lanes.get(model)
        if lane is None:
            lane = self._open_lane(model)
            if lane is None:
                return None
        ready = lane.ready
        if ready and not lane.waiting:
            virtual_time, place, key = ready[0]
            if key.plain and key.id not in exclude and virtual_time < _HORIZON:
                lane.virtual_time = virtual_time
                heapreplace(ready, (virtual_time + key.step, place, key))
                key.begin(model)
                return key.id
        return self._take_with_care(lane, model, exclude, tokens)

    def _take_with_care(self, lane: Lane | LimitedLane, model: str, exclude: frozenset[str], tokens: int) -> str | None:
        key = lane.take(exclude, self._clock(), tokens)
        if lane.virtual_time >= _HORIZON:
            self._lanes.pop(model, None)
        if key is None:
            return None
        key.begin(model)
        return key.id

    def give_back(self, key_id: str, model: str) -> None:
        """Book the end of a call that `take` began. LeaseError if there is none."""
        key = self._keys.get(key_id)
        if key is None:
            raise LeaseError(f"key {key_id} of {self.provider} has no call in flight")
        if key.end(model):
            key.at_cap = False
            self._unpark(key)
        if key.removed and not key.in_flight:
            del self._keys[key_id]

    def settle(self, key_id: str, model: str, reserved: int, used: int | None, *, at: float) -> None:
        """Tell what a call used, in tokens, of which `reserved` were taken at clock time `at`; once for each call.

        None: nobody knows, so the reservation stands. A key that is gone meanwhile has nothing to settle.
        """
        key = self._keys.get(key_id)
        if used is None or key is None or key.limits is None:
            return
        if key.limits.settle(model, reserved, used, at):
            self._refresh(key, model)

    def limited(self, key_id: str) -> bool:
        """Return whether the key has limits that `observed` could speak of."""
        key = self._keys.get(key_id)
        return key is not None and key.limits is not None

    def observed(
        self,
        key_id: str,
        model: str,
        *,
        remaining_requests: float | None = None,
        remaining_tokens: float | None = None,
        reset_requests_s: float | None = None,
        reset_tokens_s: float | None = None,
        at: float | None = None,
        fingerprint: str | None = None,
    ) -> None:
        """Take over what a response says of the key's limits: it overrides our estimates, and never cools.

        `remaining` may lower what we think is left, never raise it; it speaks of clock time `at`, that of the call's
        lease (None: now). `reset` says in how many seconds all of it is there again; that is believed if no other call
        of the model is in flight on this key. A kind that the key has no limit for is ignored.
        """
        key = self._keys.get(key_id)
        if key is None or key.limits is None or fingerprint not in {None, key.spec.fingerprint}:
            return
        now = self._clock()
        told = Remaining(remaining_requests, remaining_tokens, reset_requests_s, reset_tokens_s)
        key.limits.observed(model, told, now if at is None else at, now, alone=key.only_call(model))
        self._refresh(key, model)

    def fingerprint(self, key_id: str) -> str:
        """Return the fingerprint of the secret that the key has now; KeyError if the pool does not know it."""
        return self._keys[key_id].spec.fingerprint

    # -- what could be

    def usable_now(self, model: str, exclude: frozenset[str] = _NOBODY, tokens: int = 0) -> bool:
        """Return whether `take` would find a key."""
        lane = self._lanes.get(model) or self._open_lane(model)
        return lane is not None and lane.usable(exclude, self._clock(), tokens)

    def earliest(self, model: str, exclude: frozenset[str] = _NOBODY, tokens: int = 0) -> float | None:
        """Return the clock time at which a key could serve such a request: now, or the end of a wait.

        A key that has as many calls in flight as it may may be back at any moment: that counts as in a twentieth of a
        second. None: waiting alone brings none, because none is allowed the model or left, each that is left is just
        being probed or held by an operator, or the request is above what any of them may use in a minute.
        """
        lane = self._lanes.get(model) or self._open_lane(model)
        return None if lane is None else lane.earliest(exclude, self._clock(), tokens)

    def room_at(self, model: str, calls: int, exclude: frozenset[str] = _NOBODY, tokens: int = 0) -> float | None:
        """Return a clock time by which so many such calls can have gone, the last of them by one call too late at most.

        It is `earliest` for the last one of a queue: when a caller who stays away may come back. None as there. Looks
        at every key, so it is for refusals, not for each call.
        """
        lane = self._lanes.get(model) or self._open_lane(model)
        return None if lane is None else lane.room_at(calls, exclude, self._clock(), tokens)

    def blockage(self, model: str, exclude: frozenset[str] = _NOBODY, tokens: int = 0) -> Refusal | None:
        """Return why no key can serve such a request right now; None if one can.

        RATE_LIMITED if those that are in order cool; SATURATED, for the reason RATE_LIMITED, if some of them wait for
        our own limits; KEY_REJECTED if all of them are in quarantine for that; KEY_EXHAUSTED if they are in quarantine
        for both; MODEL_UNAVAILABLE if none is allowed the model, an operator holds them all, the request is above a
        whole minute of each, or none untried is left while those tried would be usable.
        """
        lane = self._lanes.get(model) or self._open_lane(model)
        if lane is None:
            held = self._held_models.get(model)
            why = f"no key of {self.provider} may serve {model}"
            return unavailable(why) if held is None else held_by_operator(self.provider, model, held)
        ready = lane.ready
        if ready and ready[0][2].plain and ready[0][2].id not in exclude:
            return None
        now = self._clock()
        at = lane.earliest(exclude, now, tokens)
        if at is not None and at <= now:
            return None
        if at is None and tokens and self.never_fits(model, tokens):
            return unavailable(f"{tokens} tokens are more than a key of {self.provider} may use in a minute")
        never = at is None
        left = [key for key in lane.keys if key.id not in exclude] if exclude else lane.keys
        if not left:
            at = lane.earliest(_NOBODY, now, tokens)
            if at is not None and at <= now:
                return unavailable(f"every key of {self.provider} for {model} was tried")
            left = lane.keys
        return refused_by_keys(self.provider, left, model, now=now, at=at, never=never)

    # -- what is learnt

    def succeeded(self, key_id: str, model: str, *, fingerprint: str | None = None) -> None:
        """Report that the provider served a call of this key."""
        key = self._keys.get(key_id)
        if key is None or key.plain or fingerprint not in {None, key.spec.fingerprint}:
            return
        grown = key.cap is not None and key.cap.succeeded(key.in_flight)
        if key.proved(model, self._clock()) or grown:
            key.at_cap = key.at_cap and not grown
            self._unpark(key)

    def failed(
        self,
        key_id: str,
        model: str,
        failure: Failure,
        *,
        fingerprint: str | None = None,
        dispatched_at: float | None = None,
    ) -> None:
        """Report how a call of this key failed; only classes that speak of the key change anything.

        With the `fingerprint` of the call's lease, a late word about a secret that was replaced meanwhile is dropped.
        `dispatched_at`: when that was granted; None: now. A moving cap shrinks once for the calls since it last did.
        """
        key = self._keys.get(key_id)
        if key is None or failure.caused_by_caller or fingerprint not in {None, key.spec.fingerprint}:
            return
        if failure.failure_class is FailureClass.RATE_LIMITED:
            now = self._clock()
            key.cool(model, now, failure.retry_after_s)
            if key.cap is not None:
                key.cap.overloaded(now if dispatched_at is None else dispatched_at, now)
            for mate in self._accounts.get(key.spec.quota_group or "", ()):
                mate.look_again()
        elif failure.failure_class in QUARANTINE_BASE_S:
            was_probing = key.probing
            jitter = self._rng.uniform(1.0 - QUARANTINE_JITTER, 1.0 + QUARANTINE_JITTER)
            key.quarantine(failure.failure_class, self._clock(), jitter)
            if was_probing:
                self._unpark(key)

    # -- an operator's word

    def drain(self, key_id: str) -> None:
        """Give the key no new call until `clear`; those in flight end. KeyError if the pool does not know it."""
        self._hold(key_id, KeyStatus.DRAINING)

    def disable(self, key_id: str) -> None:
        """As `drain`, and told as DISABLED: it is meant to last. KeyError if the pool does not know it."""
        self._hold(key_id, KeyStatus.DISABLED)

    def clear(self, key_id: str) -> None:
        """Take back what an operator said of the key. KeyError if the pool does not know it."""
        self._hold(key_id, None)

    def _hold(self, key_id: str, status: KeyStatus | None) -> None:
        key = self._keys[key_id]
        key.hold(status)
        self._unpark(key)

    def hold_model(self, model: str, status: KeyStatus) -> None:
        """Let nobody have this model, DRAINING or DISABLED, until `free_model`; calls in flight end."""
        self._held_models[model] = status
        self._lanes.pop(model, None)

    def free_model(self, model: str) -> None:
        """Let the model be had again. Does nothing if it was not held."""
        self._held_models.pop(model, None)

    # -- what it tells

    def states(self) -> list[KeyView]:
        """Return a view of every key, in configuration order; removed ones with calls in flight come last."""
        now = self._clock()
        return [key.view(now) for key in self._keys.values()]

    @property
    def in_flight(self) -> int:
        """Calls in flight over all keys."""
        return sum(key.in_flight for key in self._keys.values())

    def __repr__(self) -> str:
        views = "; ".join(f"{view.id} {view.status.value}, {view.in_flight} in flight" for view in self.states())
        return f"<KeyPool {self.provider}: {views}>"

    # -- lanes

    def _open_lane(self, model: str) -> Lane | LimitedLane | None:
        if model in self._held_models:
            return None
        keys = sorted(
            (entry for model_set in self._sets if model_set.allows(model) for entry in model_set.keys),
            key=lambda entry: entry[0],
        )
        if not keys:
            return None
        if len(self._lanes) >= MAX_LANES:
            del self._lanes[next(iter(self._lanes))]
        kind = LimitedLane if any(key.spec.limited for _, key in keys) else Lane
        lane = self._lanes[model] = kind(model, [key for _, key in keys], self._rng)
        return lane

    def _refresh(self, key: KeyState, model: str) -> None:
        lane = self._lanes.get(model)
        if lane is not None:
            lane.refresh(key, self._clock())

    def _unpark(self, key: KeyState) -> None:
        now = self._clock()
        for lane in self._lanes.values():
            lane.unpark(key, now)


def _accounts(keys: Iterable[KeyState]) -> dict[str, list[KeyState]]:
    """Return the keys of each quota group, which from now on share one book of cool-downs."""
    accounts: dict[str, list[KeyState]] = {}
    for key in keys:
        key.keep_cooling_alone()
        if key.spec.quota_group:
            accounts.setdefault(key.spec.quota_group, []).append(key)
    for mates in accounts.values():
        book: dict[str, CoolDown] = {}
        for mate in mates:
            mate.share_cooling(book)
        for mate in mates:
            mate.look_again()
    return accounts


def _state_for(spec: KeySpec, before: KeyState | None) -> KeyState:
    """Return the state that a configured key goes on with."""
    if before is not None and before.spec.fingerprint == spec.fingerprint:
        before.configure(spec)
        before.removed = False
        return before
    key = KeyState(spec)
    if before is not None:
        key.inherit_calls(before)
    return key
