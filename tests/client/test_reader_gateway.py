"""The reader behind a whole gateway and the provider simulator: whole answers, tools in pieces, and broken streams."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from trunkline import (
    Answer,
    CallFailedError,
    StreamBrokenError,
    StreamError,
    StreamEvent,
    TextPiece,
    ToolCallDone,
    ToolCallPiece,
    read_stream,
    read_stream_aio,
)
from trunkline.v1 import (
    FAILURE_CLASS_SERVER_ERROR,
    FAILURE_CLASS_STALLED,
    FAILURE_CLASS_TRUNCATED,
    FINISH_REASON_LENGTH,
    FINISH_REASON_TOOL_CALLS,
    ROLE_USER,
    CompleteRequest,
    CompletionServiceStub,
    End,
    FailureClass,
    Message,
    Part,
)

if TYPE_CHECKING:
    from tests.e2e.conftest import Gateway, Gateways

PATIENCE_S = 20
IN_FLIGHT = 32
CHUNKS = 8

ONE_TARGET = """
version: 1
providers:
  one:
    protocol: openai
    base_url: {base}
    keys: [{{id: a, secret: env:ONE_A_API_KEY}}]
    gate: {{max_in_flight: 64, queue: 64, max_wait_s: 10}}
    timeouts: {{connect_s: 5, first_token_s: 10, stall_s: {stall_s}, response_s: 10}}
aliases:
  default:
    tiers: [[{{target: one/primary}}]]
"""


def one_target(stall_s: float) -> str:
    """Return routes with one target that may be silent for so long."""
    return ONE_TARGET.replace("{stall_s}", str(stall_s))


def ask(text: str) -> CompleteRequest:
    return CompleteRequest(model="default", messages=[Message(role=ROLE_USER, parts=[Part(text=text)])])


async def read(running: Gateway, text: str = "hi") -> tuple[list[StreamEvent], Answer]:
    """Return the events and the answer of one call."""
    stream = read_stream_aio(running.stub.StreamComplete(ask(text), timeout=PATIENCE_S))
    events = [event async for event in stream]
    return events, await stream.answer()


async def test_the_answer_is_that_of_the_unary_call(gateway: Gateways) -> None:
    """A stream adds up to the very message that `Complete` returns, characters of several bytes included."""
    async with gateway(
        {"default": {"reasoning": "hm, wörld", "content": "grüße 🌍 und 漢字 e\u0301", "chunks": 7}}
    ) as running:
        whole = await running.stub.Complete(ask("hi"), timeout=PATIENCE_S)
        events, answer = await read(running)
        await running.quiet()
    assert answer.text == "grüße 🌍 und 漢字 e\u0301"
    assert answer.thinking == "hm, wörld"
    assert [part.WhichOneof("content") for part in answer.message.parts] == ["thinking", "text"]
    assert answer.message.parts[1] == whole.message.parts[1]
    assert answer.finish_reason == whole.finish_reason
    assert answer.usage == whole.usage
    assert answer.route.served_by.model == whole.route.served_by.model
    assert "".join(event.text for event in events if isinstance(event, TextPiece)) == answer.text


async def test_the_synchronous_face(gateway: Gateways) -> None:
    """A thread with a synchronous channel reads the same."""

    def read_sync(address: str) -> Answer:
        with grpc.insecure_channel(address) as channel:
            stub = CompletionServiceStub(channel)
            with read_stream(stub.StreamComplete(ask("hello"), timeout=PATIENCE_S)) as stream:
                return stream.answer()

    async with gateway() as running:
        assert (await asyncio.to_thread(read_sync, running.address)).text == "You said: hello"


async def test_tool_calls_in_pieces(gateway: Gateways) -> None:
    """Two calls whose pieces take turns become whole, and are told as soon as they are."""
    calls = [{"name": "f", "arguments": {"city": "Köln", "days": [1, 2, 3]}}, {"name": "g", "arguments": {}}]
    scenario = {"default": {"tool_calls": calls, "tool_pieces": 6, "tool_interleaved": True}}
    async with gateway(scenario) as running:
        events, answer = await read(running)
    assert answer.finish_reason == FINISH_REASON_TOOL_CALLS
    assert answer.complete
    assert [(call.name, json.loads(call.arguments_json)) for call in answer.tool_calls] == [
        (call["name"], call["arguments"]) for call in calls
    ]
    assert answer.open_tool_calls == ()
    assert sum(isinstance(event, ToolCallPiece) for event in events) > 2
    done = [event.call for event in events if isinstance(event, ToolCallDone)]
    assert sorted(call.id for call in done) == sorted(call.id for call in answer.tool_calls)


async def test_half_an_argument_is_no_call(gateway: Gateways) -> None:
    """Arguments that are no JSON stay open, although the model says that it is done."""
    async with gateway({"default": {"tool_calls": [{"name": "f", "arguments": '{"half": '}]}}) as running:
        _, answer = await read(running)
    assert answer.tool_calls == ()
    assert [call.arguments_json for call in answer.open_tool_calls] == ['{"half": ']
    assert list(answer.message.parts) == []


async def test_a_limit_is_an_answer(gateway: Gateways) -> None:
    """An answer that reached its limit is INCOMPLETE, and no error."""
    async with gateway({"default": {"finish_reason": "length"}}) as running:
        _, answer = await read(running)
    assert answer.outcome == End.OUTCOME_INCOMPLETE
    assert answer.finish_reason == FINISH_REASON_LENGTH
    assert answer.text == "You said: hi"


async def test_a_refused_call(gateway: Gateways) -> None:
    """A provider that refuses before any content leaves no frame: the call failed, with the gateway's details."""
    async with gateway({"default": {"status": 400}}) as running:
        with pytest.raises(CallFailedError) as caught:
            await read(running)
    assert caught.value.failure.code is grpc.StatusCode.INVALID_ARGUMENT
    assert caught.value.failure.reason == "BAD_REQUEST"
    assert caught.value.partial.last_seq == 0


