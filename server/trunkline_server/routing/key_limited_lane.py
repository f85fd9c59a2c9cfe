"""The choice of a key for one model where keys have limits: whose turn it is, among those with room for the request.

The rules are those of `key_lane`; what differs is that who can serve depends on the size of the request. A key that
can serve nothing yet sleeps until it can; one whose probe is under way, whom an operator holds or that is at its cap
is out until an event. All others stand in a `TurnTree`. Its entries are put right where they are looked at: times
mostly move back. Where one moves forward (a refund, a provider's word, an end), the pool says so.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from heapq import heappop, heappush
from itertools import chain
from random import Random
from typing import ClassVar

from trunkline_server.routing.key_lane import Entry
from trunkline_server.routing.key_paces import Paces
from trunkline_server.routing.key_state import KeyState
from trunkline_server.routing.turn_tree import TurnTree

LOOKS = 16
"""Nodes looked at for the one whose turn it is. If none of the first has room for a large request, the key with the
most room gets it: still one that can serve, where there is any, and those passed over keep their turn."""
CATCH_UP_TURNS = 6
"""Turns that a key gets back which it missed. With none a limit takes turns from heavy keys long before it is reached:
calls that come at random find them waiting for a moment. (Keys of 60 a minute and weights 1 to 8, offered 0.3 x their
sum: the shares were wrong by 2.3 percentage points with none, by 1.1 with one, by 0.2 with these.)"""
CAP_LOOK_S = 0.05
"""A key at its cap of calls in flight may be back at any moment: it is said to be in so long."""
EXACT_KEYS = 64
STALE_S = 0.05
"""Above so many keys, how old what is known of all of them may be when a queue's end is reckoned."""
MAX_PACES = 16


class LimitedLane:
    """The keys of one model, in the order of their turns; those of weight 0 only if no other can serve."""

    __slots__ = ("_groups", "_paces", "_taken", "keys", "virtual_time")

    ready: ClassVar[list[Entry]] = []
    """No key can be taken without a look, as in a lane without limits."""
    waiting: ClassVar[list[tuple[float, int, float, KeyState]]] = []

    def __init__(self, model: str, keys: Iterable[KeyState], rng: Random) -> None:
        """Start each key at a random point of its first turn, so that many processes do not all begin with one key."""
        self.keys = tuple(keys)
        weighted = [key for key in self.keys if key.spec.weight]
        spare = [key for key in self.keys if not key.spec.weight]
        self._groups = [_Turns(model, group, rng) for group in (weighted, spare) if group]
        self._paces: dict[tuple[frozenset[str], int], Paces] = {}
        self._taken = 0
        self.virtual_time = 0.0
        """Where the lane is."""

    def take(self, exclude: frozenset[str], now: float, tokens: int = 0) -> KeyState | None:
        """Choose a key, reserve what the request needs of its limits, and move its turn on; None if none has room."""
        for group in self._groups:
            key = group.take(exclude, now, tokens)
            if key is not None:
                self.virtual_time = max(self.virtual_time, group.present)
                self._taken += 1
                return key
        return None

    def usable(self, exclude: frozenset[str], now: float, tokens: int = 0) -> bool:
        """Return whether `take` would find a key."""
        return any(group.find(exclude, now, tokens) is not None for group in self._groups)

    def earliest(self, exclude: frozenset[str], now: float, tokens: int = 0) -> float | None:
        """Return the clock time at which a key has room, `now` if one has; None if waiting alone brings none."""
        at = min(group.earliest(exclude, now, tokens) for group in self._groups)
        return None if at == math.inf else at

    def room_at(self, calls: int, exclude: frozenset[str], now: float, tokens: int = 0) -> float | None:
        """Return a clock time by which so many calls like this one may have gone; None if no time brings one.

        It looks at every key; where these are many, at most once in STALE_S for requests of one size.
        """
        paces = self._paces.get((exclude, tokens))
        if paces is None or len(self.keys) <= EXACT_KEYS or now - paces.made_at > STALE_S:
            starts = chain.from_iterable(group.paces(exclude, now, tokens) for group in self._groups)
            paces = Paces(starts, now, self._taken)
            if len(self._paces) >= MAX_PACES:
                self._paces.clear()
            self._paces[exclude, tokens] = paces
        at = paces.room_at(calls + self._taken - paces.taken)
        return None if at is None else max(at, now)

    def refresh(self, key: KeyState, now: float) -> None:
        """Look at a key again whose time may have moved forward."""
        for group in self._groups:
            group.refresh(key, now, out=False)

    def unpark(self, key: KeyState, now: float) -> None:
        """Look at a key again that an event may have brought back."""
        for group in self._groups:
            group.refresh(key, now, out=True)


