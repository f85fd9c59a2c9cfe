"""Detachable streams of two callers: how they are begun, read on, refused and waited for."""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING, Any

from tests.e2e.conftest import ask
from tests.e2e.serving import rest_of
from tests.e2e.stream_books import Tap

from trunkline import failure_of
from trunkline.v1 import ResumeStreamRequest, RoutingOptions

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.e2e.conftest import Gateway

    from trunkline.v1 import CompleteRequest
    from trunkline_server.simulator.stats import Stats

MINE = (("authorization", "Bearer mine"),)
THEIRS = (("authorization", "Bearer theirs"),)


def routes(*, detach_s: float = 30, write_timeout_s: float = 30) -> str:
    """Return routes with two callers; a stream without a reader goes on for `detach_s`."""
    callers = "".join(
        f"  - {{{{id: {name}, token_sha256: {hashlib.sha256(name.encode()).hexdigest()}, aliases: [default]}}}}\n"
        for name in ("mine", "theirs")
    )
    return (
        "version: 1\n"
        "providers:\n"
        "  one: {{protocol: openai, base_url: {base}, keys: [{{id: a, secret: env:ONE_A_API_KEY}}]}}\n"
        "aliases:\n"
        "  default: {{tiers: [[one/primary]]}}\n"
        f"callers:\n{callers}"
        f"server: {{{{detach_s: {detach_s}, write_timeout_s: {write_timeout_s}}}}}\n"
    )


STEADY = {"default": {"chunks": 50, "chunk_gap_s": 0.01}}
"""Half a second of content."""
TEXT = ("You said: hi " * 17)[: len("You said: hi ") * 16 + len("You said: ")]
"""Fifty words of it."""
ENDLESS = {"default": {"chunks": 100_000, "chunk_gap_s": 0.01}}
LEFT, CUT = WAYS = ("the caller leaves", "the connection is cut")


def detachable(**fields: Any) -> CompleteRequest:
    """Return a request for a stream that outlives its connection."""
    return ask(routing=RoutingOptions(detachable=True, **fields))


def start(running: Gateway, request: CompleteRequest | None = None, **call: Any) -> Tap:
    """Begin a stream of caller `mine`, detachable unless a request is given."""
    return Tap(running.stub.StreamComplete(request or detachable(), metadata=MINE, timeout=60, **call))


def resume(running: Gateway, stream_id: str, after_seq: int = 0, *, cancel: bool = False, token: Any = MINE) -> Any:
    """Return the call that reads a stream on, or ends it."""
    asked = ResumeStreamRequest(stream_id=stream_id, after_seq=after_seq, cancel=cancel)
    return running.stub.ResumeStream(asked, metadata=token, timeout=60)


async def refused(running: Gateway, stream_id: str, after_seq: int = 0, **asked: Any) -> tuple[str, str]:
    """Return the status and the reason for which a resume is refused without any frame."""
    frames, error = await rest_of(resume(running, stream_id, after_seq, **asked))
    assert not frames
    return ("OK", "") if error is None else (error.code().name, failure_of(error).reason)


async def begun(call: Tap) -> str:
    """Read a stream up to its first content; return its id."""
    frame = await call.next()
    await call.first("deltas")
    return frame.started.stream_id


async def until_detached(running: Gateway, count: int = 1) -> None:
    """Wait until so many streams go on without a reader."""
    for _ in range(1000):
        if running.engine.streams.detached == count:
            return
        await asyncio.sleep(0.002)
    raise AssertionError(running.engine.streams.detached)


def gone(count: int) -> Callable[[Stats], bool]:
    """Return what is true once so many upstream calls were closed by the gateway."""
    return lambda stats: stats.cancelled == count
