"""What is told of calls that ended: once each, on whatever way, and what it says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.engine.scripted import Said, World, forever, pause, until

from trunkline_server.chat.request import RoutingOptions
from trunkline_server.engine.api import CallScope
from trunkline_server.engine.endpoint import Timeouts
from trunkline_server.engine.frames import CallFailedError, Frame
from trunkline_server.engine.outcome import AttemptOutcome, CallOutcome
from trunkline_server.providers.base import WireCall
from trunkline_server.providers.openai import OpenAIAdapter
from trunkline_server.providers.transport.base import BrokenBodyError, ConnectError
from trunkline_server.routing.aliases import AliasPolicy
from trunkline_server.routing.failures import FailureClass
from trunkline_server.routing.gate import GateLimits
from trunkline_server.routing.types import Reason, TargetId

M = TargetId("one", "m")
ONCE = AliasPolicy(max_attempts=1)


def only(world: World) -> CallOutcome:
    (outcome,) = world.ended
    return outcome


async def failed(world: World, scope: CallScope | None = None) -> CallFailedError:
    with pytest.raises(CallFailedError) as raised:
        await world.engine.complete(world.request(), scope or world.scope())
    return raised.value


async def test_an_answer_is_told_with_version_names_and_attempt() -> None:
    """A call without a stream has no first content."""
    world = World()
    world.upstream.answers(Said.WHOLE)
    await world.engine.complete(world.request(), world.scope())
    told = CallOutcome(1, "default", "default", "anonymous", False, False, None, (AttemptOutcome(M, None),))  # noqa: FBT003
    assert only(world) == told


async def test_a_stream_tells_when_its_first_content_came() -> None:
    """From the start of the call, so what a failed attempt took before counts too."""
    world = World()
    world.upstream.scripts.append(ConnectError("refused", phase="tcp"))
    world.upstream.answers(Said.ROLE, pause(0.05), Said.text("hi"), pause(0.05), Said.STOP, Said.DONE)
    await world.frames()
    outcome = only(world)
    assert outcome.first_content_s is not None
    assert outcome.first_content_s >= 0.05
    assert (outcome.streams, outcome.failed) == (True, False)
    assert [attempt.failure_class for attempt in outcome.attempts] == [FailureClass.CONNECT, None]


async def test_a_direct_name_has_no_alias() -> None:
    """`model` is what was asked for."""
    world = World()
    world.upstream.answers(Said.WHOLE)
    await world.engine.complete(world.request().__class__("one/x", world.request().messages, "r"), world.scope())
    assert (only(world).alias, only(world).model) == ("", "one/x")


@pytest.mark.parametrize(
    ("status", "is_failed"), [(500, True), (503, True), (401, True), (429, True), (400, False), (413, False)]
)
async def test_what_the_caller_sent_wrong_is_no_failure(status: int, is_failed: bool) -> None:  # noqa: FBT001
    """What providers and keys do is one."""
    world = World(policy=ONCE)
    world.upstream.answers(b"{}", status=status)
    await failed(world)
    assert only(world).failed is is_failed


async def test_a_call_refused_in_the_queue_failed_without_an_attempt() -> None:
    """The gate is full, nobody may wait."""
    world = World(gate=GateLimits(1, 0))
    world.upstream.scripts.append(forever)
    running = asyncio.create_task(world.engine.complete(world.request(), world.scope()))
    await asyncio.sleep(0)
    await failed(world)
    assert (only(world).failed, only(world).attempts) == (True, ())
    running.cancel()
    await asyncio.wait([running])
    assert len(world.ended) == 2


async def test_the_callers_leaving_is_no_failure_and_says_nothing_of_the_target() -> None:
    """Cancelled in flight: told once, with the attempt that was closed."""
    world = World()
    world.upstream.scripts.append(forever)
    task = asyncio.create_task(world.engine.complete(world.request(), world.scope()))
    await until(lambda: bool(world.upstream.sent))
    task.cancel()
    await asyncio.wait([task])
    assert not only(world).failed
    assert only(world).attempts == (AttemptOutcome(M, FailureClass.CANCELLED, says_nothing=True),)


async def test_a_deadline_that_passes_counts_against_the_routes() -> None:
    """A target that hangs until callers give up has failed them; the attempt itself says nothing."""
    world = World()
    world.upstream.scripts.append(forever)
    await failed(world, world.scope(0.05))
    assert only(world).failed
    assert only(world).attempts == (AttemptOutcome(M, FailureClass.DEADLINE, says_nothing=True),)


async def test_a_timer_that_the_request_made_shorter_is_its_callers_own_doing() -> None:
    """Told as FIRST_TOKEN_TIMEOUT, and counted nowhere."""
    world = World(policy=ONCE)
    world.upstream.scripts.append(forever)
    frames = world.engine.stream(world.request(routing=RoutingOptions(max_first_token_s=0.02)), world.scope())
    with pytest.raises(CallFailedError):
        await anext(frames)
    assert not only(world).failed
    assert only(world).attempts == (AttemptOutcome(M, FailureClass.FIRST_TOKEN_TIMEOUT, says_nothing=True),)


async def test_a_broken_stream_failed_though_it_had_content() -> None:
    """And its attempt is told as what broke it."""
    world = World(policy=ONCE)
    world.upstream.answers(Said.text("hi"), BrokenBodyError("cut"))
    await world.frames()
    assert only(world).failed
    assert only(world).first_content_s is not None
    assert only(world).attempts[0].failure_class is FailureClass.TRUNCATED


async def test_a_drain_is_no_failure_of_the_routes() -> None:
    """The server's going down ends the call, told once."""
    world, scope = World(), CallScope(World().scope().caller, None)
    world.upstream.scripts.append(forever)
    task = asyncio.create_task(failed(world, scope))
    await until(lambda: bool(world.upstream.sent))
    scope.abort(Reason.SERVER_DRAINING)
    assert (await task).failure.reason is Reason.SERVER_DRAINING
    assert not only(world).failed


