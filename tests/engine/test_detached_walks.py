"""Random readers on random streams: whatever they do, each frame reaches its caller once, and nothing is left."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field

from tests.conftest import Sized
from tests.engine.detached_house import Client, House, Source, only_this_task, settle

from trunkline_server.engine.frames import CallFailedError, CallFailure, ContentFrame, EndFrame, Frame
from trunkline_server.engine.ring import FRAME_OVERHEAD_BYTES
from trunkline_server.engine.stream_registry import DetachLimits
from trunkline_server.routing.types import Reason

BROKEN = CallFailure(Reason.STREAM_BROKEN, "broken")
ENDS = {Reason.STREAM_BROKEN, Reason.CANCELLED}
"""What the streams of a walk fail with."""


@dataclass
class Followed:
    """A stream, and what its caller has of it."""

    stream_id: str
    source: Source
    reader: Client
    asked: int = 0
    frames: dict[int, Frame] = field(default_factory=dict)
    told: set[Reason] = field(default_factory=set)
    over: bool = False

    def note(self, client: Client, after_seq: int) -> None:
        """Take down what an RPC brought: in order from where it asked, and each number always the same frame."""
        if client.task.done() and not client.task.cancelled():
            client.task.result()
        assert client.seqs == list(range(after_seq + 1, after_seq + 1 + len(client.seqs)))
        for frame in client.seen:
            assert self.frames.setdefault(frame.seq, frame) is frame
        if client.reason is not None:
            self.told.add(client.reason)
        self.over = self.over or client.ended

    @property
    def last_seq(self) -> int:
        return max(self.frames, default=0)

    @property
    def missing(self) -> bool:
        """Whether there is a gap in what its caller has, or no end."""
        return len(self.frames) != self.last_seq or not isinstance(self.frames.get(self.last_seq), EndFrame)

    @property
    def finished(self) -> bool:
        """Whether its caller has had its end."""
        return self.over or not self.told.isdisjoint(ENDS)

    @property
    def text(self) -> str:
        frames = [self.frames[seq] for seq in sorted(self.frames)]
        return "".join(frame.text for frame in frames if isinstance(frame, ContentFrame))


class Walk:
    """One registry under random callers."""

    def __init__(self, rng: random.Random, limits: DetachLimits) -> None:
        self.rng = rng
        self.limits = limits
        self.house = House(limits)
        self.sources: list[Source] = []
        self.live: list[Followed] = []
        self.replaced: list[tuple[Followed, Client, int]] = []
        self.lost = 0
        """Streams that their caller came back to too late."""

    async def begin(self) -> None:
        # The boundary asks for the first frame in the turn in which it opens a stream; here nobody may come between.
        await settle(2)
        if self.house.registry.may_detach("ann") is not None:
            return
        source = Source(pile=self.rng.choice((0, 1, 3)), merges=self.rng.random() < 0.5)
        stream_id, client = self.house.open(source)
        self.sources.append(source)
        self.live.append(Followed(stream_id, source, client))
        await settle(1)

    def come_back(self, stream: Followed, *, anew: bool) -> None:
        """Resume from what the caller has, or from somewhere before it."""
        stream.note(stream.reader, stream.asked)
        if not stream.reader.task.done():
            self.replaced.append((stream, stream.reader, stream.asked))
        after_seq = self.rng.randint(0, stream.last_seq) if anew else stream.last_seq
        stream.asked = after_seq
        try:
            stream.reader = self.house.resume(stream.stream_id, after_seq)
        except CallFailedError as error:
            assert error.failure.reason is Reason.STREAM_NOT_FOUND  # noqa: PT017  a refusal is one of two good outcomes
            for followed, client, asked in self.replaced:
                if followed is stream:
                    followed.note(client, asked)
            assert stream.finished or stream.last_seq == 0  # read to its end, or nobody knew its id
            self.live.remove(stream)

    async def step(self) -> None:
        """Let something happen."""
        rng = self.rng
        if not self.live or rng.random() < 0.1:
            await self.begin()
            return
        stream = rng.choice(self.live)
        if rng.random() < 0.3:
            self.upstream(stream)
        else:
            await self.caller(stream, rng.choice(("lose", "back", "stall", "go", "cancel", "spy", "wait", "wait")))

    def upstream(self, stream: Followed) -> None:
        """Let the source go on, or end."""
        if not stream.source.going_on:
            return
        if self.rng.random() < 0.07:
            stream.source.end(self.rng.choice((None, BROKEN)))
            return
        for _ in range(self.rng.randint(1, 3)):
            stream.source.put(self.rng.choice("abcdef") * self.rng.randint(1, 9))

    async def caller(self, stream: Followed, action: str) -> None:
        """Let one of the stream's callers do something; wait for nothing unless it is said."""
        rng = self.rng
        match action:
            case "lose":
                stream.reader.task.cancel()
            case "back":
                self.come_back(stream, anew=rng.random() < 0.3)
            case "stall":
                stream.reader.stall()
            case "go":
                stream.reader.go_on()
            case "cancel" if rng.random() < 0.2:
                await self.cancel(stream, "ann")
            case "spy":
                await self.cancel(stream, "bob")
            case _:
                await settle(rng.randint(1, 4))

    async def cancel(self, stream: Followed, caller: str) -> None:
        known = stream.stream_id in self.house.registry._streams
        try:
            await self.house.registry.cancel(stream.stream_id, caller)
        except CallFailedError as error:
            assert error.failure.reason is Reason.STREAM_NOT_FOUND  # noqa: PT017  the assert below says when
            assert caller == "bob" or not known
        else:
            assert caller == "ann"
            assert stream.source.ended == 1

    def check(self) -> None:
        """Hold the bounds that hold at any time."""
        registry = self.house.registry
        assert len(registry) <= self.limits.streams_per_caller
        for stream in registry._streams.values():
            ring = stream._ring
            reader = stream._reader
            if reader is None and not stream._aborted:
                assert ring.bytes <= self.limits.ring_bytes or len(ring) == 1
            if reader is not None:
                assert ring.oldest_seq <= reader.seq + 1
        for source in self.sources:
            assert source.ended <= source.begun <= 1

    async def finish(self) -> None:
        """Let every stream end, and its caller come back until it has all."""
        for source in self.sources:
            source.end()
        # A reader is still there if the one that came after it was lost before it could ask for anything.
        for stream, client, asked in self.replaced:
            client.go_on()
            await asyncio.wait([client.task])
            stream.note(client, asked)
            assert client.ended or client.reason is not None or client.task.cancelled()
        for stream in self.live:
            stream.reader.go_on()
            await asyncio.wait([stream.reader.task])
            stream.note(stream.reader, stream.asked)
            self.lost += not await self.read_to_end(stream)

    async def read_to_end(self, stream: Followed) -> bool:
        """Come back for what is missing. Says False if that is no longer kept."""
        if not stream.finished or stream.missing:
            asked = stream.last_seq
            try:
                client = await self.house.resume(stream.stream_id, asked).done()
            except CallFailedError as error:
                assert error.failure.reason is Reason.STREAM_NOT_FOUND  # noqa: PT017  the next line says when
                assert stream.last_seq == 0
                return True
            if client.reason is Reason.STREAM_TOO_OLD:
                return False
            stream.note(client, asked)
        assert stream.finished
        assert not stream.missing
        assert stream.text == stream.source.put_text
        return True


