from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import grpc
import pytest
from grpc import aio
from tests.rpc.conftest import (
    ATTEMPT,
    FakeEngine,
    chat,
    failure_of,
    kinds,
    opening,
    read_all,
    serving,
    text,
    told,
    whole_end,
)

from trunkline import v1 as pb
from trunkline_server.chat.answer import FinishReason
from trunkline_server.chat.request import ChatRequest
from trunkline_server.engine.api import CallScope
from trunkline_server.engine.frames import (
    CallFailedError,
    CallFailure,
    CompletedCall,
    EndFrame,
    FieldViolation,
    Frame,
    StreamOutcome,
)
from trunkline_server.routing.failures import FailureClass
from trunkline_server.routing.types import Reason
from trunkline_server.rpc.codes import STATUS_OF_REASON

WORDS = "the prompt that nobody may see"


async def test_a_call_is_answered() -> None:
    """Complete returns what the engine returned."""
    async with serving() as served:
        response = await served.stub.Complete(chat())
    assert response.message.parts[0].text == "hi"
    assert response.request_id == "r-1"
    assert response.route.served_by.key_id == "team-a"


async def test_a_stream_is_numbered_from_one_and_ends_well() -> None:
    """StreamComplete writes the engine's frames in order with seq from 1, and OK."""
    async with serving() as served:
        frames, error = await read_all(served.stub.StreamComplete(chat()))
    assert error is None
    assert kinds(frames) == ["started", "attempt_started", "deltas", "end"]
    assert served.engine.closed_in_own_task


async def test_explain_and_list_models_answer() -> None:
    """The two questions are answered by the engine and need no upstream."""
    async with serving() as served:
        explained = await served.stub.Explain(chat())
        listed = await served.stub.ListModels(pb.ListModelsRequest())
    assert explained.route.alias == "default"
    assert [model.name for model in listed.models] == ["default"]


async def test_an_unknown_method_is_unimplemented() -> None:
    """A method that the service does not have is refused by grpc itself."""
    async with serving() as served:
        call = served.channel.unary_unary("/trunkline.v1.CompletionService/Nonsense")
        with pytest.raises(aio.AioRpcError) as caught:
            await call(b"")
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize("reason", list(Reason))
async def test_a_failure_before_any_frame_is_a_status_with_details(reason: Reason) -> None:
    """Whatever reason the engine gives, both kinds of call end with its status, details and pushback."""
    failure = CallFailure(reason, "what was wrong", attempts=(ATTEMPT,), retry_after_s=2.0)

    async def refuse(_request: ChatRequest, _scope: CallScope) -> CompletedCall:
        raise CallFailedError(failure)

    async def refuse_stream(_request: ChatRequest, _scope: CallScope) -> AsyncGenerator[Frame, None]:
        for frame in opening()[:0]:
            yield frame
        raise CallFailedError(failure)

    async with serving(FakeEngine(on_complete=refuse, on_stream=refuse_stream)) as served:
        unary = await failure_of(served.stub.Complete(chat()))
        call = served.stub.StreamComplete(chat())
        frames, error = await read_all(call)
    assert error is not None
    streamed = told(error)
    assert not frames
    assert unary == streamed
    assert unary.code is STATUS_OF_REASON[reason]
    assert unary.reason == reason.value
    assert unary.message == "what was wrong"
    assert unary.size <= 4096
    assert (unary.pushback is None) == (reason is Reason.SERVER_DRAINING)


async def test_no_headers_come_before_the_first_frame() -> None:
    """A stream that fails before its first frame sends its status alone, so that the caller's library may retry."""
    retrying = (
        '{"methodConfig":[{"name":[{}],"retryPolicy":{"maxAttempts":3,"initialBackoff":"0.01s","maxBackoff":"0.01s",'
        '"backoffMultiplier":1,"retryableStatusCodes":["UNAVAILABLE"]}}]}'
    )
    attempts = 0

    async def drop_first(_request: ChatRequest, _scope: CallScope) -> AsyncGenerator[Frame, None]:
        nonlocal attempts
        attempts += 1
        if attempts == 1:
            raise CallFailedError(CallFailure(Reason.SERVER_DRAINING, "going"))
        for frame in (*opening(), text("hi"), whole_end()):
            yield frame

    async with (
        serving(FakeEngine(on_stream=drop_first)) as served,
        aio.insecure_channel(served.address, options=[("grpc.service_config", retrying)]) as channel,
    ):
        frames, error = await read_all(pb.CompletionServiceStub(channel).StreamComplete(chat()))
    assert error is None
    assert kinds(frames)[-1] == "end"
    assert attempts == 2


