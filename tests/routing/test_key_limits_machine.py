"""Keys with limits under any order of calls, reports, settlements, words of operators and passing time.

Each answer of the pool, which looks at a few keys, is compared with that of a look at all of them.
"""

from __future__ import annotations

import math
from fnmatch import fnmatchcase
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from trunkline_server.routing import key_limited_lane
from trunkline_server.routing.clock import ManualClock
from trunkline_server.routing.failures import Failure, FailureClass
from trunkline_server.routing.key_limited_lane import CAP_LOOK_S, LimitedLane
from trunkline_server.routing.key_pool import KeyPool, KeySpec
from trunkline_server.routing.key_state import KeyState
from trunkline_server.routing.lease import Lease

IDS = ("a", "b", "c", "d", "e")
models = st.sampled_from(["m1", "m2"])
excludes = st.frozensets(st.sampled_from(IDS), max_size=2)
sizes = st.sampled_from([0, 1, 50, 400, 900, 2000, 30_000])
specs = st.lists(
    st.builds(
        KeySpec,
        st.sampled_from(IDS),
        st.sampled_from([0.0, 1.0, 3.0]),
        st.sampled_from([("*",), ("*",), ("m1",)]),
        requests_per_minute=st.sampled_from([None, 30, 600]),
        tokens_per_minute=st.sampled_from([None, 6000, 60_000]),
        max_in_flight=st.sampled_from([None, None, 1, 3]),
        quota_group=st.sampled_from([None, "org"]),
        burst_s=st.sampled_from([0.0, 1.0, 5.0]),
    ),
    min_size=1,
    max_size=5,
    unique_by=lambda spec: spec.id,
)


