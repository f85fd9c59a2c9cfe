"""A detachable stream and its readers: coming, leaving, taking over, coming back."""

from __future__ import annotations

import asyncio

from tests.engine.detached_house import Client, House, Source, only_this_task, scope_of, settle

from trunkline_server.engine.frames import ContentFrame
from trunkline_server.engine.ring import FRAME_OVERHEAD_BYTES
from trunkline_server.engine.stream_registry import DetachLimits
from trunkline_server.routing.types import Reason


async def test_one_reader_reads_it_all() -> None:
    """A stream that nobody leaves is read like any other."""
    house, source = House(), Source()
    _, client = house.open(source)
    for text in ("a", "b", "c"):
        await settle()
        source.put(text)
    source.end()
    await client.done()
    assert (client.text, client.seqs, client.ended) == ("abc", [1, 2, 3, 4], True)


async def test_a_reader_that_fell_behind_stalls_its_source() -> None:
    """Nothing is taken for a reader that has not asked for it: what waits is merged, and the upstream held up."""
    house, source = House(), Source(merges=True)
    _, client = house.open(source)
    client.stall()
    await settle()
    for text in "abcdef":
        source.put(text)
        await settle()
    assert (client.text, source.waiting) == ("a", 1)
    client.go_on()
    await settle()
    assert (client.text, client.seqs) == ("abcdef", [1, 2])
    source.end()
    await client.done()


async def test_a_lost_reader_leaves_the_call_going() -> None:
    """A reader that leaves cancels nothing; another reads on where it was, without a gap."""
    house, source = House(), Source()
    stream_id, first = await house.lost(source, "a", "b")
    source.put("c")
    await settle()
    assert (house.registry.detached, source.ended) == (1, 0)
    second = house.resume(stream_id, 2)
    await settle()
    source.put("d")
    source.end()
    await second.done()
    assert (first.seqs, second.seqs, second.text, second.ended) == ([1, 2], [3, 4, 5], "cd", True)
    assert source.cancelled is False


async def test_a_reader_may_ask_again_for_what_it_had() -> None:
    """A reader whose last frames were lost on the way gets them once more, with the same numbers."""
    house, source = House(), Source()
    stream_id, _ = await house.lost(source, "a", "b", "c")
    again = house.resume(stream_id, 1)
    await settle()
    assert (again.seqs, again.text) == ([2, 3], "bc")
    await again.lose()


async def test_nothing_is_lost_when_a_frame_comes_as_the_reader_leaves() -> None:
    """A frame that arrives in the very turn in which its reader is cancelled is there for the next one."""
    for order in range(4):
        house, source = House(), Source()
        stream_id, first = await house.lost(source, "a")
        reader = house.resume(stream_id, 1)
        await settle()
        if order == 0:
            source.put("b")
            reader.task.cancel()
        elif order == 1:
            reader.task.cancel()
            source.put("b")
        else:
            source.put("b")
            await settle(order - 1)
            reader.task.cancel()
        await asyncio.wait([reader.task])
        source.end()
        last = await house.resume(stream_id, (first.seqs + reader.seqs)[-1]).done()
        assert first.text + reader.text + last.text == "ab"


async def test_a_new_reader_takes_over_from_one_that_waits() -> None:
    """The old reader hears of it at once even while nothing comes, and its stream goes on for the new one."""
    house, source = House(), Source()
    stream_id, first = house.open(source)
    await settle()
    source.put("a")
    await settle()
    second = house.resume(stream_id, 1)
    await settle()
    assert first.task.done()
    assert first.error is not None
    assert (first.reason, first.error.failure.stream_goes_on) == (Reason.STREAM_TAKEN_OVER, True)
    source.put("b")
    source.end()
    await second.done()
    assert (first.text, second.text, source.cancelled) == ("a", "b", False)


async def test_a_new_reader_takes_over_from_one_that_is_stuck() -> None:
    """A reader whose line is full holds up nobody who comes after it, and hears of it when it looks again."""
    house, source = House(), Source()
    stream_id, first = house.open(source)
    first.stall()
    await settle()
    source.put("a")
    source.put("b")
    await settle()
    second = house.resume(stream_id, 0)
    await settle()
    assert second.text == "ab"
    first.go_on()
    await first.done()
    assert (first.text, first.reason) == ("a", Reason.STREAM_TAKEN_OVER)
    source.put("c")
    await settle()
    assert second.text == "abc"
    await second.lose()


async def test_an_old_reader_that_leaves_late_does_not_detach_the_new_one() -> None:
    """Only the reader that reads can leave the stream without one."""
    house, source = House(), Source()
    stream_id, first = house.open(source)
    first.stall()
    await settle()
    source.put("a")
    await settle()
    second = house.resume(stream_id, 0)
    await settle()
    await first.lose()
    assert house.registry.detached == 0
    source.end()
    await second.done()
    assert second.ended


async def test_without_a_reader_it_ends_as_cancelled_after_a_while() -> None:
    """Nobody comes for `detach_s`: the call is closed upstream, and nothing is known of the stream any more."""
    house, source = House(), Source()
    stream_id, client = await house.lost(source, "a", detach_s=0.01)
    await house.forgotten(stream_id)
    await settle()
    assert (source.cancelled, source.aborts, client.reason) == (True, [], None)
    assert (await house.refused(stream_id, 1)).reason is Reason.STREAM_NOT_FOUND
    await settle()
    assert (len(house.registry), house.registry.reserved_bytes) == (0, 0)
    assert only_this_task()