async def test_a_stream_whose_reader_is_cancelled_when_it_asks_for_the_first_frame_is_told() -> None:
    """Once, and not as failed."""
    world = World()
    world.upstream.scripts.append(forever)
    frames = world.engine.stream(world.request(), world.scope())

    async def read() -> None:
        current = asyncio.current_task()
        assert current is not None
        current.cancel()
        await anext(frames)

    await asyncio.wait([asyncio.create_task(read())])
    assert not only(world).failed


async def test_a_detached_stream_is_told_when_it_ends_and_not_when_its_reader_leaves() -> None:
    """Its reader goes after the first frame; the answer is whole a while later."""
    world = World()
    more = asyncio.Event()

    async def wait() -> None:
        await more.wait()

    world.upstream.answers(Said.text("hi"), wait, Said.STOP, Said.DONE)
    frames = world.engine.stream(world.request(routing=RoutingOptions(detachable=True)), world.scope())
    await anext(frames)
    await frames.aclose()
    assert not world.ended
    more.set()
    await until(lambda: bool(world.ended))
    assert not only(world).failed
    await world.engine.aclose()
    assert len(world.ended) == 1


async def test_a_detachable_stream_that_nobody_has_seen_is_told_when_its_reader_is_cancelled() -> None:
    """Nobody knows its id, so it ends with its reader."""
    world = World()
    world.upstream.scripts.append(forever)
    frames = world.engine.stream(world.request(routing=RoutingOptions(detachable=True)), world.scope())

    async def read() -> None:
        current = asyncio.current_task()
        assert current is not None
        current.cancel()
        await anext(frames)

    await asyncio.wait([asyncio.create_task(read())])
    await world.engine.aclose()
    assert not only(world).failed


async def test_a_defect_is_a_failure() -> None:
    """Whatever raises inside a call: it is told, and its attempt says nothing."""

    class Broken(OpenAIAdapter):
        def encode(self, *_: object, **__: object) -> WireCall:
            raise ZeroDivisionError

    world = World(adapter=Broken())
    with pytest.raises(ZeroDivisionError):
        await world.engine.complete(world.request(), world.scope())
    assert only(world).failed
    assert [attempt.says_nothing for attempt in only(world).attempts] == [True]
    assert world.held == 0


async def test_a_listener_that_fails_costs_nobody_an_answer() -> None:
    """It is reported by its kind and place, without its words."""
    world = World()
    world.upstream.answers(Said.WHOLE)
    reported: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context["message"]))

    def fails(_: CallOutcome) -> None:
        raise RuntimeError("a prompt")

    world.engine._ended = fails
    await world.engine.complete(world.request(), world.scope())
    assert len(reported) == 1
    assert "RuntimeError" in reported[0]
    assert "a prompt" not in reported[0]


SCRIPTS = {
    "whole": (Said.ROLE, Said.text("hi"), Said.STOP, Said.DONE),
    "cut": (Said.text("hi"), BrokenBodyError("cut")),
    "silent": (Said.ROLE, forever),
    "stalls": (Said.text("hi"), forever),
    "empty": (),
    "noise": (b"data: {\n\n",),
}


@settings(max_examples=150, deadline=None)
@given(
    script=st.sampled_from(sorted(SCRIPTS)),
    streams=st.booleans(),
    detachable=st.booleans(),
    turns=st.integers(0, 30),
    end=st.sampled_from(["let go", "cancel", "abort", "close"]),
    full=st.booleans(),
)
def test_each_call_is_told_once_whatever_ends_it(
    script: str,
    streams: bool,  # noqa: FBT001
    detachable: bool,  # noqa: FBT001
    turns: int,
    end: str,
    full: bool,  # noqa: FBT001
) -> None:
    """Cancelled, aborted, closed or left alone after any number of turns of the loop: one outcome, nothing held."""

    async def run() -> None:
        timeouts = Timeouts(1.0, 0.02, 0.02, 0.02)
        world = World(timeouts=timeouts, gate=GateLimits(1 if full else 9, 5, 0.02))
        world.upstream.answers(
            *(SCRIPTS[script] if streams else (Said.WHOLE,) if script == "whole" else SCRIPTS[script])
        )
        scope = world.scope()
        taken = world.desk.gate.try_take("m") if full else None
        frames: AsyncGenerator[Frame, None] | None = None
        if streams:
            frames = world.engine.stream(world.request(routing=RoutingOptions(detachable=detachable)), scope)
            task: asyncio.Task[object] = asyncio.create_task(_drain(frames))
        else:
            task = asyncio.create_task(world.engine.complete(world.request(), scope))
        await asyncio.sleep(0)  # a call that is cancelled before it was begun is none
        for _ in range(turns):
            await asyncio.sleep(0)
        if end == "cancel":
            task.cancel()
        elif end == "abort":
            scope.abort(Reason.SERVER_DRAINING)
        elif end == "close":
            await world.engine.aclose()
        await asyncio.wait([task], timeout=5)
        await world.engine.aclose()
        if taken is not None:
            world.desk.release(taken)
        assert len(world.ended) == 1
        assert world.held == 0

    asyncio.run(run())


async def _drain(frames: AsyncGenerator[Frame, None]) -> None:
    try:
        async for _ in frames:
            pass
    finally:
        await frames.aclose()
