"""One caller's ways to make upstreams look ill: each is a call that fails, or ends oddly, by the caller's own doing."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import grpc
from google.protobuf.duration_pb2 import Duration
from tests.e2e.conftest import ask

from trunkline.v1 import ON_BREAK_CONTINUE, ON_BREAK_FAIL, ON_BREAK_RESTART, RoutingOptions, Sampling

if TYPE_CHECKING:
    from trunkline.v1 import CompleteRequest, CompletionServiceAsyncStub

BIG: Final = "big"
MUTE: Final = "mute"
FILTERED: Final = "filtered"
STRICT: Final = "strict"
NARROW: Final = "narrow"
"""Aliases that the bad caller may use besides `default`, named for what their upstream does."""

PAUSE_S: Final = 1.2
"""How long a slow reader reads nothing: longer than the `stall_s` of BIG."""
TIMEOUT_S: Final = 20.0

_BREAKS: Final = (ON_BREAK_FAIL, ON_BREAK_RESTART, ON_BREAK_CONTINUE)
_NONE_LEFT: Final = -1


def _one_ms() -> Duration:
    return Duration(nanos=1_000_000)


@dataclass(slots=True)
class Mischief:
    """The bad caller. `endings` counts how the calls of each way ended."""

    stub: CompletionServiceAsyncStub
    metadata: tuple[tuple[str, str], ...]
    rng: random.Random
    endings: Counter[tuple[str, str]] = field(default_factory=Counter)

    async def one(self, number: int) -> None:
        """Make one call, in each way in turn."""
        way = WAYS[number % len(WAYS)]
        try:
            ended = await getattr(self, way)()
        except grpc.aio.AioRpcError as error:
            ended = error.code().name
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            ended = "left"
        self.endings[way, ended or "OK"] += 1

    async def impatient_for_the_first_token(self) -> None:
        await self._stream(ask(routing=RoutingOptions(max_first_token=_one_ms(), on_break=self.rng.choice(_BREAKS))))

    async def impatient_between_tokens(self) -> None:
        await self._stream(ask(routing=RoutingOptions(max_token_gap=_one_ms(), on_break=self.rng.choice(_BREAKS))))

    async def impatient_and_gone(self) -> None:
        routing = RoutingOptions(max_token_gap=_one_ms(), on_break=self.rng.choice(_BREAKS))
        await self._stream(ask(routing=routing), leave_after=self.rng.randrange(4))

    async def reads_slowly(self) -> None:
        await self._stream(ask(model=BIG), pause_after=self.rng.randrange(1, 4))

    async def wants_one_token(self) -> None:
        await self._either(ask(sampling=Sampling(max_output_tokens=1)))

    async def gets_nothing(self) -> None:
        await self._either(ask(model=MUTE, sampling=Sampling(max_output_tokens=1)))

    async def has_no_time(self) -> None:
        await self._either(ask(), timeout_s=self.rng.choice((0.001, 0.005, 0.03)))

    async def leaves(self) -> None:
        if self.rng.random() < 0.5:
            await self._stream(ask(), leave_after=self.rng.randrange(4))
        call = self.stub.Complete(ask(), timeout=TIMEOUT_S, metadata=self.metadata)
        asyncio.get_running_loop().call_later(self.rng.random() * 0.05, call.cancel)
        await call

    async def leaves_a_stream_detached(self) -> None:
        await self._stream(ask(routing=RoutingOptions(detachable=True)), leave_after=self.rng.randrange(1, 4))

    async def forges_retries(self) -> None:
        forged = (("grpc-previous-rpc-attempts", self.rng.choice(("1", "3", "1000", "4294967295"))),)
        await self._either(ask(), metadata=self.metadata + forged)

    async def is_filtered(self) -> None:
        await self._either(ask(model=FILTERED))

    async def is_refused(self) -> None:
        await self._either(ask(model=STRICT))

    async def says_too_much(self) -> None:
        await self._either(ask("much " * 200, model=NARROW))

    # How they are made.

    async def _either(self, request: CompleteRequest, **how: Any) -> None:
        if self.rng.random() < 0.5:
            await self._stream(request, **how)
        else:
            await self.stub.Complete(
                request, timeout=how.get("timeout_s", TIMEOUT_S), metadata=how.get("metadata", self.metadata)
            )

    async def _stream(
        self,
        request: CompleteRequest,
        *,
        timeout_s: float = TIMEOUT_S,
        metadata: tuple[tuple[str, str], ...] | None = None,
        leave_after: int = _NONE_LEFT,
        pause_after: int = _NONE_LEFT,
    ) -> None:
        call = self.stub.StreamComplete(request, timeout=timeout_s, metadata=metadata or self.metadata)
        frames = 0
        if leave_after == 0:
            asyncio.get_running_loop().call_later(self.rng.random() * 0.03, call.cancel)
        async for _ in call:
            frames += 1
            if frames == leave_after:
                call.cancel()
            if frames == pause_after:
                await asyncio.sleep(PAUSE_S)


WAYS: Final = (
    "impatient_for_the_first_token",
    "impatient_between_tokens",
    "impatient_and_gone",
    "wants_one_token",
    "gets_nothing",
    "has_no_time",
    "leaves",
    "leaves_a_stream_detached",
    "forges_retries",
    "is_filtered",
    "is_refused",
    "says_too_much",
    "reads_slowly",
)
