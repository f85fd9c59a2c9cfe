"""Streams that are lost and read on, behind a whole gateway and the provider simulator."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from tests.client.cutting_proxy import CuttingProxy

from trunkline import (
    Answer,
    Assembly,
    CallFailedError,
    StreamBrokenError,
    StreamLostError,
    TextPiece,
    connect_aio,
    failure_of,
    read_stream,
    read_stream_aio,
)
from trunkline.v1 import (
    ON_BREAK_CONTINUE,
    ON_BREAK_RESTART,
    ROLE_USER,
    CompleteRequest,
    CompletionServiceStub,
    Message,
    Part,
    ResumeStreamRequest,
    RoutingOptions,
)

if TYPE_CHECKING:
    from tests.e2e.conftest import Gateway, Gateways

    from trunkline.v1 import CompletionServiceAsyncStub

PATIENCE_S = 30
CHUNKS = 12
SLOW = {"default": {"chunks": CHUNKS, "chunk_text": "wörd ", "chunk_gap_s": 0.02}}
WHOLE = "wörd " * CHUNKS


def ask(**routing: Any) -> CompleteRequest:
    return CompleteRequest(
        model="default",
        messages=[Message(role=ROLE_USER, parts=[Part(text="hi")])],
        routing=RoutingOptions(detachable=True, **routing) if routing.pop("detachable", True) else None,
    )


async def read_through_cuts(line: CuttingProxy, request: CompleteRequest, cuts: list[int]) -> tuple[str, Answer]:
    """Return what was shown and the answer of a stream whose line is cut after so many pieces, again and again."""
    shown = ""
    pieces = 0
    async with connect_aio(line.address) as channel:
        stub: CompletionServiceAsyncStub = CompletionServiceStub(channel)
        stream = read_stream_aio(stub.StreamComplete(request, timeout=PATIENCE_S))
        while True:
            try:
                async for event in stream:
                    if isinstance(event, TextPiece):
                        shown += event.text
                        pieces += 1
                        if pieces in cuts:
                            line.cut()
                return shown, await stream.answer()
            except StreamLostError as error:
                if error.failure.reason:
                    raise
                rest = ResumeStreamRequest(stream_id=error.partial.stream_id, after_seq=error.partial.last_seq)
                stream = read_stream_aio(stub.ResumeStream(rest, timeout=PATIENCE_S), assembly=stream.assembly)


async def begun(running: Gateway, request: CompleteRequest) -> tuple[Any, Assembly]:
    """Return a stream's call and its first frames, read until there is some text."""
    call: Any = running.stub.StreamComplete(request, timeout=PATIENCE_S)
    assembly = Assembly()
    while not assembly.partial().text:
        frame = await call.read()
        assert frame is not grpc.aio.EOF
        assembly.feed(frame)
    return call, assembly


async def read_on(running: Gateway, assembly: Assembly) -> Answer:
    came = assembly.partial()
    rest = ResumeStreamRequest(stream_id=came.stream_id, after_seq=came.last_seq)
    return await read_stream_aio(running.stub.ResumeStream(rest, timeout=PATIENCE_S), assembly=assembly).answer()


async def refusal(running: Gateway, stream_id: str, *, cancel: bool = False) -> str:
    """Return why a stream cannot be read, or ended."""
    call = running.stub.ResumeStream(ResumeStreamRequest(stream_id=stream_id, cancel=cancel), timeout=PATIENCE_S)
    with pytest.raises(CallFailedError) as caught:
        await read_stream_aio(call).answer()
    return caught.value.failure.reason


async def test_a_line_that_is_cut_again_and_again_costs_nothing(gateway: Gateways) -> None:
    """Each piece is shown once, the answer is verified, and the provider was asked once."""
    async with gateway(SLOW) as running, CuttingProxy(running.address).listening() as line:
        shown, answer = await read_through_cuts(line, ask(), [1, 4, 9])
        await running.quiet()
        assert running.simulator.stats.requests == 1
    assert (shown, answer.text, answer.complete) == (WHOLE, WHOLE, True)
    assert not answer.warnings


