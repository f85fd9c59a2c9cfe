"""Any order of publishes, trials and their ends, with calls of every kind in flight: all that was taken comes back."""

from __future__ import annotations

import asyncio
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from tests.app.live_house import SECRETS, House, document, held, key, provider, target

from trunkline_server.compile import Blueprint
from trunkline_server.engine.frames import CallFailedError
from trunkline_server.engine.provider import LiveProvider

_NAMES = ("one", "two")
_MODELS = ("m", "n")
_keys = st.lists(st.sampled_from("abcd"), min_size=1, max_size=3, unique=True).flatmap(
    lambda names: st.tuples(*(st.builds(key, st.just(name), weight=st.integers(1, 3)) for name in names))
)
_gates = st.fixed_dictionaries(
    {"max_in_flight": st.integers(1, 4), "queue": st.integers(0, 4), "max_wait_s": st.sampled_from([0.05, 5.0])}
)


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    """Draw a valid document of one or two providers, with one alias of their models."""
    pairs = [(name, model) for name in _NAMES for model in _MODELS]
    chosen = draw(st.lists(st.sampled_from(pairs), min_size=1, max_size=4, unique=True))
    members = [target(f"{name}/{model}", draw(st.integers(1, 3))) for name, model in chosen]
    cut = draw(st.integers(1, len(members)))
    tiers = [tier for tier in (members[:cut], members[cut:]) if tier]
    named = {name for name, _ in chosen} | draw(st.sets(st.sampled_from(_NAMES)))
    providers = {
        name: provider(*draw(_keys), host=draw(st.sampled_from(["here", "there"])), gate=draw(_gates))
        for name in sorted(named)
    }
    return document(providers, {"default": tiers})


class Routes(RuleBasedStateMachine):
    """A house on a loop of its own, and every provider that ever lived in it."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.defects: list[dict[str, Any]] = []
        self.loop.set_exception_handler(lambda _, context: self.defects.append(context))
        self.seen: set[int] = set()
        self.providers: list[LiveProvider] = []
        self.calls: list[asyncio.Task[Any]] = []
        self.versions = {1}
        self.on_trial: Blueprint | None = None
        self.house = self.run(self._house())

    async def _house(self) -> House:
        house = House()
        house.live.provider_listeners.append(self.meet)
        self.providers += house.live.providers
        self.seen |= set(map(id, house.live.providers))
        return house

    def meet(self, live: LiveProvider) -> None:
        if id(live) not in self.seen:
            self.seen.add(id(live))
            self.providers.append(live)

    def run(self, coroutine: Any) -> Any:
        return self.loop.run_until_complete(coroutine)

    @rule(made=documents())
    def publish(self, made: dict[str, Any]) -> None:
        async def act() -> None:
            self.house.publish(made)

        self.run(act())
        self.on_trial = None
        self.versions.add(self.house.version)

    @rule(name=st.sampled_from("ABCD"), made=documents())
    def rotate(self, name: str, made: dict[str, Any]) -> None:
        self.house.secrets[f"{name}_API_KEY"] = f"sk-rotated-{self.house.version}"
        self.publish(made)

    @precondition(lambda self: self.on_trial is None)
    @rule(made=documents(), fraction=st.sampled_from([0.01, 0.5, 0.99]))
    def begin_trial(self, made: dict[str, Any], fraction: float) -> None:
        async def act() -> None:
            self.on_trial = self.house.begin_trial(made, fraction)

        self.run(act())
        self.versions.add(self.house.version)

    @rule()
    def end_trial(self) -> None:
        async def act() -> None:
            self.house.live.end_trial()

        self.run(act())
        self.on_trial = None

    @precondition(lambda self: self.on_trial is not None)
    @rule()
    def promote(self) -> None:
        async def act() -> None:
            assert self.on_trial is not None
            self.house.live.publish(self.on_trial, self.house.version)

        self.run(act())
        self.on_trial = None

    @rule(made=documents())
    def refuse_an_old_version(self, made: dict[str, Any]) -> None:
        async def act() -> None:
            before = (self.house.live.snapshots.current, self.house.live.snapshots.trial, self.house.live.providers)
            try:
                self.house.live.publish(self.house.blueprint(made), self.house.live.snapshots.current.version)
            except ValueError:
                now = (self.house.live.snapshots.current, self.house.live.snapshots.trial, self.house.live.providers)
                assert now == before
                return
            raise AssertionError("an old version was published")

        self.run(act())

    @rule(
        streams=st.booleans(), model=st.sampled_from(["default", "default", "one/m", "two/x"]), count=st.integers(1, 5)
    )
    def call(self, streams: bool, model: str, count: int) -> None:  # noqa: FBT001
        async def act() -> None:
            begin = self.house.stream if streams else self.house.call
            try:
                self.calls += [begin(model) for _ in range(count)]
            except CallFailedError:
                return  # a direct name of a provider that is not there

        self.run(act())

    @rule(turns=st.integers(1, 12))
    def go_on(self, turns: int) -> None:
        async def act() -> None:
            for _ in range(turns):
                await asyncio.sleep(0)

        self.run(act())

    @rule(turns=st.integers(5, 20))
    def answer(self, turns: int) -> None:
        async def act() -> None:
            self.house.upstream.open.set()
            for _ in range(turns):
                await asyncio.sleep(0)
            self.house.upstream.open.clear()

        self.run(act())

    @rule(made=documents(), turns=st.integers(0, 8))
    def publish_while_slots_change_hands(self, made: dict[str, Any], turns: int) -> None:
        async def act() -> None:
            self.calls += [self.house.call() for _ in range(5)]
            for _ in range(10):
                await asyncio.sleep(0)
            self.house.upstream.open.set()
            for _ in range(turns):
                await asyncio.sleep(0)
            self.house.publish(made)
            self.house.upstream.open.clear()

        self.run(act())
        self.on_trial = None
        self.versions.add(self.house.version)

    @precondition(lambda self: self.calls)
    @rule(at=st.integers(0, 100))
    def cancel(self, at: int) -> None:
        self.calls[at % len(self.calls)].cancel()

    @invariant()
    def nobody_is_told_of_a_version_that_never_ran(self) -> None:
        assert {outcome.version for outcome in self.house.ended} <= self.versions

    @invariant()
    def nothing_broke(self) -> None:
        assert not self.defects
        for call in self.calls:
            if call.done() and not call.cancelled():
                assert isinstance(call.exception(), CallFailedError | None)

    def teardown(self) -> None:
        async def end() -> None:
            self.house.upstream.open.set()
            if self.calls:
                await asyncio.wait(self.calls, timeout=10)
            assert all(call.done() for call in self.calls)
            await self.house.engine.aclose()
            await self.house.live.aclose()
            for live in self.providers:
                assert held(live) == 0, live
                assert sum(load.in_flight for load in live.loads.values()) == 0

        try:
            self.run(end())
            self.nothing_broke()
            known = {*SECRETS.values(), *(used for used in self.house.used if used.startswith("sk-rotated"))}
            assert set(self.house.used) <= known
        finally:
            self.loop.close()


TestRoutes = Routes.TestCase
TestRoutes.settings = settings(max_examples=50, stateful_step_count=40, deadline=None)
