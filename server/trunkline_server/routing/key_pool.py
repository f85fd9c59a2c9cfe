"""The keys of one provider: which of them a call gets, and what is learnt of each.

The pool is a decision, not a lock: `take` never waits. Whoever takes gives back, once.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from fnmatch import translate
from heapq import heapreplace
from random import Random

from trunkline_server.routing.clock import Clock
from trunkline_server.routing.failures import Failure, FailureClass
from trunkline_server.routing.key_lane import Lane
from trunkline_server.routing.key_state import QUARANTINE_BASE_S, KeySpec, KeyState, KeyView
from trunkline_server.routing.lease import LeaseError
from trunkline_server.routing.types import Refusal, reason_of

__all__ = ["KeyPool", "KeySpec", "KeyView"]

QUARANTINE_JITTER = 0.1
PROBE_OUTCOME_S = 1.0
"""How long to stay away from a pool whose last key is just being probed: about one call."""
MAX_LANES = 64
"""Models whose turns are remembered. Callers may name any model, so there must be an end to it; a model that was
pushed out starts its turns afresh, at random points, which keeps the shares right on average."""
_HORIZON = 1e8
"""A lane is made anew at this virtual time, long before a step could be lost in a float's last digits."""
_NOBODY: frozenset[str] = frozenset()
_TOLD = {
    FailureClass.RATE_LIMITED: "every usable key of {} for {} is cooling down",
    FailureClass.KEY_EXHAUSTED: "every key of {} for {} is out of quota or rejected",
    FailureClass.KEY_REJECTED: "every key of {} for {} was rejected by the provider",
}


class _ModelSet:
    """The keys that have the same `models` and `block_models`, and what these say of a model."""

    __slots__ = ("_allow", "_block", "keys")

    def __init__(self, models: tuple[str, ...], block_models: tuple[str, ...]) -> None:
        self._allow = _pattern(models)
        self._block = _pattern(block_models)
        self.keys: list[tuple[int, KeyState]] = []

    def allows(self, model: str) -> bool:
        return self._allow.fullmatch(model) is not None and self._block.fullmatch(model) is None