class _Turns:
    """Keys among which turns go round."""

    __slots__ = ("_capped", "_due", "_keys", "_leaves", "_model", "_own", "_parked", "_sleepers", "_tree", "present")

    def __init__(self, model: str, keys: list[KeyState], rng: Random) -> None:
        self._model = model
        places = {key.id: rng.random() * key.step for key in keys}
        # Keys of like limits stand together: only so does a node tell exactly who has room.
        keys = sorted(keys, key=lambda key: (key.spec.tokens_per_minute or 0.0, key.spec.burst_s, key.spec.weight))
        self._keys = keys
        self._leaves = {key.id: leaf for leaf, key in enumerate(keys)}
        self._own = [places[key.id] for key in keys]
        self.present = 0.0
        """The virtual time of the key whose turn it was last."""
        self._tree = TurnTree([None if key.limits is None else key.limits.tokens for key in keys])
        self._due: list[float | None] = [None] * len(keys)
        self._sleepers: list[tuple[float, int]] = []
        """Clock time and leaf; an entry counts if `_due` says the same."""
        self._parked: set[int] = set()
        self._capped: set[int] = set()
        self._tree.plant([self._entry(leaf, -math.inf) for leaf in range(len(keys))])

    def take(self, exclude: frozenset[str], now: float, tokens: int) -> KeyState | None:
        leaf = self.find(exclude, now, tokens)
        if leaf is None:
            return None
        key = self._keys[leaf]
        turn = self._turn(leaf)
        # A turn taken out of order, past keys that this request excludes, must not cost those their turn.
        self.present = max(self.present, min(self._tree.turns[1], turn) if exclude else turn)
        if key.limits is not None:
            key.limits.reserve(self._model, tokens, now)
        self._own[leaf] = turn + key.step / key.share(self._model, now)
        self._file(leaf, now)
        return key

    def _turn(self, leaf: int) -> float:
        """Return a key's turn; what it missed counts for little, so that no key that was away is flooded."""
        return max(self._own[leaf], self.present - CATCH_UP_TURNS * self._keys[leaf].step)

    def find(self, exclude: frozenset[str], now: float, tokens: int) -> int | None:
        """Return the leaf whose turn it is among those that can serve the request now."""
        self._wake(now)
        while (leaf := self._tree.first()) is not None:
            if self._can_serve(leaf, exclude, now, tokens):
                return leaf
            if self._tree.turns[self._tree.first_leaf + leaf] < math.inf:
                return self._search(exclude, now, tokens)
        return None

    def _can_serve(self, leaf: int, exclude: frozenset[str], now: float, tokens: int) -> bool:
        """Whether a key can serve the request; if it can serve none at all, it is put where it belongs."""
        key = self._keys[leaf]
        if key.barred or key.full:
            self._file(leaf, now)
            return False
        if key.free_at(self._model, now, tokens) <= now:
            return key.id not in exclude
        if key.free_at(self._model, now) > now:
            self._file(leaf, now)
        return False

    def _search(self, exclude: frozenset[str], now: float, tokens: int) -> int | None:
        """Look past those without room, or excluded, in the order of turns; in the end for whoever has room."""
        tree = self._tree
        frontier = [(tree.turns[1], 1)]
        for _ in range(LOOKS):
            if not frontier:
                return None
            _, node = heappop(frontier)
            if tree.room_at(node, tokens) > now:
                continue
            below = tree.children(node)
            if below is not None:
                for child in below:
                    if tree.turns[child] < math.inf:
                        heappush(frontier, (tree.turns[child], child))
            elif self._can_serve(node - tree.first_leaf, exclude, now, tokens):
                return node - tree.first_leaf
        leaf, at = self._soonest(exclude, now, tokens)
        return leaf if at <= now else None

    def _soonest(self, exclude: frozenset[str], now: float, tokens: int) -> tuple[int | None, float]:
        """Return who has room first, and when; infinity if no time brings one."""
        tree = self._tree
        frontier = [(tree.room_at(1, tokens), 1)]
        while frontier:
            at, node = heappop(frontier)
            if at == math.inf:
                break
            below = tree.children(node)
            if below is not None:
                for child in below:
                    heappush(frontier, (tree.room_at(child, tokens), child))
                continue
            leaf = node - tree.first_leaf
            key = self._keys[leaf]
            if key.barred or key.full:
                self._file(leaf, now)
            elif key.id not in exclude:
                free_at = key.free_at(self._model, now, tokens)
                if free_at <= max(at, now):
                    return leaf, free_at
                self._file(leaf, now)
                heappush(frontier, (free_at, node))
        return None, math.inf

    def earliest(self, exclude: frozenset[str], now: float, tokens: int) -> float:
        """Return when the first key has room; infinity if no time brings one."""
        self._wake(now)
        _, at = self._soonest(exclude, now, tokens)
        for leaf in self._capped:
            if at <= now + CAP_LOOK_S:
                break
            key = self._keys[leaf]
            if key.id not in exclude and not key.barred:
                at = min(at, max(now + CAP_LOOK_S, key.free_at(self._model, now, tokens)))
        return at

    def paces(self, exclude: frozenset[str], now: float, tokens: int) -> list[tuple[float, float]]:
        """Return of each key that could serve when, and after how long again, in seconds; 0: at once."""
        paces = []
        for key in self._keys:
            at = key.free_at(self._model, now, tokens)
            if key.barred or key.id in exclude or at == math.inf:
                continue
            if key.full:
                at = max(at, now + CAP_LOOK_S)
            paces.append((at, 0.0 if key.limits is None else key.limits.interval_s(tokens)))
        return paces

    def refresh(self, key: KeyState, now: float, *, out: bool) -> None:
        """Look at a key again; `out`: even if it was out until an event."""
        leaf = self._leaves.get(key.id)
        if leaf is None or (not out and (leaf in self._parked or leaf in self._capped)):
            return
        self._file(leaf, now)

    def _wake(self, now: float) -> None:
        while self._sleepers and self._sleepers[0][0] <= now:
            due, leaf = heappop(self._sleepers)
            if self._due[leaf] == due:
                self._file(leaf, now)

    def _file(self, leaf: int, now: float) -> None:
        """Put a key where it belongs: among those who take turns, asleep, or out until an event."""
        self._tree.put(leaf, *self._entry(leaf, now))

    def _entry(self, leaf: int, now: float) -> tuple[float, float, float]:
        key = self._keys[leaf]
        was_due, self._due[leaf] = self._due[leaf], None
        self._parked.discard(leaf)
        self._capped.discard(leaf)
        if key.barred or key.full:
            (self._parked if key.barred else self._capped).add(leaf)
            key.at_cap = key.at_cap or key.full
            return math.inf, math.inf, math.inf
        at, full_at, burst_s = key.times(self._model)
        first_at = max(at, full_at - burst_s)
        if first_at > now:
            self._due[leaf] = first_at
            if was_due != first_at:
                heappush(self._sleepers, (first_at, leaf))
            turn = math.inf
        else:
            turn = self._own[leaf] = self._turn(leaf)
        return turn, first_at, max(at, full_at)
