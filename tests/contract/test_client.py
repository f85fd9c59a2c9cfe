"""The thin client against a server on loopback: the token, the limits, and when grpc repeats a call."""

from __future__ import annotations

import asyncio
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from trunkline import connect, connect_aio
from trunkline.channel import MAX_RECEIVE_BYTES
from trunkline.v1 import (
    ROLE_USER,
    CompleteRequest,
    CompleteResponse,
    CompletionServiceStub,
    Delta,
    Deltas,
    End,
    Message,
    Part,
    StreamFrame,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

PATIENCE_S = 10
TOKEN = "caller-token-1"  # noqa: S105 - an example
BEARER = f"Bearer {TOKEN}"
NO_RETRIES = {"grpc.enable_retries": 0}
README = Path(__file__).resolve().parents[2] / "clients/python/README.md"


@dataclass
class Refusal:
    """A status to answer with; `pushback_ms` goes into the trailers."""

    code: grpc.StatusCode
    pushback_ms: str | None = None


@dataclass
class Script:
    """A server that answers with the request's own text, after the refusals that it was given."""

    target: str = ""
    refusals: list[Refusal] = field(default_factory=list)
    seen: list[dict[str, str | bytes]] = field(default_factory=list)
    answer_bytes: int = 0
    hold_stream: bool = False
    stream_left: threading.Event = field(default_factory=threading.Event)

    def complete(self, request: CompleteRequest, context: grpc.ServicerContext) -> CompleteResponse:
        """Answer with the text of the first message, or with as many bytes as the script says."""
        self._begin(context)
        text = "x" * self.answer_bytes or request.messages[0].parts[0].text
        return CompleteResponse(message=Message(parts=[Part(text=text)]))

    def stream_complete(self, request: CompleteRequest, context: grpc.ServicerContext) -> Iterator[StreamFrame]:
        """Answer in two pieces, and wait between them until the caller leaves, if the script says so."""
        self._begin(context)
        context.add_callback(self.stream_left.set)
        text = request.messages[0].parts[0].text
        half = len(text) // 2
        yield StreamFrame(seq=1, attempt=1, deltas=Deltas(items=[Delta(text=text[:half])]))
        if self.hold_stream:
            self.stream_left.wait(PATIENCE_S)
        yield StreamFrame(seq=2, attempt=1, deltas=Deltas(items=[Delta(text=text[half:], offset=half)]))
        yield StreamFrame(seq=3, end=End())

    def _begin(self, context: grpc.ServicerContext) -> None:
        self.seen.append(dict(context.invocation_metadata()))
        if self.refusals:
            refusal = self.refusals.pop(0)
            if refusal.pushback_ms is not None:
                context.set_trailing_metadata((("grpc-retry-pushback-ms", refusal.pushback_ms),))
            context.abort(refusal.code, "refused")

    def handler(self) -> grpc.GenericRpcHandler:
        """Return the two RPCs for a server."""
        handlers = {
            "Complete": grpc.unary_unary_rpc_method_handler(
                self.complete, CompleteRequest.FromString, CompleteResponse.SerializeToString
            ),
            "StreamComplete": grpc.unary_stream_rpc_method_handler(
                self.stream_complete, CompleteRequest.FromString, StreamFrame.SerializeToString
            ),
        }
        return grpc.method_handlers_generic_handler("trunkline.v1.CompletionService", handlers)


@pytest.fixture
def script() -> Iterator[Script]:
    """Serve a script on loopback for one test."""
    script = Script()
    with ThreadPoolExecutor(4) as threads:
        server = grpc.server(threads, handlers=[script.handler()], options=[("grpc.so_reuseport", 0)])
        script.target = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        server.start()
        try:
            yield script
        finally:
            script.stream_left.set()
            server.stop(0).wait(PATIENCE_S)


def ask(text: str = "hello") -> CompleteRequest:
    """Return a request that says `text`."""
    return CompleteRequest(model="default", messages=[Message(role=ROLE_USER, parts=[Part(text=text)])])


def test_sync_channel_sends_the_token_with_every_call(script: Script) -> None:
    """The token goes with unary calls and streams, beside the caller's own metadata."""
    with connect(script.target, token=TOKEN) as channel:
        stub = CompletionServiceStub(channel)
        answer = stub.Complete(ask(), timeout=PATIENCE_S, metadata=(("x-trace", "7"),))
        frames = list(stub.StreamComplete(ask(), timeout=PATIENCE_S))
    assert answer.message.parts[0].text == "hello"
    assert [frame.seq for frame in frames] == [1, 2, 3]
    assert [seen["authorization"] for seen in script.seen] == [BEARER, BEARER]
    assert script.seen[0]["x-trace"] == "7"


async def test_aio_channel_sends_the_token_with_every_call(script: Script) -> None:
    """The token goes with unary calls and streams, beside the caller's own metadata."""
    async with connect_aio(script.target, token=TOKEN) as channel:
        stub = CompletionServiceStub(channel)
        answer = await stub.Complete(ask(), timeout=PATIENCE_S, metadata=(("x-trace", "7"),))
        frames = [frame async for frame in stub.StreamComplete(ask(), timeout=PATIENCE_S)]
    assert answer.message.parts[0].text == "hello"
    assert [frame.seq for frame in frames] == [1, 2, 3]
    assert [seen["authorization"] for seen in script.seen] == [BEARER, BEARER]
    assert script.seen[0]["x-trace"] == "7"


def test_no_token_no_header(script: Script) -> None:
    """Without a token there is no authorization header at all."""
    with connect(script.target) as channel:
        CompletionServiceStub(channel).Complete(ask(), timeout=PATIENCE_S)
    assert "authorization" not in script.seen[0]


@pytest.mark.parametrize(
    "target",
    ["10.1.2.3:7000", "dns:///router.example:7000", "router.example:7000", "[2001:db8::1]:7000", "localhost.a:1"],
)
def test_token_does_not_leave_the_machine_in_the_clear(target: str) -> None:
    """A token to another machine without TLS is refused before anything is sent, and not repeated in the error."""
    with pytest.raises(ValueError, match="without encryption") as caught:
        connect(target, token=TOKEN)
    assert TOKEN not in str(caught.value)
    with pytest.raises(ValueError, match="without encryption"):
        connect_aio(target, token=TOKEN)


@pytest.mark.parametrize(
    "target",
    ["127.0.0.1:7000", "localhost:7000", "dns:///localhost:7000", "[::1]:7000", "ipv6:[::1]:7000", "unix:/tmp/s"],
)
def test_token_may_stay_on_the_machine_in_the_clear(target: str) -> None:
    """A token to this machine needs no TLS."""
    connect(target, token=TOKEN).close()


def test_token_may_go_where_the_caller_says_so() -> None:
    """A token goes to another machine over TLS, or in the clear if the caller takes that on."""
    connect("router.example:7000", token=TOKEN, tls=grpc.ssl_channel_credentials()).close()
    connect("router.example:7000", token=TOKEN, plaintext_token=True).close()


@pytest.mark.parametrize("token", ["", "two words", "line\nbreak", "naïve"])
def test_what_is_no_token_is_refused(token: str) -> None:
    """What cannot stand in a header is refused at once instead of failing each call."""
    with pytest.raises(ValueError, match="printable ASCII"):
        connect("127.0.0.1:7000", token=token)


def test_tls_never_falls_back(script: Script) -> None:
    """A channel with TLS says nothing to a server without it."""
    with connect(script.target, tls=grpc.ssl_channel_credentials(), options=NO_RETRIES) as channel:
        with pytest.raises(grpc.RpcError) as caught:
            CompletionServiceStub(channel).Complete(ask(), timeout=PATIENCE_S)
        assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
    assert script.seen == []


def test_large_answers_are_received_up_to_the_limit(script: Script) -> None:
    """Answers above grpc's own 4 MiB come through; above 32 MiB they are refused."""
    with connect(script.target) as channel:
        stub = CompletionServiceStub(channel)
        script.answer_bytes = 5 * 1024 * 1024
        assert len(stub.Complete(ask(), timeout=PATIENCE_S).message.parts[0].text) == script.answer_bytes
        script.answer_bytes = MAX_RECEIVE_BYTES
        with pytest.raises(grpc.RpcError) as caught:
            stub.Complete(ask(), timeout=PATIENCE_S)
        assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert len(script.seen) == 2


@pytest.mark.parametrize(
    ("refusal", "calls"),
    [
        (Refusal(grpc.StatusCode.UNAVAILABLE, "-1"), 1),
        (Refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, "-1"), 1),
        (Refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, "5"), 2),
        (Refusal(grpc.StatusCode.UNAVAILABLE), 2),
        (Refusal(grpc.StatusCode.ABORTED), 1),
        (Refusal(grpc.StatusCode.INTERNAL), 1),
    ],
    ids=lambda value: f"{value.code.name},{value.pushback_ms}" if isinstance(value, Refusal) else str(value),
)
def test_calls_are_repeated_only_where_the_server_lets_them(script: Script, refusal: Refusal, calls: int) -> None:
    """A pushback of -1 ends the call, a time is waited for, and without one only what never got far is repeated."""
    script.refusals = [refusal]
    with connect(script.target) as channel:
        stub = CompletionServiceStub(channel)
        if calls == 1:
            with pytest.raises(grpc.RpcError) as caught:
                stub.Complete(ask(), timeout=PATIENCE_S)
            assert caught.value.code() == refusal.code
        else:
            stub.Complete(ask(), timeout=PATIENCE_S)
    assert len(script.seen) == calls


