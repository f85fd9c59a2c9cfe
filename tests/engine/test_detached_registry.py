"""All detachable streams of a worker: whose they are, how many there may be, how they are ended."""

from __future__ import annotations

import re

import pytest
from tests.engine.detached_house import Client, House, Source, only_this_task, scope_of, settle

from trunkline_server.engine import stream_registry
from trunkline_server.engine.frames import CallFailedError, CallFailure, EndFrame
from trunkline_server.engine.ring import FRAME_OVERHEAD_BYTES
from trunkline_server.engine.stream_registry import DetachLimits, StreamRegistry
from trunkline_server.routing.types import Reason

TWO = DetachLimits(streams_per_caller=2)


async def why_not(house: House, stream_id: str, caller: str) -> tuple[CallFailure, CallFailure]:
    """Return why a stream can neither be resumed nor cancelled."""
    with pytest.raises(CallFailedError) as resumed:
        await anext(house.registry.resume(stream_id, 0, scope_of(caller)))
    with pytest.raises(CallFailedError) as cancelled:
        await house.registry.cancel(stream_id, caller)
    return resumed.value.failure, cancelled.value.failure


async def ended(house: House, caller: str = "ann") -> tuple[str, Client]:
    """Return a stream that was read to its end."""
    source = Source()
    stream_id, client = house.open(source, caller)
    await settle()
    source.put("a")
    source.end()
    return stream_id, await client.done()


def test_an_id_has_the_worker_and_128_random_bits() -> None:
    """Ids cannot be guessed, and say where their stream lives."""
    registry = StreamRegistry(worker=3)
    ids = {registry.new_id() for _ in range(100)}
    assert len(ids) == 100
    assert all(re.fullmatch(r"3-[0-9a-f]{32}", stream_id) for stream_id in ids)


async def test_a_stream_of_somebody_else_is_not_there() -> None:
    """Another caller hears the same of it as of one that never was."""
    house, source = House(), Source()
    stream_id, client = house.open(source)
    await settle()
    source.put("a")
    await settle()
    house.registry.track("0-live", "ann")
    unknown = await why_not(house, "0-never", "bob")
    assert unknown[0].reason is Reason.STREAM_NOT_FOUND
    assert await why_not(house, stream_id, "bob") == unknown
    assert await why_not(house, "0-live", "bob") == unknown
    assert not client.task.done()
    await client.lose()


async def test_a_live_stream_that_is_not_detachable_is_told_apart() -> None:
    """Its own caller hears that it cannot be resumed; once it has ended, that it is not there."""
    house = House()
    house.registry.track("0-live", "ann")
    assert {failure.reason for failure in await why_not(house, "0-live", "ann")} == {Reason.STREAM_NOT_DETACHABLE}
    house.registry.untrack("0-live")
    house.registry.untrack("0-live")
    assert {failure.reason for failure in await why_not(house, "0-live", "ann")} == {Reason.STREAM_NOT_FOUND}
    assert house.registry.tracked == 0


async def test_a_caller_has_so_many_detachable_streams() -> None:
    """Beyond its share a caller's streams are not detachable; others are not concerned."""
    house = House(TWO)
    clients = []
    for _ in range(2):
        assert house.registry.may_detach("ann") is None
        source = Source()
        _, client = house.open(source)
        await settle()
        source.put("a")
        await settle()
        clients.append((source, client))
    assert house.registry.may_detach("ann") == "2 detachable streams of this caller's are open already"
    assert house.registry.may_detach("bob") is None
    await clients[0][1].lose()
    assert house.registry.may_detach("ann") is not None  # it goes on, and may be asked for
    clients[0][0].end()
    await settle()
    assert house.registry.may_detach("ann") is not None  # nobody has had its end
    clients[1][0].end()
    await clients[1][1].done()
    assert house.registry.may_detach("ann") is None


