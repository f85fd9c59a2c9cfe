"""The choice of a key for one model: the smallest virtual time first. This lane is for keys without limits.

A lane belongs to one model and holds every key that may serve it. Each lane keeps virtual times of its own: providers
limit by key and model, so it is each model's calls that are to be spread by weight. (Times shared between models fall
into step with traffic that alternates between them: two keys and two models, and each key gets one of the models.)

Keys that can't serve now wait in a second heap by the time at which they can. Both heaps are put right only where
they are looked at: times of eligibility only ever move back, so an entry that has grown old is found when it is due.
"""

from __future__ import annotations

from collections.abc import Iterable
from heapq import heapify, heappop, heappush
from random import Random

from trunkline_server.routing.key_state import KeyState

Entry = tuple[float, int, KeyState]
"""Virtual time, the key's place in the configuration (settles ties), the key."""


class Lane:
    """The keys of one model, in the order of their turns."""

    __slots__ = ("_model", "_parked", "keys", "ready", "reserve", "reserve_time", "virtual_time", "waiting")

    def __init__(self, model: str, keys: Iterable[KeyState], rng: Random) -> None:
        """Start each key at a random point of its first turn, so that many processes do not all begin with one key."""
        self._model = model
        self.keys = tuple(keys)
        self.virtual_time = 0.0
        """Where the lane is: the virtual time of the key whose turn it was last."""
        self.ready: list[Entry] = []
        self.reserve: list[Entry] = []
        """Keys of weight 0: used only if no other can serve; their turns have a time of their own."""
        self.reserve_time = 0.0
        self.waiting: list[tuple[float, int, float, KeyState]] = []
        """Clock time from which it can serve, place, virtual time, key."""
        self._parked: dict[str, Entry] = {}
        """Keys whose one probe is under way or that an operator holds: an event, not a time, brings them back."""
        for place, key in enumerate(self.keys):
            heap = self.ready if key.spec.weight else self.reserve
            heap.append((rng.random() * key.step, place, key))
        heapify(self.ready)
        heapify(self.reserve)

    def take(self, exclude: frozenset[str], now: float, _tokens: int = 0) -> KeyState | None:
        """Choose a key and move its virtual time on; None if none can serve now."""
        self._wake(now)
        for heap in (self.ready, self.reserve):
            top = heap[0][0] if heap else 0.0
            entry = self._find(heap, exclude, now)
            if entry is not None:
                virtual_time, place, key = entry
                heappush(heap, (virtual_time + key.step / key.share(self._model, now), place, key))
                # A turn taken out of order, past keys that this request excludes, must not cost those their turn.
                if heap is self.ready:
                    self.virtual_time = max(self.virtual_time, min(top, virtual_time))
                else:
                    self.reserve_time = max(self.reserve_time, min(top, virtual_time))
                return key
        return None

    def usable(self, exclude: frozenset[str], now: float, _tokens: int = 0) -> bool:
        """Return whether `take` would find a key."""
        if self.ready and self.ready[0][2].plain and self.ready[0][2].id not in exclude:
            return True
        self._wake(now)
        for heap in (self.ready, self.reserve):
            entry = self._find(heap, exclude, now)
            if entry is not None:
                heappush(heap, entry)
                return True
        return False

    def earliest(self, exclude: frozenset[str], now: float, _tokens: int = 0) -> float | None:
        """Return the clock time at which a key can serve, `now` if one can; None if waiting alone brings none."""
        if self.usable(exclude, now):
            return now
        aside = []
        at = None
        while self.waiting:
            due, place, virtual_time, key = self.waiting[0]
            free_at = key.free_at(self._model, now)
            if key.barred:
                heappop(self.waiting)
                self._parked[key.id] = (virtual_time, place, key)
            elif key.id in exclude:
                aside.append(heappop(self.waiting))
            elif free_at > due:
                heappop(self.waiting)
                heappush(self.waiting, (free_at, place, virtual_time, key))
            else:
                at = due
                break
        for entry in aside:
            heappush(self.waiting, entry)
        return at

    def room_at(self, _calls: int, exclude: frozenset[str], now: float, _tokens: int = 0) -> float | None:
        """Return when so many calls may go: once one of its keys can serve, as none of them has a limit."""
        return self.earliest(exclude, now)

    def refresh(self, _key: KeyState, _now: float) -> None:
        """Nothing is kept here that a settled reservation could change."""

    def unpark(self, key: KeyState, _now: float) -> None:
        """Put a key back that an event lets serve again; what it may do now is looked at when its turn comes."""
        entry = self._parked.pop(key.id, None)
        if entry is not None:
            self._bring_back(*entry)

    def _wake(self, now: float) -> None:
        """Bring back the keys whose time has come, at the lane's present virtual time: nobody catches up."""
        while self.waiting and self.waiting[0][0] <= now:
            _, place, virtual_time, key = heappop(self.waiting)
            free_at = key.free_at(self._model, now)
            if free_at > now:
                heappush(self.waiting, (free_at, place, virtual_time, key))
            else:
                self._bring_back(virtual_time, place, key)

    def _bring_back(self, virtual_time: float, place: int, key: KeyState) -> None:
        if key.spec.weight:
            heappush(self.ready, (max(virtual_time, self.virtual_time), place, key))
        else:
            heappush(self.reserve, (max(virtual_time, self.reserve_time), place, key))

    def _find(self, heap: list[Entry], exclude: frozenset[str], now: float) -> Entry | None:
        """Pop the first entry whose key can serve; put those aside that can't, and leave those excluded."""
        aside = []
        found = None
        while heap:
            entry = heappop(heap)
            virtual_time, place, key = entry
            if key.id in exclude:
                aside.append(entry)
                continue
            if key.plain:
                found = entry
                break
            free_at = key.free_at(self._model, now)
            if free_at > now:
                heappush(self.waiting, (free_at, place, virtual_time, key))
            elif key.barred:
                self._parked[key.id] = entry
            else:
                found = entry
                break
        for entry in aside:
            heappush(heap, entry)
        return found
