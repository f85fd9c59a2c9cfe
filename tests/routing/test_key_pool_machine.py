"""The key pool under any order of calls, reports, reloads and passing time, against a plain reading of its rules."""

from __future__ import annotations

from fnmatch import fnmatchcase
from random import Random

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from trunkline_server.routing.clock import ManualClock
from trunkline_server.routing.failures import Failure, FailureClass
from trunkline_server.routing.key_pool import KeyPool, KeySpec, KeyView
from trunkline_server.routing.key_state import KeyStatus

MODELS = ("m1", "m2", "x1")
IDS = ("a", "b", "c", "d")
models = st.sampled_from(MODELS)
excludes = st.frozensets(st.sampled_from(IDS), max_size=2)
specs = st.lists(
    st.builds(
        KeySpec,
        st.sampled_from(IDS),
        st.sampled_from([0.0, 0.5, 1.0, 3.0]),
        st.sampled_from([("*",), ("m*",), ("m1", "x1")]),
        st.sampled_from([(), ("m2",)]),
        st.sampled_from(["old", "new"]),
    ),
    max_size=4,
    unique_by=lambda spec: spec.id,
)


class PoolMachine(RuleBasedStateMachine):
    """Whatever happens, the pool's answers agree with what its own views say of each key."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = ManualClock(1.0)
        self.specs = {id_: KeySpec(id_, 1) for id_ in IDS}
        self.pool = KeyPool("p", list(self.specs.values()), clock=self.clock, rng=Random(5))
        self.out: list[tuple[str, str]] = []
        self.probes: dict[str, str] = {}
        """Key to model of the probe that is under way."""

    def _view(self, key: str) -> KeyView | None:
        return next((view for view in self.pool.states() if view.id == key), None)

    def _allowed(self, key: str, model: str) -> bool:
        spec = self.specs.get(key)
        return (
            spec is not None
            and any(fnmatchcase(model, glob) for glob in spec.models)
            and not any(fnmatchcase(model, glob) for glob in spec.block_models)
        )

    def _eligible(self, model: str, exclude: frozenset[str]) -> set[str]:
        now = self.clock()
        return {
            view.id
            for view in self.pool.states()
            if self._allowed(view.id, model)
            and view.id not in exclude
            and model not in dict(view.cooling)
            and not (view.status is KeyStatus.QUARANTINED and (view.id in self.probes or (view.until or 0.0) > now))
        }

    @rule(model=models, exclude=excludes)
    def take(self, model: str, exclude: frozenset[str]) -> None:
        """Get a key exactly if one is eligible, and one with a weight before one without."""
        eligible = self._eligible(model, exclude)
        assert self.pool.may_serve(model) == any(self._allowed(key, model) for key in self.specs)
        assert self.pool.usable_now(model, exclude) == bool(eligible)
        assert (self.pool.blockage(model, exclude) is None) == bool(eligible)
        before = {view.id: view.status for view in self.pool.states()}
        key = self.pool.take(model, exclude)
        assert (key is not None) == bool(eligible)
        if key is None:
            return
        assert key in eligible
        assert self.specs[key].weight or not any(self.specs[other].weight for other in eligible)
        self.out.append((key, model))
        if before[key] is KeyStatus.QUARANTINED:
            self.probes[key] = model

    @rule(model=models, exclude=excludes)
    def wait_until_the_earliest(self, model: str, exclude: frozenset[str]) -> None:
        """Find no key eligible before the earliest time that was told, and one at it."""
        at = self.pool.earliest(model, exclude)
        if at is None:
            assert not self._eligible(model, exclude)
        elif at > self.clock():
            assert not self._eligible(model, exclude)
            if at - self.clock() > 2e-6:
                self.clock.advance(at - self.clock() - 1e-6)
                assert not self._eligible(model, exclude)
            self.clock.advance(max(at - self.clock(), 0.0) + 1e-6)
            assert self.pool.usable_now(model, exclude)
        else:
            assert self._eligible(model, exclude)

    @precondition(lambda self: self.out)
    @rule(data=st.data())
    def give_back(self, data: st.DataObject) -> None:
        """Give back what was taken, in any order."""
        index = data.draw(st.integers(0, len(self.out) - 1))
        key, model = self.out.pop(index)
        self.pool.give_back(key, model)
        if self.probes.get(key) == model and (key, model) not in self.out:
            del self.probes[key]

    @rule(
        key=st.sampled_from(IDS),
        model=models,
        failure_class=st.sampled_from(
            [
                FailureClass.RATE_LIMITED,
                FailureClass.KEY_REJECTED,
                FailureClass.KEY_EXHAUSTED,
                FailureClass.SERVER_ERROR,
            ]
        ),
        retry_after_s=st.none() | st.floats(0, 400),
        caused_by_caller=st.booleans(),
    )
    def failed(
        self, key: str, model: str, failure_class: FailureClass, retry_after_s: float | None, *, caused_by_caller: bool
    ) -> None:
        """Report a failure, which never brings a deadline forward."""
        before = self._view(key)
        failure = Failure(failure_class, "x", retry_after_s, caused_by_caller=caused_by_caller)
        self.pool.failed(key, model, failure)
        after = self._view(key)
        if before is None or after is None or caused_by_caller:
            assert before == after
            return
        for cooled, until in before.cooling:
            assert dict(after.cooling)[cooled] >= until
        if before.status is KeyStatus.QUARANTINED:
            assert after.status is KeyStatus.QUARANTINED
            assert (after.until or 0.0) >= (before.until or 0.0)
        if failure_class in {FailureClass.KEY_REJECTED, FailureClass.KEY_EXHAUSTED}:
            self.probes.pop(key, None)

    @rule(key=st.sampled_from(IDS), model=models)
    def succeeded(self, key: str, model: str) -> None:
        """Report a success: it ends a quarantine only if it is the probe's, and never a cool-down."""
        before = self._view(key)
        self.pool.succeeded(key, model)
        after = self._view(key)
        if before is None or after is None:
            return
        assert before.cooling == after.cooling
        if self.probes.get(key) == model:
            del self.probes[key]
            assert after.status is not KeyStatus.QUARANTINED
        elif before.status is KeyStatus.QUARANTINED:
            assert after == before

    @rule(seconds=st.sampled_from([0.01, 1.0, 10.0, 65.0, 400.0]))
    def time_passes(self, seconds: float) -> None:
        """Move the clock on."""
        self.clock.advance(seconds)

    @rule(keys=specs)
    def reconfigure(self, keys: list[KeySpec]) -> None:
        """Reload: calls in flight stay where they are, and states with their secrets."""
        before = {view.id: view for view in self.pool.states()}
        prints = {id_: self.pool.fingerprint(id_) for id_ in before}
        self.pool.reconfigure(keys)
        self.specs = {spec.id: spec for spec in keys}
        for spec in keys:
            view = self._view(spec.id)
            assert view is not None
            if spec.id in before and prints[spec.id] == spec.fingerprint:
                assert view.cooling == before[spec.id].cooling
                assert view.reason == before[spec.id].reason
            else:
                self.probes.pop(spec.id, None)
                assert view.status is KeyStatus.ACTIVE

    @invariant()
    def every_call_is_booked_once(self) -> None:
        """Find as many calls in flight on each key as were taken and not given back."""
        held = [key for key, _ in self.out]
        shown = {view.id: view.in_flight for view in self.pool.states()}
        assert {key: count for key, count in shown.items() if count} == {key: held.count(key) for key in set(held)}
        assert self.pool.in_flight == len(held)

    @invariant()
    def it_can_be_looked_at(self) -> None:
        """Find a repr of pool and keys in every state."""
        assert repr(self.pool).startswith("<KeyPool p:")
        assert all(repr(key) for key in self.pool._keys.values())


PoolMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)
TestPoolMachine = PoolMachine.TestCase