async def test_streams_read_to_their_end_make_room() -> None:
    """What was read to its end stays as long as there is room, the oldest goes first."""
    house = House(TWO)
    first, _ = await ended(house)
    second, _ = await ended(house)
    assert (len(house.registry), house.registry.may_detach("ann")) == (2, None)
    third, _ = await ended(house)
    assert (await why_not(house, first, "ann"))[0].reason is Reason.STREAM_NOT_FOUND
    for kept in (second, third):
        assert (await house.resume(kept, 1).done()).ended


async def test_a_stream_that_is_read_again_makes_no_room() -> None:
    """Nobody's stream is taken away while it is being read."""
    house = House(TWO)
    first, _ = await ended(house)
    second, _ = await ended(house)
    reader = house.resume(first, 0)
    reader.stall()
    await settle()
    third, _ = await ended(house)
    assert (await why_not(house, second, "ann"))[0].reason is Reason.STREAM_NOT_FOUND
    reader.go_on()
    assert (await reader.done()).ended
    assert (await house.resume(third, 0).done()).ended


async def test_memory_is_promised_before_it_is_used() -> None:
    """A stream that goes on counts with all that its ring may hold, one that has ended with what it holds."""
    ring_bytes = 4 * FRAME_OVERHEAD_BYTES
    house = House(DetachLimits(ring_bytes=ring_bytes, total_bytes=2 * ring_bytes))
    first, second = Source(), Source()
    _, ann = house.open(first, "ann")
    _, bob = house.open(second, "bob")
    await settle()
    assert house.registry.reserved_bytes == 2 * ring_bytes
    assert house.registry.may_detach("cid") == "no memory is left for another detachable stream"
    for source, client in ((first, ann), (second, bob)):
        source.put("a")
        await settle()
        await client.lose()
        source.end()
    await settle()
    assert house.registry.reserved_bytes == house.registry.bytes == 4 * FRAME_OVERHEAD_BYTES + 2
    assert house.registry.may_detach("cid") is not None
    assert (await house.resume(next(iter(house.registry._streams)), 0).done()).ended
    assert house.registry.may_detach("cid") is None
    _, cid = house.open(Source(), "cid")
    await settle()
    assert (len(house.registry), house.registry.reserved_bytes) == (2, ring_bytes + 2 * FRAME_OVERHEAD_BYTES + 1)
    await cid.lose()


async def test_cancelling_ends_a_stream_that_is_read() -> None:
    """Its reader gets the end of a cancelled stream, and the call is closed when the cancelling RPC returns."""
    house, source = House(), Source()
    stream_id, client = house.open(source)
    await settle()
    source.put("a")
    await settle()
    await house.registry.cancel(stream_id, "ann")
    assert (source.ended, source.cancelled, source.aborts) == (1, False, [Reason.CANCELLED])
    await client.done()
    assert (client.seqs, client.reason) == ([1, 2], Reason.CANCELLED)


async def test_cancelling_does_not_wait_for_a_slow_reader() -> None:
    """A reader that is stuck holds up neither the upstream's closing nor whoever cancels; it still gets all."""
    house, source = House(), Source()
    stream_id, client = house.open(source)
    client.stall()
    await settle()
    for text in "abc":
        source.put(text)
        await settle()
    await house.registry.cancel(stream_id, "ann")
    assert source.ended == 1
    client.go_on()
    await client.done()
    assert (client.text, client.seqs, client.reason) == ("abc", [1, 2, 3, 4], Reason.CANCELLED)


async def test_cancelling_ends_a_stream_that_nobody_reads() -> None:
    """The same without a reader; one that comes back sees that it was cancelled."""
    house, source = House(), Source()
    stream_id, _ = await house.lost(source, "a")
    await house.registry.cancel(stream_id, "ann")
    assert (source.ended, source.cancelled) == (1, False)
    client = await house.resume(stream_id, 1).done()
    assert (client.seqs, client.reason) == ([2], Reason.CANCELLED)


async def test_cancelling_what_has_ended_changes_nothing() -> None:
    """A stream that ended well stays one that ended well, whether all of it was read or not."""
    house, source = House(), Source()
    stream_id, client = house.open(source)
    client.stall()
    await settle()
    source.put("a")
    source.put("b")
    source.end()
    await settle()
    await house.registry.cancel(stream_id, "ann")
    assert source.aborts == []
    client.go_on()
    await client.done()
    assert (client.text, client.ended) == ("ab", True)
    await house.registry.cancel(stream_id, "ann")