async def walk(seed: int, *, ring_frames: int, steps: int) -> int:
    """Walk once; return how many streams their callers lost since the ring was too small."""
    limits = DetachLimits(ring_bytes=ring_frames * FRAME_OVERHEAD_BYTES, streams_per_caller=4)
    one = Walk(random.Random(seed), limits)
    for _ in range(steps):
        await one.step()
        one.check()
    await one.finish()
    await one.house.registry.aclose()
    await settle()
    one.check()
    assert [source.begun for source in one.sources] == [source.ended for source in one.sources]
    assert (len(one.house.registry), one.house.registry.reserved_bytes, one.house.registry._spare_bytes) == (0, 0, 0)
    assert only_this_task(), seed
    return one.lost


async def test_no_frame_is_lost_or_seen_twice(rng: random.Random, sized: Sized) -> None:
    """With a ring that holds it all, whoever comes back has every stream whole, whatever happened in between."""
    for _ in range(sized(full=3000, gate=150)):
        assert await walk(rng.getrandbits(32), ring_frames=10_000, steps=80) == 0


async def test_a_small_ring_is_told_and_never_skipped(rng: random.Random, sized: Sized) -> None:
    """With a ring that is too small, a caller is refused, never given frames with a gap between them."""
    lost = 0
    for _ in range(sized(full=3000, gate=150)):
        lost += await walk(rng.getrandbits(32), ring_frames=4, steps=80)
    assert lost > 0
