"""Streams that outlive their connection, over real connections: lost, taken up again, taken over, ended, forgotten."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from tests.client.cutting_proxy import CuttingProxy
from tests.e2e.conftest import ask
from tests.e2e.serving import rest_of
from tests.e2e.stream_books import (
    Listening,
    Reading,
    Tap,
    check_books,
    narrow_channel,
    read,
    settled,
    standing,
    tasks,
    tasks_gone,
)
from tests.e2e.stream_detached import (
    CUT,
    ENDLESS,
    MINE,
    STEADY,
    TEXT,
    THEIRS,
    WAYS,
    begun,
    detachable,
    gone,
    refused,
    resume,
    routes,
    start,
    until_detached,
)

from trunkline import Assembly, StreamLostError, failure_of
from trunkline.v1 import CompletionServiceStub

if TYPE_CHECKING:
    import random

    from tests.conftest import Sized
    from tests.e2e.conftest import Gateways

    from trunkline.v1 import StreamFrame

# Lost and read on.


@pytest.mark.parametrize("way", WAYS)
async def test_a_lost_stream_is_read_on_without_a_gap(gateway: Gateways, way: str) -> None:
    """The same reader goes on with the frames behind its last one: the whole answer, from one upstream call."""
    async with gateway(STEADY, routes=routes()) as running:
        before = len(tasks())
        assembly = Assembly()
        async with (
            CuttingProxy(running.address).listening() as line,
            grpc.aio.insecure_channel(line.address) as channel,
        ):
            stub = CompletionServiceStub(channel)
            call = Tap(stub.StreamComplete(detachable(), metadata=MINE, timeout=60))
            stream_id = await begun(call)
            listening = Listening(call, assembly)
            lost = asyncio.ensure_future(listening.end())
            await asyncio.sleep(0.1)  # some more of it is read meanwhile
            if way == CUT:
                line.cut()
            else:
                listening.leave()
            first = await lost
            assert isinstance(first.error, StreamLostError)
            assert first.answer.stream_id == stream_id
            await until_detached(running)
        second = await read(resume(running, stream_id, assembly.last_seq), assembly)
        assert second.error is None
        assert second.answer.text == TEXT
        check_books(first.frames + second.frames, 0)
        assert running.simulator.stats.requests == 1
        await settled(running, streams_kept=1)
        await running.engine.streams.aclose()
        await tasks_gone(before)


async def test_a_stream_is_whole_however_often_it_is_lost(gateway: Gateways, rng: random.Random, sized: Sized) -> None:
    """Read on after every few frames, at once or late: each frame comes once, under the number that it has."""
    rounds = sized(full=200, gate=10)
    scenario = {"default": {"chunks": 40, "chunk_gap_s": 0.002}}
    async with gateway(scenario, routes=routes()) as running:
        before = len(tasks())
        losses = 0
        for _ in range(rounds):
            assembly = Assembly()
            frames: list[StreamFrame] = []
            call: Any = start(running)
            while True:
                reading = await Listening(call, assembly).end(leave_after=rng.randrange(1, 20))
                frames += reading.frames
                if reading.error is None:
                    break
                assert isinstance(reading.error, StreamLostError)
                losses += 1
                await asyncio.sleep(rng.choice([0.0, 0.0, 0.01, 0.05]))  # as long as it takes to come back
                call = resume(running, reading.answer.stream_id, assembly.last_seq)
            check_books(frames, 0)
            assert reading.answer.usage is not None
            assert reading.answer.usage.output_tokens == 40
        assert losses >= rounds
        assert running.simulator.stats.requests == rounds
        await settled(running, streams_kept=16)
        await running.engine.streams.aclose()
        await tasks_gone(before)
    print(f"{rounds} streams were lost {losses} times")


async def test_a_finished_stream_can_be_read_again_for_a_while(gateway: Gateways) -> None:
    """From the start, from the middle, and behind its `end`, where only the status is left; then it is forgotten."""
    async with gateway({}, routes=routes(detach_s=1)) as running:
        whole = await read(start(running))
        stream_id, last = whole.answer.stream_id, whole.frames[-1].seq
        for after in (0, 2, last - 1):
            assert await rest_of(resume(running, stream_id, after)) == (whole.frames[after:], None)
        behind = await read(resume(running, stream_id, last), _fed(whole))
        assert (behind.frames, behind.error) == ([], None)
        assert running.simulator.stats.requests == 1
        await settled(running)
        assert await refused(running, stream_id) == ("NOT_FOUND", "STREAM_NOT_FOUND")


def _fed(reading: Reading) -> Assembly:
    assembly = Assembly()
    for frame in reading.frames:
        assembly.feed(frame)
    return assembly


# Refused.


async def test_what_cannot_be_read_on_is_told_apart(gateway: Gateways) -> None:
    """Unknown and somebody else's are NOT_FOUND alike; a number that has not come yet is a BAD_REQUEST."""
    async with gateway(ENDLESS, routes=routes()) as running:
        call = start(running)
        stream_id = await begun(call)
        unknown = stream_id[:-4] + "beef"
        assert await refused(running, unknown) == ("NOT_FOUND", "STREAM_NOT_FOUND")
        assert await refused(running, unknown, cancel=True) == ("NOT_FOUND", "STREAM_NOT_FOUND")
        assert await refused(running, stream_id, token=THEIRS) == ("NOT_FOUND", "STREAM_NOT_FOUND")
        assert await refused(running, stream_id, cancel=True, token=THEIRS) == ("NOT_FOUND", "STREAM_NOT_FOUND")
        assert await refused(running, stream_id, 100_000) == ("INVALID_ARGUMENT", "BAD_REQUEST")
        _, error = await rest_of(resume(running, stream_id, 100_000))
        assert error is not None
        assert [violation.field for violation in failure_of(error).field_violations] == ["after_seq"]
        # None of these took it over.
        await call.first("deltas")
        assert running.simulator.stats.in_flight == 1
        assert await refused(running, stream_id, cancel=True) == ("OK", "")


