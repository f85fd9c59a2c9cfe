"""A streamed call on a scripted upstream: commit point, timers, breaks, and what is left behind."""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing

import pytest
from tests.engine.scripted import Said, World, event, forever, pause, read

from trunkline_server.chat.answer import FinishReason
from trunkline_server.engine.endpoint import Timeouts
from trunkline_server.engine.frames import (
    AttemptFailedFrame,
    AttemptStartedFrame,
    ContentFrame,
    EndFrame,
    Frame,
    StartedFrame,
    StreamOutcome,
)
from trunkline_server.engine.snapshot import ServerLimits
from trunkline_server.providers.openai import OpenAIAdapter, OpenAIStreamDecoder
from trunkline_server.providers.transport.base import BrokenBodyError
from trunkline_server.routing.failures import FailureClass
from trunkline_server.routing.gate import GateLimits
from trunkline_server.routing.types import Reason

SHORT = Timeouts(first_token_s=0.1, stall_s=0.1, response_s=0.1)


def kinds(frames: list[Frame]) -> list[str]:
    return [type(frame).__name__ for frame in frames]


def end_of(frames: list[Frame]) -> EndFrame:
    end = frames[-1]
    assert isinstance(end, EndFrame)
    return end


def broken_of(frames: list[Frame]) -> AttemptFailedFrame:
    broken = frames[-2]
    assert isinstance(broken, AttemptFailedFrame)
    return broken


async def test_nothing_is_shown_before_the_first_content() -> None:
    """A role, comments and silence are no content: the first frame comes with the first word."""
    world, go = World(), asyncio.Event()
    world.upstream.answers(Said.ROLE, Said.COMMENT, go.wait, Said.text("w"), Said.STOP, Said.USAGE, Said.DONE)  # type: ignore[arg-type]  # its bool is not looked at
    async with aclosing(world.engine.stream(world.request(), world.scope())) as frames:
        first = asyncio.ensure_future(anext(frames))
        done, _ = await asyncio.wait((first,), timeout=0.05)
        assert not done
        go.set()
        assert isinstance(await first, StartedFrame)
        rest = [frame async for frame in frames]
    assert kinds(rest) == ["AttemptStartedFrame", "ContentFrame", "EndFrame"]
    end = end_of(rest)
    assert (end.outcome, end.finish_reason) == (StreamOutcome.COMPLETE, FinishReason.STOP)
    assert end.usage is not None
    assert end.usage.output_tokens == 2
    assert world.held == 0


async def test_a_comment_is_no_progress() -> None:
    """Comments and heartbeats move neither the first-token nor the stall timer."""
    world = World(timeouts=SHORT)
    beats = (pause(0.03), Said.COMMENT) * 10
    world.upstream.answers(Said.ROLE, *beats, Said.text("late"), Said.STOP)
    world.upstream.answers(Said.text("one"), *beats, Said.text("late"), Said.STOP)
    frames, error = await world.frames()
    assert error is not None
    assert error.failure.reason is Reason.UPSTREAM_EXHAUSTED
    assert frames == []
    frames, error = await world.frames()
    assert error is not None
    assert error.failure.reason is Reason.STREAM_BROKEN
    assert broken_of(frames).failure.failure_class is FailureClass.STALLED


async def test_an_answer_that_is_whole_is_not_failed_by_a_provider_that_holds_the_line() -> None:
    """After the terminal event the wait for usage has one end, however many comments come meanwhile."""
    world = World(timeouts=SHORT)
    response = world.upstream.answers(Said.text("w"), Said.STOP, *(pause(0.05), Said.COMMENT) * 100)
    began_at = time.monotonic()
    frames, error = await world.frames()
    assert error is None
    assert time.monotonic() - began_at < 1.0
    assert end_of(frames).outcome is StreamOutcome.COMPLETE
    assert response.closed
    assert world.held == 0


async def test_a_deadline_does_not_fail_an_answer_that_is_whole() -> None:
    """The terminal event came in time; only the usage did not: the stream ends COMPLETE without it."""
    world = World()
    world.upstream.answers(Said.text("w"), Said.STOP, forever)
    frames, error = await world.frames(world.scope(0.2))
    assert error is None
    assert end_of(frames).outcome is StreamOutcome.COMPLETE
    assert end_of(frames).usage is None


async def test_a_break_after_the_terminal_event_is_none() -> None:
    """A connection that is lost after the finish reason lost nothing."""
    world = World()
    world.upstream.answers(Said.text("w"), Said.STOP, BrokenBodyError("lost"))
    frames, error = await world.frames()
    assert error is None
    assert end_of(frames).outcome is StreamOutcome.COMPLETE