class LimitsMachine(RuleBasedStateMachine):
    """Whatever happens, a key is found exactly if one can serve, and at the time that was told."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = ManualClock(1.0)
        specs = [KeySpec(id_, 1, requests_per_minute=60, tokens_per_minute=60_000) for id_ in IDS]
        self.pool = KeyPool("p", specs, clock=self.clock, rng=Random(5))
        self.out: list[Lease] = []
        self.settled = 0
        self.opened = 0

    def _keys(self, model: str, exclude: frozenset[str]) -> list[KeyState]:
        return [
            key
            for key in self.pool._keys.values()
            if not key.removed
            and key.id not in exclude
            and any(fnmatchcase(model, glob) for glob in key.spec.models)
            and not key.barred
        ]

    def _able(self, model: str, exclude: frozenset[str], tokens: int) -> list[KeyState]:
        now = self.clock()
        return [key for key in self._keys(model, exclude) if not key.full and key.free_at(model, now, tokens) <= now]

    def _earliest(self, model: str, exclude: frozenset[str], tokens: int) -> float | None:
        now = self.clock()
        times = [
            max(key.free_at(model, now, tokens), now + CAP_LOOK_S if key.full else now)
            for key in self._keys(model, exclude)
        ]
        at = min(times, default=math.inf)
        return None if at == math.inf else at

    @rule(model=models, exclude=excludes, tokens=sizes)
    def take(self, model: str, exclude: frozenset[str], tokens: int) -> None:
        """Get a key exactly if one can serve, one with a weight before one without, in order of turns."""
        able = self._able(model, exclude, tokens)
        assert self.pool.usable_now(model, exclude, tokens) == bool(able)
        assert (self.pool.blockage(model, exclude, tokens) is None) == bool(able)
        turns = self._turns(model, able)
        now = self.clock()
        key_id = self.pool.take(model, exclude, tokens)
        assert (key_id is not None) == bool(able)
        if key_id is None:
            return
        assert key_id in {key.id for key in able if key.spec.weight} or not any(key.spec.weight for key in able)
        if turns:
            assert turns[key_id] == min(turns.values())
        cap = self.pool._keys[key_id].spec.max_in_flight
        assert cap is None or self.pool._keys[key_id].in_flight <= cap
        self.opened += 1
        lease = Lease(
            "p",
            key_id,
            model,
            granted_at=now,
            fingerprint="",
            give_back=lambda lease: self.pool.give_back(lease.key_id, lease.model),
            tokens=tokens,
            settle=self._settle,
        )
        self.out.append(lease)

    def _turns(self, model: str, able: list[KeyState]) -> dict[str, float]:
        lane = self.pool._lanes.get(model)
        if not isinstance(lane, LimitedLane) or not able:
            return {}
        with_weight = [key for key in able if key.spec.weight] or able
        group = next(group for group in lane._groups if with_weight[0].id in group._leaves)
        return {key.id: group._turn(group._leaves[key.id]) for key in with_weight}

    def _settle(self, lease: Lease, used: int | None) -> None:
        self.settled += 1
        self.pool.settle(lease.key_id, lease.model, lease.tokens, used, at=lease.granted_at)

    @rule(model=models, exclude=excludes, tokens=sizes)
    def wait_until_the_earliest(self, model: str, exclude: frozenset[str], tokens: int) -> None:
        """Be told the earliest time of any key, find none just before it, and one at it but for caps."""
        at = self.pool.earliest(model, exclude, tokens)
        assert at == self._earliest(model, exclude, tokens)
        if at is None or at <= self.clock():
            assert bool(self._able(model, exclude, tokens)) == (at is not None)
            return
        capped = any(key.full for key in self._keys(model, exclude))
        if at - self.clock() > 2e-6:
            self.clock.advance(at - self.clock() - 1e-6)
            assert not self.pool.usable_now(model, exclude, tokens)
        self.clock.advance(at - self.clock())
        if self.clock() < at:
            self.clock.advance(math.ulp(at))
        assert self.pool.usable_now(model, exclude, tokens) or capped

    @precondition(lambda self: self.out)
    @rule(data=st.data(), used=st.none() | sizes)
    def settle(self, data: st.DataObject, used: int | None) -> None:
        """Settle a call that goes on."""
        lease = data.draw(st.sampled_from(self.out))
        if not lease.settled:
            lease.settle(used)

    @precondition(lambda self: self.out)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        """End a call, settled or not."""
        self.out.pop(data.draw(st.integers(0, len(self.out) - 1))).release()

    @rule(
        key=st.sampled_from(IDS),
        model=models,
        remaining=st.none() | st.integers(0, 2000),
        reset_s=st.none() | st.floats(0, 10),
    )
    def observed(self, key: str, model: str, remaining: int | None, reset_s: float | None) -> None:
        """Hear what a provider says of a key, which never keeps it away for longer than a burst takes."""
        before = self.pool.earliest(model)
        self.pool.observed(key, model, remaining_tokens=remaining, reset_tokens_s=reset_s, remaining_requests=remaining)
        after = self.pool.earliest(model)
        assert (before is None) == (after is None)

    @rule(
        key=st.sampled_from(IDS),
        model=models,
        failure_class=st.sampled_from(
            [FailureClass.RATE_LIMITED, FailureClass.RATE_LIMITED, FailureClass.KEY_REJECTED]
        ),
        retry_after_s=st.none() | st.floats(0, 20),
    )
    def failed(self, key: str, model: str, failure_class: FailureClass, retry_after_s: float | None) -> None:
        """Report a failure; what cools one key of an account cools all of it."""
        self.pool.failed(key, model, Failure(failure_class, "x", retry_after_s))
        states = [state for state in self.pool._keys.values() if state.spec.quota_group]
        now = self.clock()
        assert len({state.cools(model, now) for state in states}) <= 1

    @rule(key=st.sampled_from(IDS), model=models)
    def succeeded(self, key: str, model: str) -> None:
        """Report a success."""
        self.pool.succeeded(key, model)

    @rule(key=st.sampled_from(IDS), word=st.sampled_from(["drain", "disable", "clear", "clear"]))
    def operate(self, key: str, word: str) -> None:
        """Hold a key, or let it serve again."""
        if key in self.pool._keys:
            getattr(self.pool, word)(key)

    @rule(seconds=st.sampled_from([0.01, 0.3, 1.0, 10.0, 65.0]))
    def time_passes(self, seconds: float) -> None:
        """Move the clock on."""
        self.clock.advance(seconds)

    @rule(keys=specs)
    def reconfigure(self, keys: list[KeySpec]) -> None:
        """Reload, with other limits."""
        self.pool.reconfigure(keys)

    @invariant()
    def every_reservation_is_settled_once(self) -> None:
        """Find as many settled as ended or settled before their end."""
        assert self.settled == self.opened - sum(not lease.settled for lease in self.out)
        assert self.pool.in_flight == len(self.out)


LimitsMachine.TestCase.settings = settings(max_examples=100, stateful_step_count=60, deadline=None)
TestLimitsMachine = LimitsMachine.TestCase


@given(
    st.lists(st.tuples(st.sampled_from([1, 2, 5]), st.sampled_from([6000, 60_000, None])), min_size=1, max_size=40),
    st.lists(st.tuples(st.floats(0, 0.5), sizes), min_size=1, max_size=80),
    st.integers(0, 2**32),
)
@settings(deadline=None)
def test_a_search_cut_short_still_finds_a_key_if_there_is_one(
    keys: list[tuple[int, int | None]], calls: list[tuple[float, int]], seed: int
) -> None:
    """Many keys and few looks: not always the one whose turn it is, but never none where one has room."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(key_limited_lane, "LOOKS", 3)
        clock = ManualClock(1.0)
        specs = [KeySpec(f"k{n}", weight, tokens_per_minute=limit) for n, (weight, limit) in enumerate(keys)]
        specs[0] = KeySpec("k0", 1, tokens_per_minute=6000)
        pool = KeyPool("p", specs, clock=clock, rng=Random(seed))
        for pause_s, tokens in calls:
            clock.advance(pause_s)
            now = clock()
            able = {key.id for key in pool._keys.values() if key.free_at("m", now, tokens) <= now}
            key_id = pool.take("m", tokens=tokens)
            assert key_id in able if able else key_id is None