async def test_a_stream_that_is_not_detachable_says_so_while_it_lives(gateway: Gateways) -> None:
    """STREAM_NOT_DETACHABLE, and it goes on; once it is over nothing is known of it."""
    async with gateway(ENDLESS, routes=routes()) as running:
        call = start(running, ask())
        stream_id = await begun(call)
        assert await refused(running, stream_id) == ("FAILED_PRECONDITION", "STREAM_NOT_DETACHABLE")
        assert await refused(running, stream_id, cancel=True) == ("FAILED_PRECONDITION", "STREAM_NOT_DETACHABLE")
        assert await refused(running, stream_id, token=THEIRS) == ("NOT_FOUND", "STREAM_NOT_FOUND")
        await call.first("deltas")
        call.cancel()
        await settled(running)
        assert await refused(running, stream_id) == ("NOT_FOUND", "STREAM_NOT_FOUND")


async def test_a_reader_that_comes_too_late_is_told_where_it_may_begin(gateway: Gateways) -> None:
    """The ring keeps the latest 256 KiB: older frames are STREAM_TOO_OLD, the newest ones still come."""
    large = {"default": {"chunk_text": "0123456789abcdef" * 64, "chunks": 3000, "chunk_gap_s": 0.0001}}
    async with gateway(large, routes=routes()) as running, narrow_channel(running.address) as stub:
        call = Tap(stub.StreamComplete(detachable(), metadata=MINE, timeout=60))
        stream_id = await begun(call)
        call.cancel()
        await running.simulator.until(lambda stats: stats.in_flight == 0, 30)
        assert await refused(running, stream_id, 1) == ("OUT_OF_RANGE", "STREAM_TOO_OLD")
        _, error = await rest_of(resume(running, stream_id, 1))
        assert error is not None
        oldest_seq = int(failure_of(error).metadata["oldest_seq"])
        assert oldest_seq > 3
        rest, error = await rest_of(resume(running, stream_id, oldest_seq - 1))
        assert error is None
        assert [frame.seq for frame in rest] == list(range(oldest_seq, oldest_seq + len(rest)))
        kept = standing(rest)
        assert rest[-1].end.content_bytes == 3000 * 1024
        assert 0 < len(kept) < 1024 * 1024
        await settled(running, streams_kept=1)