async def test_a_deadline_after_the_commit_point_is_told_in_frames_and_status() -> None:
    """attempt_failed, end{FAILED} and the error say DEADLINE, and what was used by a broken attempt is its own."""
    world = World()
    world.upstream.answers(Said.text("w"), Said.USAGE, forever)
    frames, error = await world.frames(world.scope(0.2))
    assert error is not None
    assert error.failure.reason is Reason.DEADLINE
    broken, end = broken_of(frames), end_of(frames)
    assert (broken.failure.failure_class, broken.reason) == (FailureClass.DEADLINE, Reason.DEADLINE)
    assert broken.bytes_emitted == 1
    assert broken.usage is not None
    assert end.outcome is StreamOutcome.FAILED
    assert end.error is error.failure
    assert end.usage is None
    assert end.attempts[0].failure == broken.failure
    assert world.held == 0


@pytest.mark.parametrize("committed", [False, True])
async def test_an_abort_from_the_boundary_ends_the_call_with_its_reason(*, committed: bool) -> None:
    """SERVER_DRAINING closes the upstream, and is told in frames if any were sent, and in the error."""
    world = World()
    response = world.upstream.answers(*((Said.text("w"),) if committed else ()), forever)
    scope = world.scope()
    reading = asyncio.ensure_future(world.frames(scope))
    while not world.upstream.sent:  # noqa: ASYNC110  the transport has no event, and the test a time limit
        await asyncio.sleep(0.001)
    await asyncio.sleep(0.01)
    scope.abort(Reason.SERVER_DRAINING)
    frames, error = await reading
    assert error is not None
    assert error.failure.reason is Reason.SERVER_DRAINING
    assert bool(frames) is committed
    if committed:
        assert broken_of(frames).reason is Reason.SERVER_DRAINING
        assert end_of(frames).error is error.failure
    assert response.closed
    assert world.held == 0


async def test_a_call_that_was_aborted_before_it_began_sends_nothing() -> None:
    """A drain that came first is the answer."""
    world = World()
    world.upstream.answers(Said.text("w"))
    scope = world.scope()
    scope.abort(Reason.SERVER_DRAINING)
    frames, error = await world.frames(scope)
    assert error is not None
    assert error.failure.reason is Reason.SERVER_DRAINING
    assert (frames, world.upstream.sent) == ([], [])


async def test_a_deadline_that_has_passed_on_arrival_sends_nothing() -> None:
    """Nobody would hear the answer: nothing is dispatched."""
    world = World()
    world.upstream.answers(Said.text("w"))
    frames, error = await world.frames(world.scope(-1.0))
    assert error is not None
    assert error.failure.reason is Reason.DEADLINE
    assert (frames, world.upstream.sent) == ([], [])


async def test_a_default_deadline_and_its_maximum_bound_the_call() -> None:
    """Without a deadline the server's own holds; a longer one is cut to the maximum."""
    for limits, asked_s in ((ServerLimits(default_deadline_s=0.1), None), (ServerLimits(max_deadline_s=0.1), 60.0)):
        world = World(limits=limits)
        world.upstream.answers(forever)
        began_at = time.monotonic()
        _, error = await world.frames(world.scope(asked_s))
        assert error is not None
        assert error.failure.reason is Reason.DEADLINE
        assert time.monotonic() - began_at < 5


class DefectError(RuntimeError):
    """Something that no adapter should do."""


class FaultyDecoder(OpenAIStreamDecoder):
    """Reads one piece, then has a defect."""

    def __init__(self) -> None:
        super().__init__()
        self.fed = 0

    def feed(self, chunk: bytes) -> list:  # type: ignore[type-arg]  # of deltas; nothing is looked at
        self.fed += 1
        if self.fed > 1:
            raise DefectError("in the decoder")
        return super().feed(chunk)


class Faulty(OpenAIAdapter):
    """An adapter with a defect."""

    where = "decode"

    def stream_decoder(self, request: object) -> OpenAIStreamDecoder:  # noqa: ARG002  the interface has it
        return FaultyDecoder()


@pytest.mark.parametrize("pieces", [1, 2])
async def test_a_defect_in_an_adapter_leaks_nothing_and_comes_out(pieces: int) -> None:
    """Whatever an adapter raises reaches the boundary; slot, key and response are let go."""
    world = World(adapter=Faulty())
    response = world.upstream.answers(*(Said.ROLE, Said.text("w"))[-pieces:], Said.text("x"), forever)
    with pytest.raises(DefectError):
        await world.frames()
    assert response.closed
    assert world.held == 0


async def test_a_generator_that_is_closed_early_leaves_no_task_and_no_connection() -> None:
    """Closing the frames cancels the call: the response is closed, slot and key are free, nothing runs on."""
    world = World()
    response = world.upstream.answers(Said.text("w"), forever)
    before = asyncio.all_tasks()
    frames = world.engine.stream(world.request(), world.scope())
    assert isinstance(await anext(frames), StartedFrame)
    await frames.aclose()
    assert response.closed
    assert world.held == 0
    assert asyncio.all_tasks() == before