def _pattern(globs: tuple[str, ...]) -> re.Pattern[str]:
    """Compile shell-style patterns into one; none of them matches nothing."""
    return re.compile("|".join(f"(?:{translate(glob)})" for glob in globs) or r"(?!)")


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
        self._sets: list[_ModelSet] = []
        self._lanes: dict[str, Lane] = {}
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
        sets: dict[tuple[tuple[str, ...], tuple[str, ...]], _ModelSet] = {}
        for place, key in enumerate(self._keys.values()):
            shape = (key.spec.models, key.spec.block_models)
            if shape not in sets:
                sets[shape] = _ModelSet(*shape)
            sets[shape].keys.append((place, key))
        self._sets = list(sets.values())
        self._lanes.clear()
        for id_, key in before.items():
            if id_ not in self._keys and key.in_flight:
                key.removed = True
                self._keys[id_] = key

    # -- the choice

    def may_serve(self, model: str) -> bool:
        """Return whether the configuration allows some key the model at all, whatever its state."""
        return model in self._lanes or any(keys.allows(model) for keys in self._sets)

    def take(self, model: str, exclude: frozenset[str] = _NOBODY) -> str | None:
        """Choose the key whose turn it is and book the call; None if none can serve the model now.

        The call is booked until `give_back`. `exclude` names keys that this request will not use, a handful at most.
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
        return self._take_with_care(lane, model, exclude)

    def _take_with_care(self, lane: Lane, model: str, exclude: frozenset[str]) -> str | None:
        key = lane.take(exclude, self._clock())
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
            self._unpark(key)
        if key.removed and not key.in_flight:
            del self._keys[key_id]

    def fingerprint(self, key_id: str) -> str:
        """Return the fingerprint of the secret that the key has now; KeyError if the pool does not know it."""
        return self._keys[key_id].spec.fingerprint

    # -- what could be

    def usable_now(self, model: str, exclude: frozenset[str] = _NOBODY) -> bool:
        """Return whether `take` would find a key."""
        lane = self._lanes.get(model) or self._open_lane(model)
        return lane is not None and lane.usable(exclude, self._clock())

    def earliest(self, model: str, exclude: frozenset[str] = _NOBODY) -> float | None:
        """Return the clock time at which a key could serve the model: now, or the end of a wait.

        None: waiting alone brings none, because none is allowed the model or left, or each that is left is just
        being probed.
        """
        lane = self._lanes.get(model) or self._open_lane(model)
        return None if lane is None else lane.earliest(exclude, self._clock())

    def blockage(self, model: str, exclude: frozenset[str] = _NOBODY) -> Refusal | None:
        """Return why no key can serve the model right now; None if one can.

        RATE_LIMITED if one of them only cools; KEY_REJECTED if all of them are in quarantine for that; KEY_EXHAUSTED
        if they are in quarantine for both; MODEL_UNAVAILABLE if none is allowed the model, or none untried is left
        while those tried would be usable.
        """
        lane = self._lanes.get(model) or self._open_lane(model)
        if lane is None:
            return self._refusal(
                FailureClass.MODEL_UNAVAILABLE, f"no key of {self.provider} may serve {model}", never=True
            )
        now = self._clock()
        at = lane.earliest(exclude, now)
        if at is not None and at <= now:
            return None
        never = at is None
        left = [key for key in lane.keys if key.id not in exclude] if exclude else lane.keys
        if not left:
            at = lane.earliest(_NOBODY, now)
            if at is not None and at <= now:
                told = f"every key of {self.provider} for {model} was tried"
                return self._refusal(FailureClass.MODEL_UNAVAILABLE, told, never=True)
            left = lane.keys
        failure_class = _held_back_by(left)
        retry_after_s = PROBE_OUTCOME_S if at is None else at - now
        told = _TOLD[failure_class].format(self.provider, model)
        return self._refusal(failure_class, told, retry_after_s, never=never)

    @staticmethod
    def _refusal(
        failure_class: FailureClass, told: str, retry_after_s: float | None = None, *, never: bool = False
    ) -> Refusal:
        return Refusal(failure_class, reason_of(failure_class), told, retry_after_s, never)

    # -- what is learnt

    def succeeded(self, key_id: str, model: str, *, fingerprint: str | None = None) -> None:
        """Report that the provider served a call of this key."""
        key = self._keys.get(key_id)
        if key is None or key.plain or fingerprint not in {None, key.spec.fingerprint}:
            return
        if key.proved(model, self._clock()):
            self._unpark(key)

    def failed(self, key_id: str, model: str, failure: Failure, *, fingerprint: str | None = None) -> None:
        """Report how a call of this key failed; only classes that speak of the key change anything.

        With the `fingerprint` of the call's lease, a late word about a secret that was replaced meanwhile is dropped.
        """
        key = self._keys.get(key_id)
        if key is None or failure.caused_by_caller or fingerprint not in {None, key.spec.fingerprint}:
            return
        if failure.failure_class is FailureClass.RATE_LIMITED:
            key.cool(model, self._clock(), failure.retry_after_s)
        elif failure.failure_class in QUARANTINE_BASE_S:
            was_probing = key.probing
            jitter = self._rng.uniform(1.0 - QUARANTINE_JITTER, 1.0 + QUARANTINE_JITTER)
            key.quarantine(failure.failure_class, self._clock(), jitter)
            if was_probing:
                self._unpark(key)

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

    def _open_lane(self, model: str) -> Lane | None:
        keys = sorted(
            (entry for model_set in self._sets if model_set.allows(model) for entry in model_set.keys),
            key=lambda entry: entry[0],
        )
        if not keys:
            return None
        if len(self._lanes) >= MAX_LANES:
            del self._lanes[next(iter(self._lanes))]
        lane = self._lanes[model] = Lane(model, [key for _, key in keys], self._rng)
        return lane

    def _unpark(self, key: KeyState) -> None:
        for lane in self._lanes.values():
            lane.unpark(key)


def _held_back_by(keys: Sequence[KeyState]) -> FailureClass:
    """Return the class that tells best why none of these keys can serve."""
    found = FailureClass.KEY_REJECTED
    for key in keys:
        reason = key.quarantine_reason
        if reason is None:
            return FailureClass.RATE_LIMITED
        if reason is FailureClass.KEY_EXHAUSTED:
            found = reason
    return found


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