async def test_aio_calls_obey_the_pushback_too(script: Script) -> None:
    """On an event loop a pushback of -1 ends the call as well, with a token or without."""
    for token in (None, TOKEN):
        script.refusals = [Refusal(grpc.StatusCode.UNAVAILABLE, "-1")]
        async with connect_aio(script.target, token=token) as channel:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await CompletionServiceStub(channel).Complete(ask(), timeout=PATIENCE_S)
        assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
    assert len(script.seen) == 2


@pytest.mark.parametrize("token", [None, TOKEN])
async def test_cancelled_stream_leaves_the_server(script: Script, token: str | None) -> None:
    """A stream that its caller cancels is gone at the server at once, although a token is added on its way."""
    script.hold_stream = True
    async with connect_aio(script.target, token=token) as channel:
        call = CompletionServiceStub(channel).StreamComplete(ask(), timeout=PATIENCE_S * 2)
        async for _frame in call:
            break
        call.cancel()
        assert await asyncio.to_thread(script.stream_left.wait, PATIENCE_S)


def example(name: str) -> Any:
    """Return the function of that name from the README's code."""
    scope: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL):
        exec(block, scope)  # noqa: S102 - our own README is what is tested
    return scope[name]


def test_readme_asks(script: Script) -> None:
    """The README's first example returns the answer, and says what a failed call says."""
    assert example("ask")(script.target, "hello") == "hello"
    script.refusals = [Refusal(grpc.StatusCode.ABORTED)]
    assert example("ask")(script.target, "hello") == "ABORTED : refused"


async def test_readme_follows(script: Script) -> None:
    """The README's second example returns the text of a stream."""
    assert await example("follow")(script.target, "hello") == "hello"