async def test_a_failure_after_frames_agrees_with_the_end_frame() -> None:
    """The engine's end{FAILED} and the status carry the same code, and nothing comes after."""
    failure = CallFailure(Reason.DEADLINE, "time is up", failure_class=FailureClass.DEADLINE)

    async def breaks(_request: ChatRequest, _scope: CallScope) -> AsyncGenerator[Frame, None]:
        for frame in (*opening(), text("hi")):
            yield frame
        route = whole_end().route
        yield EndFrame(StreamOutcome.FAILED, FinishReason.BROKEN, "", failure, None, (ATTEMPT,), route, 2, 0)
        raise CallFailedError(failure)

    async with serving(FakeEngine(on_stream=breaks)) as served:
        frames, error = await read_all(served.stub.StreamComplete(chat()))
    assert error is not None
    assert kinds(frames) == ["started", "attempt_started", "deltas", "end"]
    assert told(error).code is grpc.StatusCode.DEADLINE_EXCEEDED
    assert frames[-1].end.error.code == grpc.StatusCode.DEADLINE_EXCEEDED.value[0]


async def test_an_exception_in_the_engine_is_internal_without_its_text() -> None:
    """A defect becomes INTERNAL with the request's id; its text reaches neither the wire nor the log."""

    async def defect(_request: ChatRequest, _scope: CallScope) -> CompletedCall:
        raise ValueError(WORDS) from KeyError(WORDS)

    async with serving(FakeEngine(on_complete=defect)) as served:
        failure = await failure_of(served.stub.Complete(chat()))
        await served.log.next_of("rpc")
    assert (failure.code, failure.reason) == (grpc.StatusCode.INTERNAL, "INTERNAL")
    assert failure.message == "internal error; request r-1"
    assert failure.pushback == "-1"
    (line,) = served.log.of("exception")
    assert [each["type"] for each in line["error"]] == ["ValueError", "KeyError"]
    assert "defect" in line["error"][0]["frames"][-1]
    assert WORDS not in served.log.everything()


async def test_an_exception_in_a_stream_still_ends_it_with_frames_that_say_so() -> None:
    """After content a defect is told by attempt_failed, end{FAILED} with checksum, and INTERNAL."""

    async def defect(_request: ChatRequest, _scope: CallScope) -> AsyncGenerator[Frame, None]:
        for frame in (*opening(), text("hällo")):
            yield frame
        raise ValueError(WORDS)

    async with serving(FakeEngine(on_stream=defect)) as served:
        frames, error = await read_all(served.stub.StreamComplete(chat()))
    assert error is not None
    assert kinds(frames) == ["started", "attempt_started", "deltas", "attempt_failed", "end"]
    assert told(error).code is grpc.StatusCode.INTERNAL
    assert frames[-1].end.outcome == pb.End.OUTCOME_FAILED
    assert frames[-1].end.error.code == frames[-2].attempt_failed.error.code == grpc.StatusCode.INTERNAL.value[0]
    assert frames[-1].end.content_bytes == frames[-2].attempt_failed.bytes_emitted == 6
    assert frames[-1].end.content_crc32c != 0
    assert WORDS not in served.log.everything()


async def test_a_failure_that_cannot_be_told_is_internal() -> None:
    """When the details of a failure cannot be encoded the caller gets a plain INTERNAL, and no exception's text."""

    async def refuse(_request: ChatRequest, _scope: CallScope) -> CompletedCall:
        unspeakable: Any = object()
        raise CallFailedError(CallFailure(Reason.QUEUE_FULL, WORDS, retry_after_s=unspeakable))

    async with serving(FakeEngine(on_complete=refuse)) as served:
        failure = await failure_of(served.stub.Complete(chat()))
    assert (failure.code, failure.message) == (grpc.StatusCode.INTERNAL, "internal error; request r-1")
    assert WORDS not in served.log.everything()


async def test_a_stream_without_an_end_is_a_defect() -> None:
    """A generator that just stops does not become an OK."""

    async def stops(_request: ChatRequest, _scope: CallScope) -> AsyncGenerator[Frame, None]:
        for frame in (*opening(), text("hi")):
            yield frame

    async with serving(FakeEngine(on_stream=stops)) as served:
        frames, error = await read_all(served.stub.StreamComplete(chat()))
    assert error is not None
    assert kinds(frames)[-2:] == ["attempt_failed", "end"]
    assert told(error).code is grpc.StatusCode.INTERNAL


async def test_a_defect_after_the_end_does_not_contradict_it() -> None:
    """Once end{COMPLETE} was sent the status is OK, and the defect is in the log."""

    async def defect(_request: ChatRequest, _scope: CallScope) -> AsyncGenerator[Frame, None]:
        for frame in (*opening(), text("hi"), whole_end()):
            yield frame
        raise ValueError(WORDS)

    async with serving(FakeEngine(on_stream=defect)) as served:
        frames, error = await read_all(served.stub.StreamComplete(chat()))
    assert error is None
    assert kinds(frames)[-1] == "end"
    assert served.log.of("exception")