# Two readers, and none.


async def test_a_second_reader_takes_the_stream_over(gateway: Gateways) -> None:
    """The first one ends ABORTED, STREAM_TAKEN_OVER at once; the second one has every frame; nothing is asked twice."""
    async with gateway(STEADY, routes=routes()) as running:
        first = start(running)
        stream_id = await begun(first)
        second = asyncio.ensure_future(read(resume(running, stream_id)))
        left = await read(first)
        assert left.status == ("ABORTED", "STREAM_TAKEN_OVER")
        assert isinstance(left.error, StreamLostError)
        assert not left.all_of("end")
        whole = await second
        assert whole.error is None
        check_books(whole.frames, 0)
        assert whole.frames[: len(left.frames)] == left.frames
        assert running.simulator.stats.requests == 1
        await settled(running, streams_kept=1)


async def test_a_stream_can_be_ended_by_its_id(gateway: Gateways) -> None:
    """OK without a frame, the upstream closed by then; who reads it, then or later, hears CANCELLED."""
    async with gateway(ENDLESS, routes=routes()) as running:
        for number, attached in enumerate((True, False), 1):
            call = start(running)
            stream_id = await begun(call)
            reading = asyncio.ensure_future(read(call)) if attached else None
            if not attached:
                call.cancel()
                await until_detached(running)
            async with asyncio.timeout(1):
                assert await refused(running, stream_id, cancel=True) == ("OK", "")
            assert not any(running.leaks().values())
            await running.simulator.until(gone(number), 0.5)
            if reading is not None:
                told = await reading
                assert told.status[0] == "CANCELLED"
                check_books(told.frames, grpc.StatusCode.CANCELLED.value[0])
            later = await read(resume(running, stream_id))
            assert later.status[0] == "CANCELLED"
            check_books(later.frames, grpc.StatusCode.CANCELLED.value[0])
            assert await refused(running, stream_id, cancel=True) == ("OK", "")
        await settled(running, streams_kept=2)


@pytest.mark.parametrize("way", WAYS)
async def test_without_detachable_a_lost_caller_ends_the_upstream_call_at_once(
    gateway: Gateways, sized: Sized, way: str
) -> None:
    """Within 100 ms, and five times that in the gate."""
    rounds = sized(full=200, gate=10)
    took_s = []
    async with gateway(ENDLESS, routes=routes()) as running:
        for number in range(1, rounds + 1):
            async with (
                CuttingProxy(running.address).listening() as line,
                grpc.aio.insecure_channel(line.address) as channel,
            ):
                call = Tap(CompletionServiceStub(channel).StreamComplete(ask(), metadata=MINE, timeout=60))
                await begun(call)
                left_at = time.monotonic()
                if way == CUT:
                    line.cut()
                else:
                    call.cancel()
                await running.simulator.until(gone(number))
                took_s.append(time.monotonic() - left_at)
        await settled(running)
    print(f"{rounds} x {way}: upstream closed after at most {max(took_s) * 1000:.1f} ms")
    assert max(took_s) < (0.1 if rounds == 200 else 0.5)