async def test_closing_ends_everything() -> None:
    """Readers get the end of a stream that the server's going down ended; no call and no task is left."""
    house = House()
    read, lost, stuck = Source(), Source(), Source()
    _, client = house.open(read)
    await settle()
    read.put("a")
    await house.lost(lost, "b")
    _, slow = house.open(stuck)
    slow.stall()
    await settle()
    for text in "cd":
        stuck.put(text)
        await settle()
    streams = tuple(house.registry._streams.values())
    await house.registry.aclose()
    slow.go_on()
    for reader in (client, slow):
        await reader.done()
        assert reader.reason is Reason.SERVER_DRAINING
        assert isinstance(reader.seen[-1], EndFrame)
    assert slow.text == "cd"
    assert [stream._timer for stream in streams] == [None, None, None]
    assert [source.ended for source in (read, lost, stuck)] == [1, 1, 1]
    assert (len(house.registry), house.registry.reserved_bytes, house.registry.detached) == (0, 0, 0)
    assert house.registry.may_detach("ann") == "the server is going down"
    with pytest.raises(CallFailedError, match="SERVER_DRAINING"):
        house.open(Source())
    assert only_this_task()


async def test_closing_cuts_a_call_that_does_not_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that ignores the drain is cancelled; its reader is told all the same."""
    monkeypatch.setattr(stream_registry, "CLOSE_WAIT_S", 0.01)
    house, source = House(), Source()
    source.stubborn = True
    _, client = house.open(source)
    await settle()
    source.put("a")
    await settle()
    await house.registry.aclose()
    await client.done()
    assert (source.cancelled, client.text, client.reason) == (True, "a", Reason.SERVER_DRAINING)
    assert only_this_task()


async def test_closing_what_is_empty_is_nothing() -> None:
    """Closing twice, or with nothing in it, is as good as once."""
    house = House()
    await house.registry.aclose()
    await house.registry.aclose()


async def test_the_drain_reaches_the_stream_through_whoever_reads_it() -> None:
    """What is said to the RPC that reads is passed on, once; what is said to one that has left is not."""
    house, source = House(), Source()
    first, second = scope_of(), scope_of()
    stream_id, client = house.open(source, scope=first)
    await settle()
    source.put("a")
    await settle()
    await client.lose()
    first.tell_draining(5.0)
    first.abort(Reason.SERVER_DRAINING)
    assert (source.drains, source.aborts) == ([], [])
    second.tell_draining(7.0)
    reader = house.resume(stream_id, 1, scope=second)
    await settle()
    second.tell_draining(8.0)
    assert source.drains == [7.0]
    second.abort(Reason.SERVER_DRAINING)
    await reader.done()
    assert (source.aborts, reader.reason) == ([Reason.SERVER_DRAINING], Reason.SERVER_DRAINING)


async def test_an_rpc_that_was_aborted_before_it_read_ends_the_stream() -> None:
    """An abort that came before the first frame was asked for counts too."""
    house, source, scope = House(), Source(), scope_of()
    stream_id, _ = await house.lost(source, "a")
    scope.abort(Reason.SERVER_DRAINING)
    reader = await house.resume(stream_id, 1, scope=scope).done()
    assert (source.aborts, reader.reason) == ([Reason.SERVER_DRAINING], Reason.SERVER_DRAINING)


async def test_an_rpc_that_was_taken_over_has_no_say_any_more() -> None:
    """The drain's cut of the old reader's RPC does not end the stream that another one reads."""
    house, source = House(), Source()
    old, new = scope_of(), scope_of()
    stream_id, client = house.open(source, scope=old)
    client.stall()
    await settle()
    source.put("a")
    await settle()
    reader = house.resume(stream_id, 0, scope=new)
    await settle()
    old.abort(Reason.SERVER_DRAINING)
    assert source.aborts == []
    await client.lose()
    await reader.lose()