async def test_a_generator_that_is_cancelled_in_a_queue_leaves_it() -> None:
    """A caller that leaves while its call waits for a slot frees its place at once."""
    world = World(gate=GateLimits(max_in_flight=1, queue=5, max_wait_s=5))
    world.upstream.answers(forever)
    first = asyncio.ensure_future(world.frames())
    while not world.upstream.sent:  # noqa: ASYNC110  the transport has no event, and the test a time limit
        await asyncio.sleep(0.001)
    second = asyncio.ensure_future(world.frames())
    while not world.desk.gate.waiting:  # noqa: ASYNC110  likewise
        await asyncio.sleep(0.001)
    for task in (second, first):
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert world.held == 0


async def test_a_reader_that_stalls_stalls_its_upstream() -> None:
    """What is read ahead for a reader that takes nothing is bounded, and nothing is lost when it reads on."""
    world = World(timeouts=SHORT)
    piece = Said.text("x" * 1000)
    pulled = 0

    async def count() -> None:
        nonlocal pulled
        pulled += 1

    world.upstream.answers(*(count, piece) * 2000, Said.STOP)
    frames = world.engine.stream(world.request(), world.scope())
    content = 0
    async with aclosing(frames):
        assert isinstance(await anext(frames), StartedFrame)
        # Longer than stall_s: a timer must not run while our own read is paused.
        await asyncio.sleep(0.3)
        assert pulled < 400
        async for frame in frames:
            if isinstance(frame, ContentFrame):
                assert frame.offset == content
                content += len(frame.text)
    assert content == 2_000_000
    assert isinstance(frame, EndFrame)
    assert frame.content_bytes == content


@pytest.mark.parametrize("how", ["cut", "silent"])
async def test_a_break_after_a_long_pause_of_the_reader_is_told_but_blamed_on_nobody(how: str) -> None:
    """A provider that gave up while the caller did not read is not at fault, nor one that fell silent."""
    world = World(timeouts=SHORT)
    steps = (BrokenBodyError("lost"),) if how == "cut" else (forever,)
    world.upstream.answers(*(Said.text("x" * 100_000),) * 6, *steps)
    frames = world.engine.stream(world.request(), world.scope())
    await anext(frames)
    await asyncio.sleep(0.3)
    seen, error = await read(frames)
    assert error is not None
    assert error.failure.reason is Reason.STREAM_BROKEN
    failure = broken_of(seen).failure
    assert failure.failure_class is (FailureClass.TRUNCATED if how == "cut" else FailureClass.STALLED)
    assert failure.caused_by_caller


async def test_tool_calls_are_told_as_done_or_open() -> None:
    """attempt_failed names the calls that the caller may run, and those that it may not."""

    def call(index: int, arguments: str, call_id: str | None = None) -> bytes:
        function = {"arguments": arguments, **({"name": "f"} if call_id else {})}
        piece = {"index": index, "function": function, **({"id": call_id, "type": "function"} if call_id else {})}
        return event(choices=[{"index": 0, "delta": {"tool_calls": [piece]}}])

    world = World()
    world.upstream.answers(call(0, '{"a":', "c1"), call(0, "1}"), call(1, '{"b"', "c2"), BrokenBodyError("lost"))
    frames, error = await world.frames()
    assert error is not None
    broken = broken_of(frames)
    assert (broken.tool_calls_done, broken.tool_calls_open) == (("c1",), ("c2",))
    assert broken.bytes_emitted == len('{"a":1}{"b"') == end_of(frames).content_bytes


async def test_an_answer_without_content_is_an_answer() -> None:
    """A terminal reason makes it one: started, attempt_started, end, and no retry."""
    world = World()
    world.upstream.answers(Said.ROLE, Said.STOP, Said.DONE)
    frames, error = await world.frames()
    assert error is None
    assert kinds(frames) == ["StartedFrame", "AttemptStartedFrame", "EndFrame"]
    assert len(world.upstream.sent) == 1
    assert end_of(frames).attempts[0].first_token_s is None


async def test_the_attempts_before_the_one_that_is_shown_are_in_the_end() -> None:
    """A failed first attempt is invisible but for its summary; its number counts."""
    world = World()
    world.upstream.answers(b"", status=500)
    world.upstream.answers(Said.text("w"), Said.STOP)
    frames, error = await world.frames()
    assert error is None
    assert isinstance(frames[1], AttemptStartedFrame)
    assert frames[1].attempt == 2
    first, second = end_of(frames).attempts
    assert first.failure is not None
    assert (first.failure.failure_class, first.bytes_emitted) == (FailureClass.SERVER_ERROR, 0)
    assert second.queued_s >= 0.05  # the backoff
    assert second.failure is None