@pytest.mark.parametrize("method", ["Complete", "StreamComplete", "Explain", "ListModels", "ResumeStream", "Embed"])
async def test_bytes_that_are_no_message_are_the_callers_fault(method: str) -> None:
    """Malformed bytes are INVALID_ARGUMENT, BAD_REQUEST without a path, for every RPC."""
    async with serving() as served:
        path = f"/trunkline.v1.CompletionService/{method}"
        if method in {"StreamComplete", "ResumeStream"}:
            _, error = await read_all(served.channel.unary_stream(path)(b"\xff\xff\xff"))
            assert error is not None
            failure = told(error)
        else:
            failure = await failure_of(served.channel.unary_unary(path)(b"\xff\xff\xff"))
        assert (await served.stub.Complete(chat())).request_id == "r-1"
    assert (failure.code, failure.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "BAD_REQUEST")
    assert failure.violations == []


async def test_options_that_the_caller_may_not_pass_are_violations() -> None:
    """The engine's verdict on provider options is told as a violation with its path."""
    engine = FakeEngine(violations=[FieldViolation('provider_options_json["openai"].n', "is refused")])
    async with serving(engine) as served:
        request = chat(provider_options_json={"openai": '{"n": 2}'})
        failure = await failure_of(served.stub.Complete(request))
    assert (failure.code, failure.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "BAD_REQUEST")
    assert failure.violations == ['provider_options_json["openai"].n']


async def test_a_request_above_the_receive_limit_is_refused_by_grpc() -> None:
    """33 MiB are grpc's own RESOURCE_EXHAUSTED, and the server goes on."""
    big = pb.CompleteRequest(model="x" * (33 * 1024 * 1024))
    async with serving() as served:
        with pytest.raises(aio.AioRpcError) as caught:
            await served.stub.Complete(big)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert (await served.stub.Complete(chat())).request_id == "r-1"


async def test_trailers_stay_small_whatever_the_failure_holds() -> None:
    """Many long violations and attempts still fit 4 KB of trailers."""
    violations = tuple(FieldViolation(f"messages[{i}].parts[0]", "é" * 300) for i in range(200))
    failure = CallFailure(Reason.BAD_REQUEST, "ü" * 5000, violations=violations, attempts=(ATTEMPT,) * 50)

    async def refuse(_request: ChatRequest, _scope: CallScope) -> CompletedCall:
        raise CallFailedError(failure)

    async with serving(FakeEngine(on_complete=refuse)) as served:
        result = await failure_of(served.stub.Complete(chat()))
    assert result.size <= 4096
    assert result.violations


async def test_the_engine_is_given_the_callers_deadline() -> None:
    """The scope has the deadline in event-loop time, and None without one."""
    async with serving() as served:
        loop = asyncio.get_running_loop()
        before = loop.time()
        await served.stub.Complete(chat(), timeout=30)
        after = loop.time()
        await served.stub.Complete(chat())
    with_deadline, without = served.engine.scopes
    assert with_deadline.deadline_at is not None
    assert before + 29.5 < with_deadline.deadline_at < after + 30.5
    assert without.deadline_at is None


async def test_one_line_tells_a_call_and_nothing_that_was_said() -> None:
    """The canonical line has who, what, where, how long; never a prompt or an answer."""
    async with serving() as served:
        await served.stub.Complete(chat())
        await read_all(served.stub.StreamComplete(chat()))
        unary, stream = await served.log.next_of("rpc", 2)
    for line in (unary, stream):
        assert line["request_id"] == "r-1"
        assert line["caller"] == "anonymous"
        assert line["peer"].startswith("127.0.0.1:")
        assert (line["model"], line["alias"]) == ("default", "default")
        assert (line["served_by"], line["key_id"]) == ("openai/gpt", "team-a")
        assert (line["code"], line["outcome"], line["attempts"]) == ("OK", "COMPLETE", 1)
        assert line["queued_s"] == 0.25
        assert line["duration_s"] > 0
    assert unary["method"].endswith("/Complete")
    assert stream["frames"] == 4
    assert stream["first_frame_s"] >= 0
    assert "a secret prompt" not in served.log.everything()


async def test_error_info_carries_the_engines_metadata() -> None:
    """What the engine adds to a refusal is told in ErrorInfo."""

    async def refuse(_request: ChatRequest, _scope: CallScope) -> CompletedCall:
        raise CallFailedError(CallFailure(Reason.NO_ELIGIBLE_TARGET, "none is left", metadata={"regions": "eu"}))

    async with serving(FakeEngine(on_complete=refuse)) as served:
        failure = await failure_of(served.stub.Complete(chat()))
    assert failure.metadata == {"regions": "eu"}