@pytest.mark.parametrize("on_break", [ON_BREAK_RESTART, ON_BREAK_CONTINUE])
async def test_cuts_of_the_line_and_breaks_of_the_provider_are_told_apart(
    gateway: Gateways, rng: random.Random, on_break: int
) -> None:
    """Wherever both happen, what the caller has at the end is whole or is told as broken: never a wrong text."""
    fault = {"cut_after_chunks": 5}
    scenario = {**SLOW, "rules": [{"probability": 0.5, "fault": fault}], "seed": rng.randrange(2**31)}
    endings = set()
    async with gateway(scenario) as running, CuttingProxy(running.address).listening() as line:
        for _ in range(8):
            cuts = rng.sample(range(1, CHUNKS), 2)
            try:
                _, answer = await read_through_cuts(line, ask(on_break=on_break), cuts)
                assert answer.complete
            except StreamBrokenError as error:
                answer = error.partial
                assert not answer.complete
            assert set(answer.text.split()) == {"wörd"}
            if on_break == ON_BREAK_RESTART:
                assert answer.text == WHOLE if answer.complete else WHOLE.startswith(answer.text)
            endings.add(answer.complete)
        await running.quiet()
    assert True in endings


async def test_a_new_reader_takes_over(gateway: Gateways) -> None:
    """The old one is told so, as lost and not as damaged; the new one has the whole answer."""
    async with gateway(SLOW) as running:
        call, assembly = await begun(running, ask())
        stream_id = assembly.partial().stream_id
        again = read_stream_aio(running.stub.ResumeStream(ResumeStreamRequest(stream_id=stream_id), timeout=PATIENCE_S))
        answer = await again.answer()
        with pytest.raises(StreamLostError) as caught:
            await _rest(call, assembly)
        await running.quiet()
    assert (answer.text, answer.complete, answer.stream_id) == (WHOLE, True, stream_id)
    assert caught.value.failure.reason == "STREAM_TAKEN_OVER"


async def _rest(call: Any, assembly: Assembly) -> Answer:
    """Return the answer of a call that was begun with `read`."""
    try:
        while (frame := await call.read()) is not grpc.aio.EOF:
            assembly.feed(frame)
    except grpc.aio.AioRpcError as error:
        return assembly.finish(failure_of(error))
    return assembly.finish(None)


async def test_a_stream_is_ended_by_its_id(gateway: Gateways) -> None:
    """The call that ends it is OK without frames, the provider's is closed by then, and its reader is told."""
    async with gateway(SLOW) as running:
        call, assembly = await begun(running, ask())
        stream_id = assembly.partial().stream_id
        ending = running.stub.ResumeStream(ResumeStreamRequest(stream_id=stream_id, cancel=True), timeout=PATIENCE_S)
        assert await ending.read() is grpc.aio.EOF
        assert await ending.code() is grpc.StatusCode.OK
        with pytest.raises(StreamBrokenError) as caught:
            await _rest(call, assembly)
        await running.quiet()
    assert caught.value.failure.code is grpc.StatusCode.CANCELLED
    assert WHOLE.startswith(caught.value.partial.text)


async def test_what_cannot_be_read_on_is_told_apart(gateway: Gateways) -> None:
    """Not detachable while it lives, not found afterwards; and what never was, or is no id."""
    async with gateway(SLOW) as running:
        call, assembly = await begun(running, ask(detachable=False))
        stream_id = assembly.partial().stream_id
        for cancel in (False, True):
            assert await refusal(running, stream_id, cancel=cancel) == "STREAM_NOT_DETACHABLE"
        assert (await _rest(call, assembly)).complete
        await running.quiet()
        assert await refusal(running, stream_id) == "STREAM_NOT_FOUND"
        assert await refusal(running, "0-" + "0" * 32) == "STREAM_NOT_FOUND"
        assert await refusal(running, "x" * 65) == "BAD_REQUEST"


async def test_who_has_everything_but_the_status_gets_the_status(gateway: Gateways) -> None:
    """Reading on after the `end` frame gives no frame, and says that the answer is whole."""
    async with gateway(SLOW) as running:
        call, assembly = await begun(running, ask())
        assert (await _rest(call, assembly)).complete
        assert assembly.ended
        assert (await read_on(running, assembly)).text == WHOLE


async def test_the_synchronous_face_reads_on_too(gateway: Gateways) -> None:
    """A thread whose call ended early goes on with the same assembly."""

    def read_sync(address: str) -> Answer:
        with grpc.insecure_channel(address) as channel:
            stub = CompletionServiceStub(channel)
            stream = read_stream(stub.StreamComplete(ask(), timeout=PATIENCE_S))
            next(event for event in stream if isinstance(event, TextPiece))
            stream.close()
            came = stream.partial
            rest = ResumeStreamRequest(stream_id=came.stream_id, after_seq=came.last_seq)
            return read_stream(stub.ResumeStream(rest, timeout=PATIENCE_S), assembly=stream.assembly).answer()

    async with gateway(SLOW) as running:
        answer = await asyncio.to_thread(read_sync, running.address)
        await running.quiet()
    assert (answer.text, answer.complete) == (WHOLE, True)
