"""What the canonical line of a call tells of breaks, of attempts that were not made, and of streams that go on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import Any

import grpc
import pytest
from grpc import aio
from tests.rpc.conftest import (
    ATTEMPT,
    ROUTE,
    SERVED_BY,
    FakeEngine,
    chat,
    completed,
    failure_of,
    opening,
    read_all,
    serving,
    text,
    told,
    whole_end,
)

from trunkline import v1 as pb
from trunkline_server.chat.answer import FinishReason, Warning_
from trunkline_server.chat.request import ChatRequest
from trunkline_server.engine.api import CallScope
from trunkline_server.engine.frames import (
    AttemptFailedFrame,
    AttemptStartedFrame,
    CallFailedError,
    CallFailure,
    CompletedCall,
    EndFrame,
    Frame,
    NextStep,
    ResetFrame,
    StartedFrame,
    StreamOutcome,
)
from trunkline_server.routing.events import Why
from trunkline_server.routing.failures import Failure, FailureClass
from trunkline_server.routing.types import OnBreak, Reason

NOT_MADE = tuple(f"{number}: {'x' * 300}" for number in range(10))
BOUNDED = [entry[:200] for entry in NOT_MADE[:8]]
DETACHABLE = chat(routing=pb.RoutingOptions(detachable=True))


def streams(*frames: Frame, then: CallFailure | None = None, hangs: bool = False) -> FakeEngine:
    async def stream(_request: ChatRequest, _scope: CallScope) -> AsyncGenerator[Frame, None]:
        for frame in frames:
            yield frame
        if hangs:
            await asyncio.Event().wait()
        if then is not None:
            raise CallFailedError(then)

    return FakeEngine(on_stream=stream)


async def line_of(engine: FakeEngine, request: pb.CompleteRequest | None = None) -> dict[str, Any]:
    """Return the line of one stream."""
    async with serving(engine) as served:
        await read_all(served.stub.StreamComplete(request or chat()))
        (line,) = await served.log.next_of("rpc")
    return line


async def test_attempts_that_were_not_made_are_in_the_line_and_in_the_status() -> None:
    """Of a call that failed, from its failure; bounded in number and in length."""

    async def refuse(_request: ChatRequest, _scope: CallScope) -> CompletedCall:
        raise CallFailedError(CallFailure(Reason.UPSTREAM_EXHAUSTED, "m", attempts=(ATTEMPT,), not_made=NOT_MADE))

    async with serving(FakeEngine(on_complete=refuse)) as served:
        failure = await failure_of(served.stub.Complete(chat()))
        (line,) = await served.log.next_of("rpc")
    assert line["not_made"] == BOUNDED
    assert len(failure.metadata["not_made"]) == 300


async def test_attempts_that_were_not_made_for_an_answer_are_in_the_line() -> None:
    """Of a call that has its answer, whole or streamed, from its route."""
    route = replace(ROUTE, not_made=NOT_MADE)

    async def answer(request: ChatRequest, _scope: CallScope) -> CompletedCall:
        return replace(completed(request), route=route)

    async with serving(FakeEngine(on_complete=answer)) as served:
        await served.stub.Complete(chat())
        (line,) = await served.log.next_of("rpc")
    assert line["not_made"] == BOUNDED
    end = EndFrame(StreamOutcome.COMPLETE, FinishReason.STOP, "stop", None, None, (ATTEMPT,), route, 2, 0)
    assert (await line_of(streams(*opening(), text("hi"), end)))["not_made"] == BOUNDED


async def test_breaks_are_in_the_line_with_what_was_done() -> None:
    """How many, what followed the last one, and why each attempt was made; a stream without any says nothing."""
    failure = Failure(FailureClass.TRUNCATED, "it ended in silence")
    again = replace(ATTEMPT, attempt=2, why=Why.RESTART)
    broken = AttemptFailedFrame(
        attempt=1,
        failure=failure,
        reason=Reason.STREAM_BROKEN,
        served_by=SERVED_BY,
        bytes_emitted=2,
        tool_calls_done=(),
        tool_calls_open=(),
        usage=None,
        next_step=NextStep.RESTARTING,
        on_break_asked=OnBreak.CONTINUE,
        on_break_applied=OnBreak.RESTART,
    )
    end = replace(whole_end(), attempts=(replace(ATTEMPT, failure=failure), again))
    line = await line_of(
        streams(
            *opening(),
            text("hi"),
            broken,
            ResetFrame(0),
            AttemptStartedFrame(2, SERVED_BY, Why.RESTART, 0.0),
            replace(text("ho"), attempt=2),
            end,
        )
    )
    assert (line["breaks"], line["on_break"], line["whys"]) == (1, "RESTART", ["FIRST", "RESTART"])
    assert (line["attempts"], line["failed_attempts"], line["outcome"]) == (2, ["TRUNCATED"], "COMPLETE")
    line = await line_of(FakeEngine())
    assert not {"breaks", "on_break", "whys", "not_made", "stream_id", "resumed"} & set(line)


async def test_a_detachable_stream_whose_reader_left_can_be_found_by_its_id() -> None:
    """The line says that the stream goes on, and which one it is."""
    async with serving(streams(*opening(), text("hi"), hangs=True)) as served:
        call = served.stub.StreamComplete(DETACHABLE)
        for _ in range(3):
            await call.read()
        call.cancel()
        (line,) = await served.log.next_of("rpc")
    assert (line["outcome"], line["stream_id"], line["cancelled_by"]) == ("DETACHED", "0-f00d", "caller")
    assert (line["code"], line["frames"]) == ("CANCELLED", 3)


async def test_a_reader_that_was_too_slow_leaves_a_detachable_stream_behind() -> None:
    """It is cut off as any other, and may come back for the rest."""

    async def never_stops(_request: ChatRequest, _scope: CallScope) -> AsyncGenerator[Frame, None]:
        for frame in opening():
            yield frame
        while True:
            yield text("x" * 32_768)

    async with serving(FakeEngine(on_stream=never_stops), write_timeout_s=0.3) as served:
        call = served.stub.StreamComplete(DETACHABLE)
        await call.read()
        (line,) = await served.log.next_of("rpc")
        call.cancel()
    assert (line["outcome"], line["stream_id"], line["reason"]) == ("DETACHED", "0-f00d", "SLOW_READER")


async def test_a_reader_that_was_replaced_can_be_found_by_its_streams_id() -> None:
    """Its RPC failed, and the stream goes on."""
    failure = CallFailure(Reason.STREAM_TAKEN_OVER, "another reader goes on", stream_goes_on=True)
    line = await line_of(streams(*opening(), text("hi"), then=failure), DETACHABLE)
    assert (line["outcome"], line["stream_id"], line["reason"]) == ("DETACHED", "0-f00d", "STREAM_TAKEN_OVER")


async def test_a_stream_that_was_not_to_be_kept_ends_with_its_reader() -> None:
    """Not asked for, or declined with a warning that names the option: then the call was cancelled."""
    declined = Warning_("DETACH_DECLINED", "routing.detachable", "too many are detached")
    started, attempt = opening()
    assert isinstance(started, StartedFrame)
    warned = replace(started, warnings=(declined,))
    for request, first in ((chat(), started), (DETACHABLE, warned)):
        async with serving(streams(first, attempt, text("hi"), hangs=True)) as served:
            call = served.stub.StreamComplete(request)
            for _ in range(3):
                await call.read()
            call.cancel()
            (line,) = await served.log.next_of("rpc")
        assert line["outcome"] == "CANCELLED"
        assert "stream_id" not in line


async def test_a_stream_that_is_announced_early_and_fails_keeps_its_real_status() -> None:
    """Before content nothing broke: the end says FAILED with that reason, and the line says REFUSED."""
    failure = CallFailure(Reason.QUEUE_FULL, "full", FailureClass.SATURATED, 2.0)
    started = StartedFrame("r-1", "0-f00d", replace(ROUTE, served_by=None), 1.0, None, ())
    end = EndFrame(StreamOutcome.FAILED, FinishReason.BROKEN, "", failure, None, (), ROUTE, 0, 0)
    async with serving(streams(started, end, then=failure)) as served:
        frames, error = await read_all(served.stub.StreamComplete(chat()))
        (line,) = await served.log.next_of("rpc")
    assert error is not None
    result = told(error)
    assert (result.code, result.reason, result.pushback) == (
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        "QUEUE_FULL",
        "2000",
    )
    assert (frames[-1].end.error.code, frames[-1].end.error.reason) == (8, "QUEUE_FULL")
    assert (line["outcome"], line["reason"]) == ("REFUSED", "QUEUE_FULL")


async def test_a_stream_that_is_announced_early_tells_who_served_it_all_the_same() -> None:
    """Target, key and time in the queue come with the attempt."""
    started = StartedFrame("r-1", "0-f00d", replace(ROUTE, served_by=None), 1.0, None, ())
    line = await line_of(streams(started, *opening()[1:], text("hi"), whole_end()))
    assert (line["served_by"], line["key_id"], line["queued_s"]) == ("openai/gpt", "team-a", 0.25)


@pytest.mark.parametrize(
    ("sent", "taken"), [(None, 0), ("0", 0), ("3", 3), ("1000", 1000), ("1001", 1000), ("4294967295", 1000)]
)
async def test_what_the_callers_library_tried_before_reaches_the_engine(sent: str | None, taken: int) -> None:
    """From the metadata that grpc's retries send, bounded."""
    metadata = None if sent is None else (("grpc-previous-rpc-attempts", sent),)
    async with serving() as served:
        await served.stub.Complete(chat(), metadata=metadata)
        await read_all(served.stub.StreamComplete(chat(), metadata=metadata))
    assert [scope.previous_attempts for scope in served.engine.scopes] == [taken, taken]


