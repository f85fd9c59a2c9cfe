"""How detachable streams end: well, failed, forgotten, by a defect, or since they were told to."""

from __future__ import annotations

import asyncio

import pytest
from tests.engine.detached_house import WAIT_S, House, Source, only_this_task, settle

from trunkline_server.engine import detached
from trunkline_server.engine.frames import CallFailure
from trunkline_server.engine.ring import FRAME_OVERHEAD_BYTES
from trunkline_server.engine.stream_registry import DetachLimits
from trunkline_server.routing.types import Reason

BROKEN = CallFailure(Reason.STREAM_BROKEN, "broken")


async def test_a_failed_stream_raises_its_failure_after_its_last_frame() -> None:
    """Frames first, then the failure; for a reader that comes back to it the same."""
    house, source = House(), Source()
    stream_id, first = house.open(source)
    await settle()
    source.put("a")
    source.end(BROKEN)
    await first.done()
    assert (first.seqs, first.reason) == ([1, 2], Reason.STREAM_BROKEN)
    again = await house.resume(stream_id, 1).done()
    assert (again.seqs, again.reason) == ([2], Reason.STREAM_BROKEN)


async def test_a_failure_before_any_frame_is_raised_and_nothing_kept() -> None:
    """A call that failed before it began to speak ends like any other, and its stream is forgotten."""
    house, source = House(), Source()
    _, client = house.open(source)
    await settle()
    source.end(BROKEN)
    await client.done()
    assert (client.seen, client.reason, len(house.registry)) == ([], Reason.STREAM_BROKEN, 0)
    assert only_this_task()


async def test_a_finished_stream_stays_for_a_while() -> None:
    """A reader that lost the end comes back to it, until `detach_s` has passed."""
    house, source = House(), Source()
    stream_id, _ = await house.lost(source, "a")
    source.end()
    await settle()
    again = await house.resume(stream_id, 1).done()
    assert (again.seqs, again.ended) == ([2], True)
    nothing = await house.resume(stream_id, 2).done()
    assert (nothing.seqs, nothing.ended) == ([], True)


async def test_a_finished_stream_is_forgotten_after_a_while() -> None:
    """Nothing is kept for ever."""
    house, source = House(), Source()
    stream_id, _ = await house.lost(source, "a", detach_s=0.01)
    source.end()
    await house.forgotten(stream_id)
    assert (await house.refused(stream_id, 1)).reason is Reason.STREAM_NOT_FOUND
    assert (len(house.registry), house.registry.bytes, source.cancelled) == (0, 0, False)


async def test_a_defect_reaches_the_reader() -> None:
    """An exception of ours ends the RPC as a defect, not as a finished stream."""
    house, source = House(), Source()
    stream_id, client = house.open(source)
    await settle()
    source.put("a")
    await settle()
    source.breaks(ZeroDivisionError("secret"))
    await asyncio.wait([client.task])
    assert isinstance(client.task.exception(), ZeroDivisionError)
    assert (await house.refused(stream_id, 1)).reason is Reason.INTERNAL


async def test_a_defect_before_any_frame_reaches_the_reader() -> None:
    """The same while nothing was sent: the stream does not seem to have ended well."""
    house, source = House(), Source()
    _, client = house.open(source)
    await settle()
    source.breaks(ZeroDivisionError("secret"))
    await asyncio.wait([client.task])
    assert isinstance(client.task.exception(), ZeroDivisionError)
    assert len(house.registry) == 0


async def test_a_defect_that_nobody_read_is_reported_without_its_text() -> None:
    """It goes to the loop's handler with its kind and place; its text might be a caller's."""
    loop = asyncio.get_running_loop()
    reported: asyncio.Future[str] = loop.create_future()
    loop.set_exception_handler(lambda _, context: reported.set_result(context["message"]))
    house, source = House(), Source()
    await house.lost(source, "a", detach_s=0.01)
    source.breaks(ZeroDivisionError("secret"))
    message = await asyncio.wait_for(reported, WAIT_S)
    assert "ZeroDivisionError at " in message
    assert "secret" not in message


async def test_a_source_that_numbers_wrongly_is_a_defect() -> None:
    """A gap in the numbers ends the stream, closes the call, and no task stays."""
    house, source = House(), Source()
    _, client = house.open(source)
    await settle()
    source.put("a")
    await settle()
    source._seq = 7
    source.put("b")
    await asyncio.wait([client.task])
    assert isinstance(client.task.exception(), ValueError)
    await settle()
    assert (source.cancelled, source.ended) == (True, 1)
    assert only_this_task()


async def test_a_call_that_does_not_end_when_told_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cancelling a stream whose call does not follow closes it all the same, after a bounded time."""
    monkeypatch.setattr(detached, "CLOSE_WAIT_S", 0.01)
    house, source = House(), Source()
    source.stubborn = True
    stream_id, client = house.open(source)
    await settle()
    source.put("a")
    await settle()
    await house.registry.cancel(stream_id, "ann")
    await client.done()
    assert (source.aborts, source.cancelled, client.reason) == ([Reason.CANCELLED], True, Reason.CANCELLED)


async def test_the_call_is_let_go_when_it_has_ended() -> None:
    """What is kept of an ended stream is its frames, not the call with its whole request."""
    house, source = House(), Source()
    stream_id, _ = await house.lost(source, "a")
    source.end()
    await settle()
    assert house.registry._streams[stream_id]._source is None


async def test_what_an_ended_stream_keeps_is_bounded() -> None:
    """What a stuck reader still needed is kept only while it is there."""
    house, source = House(DetachLimits(ring_bytes=2 * FRAME_OVERHEAD_BYTES + 10)), Source()
    stream_id, client = house.open(source)
    client.stall()
    for text in "abcde":
        await settle()
        source.put(text)
    await house.registry.cancel(stream_id, "ann")
    assert house.registry.bytes > 4 * FRAME_OVERHEAD_BYTES
    await client.lose()
    assert house.registry.reserved_bytes == house.registry.bytes == 2 * FRAME_OVERHEAD_BYTES + 1
