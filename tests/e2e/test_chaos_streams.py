"""Tens of thousands of streams in chaos: whatever happens, nobody holds a text that was not said, and nothing is left.

One process holds the gateway, the simulator and the callers. Its memory is measured at the end of each round, when
nothing is in flight and no stream is kept any more, after a collection of garbage.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import logging
import random
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from tests.e2e.conftest import ask
from tests.e2e.stream_books import check_books, read, settled, tasks, tasks_gone
from tests.e2e.stream_chaos import (
    FORCED,
    JSON_OUTPUT,
    LARGE_TEXT,
    ROUTES,
    SLOTS,
    TOOL,
    Job,
    Right,
    faulty,
    healthy,
    job,
    wrong,
)

from trunkline import Assembly, CallFailure, StreamError, failure_of
from trunkline.v1 import AttemptSummary, Continuation, ResumeStreamRequest
from trunkline_server.routing.gate import GateLimits

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import Sized
    from tests.e2e.conftest import Gateway, Gateways

    from trunkline import Answer
    from trunkline.v1 import StreamFrame

IN_FLIGHT = 64
OURS = frozenset(
    {
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.DATA_LOSS,
    }
)
"""What no fault of an upstream or a caller may end as."""

DETACH_S = 0.5
"""How long the routes let a stream wait for a reader that comes back."""


class Walker:
    """Makes random streams, leaves some, comes back to some, and holds each to what was promised of it."""

    def __init__(self, running: Gateway, rng: random.Random, right: Right) -> None:
        self.running = running
        self.rng = rng
        self.right = right
        self.endings: Counter[str] = Counter()
        self.seen: Counter[str] = Counter()
        self.made = 0

    async def walk(self, turns: Iterator[int]) -> None:
        """Make a stream for each turn that nobody else took, one after the other."""
        for _ in turns:
            self.made += 1
            await self.one(job(self.rng, self.made, self.right))

    async def one(self, made: Job) -> None:
        """Make one stream and check what its caller has in the end."""
        token = (("authorization", f"Bearer token-{made.caller}"),)
        began_at = time.monotonic()
        assembly = Assembly()
        frames: list[StreamFrame] = []
        call: Any = self.running.stub.StreamComplete(made.request, timeout=made.timeout_s, metadata=token)
        failure, left = await self.some(call, assembly, frames, made)
        left_at, came = time.monotonic(), len(frames)
        while left:
            if len(frames) > came:
                # Who left again before a frame came may not have been there at all.
                left_at, came = time.monotonic(), len(frames)
            stream_id = assembly.partial().stream_id
            if made.leaves == "for good" or not stream_id:
                self.endings["left"] += 1
                self.check_text(made, assembly.partial())
                return
            self.seen["lost and resumed"] += 1
            await asyncio.sleep(self.rng.choice((0.0, 0.0, 0.01, 0.03)))  # as long as it takes to come back
            asked = ResumeStreamRequest(stream_id=stream_id, after_seq=assembly.last_seq)
            call = self.running.stub.ResumeStream(asked, timeout=made.timeout_s, metadata=token)
            failure, left = await self.some(call, assembly, frames, made)
        now = time.monotonic()
        lost = failure is not None and self.may_be_gone(made, assembly, failure.reason, now - left_at)
        if failure and failure.code is grpc.StatusCode.DEADLINE_EXCEEDED and now - began_at >= made.timeout_s:
            # The caller's own library cut it; its details, if any, are those of a status that came too late.
            failure, lost = CallFailure(failure.code, failure.message), True
        self.conclude(made, assembly, frames, failure, lost=lost)

    def may_be_gone(self, made: Job, assembly: Assembly, reason: str, away_s: float) -> bool:
        """Say whether a stream may be refused for this reason to its caller, who was away for so long."""
        match reason:
            case "STREAM_TOO_OLD":
                return len(made.text) == len(LARGE_TEXT)
            case "STREAM_NOT_FOUND" | "STREAM_NOT_DETACHABLE":
                # It was declined, or its time was over, or it had been written to its end and its place was needed.
                declined = any(warning.code == "DETACH_DECLINED" for warning in assembly.partial().warnings)
                return declined or (reason == "STREAM_NOT_FOUND" and (away_s > DETACH_S * 0.9 or assembly.ended))
            case _:
                return False

    async def some(
        self, call: Any, assembly: Assembly, frames: list[StreamFrame], made: Job
    ) -> tuple[CallFailure | None, bool]:
        """Read a stream to its end, or to where its caller leaves; return its failure, and whether that is so."""
        rng = self.rng
        leave_after = None if made.leaves == "never" else rng.randrange(1, 16)
        came = 0
        if leave_after is not None and rng.random() < 0.1:
            asyncio.get_running_loop().call_later(rng.random() * 0.1, call.cancel)
        try:
            async for frame in call:
                frames.append(frame)
                assembly.feed(frame)
                came += 1
                if came == leave_after:
                    call.cancel()
                    return None, True
                if made.pauses and rng.random() < 0.2:
                    await asyncio.sleep(rng.random() * 0.05)
        except asyncio.CancelledError:
            if not call.cancelled():
                raise
            return None, True
        except grpc.aio.AioRpcError as error:
            return failure_of(error), False
        return None, False

    def conclude(
        self, made: Job, assembly: Assembly, frames: list[StreamFrame], failure: CallFailure | None, *, lost: bool
    ) -> None:
        """Hold a stream that came to its end to its promises."""
        try:
            answer = assembly.finish(failure)
            how = "whole"
        except StreamError as error:
            answer, how = error.partial, type(error).__name__
        assert how != "StreamCorruptError", (failure, answer)
        code = grpc.StatusCode.OK if failure is None else failure.code
        reason = "" if failure is None else failure.reason
        assert code not in OURS, failure
        self.endings[f"{how} {code.name} {reason}".rstrip()] += 1
        self.check_text(made, answer)
        if how == "StreamLostError":
            assert lost, failure
            return
        check_books(frames, code.value[0])
        if answer.attempts:
            self.check_attempts(frames, answer)

    def check_text(self, made: Job, answer: Answer) -> None:
        """Assert that the text is one that was said, whole or a beginning."""
        problem = wrong(made, self.right, answer)
        assert not problem, (problem, made, answer)

    def check_attempts(self, frames: list[StreamFrame], answer: Answer) -> None:
        """Assert that the attempts that count gave what is there, and count what was seen."""
        resets = [frame.reset for frame in frames if frame.HasField("reset")]
        whys = [AttemptSummary.Why.Name(each.why).removeprefix("WHY_") for each in answer.attempts]
        for why in set(whys):
            self.seen[why] += 1
        self.seen["resets"] += len(resets)
        counted = sum(each.bytes_emitted for each in answer.attempts if not each.discarded)
        content_bytes = frames[-1].end.content_bytes
        assert counted == content_bytes if not resets else counted >= content_bytes
        assert whys.count("HEDGE") <= 1
        assert sum(why in {"RESTART", "CONTINUATION"} for why in whys) <= 1
        for seam in answer.seams:
            self.seen[Continuation.Method.Name(seam.continuation.method)] += 1
            self.seen["whole after a seam"] += answer.complete


async def disturb(running: Gateway, rng: random.Random) -> None:
    """Resize the gates all the time, and drop or refuse connections now and then, until cancelled."""
    while True:
        await asyncio.sleep(rng.random() * 0.04)
        provider = running.live.snapshots.current.providers[rng.choice(("one", "two"))]
        provider.desk.gate.resize(GateLimits(rng.randrange(6, SLOTS + 1), rng.randrange(32), rng.choice((0.1, 0.5))))
        provider.desk.changed()
        chance = rng.random()
        if chance < 0.005:
            running.simulator.drop_connections()
        elif chance < 0.01:
            await running.simulator.refuse()
            await asyncio.sleep(rng.random() * 0.1)
            await running.simulator.refuse(on=False)


def resident_kb() -> int:
    """Return what this process holds in memory, in KB, after the C library gave back what is free of it."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1])