@pytest.mark.parametrize("sent", ["-1", "x", "", "1e3", "9" * 5000])
async def test_what_is_no_number_of_attempts_counts_as_none_or_as_the_bound(sent: str) -> None:
    """Whatever a caller forges, its call is served."""
    async with serving() as served:
        await served.stub.Complete(chat(), metadata=(("grpc-previous-rpc-attempts", sent),))
    (scope,) = served.engine.scopes
    assert scope.previous_attempts in {0, 1000}


async def test_a_retry_of_grpcs_own_is_counted() -> None:
    """The second attempt of the caller's library says that it is one."""
    retrying = (
        '{"methodConfig":[{"name":[{}],"retryPolicy":{"maxAttempts":2,"initialBackoff":"0.01s","maxBackoff":"0.01s",'
        '"backoffMultiplier":1,"retryableStatusCodes":["UNAVAILABLE"]}}]}'
    )

    async def refuse_first(request: ChatRequest, scope: CallScope) -> CompletedCall:
        if scope.previous_attempts == 0:
            raise CallFailedError(CallFailure(Reason.SERVER_DRAINING, "going"))
        return completed(request)

    async with (
        serving(FakeEngine(on_complete=refuse_first)) as served,
        aio.insecure_channel(served.address, options=[("grpc.service_config", retrying)]) as channel,
    ):
        stub: Any = pb.CompletionServiceStub(channel)
        assert (await stub.Complete(chat())).request_id == "r-1"
    assert [scope.previous_attempts for scope in served.engine.scopes] == [0, 1]