BREAKS: list[tuple[dict[str, Any], FailureClass.ValueType]] = [
    ({"cut_after_chunks": 3}, FAILURE_CLASS_TRUNCATED),
    ({"reset_after_chunks": 3}, FAILURE_CLASS_TRUNCATED),
    ({"stall_after_chunks": 3}, FAILURE_CLASS_STALLED),
    ({"no_finish_reason": True}, FAILURE_CLASS_TRUNCATED),
    ({"no_finish_reason": True, "no_done": True}, FAILURE_CLASS_TRUNCATED),
    ({"error_after_chunks": 3, "error": "server_error"}, FAILURE_CLASS_SERVER_ERROR),
]


@pytest.mark.parametrize(("fault", "failure_class"), BREAKS, ids=str)
async def test_a_broken_stream(gateway: Gateways, fault: dict[str, Any], failure_class: FailureClass.ValueType) -> None:
    """A stream that broke raises with its beginning, the frame that told of it, and the status that agrees."""
    scenario = {"default": {"chunks": CHUNKS, "chunk_text": "word ", "chunk_gap_s": 0.02, **fault}}
    stall_s = 0.5 if "stall_after_chunks" in fault else 10
    async with gateway(scenario, routes=one_target(stall_s)) as running:
        with pytest.raises(StreamBrokenError) as caught:
            await read(running)
        await running.quiet()
    error = caught.value
    assert error.failure.code is grpc.StatusCode.ABORTED
    assert error.failure.reason == "STREAM_BROKEN"
    assert error.partial.text == "word " * (CHUNKS if "no_finish_reason" in fault else 3)
    assert error.partial.outcome == End.OUTCOME_FAILED
    assert [broke.failed.error.failure_class for broke in error.partial.breaks] == [failure_class]
    assert error.partial.breaks[0].failed.bytes_emitted == len(error.partial.text)


def broken_ways(seed: int) -> dict[str, Any]:
    """Return a scenario in which every stream breaks after content: in each way, at each place, equally often."""
    faults: list[dict[str, Any]] = [{"no_finish_reason": True}, {"no_finish_reason": True, "no_done": True}] * CHUNKS
    for chunks in range(1, CHUNKS + 1):
        faults += [
            {"cut_after_chunks": chunks},
            {"reset_after_chunks": chunks},
            {"stall_after_chunks": chunks},
            {"stall_after_chunks": chunks, "heartbeat_s": 0.02},
            {"error_after_chunks": chunks, "error": "server_error"},
            {"error_after_chunks": chunks, "error": "server_error", "same_segment": True},
            {"cut_after_chunks": chunks, "same_segment": True},
        ]
    rules = [{"probability": 1 / (len(faults) - number), "fault": fault} for number, fault in enumerate(faults)]
    return {"seed": seed, "default": {"chunks": CHUNKS}, "rules": rules}


class Reader:
    """Reads streams that break, and keeps the books of how each ended."""

    def __init__(self, running: Gateway) -> None:
        self.running = running
        self.endings: Counter[str] = Counter()

    async def read(self, number: int) -> None:
        text = " ".join(f"wörd-{number}-{place}" for place in range(2 * CHUNKS))
        sent = f"You said: {text}"
        try:
            _, answer = await read(self.running, text)
            ending = "whole"
        except StreamError as error:
            answer, ending = error.partial, type(error).__name__
        self.endings[ending] += 1
        assert answer.complete is (ending == "whole")
        assert answer.text == sent if answer.complete else sent.startswith(answer.text)

    async def read_all(self, numbers: range) -> None:
        for number in numbers:
            await self.read(number)


@pytest.mark.timeout(900)
async def test_no_broken_stream_is_taken_for_whole(
    gateway: Gateways, rng: random.Random, sized: Callable[..., int]
) -> None:
    """Of 10,000 streams cut, stalled, ended in silence or by an error event, each is told as broken."""
    streams = sized(full=10_000, gate=200)
    async with gateway(broken_ways(rng.randrange(2**31)), routes=one_target(0.15)) as running:
        reader = Reader(running)
        await asyncio.gather(*(reader.read_all(range(first, streams, IN_FLIGHT)) for first in range(IN_FLIGHT)))
        await running.quiet()
    print(f"{streams} broken streams: {dict(reader.endings)}")
    # Under load a break may overtake the first content: then the call failed, and nothing was delivered at all.
    assert set(reader.endings) <= {"StreamBrokenError", "CallFailedError"}
    assert reader.endings["StreamBrokenError"] >= 0.95 * streams
    assert reader.endings.total() == streams
