"""A real call behind a detachable stream: what its leaving, returning and cancelling callers do to the upstream."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator

from tests.engine.detached_house import WAIT_S, Client, only_this_task, settle
from tests.engine.scripted import Said, World, event, forever

from trunkline_server.chat.request import RoutingOptions
from trunkline_server.engine.api import CallScope
from trunkline_server.engine.frames import DrainingFrame, EndFrame, Frame, StartedFrame
from trunkline_server.routing.types import Reason

PIECE = "x" * 40_000


class Cue:
    """What a script waits for, or tells that it has come there."""

    def __init__(self) -> None:
        self._given = asyncio.Event()

    async def wait(self) -> None:
        async with asyncio.timeout(WAIT_S):
            await self._given.wait()

    async def give(self) -> None:
        self._given.set()


class Stage:
    """An engine whose upstream says its lines when the test lets it."""

    def __init__(self) -> None:
        self.world = World()

    def open(self, scope: CallScope | None = None) -> Client:
        request = self.world.request(routing=RoutingOptions(detachable=True))
        return Client(self.world.engine.stream(request, scope or self.world.scope()))

    def resume(self, stream_id: str, after_seq: int, scope: CallScope | None = None) -> Client:
        return Client(self.frames(stream_id, after_seq, scope))

    def frames(self, stream_id: str, after_seq: int, scope: CallScope | None = None) -> AsyncGenerator[Frame, None]:
        return self.world.engine.resume(stream_id, after_seq, scope or self.world.scope())

    async def close(self) -> None:
        """Let the engine end what is left, and see that nothing is."""
        await self.world.engine.aclose()
        await settle()
        assert self.world.held == 0
        assert only_this_task()


def tool_call(at: int) -> dict[str, object]:
    return {"index": at, "id": f"c{at}", "type": "function", "function": {"name": "f", "arguments": f'"{PIECE}"'}}


async def begun(client: Client, text: str) -> str:
    """Wait until a reader has this much of the answer; return the stream's id."""
    await client.has(text)
    first = client.seen[0]
    assert isinstance(first, StartedFrame)
    return first.stream_id


async def test_an_answer_is_whole_over_two_readers() -> None:
    """A caller that lost its line has the rest of the answer from where it was, and one upstream call was made."""
    stage = Stage()
    go = Cue()
    response = stage.world.upstream.answers(
        Said.ROLE, Said.text("one "), go.wait, Said.text("two"), Said.STOP, Said.DONE
    )
    first = stage.open()
    stream_id = await begun(first, "one ")
    await first.lose()
    assert not response.closed
    await go.give()
    second = await stage.resume(stream_id, first.seqs[-1]).done()
    assert first.text + second.text == "one two"
    assert first.seqs + second.seqs == list(range(1, len(first.seen) + len(second.seen) + 1))
    end = second.seen[-1]
    assert isinstance(end, EndFrame)
    assert (end.content_bytes, len(stage.world.upstream.sent)) == (7, 1)
    await stage.close()


async def test_cancelling_closes_the_upstream_of_a_stream_that_nobody_reads() -> None:
    """The upstream is closed when the cancelling RPC returns, at once; who comes back sees why it ended."""
    stage = Stage()
    response = stage.world.upstream.answers(Said.ROLE, Said.text("one"), forever)
    scope = stage.world.scope()
    first = stage.open(scope)
    stream_id = await begun(first, "one")
    await first.lose()
    began_at = time.monotonic()
    await stage.world.engine.cancel_stream(stream_id, scope)
    assert response.closed
    assert time.monotonic() - began_at < 1.0
    again = await stage.resume(stream_id, first.seqs[-1]).done()
    assert (again.reason, isinstance(again.seen[-1], EndFrame)) == (Reason.CANCELLED, True)
    await stage.close()


async def test_the_drain_reaches_the_call_through_its_second_reader() -> None:
    """A reader that came back is told that the server goes down, and its RPC can end the stream."""
    stage = Stage()
    response = stage.world.upstream.answers(Said.ROLE, Said.text("one"), forever)
    first = stage.open()
    stream_id = await begun(first, "one")
    await first.lose()
    scope = stage.world.scope()
    second = stage.resume(stream_id, first.seqs[-1], scope)
    await settle()
    scope.tell_draining(time.monotonic() + 5.0)
    await settle()
    assert isinstance(second.seen[-1], DrainingFrame)
    scope.abort(Reason.SERVER_DRAINING)
    await second.done()
    assert (second.reason, response.closed) == (Reason.SERVER_DRAINING, True)
    await stage.close()


async def test_the_drain_of_an_rpc_that_was_taken_over_does_not_end_the_call() -> None:
    """The old reader's RPC has no say in a stream that another one reads."""
    stage = Stage()
    go = Cue()
    stage.world.upstream.answers(Said.ROLE, Said.text("one "), go.wait, Said.text("two"), Said.STOP, Said.DONE)
    old = stage.world.scope()
    first = stage.open(old)
    stream_id = await begun(first, "one ")
    second = stage.resume(stream_id, first.seqs[-1])
    await settle()
    old.abort(Reason.SERVER_DRAINING)
    await go.give()
    await second.done()
    assert (first.reason, second.text, second.ended) == (Reason.STREAM_TAKEN_OVER, "two", True)
    await stage.close()


async def test_a_long_answer_goes_on_without_a_reader() -> None:
    """However much of whatever kind comes while nobody reads: the upstream is read to its end."""
    stage = Stage()
    go = Cue()
    tools = [event(choices=[{"index": 0, "delta": {"tool_calls": [tool_call(at)]}}]) for at in range(20)]
    said = Cue()
    finish = event(choices=[{"index": 0, "delta": {}, "finish_reason": "tool_calls"}])
    stage.world.upstream.answers(Said.ROLE, Said.text("one"), go.wait, *tools, finish, Said.DONE, said.give)
    first = stage.open()
    stream_id = await begun(first, "one")
    await first.lose()
    await go.give()
    await said.wait()
    await settle()
    too_late = await stage.resume(stream_id, first.seqs[-1]).done()
    assert too_late.reason is Reason.STREAM_TOO_OLD
    assert stage.world.engine.streams.bytes <= 256 * 1024
    await stage.close()
