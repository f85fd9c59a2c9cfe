"""What type checkers know about the stubs: mypy judges this file, and running it shows that the types hold."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, assert_type

import grpc
import grpc_testing  # type: ignore[import-untyped] # ships no types
import pytest

from trunkline import failure_of
from trunkline.v1 import (
    ROLE_USER,
    CompleteRequest,
    CompleteResponse,
    CompletionServiceStub,
    EmbedRequest,
    EmbedResponse,
    ListModelsRequest,
    ListModelsResponse,
    Message,
    Part,
    ResumeStreamRequest,
    Role,
    RouteExplanation,
    StreamFrame,
    ToolChoice,
    completion_service_pb2,
)

if TYPE_CHECKING:
    from trunkline.v1 import CompletionServiceAsyncStub

SERVICE = completion_service_pb2.DESCRIPTOR.services_by_name["CompletionService"]
PATIENCE_S = 10


def ask() -> CompleteRequest:
    """Return a request."""
    return CompleteRequest(
        model="default",
        messages=[Message(role=ROLE_USER, parts=[Part(text="hi")])],
        tool_choice=ToolChoice(mode=ToolChoice.MODE_AUTO),
    )


def every_sync_call(stub: CompletionServiceStub) -> None:
    """Type-checked only: what each RPC returns on a synchronous channel."""
    assert_type(stub.Complete(ask()), CompleteResponse)
    for frame in stub.StreamComplete(ask()):
        assert_type(frame, StreamFrame)
    for frame in stub.ResumeStream(ResumeStreamRequest(stream_id="s")):
        assert_type(frame, StreamFrame)
    assert_type(stub.Explain(ask()), RouteExplanation)
    assert_type(stub.ListModels(ListModelsRequest()), ListModelsResponse)
    assert_type(stub.Embed(EmbedRequest(inputs=["a"])), EmbedResponse)


async def every_aio_call(channel: grpc.aio.Channel) -> None:
    """Type-checked only: what each RPC returns on an asynchronous channel."""
    stub: CompletionServiceAsyncStub = CompletionServiceStub(channel)
    assert_type(await stub.Complete(ask()), CompleteResponse)
    async for frame in stub.StreamComplete(ask()):
        assert_type(frame, StreamFrame)
    async for frame in stub.ResumeStream(ResumeStreamRequest(stream_id="s")):
        assert_type(frame, StreamFrame)
    assert_type(await stub.Explain(ask()), RouteExplanation)
    assert_type(await stub.ListModels(ListModelsRequest()), ListModelsResponse)
    assert_type(await stub.Embed(EmbedRequest(inputs=["a"])), EmbedResponse)


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    """Run the client's side beside the test."""
    with ThreadPoolExecutor(1) as pool:
        yield pool


@pytest.fixture
def channel() -> grpc_testing.Channel:
    """Return a channel whose other end is the test. Only the synchronous stack knows it."""
    return grpc_testing.channel([SERVICE], grpc_testing.strict_real_time())


def test_unary_call_returns_what_its_type_says(channel: grpc_testing.Channel, threads: ThreadPoolExecutor) -> None:
    """A unary stub sends the request unchanged and returns the response's own type."""
    stub = CompletionServiceStub(channel)
    answer = threads.submit(stub.Complete, ask(), timeout=PATIENCE_S)
    _, request, rpc = channel.take_unary_unary(SERVICE.methods_by_name["Complete"])
    assert request == ask()
    rpc.terminate(CompleteResponse(request_id="r"), (), grpc.StatusCode.OK, "")
    assert answer.result(PATIENCE_S) == CompleteResponse(request_id="r")


def test_stream_gives_what_its_type_says(channel: grpc_testing.Channel, threads: ThreadPoolExecutor) -> None:
    """A stream's stub gives one frame after the other."""
    stub = CompletionServiceStub(channel)
    frames = threads.submit(lambda: list(stub.StreamComplete(ask(), timeout=PATIENCE_S)))
    _, _, rpc = channel.take_unary_stream(SERVICE.methods_by_name["StreamComplete"])
    for seq in (1, 2):
        rpc.send_response(StreamFrame(seq=seq))
    rpc.terminate((), grpc.StatusCode.OK, "")
    assert [frame.seq for frame in frames.result(PATIENCE_S)] == [1, 2]


def test_failed_sync_call_is_read(channel: grpc_testing.Channel, threads: ThreadPoolExecutor) -> None:
    """What a synchronous stub raises is read by failure_of."""
    stub = CompletionServiceStub(channel)
    answer = threads.submit(stub.ListModels, ListModelsRequest(), timeout=PATIENCE_S)
    _, _, rpc = channel.take_unary_unary(SERVICE.methods_by_name["ListModels"])
    rpc.terminate(None, (), grpc.StatusCode.UNAUTHENTICATED, "no token")
    with pytest.raises(grpc.RpcError) as caught:
        answer.result(PATIENCE_S)
    failure = failure_of(caught.value)
    assert (failure.code, failure.message, failure.reason) == (grpc.StatusCode.UNAUTHENTICATED, "no token", "")


def test_enums_are_typed() -> None:
    """An enum value has its enum's own type and is an int."""
    assert_type(ROLE_USER, Role.ValueType)
    assert Role.Name(ROLE_USER) == "ROLE_USER"
    assert ToolChoice.Mode.Value("MODE_NONE") == ToolChoice.MODE_NONE