async def test_a_stream_that_nobody_comes_back_to_is_closed_upstream(gateway: Gateways) -> None:
    """After `detach_s` without a reader, not before; its id is then forgotten."""
    async with gateway(ENDLESS, routes=routes(detach_s=0.4)) as running:
        call = start(running)
        stream_id = await begun(call)
        await asyncio.sleep(0.5)  # a reader that is there makes no clock run
        assert running.simulator.stats.in_flight == 1
        call.cancel()
        left_at = time.monotonic()
        await running.simulator.until(gone(1))
        assert 0.35 < time.monotonic() - left_at < 2
        await settled(running)
        assert await refused(running, stream_id) == ("NOT_FOUND", "STREAM_NOT_FOUND")


async def test_the_seventeenth_stream_is_declined_with_a_warning(gateway: Gateways) -> None:
    """It is served all the same, and ends with its reader; another caller's are not counted with it."""
    async with gateway(ENDLESS, routes=routes(detach_s=0.3)) as running:
        calls, started = [], []
        for _ in range(17):
            calls.append(start(running))
            started.append((await calls[-1].next()).started)
        codes = [[warning.code for warning in each.warnings] for each in started]
        assert codes == [[]] * 16 + [["DETACH_DECLINED"]]
        assert started[16].warnings[0].field == "routing.detachable"
        assert await refused(running, started[16].stream_id) == ("FAILED_PRECONDITION", "STREAM_NOT_DETACHABLE")
        other = Tap(running.stub.StreamComplete(detachable(), metadata=THEIRS, timeout=60))
        assert not (await other.next()).started.warnings
        other.cancel()
        calls[16].cancel()
        await running.simulator.until(gone(1))
        for call in calls:
            call.cancel()
        await running.simulator.until(gone(18))
        await settled(running)


async def test_a_drain_ends_what_nobody_reads(gateway: Gateways) -> None:
    """Readers are told, who came back too; a stream without one holds nothing up, and is closed with the engine."""
    async with gateway(ENDLESS, routes=routes()) as running:
        first, second, third = [start(running) for _ in range(3)]
        await begun(first)
        stream_id = await begun(second)
        await begun(third)
        second.cancel()
        third.cancel()
        await until_detached(running, 2)
        readers = [asyncio.ensure_future(read(call)) for call in (first, resume(running, stream_id))]
        await until_detached(running, 1)
        async with asyncio.timeout(2):
            await running.server.drain(0.3)
        for told in [await reader for reader in readers]:
            assert len(told.all_of("draining")) == 1
            assert told.status == ("UNAVAILABLE", "SERVER_DRAINING")
            check_books(told.frames, grpc.StatusCode.UNAVAILABLE.value[0])
        assert running.simulator.stats.in_flight == 1
        async with asyncio.timeout(1):
            await running.engine.aclose()
        await settled(running)
        assert running.simulator.stats.cancelled == 3


async def test_a_reader_that_was_cut_off_for_slowness_may_come_back(gateway: Gateways) -> None:
    """SLOW_READER ends the reading, not the stream: behind its last frame it has the rest, and the whole."""
    # Far more than what lies between it and a reader that does not read, at a pace that leaves a second to come back.
    chunks, text = 400, "0123456789abcdef" * 64
    large = {"default": {"chunk_text": text, "chunks": chunks, "chunk_gap_s": 0.004}}
    async with (
        gateway(large, routes=routes(write_timeout_s=0.3)) as running,
        narrow_channel(running.address) as stub,
    ):
        call = Tap(stub.StreamComplete(detachable(), metadata=MINE, timeout=60))
        stream_id = await begun(call)
        await until_detached(running)
        assembly = Assembly()
        cut = await read(call, assembly)
        assert cut.status == ("ABORTED", "SLOW_READER")
        assert isinstance(cut.error, StreamLostError)
        assert not cut.all_of("end")
        rest = await read(resume(running, stream_id, assembly.last_seq), assembly)
        print(f"cut off after frame {cut.frames[-1].seq}, then {len(rest.frames)} more; {rest.status}")
        assert rest.error is None
        assert rest.answer.text == text * chunks
        check_books(cut.frames + rest.frames, 0)
        await settled(running, streams_kept=1)