async def learned(running: Gateway) -> Right:
    """Return what healthy upstreams say."""
    token = (("authorization", "Bearer token-0"),)
    asked = ask(model="plain", output=JSON_OUTPUT), ask(model="plain", tools=[TOOL], tool_choice=FORCED)
    said = [(await read(running.stub.StreamComplete(each, metadata=token))).answer for each in asked]
    return Right(said[0].text, said[1].tool_calls[0].arguments_json)


async def disturbed_round(running: Gateway, walker: Walker, streams: int) -> None:
    """Make so many streams at once and in disorder; then wait until nothing of them is left."""
    disturbing = asyncio.ensure_future(disturb(running, walker.rng))
    try:
        turns = iter(range(streams))
        await asyncio.gather(*(walker.walk(turns) for _ in range(IN_FLIGHT)))
    finally:
        disturbing.cancel()
        await asyncio.wait([disturbing])
        await running.simulator.refuse(on=False)
    await settled(running)


@pytest.fixture
def quiet_log() -> Iterator[None]:
    """Keep asyncio from noting each write of the simulator to a line that was dropped: pytest would keep them all."""
    log = logging.getLogger("asyncio")
    level = log.level
    log.setLevel(logging.ERROR)
    yield
    log.setLevel(level)


@pytest.mark.timeout(1200)
@pytest.mark.usefixtures("quiet_log")
async def test_nobody_holds_a_text_that_was_not_said(gateway: Gateways, rng: random.Random, sized: Sized) -> None:
    """After 50,000 streams every text was right, every end agreed, and no task, slot, key, stream or memory is left."""
    streams = sized(full=50_000, gate=1_500)
    rounds = sized(full=10, gate=5)
    per_round = streams // rounds
    seed = rng.randrange(2**31)
    print(f"seed of the chaos: {seed}")
    async with gateway(healthy(), routes=ROUTES, seed=seed) as running:
        walker = Walker(running, random.Random(seed), await learned(running))
        await settled(running)
        tasks_before = len(tasks())
        running.simulator.configure(faulty(seed))
        held_kb: list[int] = []
        busy_s = 0.0
        for _ in range(rounds):
            began_at = time.monotonic()
            await disturbed_round(running, walker, per_round)
            busy_s += time.monotonic() - began_at
            held_kb.append(resident_kb())
        await tasks_gone(tasks_before)
        print(f"{walker.made} streams in {busy_s:.1f} s, {walker.made / busy_s:.0f}/s")
        print(f"endings: {dict(walker.endings.most_common())}")
        print(f"seen: {dict(walker.seen.most_common())}")
        print(f"memory after each round: {[f'{kb / 1024:.1f}' for kb in held_kb]} MB")
        assert running.simulator.stats.connections <= 2 * SLOTS
        assert sum(count for how, count in walker.endings.items() if how.startswith("whole")) > streams / 3
        for thing in ("lost and resumed", "RESTART", "CONTINUATION", "HEDGE", "resets", "whole after a seam"):
            assert walker.seen[thing], f"never seen: {thing}"
        warm_rounds = rounds * 2 // 5
        assert max(held_kb[warm_rounds:]) <= 1.05 * max(held_kb[:warm_rounds])