async def test_the_clock_runs_only_without_a_reader() -> None:
    """The time without a reader counts anew each time, from the end too, and not at all while somebody reads."""
    house, source = House(), Source()
    stream_id, _ = await house.lost(source, "a")
    stream = house.registry._streams[stream_id]
    before = stream._timer
    reader = house.resume(stream_id, 1)
    await settle()
    assert before is not None
    assert (before.cancelled(), stream._timer) == (True, None)
    await reader.lose()
    before = stream._timer
    source.end()
    await settle()
    assert before is not None
    assert stream._timer is not None
    assert (before.cancelled(), stream._timer.when() > before.when()) == (True, True)


async def test_a_stream_whose_id_nobody_knows_is_cancelled_at_once() -> None:
    """A reader that leaves before the first frame cannot come back: its call is closed when it has left."""
    house, source = House(), Source()
    _, client = house.open(source)
    await settle()
    await client.lose()
    assert (source.ended, source.cancelled, len(house.registry)) == (1, True, 0)
    assert only_this_task()


async def test_a_reader_that_leaves_before_the_call_began_leaves_nothing() -> None:
    """Opened and closed in one turn: no call is made, or it is closed again, and no task stays."""
    house, source = House(), Source()
    frames = house.registry.open(house.registry.new_id(), source, "ann", 10.0, scope_of())
    await frames.aclose()
    assert (source.begun, len(house.registry)) == (0, 0)
    task = asyncio.create_task(anext(frames_of := house.registry.open("0-a", source, "ann", 10.0, scope_of())))
    await settle(1)
    task.cancel()
    await asyncio.wait([task])
    await frames_of.aclose()
    assert (source.begun, source.ended, len(house.registry)) in {(0, 0, 0), (1, 1, 0)}
    assert only_this_task()


async def test_what_was_not_sent_cannot_be_skipped() -> None:
    """A number beyond what was sent is a fault of the request, told with its field."""
    house, source = House(), Source()
    stream_id, client = await house.lost(source, "a")
    source.put("b")
    await settle()
    failure = await house.refused(stream_id, 2)
    assert failure.reason is Reason.BAD_REQUEST
    assert [violation.path for violation in failure.violations] == ["after_seq"]
    assert client.seqs == [1]


async def test_what_is_not_kept_any_more_is_told_with_what_is() -> None:
    """A reader that comes too late hears from where on it may still read."""
    house, source = House(DetachLimits(ring_bytes=2 * FRAME_OVERHEAD_BYTES + 10)), Source()
    stream_id, _ = await house.lost(source, "a")
    for text in "bcd":
        source.put(text)
        await settle()
    failure = await house.refused(stream_id, 1)
    assert (failure.reason, failure.metadata) == (Reason.STREAM_TOO_OLD, {"oldest_seq": "3"})
    assert "the smallest after_seq is 2" in failure.message


async def test_the_oldest_after_seq_that_is_named_can_be_asked_for() -> None:
    """Even where frames were dropped that no reader has seen, the number that the refusal names is accepted."""
    house, source = House(DetachLimits(ring_bytes=2 * FRAME_OVERHEAD_BYTES + 10)), Source()
    stream_id, _ = await house.lost(source, "a")
    for text in "bcd":
        source.put(text)
        await settle()
    reader = house.resume(stream_id, 2)
    await settle()
    assert reader.text == "cd"
    await reader.lose()


async def test_a_reader_at_the_oldest_frame_is_not_overrun() -> None:
    """A frame that arrives just after somebody came back does not push out what that reader is about to read."""
    house, source = House(DetachLimits(ring_bytes=2 * FRAME_OVERHEAD_BYTES + 10)), Source(pile=0)
    stream_id, _ = await house.lost(source, "a", "b")
    await settle()
    reader = house.resume(stream_id, 0)
    reader.stall()
    source.put("c" * 2 * FRAME_OVERHEAD_BYTES)
    await settle()
    reader.go_on()
    source.put("d")
    await settle()
    assert (reader.seqs, reader.text) == ([1, 2, 3, 4], source.put_text)
    await reader.lose()


async def test_what_comes_without_a_reader_is_merged_until_it_piles_up() -> None:
    """Nobody reads, so nothing hurries: the ring gets few large frames instead of many small ones."""
    house, source = House(), Source(pile=2, merges=True)
    stream_id, _ = await house.lost(source, "a")
    for text in "bcdef":
        source.put(text)
        await settle()
    reader = house.resume(stream_id, 1)
    await settle()
    # The first one was awaited for the reader that left; the others are one frame.
    assert [frame.text for frame in reader.seen if isinstance(frame, ContentFrame)] == ["b", "cdef"]
    source.end()
    await reader.done()
    assert reader.ended


async def test_what_piled_up_is_taken_when_the_reader_leaves() -> None:
    """A slow reader that is cut off leaves behind what waited for it: into the ring with that, and the call goes on."""
    house, source = House(), Source()
    stream_id, client = house.open(source)
    client.stall()
    for text in "abc":
        await settle()
        source.put(text)
    await settle()
    assert source.waiting == 2
    await client.lose()
    await settle()
    assert source.waiting == 0
    assert house.registry._streams[stream_id].bytes == 3 * FRAME_OVERHEAD_BYTES + 3


async def test_a_reader_that_comes_back_with_nothing_new_waits() -> None:
    """A resumed reader that has everything waits for what comes."""
    house, source = House(), Source()
    stream_id, _ = await house.lost(source, "a")
    reader: Client = house.resume(stream_id, 1)
    await settle()
    assert not reader.task.done()
    source.put("b")
    await settle()
    assert reader.text == "b"
    await reader.lose()
