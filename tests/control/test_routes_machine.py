"""Any sequence of orders, canaries, files and restarts, against a model of what must come of it."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.control.routes_house import ADMIN, BAD, FakeSource, HandTime, House, document, outcome, sha256, until

from trunkline_server.control.types import Actor, Applied, Guard, ReloadOrder, RollbackOrder, TakenBack, VersionState
from trunkline_server.engine.frames import CallFailedError
from trunkline_server.routing.types import Reason

T = TypeVar("T")

WEIGHTS = st.integers(1, 4)


class RoutesMachine(RuleBasedStateMachine):
    """The model: which document each version has, which one runs, which is on trial, and the file as it was read."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.directory = tempfile.TemporaryDirectory()
        self.time = HandTime()
        self.source = FakeSource(document(1))
        self.documents: dict[int, int] = {}
        self.ran: list[int] = []
        """Versions that ran for all traffic, in order."""
        self.taken_back: set[int] = set()
        self.trial = 0
        self.file = 1
        """What is in the file, and below what was read of it last."""
        self.read = 1

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    def refused(self, work: Coroutine[Any, Any, object]) -> Reason:
        with pytest.raises(CallFailedError) as caught:
            self.do(work)
        return caught.value.failure.reason

    @property
    def running(self) -> int:
        return self.ran[-1]

    def publish(self, weight: int) -> int:
        self.documents[len(self.documents) + 1] = weight
        self.ran.append(len(self.documents))
        return self.running

    @initialize()
    def open(self) -> None:
        self.begin()
        self.publish(1)

    def begin(self) -> None:
        async def begin() -> House:
            house = House(self.source, Path(self.directory.name), time=self.time)
            await house.control.start()
            return house

        self.house = self.do(begin())

    def teardown(self) -> None:
        if hasattr(self, "house"):
            self.do(self.house.close())
        self.runner.close()
        self.directory.cleanup()

    @rule(weight=WEIGHTS, etag=st.sampled_from(["", "right", "wrong"]), dry_run=st.booleans())
    def send(self, weight: int, etag: str, dry_run: bool) -> None:  # noqa: FBT001
        """A document is published, nothing, or an order is refused: stale before anything else."""
        named = {"": "", "right": self.house.control.running.etag, "wrong": "1-ffffffffffff"}[etag]
        call = self.house.control.reload(ReloadOrder(document(weight), named, dry_run), ADMIN)
        if etag == "wrong":
            assert self.refused(call) is Reason.STALE_ETAG
        elif self.trial and weight != self.documents[self.trial]:
            assert self.refused(call) is Reason.CANARY_RUNNING
        else:
            done = self.do(call)
            if self.trial and not dry_run:
                self.promoted()
            elif not self.trial and weight == self.documents[self.running]:
                assert done.no_op
            elif not dry_run:
                assert not done.no_op
                self.publish(weight)
            assert done.version.version == self.running

    def promoted(self) -> None:
        self.ran.append(self.trial)
        self.trial = 0

    @rule(weight=WEIGHTS)
    def try_out(self, weight: int) -> None:
        """A document is put on trial, unless it runs already or another one is on trial."""
        order = ReloadOrder(document(weight), canary_fraction=0.1, guard=Guard(60.0))
        call = self.house.control.reload(order, ADMIN)
        if self.trial:
            assert self.refused(call) is Reason.CANARY_RUNNING
            return
        done = self.do(call)
        if weight == self.documents[self.running]:
            assert done.no_op
        else:
            self.trial = done.version.version
            assert self.trial == len(self.documents) + 1
            self.documents[self.trial] = weight

    @precondition(lambda self: self.trial)
    @rule()
    def let_the_window_end(self) -> None:
        """A canary that nobody complained about runs for all."""

        async def end() -> None:
            self.time.advance(60.0)
            await until(lambda: self.house.control.canary is None)

        self.do(end())
        self.promoted()

    @precondition(lambda self: self.trial)
    @rule()
    def break_the_guard(self) -> None:
        """A canary whose calls fail is taken back."""

        async def fail() -> None:
            for _ in range(20):
                self.house.control.outcome(outcome(self.trial, failed=True))
            await until(lambda: self.house.heard and isinstance(self.house.heard[-1], TakenBack))

        self.do(fail())
        self.taken_back.add(self.trial)
        self.trial = 0

    @rule(to_version=st.integers(0, 8))
    def roll_back(self, to_version: int) -> None:
        """An older document runs again, a canary ends, or an order is refused."""
        call = self.house.control.rollback(RollbackOrder(to_version), ADMIN)
        if self.trial:
            if to_version not in {0, self.running}:
                assert self.refused(call) is Reason.CANARY_RUNNING
                return
            assert self.do(call).ended_canary == self.trial
            self.taken_back.add(self.trial)
            self.trial = 0
            return
        wanted = to_version or max((one for one in self.ran if one < self.running), default=0)
        if wanted not in self.documents:
            assert self.refused(call) is Reason.VERSION_NOT_FOUND
            return
        done = self.do(call)
        if self.documents[wanted] != self.documents[self.running]:
            assert done.version.rolled_back_to == wanted
            self.publish(self.documents[wanted])
        assert done.version.version == self.running

    @precondition(lambda self: not self.trial)
    @rule()
    def send_two_at_once(self) -> None:
        """Of two operators who saw the same version exactly one wins."""
        others = [weight for weight in range(1, 5) if weight != self.documents[self.running]]
        named = self.house.control.running.etag

        async def both() -> list[object]:
            calls = (self.house.control.reload(ReloadOrder(document(one), named), ADMIN) for one in others[:2])
            return list(await asyncio.gather(*calls, return_exceptions=True))

        lost = [one for one in self.do(both()) if isinstance(one, CallFailedError)]
        assert [one.failure.reason for one in lost] == [Reason.STALE_ETAG]
        self.publish(others[0])

    @rule(dry_run=st.booleans())
    def send_what_is_bad(self, dry_run: bool) -> None:  # noqa: FBT001
        """A bad document changes nothing."""
        reason = self.refused(self.house.control.reload(ReloadOrder(BAD, dry_run=dry_run), ADMIN))
        assert reason is (Reason.CANARY_RUNNING if self.trial else Reason.BAD_REQUEST)

    @precondition(lambda self: not self.trial)
    @rule(weight=WEIGHTS)
    def change_the_file(self, weight: int) -> None:
        """A file with other bytes is published, unless they run already."""
        self.source.raw = document(weight)
        done = self.do(self.house.control.reload_file(Actor("file")))
        assert done is not None
        if weight not in {self.read, self.documents[self.running]}:
            self.publish(weight)
        self.file = self.read = weight

    @rule(weight=st.none() | WEIGHTS)
    def restart(self, weight: int | None) -> None:
        """What ran runs again, or the file if it was changed meanwhile."""
        self.do(self.house.close())
        if weight is not None:
            self.source.raw, self.file = document(weight), weight
        record = self.house.store.history.find(self.running)
        assert record is not None
        if self.trial:
            self.taken_back.add(self.trial)
            self.trial = 0
        self.begin()
        if record.file_sha256 != sha256(document(self.file)):
            self.publish(self.file)
        self.read = self.file

    @invariant()
    def all_agree(self) -> None:
        """What runs, what is kept in memory and on disk, and the model are the same."""
        if not self.ran:
            return
        control, live = self.house.control, self.house.live
        assert live.running == (sha256(document(self.documents[self.running])), self.running)
        assert (live.trial[1] if live.trial else 0) == self.trial
        assert control.running.version == self.running
        history = self.house.store.history
        assert (history.running, history.trial, history.next_version) == (
            self.running,
            self.trial,
            len(self.documents) + 1,
        )
        assert {one.version: one.sha256 for one in history.versions} == {
            version: sha256(document(weight)) for version, weight in self.documents.items()
        }
        for one in history.versions:
            expected = VersionState.SUPERSEDED
            if one.version == self.running:
                expected = VersionState.RUNNING
            elif one.version == self.trial:
                expected = VersionState.CANARY
            elif one.version in self.taken_back:
                expected = VersionState.ROLLED_BACK
            assert one.state is expected

    @invariant()
    def watchers_heard_versions_count_up(self) -> None:
        """Versions are told once each, in order, but for a canary, which is told again when it runs for all."""
        if not self.ran:
            return
        told = [event.version.version for event in self.house.heard if isinstance(event, Applied)]
        assert told == sorted(told)


RoutesMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
TestRoutesMachine = RoutesMachine.TestCase
